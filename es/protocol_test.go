package es_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leftfold/leftfold/es"
)

// The commit protocol, rule by rule. The faults of single calls, in all
// combinations, are in faults_test.go.

// fails lets calls of one kind fail in a given way, the first n of them.
func fails(op string, n int, how func(do func() error) error) func(string, es.Commit, func() error) error {
	var mu sync.Mutex
	return func(called string, _ es.Commit, do func() error) error {
		mu.Lock()
		hit := called == op && n > 0
		if hit {
			n--
		}
		mu.Unlock()
		if hit {
			return how(do)
		}
		return do()
	}
}

func refuse(func() error) error { return errRefused }

func loseBefore(func() error) error { return errLost }

func loseAfter(do func() error) error {
	_ = do()
	return errLost
}

func TestNobodyBuildsOnUnsettled(t *testing.T) {
	for _, status := range []es.Status{es.Pending, es.Claimed} {
		tap := newTap()
		plant(t, tap.Store, with(raw(1, "dead", "a"), status))
		j := tap.journal()
		j.Grace = -1
		result, err := es.Execute(t.Context(), j, &counter, "1", count("b"))
		if err != nil || result.Version != 2 {
			t.Fatalf("%+v, %v", result, err)
		}
		want := "load claim publish settle load append publish settle"
		if calls := strings.Join(tap.reset(), " "); calls != want {
			t.Errorf("on a %v commit: %s\nwant %s", status, calls, want)
		}
		if err := check(tap.Store, tap.published, theStream); err != nil {
			t.Error(err)
		}
	}
}

// What cannot be finished blocks, and the command that met it leaves nothing.
func TestBlocked(t *testing.T) {
	for op, want := range map[string]string{"claim": "pending", "publish": "claimed", "settle": "claimed"} {
		synctest.Test(t, func(t *testing.T) {
			tap := newTap()
			plant(t, tap.Store, raw(1, "dead", "a"))
			tap.on = fails(op, 99, loseBefore)
			_, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("b"))
			blocked, ok := errors.AsType[*es.BlockedError](err)
			if !ok || blocked.Stream != theStream || blocked.Version != 1 || blocked.ID != "dead" || !errors.Is(err, errLost) {
				t.Errorf("%s: %v", op, err)
			}
			if all := slots(t, tap.Store, theStream); len(all) != 1 || all[0].Status.String() != want {
				t.Errorf("%s: %v", op, all)
			}
		})
	}
}

func TestRevokeOnlyAfterCertainRefusal(t *testing.T) {
	for name, c := range map[string]struct {
		how  func(do func() error) error
		want string
	}{
		"refused": {refuse, "load append publish revoke"},
		"unknown": {loseBefore, "load append publish"},
		"lost":    {loseAfter, "load append publish"},
		// Attempts inside a publisher: one without an answer, and then a refusal.
		"unknown, then refused": {func(func() error) error {
			return fmt.Errorf("two attempts: %w, then: %v", errLost, errRefused)
		}, "load append publish"},
	} {
		tap := newTap()
		tap.on = fails("publish", 1, c.how)
		result, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("a"))
		if calls := strings.Join(tap.reset(), " "); calls != c.want {
			t.Errorf("%s: %s", name, calls)
		}
		if name == "refused" {
			if !errors.Is(err, es.ErrRefused) || !errors.Is(err, errRefused) {
				t.Errorf("refused: %v", err)
			}
		} else if err != nil || result.Status != es.Pending || result.Version != 1 {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
	}
}

func TestClaimBeforeRevoke(t *testing.T) {
	tap := newTap()
	tap.on = fails("publish", 1, func(func() error) error {
		// Somebody else finds the commit pending and takes it over.
		other := &es.Journal{Store: tap.Store, Publisher: tap, Grace: -1}
		if n, err := other.Relay(context.Background()); n != 1 || err != nil {
			t.Errorf("relay: %d, %v", n, err)
		}
		return errRefused
	})
	result, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("a"))
	if err != nil || result.Status != es.Pending {
		t.Errorf("too late to refuse: %+v, %v", result, err)
	}
	if err := check(tap.Store, tap.published, theStream); err != nil {
		t.Error(err)
	}
}

