package es

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"
)

// tails is what a journal remembers of the streams that it used last, one tail for each
// aggregate and stream.
type tails struct {
	mu    sync.Mutex
	order list.List // of *tail; what was used last is at the front
	by    map[tailKey]*list.Element
}

type tailKey struct {
	aggregate any // a pointer
	stream    StreamID
}

// tail is the newest settled state of a stream, and the queue of those who want to go on from there.
type tail struct {
	key  tailKey
	turn chan struct{} // full while somebody has the turn
	last any           // a *loaded[S], or nil; it belongs to whoever has the turn
}

// of returns the tail of a stream, and forgets others if there are more than so many. Who uses a
// tail that was forgotten does so alone, and nothing else happens.
func (t *tails) of(key tailKey, most int) *tail {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.by[key]; ok {
		t.order.MoveToFront(e)
		return e.Value.(*tail)
	}
	if t.by == nil {
		t.by = make(map[tailKey]*list.Element)
	}
	found := &tail{key: key, turn: make(chan struct{}, 1)}
	t.by[key] = t.order.PushFront(found)
	for t.order.Len() > most {
		delete(t.by, t.order.Remove(t.order.Back()).(*tail).key)
	}
	return found
}

// queue waits for the turn on a stream, and returns its tail; nil where the journal remembers none, or
// where the turn did not come within the time that a commit may take: then
// the command goes on without, and the store alone decides who is first. So nobody can be
// locked out, whatever the code does that has the turn.
func (j *Journal) queue(ctx context.Context, aggregate any, stream StreamID) (*tail, error) {
	if j.Cache <= 0 {
		return nil, nil
	}
	t := j.tails.of(tailKey{aggregate, stream}, j.Cache)
	select {
	case t.turn <- struct{}{}:
		return t, nil
	default:
	}
	timer := time.NewTimer(j.timeout())
	defer timer.Stop()
	select {
	case t.turn <- struct{}{}:
		return t, nil
	case <-timer.C:
		return nil, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for other commands on %s: %w", stream, ctx.Err())
	}
}

// leave lets the next one in.
func (t *tail) leave() {
	if t != nil {
		<-t.turn
	}
}

// recall takes what is known of a stream out of its tail, and reports false if that is nothing.
func recall[S any](t *tail) (l loaded[S], known bool) {
	if t == nil || t.last == nil {
		return l, false
	}
	l, t.last = *t.last.(*loaded[S]), nil
	return l, true
}

// remember puts what is known now of a stream into its tail. It must be settled.
func remember[S any](t *tail, l loaded[S]) {
	if t != nil {
		t.last = &l
	}
}
