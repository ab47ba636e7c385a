package dynamostore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/leftfold/leftfold/dynamostore"
	"github.com/leftfold/leftfold/es"
)

type deposited struct{ Amount int }

var account = es.Aggregate[int, deposited]{
	Category: "account",
	Fold:     func(balance int, e deposited) int { return balance + e.Amount },
	Events:   es.JSON(map[string]deposited{"account.deposited": {}}),
}

// In production cfg comes from the package config of the SDK.
func Example() {
	ctx := context.Background()
	var cfg aws.Config
	client := dynamodb.NewFromConfig(cfg)

	journal := &es.Journal{Store: dynamostore.New(client, "events", nil)}
	result, err := es.Execute(ctx, journal, &account, "42", func(int) ([]deposited, error) {
		return []deposited{{100}}, nil
	})
	fmt.Println(result.Version, err)
}

// A projection keeps its views beside those of others, under a name of its own.
func ExampleNewViews() {
	client := dynamodb.NewFromConfig(aws.Config{})
	balances := es.Projection[int, deposited]{
		Category: account.Category, Fold: account.Fold, Events: account.Events,
		Store: dynamostore.New(client, "events", nil),
		Views: dynamostore.NewViews[int](client, "views", "balances", nil),
	}
	_ = balances.Handle // the subscriber of a bus
}

// The cost of a commit is known before it is stored.
func ExampleStore_Units() {
	store := dynamostore.New(nil, "events", nil)
	c := es.Commit{
		Stream: es.StreamID{Category: "account", ID: "42"}, Version: 1, ID: "c1",
		Events: []es.Event{{Type: "account.deposited", Data: `{"Amount":100}`}},
	}
	fmt.Println(store.Units(c))
	c.State = &es.Snapshot{Schema: "1", Data: strings.Repeat("x", 800)}
	fmt.Println(store.Units(c)) // it fits beside the event, and is free
	c.State.Data = strings.Repeat("x", 2000)
	fmt.Println(store.Units(c))
	c.State.Data = strings.Repeat("x", 500_000)
	fmt.Println(store.Units(c)) // too large

	err := store.Append(context.Background(), c)
	fmt.Println(errors.Is(err, es.ErrRefused), errors.Is(err, dynamostore.ErrTooLarge))
	// Output:
	// 1
	// 1
	// 3
	// 0
	// true true
}