func TestMarkerIsReplaced(t *testing.T) {
	tap := newTap()
	j := tap.journal()
	fill(t, j, &counter, 1)
	var revoked []string
	for range 3 { // the broker refuses three commands in turn: each takes the slot of the one before
		tap.on = fails("publish", 1, refuse)
		if _, err := es.Execute(t.Context(), j, &counter, "1", count("refused", "refused")); !errors.Is(err, es.ErrRefused) {
			t.Fatal(err)
		}
		all := slots(t, tap.Store, theStream)
		marker := all[len(all)-1]
		if len(all) != 2 || marker.Status != es.Revoked || marker.Version != 2 || len(marker.Events) != 0 || slices.Contains(revoked, marker.ID) {
			t.Fatalf("the slot of a refused commit holds %+v", all)
		}
		revoked = append(revoked, marker.ID)
	}
	result, err := es.Execute(t.Context(), j, &counter, "1", count("b"))
	if err != nil || result.Version != 2 {
		t.Fatalf("%+v, %v", result, err)
	}
	all := slots(t, tap.Store, theStream)
	if c := all[1]; c.Replaces != revoked[2] || c.Status != es.Settled {
		t.Errorf("%+v replaces %q, want %q", c, c.Replaces, revoked[2])
	}
	if err := check(tap.Store, tap.published, theStream); err != nil {
		t.Error(err)
	}
}

func TestUnknownWriteIsSentAgain(t *testing.T) {
	for _, op := range []string{"append", "settle", "revoke"} {
		for name, lose := range map[string]func(func() error) error{"before": loseBefore, "after": loseAfter} {
			synctest.Test(t, func(t *testing.T) {
				tap := newTap()
				var sent []string
				lost := fails(op, 2, lose)
				tap.on = func(called string, c es.Commit, do func() error) error {
					if called == op {
						sent = append(sent, c.ID)
					}
					if op == "revoke" && called == "publish" {
						return errRefused
					}
					return lost(called, c, do)
				}
				result, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("a"))
				if op == "revoke" {
					if !errors.Is(err, es.ErrRefused) {
						t.Errorf("%s lost %s its effect: %v", op, name, err)
					}
				} else if err != nil || result.Status != es.Settled {
					t.Errorf("%s lost %s its effect: %+v, %v", op, name, result, err)
				}
				if len(sent) != 3 || sent[0] != sent[1] || sent[1] != sent[2] {
					t.Errorf("%s lost %s its effect: sent for %v", op, name, sent)
				}
			})
		}
	}
}

// After an unknown answer a refusal is no proof, and a conflict is one.
func TestUnknownAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		n := 0
		tap.on = func(op string, _ es.Commit, do func() error) error {
			if op != "append" {
				return do()
			}
			if n++; n == 1 {
				return errLost
			}
			return errRefused
		}
		_, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("a"))
		unknown, ok := errors.AsType[*es.UnknownError](err)
		if !ok || unknown.Stream != theStream || unknown.Version != 1 || unknown.ID == "" || !errors.Is(err, errLost) || errors.Is(err, es.ErrRefused) {
			t.Errorf("%v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		tap.on = fails("append", 1, func(func() error) error {
			fill(t, &es.Journal{Store: tap.Store}, &counter, 1) // a rival takes the slot
			return errLost
		})
		result, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("a"))
		if err != nil || result.Version != 2 {
			t.Errorf("%+v, %v", result, err)
		}
	})
	// A store that refuses outright has stored nothing.
	tap := newTap()
	tap.on = fails("append", 1, refuse)
	if _, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("a")); !errors.Is(err, es.ErrRefused) {
		t.Errorf("%v", err)
	}
	if calls := strings.Join(tap.reset(), " "); calls != "load append" {
		t.Error(calls)
	}
}

