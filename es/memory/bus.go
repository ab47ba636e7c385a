package memory

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/leftfold/leftfold/es"
)

const (
	// dedupFor is how long the bus remembers a commit's ID, as SNS FIFO does.
	dedupFor = 5 * time.Minute
	// handleFor is the time that a handler has for one commit.
	handleFor = 30 * time.Second
	// A failed delivery is repeated after firstPause, and then after twice the
	// pause each time, up to lastPause.
	firstPause = 10 * time.Millisecond
	lastPause  = time.Second
)

// Bus is an [es.Publisher] that delivers to handlers in this process. The zero
// value is a bus without subscribers; Logger must be set before its first use.
//
// Publish only queues. For each subscriber and stream that has something queued
// there is one goroutine, which ends when its queue is empty; so a subscriber sees
// a stream in order, and neither streams nor subscribers wait for each other.
// The queues have no limit but the memory. [Bus.Close] ends all of it.
//
// A handler that fails is called again with the same commit, after 10 ms and then
// after twice the pause each time, up to 1 s; the rest of that stream waits. So a
// handler sees a commit at least once. A commit whose ID was published in the last
// 5 minutes is taken and not delivered again. A panic of a handler is not caught.
type Bus struct {
	// Logger gets a warning for every failed delivery; nil means none. No event
	// data and no metadata is logged.
	Logger *slog.Logger

	mu          sync.Mutex
	subscribers []*subscriber
	seen        map[string]bool
	recent      []published   // what is in seen, oldest first
	left        int           // deliveries that are not done
	closed      bool          // takes no more
	stopped     error         // why it delivers no more
	idle        chan struct{} // closed when there is nothing to wait for; nil if nobody waits
}

var _ es.Publisher = (*Bus)(nil)

type published struct {
	id string
	at time.Time
}

// subscriber has a queue for each stream that it has not caught up with.
type subscriber struct {
	name   string
	handle func(context.Context, es.Commit) error
	queues map[es.StreamID]*queue
}

// queue is what one goroutine works on.
type queue struct {
	commits []es.Commit // the first one is being delivered
	cancel  context.CancelFunc
}

// Subscribe adds a subscriber. It gets what is published from then on. Its handler
// gets copies, and a context that ends after 30 s or when the bus gives up in
// [Bus.Close]. The name is for the log.
func (b *Bus) Subscribe(name string, handle func(context.Context, es.Commit) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subscribers = append(b.subscribers, &subscriber{name: name, handle: handle, queues: make(map[es.StreamID]*queue)})
}

// Publish is that of [es.Publisher]: it queues the commit for every subscriber and
// returns. An invalid commit, and a bus that is closed, is refused with [es.ErrRefused].
func (b *Bus) Publish(ctx context.Context, c es.Commit) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("publish %s@%d: %w", c.Stream, c.Version, err)
	}
	if err := c.Validate(); err != nil {
		return fmt.Errorf("publish: %w: %w", es.ErrRefused, err)
	}
	c = taken(c)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("publish %s@%d: %w: the bus is closed", c.Stream, c.Version, es.ErrRefused)
	}
	if b.repeated(c.ID, time.Now()) {
		return nil
	}
	for _, s := range b.subscribers {
		b.left++
		if q := s.queues[c.Stream]; q != nil {
			q.commits = append(q.commits, c)
			continue
		}
		// It outlives the publisher's context: that ends with the command.
		ctx, cancel := context.WithCancel(context.Background())
		q := &queue{commits: []es.Commit{c}, cancel: cancel}
		s.queues[c.Stream] = q
		go b.drain(ctx, s, q, c)
	}
	return nil
}

// repeated reports whether an ID was published not long ago, and notes that it is now.
func (b *Bus) repeated(id string, now time.Time) bool {
	for len(b.recent) > 0 && now.Sub(b.recent[0].at) >= dedupFor {
		delete(b.seen, b.recent[0].id)
		b.recent = b.recent[1:]
	}
	if b.seen[id] {
		return true
	}
	if b.seen == nil {
		b.seen = make(map[string]bool)
	}
	b.seen[id] = true
	b.recent = append(b.recent, published{id, now})
	return false
}

// drain delivers what is in a queue, of which c is the first, until it is empty or
// the bus gives up.
func (b *Bus) drain(ctx context.Context, s *subscriber, q *queue, c es.Commit) {
	defer q.cancel()
	for b.deliver(ctx, s, c) {
		var more bool
		if c, more = b.advance(s, q); !more {
			return
		}
	}
}

// advance takes the commit that was delivered off its queue and returns the next.
// An empty queue is forgotten.
func (b *Bus) advance(s *subscriber, q *queue) (next es.Commit, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	stream := q.commits[0].Stream
	q.commits = q.commits[1:]
	if b.left--; b.left == 0 {
		b.wake()
	}
	if len(q.commits) == 0 {
		delete(s.queues, stream)
		return es.Commit{}, false
	}
	return q.commits[0], true
}

// deliver calls the handler until it has taken the commit. It returns false if the
// bus gives up first.
func (b *Bus) deliver(ctx context.Context, s *subscriber, c es.Commit) bool {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, lastPause) {
		err := s.call(ctx, c)
		if err == nil {
			return true
		}
		if b.Logger != nil {
			b.Logger.LogAttrs(ctx, slog.LevelWarn, "delivery failed",
				slog.String("stream", c.Stream.String()), slog.Uint64("version", c.Version), slog.String("commit", c.ID),
				slog.String("subscriber", s.name), slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return false
}

func (s *subscriber) call(ctx context.Context, c es.Commit) error {
	ctx, cancel := context.WithTimeout(ctx, handleFor)
	defer cancel()
	return s.handle(ctx, c.Clone())
}

// Close waits until everything is delivered, what is published meanwhile and what
// deliveries cause included, and takes no more from then on. If the context ends
// before that, it gives up: no handler is called any more, the contexts of those
// that are running end, and the error says how many deliveries are left. A
// goroutine ends when its handler has returned. Close may be called again.
func (b *Bus) Close(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left > 0 && b.stopped == nil {
		if b.idle == nil {
			b.idle = make(chan struct{})
		}
		idle := b.idle
		b.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
		}
		b.mu.Lock()
	}
	b.closed = true
	if b.left == 0 {
		return nil
	}
	if b.stopped == nil {
		b.stopped = context.Cause(ctx)
		b.wake()
		for _, s := range b.subscribers {
			for _, q := range s.queues {
				q.cancel()
			}
		}
	}
	return fmt.Errorf("close bus: %d deliveries are left: %w", b.left, b.stopped)
}

// wake ends the waiting of every Close.
func (b *Bus) wake() {
	if b.idle != nil {
		b.closed = true // at once: a Close that waits must find nothing new
		close(b.idle)
		b.idle = nil
	}
}
