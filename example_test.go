package leftfold_test

import (
	"context"
	"fmt"
	"log"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

type Deposited struct{ Amount int }

var account = es.Aggregate[int, Deposited]{
	Category: "account",
	Fold:     func(balance int, e Deposited) int { return balance + e.Amount },
	Events:   es.JSON(map[string]Deposited{"account.deposited": {}}),
}

// The smallest aggregate, a command, and the state after it.
func Example() {
	ctx := context.Background()
	j := &es.Journal{Store: &memory.Store{}}
	_, err := es.Execute(ctx, j, &account, "42", func(balance int) ([]Deposited, error) {
		return []Deposited{{Amount: 100}}, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	balance, version, err := es.Load(ctx, j, &account, "42")
	fmt.Println(balance, version, err)
	// Output: 100 1 <nil>
}
