package memory_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

// inTime fails the test if f does not return: a lock was held while it ran a caller's code.
func inTime(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no answer in 30 s")
	}
}

// A handler, and whoever gets the log lines, may publish and subscribe.
func TestBusCallsWithoutLock(t *testing.T) {
	var bus memory.Bus
	var handled atomic.Int32
	used := uint64(0) // by one after the other
	use := func() error {
		bus.Subscribe("late", func(context.Context, es.Commit) error { handled.Add(1); return nil })
		used++
		return bus.Publish(t.Context(), commit("2", used, fmt.Sprint("other ", used)))
	}
	failed := false
	bus.Logger = slog.New(logging{slog.DiscardHandler, use})
	bus.Subscribe("first", func(_ context.Context, c es.Commit) error {
		if c.Stream.ID != "1" {
			return nil
		}
		if !failed {
			failed = true
			return errors.New("once")
		}
		return use()
	})
	inTime(t, func() error {
		if err := bus.Publish(t.Context(), commit("1", 1, "one")); err != nil {
			return err
		}
		return bus.Close(t.Context())
	})
	if n := handled.Load(); n != 1+2 { // one subscriber the first time, then two
		t.Errorf("late subscribers were called %d times", n)
	}
}

type logging struct {
	slog.Handler
	use func() error
}

func (logging) Enabled(context.Context, slog.Level) bool    { return true }
func (l logging) Handle(context.Context, slog.Record) error { return l.use() }

// A document may use the database that it is in while it is encoded.
func TestViewsEncodeWithoutLock(t *testing.T) {
	var views memory.Views[selfish]
	one, two := es.StreamID{Category: "order", ID: "1"}, es.StreamID{Category: "order", ID: "2"}
	inTime(t, func() error {
		return views.Put(t.Context(), one, es.View[selfish]{Version: 1, Value: selfish{func() error {
			_, err := views.Get(t.Context(), one)
			return errors.Join(err, views.Put(t.Context(), two, es.View[selfish]{Version: 1}, 0))
		}}}, 0)
	})
}

type selfish struct{ use func() error }

func (s selfish) MarshalJSON() ([]byte, error) {
	if s.use != nil {
		if err := s.use(); err != nil {
			return nil, err
		}
	}
	return json.Marshal(nil)
}
