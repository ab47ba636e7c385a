package es_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
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

// patient is a journal for explorations: whatever the clock says, what is pending is old enough for
// it, and time enough is left.
func patient(s es.Store, p es.Publisher) *es.Journal {
	return &es.Journal{Store: s, Publisher: p, Grace: -time.Hour, Timeout: time.Hour, Attempts: 3}
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

// mustFind fails the test unless there is a violation, whose shortest schedule must be the one in
// docs/schedules.md.
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
		if err := schedules.check(t.Name(), v.Error()); err != nil {
			t.Error(err)
		}
	})
}

var (
	update    = flag.Bool("update", false, "write docs/schedules.md anew, of the tests that run")
	schedules printed
)

// printed is what docs/schedules.md shows: the schedules that were found, by test.
type printed struct {
	sync.Mutex
	file  string
	found []string
}

const schedulesFile = "../docs/schedules.md"

const schedulesIntro = `# What goes wrong without the protocol

Each of these schedules is the shortest that [the explorer](protocol.md#the-proof) finds to a violation: in protocols that are simpler than ours,
in ours with one of its rules switched off, and in commands as they are often written. *a*, *b* and *relay* run at the same time; *a's 1* is
the first commit that a makes; *no answer* is a call whose effect may come later, and *lands* is where it does. Where ours is
checked, a relay comes after the last step, what is still on its way lands then, and the relay comes once more.

The tests find them anew each time, and compare them with this page; ` + "`go test ./es -run 'TestNaive|TestRules|TestDedup|TestWrong' -update`" + ` writes it.
`

