package es_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

// joined is a projection whose view shows every event that is in it.
func joined(store es.Store, views es.Views[string]) *es.Projection[string, Counted] {
	return &es.Projection[string, Counted]{
		Category: "counter",
		Fold:     func(v string, e Counted) string { return v + e.By },
		Events:   counter.Events,
		Views:    views,
		Store:    store,
	}
}

// history fills a stream with commits of one to three events, and returns them as
// they were published.
func history(t testing.TB, tap *tap, n int) []es.Commit {
	t.Helper()
	for i := range n {
		letters := strings.Split("abc"[:i%3+1], "")
		if _, err := es.Execute(t.Context(), tap.journal(), &counter, "1", count(letters...)); err != nil {
			t.Fatal(err)
		}
	}
	return slices.Clone(tap.published)
}

func view(t testing.TB, p *es.Projection[string, Counted]) es.View[string] {
	t.Helper()
	v, err := p.Views.Get(t.Context(), theStream)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// whole returns the view that a fold of everything up to a version makes.
func whole(commits []es.Commit, version uint64) (v string) {
	for _, c := range commits {
		for i, e := range c.Events {
			if c.Version+uint64(i) <= version {
				v += strings.TrimSuffix(strings.TrimPrefix(e.Data, `{"By":"`), `"}`)
			}
		}
	}
	return v
}

// handling is how commits are folded into views: Projection.Handle, or a broken one.
type handling func(es.Store, es.Views[string]) func(context.Context, es.Commit) error

// However messages come, twice, late, in any order or not at all, and whatever their
// clocks say: after each one the view is the fold up to the highest that came.
func TestProjectionAnyDelivery(t *testing.T) {
	ours := func(store es.Store, views es.Views[string]) func(context.Context, es.Commit) error {
		return joined(store, views).Handle
	}
	// wrong is ours, but for commits for which next returns true: then its view is put.
	wrong := func(next func(old es.View[string], c es.Commit) (es.View[string], bool)) handling {
		return func(store es.Store, views es.Views[string]) func(context.Context, es.Commit) error {
			return func(ctx context.Context, c es.Commit) error {
				old, err := views.Get(ctx, c.Stream)
				if err != nil {
					return err
				}
				if view, ok := next(old, c); ok {
					return views.Put(ctx, c.Stream, view, old.Version)
				}
				return ours(store, views)(ctx, c)
			}
		}
	}
	then := func(v es.View[string], c es.Commit) es.View[string] {
		return es.View[string]{Version: max(v.Version, c.Last()), Value: v.Value + whole([]es.Commit{c}, c.Last())}
	}
	prove(t, anyDelivery, ours, []mutant[handling]{
		{"what comes again is applied again", wrong(func(old es.View[string], c es.Commit) (es.View[string], bool) {
			return then(old, c), c.Last() <= old.Version
		})},
		{"progress is the time of the last commit", func(store es.Store, views es.Views[string]) func(context.Context, es.Commit) error {
			var progress time.Time
			return func(ctx context.Context, c es.Commit) error {
				if !c.Time.After(progress) {
					return nil
				}
				progress = c.Time
				return ours(store, views)(ctx, c)
			}
		}},
		{"progress is one position in all streams", func(store es.Store, views es.Views[string]) func(context.Context, es.Commit) error {
			var progress uint64
			return func(ctx context.Context, c es.Commit) error {
				if c.Last() <= progress {
					return nil
				}
				progress = c.Last()
				return ours(store, views)(ctx, c)
			}
		}},
		{"a gap is not noticed", wrong(func(old es.View[string], c es.Commit) (es.View[string], bool) {
			return then(old, c), c.Version > old.Version+1
		})},
		{"a gap blocks for ever", func(_ es.Store, views es.Views[string]) func(context.Context, es.Commit) error {
			return joined(&memory.Store{}, views).Handle // so that there is nothing to heal it from
		}},
		{"an older commit overwrites the view", wrong(func(old es.View[string], c es.Commit) (es.View[string], bool) {
			return es.View[string]{Version: c.Last(), Value: old.Value[:min(c.Last(), old.Version)]}, c.Last() < old.Version
		})},
	})
}

func anyDelivery(t *testing.T, handle handling) error {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	tap := newTap()
	j := tap.journal()
	j.Now = func() time.Time { return time.Unix(random.Int64N(1000), 0) }
	for i := range 18 {
		letters := strings.Split("abc"[:i%3+1], "")
		if _, err := es.Execute(t.Context(), j, &counter, fmt.Sprint(i%2), count(letters...)); err != nil {
			t.Fatal(err)
		}
	}
	of := map[es.StreamID][]es.Commit{}
	for _, c := range tap.published {
		of[c.Stream] = append(of[c.Stream], c)
	}
	for range 300 {
		views := &memory.Views[string]{}
		handle := handle(tap.Store, views)
		highest := map[es.StreamID]uint64{}
		for range random.IntN(25) {
			c := tap.published[random.IntN(len(tap.published))]
			if err := handle(t.Context(), c); err != nil {
				return fmt.Errorf("seed %d: %w", seed, err)
			}
			highest[c.Stream] = max(highest[c.Stream], c.Last())
			for stream, version := range highest {
				v, err := views.Get(t.Context(), stream)
				if want := whole(of[stream], version); err != nil || v.Version != version || v.Value != want {
					return fmt.Errorf("seed %d: view %+v of %s after version %d: want %q, %v", seed, v, stream, version, want, err)
				}
			}
		}
	}
	return nil
}

func TestProjectionStopsAtTheMessage(t *testing.T) {
	tap := newTap()
	commits := history(t, tap, 4) // versions 1, 2-3, 4-6, 7
	p := joined(tap, &memory.Views[string]{})
	tap.reset()
	for _, step := range []struct {
		commit int
		calls  string
	}{{0, ""}, {2, "load"}, {1, ""}, {2, ""}, {3, ""}} {
		if err := p.Handle(t.Context(), commits[step.commit]); err != nil {
			t.Fatal(err)
		}
		if calls := strings.Join(tap.reset(), " "); calls != step.calls {
			t.Errorf("commit %d: store calls %q, want %q", step.commit, calls, step.calls)
		}
	}
	// A pending commit behind the message may still be revoked; before it, it can't.
	plant(t, tap.Store, raw(8, "p", "x"))
	p = joined(tap.Store, &memory.Views[string]{})
	if err := p.Handle(t.Context(), commits[3]); err != nil || view(t, p).Version != 7 {
		t.Errorf("%+v, %v", view(t, p), err)
	}
	if err := p.Handle(t.Context(), raw(8, "p", "x")); err != nil || view(t, p).Version != 8 {
		t.Errorf("%+v, %v", view(t, p), err)
	}
}

// The store shows a commit as pending that was published already: a message behind
// it proves that it stays.
func TestProjectionHealsWhatIsPublished(t *testing.T) {
	tap := newTap()
	plant(t, tap.Store, with(raw(1, "a", "a"), es.Settled), raw(2, "b", "b"))
	p := joined(tap.Store, &memory.Views[string]{})
	if err := p.Handle(t.Context(), raw(3, "c", "c")); err != nil || view(t, p).Value != "abc" {
		t.Errorf("%+v, %v", view(t, p), err)
	}
}

func TestProjectionErrors(t *testing.T) {
	tap := newTap()
	commits := history(t, tap, 4)
	demandGap := func(what string, err error) {
		t.Helper()
		if _, ok := errors.AsType[*es.GapError](err); !ok {
			t.Errorf("%s: %v", what, err)
		}
	}
	demandGap("the store shows nothing", joined(&memory.Store{}, &memory.Views[string]{}).Handle(t.Context(), commits[2]))
	demandGap("the store has a marker there", func() error {
		store := &memory.Store{}
		plant(t, store, with(commits[0], es.Settled), with(commits[1], es.Revoked))
		return joined(store, &memory.Views[string]{}).Handle(t.Context(), commits[2])
	}())
	demandGap("the message overlaps what the view has", func() error {
		p := joined(tap.Store, &memory.Views[string]{})
		if err := p.Views.Put(t.Context(), theStream, es.View[string]{Version: 2, Value: "ab"}, 0); err != nil {
			t.Fatal(err)
		}
		return p.Handle(t.Context(), commits[1]) // 2 and 3
	}())
	p := joined(tap.Store, &memory.Views[string]{})
	if err := p.Handle(t.Context(), es.Commit{Stream: theStream}); !errors.Is(err, es.ErrInvalid) {
		t.Errorf("malformed: %v", err)
	}
	if err := p.Handle(t.Context(), es.Commit{Stream: es.StreamID{Category: "other", ID: "1"}}); err != nil {
		t.Errorf("of another category: %v", err)
	}
	strange := raw(1, "s", "a", "b")
	strange.Events[1].Type = "strange"
	err := p.Handle(t.Context(), strange)
	if event, ok := errors.AsType[*es.EventError](err); !ok || event.Version != 2 || !errors.Is(err, es.ErrUnknownEvent) {
		t.Errorf("unknown event: %v", err)
	}
	if v := view(t, p); v.Version != 0 || v.Value != "" {
		t.Errorf("a message that failed left %+v", v)
	}
	tap.on = fails("load", 1, loseBefore)
	if err := joined(tap, &memory.Views[string]{}).Handle(t.Context(), commits[3]); !errors.Is(err, errLost) {
		t.Errorf("the store fails: %v", err)
	}
}

// flaky is a view store that fails on demand.
type flaky struct {
	es.Views[string]
	get, put func() error
}

func (f flaky) Get(ctx context.Context, s es.StreamID) (es.View[string], error) {
	if f.get != nil {
		if err := f.get(); err != nil {
			return es.View[string]{}, err
		}
	}
	return f.Views.Get(ctx, s)
}

func (f flaky) Put(ctx context.Context, s es.StreamID, v es.View[string], old uint64) error {
	if f.put != nil {
		if err := f.put(); err != nil {
			return err
		}
	}
	return f.Views.Put(ctx, s, v, old)
}

func TestProjectionViewErrors(t *testing.T) {
	tap := newTap()
	commits := history(t, tap, 4)
	lose := func() error { return errLost }
	for name, views := range map[string]flaky{"get": {get: lose}, "put": {put: lose}} {
		views.Views = &memory.Views[string]{}
		if err := joined(tap.Store, views).Handle(t.Context(), commits[0]); !errors.Is(err, errLost) {
			t.Errorf("%s: %v", name, err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		n := 0
		conflict := func() error { n++; return es.ErrConflict }
		err := joined(tap.Store, flaky{Views: &memory.Views[string]{}, put: conflict}).Handle(t.Context(), commits[0])
		if !errors.Is(err, es.ErrConflict) || n != 10 {
			t.Errorf("gave up after %d conflicts: %v", n, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		err = joined(tap.Store, flaky{Views: &memory.Views[string]{}, put: func() error { cancel(); return es.ErrConflict }}).Handle(ctx, commits[0])
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled in a conflict: %v", err)
		}
	})
}

// Several consumers of one view: they agree, and no version overwrites a newer one.
func TestProjectionsAtOnce(t *testing.T) {
	tap := newTap()
	commits := history(t, tap, 30)
	views := &memory.Views[string]{}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			p := joined(tap.Store, views)
			for i := range commits {
				c := commits[(i*7+w*11)%len(commits)]
				for errors.Is(p.Handle(t.Context(), c), es.ErrConflict) {
					continue // delivered again
				}
			}
		})
	}
	wg.Wait()
	last := commits[len(commits)-1].Last()
	if v := view(t, joined(tap.Store, views)); v.Version != last || v.Value != whole(commits, last) {
		t.Errorf("%+v", v)
	}
}

