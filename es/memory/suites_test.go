package memory_test

import (
	"context"
	"testing"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/es/memory"
)

func TestStore(t *testing.T) {
	estest.TestStore(t, func(*testing.T) es.Store { return new(memory.Store) })
}

func TestBus(t *testing.T) {
	estest.TestPublisher(t, func(t *testing.T, deliver func(context.Context, es.Commit) error) es.Publisher {
		bus := new(memory.Bus)
		bus.Subscribe("test", deliver)
		t.Cleanup(func() { _ = bus.Close(context.WithoutCancel(t.Context())) })
		return bus
	})
}

func TestViews(t *testing.T) {
	estest.TestViews(t, func(*testing.T) es.Views[estest.Document] { return new(memory.Views[estest.Document]) })
}
