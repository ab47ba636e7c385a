package estest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
)

// TestPublisher checks that a publisher keeps the contract of [es.Publisher], and
// that of [es.Checker] if it is one. Each rule is a subtest that is named after it.
//
// Open starts a broker with one subscriber, which calls deliver for each message; an
// error from deliver means that the message must be delivered again. Deliver is safe
// for concurrent use and does not block. Open stops it all with t.Cleanup. The
// subtests run in parallel, and use streams and commit IDs that are new in every
// run; messages of other streams are ignored.
func TestPublisher(t *testing.T, open func(t *testing.T, deliver func(context.Context, es.Commit) error) es.Publisher) {
	run(t, publisherRows(), func(t *testing.T) broker {
		return func(deliver func(context.Context, es.Commit) error) es.Publisher { return open(t, deliver) }
	})
}

// broker starts a publisher with one subscriber.
type broker func(deliver func(context.Context, es.Commit) error) es.Publisher

func publisherRows() []row[broker] {
	return []row[broker]{
		{"what was published is delivered", publishedIsDelivered},
		{"every field comes through", deliveredWhole},
		{"a commit of many events is delivered whole, in one message", deliveredInOne},
		{"messages of a stream are delivered in the order in which they were published", deliveredInOrder},
		{"a delivery that fails is repeated, and the rest of its stream waits for it", failedIsRepeated},
		{"a delivery that fails does not stop another stream", failedStopsNoOther},
		{"a commit that is published again loses nothing", publishedAgain},
		{"a commit with another ID is delivered, even with the same content", sameContent},
		{"a commit with another ID is delivered, even with the same stream and version", sameSlot},
		{"streams with similar names keep apart", similarNames},
		{"16 goroutines that publish at once lose nothing", publishersAtOnce},
		{"a publish in a context that has ended is an error and has no effect", endedContextPublish},
		{"what was handed over does not alias", publishedNoAlias},
		{"what the check lets through is taken and delivered", checkedIsTaken},
	}
}

// inbox is a subscriber that keeps what it took of some categories, in order.
type inbox struct {
	// fail, if set, says whether to refuse a delivery. It is called under the lock.
	fail func(es.Commit) error

	mu      sync.Mutex
	taken   []es.Commit
	changed chan struct{} // closed at the next delivery
}

func (b *inbox) deliver(_ context.Context, c es.Commit) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		if err := b.fail(c); err != nil {
			return err
		}
	}
	b.taken = append(b.taken, c.Clone())
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	return nil
}

// of returns what was taken of a stream; what came again is left out.
func (b *inbox) of(stream es.StreamID) []es.Commit {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []es.Commit
	seen := make(map[string]bool)
	for _, c := range b.taken {
		if c.Stream == stream && !seen[c.ID] {
			seen[c.ID] = true
			found = append(found, c)
		}
	}
	return found
}

// wait waits until every stream has had so many commits as are wanted, and checks
// that they are these, in this order.
func (b *inbox) wait(ctx context.Context, want map[es.StreamID][]es.Commit) error {
	missing := func() (es.StreamID, bool) {
		for stream, commits := range want {
			if len(b.of(stream)) < len(commits) {
				return stream, true
			}
		}
		return es.StreamID{}, false
	}
	for {
		b.mu.Lock()
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		stream, some := missing()
		if !some {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d commits of stream %.80q were delivered: %w", len(b.of(stream)), len(want[stream]), stream, ctx.Err())
		}
	}
	for stream, commits := range want {
		if err := differAll(b.of(stream), commits); err != nil {
			return fmt.Errorf("stream %.80q: %w", stream, err)
		}
	}
	return nil
}

// waitFor is wait for one stream.
func (b *inbox) waitFor(ctx context.Context, commits ...es.Commit) error {
	return b.wait(ctx, map[es.StreamID][]es.Commit{commits[0].Stream: commits})
}

// newMessage returns a commit as a journal hands it over.
func newMessage(stream es.StreamID, version uint64, n int) es.Commit {
	return settled(newCommit(stream, version, n))
}

