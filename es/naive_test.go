package es_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
)

// The simple way to commit: append, publish, and delete if that failed. It and what is usually
// done to better it go through the explorer like the real protocol, and each must fail. That is
// what shows that the explorer can see.

// erasing is a store from which commits can be deleted: Revoke does. It has one stream, and
// what is in it is history at once.
type erasing struct {
	slots map[uint64]es.Commit
	may   func(e *erasing, c es.Commit) bool // whether Revoke deletes the slot of c
}

func (e *erasing) Load(context.Context, es.StreamID, uint64) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		for _, v := range slices.Sorted(maps.Keys(e.slots)) {
			if !yield(e.slots[v], nil) {
				return
			}
		}
	}
}

func (e *erasing) Append(_ context.Context, c es.Commit) error {
	if _, taken := e.slots[c.Version]; taken {
		return es.ErrConflict
	}
	e.slots[c.Version] = c
	return nil
}

func (e *erasing) Revoke(_ context.Context, c es.Commit) error {
	if !e.may(e, c) {
		return es.ErrConflict
	}
	delete(e.slots, c.Version)
	return nil
}

func (e *erasing) Claim(context.Context, es.Commit) error  { return errors.ErrUnsupported }
func (e *erasing) Settle(context.Context, es.Commit) error { return errors.ErrUnsupported }
func (e *erasing) LoadBack(context.Context, es.StreamID, int) iter.Seq2[es.Commit, error] {
	return nil
}
func (e *erasing) Pending(context.Context, time.Time) iter.Seq2[es.Commit, error] { return nil }

// own reports whether the slot holds this commit, and last whether nothing comes after it.
func (e *erasing) own(c es.Commit) bool { return e.slots[c.Version].ID == c.ID }
func (e *erasing) last(c es.Commit) bool {
	_, more := e.slots[c.Last()+1]
	return !more
}

// simple is a writer of the simple way, and undo says whether it deletes what it failed to publish.
func simple(name string, undo func(error) bool) estest.Process {
	return estest.Process{Name: name, Run: func(ctx context.Context, s es.Store, p es.Publisher) error {
		for n := 1; ; n++ {
			var state []string
			version := uint64(0)
			for c, err := range s.Load(ctx, theDiary, 0) {
				if err != nil {
					return err
				}
				state, version = append(state, c.Command), c.Last()
			}
			c := es.Commit{
				Stream: theDiary, Version: version + 1, ID: fmt.Sprintf("%s-%d", name, n), Command: name, Time: time.Now(),
				Events: []es.Event{{Type: "done", Data: fmt.Sprintf(`{"By":%q,"Saw":%q}`, name, strings.Join(state, ","))}},
			}
			err := s.Append(ctx, c)
			if errors.Is(err, es.ErrConflict) && n < 3 {
				continue
			}
			if err != nil {
				return err
			}
			err = p.Publish(ctx, c)
			if err != nil && undo(err) {
				return errors.Join(err, s.Revoke(ctx, c))
			}
			return err
		}
	}}
}

// kinds of violations.
const (
	lost     = "lost: stored and never published"
	phantom  = "phantom: published and not stored"
	gap      = "gap: a version is missing"
	vanished = "decided on history that has vanished"
	disorder = "disorder: published in another order than stored"
	lie      = "lie: what the caller was told is not true"
)

