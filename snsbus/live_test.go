package snsbus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
)

var dummy = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "dummy", SecretAccessKey: "dummy"}, nil
})

// engine is a real SNS and a real SQS.
type engine struct {
	sns *sns.Client
	sqs *sqs.Client
}

func live(t *testing.T) engine {
	t.Helper()
	topics, queues := os.Getenv("AWS_ENDPOINT_URL_SNS"), os.Getenv("AWS_ENDPOINT_URL_SQS")
	if topics == "" || queues == "" {
		const missing = "no SNS and SQS: set AWS_ENDPOINT_URL_SNS and AWS_ENDPOINT_URL_SQS, or run make test"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	return engine{newSNS(topics), sqs.New(sqs.Options{Region: "us-east-1", BaseEndpoint: &queues, Credentials: dummy})}
}

// newTopic returns the ARN of a FIFO topic of the test's own.
func (e engine) newTopic(t *testing.T) string {
	t.Helper()
	out, err := e.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{
		Name: aws.String("commits-" + rand.Text() + ".fifo"), Attributes: map[string]string{"FifoTopic": "true", "FifoThroughputScope": "MessageGroup"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := e.sns.DeleteTopic(context.WithoutCancel(t.Context()), &sns.DeleteTopicInput{TopicArn: out.TopicArn}); err != nil {
			t.Error(err)
		}
	})
	return *out.TopicArn
}

// newQueue returns the URL of a FIFO queue that is subscribed to the topic.
func (e engine) newQueue(t *testing.T, topic string, subscription map[string]string) string {
	t.Helper()
	queue, err := e.sqs.CreateQueue(t.Context(), &sqs.CreateQueueInput{
		QueueName: aws.String("commits-" + rand.Text() + ".fifo"),
		Attributes: map[string]string{
			"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId", "MaximumMessageSize": "1048576",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := e.sqs.DeleteQueue(context.WithoutCancel(t.Context()), &sqs.DeleteQueueInput{QueueUrl: queue.QueueUrl}); err != nil {
			t.Error(err)
		}
	})
	about, err := e.sqs.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: queue.QueueUrl, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.sns.Subscribe(t.Context(), &sns.SubscribeInput{
		TopicArn: &topic, Protocol: aws.String("sqs"), Endpoint: aws.String(about.Attributes["QueueArn"]), Attributes: subscription,
	}); err != nil {
		t.Fatal(err)
	}
	return *queue.QueueUrl
}

// subscribe hands each message of a queue to deliver until the test ends, one at a time:
// one that fails stops its group and no other.
func (e engine) subscribe(t *testing.T, queue string, deliver func(context.Context, es.Commit) error) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		for ctx.Err() == nil {
			out, err := e.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queue, MaxNumberOfMessages: 1, WaitTimeSeconds: 20})
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			for _, m := range out.Messages {
				c, err := unwrap(*m.Body)
				if err != nil {
					t.Errorf("%v: %s", err, *m.Body)
					return
				}
				if deliver(ctx, c) == nil {
					_, err = e.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &queue, ReceiptHandle: m.ReceiptHandle})
				} else {
					_, err = e.sqs.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: &queue, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 0})
				}
				if err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		}
	})
}

var raw = map[string]string{"RawMessageDelivery": "true"}

func TestPublisher(t *testing.T) {
	e := live(t)
	for name, subscription := range map[string]map[string]string{"raw": raw, "in the envelope": nil} {
		t.Run(name, func(t *testing.T) {
			estest.TestPublisher(t, func(t *testing.T, deliver func(context.Context, es.Commit) error) es.Publisher {
				topic := e.newTopic(t)
				e.subscribe(t, e.newQueue(t, topic, subscription), deliver)
				return New(e.sns, topic, &Options{Timeout: patient})
			})
		})
	}
}

// inbox keeps what was delivered, by stream.
type inbox struct {
	mu      sync.Mutex
	got     map[es.StreamID][]es.Commit
	changed chan struct{}
}

func newInbox() *inbox {
	return &inbox{got: map[es.StreamID][]es.Commit{}, changed: make(chan struct{}, 1)}
}

func (b *inbox) deliver(_ context.Context, c es.Commit) error {
	b.mu.Lock()
	b.got[c.Stream] = append(b.got[c.Stream], c)
	b.mu.Unlock()
	select {
	case b.changed <- struct{}{}:
	default:
	}
	return nil
}

// wait waits until there are so many commits.
func (b *inbox) wait(ctx context.Context, want int) error {
	for {
		b.mu.Lock()
		have := 0
		for _, commits := range b.got {
			have += len(commits)
		}
		b.mu.Unlock()
		if have >= want {
			return nil
		}
		select {
		case <-b.changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d commits were delivered: %w", have, want, ctx.Err())
		}
	}
}