func publish(ctx context.Context, p es.Publisher, commits ...es.Commit) error {
	for _, c := range commits {
		if err := p.Publish(ctx, c); err != nil {
			return fmt.Errorf("publish %.80q@%d: %w", c.Stream, c.Version, err)
		}
	}
	return nil
}

func publishedIsDelivered(ctx context.Context, open broker) error {
	var in inbox
	p := open(in.deliver)
	c := newMessage(newStream("1"), 1, 1)
	return first(publish(ctx, p, c), in.waitFor(ctx, c))
}

func deliveredWhole(ctx context.Context, open broker) error {
	var in inbox
	p := open(in.deliver)
	a := full(newStream("ü/🎈 1"), 1)
	a.State, a.Done, a.Status = nil, nil, es.Settled
	b := settled(es.Commit{Stream: a.Stream, Version: a.Last() + 1, ID: a.ID + "2", Time: past, Events: []es.Event{{Type: "e"}}})
	return first(publish(ctx, p, a, b), in.waitFor(ctx, a, b))
}

func deliveredInOne(ctx context.Context, open broker) error {
	var in inbox
	p := open(in.deliver)
	stream := newStream("1")
	a, b := newMessage(stream, 1, 120), newMessage(stream, 121, 1)
	return first(publish(ctx, p, a, b), in.waitFor(ctx, a, b))
}

func deliveredInOrder(ctx context.Context, open broker) error {
	var in inbox
	p := open(in.deliver)
	want := make(map[es.StreamID][]es.Commit)
	streams := []es.StreamID{newStream("1"), newStream("2"), newStream("3")}
	for version := range uint64(30) {
		for _, stream := range streams {
			c := newMessage(stream, version+1, 1)
			want[stream] = append(want[stream], c)
			if err := publish(ctx, p, c); err != nil {
				return err
			}
		}
	}
	return in.wait(ctx, want)
}

var errAgain = errors.New("deliver it again")

func failedIsRepeated(ctx context.Context, open broker) error {
	stream := newStream("1")
	a, b, c := newMessage(stream, 1, 1), newMessage(stream, 2, 1), newMessage(stream, 3, 1)
	failures := map[string]int{a.ID: 2, b.ID: 1}
	published := false // until then there is no rest that could overtake
	in := inbox{fail: func(c es.Commit) error {
		switch {
		case c.ID == a.ID && !published:
			return errAgain
		case failures[c.ID] == 0:
			return nil
		}
		failures[c.ID]--
		return errAgain
	}}
	p := open(in.deliver)
	if err := publish(ctx, p, a, b, c); err != nil {
		return err
	}
	in.mu.Lock()
	published = true
	in.mu.Unlock()
	return in.waitFor(ctx, a, b, c)
}

func failedStopsNoOther(ctx context.Context, open broker) error {
	bad, good := newMessage(newStream("1"), 1, 1), newMessage(newStream("1"), 1, 1)
	goodCame := false
	in := inbox{fail: func(c es.Commit) error {
		if c.ID == good.ID {
			goodCame = true
		}
		if c.ID == bad.ID && !goodCame {
			return errAgain
		}
		return nil
	}}
	p := open(in.deliver)
	return first(publish(ctx, p, bad, good), in.waitFor(ctx, good), in.waitFor(ctx, bad))
}

func publishedAgain(ctx context.Context, open broker) error {
	var in inbox
	p := open(in.deliver)
	stream := newStream("1")
	a, b := newMessage(stream, 1, 1), newMessage(stream, 2, 1)
	return first(publish(ctx, p, a, a, b, a, b), in.waitFor(ctx, a, b))
}

func sameContent(ctx context.Context, open broker) error {
	var in inbox
	p := open(in.deliver)
	a := newMessage(newStream("1"), 1, 1)
	b, c := a, a
	b.ID, b.Version = a.ID+"2", 2
	c.ID, c.Stream = a.ID+"3", newStream("1")
	return first(publish(ctx, p, a, b, c), in.waitFor(ctx, a, b), in.waitFor(ctx, c))
}

