package estest

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

func TestViewsSuiteFailsNothing(t *testing.T) {
	allFail(t, viewsRows(), func(*testing.T) es.Views[Document] { return nothingViews{} })
}

type nothingViews struct{}

func (nothingViews) Get(context.Context, es.StreamID) (es.View[Document], error) {
	return es.View[Document]{}, nil
}
func (nothingViews) Put(context.Context, es.StreamID, es.View[Document], uint64) error { return nil }

func TestViewsSuiteKills(t *testing.T) {
	mustDie(t, viewsRows(), viewsMutants())
}

// brokenViews is a read database in which some methods are replaced.
type brokenViews struct {
	get func(context.Context, es.StreamID) (es.View[Document], error)
	put func(context.Context, es.StreamID, es.View[Document], uint64) error
}

func (b brokenViews) Get(ctx context.Context, stream es.StreamID) (es.View[Document], error) {
	return b.get(ctx, stream)
}

func (b brokenViews) Put(ctx context.Context, stream es.StreamID, v es.View[Document], old uint64) error {
	return b.put(ctx, stream, v, old)
}

func breakViews(change func(b *brokenViews, v *memory.Views[Document])) func(*testing.T) es.Views[Document] {
	return func(*testing.T) es.Views[Document] {
		v := new(memory.Views[Document])
		b := brokenViews{get: v.Get, put: v.Put}
		change(&b, v)
		return b
	}
}

// overwrite puts a document whatever is there.
func overwrite(ctx context.Context, v *memory.Views[Document], stream es.StreamID, view es.View[Document]) error {
	for {
		have, err := v.Get(ctx, stream)
		if err != nil {
			return err
		}
		if err := v.Put(ctx, stream, view, have.Version); !errors.Is(err, es.ErrConflict) {
			return err
		}
	}
}

func viewsMutants() []mutant[es.Views[Document]] {
	return []mutant[es.Views[Document]]{
		{"a put overwrites whatever is there, even the newer", "a put that names another version than the stored one is a conflict and changes nothing", breakViews(func(b *brokenViews, v *memory.Views[Document]) {
			b.put = func(ctx context.Context, stream es.StreamID, view es.View[Document], _ uint64) error {
				return overwrite(ctx, v, stream, view)
			}
		})},
		{"a put overwrites whatever is older, seen or unseen", "16 writers on one view lose nothing", breakViews(func(b *brokenViews, v *memory.Views[Document]) {
			b.put = func(ctx context.Context, stream es.StreamID, view es.View[Document], _ uint64) error {
				have, err := v.Get(ctx, stream)
				if err != nil || have.Version > view.Version {
					return errors.Join(es.ErrConflict, err)
				}
				return overwrite(ctx, v, stream, view)
			}
		})},
		{"the first put is not conditional", "of 8 puts on one version at once exactly one wins", breakViews(func(b *brokenViews, v *memory.Views[Document]) {
			b.put = func(ctx context.Context, stream es.StreamID, view es.View[Document], old uint64) error {
				if old == 0 {
					return overwrite(ctx, v, stream, view)
				}
				return v.Put(ctx, stream, view, old)
			}
		})},
		{"a conflict is an error like any other", "a put that names another version than the stored one is a conflict and changes nothing", breakViews(func(b *brokenViews, v *memory.Views[Document]) {
			b.put = func(ctx context.Context, stream es.StreamID, view es.View[Document], old uint64) error {
				if v.Put(ctx, stream, view, old) != nil {
					return errElse
				}
				return nil
			}
		})},
		{"versions must rise", "a document may replace one of the same version, or of a higher", breakViews(func(b *brokenViews, v *memory.Views[Document]) {
			b.put = func(ctx context.Context, stream es.StreamID, view es.View[Document], old uint64) error {
				if view.Version <= old && view.Version > 0 {
					return es.ErrConflict
				}
				return v.Put(ctx, stream, view, old)
			}
		})},
		{"version 0 is taken", "version 0 is invalid and changes nothing", breakViews(func(b *brokenViews, v *memory.Views[Document]) {
			b.put = func(ctx context.Context, stream es.StreamID, view es.View[Document], old uint64) error {
				if view.Version == 0 {
					return nil
				}
				return v.Put(ctx, stream, view, old)
			}
		})},
		{"documents are merged", "a document replaces all of the one before it", breakViews(func(b *brokenViews, v *memory.Views[Document]) {
			b.put = func(ctx context.Context, stream es.StreamID, view es.View[Document], old uint64) error {
				have, _ := v.Get(ctx, stream)
				scores := maps.Clone(have.Value.Scores)
				if scores == nil {
					scores = make(map[string]int)
				}
				maps.Copy(scores, view.Value.Scores)
				view.Value.Scores = scores
				return v.Put(ctx, stream, view, old)
			}
		})},
		{"documents are keyed by ID alone", "streams do not share documents, whatever their names", breakViews(func(b *brokenViews, v *memory.Views[Document]) {
			b.get = func(ctx context.Context, stream es.StreamID) (es.View[Document], error) {
				return v.Get(ctx, es.StreamID{Category: "all", ID: stream.ID})
			}
			b.put = func(ctx context.Context, stream es.StreamID, view es.View[Document], old uint64) error {
				return v.Put(ctx, es.StreamID{Category: "all", ID: stream.ID}, view, old)
			}
		})},
		{"documents are kept by reference", "documents are values", breakViews(func(b *brokenViews, v *memory.Views[Document]) {
			var mu sync.Mutex
			kept := make(map[es.StreamID]Document)
			b.put = func(ctx context.Context, stream es.StreamID, view es.View[Document], old uint64) error {
				mu.Lock()
				defer mu.Unlock()
				kept[stream] = view.Value
				return v.Put(ctx, stream, view, old)
			}
			b.get = func(ctx context.Context, stream es.StreamID) (es.View[Document], error) {
				mu.Lock()
				defer mu.Unlock()
				view, err := v.Get(ctx, stream)
				view.Value = kept[stream]
				return view, err
			}
		})},
		{"documents are given out from a cache", "documents are values", breakViews(func(b *brokenViews, v *memory.Views[Document]) {
			var mu sync.Mutex
			cache := make(map[es.StreamID]Document)
			b.get = func(ctx context.Context, stream es.StreamID) (es.View[Document], error) {
				mu.Lock()
				defer mu.Unlock()
				view, err := v.Get(ctx, stream)
				if _, ok := cache[stream]; !ok {
					cache[stream] = view.Value
				}
				view.Value = cache[stream]
				return view, err
			}
		})},
		{"what is missing is an error", "where nothing was put there is the zero view, and no error", breakViews(func(b *brokenViews, v *memory.Views[Document]) {
			b.get = func(ctx context.Context, stream es.StreamID) (es.View[Document], error) {
				view, err := v.Get(ctx, stream)
				if err == nil && view.Version == 0 {
					err = errElse
				}
				return view, err
			}
		})},
		{"the version that is got is a count of puts", "the document that was put last is the one that is got", breakViews(func(b *brokenViews, v *memory.Views[Document]) {
			b.get = func(ctx context.Context, stream es.StreamID) (es.View[Document], error) {
				view, err := v.Get(ctx, stream)
				view.Version = min(view.Version, 3)
				return view, err
			}
		})},
		{"contexts are not looked at", "a context that has ended is an error and has no effect", breakViews(func(b *brokenViews, v *memory.Views[Document]) {
			b.put = func(ctx context.Context, stream es.StreamID, view es.View[Document], old uint64) error {
				return v.Put(context.WithoutCancel(ctx), stream, view, old)
			}
		})},
	}
}
