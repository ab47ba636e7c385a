package console

import (
	"context"
	"errors"
	"time"

	"github.com/leftfold/leftfold/es"
)

type subscriber = func(context.Context, es.Commit) error

var errProjection = errors.New("the projection fails: somebody wants it so, in the console")

// Views returns the subscriber that brings the views up to date, watched, and broken by the
// switches.
func (c *Console) Views(project subscriber) subscriber {
	return func(ctx context.Context, commit es.Commit) error {
		if err := c.switches.wait(ctx, "views", paused); err != nil {
			return err
		}
		err := errProjection
		if c.switches.get("views") != fails {
			err = project(ctx, commit)
		}
		if err == nil {
			c.ledger.lag(commit, time.Since(commit.Time))
		}
		return c.step(ctx, "view", commit, err)
	}
}

// EventHandler returns the subscriber that turns events into commands, so that these are
// told from those of callers.
func (c *Console) EventHandler(react subscriber) subscriber {
	return func(ctx context.Context, commit es.Commit) error {
		return react(withCaller(ctx, &caller{name: "the event handler"}), commit)
	}
}

// Deliver is a subscriber that only counts: what it gets is what every subscriber gets.
func (c *Console) Deliver(_ context.Context, commit es.Commit) error {
	c.ledger.deliver(commit)
	c.mark(commit.Stream)
	return nil
}