func TestRebuild(t *testing.T) {
	store := &memory.Store{}
	j := &es.Journal{Store: store}
	for n := range 50 {
		for range n%3 + 1 {
			if _, err := es.Execute(t.Context(), j, &counter, fmt.Sprint(n), count("a", "b")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := es.Execute(t.Context(), j, &tasks, fmt.Sprint(n), add("x")); err != nil {
			t.Fatal(err)
		}
	}
	views := &memory.Views[string]{}
	p := joined(store, views)
	p.Fold = func(v string, e Counted) string { return v + "old" }
	if err := p.Rebuild(t.Context(), es.RebuildOptions{}); err != nil {
		t.Fatal(err)
	}
	p = joined(store, views)
	var last es.RebuildProgress
	reports := 0
	err := p.Rebuild(t.Context(), es.RebuildOptions{Shards: 3, Progress: func(now es.RebuildProgress) { last = now; reports++ }})
	if err != nil || last.Streams != 50 || last.Events != 2*(17*1+17*2+16*3) || reports != 100 {
		t.Errorf("%+v in %d reports, %v", last, reports, err)
	}
	for n := range 50 {
		v, err := views.Get(t.Context(), es.StreamID{Category: "counter", ID: fmt.Sprint(n)})
		if want := strings.Repeat("ab", n%3+1); err != nil || v.Value != want || int(v.Version) != len(want) {
			t.Errorf("stream %d: %+v, %v", n, v, err)
		}
	}
	if v, err := views.Get(t.Context(), es.StreamID{Category: "tasks", ID: "1"}); err != nil || v.Version != 0 {
		t.Errorf("a view of another category: %+v, %v", v, err)
	}
}

// A rebuild that was interrupted goes on where it was, and does each stream once.
func TestRebuildResumes(t *testing.T) {
	store := &memory.Store{}
	for n := range 60 {
		if _, err := es.Execute(t.Context(), &es.Journal{Store: store}, &counter, fmt.Sprint(n), count("a")); err != nil {
			t.Fatal(err)
		}
	}
	p := joined(store, &memory.Views[string]{})
	seen := map[es.StreamID]int{}
	after := make([]es.StreamID, 3)
	for rounds := 0; len(seen) < 60; rounds++ {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		err := p.Rebuild(ctx, es.RebuildOptions{Shards: 3, After: after, Progress: func(now es.RebuildProgress) {
			seen[now.Stream]++
			after[now.Shard] = now.Stream
			if n++; n == 7 {
				cancel()
			}
		}})
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) || rounds > 20 {
			t.Fatalf("round %d: %v", rounds, err)
		}
	}
	for stream, n := range seen {
		if n != 1 {
			t.Errorf("%s was done %d times", stream, n)
		}
	}
}

// Progress may end its goroutine, as a test does that fails, or panic: Rebuild leaves nothing behind, and no shard waits for ever.
func TestRebuildWhoseProgressDoesNotReturn(t *testing.T) {
	tap := newTap()
	j := &es.Journal{Store: tap.Store}
	for n := range 20 {
		if _, err := es.Execute(t.Context(), j, &counter, fmt.Sprint(n), count("a")); err != nil {
			t.Fatal(err)
		}
	}
	p := joined(tap.Store, &memory.Views[string]{})
	for name, end := range map[string]func(){"exits": runtime.Goexit, "panics": func() { panic("progress") }} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan any, 1)
			go func() {
				defer func() { ended <- recover() }()
				_ = p.Rebuild(t.Context(), es.RebuildOptions{Progress: func(es.RebuildProgress) { end() }})
			}()
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Error("Rebuild does not end")
			}
		})
	}
}

