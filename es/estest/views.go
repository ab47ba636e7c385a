package estest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"

	"github.com/leftfold/leftfold/es"
)

// Document is what [TestViews] stores.
type Document struct {
	Name   string
	Count  int
	Tags   []string
	Scores map[string]int
}

// TestViews checks that a read database keeps the contract of [es.Views]. Each rule
// is a subtest that is named after it. Open returns a database, empty or not; what is
// said of it at [TestStore] holds here, too.
func TestViews(t *testing.T, open func(t *testing.T) es.Views[Document]) {
	run(t, viewsRows(), open)
}

func viewsRows() []row[es.Views[Document]] {
	return []row[es.Views[Document]]{
		{"where nothing was put there is the zero view, and no error", viewMissing},
		{"the document that was put last is the one that is got", viewPutGet},
		{"a document replaces all of the one before it", viewReplaced},
		{"a put that names another version than the stored one is a conflict and changes nothing", viewConflicts},
		{"of 8 puts on one version at once exactly one wins", viewPutsRace},
		{"16 writers on one view lose nothing", viewWriters},
		{"a document may replace one of the same version, or of a higher", viewSameVersion},
		{"version 0 is invalid and changes nothing", viewVersionZero},
		{"streams do not share documents, whatever their names", viewNamesApart},
		{"documents are values", viewNoAlias},
		{"a context that has ended is an error and has no effect", viewEndedContexts},
	}
}

func newDocument(n int) Document {
	return Document{
		Name: fmt.Sprintf("Grüße <&> \"%d\" 🎈\n", n), Count: -n,
		Tags: []string{"a", "", fmt.Sprint("tag ", n)}, Scores: map[string]int{"": 1, "ü": n, fmt.Sprint(n): 1 << 52},
	}
}

// sameDocument compares documents; nil and empty are the same, as they are in most
// databases.
func sameDocument(a, b Document) bool {
	return a.Name == b.Name && a.Count == b.Count && slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Scores, b.Scores)
}

// shows checks what a view is. A replica may show it late.
func shows(ctx context.Context, v es.Views[Document], stream es.StreamID, version uint64, doc Document) error {
	return eventually(ctx, func() error {
		got, err := v.Get(ctx, stream)
		switch {
		case err != nil:
			return fmt.Errorf("get: %w", err)
		case got.Version != version:
			return fmt.Errorf("the view has version %d, not %d", got.Version, version)
		case !sameDocument(got.Value, doc):
			return fmt.Errorf("the view is %+v, not %+v", got.Value, doc)
		}
		return nil
	})
}

func putView(ctx context.Context, v es.Views[Document], stream es.StreamID, version uint64, doc Document, old uint64) error {
	err := v.Put(ctx, stream, es.View[Document]{Version: version, Value: doc}, old)
	return expect(fmt.Sprintf("put of version %d in the place of %d", version, old), err, nil)
}

func viewMissing(ctx context.Context, v es.Views[Document]) error {
	stream, other := newStream("1"), newStream("1")
	return first(
		shows(ctx, v, stream, 0, Document{}),
		putView(ctx, v, other, 1, newDocument(1), 0),
		shows(ctx, v, stream, 0, Document{}),
		shows(ctx, v, other, 1, newDocument(1)),
	)
}

func viewPutGet(ctx context.Context, v es.Views[Document]) error {
	stream := newStream("1")
	var old uint64
	for _, version := range []uint64{1, 2, 7, 1000, 1<<63 - 1} {
		doc := newDocument(int(version % 1000))
		if err := first(putView(ctx, v, stream, version, doc, old), shows(ctx, v, stream, version, doc)); err != nil {
			return err
		}
		old = version
	}
	return nil
}

func viewReplaced(ctx context.Context, v es.Views[Document]) error {
	stream := newStream("1")
	small := Document{Scores: map[string]int{"new": 1}}
	return first(
		putView(ctx, v, stream, 1, newDocument(1), 0),
		putView(ctx, v, stream, 2, small, 1), shows(ctx, v, stream, 2, small),
		putView(ctx, v, stream, 3, Document{}, 2), shows(ctx, v, stream, 3, Document{}),
	)
}

func viewConflicts(ctx context.Context, v es.Views[Document]) error {
	stream := newStream("1")
	doc := newDocument(1)
	conflicts := func(version, old uint64) error {
		err := v.Put(ctx, stream, es.View[Document]{Version: version, Value: newDocument(99)}, old)
		return expect(fmt.Sprintf("put of version %d in the place of %d", version, old), err, es.ErrConflict)
	}
	return first(
		conflicts(1, 1), conflicts(5, 4), shows(ctx, v, stream, 0, Document{}),
		putView(ctx, v, stream, 5, doc, 0),
		conflicts(1, 0), conflicts(5, 0), conflicts(6, 0), conflicts(5, 4), conflicts(6, 4), conflicts(7, 6), conflicts(4, 3), conflicts(5, 6),
		shows(ctx, v, stream, 5, doc),
		putView(ctx, v, stream, 6, newDocument(6), 5), conflicts(6, 5), conflicts(7, 5),
		shows(ctx, v, stream, 6, newDocument(6)),
	)
}

