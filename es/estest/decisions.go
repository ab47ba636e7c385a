package estest

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/leftfold/leftfold/es"
)

// Case says what a decision must come to: given these events in the stream, when
// this is decided, then these events follow, or this error.
type Case[S, E any] struct {
	Name  string
	Given []E                  // the history; nil: the stream does not exist yet
	When  func(S) ([]E, error) // the decision
	Then  []E                  // the events that must follow; nil: none
	Err   error                // what the decision's error must wrap; nil: no error
}

// TestDecisions checks decisions by a table, each case in a subtest:
//
//	estest.TestDecisions(t, &org.Aggregate, []estest.Case[org.State, org.Event]{
//		{Name: "a company is created once",
//			Given: []org.Event{org.Created{Name: "Acme"}},
//			When:  org.Create("Acme"),
//			Err:   org.ErrExists},
//		{Name: "a company moves",
//			Given: []org.Event{org.Created{Name: "Acme"}},
//			When:  org.Move("Bern"),
//			Then:  []org.Event{org.Moved{To: "Bern"}}},
//	})
//
// What is given goes through the codec, as if it had been stored, and what follows
// must be fit to be stored. Events are compared with reflect.DeepEqual.
func TestDecisions[S, E any](t *testing.T, a *es.Aggregate[S, E], cases []Case[S, E]) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Helper()
			if err := c.check(a); err != nil {
				t.Error(err)
			}
		})
	}
}

func (c *Case[S, E]) check(a *es.Aggregate[S, E]) error {
	if c.When == nil {
		return errors.New("the case has no decision in When")
	}
	var state S
	for i, e := range c.Given {
		stored, err := a.Events.Encode(e)
		if err != nil {
			return fmt.Errorf("given event %d, %T: it cannot be encoded: %w", i+1, e, err)
		}
		events, err := a.Events.Decode(nil, stored)
		if err != nil {
			return fmt.Errorf("given event %d, %q: it cannot be decoded: %w", i+1, stored.Type, err)
		}
		for _, e := range events {
			state = a.Fold(state, e)
		}
	}
	got, err := c.When(state)
	switch {
	case c.Err == nil && err != nil:
		return fmt.Errorf("the decision fails: %w", err)
	case c.Err != nil && err == nil:
		return fmt.Errorf("the decision does not fail with %q, but gives %s", c.Err.Error(), list(got))
	case !errors.Is(err, c.Err):
		return fmt.Errorf("the decision fails, and not with %q: %w", c.Err.Error(), err)
	case err != nil && len(got) > 0:
		return fmt.Errorf("the decision gives %s and fails besides: %w", list(got), err)
	}
	if len(got) != len(c.Then) {
		return fmt.Errorf("the decision gives %s, not %s", list(got), list(c.Then))
	}
	for i, e := range got {
		if !reflect.DeepEqual(e, c.Then[i]) {
			return fmt.Errorf("event %d is %T%+v, not %T%+v", i+1, e, e, c.Then[i], c.Then[i])
		}
		if _, err := roundTrip(a.Events, e); err != nil {
			return fmt.Errorf("event %d, %w", i+1, err)
		}
	}
	return nil
}

// list prints events with their types and fields.
func list[E any](events []E) string {
	if len(events) == 0 {
		return "no events"
	}
	s := ""
	for i, e := range events {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%T%+v", e, e)
	}
	return s
}
