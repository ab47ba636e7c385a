package snsbus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/leftfold/leftfold/es"
)

// handleSQS is [Consumer.HandleSQS], or what a mutant does in its place.
type handleSQS func(context.Context, *Consumer, events.SQSEvent) (events.SQSEventResponse, error)

// A consumerRow is one rule of what a consumer promises, in words, and what finds out
// whether it is kept. It runs in a bubble of synctest.
type consumerRow struct {
	rule  string
	check func(ctx context.Context, handle handleSQS) error
}

func consumerRows() []consumerRow {
	return []consumerRow{
		{"every message reaches the handler, whole, and is a success", everyMessage},
		{"the envelope and raw delivery are told apart by their content", bothDeliveries},
		{"messages of a group are handled in order, one at a time", orderInGroup},
		{"after a failure the rest of the group is returned unhandled", failureStopsGroup},
		{"after a failure other groups go on", failureStopsNoOther},
		{"what is returned is what was not handled, in the order of the batch", returnedInOrder},
		{"groups do not wait for each other", groupsAtOnce},
		{"without a group the stream is the group", streamIsGroup},
		{"which group a stream comes in is not checked", foreignGroup},
		{"a malformed message is a failure and nothing else", malformedFails},
		{"a panic is a failure of that message, and nothing else", panicFails},
		{"a handler that ends its goroutine has failed, and nothing else", goexitFails},
		{"why a group stopped is in the log, once", reasonLogged},
		{"no content is in the log", contentNotLogged},
		{"the handler's context ends the reserve before the deadline", reserveKept},
		{"the reserve is half a second if none is given", reserveDefault},
		{"a handler that is stopped by its context has failed", stoppedInTime},
		{"when the time has passed nothing more is begun", notBegunLate},
		{"in a context that has ended nothing is begun", notBegunEnded},
		{"a context without a deadline sets no limit", noDeadline},
		{"no goroutine outlives the call", nothingOutlives},
		{"a message that is there twice is handled twice and returned once", thereTwice},
		{"without a handler the event is an error", noHandler},
		{"an event without messages is an error", noMessages},
		{"an event from elsewhere is an error, and nothing is handled", fromElsewhere},
		{"a message without an ID makes the event an error, and nothing is handled", withoutID},
	}
}

func intact(ctx context.Context, c *Consumer, e events.SQSEvent) (events.SQSEventResponse, error) {
	return c.HandleSQS(ctx, e)
}

func TestConsumer(t *testing.T) {
	for _, r := range consumerRows() {
		t.Run(r.rule, func(t *testing.T) {
			if err := checkConsumer(t, r, intact); err != nil {
				t.Error(err)
			}
		})
	}
}

// checkConsumer runs a row on a clock of its own, so that nothing is waited for.
func checkConsumer(t *testing.T, r consumerRow, handle handleSQS) (err error) {
	synctest.Test(t, func(t *testing.T) { err = r.check(t.Context(), handle) })
	return err
}

func everyMessage(ctx context.Context, handle handleSQS) error {
	want := []es.Commit{consumerCommit("a", 1), consumerCommit("b", 7), consumerCommit("a", 2), consumerCommit("ü \"/", 1)}
	want[1].Command, want[1].Meta = "create/äöü 🎈", map[string]string{"actor": "søren", "empty": ""}
	want[1].Events = append(want[1].Events, es.Event{Type: "test.empty"}, es.Event{Type: "test.binary", Data: "\x00\xff\""})
	var in handled
	got, err := handle(ctx, &Consumer{Handle: in.handle}, batch(want...))
	if err := returned(got, err); err != nil {
		return err
	}
	for _, c := range want {
		c.Status = es.Settled
		if !in.has(c) {
			return fmt.Errorf("the handler got %v, and not %v", in.commits, c)
		}
	}
	if len(in.commits) != len(want) {
		return fmt.Errorf("the handler got %d commits, not %d", len(in.commits), len(want))
	}
	if b, err := json.Marshal(got); string(b) != `{"batchItemFailures":[]}` || err != nil {
		return fmt.Errorf("the answer is %s (%v)", b, err)
	}
	return nil
}

