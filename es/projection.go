package es

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Projection keeps one view a stream: a fold of the stream's events, like the state
// of an aggregate, but shaped for reading. Its Handle is the subscriber of a bus.
//
// It cannot drift. Commits come at least once and may come late, twice, out of
// order or not at all: what the view has already is dropped, what is missing
// is loaded from the store, and views are written by compare-and-set on their
// version. All fields but Logger must be set. It is safe for concurrent use.
type Projection[V, E any] struct {
	// Category is that of the streams; commits of others are ignored.
	Category string

	// Fold returns the view after an event; the zero V is the view before the
	// first. The rules are those of [Aggregate].
	Fold func(V, E) V

	// Events decodes the events.
	Events Codec[E]

	Views Views[V]
	Store Store

	// Logger gets a record of every commit that Handle took, and whether its view
	// had it already or lacked others before it; nil means none. See Logger of
	// [Journal]. What lacked is at the level of information, since a message was
	// lost or is late; the rest is at that of debugging. Errors are not logged but
	// returned.
	Logger *slog.Logger
}

// maxViewAttempts is how often a view that others write, too, is read anew.
const maxViewAttempts = 10

// Handle brings the view of the commit's stream to the commit's version. It returns
// nil if the view is there or beyond, or the commit is of another category. After
// an error the commit has to be delivered again; a [*GapError] means that the
// store does not show the commits before this one, which should pass.
//
// The commit must have been delivered by a broker, which proves that this commit
// and all before it stay. It never goes beyond the commit that it was given.
func (p *Projection[V, E]) Handle(ctx context.Context, c Commit) error {
	if c.Stream.Category != p.Category {
		return nil
	}
	if err := c.Validate(); err != nil {
		return fmt.Errorf("project: %w", err)
	}
	var start time.Time
	if p.Logger != nil {
		start = time.Now()
	}
	attempt, before := 0, uint64(0)
	err := p.put(ctx, c.Stream, func(old View[V]) (View[V], bool, error) {
		attempt, before = attempt+1, old.Version
		if old.Version >= c.Last() {
			return old, false, nil
		}
		view, err := p.advance(ctx, old, c.Stream, c.Version-1)
		if err == nil {
			view, err = p.apply(view, c)
		}
		return view, true, err
	})
	if err == nil && p.Logger != nil {
		p.note(ctx, &c, attempt, before, time.Since(start))
	}
	return err
}

// note logs what a commit did to its view, which had the given version before.
func (p *Projection[V, E]) note(ctx context.Context, c *Commit, attempt int, before uint64, took time.Duration) {
	level, outcome, missed := slog.LevelDebug, "applied", uint64(0)
	switch {
	case before >= c.Last():
		outcome = "duplicate"
	case before+1 < c.Version:
		level, outcome, missed = slog.LevelInfo, "healed", c.Version-before-1
	}
	note(ctx, p.Logger, level, "projected", c,
		slog.String("outcome", outcome), slog.Uint64("missed", missed), slog.Int("attempt", attempt), millis(took))
}

// put reads a view, lets next compute the one to follow, and writes that, if there
// is something to write; all of it again if somebody else was faster.
func (p *Projection[V, E]) put(ctx context.Context, stream StreamID, next func(View[V]) (View[V], bool, error)) error {
	for n := 1; ; n++ {
		old, err := p.Views.Get(ctx, stream)
		if err != nil {
			return fmt.Errorf("project %s: get view: %w", stream, err)
		}
		view, changed, err := next(old)
		if err != nil {
			return fmt.Errorf("project %s: %w", stream, err)
		}
		if !changed {
			return nil
		}
		err = p.Views.Put(ctx, stream, view, old.Version)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, ErrConflict) || n == maxViewAttempts:
			return fmt.Errorf("project %s: put view: %w", stream, err)
		}
		if err := pause(ctx, backoff(n)); err != nil {
			return fmt.Errorf("project %s: %w", stream, err)
		}
	}
}

// advance folds commits from the store until the view is at the given version, which
// is known to be irrevocable and to be the last of a commit.
func (p *Projection[V, E]) advance(ctx context.Context, view View[V], stream StreamID, version uint64) (View[V], error) {
	if view.Version >= version {
		return view, nil
	}
	for c, err := range p.Store.Load(ctx, stream, view.Version) {
		if err != nil {
			return view, err
		}
		if view, err = p.apply(view, c); err != nil {
			return view, err
		}
		if view.Version == version {
			break
		}
	}
	if view.Version != version {
		return view, &GapError{Stream: stream, Want: view.Version + 1}
	}
	return view, nil
}

