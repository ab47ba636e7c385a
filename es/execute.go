package es

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Option changes how one command is executed: [Named], [IfVersion].
type Option func(command) command

// command is what the options say.
type command struct {
	named       bool
	name        string
	fingerprint uint64
	versioned   bool
	version     uint64
	raw         bool // whether its aggregate is made for this one command
}

// queue is that of the journal.
func (c *command) queue(ctx context.Context, j *Journal, aggregate any, stream StreamID) (*tail, error) {
	if c.raw {
		return nil, nil
	}
	return j.queue(ctx, aggregate, stream)
}

// Named gives a command a name, so that executing it again has no further effect
// and returns the first result: for a client that repeats a request, for a message
// that is delivered twice, and after an [*UnknownError]. Content is whatever
// tells this command from another; the same name with other content fails with an
// error that wraps [ErrNameReused]. Names count per stream, and have 1 to
// [MaxName] bytes.
//
// A stream remembers its last named commands in a window of number and time; see
// Remember and RememberFor of [Journal]. A command that came to no events, or was not
// accepted, is not remembered: it is decided again.
func Named(name string, content []byte) Option {
	sum := sha256.Sum256(content)
	return func(c command) command {
		c.named, c.name, c.fingerprint = true, name, binary.BigEndian.Uint64(sum[:])
		return c
	}
}

// IfVersion lets a command through only if the stream is at the given version, 0
// meaning that it does not exist; otherwise it fails with a [*VersionError]. A command with
// version 0 is decided from the zero state without reading first; where the
// stream is there after all, that costs the write that is refused.
func IfVersion(version uint64) Option {
	return func(c command) command {
		c.versioned, c.version = true, version
		return c
	}
}

// Execute runs one command: it loads the state of an aggregate, lets decide say
// which events follow, and commits them. The decision is a pure function of the
// state; it is called again with a newer state if somebody else changed the stream
// meanwhile. An error of it ends the command and is returned as it is. No events
// mean that there is nothing to do: nothing is stored and nothing published.
//
// If the error is nil, the command is accepted: see [Result]. Unless the error is an
// [*UnknownError], the command was not accepted, nothing was stored by this call, and
// nothing ever will be; what an earlier call of the same name came to, if that was
// unknown, stays unknown. The error wraps [ErrConflict] if all attempts met other writers,
// [ErrRefused] if store or broker refused, [ErrInvalid], [ErrNameReused] or
// [ErrUnknownEvent], or is a [*BlockedError], a [*VersionError], or what the
// context or reading the store gave.
//
// Cancelling the context stops the command before it stores anything, and not
// afterwards; see [Journal.Timeout].
func Execute[S, E any](ctx context.Context, j *Journal, a *Aggregate[S, E], id string, decide func(S) ([]E, error), options ...Option) (Result, error) {
	var cmd command
	for _, option := range options {
		cmd = option(cmd)
	}
	stream, err := open(j, a, id)
	if err != nil {
		return Result{}, err
	}
	if decide == nil {
		return Result{}, fmt.Errorf("execute %s: %w: no decision", stream, ErrInvalid)
	}
	if cmd.named {
		if err := validateName("command name", cmd.name, MaxName); err != nil {
			return Result{}, fmt.Errorf("execute %s: %w", stream, err)
		}
	}
	tail, err := cmd.queue(ctx, j, a, stream)
	if err != nil {
		return Result{}, fmt.Errorf("execute %s: %w", stream, err)
	}
	defer tail.leave()
	var tries tries
	for fresh := cmd.versioned && cmd.version == 0; ; fresh = false {
		// What is remembered may be old, and what is to be new may be there. Only an append that succeeds shows that it
		// is as it seems; whatever else it would lead to, the store is asked before the caller is told.
		l, remembered := recall[S](tail)
		remembered = remembered || fresh
		if !remembered {
			if l, err = a.load(ctx, j, stream); err != nil {
				return Result{}, err
			}
		}
		tip := l.tip
		res, repeated, err := cmd.repeats(stream, l.done)
		if err != nil && remembered {
			continue
		}
		if err != nil || repeated && (tip == nil || res.Version != tip.Last()) {
			if tip == nil {
				remember(tail, l)
			}
			return res, err
		}
		if tip != nil {
			err := tries.clear(ctx, j, *tip)
			if err == nil {
				continue
			}
			if repeated {
				// Its commit is claimed: it cannot be taken back any more.
				res.Status = Pending
				return res, nil
			}
			if _, first, _ := cmd.repeats(stream, tip.Done); first {
				// It is the commit of the first time, which may stay or be taken back.
				err = &UnknownError{Stream: stream, Version: tip.Version, ID: tip.ID, Err: err}
			}
			return Result{}, err
		}
		if cmd.versioned && cmd.version != l.version {
			if remembered {
				continue
			}
			remember(tail, l)
			return Result{}, &VersionError{Stream: stream, Want: cmd.version, Have: l.version}
		}
		events, err := decide(l.state)
		if err != nil || len(events) == 0 {
			if remembered {
				continue
			}
			remember(tail, l)
			if err != nil {
				return Result{}, err
			}
			return Result{Stream: stream, Version: l.version, Status: Settled}, nil
		}
		c, err := a.compose(ctx, j, stream, cmd, l, events)
		if err != nil {
			if remembered {
				continue
			}
			return Result{}, err
		}
		status, err := j.commit(ctx, &c, tries.n+1)
		if errors.Is(err, ErrConflict) {
			if remembered {
				continue
			}
			if err := tries.again(ctx, j, stream); err != nil {
				return Result{}, err
			}
			continue
		}
		if err != nil {
			return Result{}, err
		}
		if tail != nil && status == Settled && a.follow(&l, &c) == nil {
			remember(tail, l)
		}
		return Result{Stream: stream, Version: c.Last(), Time: c.Time, Status: status}, nil
	}
}

