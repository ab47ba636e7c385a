package es_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

// The smallest useful aggregate: events, fold, codec, one decision, execute, print.
func Example() {
	type Deposited struct{ Amount int }

	account := es.Aggregate[int, Deposited]{
		Category: "account",
		Fold:     func(balance int, e Deposited) int { return balance + e.Amount },
		Events:   es.JSON(map[string]Deposited{"account.deposited": {}}),
	}
	deposit := func(amount int) func(int) ([]Deposited, error) {
		return func(balance int) ([]Deposited, error) {
			if amount <= 0 {
				return nil, errors.New("a deposit must be positive")
			}
			return []Deposited{{amount}}, nil
		}
	}

	ctx := context.Background()
	journal := &es.Journal{Store: &memory.Store{}}
	result, err := es.Execute(ctx, journal, &account, "42", deposit(100))
	fmt.Println(result.Version, err)
	_, err = es.Execute(ctx, journal, &account, "42", deposit(-1))
	fmt.Println(err)
	balance, version, err := es.Load(ctx, journal, &account, "42")
	fmt.Println(balance, version, err)
	// Output:
	// 1 <nil>
	// a deposit must be positive
	// 100 1 <nil>
}
