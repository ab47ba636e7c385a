package es

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
)

// loaded is what a command knows of its stream when it decides.
type loaded[S any] struct {
	state   S
	version uint64  // of the last event in state
	done    []Done  // what the newest commit in state remembers
	since   int     // commits behind the newest usable snapshot, or more
	tip     *Commit // the newest commit, if nobody may build on it yet: claimed, or pending and then not in state
	marker  string  // the ID of the revoked commit in the next slot
}

// load reads as much of the end of a stream as a decision needs.
func (a *Aggregate[S, E]) load(ctx context.Context, j *Journal, stream StreamID) (l loaded[S], err error) {
	enough := false
	switch {
	case a.LatestOnly:
		l, enough, err = a.replayBack(j.Store.LoadBack(ctx, stream, 1), 1)
	case a.Snapshots.Schema != "":
		every, depth := a.Snapshots.every(), j.depth(a.Category)
		l, enough, err = a.replayBack(j.Store.LoadBack(ctx, stream, depth.hint(every)), every)
		depth.learn(l.since)
	}
	if err == nil && !enough {
		// Where snapshots are on, there were too many commits without one, and
		// the next commit carries one whatever since is.
		l, err = a.replay(j.Store.Load(ctx, stream, 0))
	}
	if err != nil {
		return l, fmt.Errorf("load %s: %w", stream, err)
	}
	return l, nil
}

// depth learns how far back the loads of a category go, so that a store reads as
// many commits at once as are needed, and not more. Where states are small, every
// commit carries one, and the newest is enough.
type depth struct{ deep atomic.Int32 } // how many loads still expect to read more than one

// deepFor is how many loads in a row must be content with the newest commit before
// only that is asked for.
const deepFor = 32

func (d *depth) hint(every int) int {
	if d.deep.Load() > 0 {
		return every
	}
	return 1
}

// learn is told how many commits without a snapshot a load had to read.
func (d *depth) learn(since int) {
	if since > 0 {
		d.deep.Store(deepFor)
	} else if n := d.deep.Load(); n > 0 {
		d.deep.CompareAndSwap(n, n-1)
	}
}

// depth returns what the journal has learned of a category.
func (j *Journal) depth(category string) *depth {
	d, ok := j.depths.Load(category)
	if !ok {
		d, _ = j.depths.LoadOrStore(category, new(depth))
	}
	return d.(*depth)
}

// replay folds a stream from its beginning.
func (a *Aggregate[S, E]) replay(commits iter.Seq2[Commit, error]) (l loaded[S], err error) {
	var buf []E
	for c, err := range commits {
		if err != nil {
			return l, err
		}
		if c.Version != l.version+1 {
			return l, &GapError{Stream: c.Stream, Want: l.version + 1, Have: c.Version}
		}
		if l.ends(&c) {
			break
		}
		if buf, err = a.apply(&l.state, &c, buf); err != nil {
			return l, err
		}
		l.reached(&c)
		l.since++
	}
	return l, nil
}

// replayBack reads newest first until it has a commit to start the fold from,
// and then folds forward. It reports false if it found none among limit commits:
// then only a fold from the beginning helps, or finds what is missing.
func (a *Aggregate[S, E]) replayBack(commits iter.Seq2[Commit, error], limit int) (l loaded[S], enough bool, err error) {
	var found []Commit // newest first
	var next uint64    // the version of the slot behind the one that comes; 0 at first
	for c, err := range commits {
		if err != nil {
			return l, false, err
		}
		if next > 0 && c.Last()+1 != next {
			return l, false, &GapError{Stream: c.Stream, Want: next - 1, Have: c.Last()}
		}
		next = c.Version
		if l.ends(&c) {
			continue
		}
		found = append(found, c)
		if enough = a.LatestOnly || c.Version == 1 || a.Snapshots.usable(c); enough || len(found) == limit {
			break
		}
	}
	if len(found) == 0 {
		// Empty, but for a first commit that is not history yet.
		return l, next <= 1, nil
	}
	if !enough {
		return l, false, nil
	}
	pending := l.tip
	l.reached(&found[0])
	l.tip = cmp.Or(pending, l.tip)
	l.since = len(found)
	if oldest := found[len(found)-1]; a.Snapshots.usable(oldest) {
		if l.state, err = a.Snapshots.decode(oldest); err != nil {
			return l, false, err
		}
		found = found[:len(found)-1]
		l.since--
	}
	var buf []E
	for i := range slices.Backward(found) {
		if buf, err = a.apply(&l.state, &found[i], buf); err != nil {
			return l, false, err
		}
	}
	return l, true, nil
}

