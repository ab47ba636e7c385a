package memory_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

func commit(id string, version uint64, commitID string) es.Commit {
	return es.Commit{
		Stream: es.StreamID{Category: "account", ID: id}, Version: version, ID: commitID,
		Meta: map[string]string{"actor": "m"}, Events: []es.Event{{Type: "account.deposited", Data: "secret"}},
	}
}

func publish(t *testing.T, bus *memory.Bus, commits ...es.Commit) {
	t.Helper()
	for _, c := range commits {
		if err := bus.Publish(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
}

// subscriber notes what it gets. A test reads that when all is quiet.
type subscriber struct {
	mu  sync.Mutex
	got []string
	at  []time.Duration // since the bubble began
	err func(n int) error
}

func (s *subscriber) handle(_ context.Context, c es.Commit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, c.ID)
	s.at = append(s.at, time.Since(began))
	if s.err != nil {
		return s.err(len(s.got))
	}
	return nil
}

// began is when every synctest bubble begins.
var began = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// An ID is forgotten 5 minutes after it was published, and publishing it again does
// not prolong that.
func TestBusDeduplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus memory.Bus
		var s subscriber
		bus.Subscribe("s", s.handle)
		publish(t, &bus, commit("1", 1, "a"))
		pass(3 * time.Minute)
		publish(t, &bus, commit("1", 1, "a"), commit("1", 2, "b"))
		pass(2*time.Minute - 1)
		publish(t, &bus, commit("1", 1, "a"))
		synctest.Wait()
		if want := []string{"a", "b"}; !slices.Equal(s.got, want) {
			t.Errorf("within 5 minutes it got %v, not %v", s.got, want)
		}
		pass(time.Nanosecond)
		publish(t, &bus, commit("1", 1, "a"), commit("1", 2, "b"))
		synctest.Wait()
		if want := []string{"a", "b", "a"}; !slices.Equal(s.got, want) {
			t.Errorf("after 5 minutes it got %v, not %v", s.got, want)
		}
	})
}

// Deliveries that fail are repeated after 10 ms, and after twice the pause each time,
// up to a second; other streams and other subscribers do not notice.
func TestBusDeliversAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus memory.Bus
		failing := subscriber{err: func(n int) error {
			if n <= 9 {
				return errors.New("no")
			}
			return nil
		}}
		var other, otherStream subscriber
		bus.Subscribe("failing", func(ctx context.Context, c es.Commit) error {
			if c.Stream.ID == "2" {
				return otherStream.handle(ctx, c)
			}
			return failing.handle(ctx, c)
		})
		bus.Subscribe("other", other.handle)
		publish(t, &bus, commit("1", 1, "a"), commit("1", 2, "b"))
		synctest.Wait()
		publish(t, &bus, commit("2", 1, "c"))
		if err := bus.Close(t.Context()); err != nil {
			t.Error(err)
		}
		ms := time.Millisecond
		want := []time.Duration{0, 10 * ms, 30 * ms, 70 * ms, 150 * ms, 310 * ms, 630 * ms, 1270 * ms, 2270 * ms, 3270 * ms, 3270 * ms}
		if !slices.Equal(failing.at, want) {
			t.Errorf("it was called after %v, not %v", failing.at, want)
		}
		if want := append(slices.Repeat([]string{"a"}, 10), "b"); !slices.Equal(failing.got, want) {
			t.Errorf("it was called with %v, not %v", failing.got, want)
		}
		if want := []string{"a", "b", "c"}; !slices.Equal(other.got, want) || other.at[2] != 0 {
			t.Errorf("the other subscriber got %v after %v", other.got, other.at)
		}
		if !slices.Equal(otherStream.at, []time.Duration{0}) {
			t.Errorf("the other stream was delivered after %v", otherStream.at)
		}
	})
}

// A handler that hangs is told after 30 s, and its commit comes again.
func TestBusHandlerTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus memory.Bus
		n := 0
		bus.Subscribe("hanging", func(ctx context.Context, _ es.Commit) error {
			if n++; n == 2 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		publish(t, &bus, commit("1", 1, "a"))
		if err := bus.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); n != 2 || took != 30*time.Second+10*time.Millisecond {
			t.Errorf("%d deliveries took %v", n, took)
		}
	})
}

func TestBusSubscribesFromThenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus memory.Bus
		var s subscriber
		publish(t, &bus, commit("1", 1, "a"))
		bus.Subscribe("s", s.handle)
		publish(t, &bus, commit("1", 2, "b"))
		synctest.Wait()
		if !slices.Equal(s.got, []string{"b"}) {
			t.Errorf("it got %v", s.got)
		}
	})
}

// What a handler changes before it fails is not what it gets again, nor what others
// get.
func TestBusGivesCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus memory.Bus
		calls := 0
		handle := func(_ context.Context, c es.Commit) error {
			if calls++; c.Events[0].Data != "secret" || c.Meta["actor"] != "m" {
				t.Errorf("it got %s, %v", c.Events[0].Data, c.Meta)
			}
			c.Events[0].Data = "!!!!!!"
			c.Meta["actor"] = "!"
			if calls == 1 {
				return errors.New("again")
			}
			return nil
		}
		bus.Subscribe("s", handle)
		publish(t, &bus, commit("1", 1, "a"))
		if err := bus.Close(t.Context()); err != nil || calls != 2 {
			t.Errorf("%v after %d calls", err, calls)
		}
	})
}

func TestBusLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		bus := memory.Bus{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		s := subscriber{err: func(n int) error {
			if n == 1 {
				return errors.New("no ink")
			}
			return nil
		}}
		bus.Subscribe("printer", s.handle)
		publish(t, &bus, commit("1", 7, "a"))
		if err := bus.Close(t.Context()); err != nil {
			t.Error(err)
		}
		got := log.String()
		for _, want := range []string{"level=WARN", `msg="delivery failed"`, "stream=account/1", "version=7", "commit=a", "subscriber=printer", `error="no ink"`} {
			if strings.Count(got, want) != 1 {
				t.Errorf("the log has %q, and should have %q once", got, want)
			}
		}
		if strings.Contains(got, "secret") || strings.Contains(got, "actor") {
			t.Errorf("the log has event data: %q", got)
		}
	})
}

func TestBusClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus memory.Bus
		if err := bus.Close(t.Context()); err != nil {
			t.Errorf("close of a bus that was never used: %v", err)
		}
		err := bus.Publish(t.Context(), commit("1", 1, "a"))
		if !errors.Is(err, es.ErrRefused) {
			t.Errorf("publish after close: %v", err)
		}
	})
}

// Close waits for what is queued and for what is published meanwhile, however long
// it takes, and takes no more from then on.
func TestBusCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus memory.Bus
		var s subscriber
		bus.Subscribe("slow", func(ctx context.Context, c es.Commit) error {
			pass(time.Second)
			return s.handle(ctx, c)
		})
		publish(t, &bus, commit("1", 1, "a"), commit("1", 2, "b"), commit("2", 1, "c"))
		var closed atomic.Int32
		for range 2 {
			go func() {
				if err := bus.Close(context.Background()); err != nil {
					t.Error(err)
				}
				closed.Add(1)
			}()
		}
		pass(2*time.Second - 1)
		publish(t, &bus, commit("1", 3, "d"))
		pass(time.Second)
		synctest.Wait()
		if n := closed.Load(); n != 0 {
			t.Errorf("%d calls have returned, and a delivery is left", n)
		}
		pass(time.Nanosecond)
		synctest.Wait()
		if closed.Load() != 2 || len(s.got) != 4 {
			t.Errorf("%d calls have returned after %v", closed.Load(), s.got)
		}
		if err := bus.Publish(t.Context(), commit("1", 4, "e")); !errors.Is(err, es.ErrRefused) {
			t.Errorf("publish after close: %v", err)
		}
	})
}

// What a handler publishes because of what it got is delivered before Close returns.
func TestBusCloseWaitsForChains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus memory.Bus
		var s subscriber
		bus.Subscribe("reactor", func(ctx context.Context, c es.Commit) error {
			if c.Stream.ID != "3" {
				next := map[string]string{"1": "2", "2": "3"}[c.Stream.ID]
				if err := bus.Publish(ctx, commit(next, 1, c.ID+"'")); err != nil {
					return err
				}
			}
			return s.handle(ctx, c)
		})
		publish(t, &bus, commit("1", 1, "a"))
		if err := bus.Close(t.Context()); err != nil {
			t.Error(err)
		}
		slices.Sort(s.got)
		if want := []string{"a", "a'", "a''"}; !slices.Equal(s.got, want) {
			t.Errorf("it got %v, not %v", s.got, want)
		}
	})
}

// When the context of Close ends, nothing is delivered any more, running handlers
// are told, and the error says how much is left. That no goroutine is left over is
// what synctest sees to.
func TestBusCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus memory.Bus
		var told error
		var calls atomic.Int32
		bus.Subscribe("hanging", func(ctx context.Context, c es.Commit) error {
			calls.Add(1)
			if c.Stream.ID == "fails" {
				return errors.New("no")
			}
			<-ctx.Done()
			told = ctx.Err()
			return nil // too late
		})
		publish(t, &bus, commit("hangs", 1, "a"), commit("hangs", 2, "b"), commit("fails", 1, "c"))

		patient := make(chan error, 1)
		go func() { patient <- bus.Close(context.WithoutCancel(t.Context())) }()
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond)
		defer cancel()
		err := bus.Close(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(fmt.Sprint(err), "3 deliveries") {
			t.Errorf("close: %v", err)
		}
		if err := <-patient; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the other close: %v", err)
		}
		synctest.Wait()
		if told != context.Canceled {
			t.Errorf("the running handler was told %v", told)
		}
		before := calls.Load()
		pass(time.Hour)
		if after := calls.Load() - before; before != 3 || after != 0 {
			t.Errorf("%d calls before Close gave up, %d after", before, after)
		}
		if err := bus.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "2 deliveries") {
			t.Errorf("close again: %v", err)
		}
	})
}

func TestBusRefusesInvalid(t *testing.T) {
	var bus memory.Bus
	c := commit("1", 1, "a")
	c.Events = nil
	if err := bus.Publish(t.Context(), c); !errors.Is(err, es.ErrRefused) || !errors.Is(err, es.ErrInvalid) {
		t.Error(err)
	}
}

// pass lets time pass in a bubble.
func pass(d time.Duration) { <-time.After(d) }
