package es_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

func TestExecute(t *testing.T) {
	tap := newTap()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("elsewhere", 3600))
	j := tap.journal()
	j.Now = func() time.Time { return at }
	ctx := es.WithMeta(es.WithMeta(t.Context(), meta("actor", "ada", "trace", "1")), meta("trace", "2"))
	result, err := es.Execute(ctx, j, &counter, "1", count("a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	if want := (es.Result{Stream: theStream, Version: 2, Time: at.UTC(), Status: es.Settled}); result != want {
		t.Errorf("result %+v, want %+v", result, want)
	}
	c := slots(t, tap.Store, theStream)[0]
	if c.ID == "" || c.Version != 1 || len(c.Events) != 2 || !c.Time.Equal(at) || c.Status != es.Settled ||
		c.Command != "" || c.Done != nil || c.State != nil || fmt.Sprint(c.Meta) != "map[actor:ada trace:2]" {
		t.Errorf("stored %+v", c)
	}
	if got := tap.published[0]; got.ID != c.ID || got.Version != 1 || len(got.Events) != 2 || got.Status != es.Settled || fmt.Sprint(got.Meta) != fmt.Sprint(c.Meta) {
		t.Errorf("published %+v", got)
	}
	if calls := strings.Join(tap.reset(), " "); calls != "load append publish settle" {
		t.Errorf("calls: %s", calls)
	}
}

func TestNoEvents(t *testing.T) {
	tap := newTap()
	fill(t, tap.journal(), &counter, 2)
	tap.reset()
	result, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count(), es.Named("n", nil))
	if want := (es.Result{Stream: theStream, Version: 2, Status: es.Settled}); err != nil || result != want {
		t.Errorf("%+v, %v", result, err)
	}
	if calls := strings.Join(tap.reset(), " "); calls != "load" {
		t.Errorf("calls: %s", calls)
	}
}

func TestDecisionError(t *testing.T) {
	tap := newTap()
	no := errors.New("no")
	_, err := es.Execute(t.Context(), tap.journal(), &counter, "1", func([]string) ([]Counted, error) { return []Counted{{"x"}}, no })
	if err != no { //nolint:errorlint // it is returned as it is
		t.Errorf("%v", err)
	}
	if calls := strings.Join(tap.reset(), " "); calls != "load" {
		t.Errorf("calls: %s", calls)
	}
}

func TestWithoutPublisher(t *testing.T) {
	tap := newTap()
	result, err := es.Execute(t.Context(), &es.Journal{Store: tap}, &counter, "1", count("a"))
	if err != nil || result.Status != es.Settled {
		t.Errorf("%+v, %v", result, err)
	}
	if calls := strings.Join(tap.reset(), " "); calls != "load append" {
		t.Errorf("one write and no more: %s", calls)
	}
	// What another journal left to be published cannot be finished here.
	plant(t, tap.Store, raw(2, "p", "x"))
	j := &es.Journal{Store: tap, Grace: -1}
	_, err = es.Execute(t.Context(), j, &counter, "1", count("b"))
	if _, ok := errors.AsType[*es.BlockedError](err); !ok {
		t.Errorf("%v", err)
	}
	if _, err := j.Relay(t.Context()); !errors.Is(err, es.ErrInvalid) {
		t.Errorf("relay: %v", err)
	}
}

func TestConflictDecidesAgain(t *testing.T) {
	tap := newTap()
	rival := &es.Journal{Store: tap.Store}
	lost := 0
	tap.on = func(op string, c es.Commit, do func() error) error {
		if op == "append" && lost < 3 {
			lost++
			fill(t, rival, &counter, 1)
		}
		return do()
	}
	var seen []int
	result, err := es.Execute(t.Context(), tap.journal(), &counter, "1", func(s []string) ([]Counted, error) {
		seen = append(seen, len(s))
		return []Counted{{fmt.Sprint("after ", len(s))}}, nil
	})
	if err != nil || result.Version != 4 || fmt.Sprint(seen) != "[0 1 2 3]" {
		t.Errorf("%+v after deciding on %v, %v", result, seen, err)
	}
	all := slots(t, tap.Store, theStream)
	if got := all[3].Events[0].Data; got != `{"By":"after 3"}` || len(tap.published) != 1 {
		t.Errorf("stored %s, published %d times", got, len(tap.published))
	}
}