func bothDeliveries(ctx context.Context, handle handleSQS) error {
	e := batch(consumerCommit("a", 1), consumerCommit("a", 2), consumerCommit("b", 1))
	e.Records[1].Body = enveloped(e.Records[1].Body)
	// A message that tells of messages is none of SNS.
	c := consumerCommit("b", 2)
	c.Events[0].Data = `{"Type":"Notification","Message":"{}"}`
	c.Command = `{"Type":"Notification"}`
	e.Records = append(e.Records, batch(c).Records...)
	e.Records[3].MessageId = "m4"
	var in handled
	got, err := handle(ctx, &Consumer{Handle: in.handle}, e)
	return firstError(returned(got, err), in.streams("a@1 a@2 b@1 b@2"))
}

func orderInGroup(ctx context.Context, handle handleSQS) error {
	var all []es.Commit
	for v := range uint64(3) {
		all = append(all, consumerCommit("a", v+1), consumerCommit("b", v+1), consumerCommit("c", v+1))
	}
	var in handled
	var mu sync.Mutex
	busy := make(map[string]int)
	var overlap error
	h := func(ctx context.Context, c es.Commit) error {
		mu.Lock()
		if busy[c.Stream.ID]++; busy[c.Stream.ID] > 1 {
			overlap = fmt.Errorf("%s: two messages are handled at the same time", c.Stream)
		}
		mu.Unlock()
		time.Sleep(time.Duration(5-c.Version) * time.Second) // the first takes longest
		mu.Lock()
		busy[c.Stream.ID]--
		mu.Unlock()
		return in.handle(ctx, c)
	}
	got, err := handle(ctx, &Consumer{Handle: h}, batch(all...))
	return firstError(returned(got, err), overlap, in.order("a", 1, 2, 3), in.order("b", 1, 2, 3), in.order("c", 1, 2, 3))
}

func failureStopsGroup(ctx context.Context, handle handleSQS) error {
	for fail := uint64(1); fail <= 4; fail++ {
		in := handled{fail: func(c es.Commit) error {
			if c.Version == fail {
				return errHandler
			}
			return nil
		}}
		got, err := handle(ctx, &Consumer{Handle: in.handle}, batch(consumerCommit("a", 1), consumerCommit("a", 2), consumerCommit("a", 3), consumerCommit("a", 4)))
		var ids []string
		var versions []uint64
		for v := uint64(1); v <= 4; v++ {
			if v < fail {
				versions = append(versions, v)
			} else {
				ids = append(ids, fmt.Sprintf("m%d", v))
			}
		}
		if err := firstError(returned(got, err, ids...), in.order("a", versions...), in.attempts("a", int(fail))); err != nil {
			return fmt.Errorf("where version %d fails: %w", fail, err)
		}
	}
	return nil
}

func failureStopsNoOther(ctx context.Context, handle handleSQS) error {
	in := handled{fail: func(c es.Commit) error {
		if c.Stream.ID == "a" {
			return errHandler
		}
		return nil
	}}
	got, err := handle(ctx, &Consumer{Handle: in.handle}, batch(
		consumerCommit("a", 1), consumerCommit("b", 1), consumerCommit("a", 2), consumerCommit("b", 2), consumerCommit("c", 1), consumerCommit("b", 3)))
	return firstError(returned(got, err, "m1", "m3"), in.order("a"), in.order("b", 1, 2, 3), in.order("c", 1))
}

func returnedInOrder(ctx context.Context, handle handleSQS) error {
	in := handled{fail: func(c es.Commit) error {
		// The later in the batch, the earlier it fails.
		time.Sleep(time.Duration('z'-c.Stream.ID[0]) * time.Second)
		if c.Stream.ID != "c" {
			return errHandler
		}
		return nil
	}}
	got, err := handle(ctx, &Consumer{Handle: in.handle}, batch(
		consumerCommit("a", 1), consumerCommit("b", 1), consumerCommit("c", 1), consumerCommit("d", 1), consumerCommit("a", 2), consumerCommit("c", 2), consumerCommit("b", 2)))
	if err := returned(got, err, "m1", "m2", "m4", "m5", "m7"); err != nil {
		return err
	}
	b, err := json.Marshal(got)
	if want := `{"batchItemFailures":[{"itemIdentifier":"m1"},{"itemIdentifier":"m2"},{"itemIdentifier":"m4"},{"itemIdentifier":"m5"},{"itemIdentifier":"m7"}]}`; string(b) != want || err != nil {
		return fmt.Errorf("the answer is %s (%v), not %s", b, err, want)
	}
	return nil
}