func TestRebuildErrors(t *testing.T) {
	tap := newTap()
	commits := history(t, tap, 4)
	ctx := t.Context()
	if err := joined(tap, &memory.Views[string]{}).Rebuild(ctx, es.RebuildOptions{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a store that cannot list: %v", err)
	}
	for _, o := range []es.RebuildOptions{{Shards: -1}, {Shards: 2, After: make([]es.StreamID, 3)}} {
		if err := joined(tap.Store, &memory.Views[string]{}).Rebuild(ctx, o); !errors.Is(err, es.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	p := joined(listing{tap}, &memory.Views[string]{})
	tap.on = fails("load", 1, loseBefore)
	if err := p.Rebuild(ctx, es.RebuildOptions{}); !errors.Is(err, errLost) {
		t.Errorf("the store fails: %v", err)
	}
	tap.on = nil
	// The view is ahead of what the store shows.
	if err := p.Views.Put(ctx, theStream, es.View[string]{Version: 99}, 0); err != nil {
		t.Fatal(err)
	}
	err := p.Rebuild(ctx, es.RebuildOptions{})
	if _, ok := errors.AsType[*es.GapError](err); !ok {
		t.Errorf("%v", err)
	}
	// A pending commit is not history, unless the view shows that it was delivered.
	last := commits[len(commits)-1].Last()
	plant(t, tap.Store, raw(last+1, "p", "x"))
	for had, want := range map[uint64]uint64{0: last, last: last, last + 1: last + 1} {
		views := &memory.Views[string]{}
		if had > 0 {
			if err := views.Put(ctx, theStream, es.View[string]{Version: had}, 0); err != nil {
				t.Fatal(err)
			}
		}
		p := joined(tap.Store, views)
		if err := p.Rebuild(ctx, es.RebuildOptions{}); err != nil || view(t, p).Version != want {
			t.Errorf("view at %d: %+v, %v", had, view(t, p), err)
		}
	}
	// Only a pending first commit: there is no view to make.
	lone := &memory.Store{}
	plant(t, lone, raw(1, "p", "x"))
	p = joined(lone, &memory.Views[string]{})
	if err := p.Rebuild(ctx, es.RebuildOptions{}); err != nil || view(t, p).Version != 0 {
		t.Errorf("%+v, %v", view(t, p), err)
	}
}

// listing lets a tap list streams as the store behind it does.
type listing struct{ *tap }

func (l listing) Streams(ctx context.Context, shard, shards int, after es.StreamID) iter.Seq2[es.StreamID, error] {
	return l.Store.(es.Lister).Streams(ctx, shard, shards, after)
}