// A revoke whose effect cannot be found out leaves everything open.
func TestUnknownRevoke(t *testing.T) {
	for name, how := range map[string]func(func() error) error{"before": loseBefore, "after": loseAfter, "refused": refuse} {
		synctest.Test(t, func(t *testing.T) {
			tap := newTap()
			lost := fails("revoke", 99, how)
			tap.on = func(op string, c es.Commit, do func() error) error {
				if op == "publish" {
					return errRefused
				}
				return lost(op, c, do)
			}
			_, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("a"))
			if _, ok := errors.AsType[*es.UnknownError](err); !ok {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// Published, and the answer to settle is missing: somebody publishes it again, and
// subscribers can tell.
func TestRepublishedUnderSameID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		tap.on = fails("settle", 4, loseBefore)
		result, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("a"))
		if err != nil || result.Status != es.Pending {
			t.Fatalf("%+v, %v", result, err)
		}
		pass(time.Second)
		if n, err := tap.journal().Relay(t.Context()); n != 1 || err != nil {
			t.Fatalf("relay: %d, %v", n, err)
		}
		if len(tap.published) != 2 || tap.published[0].ID != tap.published[1].ID {
			t.Errorf("published %v", tap.published)
		}
		// A commit that takes the slot of a revoked one has another ID.
		tap.on = fails("publish", 1, refuse)
		_, _ = es.Execute(t.Context(), tap.journal(), &counter, "1", count("b"))
		all := slots(t, tap.Store, theStream)
		if _, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("b")); err != nil {
			t.Fatal(err)
		}
		if last := tap.published[len(tap.published)-1]; last.Version != 2 || last.ID == all[1].ID {
			t.Errorf("%+v has the version and the ID of a revoked commit", last)
		}
	})
}

// The message has what subscribers need, and not what only the store needs.
func TestMessage(t *testing.T) {
	tap := newTap()
	j, a := tap.journal(), snapshotting("s1", 1)
	tap.on = fails("publish", 1, refuse)
	_, _ = es.Execute(t.Context(), j, a, "1", count("x"))
	if _, err := es.Execute(t.Context(), j, a, "1", count("x"), es.Named("n", nil)); err != nil {
		t.Fatal(err)
	}
	stored, sent := slots(t, tap.Store, theStream)[0], tap.published[0]
	if stored.State == nil || len(stored.Done) != 1 || stored.Replaces == "" {
		t.Errorf("stored %+v", stored)
	}
	if sent.State != nil || sent.Done != nil || sent.Replaces != "" || sent.Command != "n" || sent.Status != es.Settled {
		t.Errorf("published %+v", sent)
	}
}

// execution is how commands are executed: es.Execute, or a broken one.
type execution func(context.Context, *es.Journal, *es.Aggregate[[]string, Counted], string, func([]string) ([]Counted, error), ...es.Option) (es.Result, error)

func TestCancelDoesNotStopCommit(t *testing.T) {
	prove(t, cancelStopsNothing, es.Execute, []mutant[execution]{
		{"a cancelled context stops the compensation", func(ctx context.Context, j *es.Journal, a *es.Aggregate[[]string, Counted], id string, decide func([]string) ([]Counted, error), o ...es.Option) (es.Result, error) {
			s := &broken{Store: j.Store}
			s.revoke = func(_ context.Context, c es.Commit) error { return s.Store.Revoke(ctx, c) }
			return es.Execute(ctx, &es.Journal{Store: s, Publisher: j.Publisher}, a, id, decide, o...)
		}},
	})
	// Before: nothing happens.
	tap := newTap()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := es.Execute(ctx, tap.journal(), &counter, "1", func([]string) ([]Counted, error) {
		cancel()
		return []Counted{{"a"}}, nil
	})
	if !errors.Is(err, context.Canceled) || slices.Contains(tap.reset(), "append") {
		t.Errorf("cancelled while deciding: %v", err)
	}
}

