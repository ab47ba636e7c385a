package es_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
)

// cached returns a journal on the tap that remembers streams.
func cached(t *tap) *es.Journal { return &es.Journal{Store: t, Publisher: t, Cache: 2} }

// others changes the stream by another process.
func others(t *testing.T, tap *tap, by ...string) {
	t.Helper()
	if _, err := es.Execute(t.Context(), &es.Journal{Store: tap.Store}, &counter, "1", count(by...)); err != nil {
		t.Fatal(err)
	}
}

// short is a counter that refuses to have more than so many events, and wants none twice.
func short(limit int, by string) func([]string) ([]Counted, error) {
	return func(have []string) ([]Counted, error) {
		switch {
		case len(have) >= limit:
			return nil, fmt.Errorf("%w: there are %d", errFull, len(have))
		case slices.Contains(have, by):
			return nil, nil
		}
		return []Counted{{by}}, nil
	}
}

var errFull = errors.New("full")

func TestCache(t *testing.T) {
	snapshots := counter
	snapshots.Snapshots.Schema = "counter/1"
	latest := counter
	latest.LatestOnly = true
	for name, a := range map[string]*es.Aggregate[[]string, Counted]{"whole stream": &counter, "snapshots": &snapshots, "newest commit": &latest} {
		t.Run(name, func(t *testing.T) {
			tap := newTap()
			j := cached(tap)
			var saw [][]string
			for i := range 20 {
				tap.reset()
				_, err := es.Execute(t.Context(), j, a, "1", func(have []string) ([]Counted, error) {
					saw = append(saw, have)
					return []Counted{{fmt.Sprint(i)}}, nil
				}, es.IfVersion(uint64(i)), es.Named(fmt.Sprint("command ", i), nil))
				if err != nil {
					t.Fatal(err)
				}
				if calls := strings.Join(tap.reset(), " "); i > 0 && calls != "append publish settle" {
					t.Errorf("calls of command %d: %s", i, calls)
				}
			}
			cold, version, err := es.Load(t.Context(), tap.journal(), a, "1")
			if err != nil || version != 20 {
				t.Fatal(version, err)
			}
			for i, have := range saw {
				want := cold[:min(i, len(cold))]
				if a.LatestOnly && i > 0 {
					want = []string{fmt.Sprint(i - 1)}
				}
				if !slices.Equal(have, want) {
					t.Errorf("command %d saw %v, not %v", i, have, want)
				}
			}
			// Whoever reads finds what a journal without a cache would have left.
			for i, c := range slots(t, tap.Store, theStream) {
				if want := min(i+1, 8); len(c.Done) != want {
					t.Errorf("commit %d remembers %d commands, not %d", i, len(c.Done), want)
				}
				if due := a == &snapshots && i%8 == 7; (c.State != nil) != due {
					t.Errorf("commit %d has a state: %t", i, !due)
				}
			}
		})
	}
}

// What is remembered may be old: a caller is told nothing that is true of it alone.
func TestCacheIsOld(t *testing.T) {
	for _, row := range []struct {
		name    string
		decide  func([]string) ([]Counted, error)
		options []es.Option
		want    string // version, or the error
		calls   string
	}{
		{"append", count("x"), nil, "4", "append load append publish settle"},
		{"one attempt", short(9, "x"), []es.Option{es.IfVersion(3)}, "4", "load append publish settle"},
		{"nothing to do", short(9, "mine"), nil, "3", "load"},
		{"refusal", short(1, "x"), nil, "full: there are 3", "load"},
		{"refusal that is none any more", func(have []string) ([]Counted, error) {
			if len(have) < 3 {
				return nil, errors.New("too few")
			}
			return []Counted{{"x"}}, nil
		}, nil, "4", "load append publish settle"},
		{"nothing to do, which is not so any more", func(have []string) ([]Counted, error) {
			if len(have) < 3 {
				return nil, nil
			}
			return []Counted{{"x"}}, nil
		}, nil, "4", "load append publish settle"},
		{"version", count("x"), []es.Option{es.IfVersion(1)}, "counter/1 is at version 3, not at 1", "append load"},
		{"repeat of what is remembered", count("x"), []es.Option{es.Named("first", nil)}, "1", ""},
		{"repeat of what is not", count("x"), []es.Option{es.Named("theirs", nil)}, "3", "append load"},
		{"name used again", count("x"), []es.Option{es.Named("first", []byte("else"))}, es.ErrNameReused.Error(), "load"},
		{"an event that nobody knows", func(have []string) ([]Counted, error) {
			if len(have) < 3 {
				return []Counted{{"cannot be encoded"}}, nil
			}
			return []Counted{{"x"}}, nil
		}, nil, "4", "load append publish settle"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tap := newTap()
			j := cached(tap)
			j.Attempts = 1
			picky := counter
			picky.Events = es.NewCodec(func(e any) ([]byte, error) {
				if e.(Counted).By == "cannot be encoded" {
					return nil, errors.New("no")
				}
				return json.Marshal(e)
			}, json.Unmarshal, map[string]Counted{"counted": {}})
			if _, err := es.Execute(t.Context(), j, &picky, "1", count("mine"), es.Named("first", nil)); err != nil {
				t.Fatal(err)
			}
			others(t, tap, "a")
			if _, err := es.Execute(t.Context(), &es.Journal{Store: tap.Store}, &counter, "1", count("b"), es.Named("theirs", nil)); err != nil {
				t.Fatal(err)
			}
			tap.reset()
			res, err := es.Execute(t.Context(), j, &picky, "1", row.decide, row.options...)
			got := fmt.Sprint(res.Version)
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, row.want) {
				t.Errorf("%s, want %s", got, row.want)
			}
			if calls := strings.Join(tap.reset(), " "); calls != row.calls {
				t.Errorf("calls %q, want %q", calls, row.calls)
			}
		})
	}
}

