package console

import (
	"context"
	"sync"
	"time"

	"github.com/leftfold/leftfold/es"
)

// meetFor is how long a writer waits for a rival. A journal gives storing and publishing 1 s, unless it has another Timeout.
const meetFor = 400 * time.Millisecond

// race lets two writers store in the same slot at the same moment. The zero value is ready.
type race struct {
	mu      sync.Mutex
	waiting map[slot]chan struct{}
}

type slot struct {
	stream  es.StreamID
	version uint64
}

// meet returns when there are two writers for the commit's slot, or after meetFor.
func (r *race) meet(ctx context.Context, c es.Commit) {
	at := slot{c.Stream, c.Version}
	r.mu.Lock()
	if rival, ok := r.waiting[at]; ok {
		delete(r.waiting, at)
		close(rival)
		r.mu.Unlock()
		return
	}
	if r.waiting == nil {
		r.waiting = make(map[slot]chan struct{})
	}
	rival := make(chan struct{})
	r.waiting[at] = rival
	r.mu.Unlock()

	select {
	case <-rival:
		return
	case <-time.After(meetFor):
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting[at] == rival {
		delete(r.waiting, at)
	}
}
