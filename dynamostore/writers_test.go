package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/leftfold/leftfold/es"
)

// Sixteen writers on one stream, each with a journal of its own.
func TestWritersOnOneStream(t *testing.T) {
	t.Parallel()
	const writers, each = 16, 15
	ctx, client := t.Context(), live(t)
	table, broker := newTable(t, client), &ledger{}
	var decided, accepted, gaveUp atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			j := &es.Journal{Store: healthy(client, table), Publisher: broker, Timeout: patient, Grace: patient}
			for range each {
				_, err := es.Execute(ctx, j, &notes, "1", func(int) ([]noted, error) {
					decided.Add(1)
					return []noted{{"x"}}, nil
				})
				switch {
				case err == nil:
					accepted.Add(1)
				case errors.Is(err, es.ErrConflict):
					gaveUp.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	store := healthy(client, table)
	if err := checkHistory(ctx, store, es.StreamID{Category: "notes", ID: "1"}, broker); err != nil {
		t.Error(err)
	}
	n, version, err := es.Load(ctx, &es.Journal{Store: store}, &notes, "1")
	if err != nil || int64(n) != accepted.Load() || int64(version) != accepted.Load() {
		t.Errorf("%d events at version %d, %d commands accepted, %v", n, version, accepted.Load(), err)
	}
	t.Logf("%d accepted, %d conflicts decided again, %d gave up", accepted.Load(), decided.Load()-accepted.Load()-gaveUp.Load(), gaveUp.Load())
}

// A thousand streams at once, two writers each.
func TestWritersOnManyStreams(t *testing.T) {
	t.Parallel()
	const streams, commands = 1000, 2
	ctx, client := t.Context(), live(t)
	table, broker := newTable(t, client), &ledger{}
	j := &es.Journal{Store: healthy(client, table), Publisher: broker, Timeout: patient, Grace: patient}
	var decided, accepted atomic.Int64
	var wg sync.WaitGroup
	turns := make(chan struct{}, 64) // connections
	for id := range streams {
		for range commands {
			wg.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				if _, err := es.Execute(ctx, j, &notes, fmt.Sprint(id), func(int) ([]noted, error) {
					decided.Add(1)
					return []noted{{"x"}}, nil
				}); err != nil {
					t.Error(err)
					return
				}
				accepted.Add(1)
			})
		}
	}
	wg.Wait()
	if accepted.Load() != streams*commands || len(broker.published) != streams*commands {
		t.Errorf("%d accepted, %d published", accepted.Load(), len(broker.published))
	}
	t.Logf("%d conflicts decided again", decided.Load()-accepted.Load())

	// All views, from a parallel scan that is interrupted again and again.
	views := NewViews[int](client, newViewTable(t, client), "notes", &ViewOptions{Timeout: patient})
	p := es.Projection[int, noted]{Category: "notes", Fold: notes.Fold, Events: notes.Events, Views: views, Store: j.Store}
	seen, after := map[es.StreamID]int{}, make([]es.StreamID, 3)
	for rounds := 1; ; rounds++ {
		round, cancel := context.WithCancel(ctx)
		done := 0
		err := p.Rebuild(round, es.RebuildOptions{Shards: 3, After: after, Progress: func(now es.RebuildProgress) {
			seen[now.Stream]++
			after[now.Shard] = now.Stream
			if done++; done == 300 {
				cancel()
			}
		}})
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) || rounds > 10 {
			t.Fatalf("round %d: %v", rounds, err)
		}
	}
	if len(seen) != streams {
		t.Errorf("%d streams were found", len(seen))
	}
	for stream, n := range seen {
		if view, err := views.Get(ctx, stream); n != 1 || err != nil || view.Version != commands || view.Value != commands {
			t.Errorf("%s was done %d times: %+v, %v", stream, n, view, err)
		}
	}
}
