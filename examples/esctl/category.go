package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/leftfold/leftfold/es"
)

// category is what this program knows of the streams of one category.
type category interface {
	name() string

	// fold returns the fold of a stream from its beginning.
	fold() fold

	// view returns what the read database has, as canonical JSON.
	view(ctx context.Context, stream es.StreamID) (es.View[json.RawMessage], error)

	// rebuild is [es.Projection.Rebuild], on the streams that the store lists.
	rebuild(ctx context.Context, streams listing, o es.RebuildOptions) error
}

// fold is a stream on its way through the codec into state and view. After an error it is
// where it was before the event.
type fold interface {
	add(c es.Commit, i int) error
	state() (json.RawMessage, error)
	view() (json.RawMessage, error)

	// snapshot returns the state of a commit as canonical JSON; nil if it carries none that
	// this program would use.
	snapshot(c es.Commit) (json.RawMessage, error)
}

// kind is a category with its types.
type kind[S, V, E any] struct {
	aggregate  *es.Aggregate[S, E]
	projection *es.Projection[V, E]
}

func (k *kind[S, V, E]) name() string { return k.aggregate.Category }

func (k *kind[S, V, E]) fold() fold { return &folding[S, V, E]{kind: k} }

func (k *kind[S, V, E]) view(ctx context.Context, stream es.StreamID) (es.View[json.RawMessage], error) {
	v, err := k.projection.Views.Get(ctx, stream)
	if err != nil {
		return es.View[json.RawMessage]{}, err
	}
	value, err := canonical(v.Value)
	return es.View[json.RawMessage]{Version: v.Version, Value: value}, err
}

func (k *kind[S, V, E]) rebuild(ctx context.Context, streams listing, o es.RebuildOptions) error {
	p := *k.projection
	p.Store = streams
	return p.Rebuild(ctx, o)
}

type folding[S, V, E any] struct {
	*kind[S, V, E]
	s S
	v V
}

func (f *folding[S, V, E]) add(c es.Commit, i int) error {
	events, err := f.aggregate.Events.Decode(nil, c.Events[i])
	if err != nil {
		return err
	}
	for _, e := range events {
		f.s, f.v = f.aggregate.Fold(f.s, e), f.projection.Fold(f.v, e)
	}
	return nil
}

func (f *folding[S, V, E]) state() (json.RawMessage, error) { return canonical(f.s) }
func (f *folding[S, V, E]) view() (json.RawMessage, error)  { return canonical(f.v) }

func (f *folding[S, V, E]) snapshot(c es.Commit) (json.RawMessage, error) {
	s := f.aggregate.Snapshots
	if c.State == nil || s.Schema == "" || c.State.Schema != s.Schema {
		return nil, nil
	}
	if s.Decode != nil {
		state, err := s.Decode([]byte(c.State.Data))
		if err != nil {
			return nil, err
		}
		return canonical(state)
	}
	return canonicalJSON[S]([]byte(c.State.Data))
}

// canonical returns the JSON of a value that has been through a database: what its type does
// not keep is lost on both sides of a comparison.
func canonical[T any](v T) (json.RawMessage, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return canonicalJSON[T](data)
}

func canonicalJSON[T any](data []byte) (json.RawMessage, error) {
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// difference says where two JSON documents differ first, as a JSON pointer (RFC 6901), empty
// if they are the same. It does not say the values: they may be somebody's address.
func difference(a, b json.RawMessage) string {
	if bytes.Equal(a, b) {
		return ""
	}
	var x, y any
	if json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil {
		if at, _ := differs("", x, y); at != "" {
			return "differs from the fold of the events at " + at
		}
	}
	return "differs from the fold of the events"
}

func differs(at string, a, b any) (string, bool) {
	switch a := a.(type) {
	case map[string]any:
		if b, ok := b.(map[string]any); ok {
			var keys []string
			for k := range a {
				keys = append(keys, k)
			}
			for k := range b {
				if _, ok := a[k]; !ok {
					keys = append(keys, k)
				}
			}
			slices.Sort(keys)
			for _, k := range keys {
				if at, ok := differs(at+"/"+k, a[k], b[k]); ok {
					return at, true
				}
			}
			return "", false
		}
	case []any:
		if b, ok := b.([]any); ok && len(a) == len(b) {
			for i := range a {
				if at, ok := differs(fmt.Sprintf("%s/%d", at, i), a[i], b[i]); ok {
					return at, true
				}
			}
			return "", false
		}
	default:
		if b == a {
			return "", false
		}
	}
	return at, true
}