func cancelStopsNothing(t *testing.T, execute execution) (wrong error) {
	for _, during := range []string{"append", "publish", "settle", "revoke"} {
		synctest.Test(t, func(t *testing.T) {
			tap := newTap()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tap.on = func(op string, _ es.Commit, do func() error) error {
				if op == during {
					cancel()
				}
				if during == "revoke" && op == "publish" {
					return errRefused
				}
				return do()
			}
			result, err := execute(ctx, tap.journal(), &counter, "1", count("a"))
			switch {
			case during == "revoke" && (!errors.Is(err, es.ErrRefused) || slots(t, tap.Store, theStream)[0].Status != es.Revoked),
				during != "revoke" && (err != nil || result.Status != es.Settled):
				wrong = errors.Join(wrong, fmt.Errorf("cancelled during %s: %+v, %v", during, result, err))
			}
		})
	}
	return wrong
}

func TestDeadlineTooClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		j := tap.journal()
		j.Timeout = 3 * time.Second
		for left, ok := range map[time.Duration]bool{2 * time.Second: false, 4 * time.Second: true} {
			ctx, cancel := context.WithTimeout(t.Context(), left)
			_, err := es.Execute(ctx, j, &counter, "1", count("a"))
			cancel()
			stored := slices.Contains(tap.reset(), "append")
			if ok != (err == nil) || ok != stored || !ok && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v left: %v", left, err)
			}
		}
	})
}

// A broker that takes all the time there is before it refuses leaves enough to
// take the commit back.
func TestTimeForCompensation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		tap.on = func(op string, _ es.Commit, do func() error) error {
			if op == "revoke" {
				pass(time.Second / 2)
			}
			return do()
		}
		j := &es.Journal{Store: tap, Publisher: slow{}}
		_, err := es.Execute(t.Context(), j, &counter, "1", count("a"))
		if !errors.Is(err, es.ErrRefused) {
			t.Errorf("%v", err)
		}
		if all := slots(t, tap.Store, theStream); all[0].Status != es.Revoked {
			t.Errorf("left behind: %+v", all)
		}
	})
}

// slow never reaches its broker, and gives up when its context ends.
type slow struct{}

func (slow) Publish(ctx context.Context, _ es.Commit) error {
	<-ctx.Done()
	return fmt.Errorf("never connected: %w: %w", es.ErrRefused, ctx.Err())
}

func TestGrace(t *testing.T) {
	// A living author settles its commit within the grace period: it is left to it.
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		plant(t, tap.Store, raw(1, "living", "a"))
		go func() {
			pass(500 * time.Millisecond)
			_ = tap.Store.Settle(context.Background(), raw(1, "living", "a"))
		}()
		result, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("b"))
		if err != nil || result.Version != 2 {
			t.Errorf("%+v, %v", result, err)
		}
		if calls := tap.reset(); slices.Contains(calls, "claim") {
			t.Errorf("claimed from a living author: %v", calls)
		}
	})
	// A dead one does not: after the period, and not before, the commit is taken over.
	for name, age := range map[string]time.Duration{"new": 0, "half a period old": time.Second / 2, "from a clock ahead": -time.Hour, "old": time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			tap := newTap()
			dead := raw(1, "dead", "a")
			dead.Time = dead.Time.Add(-age)
			plant(t, tap.Store, dead)
			start := time.Now()
			result, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("b"))
			if err != nil || result.Version != 2 {
				t.Errorf("%s: %+v, %v", name, result, err)
			}
			wait := min(max(time.Second-age, 0), time.Second)
			if took := time.Since(start); took < wait || took > wait+300*time.Millisecond {
				t.Errorf("%s: finished after %v, want %v", name, took, wait)
			}
		})
	}
	// Waiting ends with the caller's context.
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		plant(t, tap.Store, raw(1, "living", "a"))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := es.Execute(ctx, tap.journal(), &counter, "1", count("b")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
	// One living author after the other: that is a conflict like any other.
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		n := uint64(0)
		tap.on = func(op string, _ es.Commit, do func() error) error {
			if op == "load" {
				if n > 0 {
					if err := tap.Store.Settle(context.Background(), raw(n, fmt.Sprint("c", n))); err != nil {
						t.Error(err)
					}
				}
				n++
				plant(t, tap.Store, raw(n, fmt.Sprint("c", n), "x"))
			}
			return do()
		}
		if _, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("b")); !errors.Is(err, es.ErrConflict) {
			t.Errorf("%v", err)
		}
	})
}