// open checks what the caller put together, and names the stream.
func open[S, E any](j *Journal, a *Aggregate[S, E], id string) (StreamID, error) {
	if err := j.validate(); err != nil {
		return StreamID{}, err
	}
	if err := a.validate(); err != nil {
		return StreamID{}, err
	}
	stream := StreamID{Category: a.Category, ID: id}
	return stream, stream.Validate()
}

// repeats looks for the command's name among those that a commit
// remembers, and returns the first result where it is there.
func (c *command) repeats(stream StreamID, done []Done) (Result, bool, error) {
	if !c.named {
		return Result{}, false, nil
	}
	i := slices.IndexFunc(done, func(d Done) bool { return d.Command == c.name })
	if i < 0 {
		return Result{}, false, nil
	}
	d := done[i]
	if d.Fingerprint != c.fingerprint {
		return Result{}, false, fmt.Errorf("execute %s: %w: %q at version %d", stream, ErrNameReused, c.name, d.Version)
	}
	return Result{Stream: stream, Version: d.Version, Time: d.Time, Status: Settled, Repeated: true}, true, nil
}

// remember returns the named commands that the commit carries on: those of the
// commit before it, as far as they fit into the window, and its own.
func (c *command) remember(j *Journal, before []Done, commit Commit) []Done {
	if len(before) == 0 && !c.named {
		return nil
	}
	oldest := commit.Time.Add(-cmp.Or(j.RememberFor, 24*time.Hour))
	done := make([]Done, 0, len(before)+1)
	for _, d := range before {
		if d.Time.After(oldest) {
			done = append(done, d)
		}
	}
	if c.named {
		done = append(done, Done{Command: c.name, Fingerprint: c.fingerprint, Version: commit.Last(), Time: commit.Time})
	}
	return done[max(0, len(done)-cmp.Or(j.Remember, 8)):]
}

// compose makes the commit of what was decided.
func (a *Aggregate[S, E]) compose(ctx context.Context, j *Journal, stream StreamID, cmd command, l loaded[S], events []E) (Commit, error) {
	c := Commit{
		Stream: stream, Version: l.version + 1, ID: rand.Text(), Replaces: l.marker,
		Command: cmd.name, Time: j.now(), Meta: maps.Clone(metaOf(ctx)),
	}
	var err error
	if c.Events, err = a.encode(c, events); err != nil {
		return Commit{}, err
	}
	c.Done = cmd.remember(j, l.done, c)
	return c, a.addState(j.Store, &c, l, events)
}

// addState lets the commit carry the state after it, if that is free or due.
func (a *Aggregate[S, E]) addState(store Store, c *Commit, l loaded[S], events []E) error {
	if a.Snapshots.Schema == "" {
		return nil
	}
	due := l.since+1 >= a.Snapshots.every()
	metered, ok := store.(Metered)
	if !due && !ok {
		return nil
	}
	snapshot, err := a.Snapshots.encode(a.fold(l.state, events))
	if err != nil {
		return fmt.Errorf("%s@%d: %w", c.Stream, c.Version, err)
	}
	with := *c
	with.State = snapshot
	if ok {
		// A state that has become too large must not stop the stream.
		units := metered.Units(with)
		due = units > 0 && (due || units == metered.Units(*c))
	}
	if due {
		c.State = snapshot
	}
	return nil
}

// Commit appends events that are encoded already: for imports and bridges, where
// [Execute] would have nothing to decide. Of c it uses Stream, Version, Command, Meta
// and Events. Version 0 means at the end of the stream; any other version must be
// the next one, or else the error is a [*VersionError]. With a Command the commit
// is [Named] by it, its events being the content. Meta is added to that of the
// context. Result and errors are those of Execute.
func (j *Journal) Commit(ctx context.Context, c Commit) (Result, error) {
	options := []Option{func(c command) command {
		c.raw = true
		return c
	}}
	if c.Version > 0 {
		options = append(options, IfVersion(c.Version-1))
	}
	if c.Command != "" {
		var content []byte
		for _, e := range c.Events {
			content = binary.AppendUvarint(content, uint64(len(e.Type)))
			content = append(content, e.Type...)
			content = binary.AppendUvarint(content, uint64(len(e.Data)))
			content = append(content, e.Data...)
		}
		options = append(options, Named(c.Command, content))
	}
	if len(c.Events) == 0 {
		return Result{}, fmt.Errorf("commit to %s: %w: no events", c.Stream, ErrInvalid)
	}
	raw := Aggregate[struct{}, Event]{
		Category: c.Stream.Category, LatestOnly: true, Events: rawCodec{},
		Fold: func(s struct{}, _ Event) struct{} { return s },
	}
	return Execute(WithMeta(ctx, c.Meta), j, &raw, c.Stream.ID, func(struct{}) ([]Event, error) { return c.Events, nil }, options...)
}

// rawCodec leaves events as they are stored.
type rawCodec struct{}

func (rawCodec) Encode(e Event) (Event, error)                { return e, nil }
func (rawCodec) Decode(dst []Event, e Event) ([]Event, error) { return append(dst, e), nil }
func (rawCodec) Types() []string                              { return nil }
