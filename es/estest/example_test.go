package estest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/es/memory"
)

type deposited struct{ Amount int }

var account = es.Aggregate[int, deposited]{
	Category: "account",
	Fold:     func(balance int, e deposited) int { return balance + e.Amount },
	Events:   es.JSON(map[string]deposited{"account.deposited": {}}),
}

func deposit(amount int) func(int) ([]deposited, error) {
	return func(int) ([]deposited, error) {
		if amount <= 0 {
			return nil, errNotPositive
		}
		return []deposited{{amount}}, nil
	}
}

var errNotPositive = errors.New("a deposit must be positive")

// The answer to an append is lost. The journal sends the identical write again,
// which recognises itself: the deposit is made once.
func ExampleFaulty() {
	ctx := context.Background()
	store := new(memory.Store)
	faulty := estest.Faulty{Plan: estest.On(estest.Append, 1, estest.LoseAfter)}
	journal := &es.Journal{Store: faulty.Store(store)}

	result, err := es.Execute(ctx, journal, &account, "42", deposit(100))
	fmt.Println(result.Version, err)
	balance, _, err := es.Load(ctx, &es.Journal{Store: store}, &account, "42")
	fmt.Println(balance, err)
	for _, call := range faulty.Calls() {
		fmt.Println(call)
	}
	// Output:
	// 1 <nil>
	// 100 <nil>
	// #1 load account/42
	// #2 append account/42@1: answer lost
	// #3 append account/42@1
}

// A process dies between storing and publishing. The next one that meets the
// commit publishes it.
func ExampleFaulty_crash() {
	ctx := context.Background()
	store, bus := new(memory.Store), new(memory.Bus)
	bus.Subscribe("printer", func(_ context.Context, c es.Commit) error {
		fmt.Println("delivered:", c.Stream, c.Version)
		return nil
	})
	faulty := estest.Faulty{Plan: estest.On(estest.Publish, 1, estest.CrashBefore)}
	dying := &es.Journal{Store: faulty.Store(store), Publisher: faulty.Publisher(bus)}
	result, err := es.Execute(ctx, dying, &account, "42", deposit(100))
	fmt.Println(result.Status, err)

	other := &es.Journal{Store: store, Publisher: bus, Grace: -1}
	result, err = es.Execute(ctx, other, &account, "42", deposit(20))
	fmt.Println(result.Status, err)
	fmt.Println(bus.Close(ctx))
	// Unordered output:
	// pending <nil>
	// delivered: account/42 1
	// delivered: account/42 2
	// settled <nil>
	// <nil>
}

// A write is delayed on its way, and lands when its author has long given up.
func ExampleLate() {
	ctx := context.Background()
	store := new(memory.Store)
	faulty := estest.Faulty{Plan: estest.At(1, estest.Late(5))}
	c := es.Commit{
		Stream: es.StreamID{Category: "account", ID: "42"}, Version: 1, ID: "c1", Status: es.Settled,
		Events: []es.Event{{Type: "account.deposited", Data: `{"Amount":100}`}},
	}
	fmt.Println(faulty.Store(store).Append(ctx, c))
	_, version, _ := account.Replay(store.Load(ctx, c.Stream, 0))
	fmt.Println("version", version)

	fmt.Println(faulty.Land(ctx))
	_, version, _ = account.Replay(store.Load(ctx, c.Stream, 0))
	fmt.Println("version", version)
	// Output:
	// #1 append account/42@1: connection lost
	// version 0
	// <nil>
	// version 1
}

// Plans can be combined: here one call in five fails, and the tenth kills the process.
func ExamplePlans() {
	plan := estest.Plans(estest.At(10, estest.CrashAfter), estest.Seeded(7, 0.2))
	for n := range 10 {
		if fault := plan(estest.Call{N: n + 1}); fault != estest.None {
			fmt.Println(n+1, fault)
		}
	}
	// Output:
	// 6 answer lost
	// 7 late by 3
	// 10 crashed after
}

// In a test of the domain, the table goes to TestDecisions.
func ExampleCase() {
	cases := []estest.Case[int, deposited]{
		{
			Name: "a deposit is added",
			When: deposit(100),
			Then: []deposited{{100}},
		},
		{
			Name:  "a deposit is positive",
			Given: []deposited{{100}},
			When:  deposit(-1),
			Err:   errNotPositive,
		},
	}
	// estest.TestDecisions(t, &account, cases)
	for _, c := range cases {
		fmt.Println(c.Name)
	}
	// Output:
	// a deposit is added
	// a deposit is positive
}
