package estest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

func TestPublisherSuiteFailsNothing(t *testing.T) {
	allFail(t, publisherRows(), func(*testing.T) broker {
		return func(func(context.Context, es.Commit) error) es.Publisher { return nothingPublisher{} }
	})
}

type nothingPublisher struct{}

func (nothingPublisher) Publish(context.Context, es.Commit) error { return nil }

func TestPublisherSuiteKills(t *testing.T) {
	mustDie(t, publisherRows(), publisherMutants())
}

// brokenBus is a bus in which the publisher's and the subscriber's side are replaced.
type brokenBus struct {
	publish func(ctx context.Context, bus es.Publisher, c es.Commit) error
	deliver func(ctx context.Context, c es.Commit, deliver func(context.Context, es.Commit) error) error
	check   func(es.Commit) error
}

func (b brokenBus) start(t *testing.T) broker {
	return func(deliver func(context.Context, es.Commit) error) es.Publisher {
		bus := new(memory.Bus)
		bus.Subscribe("test", func(ctx context.Context, c es.Commit) error {
			if b.deliver == nil {
				return deliver(ctx, c)
			}
			return b.deliver(ctx, c, deliver)
		})
		t.Cleanup(func() {
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			_ = bus.Close(ended)
		})
		return brokenPublisher{b, bus}
	}
}

type brokenPublisher struct {
	brokenBus
	bus *memory.Bus
}

func (p brokenPublisher) Publish(ctx context.Context, c es.Commit) error {
	if p.publish == nil {
		return p.bus.Publish(ctx, c)
	}
	return p.publish(ctx, p.bus, c)
}

func (p brokenPublisher) Check(c es.Commit) error {
	if p.check == nil {
		return nil
	}
	return p.check(c)
}

// dedup makes a bus that drops what has a key that it has seen.
func dedup(key func(es.Commit) string) func(*testing.T) broker {
	return func(t *testing.T) broker {
		var mu sync.Mutex
		var seen []string
		return brokenBus{publish: func(ctx context.Context, bus es.Publisher, c es.Commit) error {
			mu.Lock()
			repeated := slices.Contains(seen, key(c))
			seen = append(seen, key(c))
			mu.Unlock()
			if repeated {
				return nil
			}
			return bus.Publish(ctx, c)
		}}.start(t)
	}
}

// grouped makes a bus that orders its messages by another group than the stream.
func grouped(group func(es.Commit) string) func(*testing.T) broker {
	return func(t *testing.T) broker {
		var streams memo
		return brokenBus{
			publish: func(ctx context.Context, bus es.Publisher, c es.Commit) error {
				streams.put(es.Commit{ID: c.ID, Stream: c.Stream})
				c.Stream = es.StreamID{Category: "group", ID: group(c)}
				return bus.Publish(ctx, c)
			},
			deliver: func(ctx context.Context, c es.Commit, deliver func(context.Context, es.Commit) error) error {
				original, _ := streams.get(c.ID)
				c.Stream = original.Stream
				return deliver(ctx, c)
			},
		}.start(t)
	}
}

