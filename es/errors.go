package es

import (
	"errors"
	"fmt"
)

// What a caller acts on. Every error of this module that has one of these
// meanings wraps it, and errors.Is finds it.
//
// Of the functions that execute or commit, one rule covers all errors: unless
// it is an [*UnknownError], nothing was stored by this call and nothing ever will be.
var (
	// ErrConflict: somebody else changed the stream, or the view, first. From
	// [Execute] it comes only after all its attempts; the caller may try again.
	ErrConflict = errors.New("conflict")

	// ErrRefused is a promise by a store or a publisher: this call had no effect
	// and never will have one. From [Execute] it means that the command was not
	// accepted and has left nothing behind; the caller may try again later.
	ErrRefused = errors.New("refused")

	// ErrInvalid: the input is malformed: a stream name, a commit, a command
	// name, metadata, an aggregate without a fold or a codec, or a journal without
	// a store. Trying again is useless.
	ErrInvalid = errors.New("invalid")

	// ErrUnknownEvent: an event is not in the codec's table. It comes inside an
	// [*EventError], when encoding as well as when decoding.
	ErrUnknownEvent = errors.New("unknown event")

	// ErrNameReused: a command has the name of an earlier one on the stream, and
	// other content. See [Named].
	ErrNameReused = errors.New("command name was used for another command")
)

// UnknownError says that a command may have been stored or not, and that this
// may still change: the store gave no answer that can be relied on, or the command is
// a repeat whose commit of the first time could not be finished. It is safe to
// execute the command again under the same name ([Named]); without a name that may
// do it twice.
type UnknownError struct {
	Stream  StreamID
	Version uint64 // of the first event, if it was stored
	ID      string // of the commit
	Err     error  // the last answer
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("outcome unknown of commit %s at %s@%d: %v", e.ID, e.Stream, e.Version, e.Err)
}

// Unwrap returns the last answer of the store.
func (e *UnknownError) Unwrap() error { return e.Err }

// BlockedError says that a stream cannot take a command now, because its newest
// commit is not published yet and an attempt to publish it failed. The command
// itself was not stored. If it lasts, see [Journal.Settle].
type BlockedError struct {
	Stream  StreamID
	Version uint64 // of the first event of the commit that blocks
	ID      string // of the commit that blocks
	Err     error  // why it could not be finished
}

func (e *BlockedError) Error() string {
	return fmt.Sprintf("stream %s is blocked by commit %s at version %d: %v", e.Stream, e.ID, e.Version, e.Err)
}

// Unwrap returns why the commit could not be finished.
func (e *BlockedError) Unwrap() error { return e.Err }

// VersionError says that a stream is not at the version that the caller required
// with [IfVersion]. Nothing was stored.
type VersionError struct {
	Stream     StreamID
	Want, Have uint64
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("stream %s is at version %d, not at %d", e.Stream, e.Have, e.Want)
}

// GapError says that versions of a stream are missing where they should be. In a
// store this is damage; in a [Projection] it may also mean that the store does
// not show yet what the broker delivered already.
type GapError struct {
	Stream     StreamID
	Want, Have uint64 // the version that should come next, and the one that came; 0: nothing came
}

func (e *GapError) Error() string {
	if e.Have == 0 {
		return fmt.Sprintf("stream %s has a gap: it ends before version %d", e.Stream, e.Want)
	}
	return fmt.Sprintf("stream %s has a gap: version %d should come next, and %d came", e.Stream, e.Want, e.Have)
}

// EventError says that an event could not be encoded or decoded, and which one.
// It wraps [ErrUnknownEvent] if the event is not in the codec's table.
type EventError struct {
	Stream  StreamID
	Version uint64
	Type    string // the stored name, or the Go type where there is no name
	Err     error
}

func (e *EventError) Error() string {
	return fmt.Sprintf("event %q at %s@%d: %v", e.Type, e.Stream, e.Version, e.Err)
}

// Unwrap returns the codec's error.
func (e *EventError) Unwrap() error { return e.Err }