func waiting(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Streams are published at the same time by several, each in its order, through a
// connection on which answers get lost; and are delivered in their order.
func TestOrder(t *testing.T) {
	t.Parallel()
	e := live(t)
	topic, in := e.newTopic(t), newInbox()
	e.subscribe(t, e.newQueue(t, topic, raw), in.deliver)
	const streams, each = 12, 25
	p := New(&losing{Client: e.sns}, topic, &Options{Timeout: patient, Attempts: 20})
	var wg sync.WaitGroup
	for s := range streams {
		wg.Go(func() {
			for v := range uint64(each) {
				c := bare()
				// Some are in groups by their own names, and some by a hash.
				c.Stream.ID, c.Version, c.ID = fmt.Sprintf("%d%s", s, strings.Repeat(" ", s%2)), v+1, rand.Text()
				if err := p.Publish(t.Context(), c); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := in.wait(waiting(t), streams*each); err != nil {
		t.Fatal(err)
	}
	for stream, commits := range in.got {
		for i, c := range commits {
			if c.Version != uint64(i+1) {
				t.Errorf("stream %q: version %d came in place %d", stream, c.Version, i+1)
			}
		}
	}
}

// losing loses every third answer, of what the topic has taken.
type losing struct {
	Client
	mu sync.Mutex
	n  int
}

func (l *losing) Publish(ctx context.Context, in *sns.PublishInput, o ...func(*sns.Options)) (*sns.PublishOutput, error) {
	out, err := l.Client.Publish(ctx, in, o...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n++; l.n%3 == 0 && err == nil {
		return nil, errors.New("the answer was lost")
	}
	return out, err
}

// What is published again within five minutes is not delivered again, and what only looks
// the same is.
func TestDeduplication(t *testing.T) {
	t.Parallel()
	e := live(t)
	topic, in := e.newTopic(t), newInbox()
	e.subscribe(t, e.newQueue(t, topic, raw), in.deliver)
	p := New(e.sns, topic, &Options{Timeout: patient})
	id := rand.Text()
	for _, n := range []string{"1", "1", "2", "1", "2", "3"} {
		c := bare()
		c.ID = id + n
		if err := p.Publish(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.wait(waiting(t), 3); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range in.got[bare().Stream] {
		got = append(got, strings.TrimPrefix(c.ID, id))
	}
	if want := []string{"1", "2", "3"}; !slices.Equal(got, want) {
		t.Errorf("delivered %v, not %v", got, want)
	}
}

// Subscribers choose by the attributes. By types they can as well, on SNS: the engine does
// not look into arrays.
func TestFilterPolicies(t *testing.T) {
	t.Parallel()
	e := live(t)
	topic := e.newTopic(t)
	inboxes, policies := map[string]*inbox{}, map[string]string{
		"category": `{"category":["org"]}`,
		"version":  `{"version":[{"numeric":[">",1]}]}`,
		"all":      `{"category":[{"prefix":"o"}],"version":[1,2,3],"types":[{"exists":true}]}`,
	}
	for name, policy := range policies {
		inboxes[name] = newInbox()
		e.subscribe(t, e.newQueue(t, topic, map[string]string{"RawMessageDelivery": "true", "FilterPolicy": policy}), inboxes[name].deliver)
	}
	p := New(e.sns, topic, &Options{Timeout: patient})
	c1, c2, c3, last := bare(), bare(), bare(), bare()
	c2.Version, c3.Stream.Category, last.Version = 2, "otp", 3 // the last comes last in each queue
	for i, c := range []*es.Commit{&c1, &c2, &c3, &last} {
		c.ID = fmt.Sprint(i, rand.Text())
		if err := p.Publish(t.Context(), *c); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string][]es.Commit{"category": {c1, c2, last}, "version": {c2, last}, "all": {c1, c2, c3, last}} {
		in := inboxes[name]
		if err := in.wait(waiting(t), len(want)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		in.mu.Lock()
		var got []string
		for _, commits := range in.got {
			for _, c := range commits {
				got = append(got, c.ID)
			}
		}
		in.mu.Unlock()
		var wanted []string
		for _, c := range want {
			wanted = append(wanted, c.ID)
		}
		if slices.Sort(got); !slices.Equal(got, wanted) {
			t.Errorf("%s: got %v, not %v", name, got, wanted)
		}
	}
}

func TestNoSuchTopic(t *testing.T) {
	t.Parallel()
	e := live(t)
	p := New(e.sns, "arn:aws:sns:us-east-1:000000000000:nowhere.fifo", &Options{Timeout: patient})
	if err := p.Publish(t.Context(), bare()); !errors.Is(err, ErrNoTopic) || !errors.Is(err, es.ErrRefused) {
		t.Errorf("the error is %v", err)
	}
}
