package es

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
	"unicode/utf8"
)

// Limits of a commit's form. A store or a broker may have narrower ones of its
// own, in bytes; see [Checker].
const (
	MaxEvents = 1000 // events in a commit
	MaxName   = 128  // bytes of an event type, a command name, a commit ID or a metadata key
	MaxMeta   = 32   // entries of a commit's metadata
	MaxValue  = 1024 // bytes of a metadata value
)

// Event is an event as it is stored and published: encoded, under a type name
// that was written by hand. The name is history and outlives the Go type that
// it once came from.
//
// Data is any bytes, and need not be text. It is a string because history does not
// change: a store gives out what it keeps, and nobody can spoil it for others. Beware
// of encoding/json for a commit: it replaces bytes that are no text, without an error.
type Event struct {
	Type string
	Data string
}

// Snapshot is an encoded state, with the name of the schema that it was encoded
// by. A load uses only snapshots whose schema is its own. Data is any bytes.
type Snapshot struct {
	Schema string
	Data   string
}

// Done remembers a command that was given a name. Each commit of a stream
// carries on the last few, so that the newest commit alone tells whether a
// command is a repeat. See [Named].
type Done struct {
	Command     string    // the name
	Fingerprint uint64    // of the content that the caller gave with the name
	Version     uint64    // of the stream after the command
	Time        time.Time // of the command's commit
}

// Status tells where a commit stands in the commit protocol.
type Status uint8

const (
	// Pending: stored, not known to be published. Its author may still revoke it.
	Pending Status = iota
	// Claimed: somebody other than its author has taken over publishing it. It
	// can no longer be revoked.
	Claimed
	// Settled: published, or appended by a journal that publishes nothing.
	Settled
	// Revoked: taken back by its author. Its slot remembers the ID and nothing else.
	Revoked
)

// String returns the status in lower case: "pending", "claimed", "settled", "revoked".
func (s Status) String() string {
	switch s {
	case Pending:
		return "pending"
	case Claimed:
		return "claimed"
	case Settled:
		return "settled"
	case Revoked:
		return "revoked"
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}

// Commit is what one command added to a stream: one event or several that are
// stored as one item and published as one message, so that nobody ever sees a
// part of them. It is the unit of atomicity.
type Commit struct {
	// Stream and Version are the commit's slot: the stream, and the version of
	// the commit's first event in it. The first version of a stream is 1.
	Stream  StreamID
	Version uint64

	// ID is unique and new each time a command is decided. Writes recognise
	// themselves by it, and it is the broker's deduplication ID.
	ID string

	// Replaces is the ID of the revoked commit whose slot this one takes; empty
	// if the slot was never used.
	Replaces string

	Command string            // the caller's name for the command; may be empty
	Time    time.Time         // when the command was decided, in UTC
	Meta    map[string]string // correlation, causation, actor, trace: see [WithMeta]
	Events  []Event           // one to MaxEvents; none in a revoked commit
	State   *Snapshot         // the state after this commit; nil where none was stored
	Done    []Done            // the last named commands up to this commit, oldest first
	Status  Status
}

// Last returns the version of the commit's last event, which is the version of
// the stream after the commit.
func (c Commit) Last() uint64 { return c.Version + uint64(len(c.Events)) - 1 }

// Clone returns a copy of the commit: whatever is changed in one does not change in
// the other.
func (c Commit) Clone() Commit {
	c.Meta = maps.Clone(c.Meta)
	c.Events = slices.Clone(c.Events)
	if c.State != nil {
		c.State = &Snapshot{Schema: c.State.Schema, Data: c.State.Data}
	}
	c.Done = slices.Clone(c.Done)
	return c
}

// Validate returns nil or an error that wraps [ErrInvalid] and names what is
// wrong with the form of the commit: stream, version, ID, number of events,
// event types, names and metadata. A journal calls it before it stores anything;
// stores and publishers call it again and refuse.
func (c Commit) Validate() error {
	if err := c.Stream.Validate(); err != nil {
		return err
	}
	return c.validate()
}

// validate is the same for a commit whose stream is valid.
func (c *Commit) validate() error {
	if err := c.check(); err != nil {
		return fmt.Errorf("commit %s@%d: %w", c.Stream, c.Version, err)
	}
	return nil
}

func (c *Commit) check() error {
	if c.Version == 0 {
		return fmt.Errorf("%w: version is 0, the first is 1", ErrInvalid)
	}
	if err := validateName("commit ID", c.ID, MaxName); err != nil {
		return err
	}
	if c.Replaces == c.ID {
		return fmt.Errorf("%w: it replaces a commit of its own ID", ErrInvalid)
	}
	if c.Command != "" {
		if err := validateName("command name", c.Command, MaxName); err != nil {
			return err
		}
	}
	if n := len(c.Events); n == 0 || n > MaxEvents {
		return fmt.Errorf("%w: %d events, 1 to %d are allowed", ErrInvalid, n, MaxEvents)
	}
	if c.Last() < c.Version {
		return fmt.Errorf("%w: the version of its last event is above %d", ErrInvalid, uint64(math.MaxUint64))
	}
	for i, e := range c.Events {
		if err := validateName("event type", e.Type, MaxName); err != nil {
			return fmt.Errorf("event %d: %w", i+1, err)
		}
	}
	if len(c.Meta) > MaxMeta {
		return fmt.Errorf("%w: %d metadata entries, at most %d are allowed", ErrInvalid, len(c.Meta), MaxMeta)
	}
	for k, v := range c.Meta {
		if err := validateName("metadata key", k, MaxName); err != nil {
			return err
		}
		if len(v) > MaxValue {
			return fmt.Errorf("%w: metadata %q has %d bytes, at most %d are allowed", ErrInvalid, k, len(v), MaxValue)
		}
		if !utf8.ValidString(v) {
			return fmt.Errorf("%w: metadata %q is not UTF-8", ErrInvalid, k)
		}
	}
	return nil
}
