package es_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

// callbacks is everything of this package on one store, with a hook wherever it calls code that is not its own.
type callbacks struct {
	es.Journal
	store      memory.Store
	views      memory.Views[string]
	aggregate  es.Aggregate[[]string, Counted]
	projection es.Projection[string, Counted]
	reactor    es.Reactor[Counted]
	hook       func(where string)
}

func newCallbacks() *callbacks {
	c := new(callbacks)
	codec := hookedCodec{counter.Events, c}
	c.Journal = es.Journal{
		Store: hookedStore{&c.store, c}, Publisher: hookedPublisher{c}, Grace: -1,
		Now:    func() time.Time { c.hook("now"); return time.Now() },
		Logger: slog.New(hookedLog{slog.DiscardHandler, c, "log"}),
	}
	c.aggregate = es.Aggregate[[]string, Counted]{
		Category:  "counter",
		Fold:      func(s []string, e Counted) []string { c.hook("fold"); return counter.Fold(s, e) },
		Events:    codec,
		Snapshots: es.Snapshots[[]string]{Schema: "1", Every: 2},
	}
	c.projection = es.Projection[string, Counted]{
		Category: "counter", Events: codec, Views: hookedViews{&c.views, c}, Store: c.Store,
		Fold:   func(v string, e Counted) string { c.hook("fold of a view"); return v + e.By },
		Logger: slog.New(hookedLog{slog.DiscardHandler, c, "log of a projection"}),
	}
	c.reactor = es.Reactor[Counted]{
		Name: "reactor", Category: "counter", Events: codec,
		React: func(context.Context, es.Recorded[Counted], string) error { c.hook("react"); return nil },
	}
	return c
}

// use calls everything, and writes to one stream.
func (c *callbacks) use(ctx context.Context, id string) error {
	for range 3 {
		decide := func(s []string) ([]Counted, error) { c.hook("decide"); return []Counted{{By: "x"}}, nil }
		if _, err := es.Execute(ctx, &c.Journal, &c.aggregate, id, decide); err != nil {
			return fmt.Errorf("execute on %s: %w", id, err)
		}
	}
	for _, id := range []string{"1", "2"} {
		if _, _, err := es.Load(ctx, &c.Journal, &c.aggregate, id); err != nil {
			return fmt.Errorf("load %s: %w", id, err)
		}
		for _, err := range es.History(ctx, &c.Journal, &c.aggregate, id) {
			if err != nil {
				return fmt.Errorf("history of %s: %w", id, err)
			}
			c.hook("history")
		}
		for commit, err := range c.store.Load(ctx, es.StreamID{Category: "counter", ID: id}, 0) {
			if err == nil && commit.Status == es.Settled {
				err = c.projection.Handle(ctx, commit)
			}
			if err == nil {
				err = c.reactor.Handle(ctx, commit)
			}
			if err != nil {
				return fmt.Errorf("handle %s@%d: %w", id, commit.Version, err)
			}
		}
	}
	if _, err := c.Relay(ctx); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	return c.projection.Rebuild(ctx, es.RebuildOptions{Progress: func(es.RebuildProgress) { c.hook("progress") }})
}

type hookedCodec struct {
	es.Codec[Counted]
	c *callbacks
}

func (h hookedCodec) Encode(e Counted) (es.Event, error) {
	h.c.hook("encode")
	return h.Codec.Encode(e)
}
func (h hookedCodec) Decode(dst []Counted, e es.Event) ([]Counted, error) {
	h.c.hook("decode")
	return h.Codec.Decode(dst, e)
}

type hookedLog struct {
	slog.Handler
	c     *callbacks
	where string
}

func (h hookedLog) Enabled(context.Context, slog.Level) bool  { return true }
func (h hookedLog) Handle(context.Context, slog.Record) error { h.c.hook(h.where); return nil }

type hookedPublisher struct{ c *callbacks }

func (h hookedPublisher) Publish(context.Context, es.Commit) error { h.c.hook("publish"); return nil }
func (h hookedPublisher) Check(es.Commit) error                    { h.c.hook("check"); return nil }

type hookedViews struct {
	*memory.Views[string]
	c *callbacks
}

func (h hookedViews) Get(ctx context.Context, id es.StreamID) (es.View[string], error) {
	h.c.hook("get")
	return h.Views.Get(ctx, id)
}

func (h hookedViews) Put(ctx context.Context, id es.StreamID, v es.View[string], old uint64) error {
	h.c.hook("put")
	return h.Views.Put(ctx, id, v, old)
}

type hookedStore struct {
	*memory.Store
	c *callbacks
}

func (h hookedStore) Append(ctx context.Context, c es.Commit) error {
	h.c.hook("append")
	return h.Store.Append(ctx, c)
}

func (h hookedStore) Settle(ctx context.Context, c es.Commit) error {
	h.c.hook("settle")
	return h.Store.Settle(ctx, c)
}

func (h hookedStore) Load(ctx context.Context, id es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	h.c.hook("load")
	return h.Store.Load(ctx, id, after)
}

func (h hookedStore) LoadBack(ctx context.Context, id es.StreamID, hint int) iter.Seq2[es.Commit, error] {
	h.c.hook("load back")
	return h.Store.LoadBack(ctx, id, hint)
}

func (h hookedStore) Pending(ctx context.Context, before time.Time) iter.Seq2[es.Commit, error] {
	h.c.hook("pending")
	return h.Store.Pending(ctx, before)
}

func (h hookedStore) Streams(ctx context.Context, shard, shards int, after es.StreamID) iter.Seq2[es.StreamID, error] {
	h.c.hook("streams")
	return h.Store.Streams(ctx, shard, shards, after)
}

// No lock is held while a caller's code runs: whatever is called may use all that it was called by.
func TestCallersCodeMayCallBack(t *testing.T) {
	var mu sync.Mutex
	reached := make(map[string]bool)
	c := newCallbacks()
	c.hook = func(where string) {
		mu.Lock()
		defer mu.Unlock()
		reached[where] = true
	}
	if err := c.use(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	if len(reached) != 21 {
		t.Errorf("%d hooks were reached: %v", len(reached), reached)
	}
	for where := range reached {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			c := newCallbacks()
			turn := make(chan struct{}, 1)
			turn <- struct{}{}
			var inner error
			c.hook = func(at string) {
				if at != where {
					return
				}
				select {
				case <-turn: // once
					inner = c.use(t.Context(), "2")
				default:
				}
			}
			done := make(chan error, 1)
			go func() { done <- c.use(t.Context(), "1") }()
			select {
			case err := <-done:
				if err != nil || inner != nil || len(turn) > 0 {
					t.Errorf("%v, and from the hook %v", err, inner)
				}
			case <-time.After(30 * time.Second):
				stacks := make([]byte, 1<<20)
				t.Fatalf("no answer in 30 s:\n%s", stacks[:runtime.Stack(stacks, true)])
			}
		})
	}
}
