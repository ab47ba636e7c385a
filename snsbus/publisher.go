package snsbus

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/internal/attempt"
)

// Client is what is needed of an *sns.Client: Publish. Every request switches the
// retries of the SDK off and makes attempts of its own: the SDK hides a publish that
// timed out behind the answer to a later one.
type Client interface {
	Publish(context.Context, *sns.PublishInput, ...func(*sns.Options)) (*sns.PublishOutput, error)
}

var _ Client = (*sns.Client)(nil)

// Why a publish failed, where that can be told. Whether the commit may have been published
// all the same is another question: it was not if the error wraps [es.ErrRefused] as well.
var (
	// ErrThrottled: the topic, its key or the account is at its limit, after all
	// attempts.
	ErrThrottled = errors.New("throttled")

	// ErrTooLarge: the message would be larger than the topic takes. Nothing was sent.
	ErrTooLarge = errors.New("too large")

	// ErrNoTopic: the topic is not there.
	ErrNoTopic = errors.New("no such topic")
)

// errNoID is an answer that does not say what became of the message.
var errNoID = errors.New("the answer has no message ID")

// Options are the knobs of a [Publisher]; the zero value is right for most.
type Options struct {
	// Timeout is the time for the first attempt of a request; each further one has
	// twice the time of the one before. 0 means 125 ms: with three attempts, a
	// publish takes less than the 1 s that [es.Journal] has for it.
	Timeout time.Duration

	// Attempts is how often a request is sent at most; 0 means 3.
	Attempts int

	// MaxBytes is the size of the largest message, which is the topic's
	// MaximumMessageSize; 0 means 262 144, which is the default of a topic. Queues
	// that the topic delivers to need the same limit or a larger one.
	MaxBytes int
}

// Publisher is an [es.Publisher] and an [es.Checker] on one topic. It is made by [New] and
// safe for concurrent use.
type Publisher struct {
	client   Client
	topic    string
	maxBytes int
	policy   attempt.Policy
}

var (
	_ es.Publisher = (*Publisher)(nil)
	_ es.Checker   = (*Publisher)(nil)
)

// New returns a publisher on a FIFO topic, given by its ARN. Nothing is sent yet. The
// options may be nil.
func New(client Client, topicARN string, o *Options) *Publisher {
	if o == nil {
		o = new(Options)
	}
	return &Publisher{client: client, topic: topicARN, maxBytes: cmp.Or(o.MaxBytes, 256<<10), policy: attempt.Policy{
		Timeout: cmp.Or(o.Timeout, 125*time.Millisecond), Attempts: max(1, cmp.Or(o.Attempts, 3)), Explain: explain,
	}}
}

// Check is that of [es.Checker]. The error wraps [ErrTooLarge] if the message has more than
// [Options.MaxBytes], names, types and values of its attributes included. It wraps
// [es.ErrInvalid] if the commit has no valid form, its time is outside of the years 0 to
// 9999, its ID has other characters than letters, digits and punctuation of ASCII, its
// category has a U+FFFE or U+FFFF, or the topic is no FIFO topic by its name.
func (p *Publisher) Check(c es.Commit) error {
	if _, err := p.input(c); err != nil {
		return fmt.Errorf("check %s@%d: %w", c.Stream, c.Version, err)
	}
	return nil
}

// Publish is that of [es.Publisher]: one Publish request, sent again if need be. It refuses
// what [Publisher.Check] does.
func (p *Publisher) Publish(ctx context.Context, c es.Commit) error {
	in, err := p.input(c)
	certain := true
	if err == nil {
		certain, err = p.policy.Try(ctx, func(ctx context.Context, w *attempt.Way) error {
			out, err := p.client.Publish(ctx, in, func(o *sns.Options) {
				o.Retryer, o.HTTPClient = aws.NopRetryer{}, w.Through(o.HTTPClient)
			})
			if err == nil && (out == nil || aws.ToString(out.MessageId) == "") {
				return errNoID
			}
			return err
		})
	}
	switch {
	case err == nil:
		return nil
	case certain:
		return fmt.Errorf("publish %s@%d: %w: %w", c.Stream, c.Version, es.ErrRefused, err)
	default:
		return fmt.Errorf("publish %s@%d: %w", c.Stream, c.Version, err)
	}
}

// explain is that of [attempt.Policy].
func explain(code string, status int) (reason error, again bool) {
	switch code {
	case "Throttled", "ThrottledException", "Throttling", "ThrottlingException", "RequestThrottled", "KMSThrottling", "KMSThrottlingException":
		return ErrThrottled, true
	case "InvalidSignatureException", "RequestTimeTooSkewed", "SignatureDoesNotMatch":
		return nil, true // the SDK has set its clock by the answer
	case "NotFound", "NotFoundException":
		return ErrNoTopic, false
	}
	if status == http.StatusTooManyRequests {
		return ErrThrottled, true
	}
	return nil, false
}

// input returns the request that publishes a commit, or why SNS would refuse it for ever.
func (p *Publisher) input(c es.Commit) (*sns.PublishInput, error) {
	if !strings.HasSuffix(p.topic, ".fifo") {
		return nil, fmt.Errorf("%w: topic %q is no FIFO topic", es.ErrInvalid, p.topic)
	}
	body, err := encode(c)
	if err != nil {
		return nil, err
	}
	if !plain(c.ID) {
		return nil, fmt.Errorf("%w: commit ID %q has other characters than letters, digits and punctuation of ASCII", es.ErrInvalid, c.ID)
	}
	if strings.ContainsFunc(c.Stream.Category, noCharacter) {
		return nil, fmt.Errorf("%w: category %q has a U+FFFE or U+FFFF", es.ErrInvalid, c.Stream.Category)
	}
	in := &sns.PublishInput{
		TopicArn:               &p.topic,
		Message:                &body,
		MessageGroupId:         aws.String(groupOf(c.Stream)),
		MessageDeduplicationId: &c.ID,
		MessageAttributes: map[string]types.MessageAttributeValue{
			"category": {DataType: aws.String("String"), StringValue: &c.Stream.Category},
			"types":    {DataType: aws.String("String.Array"), StringValue: aws.String(typesOf(c.Events))},
			"version":  {DataType: aws.String("Number"), StringValue: aws.String(strconv.FormatUint(c.Version, 10))},
		},
	}
	if size := sizeOf(in); size > p.maxBytes {
		return nil, fmt.Errorf("%w: the message has %d bytes, at most %d are allowed", ErrTooLarge, size, p.maxBytes)
	}
	return in, nil
}

// sizeOf returns the size of a message as a topic's limit counts it.
// https://docs.aws.amazon.com/sns/latest/api/API_MessageAttributeValue.html
func sizeOf(in *sns.PublishInput) int {
	size := len(*in.Message)
	for name, v := range in.MessageAttributes {
		size += len(name) + len(*v.DataType) + len(*v.StringValue)
	}
	return size
}

// typesOf returns the types of events as a JSON array, each once.
func typesOf(events []es.Event) string {
	names := make([]string, len(events))
	for i, e := range events {
		names[i] = e.Type
	}
	slices.Sort(names)
	b, before := []byte(nil), byte('[')
	for _, name := range slices.Compact(names) {
		b = appendText(append(b, before), name)
		before = ','
	}
	return string(append(b, ']'))
}

// groupOf returns the message group of a stream: its name, or where SNS does not take that,
// the name's SHA-256 in hex. That has no slash, and every name has one, so that different
// streams are in different groups.
func groupOf(stream es.StreamID) string {
	name := stream.String()
	if plain(name) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// plain reports whether SNS takes a text as a message group or a deduplication ID.
// https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
func plain(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
