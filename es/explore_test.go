package es_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/es/memory"
)

// done is an event that tells who decided it, and what was there when it was decided.
type done struct {
	By  string
	Saw string
}

var diary = es.Aggregate[[]string, done]{
	Category: "diary",
	Fold:     func(s []string, e done) []string { return append(slices.Clip(s), e.By) },
	Events:   es.JSON(map[string]done{"done": {}}),
}

var theDiary = es.StreamID{Category: "diary", ID: "1"}

func note(by string) func([]string) ([]done, error) {
	return func(s []string) ([]done, error) { return []done{{By: by, Saw: strings.Join(s, ",")}}, nil }
}

// patient is a journal for explorations.
func patient(s es.Store, p es.Publisher) *es.Journal {
	return &es.Journal{Store: s, Publisher: p, Grace: -1, Timeout: time.Hour, Attempts: 3}
}

func writer(name string) estest.Process {
	return estest.Process{Name: name, Run: func(ctx context.Context, s es.Store, p es.Publisher) error {
		_, err := es.Execute(ctx, patient(s, p), &diary, "1", note(name), es.Named(name, nil))
		return err
	}}
}

func relay() estest.Process {
	return estest.Process{Name: "relay", Run: func(ctx context.Context, s es.Store, p es.Publisher) error {
		_, err := patient(s, p).Relay(ctx)
		return err
	}}
}

// sink is a broker: it takes everything.
type sink struct{}

func (sink) Publish(context.Context, es.Commit) error { return nil }

// protocolHolds is the check of explorations. The writers are the first processes, and their
// commands are named like them.
func protocolHolds(writers ...string) func(context.Context, *estest.End) error {
	return func(ctx context.Context, end *estest.End) error {
		for range 2 {
			if _, err := patient(end.Store, end.Publisher).Relay(ctx); err != nil {
				return fmt.Errorf("relay: %w", err)
			}
			if err := check(end.Store, end.Published(), theDiary); err != nil {
				return err
			}
			for kind, err := range violations(ctx, end, writers...) {
				return fmt.Errorf("%s: %w", kind, err)
			}
			end.Land(ctx)
		}
		return nil
	}
}

func inMemory() (es.Store, es.Publisher) { return new(memory.Store), sink{} }

// mustFind fails the test unless there is a violation, and logs the shortest schedule of one.
func mustFind(t *testing.T, x *estest.Explorer) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x.Shortest = true
		done, err := x.Run(t.Context())
		v, ok := errors.AsType[*estest.Violation](err)
		if !ok {
			t.Fatalf("nothing found in %+v: %v", done, err)
		}
		t.Logf("found after %+v:\n%v", done, v)
	})
}

// explore fails the test if there is a violation.
func explore(t *testing.T, x *estest.Explorer) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		x.Progress = func(done estest.Explored) {
			if done.Schedules%1_000_000 == 0 {
				t.Logf("so far %+v", done)
			}
		}
		done, err := x.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", done)
	})
}

// How far it is explored: a little in every run of the tests, further with EXPLORE=ci, which takes a
// minute or two, and as far as docs/design.md says with EXPLORE=all.
func TestExplore(t *testing.T) {
	const quick, ci, all = 0, 1, 2
	far, ok := map[string]int{"": quick, "ci": ci, "all": all}[os.Getenv("EXPLORE")]
	if !ok {
		t.Fatal("EXPLORE must be ci or all")
	}
	for _, row := range []struct {
		writers, relays, faults int
		far                     int
	}{
		{1, 1, 0, quick}, {1, 1, 1, quick}, {1, 1, 2, quick}, {1, 1, 3, quick},
		{2, 0, 0, quick}, {2, 0, 1, quick}, {2, 1, 0, quick},
		{2, 0, 2, ci}, {2, 1, 1, ci}, {2, 1, 2, ci},
		{2, 0, 3, all}, {2, 1, 3, all}, {3, 0, 1, all},
	} {
		if row.far > far {
			continue
		}
		t.Run(fmt.Sprintf("%d writers, %d relays, %d faults", row.writers, row.relays, row.faults), func(t *testing.T) {
			x := estest.Explorer{New: inMemory, Faults: row.faults}
			names := []string{"a", "b", "c"}[:row.writers]
			x.Check = protocolHolds(names...)
			for _, name := range names {
				x.Processes = append(x.Processes, writer(name))
			}
			for range row.relays {
				x.Processes = append(x.Processes, relay())
			}
			explore(t, &x)
		})
	}
}
