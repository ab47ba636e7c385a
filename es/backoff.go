package es

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// backoff returns the pause before the n-th repeat: random, so that those who
// collided do not collide again, from a range that doubles up to 250 ms.
func backoff(n int) time.Duration {
	limit := min(5*time.Millisecond<<min(n, 10), 250*time.Millisecond)
	return 1 + rand.N(limit)
}

// pause waits, or returns the context's error as soon as it ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// tries counts the attempts of one command.
type tries struct {
	n     int       // attempts that found the stream taken by somebody else
	waits int       // pauses so far, whether they counted as an attempt or not
	tip   string    // the ID of the unsettled commit that was met last
	since time.Time // when it was met first
	done  bool      // whether it was finished from here
}

// again pauses before the next attempt, or returns ErrConflict when there were
// enough.
func (t *tries) again(ctx context.Context, j *Journal, stream StreamID) error {
	if t.n++; t.n >= cmp.Or(j.Attempts, 10) {
		return fmt.Errorf("%s: %w in %d attempts", stream, ErrConflict, t.n)
	}
	t.waits++
	return pause(ctx, backoff(t.waits))
}

// clear deals with the newest commit of a stream, which is not settled, and on
// which nobody may build. It gives a living author time to settle it, or finishes
// it in its place. After nil the stream is loaded again.
func (t *tries) clear(ctx context.Context, j *Journal, tip Commit) error {
	now := j.now()
	if tip.ID != t.tip {
		met := t.tip != ""
		t.tip, t.since, t.done = tip.ID, now, false
		if met {
			return t.again(ctx, j, tip.Stream)
		}
	}
	// The age counts from when it was met here, too: the author's clock may be
	// ahead.
	left := j.grace() - max(now.Sub(tip.Time), now.Sub(t.since))
	switch {
	case tip.Status == Pending && left > 0:
		t.waits++
		return pause(ctx, min(left, backoff(t.waits)))
	case t.done:
		// The store still shows it as it was, against its contract: no endless loop.
		return t.again(ctx, j, tip.Stream)
	}
	t.done = true
	_, err := j.finish(ctx, tip)
	return err
}
