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

// Journal adds commits to streams: it stores and publishes them by the commit
// protocol, so that a commit is stored if and only if it is published, in order,
// through crashes, time-outs and concurrent writers. It needs no worker; what a
// crashed process left behind is finished by the next command on the stream, or
// by [Journal.Relay].
//
// Only Store must be set. A journal is safe for concurrent use, and must not be
// changed or copied while it is used. Several journals, in several processes, may
// share a store.
type Journal struct {
	Store Store

	// Publisher may be nil: then commits are appended as settled, in one write.
	Publisher Publisher

	// Attempts is how often a command is decided before a conflict is reported;
	// 0 means 10. Between them are jittered pauses, 5 ms at first, up to 250 ms.
	Attempts int

	// Timeout is the time for committing once a command is decided; 0 means 2 s.
	// Storing and publishing get the first half of it at most, settling or
	// revoking what is left; with no publisher, storing has all of it. Cancelling the caller's context does not shorten
	// it, but a command whose context ends sooner than that stores nothing.
	Timeout time.Duration

	// Grace is the age below which a pending commit is left to its author; 0
	// means 1 s, and below 0 there is none. It is a matter of courtesy and not
	// of correctness.
	Grace time.Duration

	// Remember is how many named commands a stream remembers, and RememberFor
	// for how long; 0 means 8 of them, for 24 hours. See [Named].
	Remember    int
	RememberFor time.Duration

	// Cache is of how many streams the journal remembers the newest state, so that the next
	// command decides from there without reading; 0 means none. It is for a process
	// that gets most of the commands on a stream. Where that is another one,
	// the command's append fails and it is decided again from what is stored, which costs
	// that write. A refusal, or a decision that there is nothing to do, is always one from
	// what is stored, and so is an error.
	// Commands on one such stream wait for each other in place of colliding, each
	// at most as long as Timeout. What is remembered is one state for each stream and aggregate, which is
	// told by its address, and takes as much memory as it does.
	Cache int

	// Now is the clock; nil means time.Now.
	Now func() time.Time

	// Logger gets a record of every commit with what became of it, and of
	// whatever else the protocol had to do; nil means none. What goes well is at
	// the level of debugging. docs/operations.md lists names and keys, which are
	// stable. No event data, state or metadata is logged, and no command name, but for what the
	// error of a codec may quote.
	Logger *slog.Logger

	depths sync.Map // category → *depth
	tails  tails
}

// Result says what became of a command that was accepted: it is stored, and it is
// published or will be.
type Result struct {
	Stream StreamID

	// Version is the stream's version after the command.
	Version uint64

	// Time is that of the commit. It is zero if the command added no event.
	Time time.Time

	// Status is Settled if the command's events are published, and Pending if
	// that is not confirmed: then somebody will publish them for sure.
	Status Status

	// Repeated tells that the command was recognised by its name as one that was
	// accepted before. Version and Time are those of then; nothing was added.
	Repeated bool
}

// commit runs the author's side of the protocol for one new commit, in the given
// attempt of its command, and reports Settled or Pending, or why it was not accepted.
func (j *Journal) commit(ctx context.Context, c *Commit, attempt int) (Status, error) {
	if j.Logger == nil {
		status, _, err := j.author(ctx, *c)
		return status, err
	}
	start := time.Now()
	status, doubt, err := j.author(ctx, *c)
	j.noteCommit(ctx, c, attempt, time.Since(start), status, doubt, err)
	return status, err
}

