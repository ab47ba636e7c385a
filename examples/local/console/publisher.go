package console

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leftfold/leftfold/es"
)

const (
	slowFor    = 400 * time.Millisecond // how long a slow broker takes
	timeOutFor = 300 * time.Millisecond // how long one waits for a broker that does not answer
)

var errTimeout = errors.New("the broker does not answer")

// Publisher returns the broker for the journal of the service: watched, and broken by the
// switches.
func (c *Console) Publisher() es.Publisher { return watchedPublisher{c} }

type watchedPublisher struct{ console *Console }

func (p watchedPublisher) Publish(ctx context.Context, commit es.Commit) error {
	return p.console.step(ctx, "publish", commit, p.publish(ctx, commit))
}

// Check is that of the broker, if it has one.
func (p watchedPublisher) Check(commit es.Commit) error {
	if checker, ok := p.console.publisher.(es.Checker); ok {
		return checker.Check(commit)
	}
	return nil
}

func (p watchedPublisher) publish(ctx context.Context, commit es.Commit) error {
	broker := p.console.publisher
	switch p.console.switches.get("broker") {
	case refuses:
		return fmt.Errorf("the broker takes nothing: %w", es.ErrRefused)
	case losesBefore:
		return lose(ctx)
	case losesAfter:
		if err := broker.Publish(ctx, commit); err != nil {
			return err
		}
		return lose(ctx)
	case slow:
		if err := pause(ctx, slowFor); err != nil {
			return err
		}
	}
	return broker.Publish(ctx, commit)
}

// lose is the answer that does not come.
func lose(ctx context.Context) error {
	if err := pause(ctx, timeOutFor); err != nil {
		return err
	}
	return errTimeout
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