func TestConflictOutlastsAttempts(t *testing.T) {
	for attempts, want := range map[int]int{0: 10, 1: 1, 3: 3} {
		tap := newTap()
		rival := &es.Journal{Store: tap.Store}
		tap.on = func(op string, c es.Commit, do func() error) error {
			if op == "append" {
				fill(t, rival, &counter, 1)
			}
			return do()
		}
		j := tap.journal()
		j.Attempts = attempts
		decided := 0
		synctest.Test(t, func(t *testing.T) {
			_, err := es.Execute(t.Context(), j, &counter, "1", func([]string) ([]Counted, error) {
				decided++
				return []Counted{{"mine"}}, nil
			})
			if !errors.Is(err, es.ErrConflict) || decided != want {
				t.Errorf("Attempts %d: decided %d times, %v", attempts, decided, err)
			}
		})
		for _, c := range slots(t, tap.Store, theStream) {
			if strings.Contains(c.Events[0].Data, "mine") {
				t.Error("a command that failed is stored")
			}
		}
	}
}

func TestIfVersion(t *testing.T) {
	tap := newTap()
	for want := range uint64(3) {
		if _, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("x"), es.IfVersion(want)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count("x"), es.IfVersion(2))
	mismatch, ok := errors.AsType[*es.VersionError](err)
	if !ok || *mismatch != (es.VersionError{Stream: theStream, Want: 2, Have: 3}) {
		t.Errorf("%v", err)
	}
	// It holds on each attempt: a rival between load and append is noticed.
	rival := &es.Journal{Store: tap.Store}
	tap.on = func(op string, c es.Commit, do func() error) error {
		if op == "append" {
			fill(t, rival, &counter, 1)
		}
		return do()
	}
	_, err = es.Execute(t.Context(), tap.journal(), &counter, "1", count("x"), es.IfVersion(3))
	if mismatch, ok := errors.AsType[*es.VersionError](err); !ok || mismatch.Have != 4 {
		t.Errorf("%v", err)
	}
}

// A command that demands a new stream does not read where there is none, and is told what is stored where there is one.
func TestIfNew(t *testing.T) {
	refuses := func(have []string) ([]Counted, error) {
		if len(have) == 0 {
			return nil, errFull
		}
		return []Counted{{"x"}}, nil
	}
	nothing := func([]string) ([]Counted, error) { return nil, nil }
	there := []es.Commit{with(raw(1, "one", "x"), es.Settled)}
	const isThere = "stream counter/1 is at version 1, not at 0"
	for _, row := range []struct {
		name    string
		before  []es.Commit
		decide  func([]string) ([]Counted, error)
		options []es.Option
		want    string // version, or the error
		calls   string
	}{
		{"new", nil, count("x"), nil, "1", "append publish settle"},
		{"there", there, count("x"), nil, isThere, "append load"},
		{"refused if new", nil, refuses, nil, "full", "load"},
		{"there and refused if new", there, refuses, nil, isThere, "load"},
		{"nothing to do", nil, nothing, nil, "0", "load"},
		{"there and nothing to do", there, nothing, nil, isThere, "load"},
		{"revoked", []es.Commit{with(raw(1, "dead", "x"), es.Revoked)}, count("x"), nil, "1", "append load append publish settle"},
		{"pending", []es.Commit{with(raw(1, "dead", "x"), es.Pending)}, count("x"), nil, isThere, "append load claim publish settle load"},
		{"repeat", []es.Commit{func() es.Commit {
			c := with(raw(1, "one", "x"), es.Settled)
			c.Command, c.Done = "name", []es.Done{{Command: "name", Fingerprint: 0xe3b0c44298fc1c14, Version: 1}}
			return c
		}()}, count("x"), []es.Option{es.Named("name", nil)}, "1", "append load"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tap := newTap()
			plant(t, tap.Store, row.before...)
			j := tap.journal()
			j.Attempts, j.Grace = 1, -1
			res, err := es.Execute(t.Context(), j, &counter, "1", row.decide, append(row.options, es.IfVersion(0))...)
			got := fmt.Sprint(res.Version)
			if err != nil {
				got = err.Error()
			}
			if calls := strings.Join(tap.reset(), " "); got != row.want || calls != row.calls {
				t.Errorf("%s after %q, want %s after %q", got, calls, row.want, row.calls)
			}
		})
	}
}