// author does what commit says. Of a pending commit, doubt is why it is not known to be
// published and settled.
func (j *Journal) author(ctx context.Context, c Commit) (_ Status, doubt, err error) {
	if err := c.validate(); err != nil { // the stream was when it was opened
		return 0, nil, err
	}
	if checker, ok := j.Publisher.(Checker); ok {
		if err := checker.Check(c); err != nil {
			return 0, nil, fmt.Errorf("commit %s@%d: %w: %w", c.Stream, c.Version, ErrRefused, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return 0, nil, fmt.Errorf("commit %s@%d: %w", c.Stream, c.Version, err)
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) < j.timeout() {
		return 0, nil, fmt.Errorf("commit %s@%d: %w: less than %v left to store and publish it", c.Stream, c.Version, context.DeadlineExceeded, j.timeout())
	}
	// From here on the outcome must be found out, whatever the caller does.
	now := time.Now()
	whole := until(ctx, now.Add(j.timeout()))
	defer whole.stop()
	half := whole
	c.Status = Settled
	if j.Publisher != nil {
		c.Status = Pending
		half = until(ctx, now.Add(j.timeout()/2))
		defer half.stop()
	}
	unknown := func(err error) error {
		return &UnknownError{Stream: c.Stream, Version: c.Version, ID: c.ID, Err: err}
	}
	switch err := j.write(half, "append", j.Store.Append, c); {
	case errors.Is(err, errUnknown):
		return 0, nil, unknown(err)
	case err != nil:
		return 0, nil, fmt.Errorf("append %s@%d: %w", c.Stream, c.Version, err)
	case j.Publisher == nil:
		return Settled, nil, nil
	}
	refused := j.Publisher.Publish(half, message(c))
	if refused == nil {
		if err := j.write(whole, "settle", j.Store.Settle, c); err != nil {
			// Published it is. Somebody else will publish it again and settle it.
			return Pending, fmt.Errorf("settle: %w", err), nil
		}
		return Settled, nil, nil
	}
	if !errors.Is(refused, ErrRefused) {
		return Pending, fmt.Errorf("publish: %w", refused), nil
	}
	switch err := j.write(whole, "revoke", j.Store.Revoke, c); {
	case err == nil:
		return 0, nil, fmt.Errorf("publish %s@%d: %w", c.Stream, c.Version, refused)
	case errors.Is(err, ErrConflict):
		// Somebody claimed it in the meantime and will publish it.
		return Pending, fmt.Errorf("publish: %w, and claimed before it could be revoked", refused), nil
	default:
		return 0, nil, unknown(err)
	}
}

// finish runs the protocol for a commit whose author seems to be gone. It
// reports whether it settled the commit; if not, and without an error, somebody
// else was faster and the stream must be loaded again.
func (j *Journal) finish(ctx context.Context, c Commit) (bool, error) {
	blocked := func(err error) (bool, error) {
		note(ctx, j.Logger, slog.LevelWarn, "commit not finished", &c, slog.Any("error", err))
		return false, &BlockedError{Stream: c.Stream, Version: c.Version, ID: c.ID, Err: err}
	}
	if j.Publisher == nil {
		return blocked(errors.New("the journal has no publisher to publish it"))
	}
	ctx, cancel := context.WithTimeout(ctx, j.timeout())
	defer cancel()
	switch err := j.write(ctx, "claim", j.Store.Claim, c); {
	case errors.Is(err, ErrConflict):
		return false, nil
	case err != nil:
		return blocked(fmt.Errorf("claim: %w", err))
	}
	if err := j.Publisher.Publish(ctx, message(c)); err != nil {
		return blocked(fmt.Errorf("publish: %w", err))
	}
	if err := j.write(ctx, "settle", j.Store.Settle, c); err != nil {
		return blocked(fmt.Errorf("settle: %w", err))
	}
	note(ctx, j.Logger, slog.LevelInfo, "commit finished for its author", &c)
	return true, nil
}

// Settle ends a blockade by hand: it settles the newest commit of a stream without
// publishing it. It is for a commit that the broker will never take, when a person
// has decided so. It gives up that subscribers get this commit as a message: a
// [Projection] heals the gap from the store with the next message of the stream,
// a [Reactor] never sees it. The commit's ID guards against settling another one;
// where that is not the stream's newest unsettled commit, the error wraps
// [ErrConflict]. The reason goes to the journal's log.
func (j *Journal) Settle(ctx context.Context, stream StreamID, commit, reason string) error {
	if err := j.validate(); err != nil {
		return err
	}
	if reason == "" {
		return fmt.Errorf("settle %s: %w: no reason given", stream, ErrInvalid)
	}
	for c, err := range j.Store.LoadBack(ctx, stream, 1) {
		if err != nil {
			return fmt.Errorf("settle %s: %w", stream, err)
		}
		if c.ID != commit || c.Status == Settled || c.Status == Revoked {
			break
		}
		// Claimed first: a living author must not revoke what is settled here.
		if err := j.write(ctx, "claim", j.Store.Claim, c); err != nil {
			return fmt.Errorf("settle %s: %w", stream, err)
		}
		if err := j.write(ctx, "settle", j.Store.Settle, c); err != nil {
			return fmt.Errorf("settle %s: %w", stream, err)
		}
		note(ctx, j.Logger, slog.LevelWarn, "commit settled by hand", &c, slog.String("reason", reason))
		return nil
	}
	return fmt.Errorf("settle %s: %w: commit %q is not its newest, or not unsettled", stream, ErrConflict, commit)
}

// errUnknown marks the error of a write whose effect could not be found out.
var errUnknown = errors.New("no reliable answer")

// maxWrites is how often a write is sent while its outcome is unknown.
const maxWrites = 4

// write sends one write to the store, and sends the identical one again while
// the outcome is unknown. Its error wraps ErrConflict, or ErrRefused if that was
// the first answer, or else errUnknown.
func (j *Journal) write(ctx context.Context, name string, send func(context.Context, Commit) error, c Commit) error {
	var unknown error
	for n := 1; ; n++ {
		err := send(ctx, c)
		refused := errors.Is(err, ErrRefused)
		switch {
		case err == nil, errors.Is(err, ErrConflict), refused && unknown == nil:
			return err
		case !refused:
			unknown = err
		}
		if n == maxWrites || pause(ctx, backoff(n)) != nil {
			return fmt.Errorf("%w: %w", errUnknown, unknown)
		}
		note(ctx, j.Logger, slog.LevelWarn, "write sent again", &c, slog.String("write", name), slog.Any("error", err))
	}
}

// message returns what of a commit its subscribers get.
func message(c Commit) Commit {
	c.State, c.Done, c.Replaces, c.Status = nil, nil, "", Settled
	return c
}

func (j *Journal) validate() error {
	if j == nil || j.Store == nil {
		return fmt.Errorf("%w: the journal has no store", ErrInvalid)
	}
	return nil
}

func (j *Journal) timeout() time.Duration { return cmp.Or(j.Timeout, 2*time.Second) }

func (j *Journal) grace() time.Duration { return cmp.Or(j.Grace, time.Second) }

// now returns the time in UTC, without a monotonic reading: it is stored.
func (j *Journal) now() time.Time {
	if j.Now != nil {
		return j.Now().UTC().Round(0)
	}
	return time.Now().UTC().Round(0)
}
