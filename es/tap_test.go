package es_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

// tap is a store and a publisher at which a test listens, and may interfere: on
// stands between each call and its effect. It publishes by remembering.
type tap struct {
	es.Store
	on func(op string, c es.Commit, do func() error) error

	mu        sync.Mutex
	calls     []string // reads and writes, in order
	read      int      // commits that reads gave out
	hints     []int    // of LoadBack
	published []es.Commit
}

func newTap() *tap { return &tap{Store: &memory.Store{}} }

// journal returns one on the tap, as store and as broker.
func (t *tap) journal() *es.Journal { return &es.Journal{Store: t, Publisher: t} }

func (t *tap) call(op string, c es.Commit, do func() error) error {
	t.mu.Lock()
	t.calls = append(t.calls, op)
	t.mu.Unlock()
	if t.on == nil {
		return do()
	}
	return t.on(op, c, do)
}

func (t *tap) Append(ctx context.Context, c es.Commit) error {
	return t.call("append", c, func() error { return t.Store.Append(ctx, c) })
}

func (t *tap) Claim(ctx context.Context, c es.Commit) error {
	return t.call("claim", c, func() error { return t.Store.Claim(ctx, c) })
}

func (t *tap) Settle(ctx context.Context, c es.Commit) error {
	return t.call("settle", c, func() error { return t.Store.Settle(ctx, c) })
}

func (t *tap) Revoke(ctx context.Context, c es.Commit) error {
	return t.call("revoke", c, func() error { return t.Store.Revoke(ctx, c) })
}

func (t *tap) Publish(ctx context.Context, c es.Commit) error {
	return t.call("publish", c, func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.published = append(t.published, c)
		return nil
	})
}

func (t *tap) Load(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	return t.reads("load", stream, t.Store.Load(ctx, stream, after))
}

func (t *tap) LoadBack(ctx context.Context, stream es.StreamID, hint int) iter.Seq2[es.Commit, error] {
	t.mu.Lock()
	t.hints = append(t.hints, hint)
	t.mu.Unlock()
	return t.reads("loadback", stream, t.Store.LoadBack(ctx, stream, hint))
}

func (t *tap) reads(op string, stream es.StreamID, commits iter.Seq2[es.Commit, error]) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		if err := t.call(op, es.Commit{Stream: stream}, func() error { return nil }); err != nil {
			yield(es.Commit{}, err)
			return
		}
		for c, err := range commits {
			t.mu.Lock()
			t.read++
			t.mu.Unlock()
			if !yield(c, err) {
				return
			}
		}
	}
}

// reset forgets what was heard, and returns the calls.
func (t *tap) reset() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	calls := t.calls
	t.calls, t.hints, t.read = nil, nil, 0
	return calls
}

// slots returns what a stream holds, newest last, the marker and what is
// pending included.
func slots(t testing.TB, store es.Store, stream es.StreamID) []es.Commit {
	t.Helper()
	var all []es.Commit
	for c, err := range store.Load(context.Background(), stream, 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// firsts returns the commits as a subscriber sees them that drops repeats by ID.
func firsts(published []es.Commit) []es.Commit {
	seen := map[string]bool{}
	var all []es.Commit
	for _, c := range published {
		if !seen[c.ID] {
			seen[c.ID] = true
			all = append(all, c)
		}
	}
	return all
}

// check demands what must hold of a stream when everything is finished: each
// stored commit is settled and published, each published commit is stored, in the
// same order, and versions are contiguous.
func check(store es.Store, published []es.Commit, stream es.StreamID) error {
	var stored []string
	next := uint64(1)
	for c, err := range store.Load(context.Background(), stream, 0) {
		if err != nil {
			return err
		}
		if c.Status == es.Revoked {
			continue
		}
		if c.Status != es.Settled {
			return fmt.Errorf("commit at %d is %v", c.Version, c.Status)
		}
		if c.Version != next {
			return fmt.Errorf("commit at %d, want %d", c.Version, next)
		}
		next = c.Last() + 1
		stored = append(stored, fmt.Sprintf("%s@%d", c.ID, c.Version))
	}
	var sent []string
	for _, c := range firsts(published) {
		if c.Stream == stream {
			sent = append(sent, fmt.Sprintf("%s@%d", c.ID, c.Version))
		}
	}
	if !slices.Equal(stored, sent) {
		return fmt.Errorf("stored %v, published %v", stored, sent)
	}
	return nil
}

// counter is an aggregate whose state shows every event that is in it.
type Counted struct{ By string }

var counter = es.Aggregate[[]string, Counted]{
	Category: "counter",
	Fold:     func(s []string, e Counted) []string { return append(s[:len(s):len(s)], e.By) },
	Events:   es.JSON(map[string]Counted{"counted": {}}),
}

// count is a command that always has something to add.
func count(by ...string) func([]string) ([]Counted, error) {
	return func([]string) (events []Counted, err error) {
		for _, b := range by {
			events = append(events, Counted{b})
		}
		return events, nil
	}
}

var (
	theStream  = es.StreamID{Category: "counter", ID: "1"}
	errLost    = errors.New("connection lost")
	errRefused = fmt.Errorf("not today: %w", es.ErrRefused)
)

// raw returns a commit as some author made it, for planting into a store.
func raw(version uint64, id string, events ...string) es.Commit {
	c := es.Commit{Stream: theStream, Version: version, ID: id, Time: time.Now().UTC()}
	for _, by := range events {
		stored, err := counter.Events.Encode(Counted{by})
		if err != nil {
			panic(err)
		}
		c.Events = append(c.Events, stored)
	}
	return c
}

// plant puts commits into a store with the status that they say.
func plant(t testing.TB, store es.Store, commits ...es.Commit) {
	t.Helper()
	ctx := context.Background()
	for _, c := range commits {
		status := c.Status
		c.Status = es.Pending
		err := store.Append(ctx, c)
		switch status {
		case es.Claimed:
			err = errors.Join(err, store.Claim(ctx, c))
		case es.Settled:
			err = errors.Join(err, store.Settle(ctx, c))
		case es.Revoked:
			err = errors.Join(err, store.Revoke(ctx, c))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func with(c es.Commit, status es.Status) es.Commit {
	c.Status = status
	return c
}

func meta(pairs ...string) map[string]string {
	return maps.Collect(func(yield func(string, string) bool) {
		for i := 0; i+1 < len(pairs); i += 2 {
			if !yield(pairs[i], pairs[i+1]) {
				return
			}
		}
	})
}

// A mutant is a variant, with one bug, of what a test is about.
type mutant[T any] struct {
	bug    string
	broken T
}

// prove demands that a check finds nothing wrong with what is ours, and something with every
// mutant of it.
func prove[T any](t *testing.T, check func(*testing.T, T) error, ours T, mutants []mutant[T]) {
	t.Helper()
	if err := check(t, ours); err != nil {
		t.Error(err)
	}
	for _, m := range mutants {
		t.Run(m.bug, func(t *testing.T) {
			err := check(t, m.broken)
			if err == nil {
				t.Fatal("survives")
			}
			t.Log(err)
		})
	}
}