// ends notes the newest slot of a stream if it is not history: a pending commit,
// which may still be revoked, or the marker of a revoked one.
func (l *loaded[S]) ends(c *Commit) bool {
	switch c.Status {
	case Pending:
		l.tip = keep(c)
	case Revoked:
		l.marker = c.ID
	default:
		return false
	}
	return true
}

// reached notes the newest commit that is in the state. It copies what is needed of a commit and no more: it is
// called for each of a stream.
func (l *loaded[S]) reached(c *Commit) {
	l.version, l.done, l.tip = c.Version+uint64(len(c.Events))-1, c.Done, nil
	if c.Status == Claimed {
		l.tip = keep(c)
	}
}

// follow adds a settled commit to what is known of its stream. The state is that of the events as they are stored, as it is
// for everybody else.
func (a *Aggregate[S, E]) follow(l *loaded[S], c *Commit) (err error) {
	if a.LatestOnly {
		l.state = *new(S)
	}
	if _, err = a.apply(&l.state, c, nil); err != nil {
		return err
	}
	l.since++
	if c.State != nil {
		l.since = 0
	}
	l.marker = ""
	l.reached(c)
	return nil
}

// keep returns a copy, so that of all commits only the copied one is on the heap.
func keep(c *Commit) *Commit {
	kept := *c
	return &kept
}

// Load returns the state of an aggregate and its version, from the store and not
// from a view: it sees every command that was accepted before, but for one whose
// publication is not confirmed yet. Version 0 means that the stream does not exist.
// It reads what a command would read; see [Aggregate].
func Load[S, E any](ctx context.Context, j *Journal, a *Aggregate[S, E], id string) (S, uint64, error) {
	stream, err := open(j, a, id)
	if err != nil {
		var zero S
		return zero, 0, err
	}
	l, err := a.load(ctx, j, stream)
	return l.state, l.version, err
}

// Step is an event of a stream's history, with the state after it.
type Step[S, E any] struct {
	Recorded[E]
	State S
}

// History yields every event of an aggregate from the first, with the state after
// it. It never shows a commit that is still pending. It costs what the whole
// stream costs to read; a caller that wants the state at a version stops there.
// The first error ends the sequence; the errors are those of [Aggregate.Replay].
func History[S, E any](ctx context.Context, j *Journal, a *Aggregate[S, E], id string) iter.Seq2[Step[S, E], error] {
	return func(yield func(Step[S, E], error) bool) {
		var step Step[S, E]
		stream, err := open(j, a, id)
		if err != nil {
			yield(step, err)
			return
		}
		fail := func(err error) { yield(Step[S, E]{}, fmt.Errorf("history of %s: %w", stream, err)) }
		var version uint64
		var buf []E
		for c, err := range j.Store.Load(ctx, stream, 0) {
			if err != nil {
				fail(err)
				return
			}
			if c.Version != version+1 {
				fail(&GapError{Stream: stream, Want: version + 1, Have: c.Version})
				return
			}
			if c.Status == Pending || c.Status == Revoked {
				return
			}
			for i := range c.Events {
				if buf, err = decode(a.Events, &c, i, buf[:0]); err != nil {
					fail(err)
					return
				}
				for _, e := range buf {
					step = Step[S, E]{Recorded: recorded(c, i, e), State: a.Fold(step.State, e)}
					if !yield(step, nil) {
						return
					}
				}
			}
			version = c.Last()
		}
	}
}
