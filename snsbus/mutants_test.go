package snsbus

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
)

// A mutant is a publisher on the real engine with one bug, and the rows of the suite that
// must find it.
type mutant struct {
	bug     string
	killers []string
	publish func(context.Context, *Publisher, es.Commit) error
}

// with publishes a commit by the request of the publisher, changed.
func with(change func(*sns.PublishInput)) func(context.Context, *Publisher, es.Commit) error {
	return func(ctx context.Context, p *Publisher, c es.Commit) error {
		in, err := p.input(c)
		if err != nil {
			return err
		}
		change(in)
		_, err = p.client.Publish(ctx, in)
		return err
	}
}

const unbroken = "none" // the publisher without a bug, in the same wrapping

func mutants() []mutant {
	const (
		whole     = "every field comes through"
		inOne     = "a commit of many events is delivered whole, in one message"
		repeated  = "a delivery that fails is repeated, and the rest of its stream waits for it"
		noOther   = "a delivery that fails does not stop another stream"
		content   = "a commit with another ID is delivered, even with the same content"
		slot      = "a commit with another ID is delivered, even with the same stream and version"
		ended     = "a publish in a context that has ended is an error and has no effect"
		takenSize = "what the check lets through is taken and delivered"
	)
	batch := func(stop func(i int) bool) func(context.Context, *Publisher, es.Commit) error {
		return func(ctx context.Context, p *Publisher, c es.Commit) error {
			for i, e := range c.Events {
				if stop(i) {
					break
				}
				part := c
				part.Version, part.ID, part.Events = c.Version+uint64(i), fmt.Sprint(c.ID, i), []es.Event{e}
				in, err := p.input(part)
				if err != nil {
					return err
				}
				out, err := p.client.(*sns.Client).PublishBatch(ctx, &sns.PublishBatchInput{TopicArn: in.TopicArn, PublishBatchRequestEntries: []types.PublishBatchRequestEntry{{
					Id: aws.String("1"), Message: in.Message, MessageGroupId: in.MessageGroupId, MessageDeduplicationId: in.MessageDeduplicationId,
				}}})
				if err != nil || len(out.Failed) > 0 {
					return fmt.Errorf("batch: %v, %w", out, err)
				}
			}
			return nil
		}
	}
	return []mutant{
		{unbroken, []string{whole, inOne, repeated, noOther, content, slot, ended, takenSize}, with(func(*sns.PublishInput) {})},
		{"an event is a message", []string{inOne}, batch(func(int) bool { return false })},
		{"a batch is taken in part", []string{inOne}, batch(func(i int) bool { return i == 2 })},
		{"deduplicated by content", []string{content, slot}, with(func(in *sns.PublishInput) {
			c, _ := decode(*in.Message)
			in.MessageDeduplicationId = aws.String(fmt.Sprintf("%x", sha256.Sum256([]byte(c.Events[0].Data))))
		})},
		{"deduplicated by stream and version", []string{slot}, with(func(in *sns.PublishInput) {
			c, _ := decode(*in.Message)
			in.MessageDeduplicationId = aws.String(fmt.Sprintf("%s@%d", groupOf(c.Stream), c.Version))
		})},
		{"one group for everything", []string{noOther}, with(func(in *sns.PublishInput) { in.MessageGroupId = aws.String("commits") })},
		{"no group", []string{repeated}, with(func(in *sns.PublishInput) { in.MessageGroupId = aws.String(rand.Text()) })},
		{"a context of its own", []string{ended}, func(ctx context.Context, p *Publisher, c es.Commit) error {
			err := ctx.Err()
			if err := p.Publish(context.WithoutCancel(ctx), c); err != nil {
				return err
			}
			return err
		}},
		{"metadata is lost", []string{whole}, func(ctx context.Context, p *Publisher, c es.Commit) error {
			c.Meta = nil
			return p.Publish(ctx, c)
		}},
	}
}

// brokenPublisher publishes in a way of its own.
type brokenPublisher struct {
	*Publisher
	publish func(context.Context, *Publisher, es.Commit) error
}

func (b brokenPublisher) Publish(ctx context.Context, c es.Commit) error {
	return b.publish(ctx, b.Publisher, c)
}

const mutantVariable = "LEFTFOLD_TEST_MUTANT" // the bug of the mutant that a process tests

// TestMutant is not a test of its own: it is what TestMutants runs in other processes,
// where the suite fails.
func TestMutant(t *testing.T) {
	bug := os.Getenv(mutantVariable)
	if bug == "" {
		return // run by TestMutants alone
	}
	all := mutants()
	i := slices.IndexFunc(all, func(m mutant) bool { return m.bug == bug })
	if i < 0 {
		t.Fatalf("there is no mutant %q", bug)
	}
	e := live(t)
	estest.TestPublisher(t, func(t *testing.T, deliver func(context.Context, es.Commit) error) es.Publisher {
		topic := e.newTopic(t)
		e.subscribe(t, e.newQueue(t, topic, raw), deliver)
		return brokenPublisher{New(e.sns, topic, &Options{Timeout: patient}), all[i].publish}
	})
}

// The suite, on the real engine, finds publishers with bugs that are as real, and nothing
// in the same rows without them.
func TestMutants(t *testing.T) {
	t.Parallel()
	live(t)
	var wg sync.WaitGroup
	for _, m := range mutants() {
		for _, killer := range m.killers {
			wg.Go(func() {
				if err := runMutant(t.Context(), m.bug, killer); err != nil {
					t.Errorf("%s, %q: %v", m.bug, killer, err)
				}
			})
		}
	}
	wg.Wait()
}

// runMutant runs a row with a mutant in a process of its own, and returns an error if it
// survives, or is not killed by that row.
func runMutant(ctx context.Context, bug, killer string) error {
	row := "TestMutant/" + strings.ReplaceAll(killer, " ", "_")
	patience := "5s" // what never comes would be waited for much longer
	if bug == unbroken {
		patience = "1m"
	}
	child := exec.CommandContext(ctx, os.Args[0], "-test.v", "-test.timeout="+patience, "-test.run=^"+strings.ReplaceAll(row, "/", "$/^")+"$")
	child.Env = append(os.Environ(), mutantVariable+"="+bug)
	out, err := child.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		return err
	}
	says := func(what string) bool { return strings.Contains(string(out), what) }
	killed := says("--- FAIL: "+row) || says("=== RUN   "+row) && says("test timed out")
	switch {
	case bug == unbroken && !says("--- PASS: "+row):
		return fmt.Errorf("it fails: %w\n%s", err, out)
	case bug != unbroken && err == nil:
		return fmt.Errorf("it survives:\n%s", out)
	case bug != unbroken && !killed, says("DATA RACE"), says("InvalidParameter"):
		return fmt.Errorf("it dies of something else:\n%s", out)
	}
	return nil
}
