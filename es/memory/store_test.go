package memory_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

func withStatus(c es.Commit, s es.Status) es.Commit {
	c.Status = s
	return c
}

// Versions have no gap and no overlap, and nobody builds on what is not settled.
func TestStoreIsContiguous(t *testing.T) {
	ctx := t.Context()
	var s memory.Store
	three := withStatus(commit("1", 1, "a"), es.Settled)
	three.Events = append(three.Events, three.Events[0], three.Events[0])
	if err := s.Append(ctx, three); err != nil {
		t.Fatal(err)
	}
	refused := func(when string, version uint64, replaces string) {
		t.Helper()
		c := commit("1", version, "x")
		c.Replaces = replaces
		if err := s.Append(ctx, c); !errors.Is(err, es.ErrConflict) {
			t.Errorf("append at %d, %s: %v", version, when, err)
		}
	}
	refused("inside of a commit", 2, "")
	refused("beyond the end", 5, "")
	refused("far beyond the end", math.MaxUint64, "")
	refused("beyond the end, replacing", 5, "a")
	tip := commit("1", 4, "b")
	if err := s.Append(ctx, tip); err != nil {
		t.Fatal(err)
	}
	refused("behind a pending commit", 5, "")
	if err := s.Claim(ctx, tip); err != nil {
		t.Fatal(err)
	}
	refused("behind a claimed commit", 5, "")

	other := commit("2", 1, "c")
	if err := errors.Join(s.Append(ctx, other), s.Revoke(ctx, other)); err != nil {
		t.Fatal(err)
	}
	next := commit("2", 2, "d")
	if err := s.Append(ctx, next); !errors.Is(err, es.ErrConflict) {
		t.Errorf("append behind a marker: %v", err)
	}
}

func TestStoreErrors(t *testing.T) {
	ctx := t.Context()
	var s memory.Store
	c := commit("1", 1, "")
	if err := s.Append(ctx, c); !errors.Is(err, es.ErrRefused) || !errors.Is(err, es.ErrInvalid) {
		t.Errorf("append of an invalid commit: %v", err)
	}
	for _, status := range []es.Status{es.Claimed, es.Revoked, 17} {
		if err := s.Append(ctx, withStatus(commit("1", 1, "a"), status)); !errors.Is(err, es.ErrRefused) || !errors.Is(err, es.ErrInvalid) {
			t.Errorf("append of a new %v commit: %v", status, err)
		}
	}
	if err := s.Revoke(ctx, commit("1", 1, "a")); !errors.Is(err, es.ErrRefused) || errors.Is(err, es.ErrConflict) {
		t.Errorf("revoke of an empty slot: %v", err)
	}
	for _, shard := range []int{-1, 3, 4} {
		n := 0
		for _, err := range s.Streams(ctx, shard, 3, es.StreamID{}) {
			if n++; !errors.Is(err, es.ErrInvalid) {
				t.Errorf("shard %d of 3: %v", shard, err)
			}
		}
		if n != 1 {
			t.Errorf("shard %d of 3: %d errors", shard, n)
		}
	}
}

// A sequence ends with an error when its context ends on the way.
func TestStoreContextEndsOnTheWay(t *testing.T) {
	var s memory.Store
	for i, id := range []string{"1", "2"} {
		a := withStatus(commit(id, 1, id+"a"), es.Settled)
		b := commit(id, 2, id+"b")
		b.Time = time.Unix(int64(i), 0)
		if err := errors.Join(s.Append(t.Context(), a), s.Append(t.Context(), b)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, run func(ctx context.Context, each func(error))) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var errs []error
		run(ctx, func(err error) {
			errs = append(errs, err)
			cancel()
		})
		if len(errs) != 2 || errs[0] != nil || !errors.Is(errs[1], context.Canceled) {
			t.Errorf("%s yields %v", what, errs)
		}
	}
	check("load", func(ctx context.Context, each func(error)) {
		for _, err := range s.Load(ctx, commit("1", 1, "a").Stream, 0) {
			each(err)
		}
	})
	check("pending", func(ctx context.Context, each func(error)) {
		for _, err := range s.Pending(ctx, time.Now()) {
			each(err)
		}
	})
	check("streams", func(ctx context.Context, each func(error)) {
		for _, err := range s.Streams(ctx, 0, 1, es.StreamID{}) {
			each(err)
		}
	})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.Streams(ended, 0, 1, es.StreamID{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("streams in an ended context: %v", err)
		}
	}
}

// A sequence shows the stream as it was when it was started.
func TestStoreSequenceIsStable(t *testing.T) {
	ctx := t.Context()
	var s memory.Store
	for version, id := range []string{"a", "b", "c"} {
		if err := s.Append(ctx, withStatus(commit("1", uint64(version+1), id), es.Settled)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for c, err := range s.Load(ctx, commit("1", 1, "a").Stream, 0) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if err := s.Append(ctx, withStatus(commit("1", c.Version+3, c.ID+"'"), es.Settled)); err != nil {
			t.Fatal(err)
		}
	}
	if n != 3 {
		t.Errorf("%d commits were yielded", n)
	}
}

// Shards of the same streams are the same in every store.
func TestStoreShardsAreFixed(t *testing.T) {
	ctx := t.Context()
	shards := func() (found [4]int) {
		var s memory.Store
		for _, id := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
			if err := s.Append(ctx, commit(id, 1, id)); err != nil {
				t.Fatal(err)
			}
		}
		for shard := range found {
			for _, err := range s.Streams(ctx, shard, len(found), es.StreamID{}) {
				if err != nil {
					t.Fatal(err)
				}
				found[shard]++
			}
		}
		return found
	}
	if got := shards(); got != [4]int{2, 2, 2, 2} || got != shards() {
		t.Errorf("the shards have %v streams", got)
	}
}

func TestViewsErrors(t *testing.T) {
	ctx := t.Context()
	stream := es.StreamID{Category: "c", ID: "1"}
	var functions memory.Views[func()]
	if err := functions.Put(ctx, stream, es.View[func()]{Version: 1, Value: func() {}}, 0); err == nil || errors.Is(err, es.ErrConflict) {
		t.Errorf("put of what JSON cannot encode: %v", err)
	}
	var views memory.Views[int]
	if err := views.Put(ctx, es.StreamID{Category: "c"}, es.View[int]{Version: 1}, 0); !errors.Is(err, es.ErrInvalid) {
		t.Errorf("put to an invalid stream: %v", err)
	}
	var fickle memory.Views[unreadable]
	if err := fickle.Put(ctx, stream, es.View[unreadable]{Version: 1}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := fickle.Get(ctx, stream); !errors.Is(err, errUnreadable) {
		t.Errorf("get of what JSON cannot decode: %v", err)
	}
}

var errUnreadable = errors.New("unreadable")

type unreadable struct{}

func (*unreadable) UnmarshalJSON([]byte) error { return errUnreadable }
