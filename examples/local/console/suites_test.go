package console_test

import (
	"context"
	"testing"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/examples/local/console"
)

// With every switch as it should be, the service gets what keeps the contracts.

func TestStore(t *testing.T) {
	estest.TestStore(t, func(*testing.T) es.Store { return console.New(new(memory.Store), new(memory.Bus)).Store() })
}

func TestPublisher(t *testing.T) {
	estest.TestPublisher(t, func(t *testing.T, deliver func(context.Context, es.Commit) error) es.Publisher {
		bus := new(memory.Bus)
		bus.Subscribe("test", deliver)
		t.Cleanup(func() { _ = bus.Close(context.WithoutCancel(t.Context())) })
		return console.New(new(memory.Store), bus).Publisher()
	})
}
