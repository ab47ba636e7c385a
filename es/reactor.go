package es

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"
)

// Reactor is an event handler: it turns events into commands, on the same stream or
// on others, or into calls of other systems. Its Handle is the subscriber of a bus.
//
// Commits come at least once, so React may see an event again. The command name
// that it gets makes what it executes idempotent within the window of [Named]; a call of
// another system needs a key of its own, for which the name serves as well.
// All fields but Logger must be set. It is safe for concurrent use if React is.
type Reactor[E any] struct {
	// Name tells this reactor from others on the same events. It never changes.
	Name string

	// Category is that of the streams; commits of others are ignored.
	Category string

	// Events decodes the events.
	Events Codec[E]

	// React handles one event. The context carries [MetaCorrelation] and
	// [MetaCausation], so that what is executed with it can be traced back. The command is named after the reactor, the commit and the
	// event, and is the same each time the event is delivered; a reaction of
	// several commands on one stream appends something of its own.
	React func(ctx context.Context, e Recorded[E], command string) error

	// Logger gets a record, at the level of debugging, of every commit to all of whose
	// events Handle has reacted; nil means none. See Logger of [Journal]. Errors are
	// not logged but returned.
	Logger *slog.Logger
}

// Handle reacts to the events of a commit, in order. It stops at the first error,
// after which the commit has to be delivered again, all of it.
func (r *Reactor[E]) Handle(ctx context.Context, c Commit) error {
	if c.Stream.Category != r.Category {
		return nil
	}
	if err := c.Validate(); err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	var start time.Time
	if r.Logger != nil {
		start = time.Now()
	}
	ctx = WithMeta(ctx, map[string]string{
		MetaCorrelation: cmp.Or(c.Meta[MetaCorrelation], c.ID),
		MetaCausation:   c.ID,
	})
	var buf []E
	for i := range c.Events {
		var err error
		if buf, err = decode(r.Events, &c, i, buf[:0]); err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
		for k, e := range buf {
			command := r.Name + ":" + c.ID + ":" + strconv.Itoa(i)
			if k > 0 { // an event that was upcast to several
				command += "." + strconv.Itoa(k)
			}
			if err := r.React(ctx, recorded(c, i, e), command); err != nil {
				return fmt.Errorf("%s: %s@%d: %w", r.Name, c.Stream, c.Version+uint64(i), err)
			}
		}
	}
	if r.Logger != nil {
		note(ctx, r.Logger, slog.LevelDebug, "reacted", &c,
			slog.String("reactor", r.Name), slog.Int("events", len(c.Events)), millis(time.Since(start)))
	}
	return nil
}