func TestNamed(t *testing.T) {
	tap := newTap()
	j := tap.journal()
	name := func(n int) es.Option { return es.Named(fmt.Sprint("name ", n), fmt.Append(nil, "content ", n)) }
	var first []es.Result
	for n := range 8 {
		result, err := es.Execute(t.Context(), j, &counter, "1", count("a", "b"), name(n))
		if err != nil || result.Repeated {
			t.Fatalf("%+v, %v", result, err)
		}
		first = append(first, result)
	}
	tap.reset()
	for n, want := range first {
		result, err := es.Execute(t.Context(), j, &counter, "1", count("again"), name(n), es.IfVersion(99))
		want.Repeated = true
		if err != nil || result != want {
			t.Errorf("repeat %d: %+v, want %+v, %v", n, result, want, err)
		}
	}
	if calls := tap.reset(); slices.Contains(calls, "append") || slices.Contains(calls, "publish") {
		t.Errorf("repeats wrote: %v", calls)
	}
	_, err := es.Execute(t.Context(), j, &counter, "1", count("x"), es.Named("name 3", []byte("other")))
	if !errors.Is(err, es.ErrNameReused) {
		t.Errorf("the same name with other content: %v", err)
	}
	// Names count per stream.
	if result, err := es.Execute(t.Context(), j, &counter, "2", count("x"), name(0)); err != nil || result.Repeated {
		t.Errorf("on another stream: %+v, %v", result, err)
	}
	for _, bad := range []string{"", strings.Repeat("x", es.MaxName+1), "a\nb", "\xff"} {
		if _, err := es.Execute(t.Context(), j, &counter, "1", count("x"), es.Named(bad, nil)); !errors.Is(err, es.ErrInvalid) {
			t.Errorf("name %q: %v", bad, err)
		}
	}
}

func TestNamedWindowByDefault(t *testing.T) {
	tap := newTap()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	j := tap.journal()
	j.Now = func() time.Time { return now }
	run := func(name string) {
		t.Helper()
		if _, err := es.Execute(t.Context(), j, &counter, "1", count("x"), es.Named(name, nil)); err != nil {
			t.Fatal(err)
		}
	}
	remembered := func() int {
		all := slots(t, tap.Store, theStream)
		return len(all[len(all)-1].Done)
	}
	for n := range 10 {
		run(fmt.Sprint(n))
	}
	if n := remembered(); n != 8 {
		t.Errorf("%d commands are remembered", n)
	}
	now = now.Add(24*time.Hour - 1)
	run("late")
	if n := remembered(); n != 8 {
		t.Errorf("%d commands are remembered for a day", n)
	}
	now = now.Add(2)
	run("later")
	if n := remembered(); n != 2 {
		t.Errorf("%d commands are remembered after a day", n)
	}
}

func TestNamedWindow(t *testing.T) {
	tap := newTap()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	j := tap.journal()
	j.Remember, j.RememberFor = 3, time.Hour
	j.Now = func() time.Time { return now }
	run := func(name string) bool {
		t.Helper()
		result, err := es.Execute(t.Context(), j, &counter, "1", count("x"), es.Named(name, nil))
		if err != nil {
			t.Fatal(err)
		}
		return result.Repeated
	}
	run("a")
	run("b")
	run("c")
	if !run("a") {
		t.Error("the oldest of three is forgotten")
	}
	run("d")
	if run("a") {
		t.Error("the fourth is remembered") // and now a is the newest: c d a
	}
	fill(t, j, &counter, 5) // unnamed commands carry the window on
	if !run("c") {
		t.Error("unnamed commands push names out")
	}
	now = now.Add(time.Hour)
	fill(t, j, &counter, 1)
	if all := slots(t, tap.Store, theStream); all[len(all)-1].Done != nil && len(all[len(all)-1].Done) != 0 {
		t.Errorf("names outlived the window: %v", all[len(all)-1].Done)
	}
	if run("c") {
		t.Error("a name outlived the window")
	}
}

func TestNamedSurvivesSnapshots(t *testing.T) {
	prove(t, namedSurvives, nil, []mutant[seen]{
		{"a snapshot is stored without the names of commands", func(s es.Store, p es.Publisher) (es.Store, es.Publisher) {
			return &broken{Store: s, append: func(ctx context.Context, c es.Commit) error {
				if c.State != nil {
					c.Done = nil
				}
				return s.Append(ctx, c)
			}}, p
		}},
		{"a cache has states without the names of commands", func(s es.Store, p es.Publisher) (es.Store, es.Publisher) {
			return &broken{Store: s, read: func(c es.Commit) es.Commit {
				c.Done = nil
				return c
			}}, p
		}},
	})
}

