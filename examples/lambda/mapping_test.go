package main_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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
)

// mapping is an event source mapping of Lambda for a FIFO queue, with partial batches
// (see "Using Lambda with Amazon SQS" in AWS's documentation).
//
// Direct, it takes batches as the engine gives them, and leaves it to the engine to deliver
// what failed again, or to give it up. The engine gives at most one message of a group at
// a time. Packed, the mapping keeps the messages itself, and makes batches of up to 10 with
// several messages of one group; a group is blocked while a message of it is in
// flight, or has failed and is not yet visible again.
type mapping struct {
	client *sqs.Client
	queue  string // its URL
	invoke func(payload []byte) ([]byte, error)
	wrong  func(error) // told of responses that no function should give

	packed     bool
	visibility time.Duration                      // of messages that failed, if packed
	most       int                                // deliveries of a message before it is given up, if packed; 0: no end
	lose       func(messageID string, n int) bool // whether the n-th message that the engine gives is lost, if packed; nil: none is
	refuse     func(messageID string) bool        // whether a batch with this message fails without reaching the function; nil: none does
	late       func() (time.Duration, bool)       // how long to hold a message back, if packed, and whether only a second copy of it; nil: no message

	mu     sync.Mutex
	groups map[string]*group
	taken  int      // messages that the engine gave, if packed
	seen   int      // of those taken
	failed int      // deliveries that failed
	depth  int      // messages of one group in one batch, at most
	dead   []string // IDs of messages that were given up, if packed
	held   []held   // messages that are held back
	old    int      // messages taken by the function that were not newer than others of their group, if packed
	gaps   int      // those before which others were missing, likewise
}

type held struct {
	message types.Message
	until   time.Time
}

type group struct {
	messages []types.Message // oldest first
	received []int           // how often each was delivered
	busy     bool
	hidden   time.Time // until then
	reached  uint64    // the version that the function has taken
}

// run polls until the context ends.
func (m *mapping) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if _, err := m.step(ctx, time.Second); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// step takes one batch, waiting for one if there is none, and delivers it. It returns
// the number of messages that are done with.
func (m *mapping) step(ctx context.Context, wait time.Duration) (int, error) {
	if !m.packed {
		batch, err := m.receive(ctx, wait)
		if err != nil || len(batch) == 0 {
			return 0, err
		}
		failed := m.deliver(batch)
		done := 0
		for _, msg := range batch {
			if !failed[*msg.MessageId] {
				done++
				if err := m.delete(ctx, msg); err != nil {
					return done, err
				}
			}
		}
		return done, nil
	}
	if err := m.drain(ctx, 0); err != nil {
		return 0, err
	}
	batch := m.pack()
	if len(batch) == 0 && wait > 0 {
		var err error
		if m.waiting() == 0 {
			err = m.drain(ctx, wait)
		} else {
			err = pause(ctx, min(wait, m.visibility))
		}
		if err != nil {
			return 0, err
		}
		batch = m.pack()
	}
	if len(batch) == 0 {
		return 0, nil
	}
	return m.unpack(batch, m.deliver(batch)), nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (m *mapping) receive(ctx context.Context, wait time.Duration) ([]types.Message, error) {
	out, err := m.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &m.queue, MaxNumberOfMessages: 10, WaitTimeSeconds: int32((wait + time.Second - 1) / time.Second),
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
		MessageAttributeNames:       []string{"All"},
	})
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	return out.Messages, nil
}

func (m *mapping) delete(ctx context.Context, msg types.Message) error {
	_, err := m.client.DeleteMessage(context.WithoutCancel(ctx), &sqs.DeleteMessageInput{QueueUrl: &m.queue, ReceiptHandle: msg.ReceiptHandle})
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

// drain moves what the engine has into the groups. It waits only for the first.
func (m *mapping) drain(ctx context.Context, wait time.Duration) error {
	for ; ; wait = 0 {
		messages, err := m.receive(ctx, wait)
		if err != nil || len(messages) == 0 {
			return err
		}
		for _, msg := range messages {
			if err := m.delete(ctx, msg); err != nil {
				return err
			}
			m.mu.Lock()
			m.taken++
			if m.lose == nil || !m.lose(*msg.MessageId, m.taken) {
				m.accept(msg)
			}
			m.mu.Unlock()
		}
	}
}

// accept adds a message, now or later, or both.
func (m *mapping) accept(msg types.Message) {
	var hold time.Duration
	twice := false
	if m.late != nil {
		hold, twice = m.late()
	}
	if hold > 0 {
		second := msg
		if twice { // published again, so long ago that the queue does not recognise it
			id := *msg.MessageId + "-again"
			second.MessageId, second.Attributes = &id, maps.Clone(msg.Attributes)
		}
		m.held = append(m.held, held{second, time.Now().Add(hold)})
	}
	if hold == 0 || twice {
		m.add(msg)
	}
}

// release ends the time of all messages that are held back.
func (m *mapping) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.held {
		m.held[i].until = time.Time{}
	}
}