func viewPutsRace(ctx context.Context, v es.Views[Document]) error {
	for range 10 {
		stream := newStream("1")
		for version := range uint64(3) {
			winner, err := oneWins(together(8, func(i int) error {
				return v.Put(ctx, stream, es.View[Document]{Version: version + 1, Value: newDocument(i)}, version)
			}))
			if err := first(err, shows(ctx, v, stream, version+1, newDocument(winner))); err != nil {
				return err
			}
		}
	}
	return nil
}

func viewWriters(ctx context.Context, v es.Views[Document]) error {
	const writers, each = 16, 5
	stream := newStream("1")
	errs := together(writers, func(int) error {
		for done := 0; done < each; {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("the writers do not come to an end: %w", err)
			}
			view, err := v.Get(ctx, stream)
			if err != nil {
				return fmt.Errorf("get: %w", err)
			}
			old := view.Version
			view.Version++
			view.Value.Count++
			runtime.Gosched() // so that another may come in between, on a fast database, too
			switch err := v.Put(ctx, stream, view, old); {
			case err == nil:
				done++
			case !errors.Is(err, es.ErrConflict):
				return fmt.Errorf("put: %w", err)
			}
		}
		return nil
	})
	return first(append(errs, shows(ctx, v, stream, writers*each, Document{Count: writers * each}))...)
}

func viewSameVersion(ctx context.Context, v es.Views[Document]) error {
	stream := newStream("1")
	return first(
		putView(ctx, v, stream, 5, newDocument(1), 0),
		putView(ctx, v, stream, 5, newDocument(2), 5), shows(ctx, v, stream, 5, newDocument(2)),
		putView(ctx, v, stream, 3, newDocument(3), 5), shows(ctx, v, stream, 3, newDocument(3)),
	)
}

func viewVersionZero(ctx context.Context, v es.Views[Document]) error {
	stream := newStream("1")
	zero := func(old uint64) error {
		err := v.Put(ctx, stream, es.View[Document]{Value: newDocument(99)}, old)
		return expect(fmt.Sprintf("put of version 0 in the place of %d", old), err, es.ErrInvalid)
	}
	return first(
		zero(0), shows(ctx, v, stream, 0, Document{}),
		putView(ctx, v, stream, 2, newDocument(2), 0),
		zero(2), shows(ctx, v, stream, 2, newDocument(2)),
	)
}

func viewNamesApart(ctx context.Context, v es.Views[Document]) error {
	for i, stream := range awkwardNames() {
		if err := putView(ctx, v, stream, uint64(i+1), newDocument(i), 0); err != nil {
			return fmt.Errorf("stream %.80q: %w", stream, err)
		}
		if err := shows(ctx, v, stream, uint64(i+1), newDocument(i)); err != nil {
			return fmt.Errorf("stream %.80q: %w", stream, err)
		}
	}
	return nil
}

func viewNoAlias(ctx context.Context, v es.Views[Document]) error {
	stream := newStream("1")
	spoil := func(d Document) {
		for i := range d.Tags {
			d.Tags[i] = "spoilt"
		}
		for k := range d.Scores {
			d.Scores[k] = -1
		}
	}
	doc := newDocument(1)
	if err := putView(ctx, v, stream, 1, doc, 0); err != nil {
		return err
	}
	spoil(doc)
	if err := shows(ctx, v, stream, 1, newDocument(1)); err != nil {
		return fmt.Errorf("after a caller changed what it had put: %w", err)
	}
	got, err := v.Get(ctx, stream)
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	spoil(got.Value)
	if err := shows(ctx, v, stream, 1, newDocument(1)); err != nil {
		return fmt.Errorf("after a caller changed what it had got: %w", err)
	}
	return nil
}

func viewEndedContexts(ctx context.Context, v es.Views[Document]) error {
	ended, cancel := endedContexts(ctx)
	defer cancel()
	for what, ended := range ended {
		stream := newStream("1")
		put := func(version, old uint64) error {
			err := v.Put(ended, stream, es.View[Document]{Version: version, Value: newDocument(99)}, old)
			switch {
			case err == nil:
				return fmt.Errorf("put in %s succeeded", what)
			case errors.Is(err, es.ErrConflict):
				return fmt.Errorf("put in %s is reported as a conflict: %w", what, err)
			}
			return nil
		}
		if err := first(
			put(1, 0), shows(ctx, v, stream, 0, Document{}),
			putView(ctx, v, stream, 1, newDocument(1), 0),
			put(2, 1), shows(ctx, v, stream, 1, newDocument(1)),
		); err != nil {
			return err
		}
		if _, err := v.Get(ended, stream); err == nil {
			return fmt.Errorf("get in %s succeeded", what)
		}
	}
	return nil
}
