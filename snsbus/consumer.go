package snsbus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/leftfold/leftfold/es"
)

// Consumer hands the messages of an SQS FIFO queue to a handler, for a Lambda function
// that the queue invokes; see [Consumer.HandleSQS]. The event source mapping must have
// ReportBatchItemFailures in its FunctionResponseTypes: without it, Lambda does not read
// the answer, and deletes what failed.
//
// Only Handle must be set. A Consumer is safe for concurrent use.
type Consumer struct {
	// Handle gets the commits: the Handle of an [es.Projection] or of an [es.Reactor],
	// or a function that calls several. An error means that the commit has to come
	// again. It is called for several groups at the same time, may see a commit more
	// than once, and has to return soon after its context has ended.
	Handle func(context.Context, es.Commit) error

	// Reserve is the time before the deadline of the invocation at which the contexts
	// of the handlers end, so that there is an answer in time; 0 means 500 ms, half of
	// the shortest time that a Lambda function can have.
	Reserve time.Duration

	// Logger gets a record for each group that was not handled to its end; nil means
	// none. The record has the message, its group and its stream, why it was not
	// handled, and how many messages behind it were returned unhandled. Another sums up
	// the batch: at the level of debugging if all is well. Names and keys are stable;
	// docs/operations.md lists them. No body, event data or metadata is in a record, unless
	// the handler's error quotes them.
	Logger *slog.Logger
}

// defaultReserve is half a second because Lambda's time-outs are whole ones.
const defaultReserve = 500 * time.Millisecond

// HandleSQS hands each message of a batch to the handler and returns the IDs of those
// that have to come again, in the order of the batch. It returns when all handlers have.
//
//   - Messages of a group (the attribute MessageGroupId) are handled in the order of the
//     batch, one at a time. After one that failed, the rest of its group is returned
//     unhandled, so that order holds. Groups do not wait for each other. A message
//     without a group, as in a standard queue, is grouped by the stream of its commit.
//   - What a message is tells its content: the envelope of SNS, or the message of a
//     [Publisher] as it was sent (raw delivery). Which group a stream comes in is not
//     checked.
//   - A message is handled if the handler returned nil. It has failed if it is malformed,
//     or if the handler returned an error or panicked. Nothing is dropped: a message
//     that fails each time goes to the dead-letter queue by the queue's redrive policy,
//     and its group waits for that.
//   - Once the handlers' contexts have ended, Reserve before the deadline of ctx or
//     because ctx was cancelled, nothing more is begun, and what was not begun is
//     returned. A handler that has begun is waited for all the same: it could not be
//     stopped, and would go on beside the one that gets the message next. If it lasts
//     beyond the deadline, Lambda ends the process, and the whole batch comes again.
//   - A message that is in the batch twice is handled twice, as one that comes again.
//
// An error is about the event as a whole, of which nothing was handled then, and wraps
// [es.ErrInvalid]: there is no handler, no message, or a message that is not from SQS or
// has no ID, without which it could not be returned. Lambda takes an answer without IDs
// as success and deletes the batch, so what is no batch must not get one; after an error
// it delivers the batch again.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
func (c *Consumer) HandleSQS(ctx context.Context, e events.SQSEvent) (events.SQSEventResponse, error) {
	if err := c.validate(e); err != nil {
		return events.SQSEventResponse{}, fmt.Errorf("consume: %w", err)
	}
	start := time.Now()
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-cmp.Or(c.Reserve, defaultReserve)))
		defer cancel()
	}
	deliveries := make([]*delivery, len(e.Records))
	groups := make(map[group][]*delivery)
	for i := range e.Records {
		d := newDelivery(&e.Records[i])
		deliveries[i] = d
		g := d.group(i)
		groups[g] = append(groups[g], d)
	}
	var wg sync.WaitGroup
	for _, g := range groups {
		wg.Go(func() { c.handle(ctx, g) })
	}
	wg.Wait()

	failures := []events.SQSBatchItemFailure{}
	returned := make(map[string]bool)
	for _, d := range deliveries {
		if !d.done && !returned[d.MessageId] {
			returned[d.MessageId] = true
			failures = append(failures, events.SQSBatchItemFailure{ItemIdentifier: d.MessageId})
		}
	}
	if c.Logger != nil {
		level := slog.LevelDebug
		if len(failures) > 0 {
			level = slog.LevelInfo // why, was said of each group
		}
		c.Logger.LogAttrs(ctx, level, "batch", slog.Int("messages", len(e.Records)), slog.Int("failed", len(failures)),
			slog.Float64("ms", float64(time.Since(start).Microseconds())/1000))
	}
	return events.SQSEventResponse{BatchItemFailures: failures}, nil
}