func (p *Projection[V, E]) apply(view View[V], c Commit) (View[V], error) {
	if c.Version != view.Version+1 {
		return view, &GapError{Stream: c.Stream, Want: view.Version + 1, Have: c.Version}
	}
	a := Aggregate[V, E]{Fold: p.Fold, Events: p.Events}
	if _, err := a.apply(&view.Value, &c, nil); err != nil {
		return view, err
	}
	view.Version = c.Last()
	return view, nil
}

// RebuildOptions tune [Projection.Rebuild]; the zero value is useful.
type RebuildOptions struct {
	// Shards is how many parts of the store are worked on in parallel; 0 means 4.
	Shards int

	// After has, for each shard, the stream behind which to go on: what Progress
	// reported last in a rebuild that was interrupted and had as many shards.
	// Nil: from the beginning.
	After []StreamID

	// Progress, if set, is called after each stream, by the goroutine that called
	// Rebuild.
	Progress func(RebuildProgress)
}

// RebuildProgress says how far a rebuild has come.
type RebuildProgress struct {
	Shard   int      // the shard that made progress
	Stream  StreamID // the stream that it has done
	Streams int      // streams done by now, in all shards, since this rebuild began
	Events  uint64   // events folded by now, likewise
}

// Rebuild makes all views anew from the store, in parallel: after a change of
// Fold, or for a new projection. Handle may go on meanwhile. A view is replaced in
// one step, by what the new Fold makes of the same history, so readers never see it
// go back. Streams of other categories are passed over.
//
// It stops at the first error; Progress and After let it go on from there. The store
// must be a [Lister], or else the error wraps errors.ErrUnsupported.
func (p *Projection[V, E]) Rebuild(ctx context.Context, o RebuildOptions) error {
	lister, ok := p.Store.(Lister)
	if !ok {
		return fmt.Errorf("rebuild: %w: the store %T cannot list its streams", errors.ErrUnsupported, p.Store)
	}
	shards := cmp.Or(o.Shards, 4)
	if shards < 1 || (o.After != nil && len(o.After) != shards) {
		return fmt.Errorf("rebuild: %w: %d shards, and %d streams to go on from", ErrInvalid, shards, len(o.After))
	}
	ctx, cancel := context.WithCancel(ctx)
	type step struct {
		RebuildProgress // of one stream; of another category it has no streams
		err             error
	}
	steps := make(chan step)
	var wg sync.WaitGroup
	for shard := range shards {
		wg.Go(func() {
			var after StreamID
			if o.After != nil {
				after = o.After[shard]
			}
			for stream, err := range lister.Streams(ctx, shard, shards, after) {
				s := step{RebuildProgress{Shard: shard, Stream: stream}, err}
				if err == nil && stream.Category == p.Category {
					s.Streams = 1
					s.Events, s.err = p.rebuild(ctx, stream)
				}
				if steps <- s; s.err != nil {
					return
				}
			}
		})
	}
	go func() {
		wg.Wait()
		close(steps)
	}()
	// Whatever Progress does, nothing of this outlives the call.
	defer func() {
		cancel()
		for range steps {
		}
	}()
	var total RebuildProgress
	var first error
	for s := range steps {
		if s.err != nil {
			if first == nil {
				first = fmt.Errorf("rebuild: shard %d: %w", s.Shard, s.err)
			}
			cancel()
			continue
		}
		total = RebuildProgress{Shard: s.Shard, Stream: s.Stream, Streams: total.Streams + s.Streams, Events: total.Events + s.Events}
		if o.Progress != nil {
			o.Progress(total)
		}
	}
	return first
}

// rebuild makes one view anew and returns the number of events in it.
func (p *Projection[V, E]) rebuild(ctx context.Context, stream StreamID) (uint64, error) {
	var version uint64
	err := p.put(ctx, stream, func(old View[V]) (view View[V], _ bool, err error) {
		for c, err := range p.Store.Load(ctx, stream, 0) {
			if err != nil {
				return view, false, err
			}
			// A pending commit may still be revoked, unless the view shows that
			// it was delivered.
			if c.Status == Revoked || c.Status == Pending && c.Last() > old.Version {
				break
			}
			if view, err = p.apply(view, c); err != nil {
				return view, false, err
			}
		}
		if view.Version < old.Version {
			return view, false, &GapError{Stream: stream, Want: view.Version + 1}
		}
		version = view.Version
		return view, version > 0, nil
	})
	return version, err
}
