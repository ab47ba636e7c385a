package snsbus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/snsbus"
)

type deposited struct{ Amount int }

var account = es.Aggregate[int, deposited]{
	Category: "account",
	Fold:     func(balance int, e deposited) int { return balance + e.Amount },
	Events:   es.JSON(map[string]deposited{"account.deposited": {}}),
}

// In production cfg comes from the package config of the SDK, and the store is one in a
// database.
func Example() {
	ctx := context.Background()
	var cfg aws.Config
	client := sns.NewFromConfig(cfg)

	publisher := snsbus.New(client, "arn:aws:sns:eu-central-1:123456789012:commits.fifo", nil)
	journal := &es.Journal{Store: new(memory.Store), Publisher: publisher}
	result, err := es.Execute(ctx, journal, &account, "42", func(int) ([]deposited, error) {
		return []deposited{{100}}, nil
	})
	fmt.Println(result.Version, err)
}

// printer is a client that prints what it would send.
type printer struct{}

func (printer) Publish(_ context.Context, in *sns.PublishInput, _ ...func(*sns.Options)) (*sns.PublishOutput, error) {
	fmt.Println("group:", *in.MessageGroupId)
	fmt.Println("deduplication ID:", *in.MessageDeduplicationId)
	fmt.Println("types:", *in.MessageAttributes["types"].StringValue)
	fmt.Println(strings.ReplaceAll(*in.Message, `,"`, ",\n"+`"`))
	return &sns.PublishOutput{MessageId: aws.String("1")}, nil
}

// A message can be read without this library.
func ExamplePublisher_Publish() {
	publisher := snsbus.New(printer{}, "arn:aws:sns:eu-central-1:123456789012:commits.fifo", nil)
	err := publisher.Publish(context.Background(), es.Commit{
		Stream: es.StreamID{Category: "account", ID: "42"}, Version: 7, ID: "c1", Time: time.Unix(0, 0),
		Events: []es.Event{{Type: "account.deposited", Data: `{"Amount":100}`}},
	})
	fmt.Println(err)
	// Output:
	// group: account/42
	// deduplication ID: c1
	// types: ["account.deposited"]
	// {"stream":{"category":"account",
	// "id":"42"},
	// "version":7,
	// "id":"c1",
	// "time":"1970-01-01T00:00:00.000000000Z",
	// "events":[{"type":"account.deposited",
	// "data":{"Amount":100}}]}
	// <nil>
}

// What a topic would refuse for ever is found out before it is stored.
func ExamplePublisher_Check() {
	journal := &es.Journal{
		Store:     new(memory.Store),
		Publisher: snsbus.New(nil, "arn:aws:sns:eu-central-1:123456789012:commits.fifo", &snsbus.Options{MaxBytes: 1024}),
	}
	noted := es.Aggregate[int, string]{
		Category: "notes",
		Fold:     func(n int, _ string) int { return n + 1 },
		Events:   es.JSON(map[string]string{"noted": ""}),
	}
	_, err := es.Execute(context.Background(), journal, &noted, "1", func(int) ([]string, error) {
		return []string{strings.Repeat("long ", 1000)}, nil
	})
	fmt.Println(errors.Is(err, es.ErrRefused), errors.Is(err, snsbus.ErrTooLarge))
	// Output: true true
}
