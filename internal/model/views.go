package model

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
)

// ViewSteps are calls of an [es.Views], one after the other.
type ViewSteps []viewStep

type viewStep struct {
	Stream   int
	Put      bool
	Ended    bool // whether the context has ended before
	Version  uint64
	Old      int // 0 to 3: that version; above: the one that is stored
	Document estest.Document
}

// Views generates up to n steps.
func Views(n int) *rapid.Generator[ViewSteps] {
	text := rapid.StringOfN(rapid.RuneFrom([]rune("aü<&🎈\n\x00\u2028")), 0, 4, -1)
	step := rapid.Custom(func(t *rapid.T) viewStep {
		s := viewStep{
			Stream: rapid.IntRange(0, streams-1).Draw(t, "stream"), Put: rapid.IntRange(0, 3).Draw(t, "put") > 0,
			Ended: rapid.IntRange(0, 9).Draw(t, "ended") == 9,
		}
		if s.Put {
			s.Version, s.Old = rapid.Uint64Range(0, 3).Draw(t, "version"), rapid.IntRange(0, 9).Draw(t, "old")
			s.Document = estest.Document{
				Name: text.Draw(t, "name"), Count: rapid.Int().Draw(t, "count"),
				Tags: rapid.SliceOfN(text, 0, 2).Draw(t, "tags"), Scores: rapid.MapOfN(text, rapid.Int(), 0, 2).Draw(t, "scores"),
			}
		}
		return s
	})
	return rapid.Map(upTo(n, step), func(s []viewStep) ViewSteps { return s })
}

// Run takes the steps on a read database that shows at once what was put, on streams of a
// category of their own, and returns an error that names the first answer that the
// contract does not allow.
func (steps ViewSteps) Run(ctx context.Context, v es.Views[estest.Document]) error {
	var model [streams]es.View[estest.Document]
	category := "model-" + strings.ToLower(rand.Text())
	over, cancel := context.WithCancel(ctx)
	cancel()
	get := func(i int) error {
		got, err := v.Get(ctx, es.StreamID{Category: category, ID: fmt.Sprint("ü/", i)})
		want := model[i]
		if err != nil || got.Version != want.Version || got.Value.Name != want.Value.Name || got.Value.Count != want.Value.Count ||
			!slices.Equal(got.Value.Tags, want.Value.Tags) || !maps.Equal(got.Value.Scores, want.Value.Scores) {
			return fmt.Errorf("get %d: %+v, %s, not %+v", i, got, fmt.Sprint(err), want)
		}
		deface(got.Value)
		return nil
	}
	for n, s := range steps {
		stream, in := es.StreamID{Category: category, ID: fmt.Sprint("ü/", s.Stream)}, ctx
		if s.Ended {
			in = over
		}
		var err error
		if s.Put {
			old := uint64(s.Old)
			if s.Old > 3 {
				old = model[s.Stream].Version
			}
			view := es.View[estest.Document]{Version: s.Version, Value: clone(s.Document)}
			err = v.Put(in, stream, view, old)
			deface(view.Value)
			switch {
			case s.Ended && s.Version == 0: // whichever is seen first
				err = other.check(err)
			case s.Ended:
				err = ended.check(err)
			case s.Version == 0:
				if errors.Is(err, es.ErrInvalid) && !errors.Is(err, es.ErrConflict) {
					err = nil
				} else {
					err = fmt.Errorf("a put of version 0: %s", fmt.Sprint(err))
				}
			case old != model[s.Stream].Version:
				err = conflict.check(err)
			default:
				if err = fine.check(err); err == nil {
					model[s.Stream] = es.View[estest.Document]{Version: s.Version, Value: s.Document}
				}
			}
		} else if s.Ended {
			_, err = v.Get(in, stream)
			err = ended.check(err)
		}
		for i := range model {
			if err == nil && (i == s.Stream || n == len(steps)-1) {
				err = get(i)
			}
		}
		if err != nil {
			return fmt.Errorf("step %d, %+v: %w", n+1, s, err)
		}
	}
	return nil
}

func clone(d estest.Document) estest.Document {
	d.Tags, d.Scores = slices.Clone(d.Tags), maps.Clone(d.Scores)
	return d
}

// deface changes all that a document refers to.
func deface(d estest.Document) {
	for i := range d.Tags {
		d.Tags[i] = "defaced"
	}
	clear(d.Scores)
}
