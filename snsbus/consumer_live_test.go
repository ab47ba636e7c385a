package snsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

// ledger is a stream whose state tells the order of its entries.
type ledger struct {
	Entries int
	Sum     uint64
}

type entered struct{ Text string }

var ledgers = es.Aggregate[ledger, entered]{
	Category: "ledger",
	Fold: func(l ledger, e entered) ledger {
		h := fnv.New64a()
		fmt.Fprintf(h, "%d %s", l.Sum, e.Text)
		return ledger{l.Entries + 1, h.Sum64()}
	},
	Events: es.JSON(map[string]entered{"ledger.entered": {}}),
}

// dice are random numbers for all goroutines of a test.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

func newDice(t *testing.T) *dice {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return &dice{r: rand.New(rand.NewPCG(seed, 0))}
}

func (d *dice) n(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(n)
}

// jitter is a publisher that takes its time, before and after.
type jitter struct {
	es.Publisher
	*dice
}

func (j jitter) Publish(ctx context.Context, c es.Commit) error {
	defer time.Sleep(time.Duration(j.n(2000)) * time.Microsecond)
	time.Sleep(time.Duration(j.n(2000)) * time.Microsecond)
	return j.Publisher.Publish(ctx, c)
}

const (
	liveStreams = 10
	liveWriters = 50
)

func liveStream(i int) string { return fmt.Sprintf("stream %d/ü", i%liveStreams) }

// enterAll has every writer enter so many texts, which nobody else enters, into its
// stream.
func enterAll(t *testing.T, j *es.Journal, each int) {
	var wg sync.WaitGroup
	for w := range liveWriters {
		wg.Go(func() {
			for n := range each {
				for {
					_, err := es.Execute(t.Context(), j, &ledgers, liveStream(w), func(ledger) ([]entered, error) {
						all := []entered{{fmt.Sprint(w, " ", n)}}
						return append(all, all[:n%2]...), nil
					})
					if err == nil {
						break
					}
					if _, blocked := errors.AsType[*es.BlockedError](err); !blocked && !errors.Is(err, es.ErrConflict) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// mapping stands for the event source mapping of Lambda: it invokes the consumer with
// batches, and deletes what was not returned.
type mapping struct {
	engine
	queue    string
	consumer *Consumer

	// before may drop a message unseen, before the consumer gets it, and after may
	// forget to delete one that was handled.
	before, after func(es.Commit) bool
}

// start polls until the test ends.
func (m *mapping) start(t *testing.T, pollers int) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	for range pollers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := m.poll(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
}

func (m *mapping) poll(ctx context.Context) error {
	out, err := m.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &m.queue, MaxNumberOfMessages: 10, WaitTimeSeconds: 1,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	if err != nil {
		return err
	}
	// What has begun ends, as an invocation does.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patient)
	defer cancel()
	var e events.SQSEvent
	handles := make(map[string]*string)
	for _, r := range out.Messages {
		if c, err := unwrap(*r.Body); err == nil && m.before != nil && m.before(c) {
			if err := m.remove(ctx, r.ReceiptHandle); err != nil {
				return err
			}
			continue
		}
		handles[*r.MessageId] = r.ReceiptHandle
		e.Records = append(e.Records, events.SQSMessage{
			MessageId: *r.MessageId, ReceiptHandle: *r.ReceiptHandle, Body: *r.Body, Attributes: r.Attributes, EventSource: "aws:sqs",
		})
	}
	if len(e.Records) == 0 {
		return nil
	}
	got, err := m.invoke(ctx, e)
	if err != nil {
		return err
	}
	for _, r := range e.Records {
		again := slices.Contains(got.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: r.MessageId})
		if c, err := unwrap(r.Body); err == nil && m.after != nil {
			again = again || m.after(c)
		}
		if again {
			// In place of the visibility time-out.
			_, err = m.sqs.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: &m.queue, ReceiptHandle: handles[r.MessageId], VisibilityTimeout: 0})
		} else {
			err = m.remove(ctx, handles[r.MessageId])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// invoke calls the consumer as the runtime does, with JSON.
func (m *mapping) invoke(ctx context.Context, e events.SQSEvent) (got events.SQSEventResponse, _ error) {
	b, err := json.Marshal(e)
	if err != nil {
		return got, err
	}
	var event events.SQSEvent
	if err := json.Unmarshal(b, &event); err != nil {
		return got, err
	}
	answer, err := m.consumer.HandleSQS(ctx, event)
	if err != nil {
		return got, err
	}
	if b, err = json.Marshal(answer); err != nil {
		return got, err
	}
	return got, json.Unmarshal(b, &got)
}

func (m *mapping) remove(ctx context.Context, handle *string) error {
	_, err := m.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &m.queue, ReceiptHandle: handle})
	return err
}

// drained waits until the queue is empty.
func (m *mapping) drained(t *testing.T) {
	t.Helper()
	ctx := waiting(t)
	for {
		out, err := m.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
			QueueUrl: &m.queue, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll},
		})
		if err != nil {
			t.Fatal(err)
		}
		if out.Attributes["ApproximateNumberOfMessages"] == "0" && out.Attributes["ApproximateNumberOfMessagesNotVisible"] == "0" {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("the queue is not empty: %v", out.Attributes)
		}
	}
}

// deliveryForms are the subscriptions that a queue may have.
var deliveryForms = map[string]map[string]string{"raw": raw, "in the envelope": nil}

// Fifty writers on ten streams, through journal, topic, queue and consumer: the handler
// gets each version of each stream, once and in order.
func TestConsumerOrder(t *testing.T) {
	t.Parallel()
	e := live(t)
	for name, subscription := range deliveryForms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topic := e.newTopic(t)
			var mu sync.Mutex
			at := make(map[string]uint64)
			m := &mapping{engine: e, queue: e.newQueue(t, topic, subscription), consumer: &Consumer{
				Handle: func(_ context.Context, c es.Commit) error {
					mu.Lock()
					defer mu.Unlock()
					if c.Version != at[c.Stream.ID]+1 {
						t.Errorf("%s: version %d comes after %d", c.Stream, c.Version, at[c.Stream.ID])
					}
					at[c.Stream.ID] = c.Last()
					return nil
				},
			}}
			m.start(t, 3)
			var store memory.Store
			j := &es.Journal{Store: &store, Publisher: jitter{New(e.sns, topic, &Options{Timeout: patient}), newDice(t)}, Timeout: 2 * patient}
			enterAll(t, j, 6)
			m.drained(t)

			mu.Lock()
			defer mu.Unlock()
			for s := range liveStreams {
				_, version, err := es.Load(t.Context(), j, &ledgers, liveStream(s))
				if err != nil || version < 6*liveWriters/liveStreams || at[liveStream(s)] != version {
					t.Errorf("%s is at version %d, and the handler at %d (%v)", liveStream(s), version, at[liveStream(s)], err)
				}
			}
		})
	}
}

