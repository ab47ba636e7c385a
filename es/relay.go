package es

import (
	"context"
	"errors"
	"fmt"
)

// maxRelayErrors bounds the errors that one call of Relay collects before it gives up: a
// broker that is down is not asked again for each of many commits.
const maxRelayErrors = 10

// Relay finishes what crashed: it publishes and settles every commit that has
// been unsettled for longer than the journal's grace, and returns how many it
// settled. Call it now and then, from a timer or a schedule; it is needed only for
// streams that get no further command, since a command finishes what it meets.
// Several may run at once.
//
// A commit that cannot be finished does not stop the others, up to 10 of them. The
// error joins a [*BlockedError] for each; it wraps errors.ErrUnsupported if the store
// cannot list pending commits.
func (j *Journal) Relay(ctx context.Context) (n int, err error) {
	if err := j.validate(); err != nil {
		return 0, err
	}
	if j.Publisher == nil {
		return 0, fmt.Errorf("relay: %w: the journal has no publisher", ErrInvalid)
	}
	var failed []error
	for c, err := range j.Store.Pending(ctx, j.now().Add(-j.grace())) {
		if err != nil {
			failed = append(failed, fmt.Errorf("relay: %w", err))
			break
		}
		settled, err := j.finish(ctx, c)
		if settled {
			n++
		}
		if err != nil {
			failed = append(failed, err)
		}
		if len(failed) == maxRelayErrors || ctx.Err() != nil {
			break
		}
	}
	return n, errors.Join(failed...)
}