func (c *Consumer) validate(e events.SQSEvent) error {
	if c == nil || c.Handle == nil {
		return fmt.Errorf("%w: the consumer has no handler", es.ErrInvalid)
	}
	if len(e.Records) == 0 {
		return fmt.Errorf("%w: the event has no messages: it is not one of SQS", es.ErrInvalid)
	}
	for i, m := range e.Records {
		switch {
		case m.EventSource != "aws:sqs":
			return fmt.Errorf("%w: message %d of the event is from %.80q, not from aws:sqs", es.ErrInvalid, i+1, m.EventSource)
		case m.MessageId == "":
			return fmt.Errorf("%w: message %d of the event has no ID", es.ErrInvalid, i+1)
		}
	}
	return nil
}

// delivery is a message of a batch and what becomes of it.
type delivery struct {
	*events.SQSMessage
	commit    es.Commit
	malformed error // why there is no commit
	done      bool  // the handler has taken it
}

func newDelivery(m *events.SQSMessage) *delivery {
	d := &delivery{SQSMessage: m}
	d.commit, d.malformed = unwrap(m.Body)
	return d
}

// unwrap returns the commit of a message that came in the envelope of SNS or raw.
// https://docs.aws.amazon.com/sns/latest/dg/sns-large-payload-raw-message-delivery.html
func unwrap(body string) (es.Commit, error) {
	var envelope struct {
		Type    string
		Message *string
	}
	if json.Unmarshal([]byte(body), &envelope) == nil && envelope.Type == "Notification" && envelope.Message != nil {
		body = *envelope.Message
	}
	c, err := decode(body)
	return c, unquoted(err)
}

// unquoted returns an error without the values that those of encoding/json and of time
// quote. Names are left in it: those of the stream, of the commit, of members.
func unquoted(err error) error {
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("message: %w: a %s cannot be the %s in member %q, at byte %d", es.ErrInvalid, strings.Fields(kind.Value)[0], kind.Type, kind.Field, kind.Offset)
	}
	if _, ok := errors.AsType[*time.ParseError](err); ok {
		return fmt.Errorf("message: %w: its time is not one of RFC 3339", es.ErrInvalid)
	}
	return err
}

// group is what messages have in common that are handled one after the other.
type group struct {
	id     string
	stream es.StreamID
	alone  int
}

// group returns that of the message at index i of a batch.
func (d *delivery) group(i int) group {
	switch id := d.Attributes["MessageGroupId"]; {
	case id != "":
		return group{id: id}
	case d.malformed == nil:
		return group{stream: d.commit.Stream}
	default:
		return group{alone: i + 1}
	}
}

// handle hands the messages of a group over, up to the first that fails.
func (c *Consumer) handle(ctx context.Context, group []*delivery) {
	for i, d := range group {
		if c.deliver(ctx, d, len(group)-i-1); !d.done {
			return
		}
	}
}

// deliver hands a message over. Behind it there are so many others in its group.
func (c *Consumer) deliver(ctx context.Context, d *delivery, behind int) {
	outcome, err := "failed", errors.New("it ended its goroutine")
	var stack []byte
	defer func() {
		if p := recover(); p != nil {
			outcome, err, stack = "panicked", panicked(p), debug.Stack()
		}
		if d.done = err == nil; !d.done {
			c.log(ctx, outcome, d, behind, err, stack)
		}
	}()
	if d.malformed != nil {
		outcome, err = "malformed", d.malformed
	} else if ended := ctx.Err(); ended != nil {
		outcome, err = "not begun", ended
	} else {
		err = c.Handle(ctx, d.commit)
	}
}

// panicked returns an error for what a panic carried. Of a value that was not made to be
// read it says the type alone: it could be a commit.
func panicked(p any) error {
	switch p := p.(type) {
	case error:
		return p
	case string:
		return errors.New(p)
	default:
		return fmt.Errorf("panic with a %T", p)
	}
}

func (c *Consumer) log(ctx context.Context, outcome string, d *delivery, behind int, err error, stack []byte) {
	if c.Logger == nil {
		return
	}
	level := slog.LevelWarn // it may pass
	if d.malformed != nil || stack != nil {
		level = slog.LevelError
	}
	attrs := []slog.Attr{
		slog.String("outcome", outcome),
		slog.String("message", d.MessageId),
		slog.String("group", d.Attributes["MessageGroupId"]),
		slog.String("received", d.Attributes["ApproximateReceiveCount"]),
	}
	if d.malformed == nil {
		attrs = append(attrs,
			slog.String("stream", d.commit.Stream.String()),
			slog.Uint64("version", d.commit.Version),
			slog.String("commit", d.commit.ID))
	}
	attrs = append(attrs, slog.Any("error", err), slog.Int("unhandled", behind))
	if stack != nil {
		attrs = append(attrs, slog.String("stack", string(stack)))
	}
	c.Logger.LogAttrs(ctx, level, "message not handled", attrs...)
}