func groupsAtOnce(ctx context.Context, handle handleSQS) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var all []es.Commit
	for i := range 10 {
		all = append(all, consumerCommit(fmt.Sprint("s", i), 1))
	}
	var begun atomic.Int32
	met := make(chan struct{})
	h := func(ctx context.Context, _ es.Commit) error {
		if begun.Add(1) == 10 {
			close(met)
		}
		select {
		case <-met:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	got, err := handle(ctx, &Consumer{Handle: h}, batch(all...))
	if err := returned(got, err); err != nil {
		return err
	}
	if n := begun.Load(); n != 10 {
		return fmt.Errorf("the handler was called %d times, not 10", n)
	}
	return nil
}

func streamIsGroup(ctx context.Context, handle handleSQS) error {
	e := batch(consumerCommit("a", 1), consumerCommit("b", 1), consumerCommit("a", 2), consumerCommit("b", 2), consumerCommit("c", 1), consumerCommit("c", 2))
	for i := range e.Records {
		delete(e.Records[i].Attributes, "MessageGroupId")
	}
	e.Records[3].Attributes = nil
	e.Records[4].Body = "malformed"
	in := handled{fail: func(c es.Commit) error {
		time.Sleep(time.Duration(5-c.Version) * time.Second)
		if c.Stream.ID == "a" && c.Version == 1 {
			return errHandler
		}
		return nil
	}}
	got, err := handle(ctx, &Consumer{Handle: in.handle}, e)
	return firstError(returned(got, err, "m1", "m3", "m5"), in.order("a"), in.attempts("a", 1), in.order("b", 1, 2), in.order("c", 2))
}

func foreignGroup(ctx context.Context, handle handleSQS) error {
	e := batch(consumerCommit("a", 1), consumerCommit("b", 1), consumerCommit("a", 2))
	e.Records[1].Attributes["MessageGroupId"] = e.Records[0].Attributes["MessageGroupId"]
	var in handled
	got, err := handle(ctx, &Consumer{Handle: in.handle}, e)
	return firstError(returned(got, err), in.streams("a@1 a@2 b@1"))
}

// malformed are bodies of messages that stand for no commit, by what is wrong.
func malformed() map[string]string {
	good := body(consumerCommit("a", 1))
	sub := func(old, new string) string {
		if strings.Count(good, old) == 0 {
			panic(fmt.Sprintf("%s is not in %s", old, good))
		}
		return strings.Replace(good, old, new, 1)
	}
	return map[string]string{
		"empty":                     "",
		"text":                      "hello",
		"null":                      "null",
		"a number":                  "1",
		"a string":                  strconv.Quote(good),
		"a list":                    "[" + good + "]",
		"an empty object":           "{}",
		"cut":                       good[:len(good)-1],
		"two":                       good + good,
		"other JSON":                `{"orderId":42,"customer":{"name":"Jane"}}`,
		"an event of S3":            `{"Records":[{"eventSource":"aws:s3"}]}`,
		"version 0":                 sub(`"version":1`, `"version":0`),
		"version -1":                sub(`"version":1`, `"version":-1`),
		"version 1.5":               sub(`"version":1`, `"version":1.5`),
		"version 2^64":              sub(`"version":1`, `"version":18446744073709551616`),
		"versions above 2^64":       strings.Replace(sub(`"version":1`, `"version":18446744073709551615`), `"events":[`, `"events":[{"type":"test.first"},`, 1),
		"version as a text":         sub(`"version":1`, `"version":"1"`),
		"no ID":                     sub(`"id":"a@1"`, `"id":""`),
		"no category":               sub(`"category":"test"`, `"category":""`),
		"a slash in the category":   sub(`"category":"test"`, `"category":"te/st"`),
		"no stream":                 sub(`"stream"`, `"steam"`),
		"no events":                 sub(`"events"`, `"evens"`),
		"an event without a type":   sub(`"type":"test.happened"`, `"type":""`),
		"a time that is none":       sub(`"time":"`, `"time":"x`),
		"deep":                      strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000),
		"an envelope of text":       enveloped("hello"),
		"an empty envelope":         enveloped(""),
		"an envelope in another":    enveloped(enveloped(good)),
		"an envelope of a cut one":  enveloped(good[:len(good)/2]),
		"a cut envelope":            enveloped(good)[:300],
		"an envelope without type":  strings.Replace(enveloped(good), `"Type":"Notification"`, `"Type":""`, 1),
		"an envelope without text":  strings.Replace(enveloped(good), `"Message":`, `"Massage":`, 1),
		"an envelope of an object":  `{"Type":"Notification","Message":` + good + `}`,
		"a subscription to confirm": strings.Replace(enveloped(good), "Notification", "SubscriptionConfirmation", 1),
	}
}