// What was not changed need not be read again.
func TestCacheAfterNothing(t *testing.T) {
	tap := newTap()
	j := cached(tap)
	do := func(decide func([]string) ([]Counted, error), options ...es.Option) {
		_, _ = es.Execute(t.Context(), j, &counter, "1", decide, options...)
	}
	for name, nothing := range map[string]func(){
		"repeat":        func() { do(count("x"), es.Named("first", nil)) },
		"name again":    func() { do(count("x"), es.Named("first", []byte("else"))) },
		"refusal":       func() { do(short(0, "x")) },
		"nothing to do": func() { do(count()) },
		"version":       func() { do(count("x"), es.IfVersion(1000)) },
	} {
		do(count("x"), es.Named("first", nil))
		nothing()
		tap.reset()
		do(count("x"))
		if calls := strings.Join(tap.reset(), " "); calls != "append publish settle" {
			t.Errorf("after %s: %s", name, calls)
		}
	}
}

// What the outcome of is not known for sure is not remembered, nor what was not stored.
func TestCacheForgets(t *testing.T) {
	for _, row := range []struct {
		name string
		on   string
		err  error
		next string
	}{
		{"nobody could settle it", "settle", errLost, "load claim publish settle load append publish settle"},
		{"nobody knows whether it is published", "publish", errLost, "load claim publish settle load append publish settle"},
		{"it was taken back", "publish", errRefused, "load append publish settle"},
		{"it was not stored", "append", errRefused, "load append publish settle"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tap := newTap()
				j := cached(tap)
				j.Grace = -1
				fill(t, j, &counter, 2)
				tap.on = func(op string, _ es.Commit, do func() error) error {
					if op == row.on {
						return row.err
					}
					return do()
				}
				_, _ = es.Execute(t.Context(), j, &counter, "1", count("x"))
				tap.on = nil
				tap.reset()
				if _, err := es.Execute(t.Context(), j, &counter, "1", count("y")); err != nil {
					t.Fatal(err)
				}
				if calls := strings.Join(tap.reset(), " "); calls != row.next {
					t.Errorf("calls %q, want %q", calls, row.next)
				}
				fill(t, j, &counter, 1)
				if calls := strings.Join(tap.reset(), " "); calls != "append publish settle" {
					t.Errorf("calls of the one behind it: %q", calls)
				}
			})
		})
	}
}

// As many commands on one stream as there are, each decides once, and all in a row.
func TestCacheQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		tap.on = func(_ string, _ es.Commit, do func() error) error {
			pass(time.Millisecond)
			return do()
		}
		j := cached(tap)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if _, err := es.Execute(t.Context(), j, &counter, "1", count(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := slots(t, tap.Store, theStream); len(got) != 100 {
			t.Errorf("%d commits", len(got))
		}
		if calls := tap.reset(); len(calls) != 301 || calls[0] != "load" {
			t.Errorf("%d calls: %v", len(calls), calls[:10])
		}
	})
}

// A queue is a matter of courtesy: who does not get the turn goes on without.
func TestCacheQueueEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := newTap()
		j := cached(tap)
		start := time.Now()
		_, err := es.Execute(t.Context(), j, &counter, "1", func(have []string) ([]Counted, error) {
			if len(have) > 0 {
				return []Counted{{"outer"}}, nil
			}
			if _, err := es.Execute(t.Context(), j, &counter, "1", count("inner")); err != nil {
				t.Error(err)
			}
			return []Counted{{"outer"}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := slots(t, tap.Store, theStream); len(got) != 2 || got[0].Events[0].Data != `{"By":"inner"}` {
			t.Errorf("%+v", got)
		}
		if waited := time.Since(start); waited < 2*time.Second || waited > 3*time.Second {
			t.Errorf("it took %v", waited)
		}

		// Nor does anybody wait longer than the context lasts.
		ctx, cancel := context.WithCancel(t.Context())
		_, err = es.Execute(ctx, j, &counter, "1", func([]string) ([]Counted, error) {
			cancel()
			_, err := es.Execute(ctx, j, &counter, "1", count("inner"))
			return nil, err
		})
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "counter/1") {
			t.Errorf("%v", err)
		}
	})
}