// A queue at its worst: handlers that fail, messages that come again, get lost, or can
// never be handled, and strangers' messages in between. The views are those of the store
// all the same, once their stream goes on or they are rebuilt.
func TestConsumerViews(t *testing.T) {
	t.Parallel()
	e := live(t)
	for name, subscription := range deliveryForms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topic := e.newTopic(t)
			dead := e.newQueue(t, e.newTopic(t), raw)
			var store memory.Store
			var views memory.Views[ledger]
			p := &es.Projection[ledger, entered]{Category: ledgers.Category, Fold: ledgers.Fold, Events: ledgers.Events, Views: &views, Store: &store}

			d := newDice(t)
			var mu sync.Mutex
			healthy := false
			counts := make(map[string]int)
			happens := func(what string, one int) bool {
				does := d.n(one) == 0
				mu.Lock()
				defer mu.Unlock()
				if healthy || !does {
					return false
				}
				counts[what]++
				return true
			}
			m := &mapping{engine: e, queue: e.newQueue(t, topic, subscription),
				before: func(c es.Commit) bool { return c.Events[0].Type == "ledger.entered" && happens("lost", 10) },
				after:  func(es.Commit) bool { return happens("not deleted", 5) },
			}
			m.redrive(t, dead, 6)
			m.consumer = &Consumer{Handle: func(ctx context.Context, c es.Commit) error {
				switch {
				case c.Events[0].Type != "ledger.entered":
					return errHandler
				case happens("failed before", 10):
					return errHandler
				case happens("panicked", 20):
					panic("the database is away")
				}
				if err := p.Handle(ctx, c); err != nil {
					return err
				}
				if happens("failed behind", 10) {
					return errHandler
				}
				return nil
			}}
			m.start(t, 3)

			// Poison goes into the groups of streams that live: malformed, and what the
			// handler can never take.
			poison := make(map[string]bool)
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := range 20 {
					stream := es.StreamID{Category: ledgers.Category, ID: liveStream(i)}
					text := "malformed " + strconv.Itoa(i)
					if i%2 == 0 {
						c := consumerCommit("x", uint64(i+1))
						c.Stream = stream
						text = body(c)
					}
					poison[text] = true
					if _, err := e.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
						QueueUrl: &m.queue, MessageBody: &text, MessageGroupId: aws.String(groupOf(stream)), MessageDeduplicationId: aws.String(fmt.Sprint("poison", i)),
					}); err != nil {
						t.Error(err)
					}
				}
			})
			j := &es.Journal{Store: &store, Publisher: jitter{New(e.sns, topic, &Options{Timeout: patient}), d}, Timeout: 2 * patient}
			enterAll(t, j, 4)
			wg.Wait()
			m.drained(t)

			// None is ahead, or has anything that the store has not.
			behind := 0
			for s := range liveStreams {
				stream := es.StreamID{Category: ledgers.Category, ID: liveStream(s)}
				view, err := views.Get(t.Context(), stream)
				if err != nil {
					t.Fatal(err)
				}
				var want ledger
				var version uint64
				for c := range store.Load(t.Context(), stream, 0) {
					if c.Last() > view.Version {
						behind++
						break
					}
					for _, event := range c.Events {
						var en entered
						if err := json.Unmarshal([]byte(event.Data), &en); err != nil {
							t.Fatal(err)
						}
						want = ledgers.Fold(want, en)
					}
					version = c.Last()
				}
				if view.Value != want || view.Version != version {
					t.Errorf("%s: the view is %+v, not %+v at %d", stream, view, want, version)
				}
			}
			mu.Lock()
			healthy = true
			t.Logf("%d of %d views are behind after %v", behind, liveStreams, counts)
			for _, what := range []string{"lost", "not deleted", "failed before", "failed behind", "panicked"} {
				if counts[what] == 0 {
					t.Errorf("nothing was %s", what)
				}
			}
			mu.Unlock()

			// Half of the streams go on, the others' views are rebuilt.
			for s := range liveStreams / 2 {
				if _, err := es.Execute(t.Context(), j, &ledgers, liveStream(s), func(ledger) ([]entered, error) { return []entered{{"the last"}}, nil }); err != nil {
					t.Fatal(err)
				}
			}
			m.drained(t)
			same := func(s int) {
				want, version, err := es.Load(t.Context(), j, &ledgers, liveStream(s))
				if err != nil {
					t.Fatal(err)
				}
				view, err := views.Get(t.Context(), es.StreamID{Category: ledgers.Category, ID: liveStream(s)})
				if err != nil || view.Value != want || view.Version != version {
					t.Errorf("%s: the view is %+v (%v), not %+v at %d", liveStream(s), view, err, want, version)
				}
			}
			for s := range liveStreams / 2 {
				same(s)
			}
			if err := p.Rebuild(t.Context(), es.RebuildOptions{}); err != nil {
				t.Fatal(err)
			}
			for s := range liveStreams {
				same(s)
			}

			// Nothing was dropped: what nobody understood waits for a person.
			for text := range e.all(t, dead) {
				delete(poison, text)
			}
			for text := range poison {
				t.Errorf("it is not in the dead-letter queue: %s", text)
			}
		})
	}
}

// redrive has messages that were received so often moved to another queue.
func (m *mapping) redrive(t *testing.T, dead string, received int) {
	t.Helper()
	about, err := m.sqs.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: &dead, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn},
	})
	if err != nil {
		t.Fatal(err)
	}
	policy := fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, about.Attributes["QueueArn"], received)
	if _, err := m.sqs.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &m.queue, Attributes: map[string]string{"RedrivePolicy": policy}}); err != nil {
		t.Fatal(err)
	}
}

// all takes every message out of a queue and returns how often each body was there.
func (e engine) all(t *testing.T, queue string) map[string]int {
	t.Helper()
	bodies := make(map[string]int)
	for {
		out, err := e.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &queue, MaxNumberOfMessages: 10})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			return bodies
		}
		for _, m := range out.Messages {
			bodies[strings.TrimSpace(*m.Body)]++
			if _, err := e.sqs.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &queue, ReceiptHandle: m.ReceiptHandle}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
