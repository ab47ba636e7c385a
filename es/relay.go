package es

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	// maxSilent is how many commits in a row Relay fails to finish, for want of
	// an answer, before it gives up: a broker that is down is not asked for each
	// of many.
	maxSilent = 10
	// maxRelayErrors is how many errors Relay returns; the rest is counted.
	maxRelayErrors = 10
)

// Relay finishes what crashed: it publishes and settles every commit that has
// been unsettled for longer than the journal's grace, and returns how many it
// settled. Call it now and then, from a timer or a schedule; it is needed only for
// streams that get no further command, since a command finishes what it meets.
// Several may run at once.
//
// A commit that is refused does not stop the others. Relay gives up when 10 in a
// row get no answer, or the context ends. The error joins a [*BlockedError] for each
// of the first 10 commits that could not be finished; it wraps errors.ErrUnsupported
// if the store cannot list pending commits, and [ErrInvalid] if the journal has no
// publisher, which leaves nothing pending. What Relay did not come to, since it gave up, is
// in none of these: neither in n, nor in the error, nor in the log's count of what is left.
func (j *Journal) Relay(ctx context.Context) (n int, err error) {
	if err := j.validate(); err != nil {
		return 0, err
	}
	if j.Publisher == nil {
		return 0, fmt.Errorf("relay: %w: the journal has no publisher", ErrInvalid)
	}
	start := time.Now()
	var failed []error
	silent, left := 0, 0
	for c, err := range j.Store.Pending(ctx, j.now().Add(-j.grace())) {
		if err != nil {
			failed = append(failed, fmt.Errorf("relay: %w", err))
			break
		}
		settled, err := j.finish(ctx, c)
		switch {
		case settled:
			n, silent = n+1, 0
		case err != nil && !errors.Is(err, ErrRefused):
			silent++
		}
		if err != nil {
			if left++; left <= maxRelayErrors {
				failed = append(failed, err)
			}
		}
		if silent == maxSilent || ctx.Err() != nil {
			break
		}
	}
	if more := left - maxRelayErrors; more > 0 {
		failed = append(failed, fmt.Errorf("relay: %d more commits could not be finished", more))
	}
	if j.Logger != nil {
		level := slog.LevelDebug
		switch {
		case len(failed) > 0:
			level = slog.LevelWarn
		case n > 0:
			level = slog.LevelInfo
		}
		j.Logger.LogAttrs(ctx, level, "relayed", slog.Int("finished", n), slog.Int("left", left), millis(time.Since(start)))
	}
	return n, errors.Join(failed...)
}
