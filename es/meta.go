package es

import (
	"context"
	"maps"
)

// Metadata keys that [Reactor] sets.
const (
	// MetaCorrelation is the ID of the first commit of a chain of commits that
	// caused each other.
	MetaCorrelation = "correlation"
	// MetaCausation is the ID of the commit that caused this one.
	MetaCausation = "causation"
)

type metaKey struct{}

// WithMeta returns a context under which every commit carries the given metadata:
// who did it, from where, in which trace. What an outer context set stays, and is
// replaced key by key. Metadata is stored for ever and published: no secret
// belongs there.
func WithMeta(ctx context.Context, meta map[string]string) context.Context {
	merged := maps.Clone(metaOf(ctx))
	if merged == nil {
		merged = make(map[string]string, len(meta))
	}
	maps.Copy(merged, meta)
	return context.WithValue(ctx, metaKey{}, merged)
}

// metaOf returns the metadata of the context, not to be changed.
func metaOf(ctx context.Context) map[string]string {
	meta, _ := ctx.Value(metaKey{}).(map[string]string)
	return meta
}