func malformedFails(ctx context.Context, handle handleSQS) error {
	for what, body := range malformed() {
		e := batch(consumerCommit("a", 1), consumerCommit("a", 2), consumerCommit("b", 1), consumerCommit("a", 3))
		e.Records[1].Body = body
		var in handled
		got, err := handle(ctx, &Consumer{Handle: in.handle}, e)
		if err := firstError(returned(got, err, "m2", "m4"), in.streams("a@1 b@1")); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

func panicFails(ctx context.Context, handle handleSQS) error {
	for _, p := range []any{"oops", errHandler, consumerCommit("a", 1), nil, (*int)(nil)} {
		in := handled{fail: func(c es.Commit) error {
			if c.Stream.ID == "a" && c.Version == 2 {
				if p == (*int)(nil) {
					return errors.New(strconv.Itoa(*p.(*int)))
				}
				panic(p)
			}
			return nil
		}}
		var logged records
		got, err := handle(ctx, &Consumer{Handle: in.handle, Logger: slog.New(&logged)}, batch(
			consumerCommit("b", 1), consumerCommit("a", 1), consumerCommit("a", 2), consumerCommit("a", 3), consumerCommit("b", 2)))
		if err := firstError(returned(got, err, "m3", "m4"), in.order("a", 1), in.order("b", 1, 2)); err != nil {
			return fmt.Errorf("panic with a %T: %w", p, err)
		}
		r, err := logged.only()
		if err != nil {
			return err
		}
		// The stack leads to where the panic was.
		if r.level != slog.LevelError || !strings.Contains(r.attrs["stack"], "panicFails") {
			return fmt.Errorf("panic with a %T is logged as %v", p, r)
		}
	}
	return nil
}

func goexitFails(ctx context.Context, handle handleSQS) error {
	in := handled{fail: func(c es.Commit) error {
		if c.Stream.ID == "a" {
			runtime.Goexit()
		}
		return nil
	}}
	got, err := handle(ctx, &Consumer{Handle: in.handle}, batch(consumerCommit("a", 1), consumerCommit("b", 1), consumerCommit("a", 2)))
	return firstError(returned(got, err, "m1", "m3"), in.streams("b@1"))
}

func reasonLogged(ctx context.Context, handle handleSQS) error {
	e := batch(consumerCommit("a", 1), consumerCommit("b", 1), consumerCommit("a", 2), consumerCommit("b", 2), consumerCommit("b", 3), consumerCommit("b", 4))
	e.Records[0].Body = "malformed"
	e.Records[3].Attributes["ApproximateReceiveCount"] = "5"
	in := handled{fail: func(c es.Commit) error {
		if c.Version == 2 {
			return fmt.Errorf("deep down: %w", errHandler)
		}
		return nil
	}}
	var logged records
	c := &Consumer{Handle: in.handle, Logger: slog.New(&logged)}
	if _, err := handle(ctx, c, e); err != nil {
		return err
	}
	if len(logged.all) != 2 {
		return fmt.Errorf("there are %d records, not one for each group: %v", len(logged.all), logged.all)
	}
	for _, r := range logged.all {
		want := map[string]string{
			"outcome": "failed", "message": "m4", "group": "test-b", "received": "5", "stream": "test/b", "version": "2", "commit": "b@2",
			"error": "deep down: " + errHandler.Error(), "unhandled": "2",
		}
		level := slog.LevelWarn
		if r.attrs["message"] == "m1" {
			level = slog.LevelError
			want = map[string]string{"outcome": "malformed", "message": "m1", "group": "test-a", "received": "1", "error": r.attrs["error"], "unhandled": "1"}
			if r.attrs["error"] == "" {
				return fmt.Errorf("the record does not say what is wrong: %v", r)
			}
		}
		if r.message != "message not handled" || r.level != level || !reflect.DeepEqual(r.attrs, want) {
			return fmt.Errorf("the record is %v, not %v", r, want)
		}
	}
	if err := logged.sum(slog.LevelInfo, "6", "5"); err != nil {
		return err
	}

	// Time that has passed is a reason for each group.
	ended, cancel := context.WithCancel(ctx)
	cancel()
	logged.all = nil
	if _, err := handle(ended, c, batch(consumerCommit("a", 1), consumerCommit("a", 2), consumerCommit("a", 3))); err != nil {
		return err
	}
	r, err := logged.only()
	if err != nil {
		return err
	}
	if r.attrs["outcome"] != "not begun" || r.attrs["message"] != "m1" || r.attrs["error"] != context.Canceled.Error() || r.attrs["unhandled"] != "2" {
		return fmt.Errorf("a cancelled context is logged as %v", r)
	}
	if err := logged.sum(slog.LevelInfo, "3", "3"); err != nil {
		return err
	}

	// What goes well is not worth a word, unless one asks for it.
	logged.all = nil
	if _, err := handle(ctx, c, batch(consumerCommit("a", 1), consumerCommit("a", 1))); err != nil || len(logged.all) != 0 {
		return fmt.Errorf("success is logged: %v (%v)", logged.all, err)
	}
	return logged.sum(slog.LevelDebug, "2", "0")
}

// contentNotLogged puts a name and a number into the places of a message where values
// are, breaks it in every way, and looks for them in the log.
func contentNotLogged(ctx context.Context, handle handleSQS) error {
	const name, number = "Hildegard", "4929123456789.5" // no version
	c := consumerCommit("a", 1)
	c.Meta = map[string]string{"actor": name}
	c.Events = append(c.Events, es.Event{Type: "test.named", Data: `{"name":"` + name + `","card":` + number + `}`})
	good := body(c)
	bodies := []string{good, name, number, `"` + name + `"`, `{"name":"` + name + `"}`, good + name, good + number, good[:len(good)-1] + name, strings.ReplaceAll(good, `"`, name)}
	values := []string{name, number, `["` + name + `"]`, `{"of":"` + name + `"}`, `{"of":` + number + `}`, number + number, "-" + number}
	for _, member := range []string{`"stream":`, `"category":`, `"id":`, `"version":`, `"time":`, `"meta":`, `"actor":`, `"events":`, `"type":`, `"data":`} {
		i := strings.LastIndex(good, member) + len(member)
		these := values
		if !slices.Contains([]string{`"category":`, `"id":`, `"type":`}, member) {
			these = append(these, `"`+name+`"`)
		}
		for _, v := range these {
			bodies = append(bodies, good[:i]+v+good[i:], good[:i]+v+","+good[i:], good[:i]+v+`,"also":`+good[i:])
		}
	}
	var text bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&text, nil))
	in := handled{fail: func(c es.Commit) error {
		if c.ID == "panic@1" {
			panic(c)
		}
		return errHandler
	}}
	for i, b := range bodies {
		for _, b := range []string{b, enveloped(b)} {
			p := c
			p.ID = "panic@1"
			e := batch(c, p, p)
			e.Records[0].Body = b
			for i := range e.Records {
				e.Records[i].Attributes["MessageGroupId"] = fmt.Sprint(i)
			}
			if _, err := handle(ctx, &Consumer{Handle: in.handle, Logger: logger}, e); err != nil {
				return err
			}
			for _, secret := range []string{name, number} {
				if strings.Contains(text.String(), secret) {
					return fmt.Errorf("%s, message %d, is logged: %s", b, i, text.String())
				}
			}
			if text.Len() == 0 {
				return errors.New("nothing is logged")
			}
			text.Reset()
		}
	}
	return nil
}

