package snsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/leftfold/leftfold/es"
)

// A consumerMutant is a consumer with one bug, and the rule that must find it.
type consumerMutant struct {
	bug    string
	killer string
	handle handleSQS
}

func TestConsumerRulesKill(t *testing.T) {
	rows := consumerRows()
	for _, m := range consumerMutants() {
		t.Run(m.bug, func(t *testing.T) {
			i := slices.IndexFunc(rows, func(r consumerRow) bool { return r.rule == m.killer })
			if i < 0 {
				t.Fatalf("there is no rule %q", m.killer)
			}
			err := checkConsumer(t, rows[i], m.handle)
			if err == nil {
				t.Fatalf("survives %q", m.killer)
			}
			t.Log(err)
		})
	}
}

// A consumer that does nothing, and says that all is well, keeps no rule; nor does one
// that calls every event an error, but where an error is the rule.
func TestConsumerRulesFailNothing(t *testing.T) {
	for _, r := range consumerRows() {
		t.Run(r.rule, func(t *testing.T) {
			nothing := func(context.Context, *Consumer, events.SQSEvent) (events.SQSEventResponse, error) {
				return events.SQSEventResponse{}, nil
			}
			if checkConsumer(t, r, nothing) == nil {
				t.Error("a consumer that does nothing keeps this rule")
			}
			refusing := func(context.Context, *Consumer, events.SQSEvent) (events.SQSEventResponse, error) {
				return events.SQSEventResponse{}, es.ErrInvalid
			}
			if (checkConsumer(t, r, refusing) == nil) != strings.Contains(r.rule, "error") {
				t.Error("what a consumer does that refuses all events")
			}
		})
	}
}

// Every rule has a mutant of its own, or there is no saying what it is good for.
func TestConsumerRulesAllKill(t *testing.T) {
	for _, r := range consumerRows() {
		if !slices.ContainsFunc(consumerMutants(), func(m consumerMutant) bool { return m.killer == r.rule }) {
			t.Errorf("no mutant dies of %q", r.rule)
		}
	}
}

// spoilMessages changes the messages before the consumer sees them.
func spoilMessages(spoil func(i int, m *events.SQSMessage)) handleSQS {
	return func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
		e.Records = slices.Clone(e.Records)
		for i := range e.Records {
			e.Records[i].Attributes = maps.Clone(e.Records[i].Attributes)
			spoil(i, &e.Records[i])
		}
		return c.HandleSQS(ctx, e)
	}
}

// spoilGroups gives messages another group.
func spoilGroups(group func(i int, m *events.SQSMessage) string) handleSQS {
	return spoilMessages(func(i int, m *events.SQSMessage) {
		if m.Attributes == nil {
			m.Attributes = make(map[string]string)
		}
		m.Attributes["MessageGroupId"] = group(i, m)
	})
}

// spoilAnswer changes what is returned for an event.
func spoilAnswer(spoil func(e events.SQSEvent, ids []string) []string) handleSQS {
	return func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
		got, err := c.HandleSQS(ctx, e)
		var ids []string
		for _, f := range got.BatchItemFailures {
			ids = append(ids, f.ItemIdentifier)
		}
		got.BatchItemFailures = make([]events.SQSBatchItemFailure, 0)
		for _, id := range spoil(e, ids) {
			got.BatchItemFailures = append(got.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: id})
		}
		return got, err
	}
}

// spoilHandler changes how the handler is called.
func spoilHandler(spoil func(ctx context.Context, c es.Commit, handle func(context.Context, es.Commit) error) error) handleSQS {
	return func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
		if c == nil || c.Handle == nil {
			return c.HandleSQS(ctx, e)
		}
		own := &Consumer{Reserve: c.Reserve, Logger: c.Logger}
		own.Handle = func(ctx context.Context, commit es.Commit) error { return spoil(ctx, commit, c.Handle) }
		return own.HandleSQS(ctx, e)
	}
}

