package console

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/leftfold/leftfold/es"
)

// Store returns the store for the journal of the service: watched, and broken by the
// switches. What it lists and meters is what the store does.
func (c *Console) Store() ListedStore {
	w := watchedStore{c.store, c}
	if m, ok := c.store.(es.Metered); ok {
		return meteredStore{w, m}
	}
	return w
}

type watchedStore struct {
	ListedStore
	console *Console
}

type meteredStore struct {
	watchedStore
	es.Metered
}

// Append may come too late, or be the last thing that its process does.
func (s watchedStore) Append(ctx context.Context, commit es.Commit) error {
	who, c := callerOf(ctx), s.console
	// Who lost has met a rival already.
	if who.request && who.commit == "" && c.switches.get("race") == together {
		c.race.meet(ctx, commit)
	}
	err := s.ListedStore.Append(ctx, commit)
	if who.commit != commit.ID { // and not sent again
		who.commit = commit.ID
		_ = c.step(ctx, "append", commit, err)
	}
	if err == nil && who.request && c.switches.get("writer") == dies {
		if who.key != "" {
			c.deaths.note(who.key)
		}
		// What dies is the goroutine, and its connection with it. Nobody who lives
		// holds on to anything of it: no lock is held here.
		panic(http.ErrAbortHandler)
	}
	return err
}

func (s watchedStore) Claim(ctx context.Context, commit es.Commit) error {
	return s.console.step(ctx, "claim", commit, s.ListedStore.Claim(ctx, commit))
}

func (s watchedStore) Settle(ctx context.Context, commit es.Commit) error {
	return s.console.step(ctx, "settle", commit, s.ListedStore.Settle(ctx, commit))
}

func (s watchedStore) Revoke(ctx context.Context, commit es.Commit) error {
	return s.console.step(ctx, "revoke", commit, s.ListedStore.Revoke(ctx, commit))
}

// Pending shows nothing while the relay is paused: nobody else asks.
func (s watchedStore) Pending(ctx context.Context, before time.Time) iter.Seq2[es.Commit, error] {
	if s.console.switches.get("relay") == paused {
		return func(func(es.Commit, error) bool) {}
	}
	return s.ListedStore.Pending(ctx, before)
}