func reserveKept(ctx context.Context, handle handleSQS) error {
	return reserves(ctx, handle, 3*time.Second, 3*time.Second)
}

func reserveDefault(ctx context.Context, handle handleSQS) error {
	return reserves(ctx, handle, 0, 500*time.Millisecond)
}

func reserves(ctx context.Context, handle handleSQS, reserve, want time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	end, _ := ctx.Deadline()
	wrong := errors.New("the handler was not called")
	h := func(ctx context.Context, _ es.Commit) error {
		wrong = nil
		if has, ok := ctx.Deadline(); !ok || end.Sub(has) != want {
			wrong = fmt.Errorf("the handler's context ends %v before the deadline (%v), not %v", end.Sub(has), ok, want)
		}
		return nil
	}
	got, err := handle(ctx, &Consumer{Handle: h, Reserve: reserve}, batch(consumerCommit("a", 1)))
	return firstError(returned(got, err), wrong)
}

func stoppedInTime(ctx context.Context, handle handleSQS) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	in := handled{fail: func(es.Commit) error { return nil }}
	h := func(ctx context.Context, c es.Commit) error {
		if c.Stream.ID == "a" {
			<-ctx.Done()
			return ctx.Err()
		}
		return in.handle(ctx, c)
	}
	got, err := handle(ctx, &Consumer{Handle: h, Reserve: time.Second}, batch(consumerCommit("a", 1), consumerCommit("b", 1), consumerCommit("a", 2), consumerCommit("b", 2)))
	if took := time.Since(begin); took != 9*time.Second {
		return fmt.Errorf("the answer came after %v, of 10s with 1s in reserve", took)
	}
	return firstError(returned(got, err, "m1", "m3"), in.streams("b@1 b@2"))
}

