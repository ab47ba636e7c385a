package model

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leftfold/leftfold/es"
)

// every returns a function that reports true every n-th time.
func every(n int) func() bool {
	var mu sync.Mutex
	calls := 0
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		calls++
		return calls%n == 0
	}
}

func TestClientsFindMutants(t *testing.T) {
	found := func(t *testing.T, k Clients, breakIt func(*broken)) (err error) {
		for seed := range uint64(100) {
			synctest.Test(t, func(t *testing.T) {
				k := k
				k.Seed, k.Clients, k.Each, k.Faults, k.Stream = seed, 4, 10, 0.15, "1"
				k.Store, k.Timeout, k.Pause = newBroken(breakIt), time.Minute, 5*time.Millisecond
				err = k.Run(t.Context())
			})
			if errors.Is(err, errOrder) { // anything else was not found by the checker
				return err
			}
		}
		return nil
	}
	for name, mutant := range map[string]struct {
		breakIt func(*broken)
		clients Clients
	}{
		"a read is stale": {breakIt: func(b *broken) {
			fourth := every(4)
			b.load = func(commits iter.Seq2[es.Commit, error]) iter.Seq2[es.Commit, error] {
				if fourth() {
					return but(func(n int, _ *es.Commit) bool { return n < 1 })(commits)
				}
				return commits
			}
		}},
		"an append is lost": {breakIt: func(b *broken) {
			fifth := every(5)
			b.append = func(ctx context.Context, c es.Commit) error {
				if fifth() {
					return nil
				}
				return b.Store.Append(ctx, c)
			}
		}},
		"a revoke does nothing": {breakIt: func(b *broken) {
			b.revoke = func(context.Context, es.Commit) error { return nil }
		}},
		"readers see what is pending": {breakIt: func(b *broken) {
			b.load = but(func(_ int, c *es.Commit) bool {
				if c.Status == es.Pending {
					c.Status = es.Settled
				}
				return true
			})
		}},
		"a command is forgotten": {func(*broken) {}, Clients{Remember: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			err := found(t, mutant.clients, mutant.breakIt)
			if err == nil {
				t.Fatal("nobody noticed")
			}
			t.Log(err)
		})
	}
}
