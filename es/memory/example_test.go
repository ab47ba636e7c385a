package memory_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

type deposited struct{ Amount int }

var account = es.Aggregate[int, deposited]{
	Category: "account",
	Fold:     func(balance int, e deposited) int { return balance + e.Amount },
	Events:   es.JSON(map[string]deposited{"account.deposited": {}}),
}

func deposit(amount int) func(int) ([]deposited, error) {
	return func(int) ([]deposited, error) { return []deposited{{amount}}, nil }
}

// A whole service: a command is stored, published and projected.
func Example() {
	ctx := context.Background()
	var (
		store memory.Store
		bus   memory.Bus
		views memory.Views[int]
	)
	balances := es.Projection[int, deposited]{
		Category: account.Category, Fold: account.Fold, Events: account.Events, Views: &views, Store: &store,
	}
	bus.Subscribe("balances", balances.Handle)
	journal := &es.Journal{Store: &store, Publisher: &bus}

	for _, amount := range []int{100, 20} {
		if _, err := es.Execute(ctx, journal, &account, "42", deposit(amount)); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(bus.Close(ctx)) // everything is delivered
	view, err := views.Get(ctx, es.StreamID{Category: "account", ID: "42"})
	fmt.Println(view.Version, view.Value, err)
	// Output:
	// <nil>
	// 2 120 <nil>
}

func ExampleStore() {
	ctx := context.Background()
	var store memory.Store
	c := es.Commit{
		Stream: es.StreamID{Category: "account", ID: "42"}, Version: 1, ID: "c1", Status: es.Settled,
		Events: []es.Event{{Type: "account.deposited", Data: `{"Amount":100}`}},
	}
	fmt.Println(store.Append(ctx, c))
	fmt.Println(store.Append(ctx, c)) // it recognises itself

	c.ID = "c2"
	fmt.Println(errors.Is(store.Append(ctx, c), es.ErrConflict))
	for c, err := range store.Load(ctx, c.Stream, 0) {
		fmt.Println(c.Version, c.ID, c.Events[0].Data, err)
	}
	// Output:
	// <nil>
	// <nil>
	// true
	// 1 c1 {"Amount":100} <nil>
}

// A subscriber that fails gets the message again, and the next one of the stream
// only when it has taken the first.
func ExampleBus() {
	ctx := context.Background()
	var bus memory.Bus
	attempts := 0
	bus.Subscribe("printer", func(_ context.Context, c es.Commit) error {
		if attempts++; attempts == 1 {
			fmt.Println("not now")
			return errors.New("the printer is warming up")
		}
		fmt.Println("printed", c.ID)
		return nil
	})
	for version, id := range []string{"c1", "c2"} {
		c := es.Commit{
			Stream: es.StreamID{Category: "account", ID: "42"}, Version: uint64(version + 1), ID: id,
			Events: []es.Event{{Type: "account.deposited"}},
		}
		if err := bus.Publish(ctx, c); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(bus.Close(ctx))
	// Output:
	// not now
	// printed c1
	// printed c2
	// <nil>
}

func ExampleViews() {
	ctx := context.Background()
	var views memory.Views[string]
	stream := es.StreamID{Category: "account", ID: "42"}

	fmt.Println(views.Put(ctx, stream, es.View[string]{Version: 1, Value: "100 CHF"}, 0))
	fmt.Println(views.Put(ctx, stream, es.View[string]{Version: 2, Value: "120 CHF"}, 1))
	fmt.Println(views.Put(ctx, stream, es.View[string]{Version: 2, Value: "late"}, 1))
	view, err := views.Get(ctx, stream)
	fmt.Println(view.Version, view.Value, err)
	// Output:
	// <nil>
	// <nil>
	// put view account/42: conflict: it is at version 2, not at 1
	// 2 120 CHF <nil>
}