func (m *mapping) add(msg types.Message) {
	name := msg.Attributes["MessageGroupId"]
	if m.groups == nil {
		m.groups = make(map[string]*group)
	}
	g := m.groups[name]
	if g == nil {
		g = new(group)
		m.groups[name] = g
	}
	g.messages, g.received = append(g.messages, msg), append(g.received, 0)
}

// pack returns a batch of what may be delivered now, and marks its groups as busy.
func (m *mapping) pack() (batch []types.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = slices.DeleteFunc(m.held, func(h held) bool {
		due := time.Now().After(h.until)
		if due {
			m.add(h.message)
		}
		return due
	})
	for _, g := range m.groups {
		if g.busy || time.Now().Before(g.hidden) {
			continue
		}
		for i, msg := range g.messages {
			if len(batch) == 10 {
				break
			}
			g.busy = true
			g.received[i]++
			msg.Attributes["ApproximateReceiveCount"] = strconv.Itoa(g.received[i])
			batch = append(batch, msg)
		}
	}
	return batch
}

// unpack deletes what did not fail, hides the groups of what did, and gives up what was
// delivered too often.
func (m *mapping) unpack(batch []types.Message, failed map[string]bool) (done int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, msg := range batch {
		g := m.groups[msg.Attributes["MessageGroupId"]]
		g.busy = false
		i := slices.IndexFunc(g.messages, func(o types.Message) bool { return *o.MessageId == *msg.MessageId })
		switch {
		case !failed[*msg.MessageId]:
			m.count(g, msg)
		case m.most > 0 && g.received[i] >= m.most:
			m.dead = append(m.dead, *msg.MessageId)
		default:
			g.hidden = time.Now().Add(m.visibility)
			continue
		}
		done++
		g.messages, g.received = slices.Delete(g.messages, i, i+1), slices.Delete(g.received, i, i+1)
	}
	return done
}

// count compares a message that the function has taken with what it took of the group before.
func (m *mapping) count(g *group, msg types.Message) {
	a, ok := msg.MessageAttributes["version"]
	if !ok {
		return
	}
	version, err := strconv.ParseUint(*a.StringValue, 10, 64)
	switch {
	case err != nil:
		m.wrong(err)
	case version <= g.reached:
		m.old++
	case version > g.reached+1:
		m.gaps++
	}
	g.reached = max(g.reached, version)
}

// progress reports whether the engine gave messages since it was asked last.
func (m *mapping) progress() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := m.seen
	m.seen = m.taken
	return seen != m.taken
}

// waiting returns how many messages are kept, if packed.
func (m *mapping) waiting() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.groups {
		n += len(g.messages)
	}
	return n + len(m.held)
}

// deliver invokes the function with a batch, and returns what failed: all of it if the
// invocation does, or if the response cannot be read.
func (m *mapping) deliver(batch []types.Message) map[string]bool {
	failed := m.try(batch)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed += len(failed)
	depth := make(map[string]int)
	for _, msg := range batch {
		name := msg.Attributes["MessageGroupId"]
		depth[name]++
		m.depth = max(m.depth, depth[name])
	}
	return failed
}

func (m *mapping) try(batch []types.Message) map[string]bool {
	ids := make(map[string]bool, len(batch))
	var event struct {
		Records []record `json:"Records"`
	}
	for _, msg := range batch {
		ids[*msg.MessageId] = true
		event.Records = append(event.Records, newRecord(msg))
	}
	payload, err := json.Marshal(event)
	if err != nil {
		m.wrong(err)
		return ids
	}
	for id := range ids {
		if m.refuse != nil && m.refuse(id) {
			return ids
		}
	}
	response, err := m.invoke(payload)
	if err != nil {
		return ids
	}
	failed, err := readResponse(response, ids)
	if err != nil {
		m.wrong(fmt.Errorf("the response to a batch, %w: %q", err, response))
		return ids
	}
	if err := inOrder(batch, failed); err != nil {
		m.wrong(err)
	}
	return failed
}