// violations returns all that is wrong at an end, by its kind.
func violations(ctx context.Context, end *estest.End, writers ...string) map[string]error {
	found := map[string]error{}
	var stored, sent, before []string
	next := uint64(1)
	effects := map[string]int{}
	for c, err := range end.Store.Load(ctx, theDiary, 0) {
		switch {
		case err != nil:
			found[gap] = err
			continue
		case c.Status == es.Revoked:
			continue
		}
		if c.Version != next {
			found[gap] = fmt.Errorf("version %d comes after %d", c.Version, next-1)
		}
		next = c.Last() + 1
		stored = append(stored, c.ID)
		events, err := diary.Events.Decode(nil, c.Events[0])
		if err != nil {
			found[vanished] = err
			continue
		}
		if saw := strings.Join(before, ","); events[0].Saw != saw {
			found[vanished] = fmt.Errorf("version %d was decided on %q, and the history before it is %q", c.Version, events[0].Saw, saw)
		}
		before = append(before, events[0].By)
		effects[events[0].By]++
	}
	for _, c := range firsts(end.Published()) {
		sent = append(sent, c.ID)
		if !slices.Contains(stored, c.ID) {
			found[phantom] = fmt.Errorf("stored %v, published %v", stored, sent)
		}
	}
	for _, id := range stored {
		if !slices.Contains(sent, id) {
			found[lost] = fmt.Errorf("stored %v, published %v", stored, sent)
		}
	}
	both := slices.DeleteFunc(slices.Clone(sent), func(id string) bool { return !slices.Contains(stored, id) })
	if in := slices.DeleteFunc(slices.Clone(stored), func(id string) bool { return !slices.Contains(sent, id) }); !slices.Equal(both, in) {
		found[disorder] = fmt.Errorf("stored %v, published %v", stored, sent)
	}
	for i, name := range writers {
		told, n := end.Told[i], effects[name]
		_, unknown := errors.AsType[*es.UnknownError](told.Err)
		switch {
		case n > 1:
			found[lie] = fmt.Errorf("%s took effect %d times", name, n)
		case told.Crashed, unknown:
		case told.Err == nil && n == 0:
			found[lie] = fmt.Errorf("%s was accepted, and has no effect", name)
		case told.Err != nil && n > 0:
			found[lie] = fmt.Errorf("%s was not accepted (%w), and took effect", name, told.Err)
		}
	}
	return found
}

func TestNaiveProtocolsFail(t *testing.T) {
	always := func(error) bool { return true }
	ifRefused := func(err error) bool { return errors.Is(err, es.ErrRefused) }
	anything := func(*erasing, es.Commit) bool { return true }
	lastOwn := func(e *erasing, c es.Commit) bool { return e.own(c) && e.last(c) }
	for _, row := range []struct {
		name   string
		may    func(*erasing, es.Commit) bool
		undo   func(error) bool
		broker func() es.Publisher
		seen   seen
		finds  map[string]int // kinds that must be found, with so many faults
	}{
		{"delete", anything, always, nil, nil,
			map[string]int{lost: 1, phantom: 1, gap: 1, vanished: 1, disorder: 0, lie: 1}},
		{"delete what is one's own", (*erasing).own, always, nil, nil,
			map[string]int{lost: 1, phantom: 1, gap: 1, vanished: 1, disorder: 0, lie: 1}},
		{"delete in a transaction, if it is the last", lastOwn, always, nil, nil,
			map[string]int{lost: 1, phantom: 1, gap: 1, vanished: 1, disorder: 0, lie: 1}},
		{"the broker knows messages by their versions", lastOwn, always, func() es.Publisher { return &byVersion{known: map[uint64]bool{}} }, nil,
			map[string]int{lost: 1, phantom: 1, gap: 1, vanished: 1, disorder: 0, lie: 1}},
		{"delete only what was refused", lastOwn, ifRefused, nil, nil,
			map[string]int{lost: 1, gap: 1, vanished: 1, disorder: 0, lie: 1}},
		{"delete only what was refused, and the client tries twice", lastOwn, ifRefused, nil, twoAttempts,
			map[string]int{lost: 1, phantom: 2, gap: 2, vanished: 2, disorder: 0, lie: 1}},
	} {
		for kind, faults := range row.finds {
			t.Run(row.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				mustFind(t, &estest.Explorer{
					New: func() (es.Store, es.Publisher) {
						var broker es.Publisher = sink{}
						if row.broker != nil {
							broker = row.broker()
						}
						return &erasing{map[uint64]es.Commit{}, row.may}, broker
					},
					Processes: row.seen.by(simple("a", row.undo), simple("b", row.undo)), Faults: faults,
					Check: func(ctx context.Context, end *estest.End) error { return violations(ctx, end, "a", "b")[kind] },
				})
			})
		}
	}
}