// notBegunLate has a handler that does not look at its context. What it has done is
// done, and its answer comes in time as long as it needs no more than the reserve.
func notBegunLate(ctx context.Context, handle handleSQS) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	in := handled{fail: func(c es.Commit) error {
		if c.Stream.ID == "a" {
			time.Sleep(9500 * time.Millisecond)
		}
		return nil
	}}
	got, err := handle(ctx, &Consumer{Handle: in.handle, Reserve: time.Second}, batch(consumerCommit("a", 1), consumerCommit("a", 2), consumerCommit("b", 1), consumerCommit("a", 3)))
	if took := time.Since(begin); took != 9500*time.Millisecond {
		return fmt.Errorf("the answer came after %v", took)
	}
	return firstError(returned(got, err, "m2", "m4"), in.order("a", 1), in.attempts("a", 1), in.order("b", 1))
}

func notBegunEnded(ctx context.Context, handle handleSQS) error {
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	past, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Second))
	defer cancel()
	late, cancel := context.WithTimeout(ctx, 900*time.Millisecond)
	defer cancel()
	for what, ctx := range map[string]context.Context{"cancelled": cancelled, "past its deadline": past, "with less than the reserve left": late} {
		var in handled
		begin := time.Now()
		got, err := handle(ctx, &Consumer{Handle: in.handle, Reserve: time.Second}, batch(consumerCommit("a", 1), consumerCommit("b", 1), consumerCommit("a", 2)))
		if err := firstError(returned(got, err, "m1", "m2", "m3"), in.attempts("a", 0), in.attempts("b", 0)); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if took := time.Since(begin); took != 0 {
			return fmt.Errorf("%s: it took %v", what, took)
		}
	}

	// A context that is cancelled meanwhile ends those of the handlers.
	running, cancel := context.WithCancel(ctx)
	h := func(ctx context.Context, c es.Commit) error {
		cancel()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Hour):
			return nil
		}
	}
	got, err := handle(running, &Consumer{Handle: h}, batch(consumerCommit("a", 1), consumerCommit("a", 2)))
	return returned(got, err, "m1", "m2")
}

func noDeadline(ctx context.Context, handle handleSQS) error {
	in := handled{fail: func(es.Commit) error { time.Sleep(24 * time.Hour); return nil }}
	got, err := handle(context.WithoutCancel(ctx), &Consumer{Handle: in.handle}, batch(consumerCommit("a", 1), consumerCommit("a", 2)))
	return firstError(returned(got, err), in.order("a", 1, 2))
}

func nothingOutlives(ctx context.Context, handle handleSQS) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var running atomic.Int32
	h := func(context.Context, es.Commit) error {
		running.Add(1)
		defer running.Add(-1)
		time.Sleep(time.Minute) // whatever its context says
		return nil
	}
	got, err := handle(ctx, &Consumer{Handle: h}, batch(consumerCommit("a", 1), consumerCommit("b", 1), consumerCommit("b", 2)))
	if n := running.Load(); n != 0 {
		time.Sleep(time.Hour) // until they are done: a bubble has to be empty in the end
		return fmt.Errorf("%d handlers are running on", n)
	}
	return returned(got, err, "m3")
}

func thereTwice(ctx context.Context, handle handleSQS) error {
	e := batch(consumerCommit("a", 1), consumerCommit("a", 1), consumerCommit("b", 1))
	e.Records[1].MessageId = e.Records[0].MessageId
	var in handled
	got, err := handle(ctx, &Consumer{Handle: in.handle}, e)
	if err := firstError(returned(got, err), in.order("a", 1, 1)); err != nil {
		return err
	}
	in = handled{fail: func(es.Commit) error { return errHandler }}
	got, err = handle(ctx, &Consumer{Handle: in.handle}, e)
	return returned(got, err, "m1", "m3")
}

func noHandler(ctx context.Context, handle handleSQS) error {
	for _, c := range []*Consumer{{}, nil} {
		got, err := handle(ctx, c, batch(consumerCommit("a", 1)))
		if !errors.Is(err, es.ErrInvalid) || len(got.BatchItemFailures) > 0 {
			return fmt.Errorf("%+v: the error is %v, with %v", c, err, got)
		}
	}
	return nil
}

