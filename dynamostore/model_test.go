package dynamostore

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/internal/model"
)

// Few steps: an engine takes its time. For more of them, -rapid.checks.
func TestStoreAgainstModel(t *testing.T) {
	t.Parallel()
	client := live(t)
	store := healthy(client, newTable(t, client))
	rapid.Check(t, func(rt *rapid.T) {
		if err := model.Store(12).Draw(rt, "steps").Run(t.Context(), store, false); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestViewsAgainstModel(t *testing.T) {
	t.Parallel()
	client := live(t)
	views := NewViews[estest.Document](client, newViewTable(t, client), "documents", &ViewOptions{Timeout: patient})
	rapid.Check(t, func(rt *rapid.T) {
		if err := model.Views(8).Draw(rt, "steps").Run(t.Context(), views); err != nil {
			rt.Fatal(err)
		}
	})
}

// What clients are told while they work on one stream at once is the history of one list.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	client := live(t)
	store := healthy(client, newTable(t, client))
	for run := range 3 {
		k := model.Clients{
			Seed: rand.Uint64N(1 << 50), Clients: 4, Each: 8, Faults: 0.15, Store: store, Stream: fmt.Sprint(run), Timeout: patient,
		}
		if err := k.Run(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