func sameSlot(ctx context.Context, open broker) error {
	var in inbox
	p := open(in.deliver)
	a := newMessage(newStream("1"), 1, 1)
	b := a
	b.ID = a.ID + "2"
	return first(publish(ctx, p, a, b), in.waitFor(ctx, a, b))
}

func similarNames(ctx context.Context, open broker) error {
	var in inbox
	p := open(in.deliver)
	want := make(map[es.StreamID][]es.Commit)
	for i, stream := range awkwardNames() {
		c := newMessage(stream, 1, 1+i%3)
		want[stream] = []es.Commit{c}
		if err := publish(ctx, p, c); err != nil {
			return err
		}
	}
	return in.wait(ctx, want)
}

func publishersAtOnce(ctx context.Context, open broker) error {
	var in inbox
	p := open(in.deliver)
	const publishers, each = 16, 10
	want := make(map[es.StreamID][]es.Commit)
	for range publishers {
		stream := newStream("1")
		for version := range uint64(each) {
			want[stream] = append(want[stream], newMessage(stream, version+1, 1))
		}
	}
	streams := slices.Collect(maps.Values(want))
	errs := together(publishers, func(i int) error { return publish(ctx, p, streams[i]...) })
	return first(append(errs, in.wait(ctx, want))...)
}

func endedContextPublish(ctx context.Context, open broker) error {
	var in inbox
	p := open(in.deliver)
	ended, cancel := endedContexts(ctx)
	defer cancel()
	for what, ended := range ended {
		stream := newStream("1")
		if p.Publish(ended, newMessage(stream, 1, 1)) == nil {
			return fmt.Errorf("publish in %s succeeded", what)
		}
		// Had the first one been taken, it would come before these.
		a, b := newMessage(stream, 1, 1), newMessage(stream, 2, 1)
		if err := first(publish(ctx, p, a, b), in.waitFor(ctx, a, b)); err != nil {
			return fmt.Errorf("after a publish in %s: %w", what, err)
		}
	}
	return nil
}

func publishedNoAlias(ctx context.Context, open broker) error {
	stream := newStream("1")
	a, b := full(stream, 1), full(stream, 5)
	a.State, a.Done, a.Status = nil, nil, es.Settled
	b.State, b.Done, b.Status = nil, nil, es.Settled
	// The second is still under way when it is spoilt here: the first fails once.
	failed := false
	in := inbox{fail: func(c es.Commit) error {
		if failed || c.Stream != stream {
			return nil
		}
		failed = true
		return errAgain
	}}
	p := open(in.deliver)
	spoilt, spoiltToo := a.Clone(), b.Clone()
	if err := publish(ctx, p, spoilt, spoiltToo); err != nil {
		return err
	}
	spoil(spoilt)
	spoil(spoiltToo)
	return in.waitFor(ctx, a, b)
}

func checkedIsTaken(ctx context.Context, open broker) error {
	var in inbox
	p := open(in.deliver)
	checker, _ := p.(es.Checker)
	stream := newStream("1")
	var want []es.Commit
	for size := 1 << 10; size <= 1<<20; size *= 2 {
		// Bytes that JSON writes as six: what is checked must be what is sent.
		c := newMessage(stream, uint64(len(want)+1), 1)
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i * i % 7)
		}
		c.Events[0].Data = string(data)
		c.Time = c.Time.Add(time.Nanosecond)
		if checker == nil && len(want) > 0 {
			break
		}
		if checker != nil {
			if err := checker.Check(c); err != nil {
				if len(want) == 0 {
					return fmt.Errorf("the check lets no commit of %d bytes through: %w", size, err)
				}
				break
			}
		}
		if err := publish(ctx, p, c); err != nil {
			return fmt.Errorf("a commit of %d bytes: %w", size, err)
		}
		want = append(want, c)
	}
	return in.waitFor(ctx, want...)
}