func namedSurvives(t *testing.T, see seen) error {
	latest := counter
	latest.LatestOnly = true
	for strategy, a := range map[string]*es.Aggregate[[]string, Counted]{"snapshots": snapshotting("s1", 2), "latest only": &latest} {
		tap := newTap()
		first, err := es.Execute(t.Context(), see.journal(tap), a, "1", count("x"), es.Named("n", nil))
		if err != nil {
			t.Fatal(err)
		}
		fill(t, see.journal(tap), a, 7)
		result, err := es.Execute(t.Context(), see.journal(tap), a, "1", count("x"), es.Named("n", nil))
		if err != nil || !result.Repeated || result.Version != first.Version {
			return fmt.Errorf("%s: %+v, %v", strategy, result, err)
		}
	}
	return nil
}

func TestRefusedBeforeStored(t *testing.T) {
	many := make([]string, es.MaxEvents+1)
	for name, execute := range map[string]func(*es.Journal) error{
		"no ID": func(j *es.Journal) error {
			_, err := es.Execute(t.Context(), j, &counter, "", count("x"))
			return err
		},
		"long ID": func(j *es.Journal) error {
			_, err := es.Execute(t.Context(), j, &counter, strings.Repeat("x", es.MaxID+1), count("x"))
			return err
		},
		"control character in the ID": func(j *es.Journal) error {
			_, err := es.Execute(t.Context(), j, &counter, "a\x00b", count("x"))
			return err
		},
		"slash in the category": func(j *es.Journal) error {
			a := counter
			a.Category = "a/b"
			_, err := es.Execute(t.Context(), j, &a, "1", count("x"))
			return err
		},
		"no category": func(j *es.Journal) error {
			a := counter
			a.Category = ""
			_, err := es.Execute(t.Context(), j, &a, "1", count("x"))
			return err
		},
		"no decision": func(j *es.Journal) error {
			_, err := es.Execute(t.Context(), j, &counter, "1", nil)
			return err
		},
		"no fold": func(j *es.Journal) error {
			_, err := es.Execute(t.Context(), j, &es.Aggregate[[]string, Counted]{Category: "c", Events: counter.Events}, "1", count("x"))
			return err
		},
		"half a snapshot codec": func(j *es.Journal) error {
			a := counter
			a.Snapshots.Encode = func([]string) ([]byte, error) { return nil, nil }
			_, err := es.Execute(t.Context(), j, &a, "1", count("x"))
			return err
		},
		"two strategies": func(j *es.Journal) error {
			a := snapshotting("s1", 2)
			a.LatestOnly = true
			_, err := es.Execute(t.Context(), j, a, "1", count("x"))
			return err
		},
		"too many events": func(j *es.Journal) error {
			_, err := es.Execute(t.Context(), j, &counter, "1", count(many...))
			return err
		},
		"metadata value": func(j *es.Journal) error {
			ctx := es.WithMeta(t.Context(), meta("k", strings.Repeat("x", es.MaxValue+1)))
			_, err := es.Execute(ctx, j, &counter, "1", count("x"))
			return err
		},
		"metadata key": func(j *es.Journal) error {
			_, err := es.Execute(es.WithMeta(t.Context(), meta("", "v")), j, &counter, "1", count("x"))
			return err
		},
		"metadata entries": func(j *es.Journal) error {
			ctx := t.Context()
			for i := range es.MaxMeta + 1 {
				ctx = es.WithMeta(ctx, meta(fmt.Sprint(i), "v"))
			}
			_, err := es.Execute(ctx, j, &counter, "1", count("x"))
			return err
		},
		"commit without events": func(j *es.Journal) error {
			_, err := j.Commit(t.Context(), es.Commit{Stream: theStream})
			return err
		},
		"commit without a type": func(j *es.Journal) error {
			_, err := j.Commit(t.Context(), es.Commit{Stream: theStream, Events: []es.Event{{}}})
			return err
		},
	} {
		tap := newTap()
		if err := execute(tap.journal()); !errors.Is(err, es.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if calls := tap.reset(); slices.Contains(calls, "append") || slices.Contains(calls, "publish") {
			t.Errorf("%s: calls %v", name, calls)
		}
	}
	for _, j := range []*es.Journal{nil, {}} {
		if _, err := es.Execute(t.Context(), j, &counter, "1", count("x")); !errors.Is(err, es.ErrInvalid) {
			t.Errorf("a journal without a store: %v", err)
		}
	}
	if _, err := es.Execute(t.Context(), newTap().journal(), (*es.Aggregate[[]string, Counted])(nil), "1", count("x")); !errors.Is(err, es.ErrInvalid) {
		t.Errorf("no aggregate: %v", err)
	}
	// The broker's own limits.
	tap := newTap()
	tooLarge := errors.New("260 KB, at most 256 are allowed")
	_, err := es.Execute(t.Context(), &es.Journal{Store: tap, Publisher: checking{tap, tooLarge}}, &counter, "1", count("x"))
	if !errors.Is(err, tooLarge) || !errors.Is(err, es.ErrRefused) || slices.Contains(tap.reset(), "append") {
		t.Errorf("too large for the broker: %v", err)
	}
	if _, err := es.Execute(t.Context(), &es.Journal{Store: tap, Publisher: checking{tap, nil}}, &counter, "1", count("x")); err != nil {
		t.Errorf("within the broker's limits: %v", err)
	}
}

type checking struct {
	*tap
	err error
}

func (c checking) Check(es.Commit) error { return c.err }

func TestJournalCommit(t *testing.T) {
	tap := newTap()
	j := tap.journal()
	events := []es.Event{{Type: "counted", Data: `{"By":"a"}`}, {Type: "counted", Data: `{"By":"b"}`}}
	commit := func(c es.Commit) (es.Result, error) {
		c.Stream = theStream
		return j.Commit(es.WithMeta(t.Context(), meta("a", "context", "b", "context")), c)
	}
	if result, err := commit(es.Commit{Events: events}); err != nil || result.Version != 2 {
		t.Errorf("at the end: %+v, %v", result, err)
	}
	if result, err := commit(es.Commit{Version: 3, Events: events[:1], Command: "n", Meta: meta("b", "commit")}); err != nil || result.Version != 3 {
		t.Errorf("at the next version: %+v, %v", result, err)
	}
	for _, version := range []uint64{1, 3, 5} {
		if _, err := commit(es.Commit{Version: version, Events: events}); err == nil {
			t.Errorf("a commit at version %d of a stream at 3", version)
		} else if _, ok := errors.AsType[*es.VersionError](err); !ok {
			t.Errorf("at version %d: %v", version, err)
		}
	}
	if result, err := commit(es.Commit{Version: 3, Events: events[:1], Command: "n"}); err != nil || !result.Repeated || result.Version != 3 {
		t.Errorf("repeated: %+v, %v", result, err)
	}
	if _, err := commit(es.Commit{Events: events, Command: "n"}); !errors.Is(err, es.ErrNameReused) {
		t.Errorf("repeated with other events: %v", err)
	}
	all := slots(t, tap.Store, theStream)
	if len(all) != 2 || fmt.Sprint(all[1].Meta) != "map[a:context b:commit]" || all[1].Command != "n" {
		t.Errorf("stored %+v", all)
	}
	if err := check(tap.Store, tap.published, theStream); err != nil {
		t.Error(err)
	}
	if state, _, err := es.Load(t.Context(), j, &counter, "1"); err != nil || strings.Join(state, "") != "aba" {
		t.Errorf("%v, %v", state, err)
	}
}

// Many writers, in several processes, on few streams: nothing is lost, doubled or
// out of order.
func TestManyWriters(t *testing.T) {
	const writers, each = 16, 25
	store, broker := &memory.Store{}, newTap()
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := map[string]bool{}
	conflicts := 0
	for w := range writers {
		wg.Go(func() {
			j := &es.Journal{Store: store, Publisher: broker}
			for n := range each {
				by := fmt.Sprint(w, ".", n)
				result, err := es.Execute(t.Context(), j, &counter, "1", count(by))
				mu.Lock()
				switch {
				case errors.Is(err, es.ErrConflict):
					conflicts++
				case err != nil:
					t.Error(err)
				default:
					key := fmt.Sprint(result.Version)
					if accepted[key] {
						t.Errorf("version %s was given twice", key)
					}
					accepted[key], accepted[by] = true, true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := check(store, broker.published, theStream); err != nil {
		t.Error(err)
	}
	state, version, err := es.Load(context.Background(), &es.Journal{Store: store}, &counter, "1")
	if err != nil || int(version) != len(accepted)/2 || len(state) != int(version) {
		t.Errorf("%d accepted, version %d, %d events, %v", len(accepted)/2, version, len(state), err)
	}
	for _, by := range state {
		if !accepted[by] {
			t.Errorf("%s is in the state and was not accepted", by)
		}
	}
	t.Logf("%d accepted, %d gave up on conflicts", len(accepted)/2, conflicts)
}

// No lock and no state of the journal is held while the caller's code runs.
func TestDecisionMayExecute(t *testing.T) {
	tap := newTap()
	j := tap.journal()
	_, err := es.Execute(t.Context(), j, &counter, "1", func([]string) ([]Counted, error) {
		_, err := es.Execute(t.Context(), j, &counter, "2", count("inner"))
		return []Counted{{"outer"}}, err
	})
	if err != nil {
		t.Error(err)
	}
}