// noMessages has events of other kinds: none of them decodes to messages.
func noMessages(ctx context.Context, handle handleSQS) error {
	for _, body := range []string{
		`{"Records":[]}`, `{"Records":null}`, `{}`,
		`{"version":"2.0","routeKey":"$default","rawPath":"/org/42","requestContext":{"http":{"method":"GET"}}}`,
		`{"source":"aws.events","detail-type":"Scheduled Event","detail":{}}`,
	} {
		var e events.SQSEvent
		if err := json.Unmarshal([]byte(body), &e); err != nil {
			return err
		}
		var in handled
		if got, err := handle(ctx, &Consumer{Handle: in.handle}, e); !errors.Is(err, es.ErrInvalid) {
			return fmt.Errorf("%s: the answer is %v, and the error %v", body, got, err)
		}
	}
	return nil
}

func fromElsewhere(ctx context.Context, handle handleSQS) error {
	for _, source := range []string{"", "aws:sns", "aws:kinesis", "aws:s3", "aws:dynamodb"} {
		e := batch(consumerCommit("a", 1), consumerCommit("b", 1))
		e.Records[1].EventSource = source
		if err := refusesEvent(ctx, handle, e); err != nil {
			return fmt.Errorf("from %q: %w", source, err)
		}
	}
	// So it is with what Lambda sends for SNS: the names of its members are similar.
	var e events.SQSEvent
	if err := json.Unmarshal([]byte(`{"Records":[{"EventSource":"aws:sns","EventVersion":"1.0","Sns":{"Message":"{}","MessageId":"x"}}]}`), &e); err != nil {
		return err
	}
	return refusesEvent(ctx, handle, e)
}

func withoutID(ctx context.Context, handle handleSQS) error {
	e := batch(consumerCommit("a", 1), consumerCommit("b", 1))
	e.Records[1].MessageId = ""
	return refusesEvent(ctx, handle, e)
}

func refusesEvent(ctx context.Context, handle handleSQS, e events.SQSEvent) error {
	var in handled
	got, err := handle(ctx, &Consumer{Handle: in.handle}, e)
	if !errors.Is(err, es.ErrInvalid) {
		return fmt.Errorf("the answer is %v, and the error %v", got, err)
	}
	return in.streams("")
}

// errHandler is the error of a handler.
var errHandler = errors.New("the database is away")

// consumerCommit returns a commit of one event whose ID tells its stream and version.
func consumerCommit(id string, version uint64) es.Commit {
	return es.Commit{
		Stream: es.StreamID{Category: "test", ID: id}, Version: version, ID: fmt.Sprintf("%s@%d", id, version),
		Time:   time.Date(1996, time.February, 29, 23, 59, 59, 123456789, time.UTC),
		Events: []es.Event{{Type: "test.happened", Data: `{"n":` + strconv.FormatUint(version, 10) + `}`}},
	}
}

// batch returns an event with messages as the publisher sends them, delivered raw, with
// IDs from m1 on.
func batch(commits ...es.Commit) events.SQSEvent {
	var e events.SQSEvent
	for i, c := range commits {
		e.Records = append(e.Records, events.SQSMessage{
			MessageId: fmt.Sprintf("m%d", i+1), Body: body(c), EventSource: "aws:sqs",
			Attributes: map[string]string{"MessageGroupId": c.Stream.Category + "-" + c.Stream.ID, "ApproximateReceiveCount": "1"},
		})
	}
	return e
}

func body(c es.Commit) string {
	b, err := encode(c)
	if err != nil {
		panic(err)
	}
	return b
}

