package memory_test

import (
	"flag"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/internal/model"
)

func TestStoreAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		if err := model.Store(60).Draw(rt, "steps").Run(t.Context(), new(memory.Store), true); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestViewsAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		if err := model.Views(60).Draw(rt, "steps").Run(t.Context(), new(memory.Views[estest.Document])); err != nil {
			rt.Fatal(err)
		}
	})
}

var runs = flag.Int("clients.runs", 100, "how many random histories of clients are checked")

// What clients are told while they work on one stream at once is the history of one list.
func TestLinearizable(t *testing.T) {
	for range *runs {
		seed := rand.Uint64N(1 << 50)
		synctest.Test(t, func(t *testing.T) {
			k := model.Clients{
				Seed: seed, Clients: 4, Each: 10, Faults: 0.15, Store: new(memory.Store), Stream: "1",
				Timeout: time.Minute, Pause: 5 * time.Millisecond,
			}
			if err := k.Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
