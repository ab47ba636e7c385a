package estest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/es/memory"
)

// taker is a broker that takes everything.
type taker struct{}

func (taker) Publish(context.Context, es.Commit) error { return nil }

// calls is a process that makes so many calls.
func calls(name string, n int) estest.Process {
	return estest.Process{Name: name, Run: func(ctx context.Context, _ es.Store, p es.Publisher) error {
		var errs []error
		for i := range n {
			errs = append(errs, p.Publish(ctx, es.Commit{Stream: es.StreamID{Category: "c", ID: "1"}, Version: 1, ID: fmt.Sprint(name, i)}))
		}
		return errors.Join(errs...)
	}}
}

// run explores, and returns every end that it came to, in order.
func run(t *testing.T, x *estest.Explorer) (done estest.Explored, ends []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if x.New == nil {
			x.New = func() (es.Store, es.Publisher) { return new(memory.Store), taker{} }
		}
		x.Check = func(_ context.Context, e *estest.End) error {
			var s strings.Builder
			for _, c := range e.Published() {
				s.WriteString(c.ID + " ")
			}
			for _, told := range e.Told {
				switch {
				case told.Crashed:
					s.WriteString("crashed")
				case told.Err == nil:
					s.WriteString("ok")
				case errors.Is(told.Err, es.ErrRefused):
					s.WriteString("refused")
				default:
					s.WriteString("unknown")
				}
			}
			ends = append(ends, s.String())
			return nil
		}
		var err error
		if done, err = x.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	slices.Sort(ends)
	return done, ends
}

func TestExplorerMeetsEveryFault(t *testing.T) {
	for faults, want := range [][]string{
		{"a0 ok"},
		{"a0 ok", "a0 unknown", "crashed", "refused", "unknown"},
	} {
		for _, shortest := range []bool{false, true} {
			if _, got := run(t, &estest.Explorer{Processes: []estest.Process{calls("a", 1)}, Faults: faults, Shortest: shortest}); !slices.Equal(got, want) {
				t.Errorf("with %d faults: %q, not %q", faults, got, want)
			}
		}
	}
}

func TestExplorerMeetsEveryOrder(t *testing.T) {
	done, got := run(t, &estest.Explorer{Processes: []estest.Process{calls("a", 2), calls("b", 2)}})
	want := []string{"a0 a1 b0 b1 okok", "a0 b0 a1 b1 okok", "a0 b0 b1 a1 okok", "b0 a0 a1 b1 okok", "b0 a0 b1 a1 okok", "b0 b1 a0 a1 okok"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
	// Every prefix of an order is a state of its own: 1, 2, 4, 6 and 6 of them.
	if done.States != 19 || done.Ends != 6 || done.Longest != 4 {
		t.Errorf("%+v", done)
	}
	// Where the order leaves no trace, it is 3 times 3 states.
	silent := func() (es.Store, es.Publisher) { return new(memory.Store), forgetful{} }
	if done, _ := run(t, &estest.Explorer{New: silent, Processes: []estest.Process{calls("a", 2), calls("b", 2)}}); done.States != 9 || done.Ends != 1 {
		t.Errorf("%+v", done)
	}
}

type forgetful struct{ taker }

func (forgetful) Published() []es.Commit { return nil }

// A late write comes at any later step, or never, whatever becomes of its process.
func TestExplorerLandsWrites(t *testing.T) {
	_, got := run(t, &estest.Explorer{Processes: []estest.Process{calls("a", 3)}, Faults: 2})
	for _, want := range []string{
		"a0 a1 a2 unknown", "a1 a0 a2 unknown", "a1 a2 a0 unknown", "a1 a2 unknown", // the first is late
		"a2 a1 a0 unknown", "a2 unknown", // and the second
		"a1 a0 crashed", "a1 crashed", "a0 crashed", "crashed", // and the process dies
	} {
		if !slices.Contains(got, want) {
			t.Errorf("there is no end %q in %q", want, got)
		}
	}
}

// A violation comes with the schedule that leads to it, and that is always the same.
func TestExplorerTellsTheSchedule(t *testing.T) {
	wrong := errors.New("b was first")
	for range 3 {
		synctest.Test(t, func(t *testing.T) {
			x := estest.Explorer{
				New:       func() (es.Store, es.Publisher) { return new(memory.Store), taker{} },
				Processes: []estest.Process{calls("a", 1), calls("b", 1)}, Faults: 1, Shortest: true,
				Check: func(_ context.Context, e *estest.End) error {
					if p := e.Published(); len(p) == 2 && p[0].ID == "b0" && e.Told[1].Err != nil {
						return wrong
					}
					return nil
				},
			}
			_, err := x.Run(t.Context())
			v, ok := errors.AsType[*estest.Violation](err)
			want := []string{
				"b: publish c/1@1 (b0): no answer; it returns publish: connection lost", "publish c/1@1 (b0) lands: ok", "a: publish c/1@1 (a0): ok; it returns success",
			}
			if !ok || !errors.Is(err, wrong) || !slices.Equal(v.Schedule, want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// What is not the store or the publisher is explored by Step.
func TestStep(t *testing.T) {
	if err := estest.Step(t.Context(), "x", true, nil); !errors.Is(err, es.ErrInvalid) {
		t.Errorf("outside of a process: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		var counter int
		seen := map[string]bool{}
		increment := func(ctx context.Context, _ es.Store, _ es.Publisher) error {
			var n int
			if err := estest.Step(ctx, "read", false, func(context.Context) (string, error) {
				n = counter
				return fmt.Sprint(n), nil
			}); err != nil {
				return err
			}
			return estest.Step(ctx, "write", true, func(context.Context) (string, error) {
				counter = n + 1
				return "", nil
			})
		}
		x := estest.Explorer{
			New: func() (es.Store, es.Publisher) {
				counter = 0
				return new(memory.Store), taker{}
			},
			Processes: []estest.Process{{Name: "a", Run: increment}, {Name: "b", Run: increment}}, Faults: 1,
			State: func() string { return fmt.Sprint(counter) },
			Check: func(_ context.Context, e *estest.End) error {
				seen[fmt.Sprint(counter, e.Told[0].Err == nil, e.Told[1].Err == nil)] = true
				return nil
			},
		}
		if _, err := x.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"2 true true", "1 true true", "1 true false", "2 true false", "0 false false"} {
			if seen[want] != (want != "0 false false") {
				t.Errorf("%q: %v in %v", want, seen[want], seen)
			}
		}
	})
}

func TestExplorerStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	x := estest.Explorer{New: func() (es.Store, es.Publisher) { return new(memory.Store), taker{} }}
	if _, err := x.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
