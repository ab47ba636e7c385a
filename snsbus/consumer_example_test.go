package snsbus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-lambda-go/events"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/snsbus"
)

// sqsMessage is a message as Lambda hands it over.
func sqsMessage(id, group, body string) events.SQSMessage {
	return events.SQSMessage{MessageId: id, Body: body, EventSource: "aws:sqs", Attributes: map[string]string{"MessageGroupId": group}}
}

// A Lambda function is lambda.Start(consumer.HandleSQS). What it could not handle comes
// again, with all that is behind it in its group.
func ExampleConsumer() {
	var views memory.Views[int]
	balances := es.Projection[int, deposited]{
		Category: account.Category, Fold: account.Fold, Events: account.Events, Views: &views, Store: new(memory.Store),
	}
	consumer := &snsbus.Consumer{Handle: balances.Handle}

	const first = `{"stream":{"category":"account","id":"42"},"version":1,"id":"c1","time":"2026-01-31T12:00:00Z","events":[{"type":"account.deposited","data":{"Amount":100}}]}`
	const second = `{"stream":{"category":"account","id":"42"},"version":2,"id":"c2","time":"2026-01-31T12:00:01Z","events":[{"type":"account.deposited","data":{"Amount":20}}]}`
	const other = `{"stream":{"category":"account","id":"43"},"version":1,"id":"c3","time":"2026-01-31T12:00:02Z","events":[{"type":"account.deposited","data":{"Amount":5}}]}`
	response, err := consumer.HandleSQS(context.Background(), events.SQSEvent{Records: []events.SQSMessage{
		sqsMessage("m1", "account/42", first),
		sqsMessage("m2", "account/43", "no commit at all"),
		sqsMessage("m3", "account/42", second),
		sqsMessage("m4", "account/43", other),
	}})
	answer, _ := json.Marshal(response)
	fmt.Println(string(answer), err)
	for _, id := range []string{"42", "43"} {
		view, _ := views.Get(context.Background(), es.StreamID{Category: "account", ID: id})
		fmt.Println(id, view.Version, view.Value)
	}
	// Output:
	// {"batchItemFailures":[{"itemIdentifier":"m2"},{"itemIdentifier":"m4"}]} <nil>
	// 42 2 120
	// 43 0 0
}

// One function may feed several handlers: if one of them fails, the message comes again to
// all, which does the others no harm.
func ExampleConsumer_severalHandlers() {
	balances := func(context.Context, es.Commit) error { return nil }
	letters := func(context.Context, es.Commit) error { return errors.New("the printer is warming up") }
	consumer := &snsbus.Consumer{Handle: func(ctx context.Context, c es.Commit) error {
		return errors.Join(balances(ctx, c), letters(ctx, c))
	}}
	response, err := consumer.HandleSQS(context.Background(), events.SQSEvent{Records: []events.SQSMessage{
		sqsMessage("m1", "account/42", `{"stream":{"category":"account","id":"42"},"version":1,"id":"c1","time":"2026-01-31T12:00:00Z","events":[{"type":"account.closed"}]}`),
	}})
	fmt.Println(response.BatchItemFailures, err)
	// Output: [{m1}] <nil>
}