// spoilLog changes the consumer's log.
func spoilLog(spoil func(log slog.Handler, e events.SQSEvent, r slog.Record) error) handleSQS {
	return func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
		if c == nil || c.Logger == nil {
			return c.HandleSQS(ctx, e)
		}
		own := &Consumer{Handle: c.Handle, Reserve: c.Reserve}
		own.Logger = slog.New(spoiltLog{c.Logger.Handler(), func(r slog.Record) error { return spoil(c.Logger.Handler(), e, r) }})
		return own.HandleSQS(ctx, e)
	}
}

type spoiltLog struct {
	slog.Handler
	handle func(slog.Record) error
}

func (l spoiltLog) Handle(_ context.Context, r slog.Record) error { return l.handle(r) }

// simple is the consumer that one writes first: a loop.
func simple(ctx context.Context, c *Consumer, e events.SQSEvent) (got events.SQSEventResponse, _ error) {
	for _, m := range e.Records {
		commit, err := unwrap(m.Body)
		if err == nil {
			err = c.Handle(ctx, commit)
		}
		if err != nil {
			got.BatchItemFailures = append(got.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
		}
	}
	return got, nil
}

func consumerMutants() []consumerMutant {
	return []consumerMutant{
		{"what comes after a failure in its group is handled", "after a failure the rest of the group is returned unhandled",
			spoilGroups(func(_ int, m *events.SQSMessage) string { return m.MessageId })},
		{"what comes after a failure is returned, and handled all the same", "after a failure the rest of the group is returned unhandled",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				got, err := c.HandleSQS(ctx, e)
				again := slices.Clone(e.Records)
				again = slices.DeleteFunc(again, func(m events.SQSMessage) bool {
					return !slices.Contains(got.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
				})
				if len(again) > 1 {
					_, _ = c.HandleSQS(ctx, events.SQSEvent{Records: again[1:]})
				}
				return got, err
			}},
		{"only the message that failed is returned, and not the rest of its group", "after a failure the rest of the group is returned unhandled",
			spoilAnswer(func(e events.SQSEvent, ids []string) []string {
				var groups []string
				return slices.DeleteFunc(ids, func(id string) bool {
					i := slices.IndexFunc(e.Records, func(m events.SQSMessage) bool { return m.MessageId == id })
					g := e.Records[i].Attributes["MessageGroupId"]
					behind := slices.Contains(groups, g)
					groups = append(groups, g)
					return behind
				})
			})},
		{"one bad group stops all", "after a failure other groups go on",
			spoilGroups(func(int, *events.SQSMessage) string { return "one" })},
		{"the whole batch has failed for one", "after a failure other groups go on",
			spoilAnswer(func(e events.SQSEvent, ids []string) []string {
				if len(ids) == 0 {
					return nil
				}
				ids = nil
				for _, m := range e.Records {
					ids = append(ids, m.MessageId)
				}
				return ids
			})},
		{"a failure is an error of the event", "after a failure other groups go on",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				got, err := c.HandleSQS(ctx, e)
				if len(got.BatchItemFailures) > 0 {
					return got, errors.New("a message failed")
				}
				return got, err
			}},
		{"failures are returned in the order in which they came about", "what is returned is what was not handled, in the order of the batch",
			spoilAnswer(func(_ events.SQSEvent, ids []string) []string { slices.Reverse(ids); return ids })},
		{"failures are returned without their IDs", "what is returned is what was not handled, in the order of the batch",
			spoilAnswer(func(_ events.SQSEvent, ids []string) []string { return make([]string, len(ids)) })},
		{"handles are returned in place of IDs", "what is returned is what was not handled, in the order of the batch",
			spoilAnswer(func(_ events.SQSEvent, ids []string) []string {
				for i := range ids {
					ids[i] = "handle of " + ids[i]
				}
				return ids
			})},
		{"what was handled is returned", "every message reaches the handler, whole, and is a success",
			spoilAnswer(func(e events.SQSEvent, _ []string) []string { return []string{e.Records[0].MessageId} })},
		{"a success has no list of failures", "every message reaches the handler, whole, and is a success",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				_, err := c.HandleSQS(ctx, e)
				return events.SQSEventResponse{}, err
			}},
		{"metadata does not arrive", "every message reaches the handler, whole, and is a success",
			spoilHandler(func(ctx context.Context, c es.Commit, handle func(context.Context, es.Commit) error) error {
				c.Meta = nil
				return handle(ctx, c)
			})},
		{"the last message is forgotten", "every message reaches the handler, whole, and is a success",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				e.Records = e.Records[:len(e.Records)-1]
				return c.HandleSQS(ctx, e)
			}},
		{"envelopes are not opened", "the envelope and raw delivery are told apart by their content",
			spoilMessages(func(_ int, m *events.SQSMessage) {
				if strings.HasPrefix(m.Body, `{"Message`) {
					m.Body += " "
					m.Body = "[" + m.Body + "]"
				}
			})},
		{"raw messages are not understood", "the envelope and raw delivery are told apart by their content",
			spoilMessages(func(_ int, m *events.SQSMessage) {
				if !strings.HasPrefix(m.Body, `{"Message`) {
					m.Body = "[" + m.Body + "]"
				}
			})},
		{"what has the words of an envelope is taken for one", "the envelope and raw delivery are told apart by their content",
			spoilMessages(func(_ int, m *events.SQSMessage) {
				if _, inner, found := strings.Cut(m.Body, `"Message":"`); found && strings.Contains(m.Body, `"Notification"`) {
					m.Body, _, _ = strings.Cut(inner, `"`)
				}
			})},
		{"a group is handled from its end", "messages of a group are handled in order, one at a time",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				e.Records = slices.Clone(e.Records)
				slices.Reverse(e.Records)
				return c.HandleSQS(ctx, e)
			}},
		{"messages of a group are handled at the same time", "messages of a group are handled in order, one at a time",
			spoilGroups(func(i int, _ *events.SQSMessage) string { return fmt.Sprint(i) })},
		{"groups are handled one after the other", "groups do not wait for each other",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				turn := make(chan struct{}, 1)
				return spoilHandler(func(ctx context.Context, c es.Commit, handle func(context.Context, es.Commit) error) error {
					turn <- struct{}{}
					defer func() { <-turn }()
					return handle(ctx, c)
				})(ctx, c, e)
			}},
		{"what has no group is one group", "without a group the stream is the group",
			spoilGroups(func(_ int, m *events.SQSMessage) string { return m.Attributes["MessageGroupId"] + "-" })},
		{"what has no group has no order", "without a group the stream is the group",
			spoilGroups(func(i int, m *events.SQSMessage) string {
				if g := m.Attributes["MessageGroupId"]; g != "" {
					return g
				}
				return fmt.Sprint("alone", i)
			})},
		{"a stream in another's group is dropped", "which group a stream comes in is not checked",
			spoilHandler(dropForeign())},
		{"a stream in another's group has failed", "which group a stream comes in is not checked",
			spoilMessages(func(i int, m *events.SQSMessage) {
				if c, err := unwrap(m.Body); err == nil && m.Attributes["MessageGroupId"] != c.Stream.Category+"-"+c.Stream.ID {
					m.Body = "foreign"
				}
			})},
		{"what is malformed is dropped", "a malformed message is a failure and nothing else",
			spoilAnswer(func(e events.SQSEvent, ids []string) []string {
				return slices.DeleteFunc(ids, func(id string) bool {
					return slices.ContainsFunc(e.Records, func(m events.SQSMessage) bool {
						_, err := unwrap(m.Body)
						return m.MessageId == id && err != nil
					})
				})
			})},
		{"what is malformed is left out", "a malformed message is a failure and nothing else",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				e.Records = slices.DeleteFunc(slices.Clone(e.Records), func(m events.SQSMessage) bool {
					_, err := unwrap(m.Body)
					return err != nil
				})
				return c.HandleSQS(ctx, e)
			}},
		{"what is malformed is an error of the event", "a malformed message is a failure and nothing else",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				for _, m := range e.Records {
					if _, err := unwrap(m.Body); err != nil {
						return events.SQSEventResponse{}, err
					}
				}
				return c.HandleSQS(ctx, e)
			}},
		{"any JSON is a commit", "a malformed message is a failure and nothing else",
			spoilMessages(func(_ int, m *events.SQSMessage) {
				if _, err := unwrap(m.Body); err != nil && json.Valid([]byte(m.Body)) {
					m.Body = body(consumerCommit("other", 1))
				}
			})},
		{"a panic counts as success", "a panic is a failure of that message, and nothing else",
			spoilHandler(func(ctx context.Context, c es.Commit, handle func(context.Context, es.Commit) error) error {
				defer func() { _ = recover() }()
				return handle(ctx, c)
			})},
		{"a panic is logged without where it was", "a panic is a failure of that message, and nothing else",
			spoilHandler(func(ctx context.Context, c es.Commit, handle func(context.Context, es.Commit) error) (err error) {
				defer func() {
					if p := recover(); p != nil {
						err = fmt.Errorf("%v", p)
					}
				}()
				return handle(ctx, c)
			})},
		{"what ended its goroutine is a success", "a handler that ends its goroutine has failed, and nothing else",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				own := *c
				own.Handle = func(ctx context.Context, commit es.Commit) error {
					done := make(chan error, 1)
					go func() {
						defer close(done)
						done <- c.Handle(ctx, commit)
					}()
					return <-done
				}
				return own.HandleSQS(ctx, e)
			}},
		{"nothing is logged", "why a group stopped is in the log, once",
			spoilLog(func(slog.Handler, events.SQSEvent, slog.Record) error { return nil })},
		{"a batch is not summed up", "why a group stopped is in the log, once",
			spoilLog(func(log slog.Handler, _ events.SQSEvent, r slog.Record) error {
				if r.Message == "batch" {
					return nil
				}
				return log.Handle(context.Background(), r)
			})},
		{"a record for each message that is returned", "why a group stopped is in the log, once",
			spoilLog(func(log slog.Handler, _ events.SQSEvent, r slog.Record) error {
				n := int64(1)
				r.Attrs(func(a slog.Attr) bool {
					if a.Key == "unhandled" {
						n += a.Value.Int64()
					}
					return true
				})
				for range n {
					_ = log.Handle(context.Background(), r)
				}
				return nil
			})},
		{"the error is not in the log", "why a group stopped is in the log, once",
			spoilLog(func(log slog.Handler, _ events.SQSEvent, r slog.Record) error {
				short := slog.NewRecord(r.Time, r.Level, r.Message, 0)
				r.Attrs(func(a slog.Attr) bool {
					if a.Key != "error" {
						short.AddAttrs(a)
					}
					return true
				})
				return log.Handle(context.Background(), short)
			})},
		{"bodies are logged", "no content is in the log",
			spoilLog(func(log slog.Handler, e events.SQSEvent, r slog.Record) error {
				r.AddAttrs(slog.String("body", e.Records[0].Body))
				return log.Handle(context.Background(), r)
			})},
		{"the decoder's error is logged as it is", "no content is in the log",
			spoilLog(func(log slog.Handler, e events.SQSEvent, r slog.Record) error {
				_, err := decode(e.Records[0].Body)
				r.AddAttrs(slog.Any("because", err))
				return log.Handle(context.Background(), r)
			})},
		{"what a panic carried is logged", "no content is in the log",
			spoilHandler(func(ctx context.Context, c es.Commit, handle func(context.Context, es.Commit) error) error {
				defer func() {
					if p := recover(); p != nil {
						panic(fmt.Sprintf("%s", p))
					}
				}()
				return handle(ctx, c)
			})},
		{"the whole time is for the handler", "the handler's context ends the reserve before the deadline",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				own := *c
				own.Reserve = 1
				return own.HandleSQS(ctx, e)
			}},
		{"there is no reserve unless one is given", "the reserve is half a second if none is given",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				own := *c
				own.Reserve = max(own.Reserve, 1)
				return own.HandleSQS(ctx, e)
			}},
		{"handlers have no deadline", "a handler that is stopped by its context has failed",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
				defer cancel()
				return c.HandleSQS(deadline, e)
			}},
		{"a handler that was stopped is a success", "a handler that is stopped by its context has failed",
			spoilHandler(func(ctx context.Context, c es.Commit, handle func(context.Context, es.Commit) error) error {
				if err := handle(ctx, c); ctx.Err() == nil {
					return err
				}
				return nil
			})},
		{"a group is handled to its end, whatever the time", "when the time has passed nothing more is begun",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				return c.HandleSQS(context.WithoutCancel(ctx), e)
			}},
		{"what was handled late has failed", "when the time has passed nothing more is begun",
			spoilHandler(func(ctx context.Context, c es.Commit, handle func(context.Context, es.Commit) error) error {
				if err := handle(ctx, c); err != nil {
					return err
				}
				return ctx.Err()
			})},
		{"contexts are not looked at", "in a context that has ended nothing is begun",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				return c.HandleSQS(context.WithoutCancel(ctx), e)
			}},
		{"an ended context is an error of the event", "in a context that has ended nothing is begun",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				if err := ctx.Err(); err != nil {
					return events.SQSEventResponse{}, err
				}
				return c.HandleSQS(ctx, e)
			}},
		{"an ended context is a success of nothing", "in a context that has ended nothing is begun",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				got, err := c.HandleSQS(ctx, e)
				if ctx.Err() != nil {
					got.BatchItemFailures = nil
				}
				return got, err
			}},
		{"the handler has a limit of its own", "a context without a deadline sets no limit",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				limited, cancel := context.WithTimeout(ctx, time.Hour)
				defer cancel()
				return c.HandleSQS(limited, e)
			}},
		{"handlers that are late are abandoned", "no goroutine outlives the call", abandon},
		{"what comes twice is handled once", "a message that is there twice is handled twice and returned once",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				e.Records = slices.CompactFunc(slices.Clone(e.Records), func(a, b events.SQSMessage) bool { return a.MessageId == b.MessageId })
				return c.HandleSQS(ctx, e)
			}},
		{"what comes twice is returned twice", "a message that is there twice is handled twice and returned once",
			spoilAnswer(func(_ events.SQSEvent, ids []string) []string {
				if slices.Contains(ids, "m1") {
					return append([]string{"m1"}, ids...)
				}
				return ids
			})},
		{"without a handler all is well", "without a handler the event is an error",
			func(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
				if c == nil || c.Handle == nil {
					return events.SQSEventResponse{}, nil
				}
				return c.HandleSQS(ctx, e)
			}},
		{"an event of another kind is answered", "an event without messages is an error", simple},
		{"an event from elsewhere is answered", "an event from elsewhere is an error, and nothing is handled",
			spoilMessages(func(i int, m *events.SQSMessage) {
				m.EventSource, m.MessageId = "aws:sqs", fmt.Sprintf("m%d", i+1)
			})},
		{"an event from elsewhere is an error when it is there", "an event from elsewhere is an error, and nothing is handled", late},
		{"a message without an ID is not looked at", "a message without an ID makes the event an error, and nothing is handled", simple},
		{"a message without an ID is an error when it is there", "a message without an ID makes the event an error, and nothing is handled", late},
	}
}

// dropForeign drops what is of another stream than what came before it.
func dropForeign() func(context.Context, es.Commit, func(context.Context, es.Commit) error) error {
	var streams atomic.Pointer[string]
	return func(ctx context.Context, c es.Commit, handle func(context.Context, es.Commit) error) error {
		if streams.CompareAndSwap(nil, &c.Stream.ID) || *streams.Load() == c.Stream.ID {
			return handle(ctx, c)
		}
		return nil
	}
}

// abandon answers in time, and leaves behind who is late.
func abandon(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
	own := *c
	own.Handle = func(ctx context.Context, commit es.Commit) error {
		done := make(chan error, 1)
		go func() { done <- c.Handle(ctx, commit) }()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return own.HandleSQS(ctx, e)
}

// late handles messages up to the first that it cannot take.
func late(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
	var got events.SQSEventResponse
	for _, m := range e.Records {
		one, err := c.HandleSQS(ctx, events.SQSEvent{Records: []events.SQSMessage{m}})
		if err != nil {
			return got, err
		}
		got.BatchItemFailures = append(got.BatchItemFailures, one.BatchItemFailures...)
	}
	return got, nil
}
