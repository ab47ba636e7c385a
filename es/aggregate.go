package es

import (
	"encoding/json"
	"fmt"
	"iter"
	"time"
)

// Aggregate describes one kind of aggregate: a value of pure functions, one per
// domain package, that is not changed once it is in use. S is its state, and the
// zero S is the state before the first event. E is the type of its events, best
// a sealed interface, so that the compiler keeps other events out.
//
// An aggregate has no I/O, no clock and no random values: what a decision needs
// of these is an argument of the command.
type Aggregate[S, E any] struct {
	// Category is the first part of the stream's name. It never changes.
	Category string

	// Fold returns the state after an event. It changes neither the state nor the
	// event that it was given: a map or a slice is copied before it is changed.
	// It does not fail: an event has happened, there is nothing left to refuse.
	Fold func(S, E) S

	// Events encodes and decodes the events.
	Events Codec[E]

	// LatestOnly makes a command see the newest commit alone: the fold starts
	// from the zero state at its first event. For aggregates whose every commit
	// says the whole state, or whose decisions only ask whether the stream
	// exists. It excludes Snapshots: with both, every use fails with [ErrInvalid].
	LatestOnly bool

	// Snapshots, if they have a schema, make the cost of a command independent
	// of the length of the stream.
	Snapshots Snapshots[S]
}

// Snapshots says how the state of an aggregate is stored beside its commits, so
// that a command need not replay its stream from the beginning. Only Schema must be
// set to switch them on.
//
// A commit carries the state when that is free or due: free if it costs the
// store no further write unit (see [Metered]), due if it is the Every-th commit
// without one. So a command reads at most Every commits, in one request.
type Snapshots[S any] struct {
	// Schema names the form of S. Change it whenever the form or the meaning of
	// S changes: older snapshots are then not used any more, the state is
	// folded from the events, and new snapshots follow. Empty: no snapshots.
	Schema string

	// Every is the largest number of commits that a command reads; 0 means 8.
	Every int

	// Encode and Decode, set together or not at all, replace encoding/json.
	Encode func(S) ([]byte, error)
	Decode func([]byte) (S, error)
}

func (s *Snapshots[S]) every() int {
	if s.Every > 0 {
		return s.Every
	}
	return 8
}

func (s *Snapshots[S]) encode(state S) (*Snapshot, error) {
	encode := s.Encode
	if encode == nil {
		encode = func(state S) ([]byte, error) { return json.Marshal(state) }
	}
	data, err := encode(state)
	if err != nil {
		return nil, fmt.Errorf("encode snapshot %q: %w", s.Schema, err)
	}
	return &Snapshot{Schema: s.Schema, Data: string(data)}, nil
}

func (s *Snapshots[S]) decode(c Commit) (state S, err error) {
	if s.Decode != nil {
		state, err = s.Decode([]byte(c.State.Data))
	} else {
		err = json.Unmarshal([]byte(c.State.Data), &state)
	}
	if err != nil {
		return state, fmt.Errorf("decode snapshot %q at %s@%d: %w", s.Schema, c.Stream, c.Last(), err)
	}
	return state, nil
}

// usable reports whether the commit carries a state of this schema.
func (s *Snapshots[S]) usable(c Commit) bool {
	return s.Schema != "" && c.State != nil && c.State.Schema == s.Schema
}

// validate returns an error that wraps ErrInvalid if the aggregate is incomplete.
func (a *Aggregate[S, E]) validate() error {
	switch {
	case a == nil || a.Fold == nil || a.Events == nil:
		return fmt.Errorf("%w: the aggregate needs Fold and Events", ErrInvalid)
	case (a.Snapshots.Encode == nil) != (a.Snapshots.Decode == nil):
		return fmt.Errorf("%w: snapshots of category %q need both Encode and Decode, or neither", ErrInvalid, a.Category)
	case a.LatestOnly && a.Snapshots.Schema != "":
		return fmt.Errorf("%w: category %q has LatestOnly and Snapshots, which exclude each other", ErrInvalid, a.Category)
	}
	return nil
}

// Replay is the left fold: it starts with the zero state, applies every event in
// order, and returns the state and the version of the last event, 0 if there is
// none. The commits are those of one stream from its beginning, as [Store.Load]
// yields them; a commit that is still pending, or the marker of a revoked one, ends
// the history and is left out.
//
// The errors are the store's, a [*GapError] where the versions are not
// contiguous, or an [*EventError]; state and version are then those before the
// commit that failed.
func (a *Aggregate[S, E]) Replay(commits iter.Seq2[Commit, error]) (S, uint64, error) {
	l, err := a.replay(commits)
	return l.state, l.version, err
}

// apply folds the events of one commit into the state, all or none. It returns buf for the next call.
func (a *Aggregate[S, E]) apply(state *S, c *Commit, buf []E) ([]E, error) {
	buf, err := a.decode(c, buf[:0])
	if err == nil {
		*state = a.fold(*state, buf)
	}
	return buf, err
}

func (a *Aggregate[S, E]) fold(state S, events []E) S {
	for _, e := range events {
		state = a.Fold(state, e)
	}
	return state
}

// decode appends what the events of the commit mean today.
func (a *Aggregate[S, E]) decode(c *Commit, buf []E) (_ []E, err error) {
	for i := range c.Events {
		if buf, err = decode(a.Events, c, i, buf); err != nil {
			return buf, err
		}
	}
	return buf, nil
}

// decode appends what the i-th event of the commit means today.
func decode[E any](codec Codec[E], c *Commit, i int, buf []E) ([]E, error) {
	buf, err := codec.Decode(buf, c.Events[i])
	if err != nil {
		return buf, &EventError{Stream: c.Stream, Version: c.Version + uint64(i), Type: c.Events[i].Type, Err: err}
	}
	return buf, nil
}

// encode returns the events in stored form, as those of the given commit.
func (a *Aggregate[S, E]) encode(c Commit, events []E) ([]Event, error) {
	encoded := make([]Event, len(events))
	for i, e := range events {
		var err error
		if encoded[i], err = a.Events.Encode(e); err != nil {
			return nil, &EventError{Stream: c.Stream, Version: c.Version + uint64(i), Type: fmt.Sprintf("%T", e), Err: err}
		}
	}
	return encoded, nil
}

// Recorded is an event with the place that it has in history.
type Recorded[E any] struct {
	Stream  StreamID
	Version uint64            // of the event
	Time    time.Time         // of its commit
	Commit  string            // the ID of its commit
	Meta    map[string]string // of its commit; not to be changed
	Type    string            // the name it is stored by
	Event   E
}

func recorded[E any](c Commit, i int, e E) Recorded[E] {
	return Recorded[E]{
		Stream: c.Stream, Version: c.Version + uint64(i), Time: c.Time, Commit: c.ID,
		Meta: c.Meta, Type: c.Events[i].Type, Event: e,
	}
}
