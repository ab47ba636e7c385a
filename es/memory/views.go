package memory

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/leftfold/leftfold/es"
)

// Views is an [es.Views]. The zero value is an empty database.
//
// It keeps documents as JSON, so that they are values like in a database: what
// encoding/json leaves out of a V is not stored, and a V that it cannot encode is
// an error. Get returns the document that was put last, never an older one.
type Views[V any] struct {
	mu        sync.RWMutex
	documents map[es.StreamID]document
}

var _ es.Views[any] = (*Views[any])(nil)

type document struct {
	version uint64
	data    []byte
}

// Get is that of [es.Views].
func (v *Views[V]) Get(ctx context.Context, stream es.StreamID) (es.View[V], error) {
	if err := ctx.Err(); err != nil {
		return es.View[V]{}, fmt.Errorf("get view %s: %w", stream, err)
	}
	v.mu.RLock()
	doc, ok := v.documents[stream]
	v.mu.RUnlock()
	if !ok {
		return es.View[V]{}, nil
	}
	view := es.View[V]{Version: doc.version}
	if err := json.Unmarshal(doc.data, &view.Value); err != nil {
		return es.View[V]{}, fmt.Errorf("get view %s: %w", stream, err)
	}
	return view, nil
}

// Put is that of [es.Views]. An invalid stream is refused with [es.ErrInvalid], too.
// After any error nothing was stored.
func (v *Views[V]) Put(ctx context.Context, stream es.StreamID, view es.View[V], old uint64) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put view %s: %w", stream, err)
	}
	if err := stream.Validate(); err != nil {
		return fmt.Errorf("put view: %w", err)
	}
	if view.Version == 0 {
		return fmt.Errorf("put view %s: %w: its version is 0", stream, es.ErrInvalid)
	}
	data, err := json.Marshal(view.Value)
	if err != nil {
		return fmt.Errorf("put view %s: %w", stream, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if have := v.documents[stream].version; have != old {
		return fmt.Errorf("put view %s: %w: it is at version %d, not at %d", stream, es.ErrConflict, have, old)
	}
	if v.documents == nil {
		v.documents = make(map[es.StreamID]document)
	}
	v.documents[stream] = document{version: view.Version, data: data}
	return nil
}