func publisherMutants() []mutant[broker] {
	return []mutant[broker]{
		{"duplicates are told by content", "a commit with another ID is delivered, even with the same content", dedup(func(c es.Commit) string {
			return c.Events[0].Data + strconv.Itoa(len(c.Events))
		})},
		{"duplicates are told by stream and version", "a commit with another ID is delivered, even with the same stream and version", dedup(func(c es.Commit) string {
			return c.Stream.String() + "@" + strconv.FormatUint(c.Version, 10)
		})},
		{"there is one lane for the whole system", "a delivery that fails does not stop another stream", grouped(func(es.Commit) string { return "one" })},
		{"there are no groups, so no order", "a delivery that fails is repeated, and the rest of its stream waits for it", grouped(func(c es.Commit) string { return c.ID })},
		{"streams are grouped by ID alone, in lower case", "a delivery that fails does not stop another stream", grouped(func(c es.Commit) string { return c.Stream.ID })},
		{"a message is dropped now and then", "messages of a stream are delivered in the order in which they were published", brokenBus{
			publish: func(ctx context.Context, bus es.Publisher, c es.Commit) error {
				if c.Version == 17 {
					return nil
				}
				return bus.Publish(ctx, c)
			},
		}.start},
		{"a message that failed is dropped", "a delivery that fails is repeated, and the rest of its stream waits for it", brokenBus{
			deliver: func(ctx context.Context, c es.Commit, deliver func(context.Context, es.Commit) error) error {
				_ = deliver(ctx, c)
				return nil
			},
		}.start},
		{"a message that is published again ends the stream", "a commit that is published again loses nothing", func(t *testing.T) broker {
			var seen memo
			return brokenBus{publish: func(ctx context.Context, bus es.Publisher, c es.Commit) error {
				if _, again := seen.get(c.ID); again {
					return errElse
				}
				seen.put(c)
				return bus.Publish(ctx, c)
			}}.start(t)
		}},
		{"events above 100 do not arrive", "a commit of many events is delivered whole, in one message", brokenBus{
			publish: func(ctx context.Context, bus es.Publisher, c es.Commit) error {
				c.Events = c.Events[:min(len(c.Events), 100)]
				return bus.Publish(ctx, c)
			},
		}.start},
		{"a message has one event", "a commit of many events is delivered whole, in one message", brokenBus{
			publish: func(ctx context.Context, bus es.Publisher, c es.Commit) error {
				for i, e := range c.Events {
					one := c
					one.ID, one.Version, one.Events = c.ID+strconv.Itoa(i), c.Version+uint64(i), []es.Event{e}
					if err := bus.Publish(ctx, one); err != nil {
						return err
					}
				}
				return nil
			},
		}.start},
		{"metadata does not arrive", "every field comes through", brokenBus{
			publish: func(ctx context.Context, bus es.Publisher, c es.Commit) error {
				c.Meta = nil
				return bus.Publish(ctx, c)
			},
		}.start},
		{"contexts are not looked at", "a publish in a context that has ended is an error and has no effect", brokenBus{
			publish: func(ctx context.Context, bus es.Publisher, c es.Commit) error {
				return bus.Publish(context.WithoutCancel(ctx), c)
			},
		}.start},
		{"an ended context gives an error after the effect", "a publish in a context that has ended is an error and has no effect", brokenBus{
			publish: func(ctx context.Context, bus es.Publisher, c es.Commit) error {
				return errors.Join(bus.Publish(context.WithoutCancel(ctx), c), ctx.Err())
			},
		}.start},
		{"the message is kept by reference", "what was handed over does not alias", func(t *testing.T) broker {
			var kept memo
			return brokenBus{
				publish: func(ctx context.Context, bus es.Publisher, c es.Commit) error {
					if c.Version == 1 {
						return bus.Publish(ctx, c)
					}
					kept.put(c)
					return bus.Publish(ctx, c)
				},
				deliver: func(ctx context.Context, c es.Commit, deliver func(context.Context, es.Commit) error) error {
					if k, ok := kept.get(c.ID); ok {
						c = k
					}
					return deliver(ctx, c)
				},
			}.start(t)
		}},
		{"the check knows nothing of a limit", "what the check lets through is taken and delivered", brokenBus{
			publish: func(ctx context.Context, bus es.Publisher, c es.Commit) error {
				if len(c.Events[0].Data) > 256<<10 {
					return es.ErrRefused
				}
				return bus.Publish(ctx, c)
			},
		}.start},
		{"the check lets nothing through", "what the check lets through is taken and delivered", brokenBus{
			check: func(es.Commit) error { return errElse },
		}.start},
		{"streams whose names differ in case are one", "streams with similar names keep apart", func(t *testing.T) broker {
			return brokenBus{publish: func(ctx context.Context, bus es.Publisher, c es.Commit) error {
				if c.Stream.ID == "A" {
					c.Stream.ID = "a"
				}
				return bus.Publish(ctx, c)
			}}.start(t)
		}},
		{"a publish at the same time as another is lost", "16 goroutines that publish at once lose nothing", func(t *testing.T) broker {
			n := 0
			var mu sync.Mutex
			return brokenBus{publish: func(ctx context.Context, bus es.Publisher, c es.Commit) error {
				mu.Lock()
				n++
				lost := n == 150
				mu.Unlock()
				if lost {
					return nil
				}
				return bus.Publish(ctx, c)
			}}.start(t)
		}},
	}
}