// A repeat of a command whose commit is claimed, but cannot be published now, is
// told that it was accepted: nobody can take the commit back.
func TestRepeatOfClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		j := tap.journal()
		tap.on = fails("publish", 99, loseBefore)
		first, err := es.Execute(t.Context(), j, &counter, "1", count("a"), es.Named("n", nil))
		if err != nil || first.Status != es.Pending {
			t.Fatalf("%+v, %v", first, err)
		}
		pass(time.Minute)
		// Another command claims it, and cannot publish it.
		if _, err := es.Execute(t.Context(), j, &counter, "1", count("b"), es.Named("m", nil)); err == nil {
			t.Fatal("built on an unsettled commit")
		}
		again, err := es.Execute(t.Context(), j, &counter, "1", count("a"), es.Named("n", nil))
		if err != nil || !again.Repeated || again.Status != es.Pending || again.Version != 1 {
			t.Errorf("%+v, %v", again, err)
		}
		tap.on = nil
		again, err = es.Execute(t.Context(), j, &counter, "1", count("a"), es.Named("n", nil))
		if err != nil || !again.Repeated || again.Status != es.Settled {
			t.Errorf("%+v, %v", again, err)
		}
		if err := check(tap.Store, tap.published, theStream); err != nil {
			t.Error(err)
		}
	})
}

// A repeat that meets its own commit pending, and cannot finish it, does not say that nothing
// was stored.
func TestRepeatOfPending(t *testing.T) {
	for _, op := range []string{"claim", "publish", "settle"} {
		synctest.Test(t, func(t *testing.T) {
			tap := newTap()
			j := tap.journal()
			tap.on = fails("publish", 99, loseBefore)
			if first, err := es.Execute(t.Context(), j, &counter, "1", count("a"), es.Named("n", nil)); err != nil || first.Status != es.Pending {
				t.Fatalf("%+v, %v", first, err)
			}
			pass(time.Minute)
			tap.on = fails(op, 99, loseBefore)
			_, err := es.Execute(t.Context(), j, &counter, "1", count("a"), es.Named("n", nil))
			if unknown, ok := errors.AsType[*es.UnknownError](err); !ok || unknown.Version != 1 || unknown.ID != slots(t, tap.Store, theStream)[0].ID {
				t.Errorf("%s: %v", op, err)
			}
			// To any other command nothing happened.
			_, err = es.Execute(t.Context(), j, &counter, "1", count("b"), es.Named("m", nil))
			if _, ok := errors.AsType[*es.UnknownError](err); ok || err == nil {
				t.Errorf("%s: %v", op, err)
			}
			tap.on = nil
			again, err := es.Execute(t.Context(), j, &counter, "1", count("a"), es.Named("n", nil))
			if err != nil || !again.Repeated || again.Status != es.Settled {
				t.Errorf("%+v, %v", again, err)
			}
			if err := check(tap.Store, tap.published, theStream); err != nil {
				t.Error(err)
			}
		})
	}
	// Nor does one whose time ends while the author may still be at work.
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		tap.on = fails("publish", 99, loseBefore)
		if first, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("a"), es.Named("n", nil)); err != nil || first.Status != es.Pending {
			t.Fatalf("%+v, %v", first, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := es.Execute(ctx, tap.journal(), &counter, "1", count("a"), es.Named("n", nil))
		if _, ok := errors.AsType[*es.UnknownError](err); !ok || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

// A repeat of an older command is answered at once, whatever the newest commit is.
func TestRepeatBehindUnsettled(t *testing.T) {
	tap := newTap()
	j := tap.journal()
	if _, err := es.Execute(t.Context(), j, &counter, "1", count("a"), es.Named("n", nil)); err != nil {
		t.Fatal(err)
	}
	next := raw(2, "living", "b")
	next.Done = slots(t, tap.Store, theStream)[0].Done
	plant(t, tap.Store, next)
	tap.reset()
	again, err := es.Execute(t.Context(), j, &counter, "1", count("a"), es.Named("n", nil))
	if err != nil || !again.Repeated || again.Status != es.Settled || again.Version != 1 {
		t.Errorf("%+v, %v", again, err)
	}
	if calls := strings.Join(tap.reset(), " "); calls != "load" {
		t.Error(calls)
	}
}

// A store that forgets what was settled, against its contract, does not hang a
// command.
func TestForgetfulStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		plant(t, tap.Store, with(raw(1, "dead", "a"), es.Claimed))
		tap.on = fails("settle", 999, func(func() error) error { return nil })
		if _, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("b")); !errors.Is(err, es.ErrConflict) {
			t.Errorf("%v", err)
		}
	})
}

func TestRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		ids := []string{"1", "2", "3", "4"}
		for i, status := range []es.Status{es.Pending, es.Claimed, es.Settled, es.Revoked} {
			c := raw(1, ids[i], "x")
			c.Stream.ID = ids[i]
			plant(t, tap.Store, with(c, status))
		}
		pass(time.Second / 2)
		if n, err := tap.journal().Relay(t.Context()); n != 0 || err != nil {
			t.Errorf("relayed %d commits of living authors, %v", n, err)
		}
		pass(time.Second/2 + time.Millisecond)
		if n, err := tap.journal().Relay(t.Context()); n != 2 || err != nil {
			t.Errorf("relayed %d, %v", n, err)
		}
		for _, c := range tap.published {
			if err := check(tap.Store, tap.published, c.Stream); err != nil {
				t.Error(err)
			}
		}
		if n, err := tap.journal().Relay(t.Context()); n != 0 || err != nil {
			t.Errorf("relayed %d once more, %v", n, err)
		}
	})
}

func TestRelayErrors(t *testing.T) {
	tap := newTap()
	for i := range 30 {
		c := raw(1, fmt.Sprint(i), "x")
		c.Stream.ID = fmt.Sprint(i)
		plant(t, tap.Store, c)
	}
	j := tap.journal()
	j.Grace = -1
	bad := 0
	tap.on = func(op string, c es.Commit, do func() error) error {
		if op == "publish" && c.ID == "7" {
			return errRefused
		}
		return do()
	}
	n, err := j.Relay(t.Context())
	blocked, ok := errors.AsType[*es.BlockedError](err)
	if n != 29 || !ok || blocked.ID != "7" || !errors.Is(err, errRefused) {
		t.Errorf("relayed %d of 30, %v", n, err)
	}
	// However many are refused, the others get their turn, and the error stays short.
	tap.on = func(op string, c es.Commit, do func() error) error {
		if op == "publish" && c.ID != "last" {
			return errRefused
		}
		return do()
	}
	for i := range 30 {
		c := raw(1, fmt.Sprint("refused", i), "x")
		c.Stream.ID = c.ID
		plant(t, tap.Store, c)
	}
	late := raw(1, "last", "x")
	late.Stream.ID = "last"
	plant(t, tap.Store, late)
	n, err = j.Relay(t.Context())
	if n != 1 || !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "21 more commits") || strings.Count(err.Error(), "is blocked") != 10 {
		t.Errorf("relayed %d, %v", n, err)
	}
	tap.on = nil
	if n, err := j.Relay(t.Context()); n != 31 || err != nil {
		t.Errorf("relayed %d, %v", n, err)
	}
	// A broker that is down is not asked for each of many commits.
	for i := range 30 {
		c := raw(1, fmt.Sprint("again", i), "x")
		c.Stream.ID = fmt.Sprint("again", i)
		plant(t, tap.Store, c)
	}
	tap.on = func(op string, c es.Commit, do func() error) error {
		if op == "publish" {
			bad++
			return errLost
		}
		return do()
	}
	if n, err := j.Relay(t.Context()); n != 0 || !errors.Is(err, errLost) || bad != 10 {
		t.Errorf("relayed %d, asked %d times, %v", n, bad, err)
	}
	// Somebody else is faster: no error, and not counted.
	tap.on = fails("claim", 99, func(func() error) error { return es.ErrConflict })
	if n, err := j.Relay(t.Context()); n != 0 || err != nil {
		t.Errorf("relayed %d, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := j.Relay(ctx); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("relayed %d, %v", n, err)
	}
	unlisted := &es.Journal{Store: cannotList{tap}, Publisher: tap}
	if _, err := unlisted.Relay(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	if _, err := (&es.Journal{}).Relay(t.Context()); !errors.Is(err, es.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

type cannotList struct{ es.Store }

func (cannotList) Pending(context.Context, time.Time) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		yield(es.Commit{}, fmt.Errorf("no index of pending commits: %w", errors.ErrUnsupported))
	}
}

func TestSettleByHand(t *testing.T) {
	for _, status := range []es.Status{es.Pending, es.Claimed} {
		tap := newTap()
		j := tap.journal()
		plant(t, tap.Store, with(raw(1, "stuck", "a"), status))
		if err := j.Settle(t.Context(), theStream, "other", "why"); !errors.Is(err, es.ErrConflict) {
			t.Errorf("another commit: %v", err)
		}
		if err := j.Settle(t.Context(), theStream, "stuck", ""); !errors.Is(err, es.ErrInvalid) {
			t.Errorf("without a reason: %v", err)
		}
		if err := j.Settle(t.Context(), theStream, "stuck", "why"); err != nil {
			t.Error(err)
		}
		if all := slots(t, tap.Store, theStream); all[0].Status != es.Settled || len(tap.published) != 0 {
			t.Errorf("%+v, published %d", all[0], len(tap.published))
		}
		if err := j.Settle(t.Context(), theStream, "stuck", "why"); !errors.Is(err, es.ErrConflict) {
			t.Errorf("settled already: %v", err)
		}
	}
	tap := newTap()
	plant(t, tap.Store, with(raw(1, "gone", "a"), es.Revoked))
	if err := tap.journal().Settle(t.Context(), theStream, "gone", "why"); !errors.Is(err, es.ErrConflict) {
		t.Errorf("revoked: %v", err)
	}
	if err := (&es.Journal{}).Settle(t.Context(), theStream, "x", "why"); !errors.Is(err, es.ErrInvalid) {
		t.Errorf("no store: %v", err)
	}
	for _, op := range []string{"loadback", "claim", "settle"} {
		synctest.Test(t, func(t *testing.T) {
			tap := newTap()
			plant(t, tap.Store, raw(1, "stuck", "a"))
			tap.on = fails(op, 99, loseBefore)
			if err := tap.journal().Settle(t.Context(), theStream, "stuck", "why"); !errors.Is(err, errLost) {
				t.Errorf("%s fails: %v", op, err)
			}
		})
	}
}

// The log tells what went wrong where, and nothing of what was said.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		j := tap.journal()
		j.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		ctx := es.WithMeta(t.Context(), meta("k", "secret"))
		n := 0
		for _, op := range []string{"append", "publish", "settle", "revoke"} {
			for _, how := range []func(func() error) error{loseBefore, loseAfter, refuse} {
				for _, times := range []int{1, 99} {
					lost := fails(op, times, how)
					tap.on = func(called string, c es.Commit, do func() error) error {
						if op == "revoke" && called == "publish" {
							return errRefused
						}
						return lost(called, c, do)
					}
					n++
					_, _ = es.Execute(ctx, j, snapshotting("s1", 1), "1", count("secret"), es.Named(fmt.Sprint("secret ", n), nil))
					tap.on = nil
					pass(time.Minute)
					if _, err := j.Relay(ctx); err != nil {
						t.Error(err)
					}
				}
			}
		}
	})
	if strings.Contains(log.String(), "secret") {
		t.Error("what was said is in the log")
	}
	for _, msg := range []string{
		"msg=commit ", "outcome=accepted", "outcome=unknown", "outcome=pending", "outcome=refused", "commit finished for its author", "write sent again", "relayed",
	} {
		if !strings.Contains(log.String(), msg) {
			t.Errorf("%q is not in the log", msg)
		}
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "msg=relayed ") {
			continue
		}
		if !strings.Contains(line, "stream=counter/1 version=") || !strings.Contains(line, " commit=") {
			t.Errorf("a line without its place: %s", line)
		}
	}
}

// pass lets time pass in a bubble.
func pass(d time.Duration) { <-time.After(d) }