// The streams that were not used for longest are forgotten.
func TestCacheIsBounded(t *testing.T) {
	tap := newTap()
	j := cached(tap)
	reads := func(id string) int {
		tap.reset()
		if _, err := es.Execute(t.Context(), j, &counter, id, count("x")); err != nil {
			t.Fatal(err)
		}
		return len(tap.reset()) - 3
	}
	for i, step := range []struct {
		id   string
		want int
	}{{"1", 1}, {"2", 1}, {"1", 0}, {"2", 0}, {"1", 0}, {"3", 1}, {"1", 0}, {"2", 1}, {"3", 1}} {
		if got := reads(step.id); got != step.want {
			t.Errorf("step %d: %d reads", i, got)
		}
	}

	// Imports leave it alone.
	for i := range 3 {
		c := raw(0, "", "x")
		c.Stream.ID = fmt.Sprint("import ", i)
		if _, err := j.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if got := reads("3"); got != 0 {
		t.Errorf("after an import: %d reads", got)
	}
}

// Two aggregates may have the same streams, and then other states of them.
func TestCacheByAggregate(t *testing.T) {
	tap := newTap()
	j := cached(tap)
	number := es.Aggregate[int, Counted]{Category: "counter", Fold: func(n int, _ Counted) int { return n + 1 }, Events: counter.Events}
	for range 5 {
		if _, err := es.Execute(t.Context(), j, &counter, "1", count("x")); err != nil {
			t.Fatal(err)
		}
		saw := 0
		res, err := es.Execute(t.Context(), j, &number, "1", func(n int) ([]Counted, error) {
			saw = n
			return []Counted{{"y"}}, nil
		})
		if err != nil || res.Version != uint64(saw)+1 {
			t.Errorf("version %d was decided from %d events, %v", res.Version, saw, err)
		}
	}
	if _, err := j.Commit(t.Context(), raw(0, "", "x")); err != nil {
		t.Fatal(err)
	}
	if _, version, err := es.Load(t.Context(), j, &counter, "1"); err != nil || version != 11 {
		t.Error(version, err)
	}
}

// What is remembered is what is stored, also where an event loses something on the way.
func TestCacheAsStored(t *testing.T) {
	lossy := counter
	lossy.Events = es.NewCodec(json.Marshal, func(data []byte, to any) error {
		to.(*Counted).By = "stored"
		return nil
	}, map[string]Counted{"counted": {}})
	j := cached(newTap())
	for i := range 3 {
		if _, err := es.Execute(t.Context(), j, &lossy, "1", func(have []string) ([]Counted, error) {
			for _, by := range have {
				if by != "stored" {
					t.Errorf("command %d saw %q", i, have)
				}
			}
			return []Counted{{"decided"}}, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// warm is a writer that goes on from what it remembers, one command after the other.
func warm(names ...string) estest.Process {
	return estest.Process{Name: strings.Join(names, "+"), Run: func(ctx context.Context, s es.Store, p es.Publisher) (told error) {
		j := patient(s, p)
		j.Cache = 1
		for _, name := range names {
			_, err := es.Execute(ctx, j, &diary, "1", note(name), es.Named(name, nil))
			told = errors.Join(told, err)
		}
		return told
	}}
}

// The protocol holds for those who do not read, too.
func TestExploreCache(t *testing.T) {
	far := howFar(t)
	for _, row := range []struct {
		faults, far int
		writers     []string
		processes   []estest.Process
	}{
		{2, quick, nil, []estest.Process{warm("a", "b", "c")}},
		{1, quick, nil, []estest.Process{warm("a", "b"), relay()}},
		{0, quick, []string{"c"}, []estest.Process{writer("c"), warm("a", "b")}},
		{0, quick, nil, []estest.Process{warm("a", "b"), warm("c", "d")}},
		{1, ci, []string{"c"}, []estest.Process{writer("c"), warm("a", "b")}},
		{1, all, nil, []estest.Process{warm("a", "b"), warm("c", "d")}},
	} {
		if row.far > far {
			continue
		}
		var names []string
		for _, p := range row.processes {
			names = append(names, p.Name)
		}
		t.Run(fmt.Sprintf("%s, %d faults", strings.Join(names, ", "), row.faults), func(t *testing.T) {
			explore(t, &estest.Explorer{New: inMemory, Processes: row.processes, Faults: row.faults, Check: protocolHolds(row.writers...)})
		})
	}
}
