package estest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
)

var errEmpty = errors.New("the cart is empty")

func remove(item string) func(cart) ([]cartEvent, error) {
	return func(c cart) ([]cartEvent, error) {
		switch {
		case len(c.Items) == 0:
			return nil, fmt.Errorf("remove %q: %w", item, errEmpty)
		case c.Items[item] == 0:
			return nil, nil
		}
		return []cartEvent{itemRemoved{item}}, nil
	}
}

func TestDecisionsOfCart(t *testing.T) {
	TestDecisions(t, newCart(), []Case[cart, cartEvent]{
		{Name: "nothing can be removed from an empty cart", When: remove("tea"), Err: errEmpty},
		{Name: "what is not there need not be removed", Given: []cartEvent{itemAdded{"tea"}}, When: remove("cake")},
		{Name: "what is there is removed", Given: []cartEvent{itemAdded{"tea"}, itemAdded{"cake"}}, When: remove("tea"), Then: []cartEvent{itemRemoved{"tea"}}},
	})
}

type strange struct{ At time.Time }

func (strange) isCartEvent() {}

func TestCheckDecision(t *testing.T) {
	gives := func(events []cartEvent, err error) func(cart) ([]cartEvent, error) {
		return func(cart) ([]cartEvent, error) { return events, err }
	}
	tea, cake := []cartEvent{itemAdded{"tea"}}, []cartEvent{itemAdded{"cake"}}
	tests := []struct {
		flaw string
		c    Case[cart, cartEvent]
		want string
	}{
		{"no decision", Case[cart, cartEvent]{}, "no decision"},
		{"an error where none should be", Case[cart, cartEvent]{When: gives(nil, errElse)}, "the decision fails: something else"},
		{"no error where one should be", Case[cart, cartEvent]{When: gives(tea, nil), Err: errEmpty}, `does not fail with "the cart is empty", but gives estest.itemAdded{Item:tea}`},
		{"another error", Case[cart, cartEvent]{When: gives(nil, errElse), Err: errEmpty}, `fails, and not with "the cart is empty": something else`},
		{"an error and events", Case[cart, cartEvent]{When: gives(tea, errEmpty), Err: errEmpty}, "gives estest.itemAdded{Item:tea} and fails besides"},
		{"an event too many", Case[cart, cartEvent]{When: gives(append(tea, cake...), nil), Then: tea}, "the decision gives estest.itemAdded{Item:tea}, estest.itemAdded{Item:cake}, not estest.itemAdded{Item:tea}"},
		{"an event too few", Case[cart, cartEvent]{When: gives(nil, nil), Then: tea}, "the decision gives no events, not"},
		{"other content", Case[cart, cartEvent]{When: gives(cake, nil), Then: tea}, "event 1 is estest.itemAdded{Item:cake}, not estest.itemAdded{Item:tea}"},
		{"another type", Case[cart, cartEvent]{When: gives([]cartEvent{itemRemoved{"tea"}}, nil), Then: tea}, "event 1 is estest.itemRemoved"},
		{"an event that is not in the codec", Case[cart, cartEvent]{When: gives([]cartEvent{strange{}}, nil), Then: []cartEvent{strange{}}}, "event 1, estest.strange: it cannot be encoded"},
		{"a given event that is not in the codec", Case[cart, cartEvent]{Given: []cartEvent{strange{}}, When: gives(nil, nil)}, "given event 1, estest.strange: it cannot be encoded"},
	}
	for _, test := range tests {
		t.Run(test.flaw, func(t *testing.T) {
			if err := test.c.check(newCart()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, and should contain %q", err, test.want)
			}
		})
	}
	undecodable := es.Aggregate[cart, cartEvent]{Fold: foldCart, Events: failingCodec{cartCodec()}}
	c := Case[cart, cartEvent]{Given: tea, When: gives(nil, nil)}
	if err := c.check(&undecodable); !errors.Is(err, errElse) {
		t.Errorf("a given event that cannot be decoded: %v", err)
	}
}