// inOrder demands that a group ends with its first failure: what comes behind that comes
// again, too.
func inOrder(batch []types.Message, failed map[string]bool) error {
	first := make(map[string]string)
	for _, msg := range batch {
		group, id := msg.Attributes["MessageGroupId"], *msg.MessageId
		switch {
		case failed[id] && first[group] == "":
			first[group] = id
		case !failed[id] && first[group] != "":
			return fmt.Errorf("message %s of group %s went on after %s had failed", id, group, first[group])
		}
	}
	return nil
}

// readResponse is stricter than Lambda, for which some answers of another kind are
// success without failures.
func readResponse(response []byte, batch map[string]bool) (failed map[string]bool, err error) {
	var r struct {
		Failures *[]struct {
			ID *string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	d := json.NewDecoder(bytes.NewReader(response))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("with something behind it")
	}
	if r.Failures == nil {
		return nil, errors.New("without batchItemFailures")
	}
	failed = make(map[string]bool)
	for _, f := range *r.Failures {
		if f.ID == nil || !batch[*f.ID] {
			return nil, errors.New("with a message that is not in the batch")
		}
		failed[*f.ID] = true
	}
	return failed, nil
}

// record is a message as the function gets it.
type record struct {
	MessageID         string                     `json:"messageId"`
	ReceiptHandle     string                     `json:"receiptHandle"`
	Body              string                     `json:"body"`
	Attributes        map[string]string          `json:"attributes"`
	MessageAttributes map[string]recordAttribute `json:"messageAttributes"`
	MD5OfBody         string                     `json:"md5OfBody"`
	EventSource       string                     `json:"eventSource"`
	EventSourceARN    string                     `json:"eventSourceARN"`
	AWSRegion         string                     `json:"awsRegion"`
}

type recordAttribute struct {
	StringValue      *string  `json:"stringValue,omitempty"`
	BinaryValue      []byte   `json:"binaryValue,omitempty"`
	StringListValues []string `json:"stringListValues"`
	BinaryListValues [][]byte `json:"binaryListValues"`
	DataType         string   `json:"dataType"`
}

func newRecord(msg types.Message) record {
	sum := md5.Sum([]byte(*msg.Body))
	r := record{
		MessageID: *msg.MessageId, ReceiptHandle: *msg.ReceiptHandle, Body: *msg.Body, MD5OfBody: hex.EncodeToString(sum[:]),
		Attributes: msg.Attributes, MessageAttributes: map[string]recordAttribute{},
		EventSource: "aws:sqs", EventSourceARN: "arn:aws:sqs:us-east-1:000000000000:leftfold.fifo", AWSRegion: "us-east-1",
	}
	for name, a := range msg.MessageAttributes {
		r.MessageAttributes[name] = recordAttribute{
			StringValue: a.StringValue, BinaryValue: a.BinaryValue, StringListValues: []string{}, BinaryListValues: [][]byte{}, DataType: *a.DataType,
		}
	}
	return r
}

// The rig itself: what it takes for success, and in which order it delivers.
func TestMapping(t *testing.T) {
	batch := map[string]bool{"a": true, "b": true}
	for response, want := range map[string]map[string]bool{
		`{"batchItemFailures":[]}`: {},
		`{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"b"}]}`: batch,
		// Lambda would delete the batch after some of these.
		``: nil, `null`: nil, `{}`: nil, `{"batchItemFailures":null}`: nil, `""`: nil,
		`{"statusCode":200,"headers":{},"body":""}`:                           nil,
		`{"batchItemFailures":[],"statusCode":200}`:                           nil,
		`{"batchItemFailures":[]}{}`:                                          nil,
		`{"batchItemFailures":["a"]}`:                                         nil,
		`{"batchItemFailures":[{}]}`:                                          nil,
		`{"batchItemFailures":[{"itemIdentifier":"c"}]}`:                      nil,
		`{"batchItemFailures":[{"itemIdentifier":"a","messageId":"a"}]}`:      nil,
		`{"batchItemFailures":[{"itemIdentifier":null}]}`:                     nil,
		`{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":1}]}`: nil,
	} {
		failed, err := readResponse([]byte(response), batch)
		if want == nil && err == nil || want != nil && (err != nil || !maps.Equal(failed, want)) {
			t.Errorf("%s: %v, %v", response, failed, err)
		}
	}

	one := func(id string) types.Message {
		return types.Message{MessageId: &id, ReceiptHandle: &id, Body: &id, Attributes: map[string]string{"MessageGroupId": id[:1]}}
	}
	mixed := []types.Message{one("a1"), one("b1"), one("a2"), one("b2")}
	if err := inOrder(mixed, map[string]bool{"a1": true, "a2": true, "b2": true}); err != nil {
		t.Error(err)
	}
	if inOrder(mixed, map[string]bool{"a2": true, "b1": true}) == nil {
		t.Error("b2 may not go on after b1")
	}

	var delivered []string // batches
	answers := []string{
		`{"batchItemFailures":[{"itemIdentifier":"a2"},{"itemIdentifier":"a3"}]}`,
		"error", "error",
		`{"batchItemFailures":[]}`,
		`{"batchItemFailures":[]}`,
	}
	var wrong []error
	m := &mapping{packed: true, most: 3, wrong: func(err error) { wrong = append(wrong, err) }}
	m.invoke = func(payload []byte) ([]byte, error) {
		var event events.SQSEvent
		if err := json.Unmarshal(payload, &event); err != nil {
			return nil, err
		}
		var ids string
		for _, r := range event.Records {
			ids += r.MessageId + "." + r.Attributes["ApproximateReceiveCount"] + " "
		}
		delivered = append(delivered, strings.TrimSpace(ids))
		answer := answers[0]
		if answers = answers[1:]; answer == "error" {
			return nil, errFunction
		}
		return []byte(answer), nil
	}
	add := func(ids ...string) {
		for _, id := range ids {
			m.add(one(id))
		}
	}
	run := func(done int) {
		t.Helper()
		batch := m.pack()
		if more := m.pack(); len(batch) > 0 && len(more) > 0 {
			t.Errorf("a second batch of %d while the first is in flight", len(more))
		}
		if got := m.unpack(batch, m.deliver(batch)); got != done {
			t.Errorf("%d messages done, want %d", got, done)
		}
	}
	add("a1", "a2", "a3")
	run(1)
	m.visibility = time.Hour
	add("a4")
	run(0)
	if batch := m.pack(); len(batch) > 0 {
		t.Errorf("%d messages of a group that is hidden", len(batch))
	}
	m.visibility = 0
	m.groups["a"].hidden = time.Time{}
	run(2) // given up
	run(1)
	add("b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b9", "b10", "b11")
	run(10)
	if want := []string{"a1.1 a2.1 a3.1", "a2.2 a3.2 a4.1", "a2.3 a3.3 a4.2", "a4.3", "b1.1 b2.1 b3.1 b4.1 b5.1 b6.1 b7.1 b8.1 b9.1 b10.1"}; !slices.Equal(delivered, want) {
		t.Errorf("delivered %q", delivered)
	}
	// What is interrupted blocks nothing.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	m.client = sqs.New(sqs.Options{Region: "us-east-1"})
	if _, err := m.step(ended, 0); err == nil || m.groups["b"].busy {
		t.Errorf("interrupted: %v", err)
	}
	if !slices.Equal(m.dead, []string{"a2", "a3"}) || m.waiting() != 1 || m.failed != 8 || m.depth != 10 || len(wrong) > 0 {
		t.Errorf("%q were given up, %d wait, %d failed, depth %d, %v", m.dead, m.waiting(), m.failed, m.depth, wrong)
	}

	// Held back, a message comes behind those that came after it, or once more.
	m = &mapping{packed: true, wrong: func(err error) { t.Error(err) }, invoke: m.invoke}
	holds := []struct {
		hold  time.Duration
		twice bool
	}{{0, false}, {time.Hour, false}, {time.Hour, true}}
	delivered = nil
	m.late = func() (time.Duration, bool) { h := holds[0]; holds = holds[1:]; return h.hold, h.twice }
	for n, id := range []string{"c1", "c2", "c3"} {
		msg := one(id)
		msg.MessageAttributes = map[string]types.MessageAttributeValue{"version": {DataType: aws.String("Number"), StringValue: aws.String(fmt.Sprint(n + 1))}}
		m.accept(msg)
	}
	answers = []string{`{"batchItemFailures":[]}`, `{"batchItemFailures":[]}`}
	run(2)
	if m.waiting() != 2 || m.gaps != 1 || m.old != 0 {
		t.Errorf("%d held back, %d gaps, %d old", m.waiting(), m.gaps, m.old)
	}
	m.release()
	run(2)
	if want := []string{"c1.1 c3.1", "c2.1 c3-again.1"}; !slices.Equal(delivered, want) || m.waiting() != 0 || m.gaps != 1 || m.old != 2 {
		t.Errorf("delivered %q, %d gaps, %d old", delivered, m.gaps, m.old)
	}
}