// enveloped returns a body as SNS delivers it without raw delivery.
func enveloped(body string) string {
	b, err := json.Marshal(map[string]any{
		"Type": "Notification", "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "SequenceNumber": "10000000000000003000",
		"TopicArn": "arn:aws:sns:us-east-1:123456789012:commits.fifo", "Message": body, "Timestamp": "2026-01-02T03:04:05.678Z",
		"UnsubscribeURL":    "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
		"MessageAttributes": map[string]any{"category": map[string]string{"Type": "String", "Value": "test"}},
	})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// handled is a handler that notes what it took.
type handled struct {
	fail func(es.Commit) error // says whether to take a commit; nil takes all

	mu      sync.Mutex
	begun   []es.Commit
	commits []es.Commit
}

func (h *handled) handle(_ context.Context, c es.Commit) error {
	h.mu.Lock()
	h.begun = append(h.begun, c)
	h.mu.Unlock()
	if h.fail != nil {
		if err := h.fail(c); err != nil {
			return err
		}
	}
	h.mu.Lock()
	h.commits = append(h.commits, c)
	h.mu.Unlock()
	return nil
}

func (h *handled) has(want es.Commit) bool {
	return slices.ContainsFunc(h.commits, func(c es.Commit) bool { return fmt.Sprint(c) == fmt.Sprint(want) })
}

// order returns an error unless these versions of a stream were taken, in this order.
func (h *handled) order(stream string, want ...uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var got []uint64
	for _, c := range h.commits {
		if c.Stream.ID == stream {
			got = append(got, c.Version)
		}
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("of stream %s the handler took versions %v, not %v", stream, got, want)
	}
	return nil
}

// attempts returns an error unless the handler was called so often for a stream.
func (h *handled) attempts(stream string, want int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, c := range h.begun {
		if c.Stream.ID == stream {
			n++
		}
	}
	if n != want {
		return fmt.Errorf("the handler was called %d times for stream %s, not %d", n, stream, want)
	}
	return nil
}

// streams returns an error unless exactly these commits were taken, in any order.
func (h *handled) streams(want string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var got []string
	for _, c := range h.commits {
		got = append(got, c.ID)
	}
	slices.Sort(got)
	if strings.Join(got, " ") != want {
		return fmt.Errorf("the handler took %v, not %v", got, want)
	}
	return nil
}

// returned returns an error unless exactly these messages have to come again.
func returned(got events.SQSEventResponse, err error, want ...string) error {
	if err != nil {
		return fmt.Errorf("the event is an error: %w", err)
	}
	var ids []string
	for _, f := range got.BatchItemFailures {
		ids = append(ids, f.ItemIdentifier)
	}
	if !slices.Equal(ids, want) {
		return fmt.Errorf("the messages %v are returned, not %v", ids, want)
	}
	return nil
}

// firstError returns the first error there is, or nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// records is a log.
type records struct {
	mu      sync.Mutex
	all     []logRecord // of messages
	batches []logRecord
}

type logRecord struct {
	level   slog.Level
	message string
	attrs   map[string]string
}

func (*records) Enabled(context.Context, slog.Level) bool { return true }

func (l *records) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	attrs := make(map[string]string)
	r.Attrs(func(a slog.Attr) bool { attrs[a.Key] = a.Value.String(); return true })
	if r.Message == "batch" {
		l.batches = append(l.batches, logRecord{r.Level, r.Message, attrs})
		return nil
	}
	l.all = append(l.all, logRecord{r.Level, r.Message, attrs})
	return nil
}

// sum checks the one record of a batch since the last call.
func (l *records) sum(level slog.Level, messages, failed string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	got := l.batches
	l.batches = nil
	if len(got) != 1 || got[0].level != level || got[0].attrs["messages"] != messages || got[0].attrs["failed"] != failed || got[0].attrs["ms"] == "" {
		return fmt.Errorf("the batch is summed up as %v, not as %s messages of which %s failed, as %v", got, messages, failed, level)
	}
	return nil
}

func (l *records) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *records) WithGroup(string) slog.Handler { return l }

// only returns the record if there is one and no other.
func (l *records) only() (logRecord, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) != 1 {
		return logRecord{}, fmt.Errorf("there are %d records, not one: %v", len(l.all), l.all)
	}
	return l.all[0], nil
}

// BenchmarkHandleSQS has a batch of 10 messages of 10 streams, with a handler that does
// nothing.
func BenchmarkHandleSQS(b *testing.B) {
	c := &Consumer{Handle: func(context.Context, es.Commit) error { return nil }}
	for _, size := range []int{100, 10_000} {
		var commits []es.Commit
		for i := range 10 {
			commit := consumerCommit(fmt.Sprint(i), 1)
			commit.Events[0].Data = `{"text":"` + strings.Repeat("x", size) + `"}`
			commits = append(commits, commit)
		}
		raw, envelopes := batch(commits...), batch(commits...)
		for i := range envelopes.Records {
			envelopes.Records[i].Body = enveloped(envelopes.Records[i].Body)
		}
		for _, e := range []struct {
			name  string
			event events.SQSEvent
		}{{"raw", raw}, {"envelope", envelopes}} {
			b.Run(fmt.Sprintf("%s/%d", e.name, size), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if got, err := c.HandleSQS(b.Context(), e.event); err != nil || len(got.BatchItemFailures) > 0 {
						b.Fatal(got, err)
					}
				}
			})
		}
	}
}