func (p *printed) check(test, found string) error {
	p.Lock()
	defer p.Unlock()
	section := fmt.Sprintf("\n## %s\n\n```text\n%s\n```\n", strings.ReplaceAll(strings.Replace(test, "/", ": ", 1), "_", " "), strings.ReplaceAll(found, "\t", "  "))
	if *update {
		p.found = append(p.found, section)
		slices.Sort(p.found)
		return os.WriteFile(schedulesFile, []byte(schedulesIntro+strings.Join(p.found, "")), 0o644)
	}
	if p.file == "" {
		text, err := os.ReadFile(schedulesFile)
		if err != nil {
			return err
		}
		p.file = strings.ReplaceAll(string(text), "\r\n", "\n")
	}
	if !strings.Contains(p.file, section) {
		return fmt.Errorf("docs/schedules.md has another schedule, or none; go test -update writes it:%s", section)
	}
	return nil
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
// minute or two, and as far as docs/protocol.md says with EXPLORE=all.
const quick, ci, all = 0, 1, 2

func howFar(t *testing.T) int {
	far, ok := map[string]int{"": quick, "ci": ci, "all": all}[os.Getenv("EXPLORE")]
	if !ok {
		t.Fatal("EXPLORE must be ci or all")
	}
	return far
}

func TestExplore(t *testing.T) {
	far := howFar(t)
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

// creator is a writer that demands to be the first.
func creator(name string) estest.Process {
	return estest.Process{Name: name, Run: func(ctx context.Context, s es.Store, p es.Publisher) error {
		_, err := es.Execute(ctx, patient(s, p), &diary, "1", note(name), es.Named(name, nil), es.IfVersion(0))
		return err
	}}
}

// The protocol holds for those who do not look whether a stream is there.
func TestExploreCreators(t *testing.T) {
	far := howFar(t)
	for _, row := range []struct {
		faults, far int
		processes   []estest.Process
	}{
		{3, quick, []estest.Process{creator("a"), relay()}},
		{1, quick, []estest.Process{creator("a"), creator("b")}},
		{1, quick, []estest.Process{creator("a"), writer("b")}},
		{2, quick, []estest.Process{creator("a"), writer("b")}},
		{2, ci, []estest.Process{creator("a"), creator("b"), relay()}},
	} {
		if row.far > far {
			continue
		}
		var names []string
		for _, p := range row.processes {
			if p.Name != "relay" {
				names = append(names, p.Name)
			}
		}
		t.Run(fmt.Sprintf("%d processes, %v, %d faults", len(row.processes), names, row.faults), func(t *testing.T) {
			x := estest.Explorer{New: inMemory, Processes: row.processes, Faults: row.faults}
			x.Check = func(ctx context.Context, end *estest.End) error {
				if err := protocolHolds(names...)(ctx, end); err != nil {
					return err
				}
				for c, err := range end.Store.Load(ctx, theDiary, 0) {
					if err != nil {
						return err
					}
					if strings.HasPrefix(c.Command, "a") && c.Version != 1 {
						return fmt.Errorf("%s demanded to be the first, and is at version %d", c.Command, c.Version)
					}
				}
				return nil
			}
			explore(t, &x)
		})
	}
}

// insistent is a writer that sends its command again, under its name, as long as it is not accepted. What it
// says in the end is the truth of all: unknown, if one of them was and none was accepted.
func insistent(name string, times int) estest.Process {
	return estest.Process{Name: name, Run: func(ctx context.Context, s es.Store, p es.Publisher) (told error) {
		for range times {
			err := writer(name).Run(ctx, s, p)
			if err == nil {
				return nil
			}
			if _, unknown := errors.AsType[*es.UnknownError](told); !unknown {
				told = err
			}
		}
		return told
	}}
}

// A command that is repeated under its name takes effect once.
func TestExploreRepeats(t *testing.T) {
	for _, row := range []struct {
		faults    int
		writers   []string
		processes []estest.Process
	}{
		{5, []string{"a"}, []estest.Process{insistent("a", 2)}},
		{2, []string{"a"}, []estest.Process{insistent("a", 3), relay()}},
		{1, []string{"a", "b"}, []estest.Process{insistent("a", 2), writer("b")}},
	} {
		t.Run(fmt.Sprintf("%d processes, %d faults", len(row.processes), row.faults), func(t *testing.T) {
			explore(t, &estest.Explorer{New: inMemory, Processes: row.processes, Faults: row.faults, Check: protocolHolds(row.writers...)})
		})
	}
}

// readSide is a broker that remembers, and the views that processes make of what it delivers.
type readSide struct {
	published []es.Commit
	views     memory.Views[[]string]
	shown     []es.View[[]string] // every view that there ever was
}

func (r *readSide) Publish(_ context.Context, c es.Commit) error {
	r.published = append(r.published, c)
	return nil
}

func (r *readSide) Published() []es.Commit { return r.published }

// Get and Put are the views as a process sees them.
func (r *readSide) Get(ctx context.Context, stream es.StreamID) (view es.View[[]string], err error) {
	err = estest.Step(ctx, "get view", false, func(ctx context.Context) (string, error) {
		var err error
		view, err = r.views.Get(ctx, stream)
		return fmt.Sprint(view.Version, view.Value), err
	})
	return view, err
}

func (r *readSide) Put(ctx context.Context, stream es.StreamID, view es.View[[]string], old uint64) error {
	return estest.Step(ctx, "put view", true, func(ctx context.Context) (string, error) {
		err := r.views.Put(ctx, stream, view, old)
		if err == nil {
			r.shown = append(r.shown, view)
		}
		return fmt.Sprint("version ", view.Version), err
	})
}

func (r *readSide) projection(s es.Store, v es.Views[[]string]) *es.Projection[[]string, done] {
	return &es.Projection[[]string, done]{Category: diary.Category, Fold: diary.Fold, Events: diary.Events, Views: v, Store: s}
}

// subscriber receives a few messages, at any time and in their order; one that it fails to handle
// comes again. If it starts behind others, these messages are lost.
func subscriber(now **readSide, name string, from, receives int) estest.Process {
	return estest.Process{Name: name, Run: func(ctx context.Context, s es.Store, _ es.Publisher) error {
		next, r := from, *now
		for range receives {
			var message *es.Commit
			if err := estest.Step(ctx, "receive", false, func(context.Context) (string, error) {
				if next >= len(r.published) {
					return "nothing", nil
				}
				message = &r.published[next]
				return fmt.Sprint("version ", message.Version), nil
			}); err != nil || message == nil {
				continue
			}
			if r.projection(s, r).Handle(ctx, *message) == nil {
				next++
			}
		}
		return nil
	}}
}

// check delivers what is left, and demands that the view is the fold of the store, and that
// nothing else was ever shown.
func (r *readSide) check(ctx context.Context, end *estest.End, writers ...string) error {
	if err := protocolHolds(writers...)(ctx, end); err != nil {
		return err
	}
	for _, c := range r.published {
		if err := r.projection(end.Store, &r.views).Handle(ctx, c); err != nil {
			return err
		}
	}
	history, version, err := es.Load(ctx, patient(end.Store, nil), &diary, "1")
	if err != nil {
		return err
	}
	view, err := r.views.Get(ctx, theDiary)
	if err != nil || view.Version != version || !slices.Equal(view.Value, history) {
		return fmt.Errorf("the view is %v, the history %v, %w", view, history, err)
	}
	last := uint64(0)
	for _, v := range r.shown {
		if v.Version > version || !slices.Equal(v.Value, history[:v.Version]) || v.Version < last {
			return fmt.Errorf("there was a view %v after version %d, and the history is %v", v, last, history)
		}
		last = v.Version
	}
	return nil
}

// twice is a writer of two commands.
func twice(first, second string) estest.Process {
	return estest.Process{Name: first + second, Run: func(ctx context.Context, s es.Store, p es.Publisher) error {
		return errors.Join(writer(first).Run(ctx, s, p), writer(second).Run(ctx, s, p))
	}}
}

// Views follow, whatever happens to those who write, and to those who read.
func TestExploreReadSide(t *testing.T) {
	for _, row := range []struct {
		name      string
		faults    int
		writers   []string // whose commands are named like them
		processes func(**readSide) []estest.Process
	}{
		{"two writers", 0, []string{"a", "b"}, func(r **readSide) []estest.Process {
			return []estest.Process{writer("a"), writer("b"), subscriber(r, "s", 0, 2)}
		}},
		{"two subscribers", 1, nil, func(r **readSide) []estest.Process {
			return []estest.Process{twice("a", "b"), subscriber(r, "s", 0, 2), subscriber(r, "t", 0, 1)}
		}},
		{"a message is lost", 2, nil, func(r **readSide) []estest.Process {
			return []estest.Process{twice("a", "b"), subscriber(r, "s", 1, 2)}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var r *readSide // of the schedule that runs
			explore(t, &estest.Explorer{
				New: func() (es.Store, es.Publisher) {
					r = new(readSide)
					return new(memory.Store), r
				},
				Processes: row.processes(&r), Faults: row.faults,
				State: func() string {
					view, err := r.views.Get(context.Background(), theDiary)
					return fmt.Sprint(view, err, r.shown)
				},
				Check: func(ctx context.Context, end *estest.End) error { return r.check(ctx, end, row.writers...) },
			})
		})
	}
}
