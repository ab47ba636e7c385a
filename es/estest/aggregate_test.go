package estest

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
)

type (
	cartEvent interface{ isCartEvent() }

	itemAdded   struct{ Item string }
	itemRemoved struct{ Item string }
	cartSeen    struct{}
	notes       struct{ Lines []string }
	photo       struct{ Pixels []byte }
)

func (itemAdded) isCartEvent()   {}
func (itemRemoved) isCartEvent() {}
func (cartSeen) isCartEvent()    {}
func (notes) isCartEvent()       {}
func (photo) isCartEvent()       {}

type cart struct {
	Items map[string]int
	Notes []string
	quiet bool
}

func foldCart(c cart, e cartEvent) cart {
	c.Items = maps.Clone(c.Items)
	if c.Items == nil {
		c.Items = make(map[string]int)
	}
	switch e := e.(type) {
	case itemAdded:
		c.Items[e.Item]++
	case itemRemoved:
		delete(c.Items, e.Item)
	case notes:
		c.Notes = slices.Clone(e.Lines)
	}
	return c
}

func cartCodec() es.Codec[cartEvent] {
	return es.JSON(map[string]cartEvent{
		"cart.added": itemAdded{}, "cart.removed": itemRemoved{}, "cart.seen": cartSeen{}, "cart.notes": notes{},
	})
}

func cartHistory() []cartEvent {
	return []cartEvent{itemAdded{"tea"}, itemAdded{"cake"}, cartSeen{}, notes{[]string{"b", "a"}}, itemRemoved{"tea"}}
}

func newCart() *es.Aggregate[cart, cartEvent] {
	return &es.Aggregate[cart, cartEvent]{Category: "cart", Fold: foldCart, Events: cartCodec(), Snapshots: es.Snapshots[cart]{
		Schema: "1",
		Encode: func(c cart) ([]byte, error) { return json.Marshal(&c) },
		Decode: func(data []byte) (c cart, err error) { return c, json.Unmarshal(data, &c) },
	}}
}

func TestAggregateOfCart(t *testing.T) {
	// The first event of any type makes the map, so even cart.seen changes the state.
	TestAggregate(t, newCart(), cartHistory())
	a := newCart()
	a.Snapshots = es.Snapshots[cart]{Schema: "1"}
	TestAggregate(t, a, cartHistory())
}

func TestCheckAggregate(t *testing.T) {
	type aggregate = es.Aggregate[cart, cartEvent]
	fold := func(f func(cart, cartEvent) cart) func(*aggregate) {
		return func(a *aggregate) { a.Fold = f }
	}
	tests := []struct {
		flaw    string
		change  func(*aggregate)
		history []cartEvent
		inert   []string
		want    string // part of the message
	}{
		{flaw: "there is no fold", change: fold(nil), want: "needs Fold"},
		{flaw: "a type is not in history", history: cartHistory()[:4], want: `event "cart.removed": it is a type of the codec and not in history`},
		{flaw: "an event is not in the codec", change: func(a *aggregate) {
			a.Events = es.JSON(map[string]cartEvent{"cart.added": itemAdded{}})
		}, want: "event 3 of history, estest.cartSeen: it cannot be encoded"},
		{flaw: "a name in inert is no type", inert: []string{"cart.sene"}, want: `event "cart.sene": it is named as inert and is not a type`},
		{flaw: "an inert type changes the state", inert: []string{"cart.added"}, want: `event "cart.added": it is named as inert and changes`},
		{flaw: "an event loses an empty slice", history: append(cartHistory(), notes{Lines: []string{}}), change: func(a *aggregate) {
			a.Events = droppingCodec{a.Events}
		}, want: `event "cart.notes": {Lines:[]} was encoded as`},
		{flaw: "an event cannot be decoded", change: func(a *aggregate) { a.Events = failingCodec{a.Events} }, want: "cannot be decoded"},
		{flaw: "an event cannot be decoded the second time", change: func(a *aggregate) {
			a.Events = &countingCodec{Codec: a.Events}
		}, want: "decoded again"},
		{flaw: "an event refers to the data that it was decoded from", history: []cartEvent{photo{[]byte("red")}}, change: func(a *aggregate) {
			a.Events = es.NewCodec(
				func(e any) ([]byte, error) { return e.(photo).Pixels, nil },
				func(data []byte, into any) error { into.(*photo).Pixels = data; return nil },
				map[string]cartEvent{"cart.photo": photo{}})
		}, want: `event "cart.photo": it came back as {Pixels:[114 101 100]}, and became`},
		{flaw: "the fold panics on the zero state", change: fold(func(c cart, e cartEvent) cart {
			if added, ok := e.(itemAdded); ok && added.Item == "cake" {
				c.Items["cake"]++
				return c
			}
			return foldCart(c, e)
		}), want: `event "cart.added": Fold panics`},
		{flaw: "the fold panics on a later state", change: fold(func(c cart, e cartEvent) cart {
			if _, ok := e.(itemAdded); ok && len(c.Notes) > 0 {
				panic("the cart is closed")
			}
			return foldCart(c, e)
		}), want: `event "cart.added": Fold panics with the cart is closed`},
		{flaw: "the fold knows the time", change: fold(func(c cart, e cartEvent) cart {
			c = foldCart(c, e)
			c.Items["now"] = int(time.Now().UnixNano())
			return c
		}), want: "Fold gives different states for the same history"},
		{flaw: "the fold changes its state", change: fold(func(c cart, e cartEvent) cart {
			if removed, ok := e.(itemRemoved); ok && c.Items != nil {
				delete(c.Items, removed.Item)
				return c
			}
			return foldCart(c, e)
		}), want: `event "cart.removed": Fold changed the state that it was given`},
		{flaw: "the fold changes the event", change: fold(func(c cart, e cartEvent) cart {
			if e, ok := e.(notes); ok {
				slices.Sort(e.Lines)
				c.Notes = e.Lines
				return c
			}
			return foldCart(c, e)
		}), want: `event "cart.notes": Fold changed the event`},
		{flaw: "a type is left out of the fold", change: fold(func(c cart, e cartEvent) cart {
			if _, ok := e.(itemRemoved); ok {
				return c
			}
			return foldCart(c, e)
		}), want: `event "cart.removed": it changes the state nowhere`},
		{flaw: "the snapshot loses a field", change: fold(func(c cart, e cartEvent) cart {
			c = foldCart(c, e)
			c.quiet = true
			return c
		}), want: `snapshot "1": the state after 1 events`},
		{flaw: "the snapshot cannot be encoded", change: func(a *aggregate) {
			a.Snapshots.Encode = func(cart) ([]byte, error) { return nil, errElse }
		}, want: "cannot be encoded: something else"},
		{flaw: "the snapshot cannot be decoded", change: func(a *aggregate) {
			a.Snapshots.Decode = func([]byte) (cart, error) { return cart{}, errElse }
		}, want: "cannot be decoded: something else"},
		{flaw: "the snapshot cannot be decoded at all", change: func(a *aggregate) { a.Snapshots.Decode = nil }, want: "needs both"},
	}
	for _, test := range tests {
		t.Run(test.flaw, func(t *testing.T) {
			a, history := newCart(), cartHistory()
			if test.change != nil {
				test.change(a)
			}
			if test.history != nil {
				history = test.history
			}
			err := errors.Join(checkAggregate(a, history, test.inert)...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the errors are %v, and should contain %q", err, test.want)
			}
		})
	}
	if errs := checkAggregate[cart, cartEvent](nil, nil, nil); len(errs) != 1 {
		t.Error(errs)
	}
}

// Types that are meant to change nothing are named.
func TestInert(t *testing.T) {
	a := newCart()
	a.Fold = func(c cart, e cartEvent) cart {
		if _, ok := e.(cartSeen); ok {
			return c
		}
		return foldCart(c, e)
	}
	TestAggregate(t, a, cartHistory(), "cart.seen")
	if errs := checkAggregate(a, cartHistory(), nil); len(errs) != 1 {
		t.Errorf("an event that is left out of the fold: %v", errs)
	}
}

// droppingCodec loses empty slices.
type droppingCodec struct{ es.Codec[cartEvent] }

func (c droppingCodec) Decode(dst []cartEvent, e es.Event) ([]cartEvent, error) {
	n := len(dst)
	dst, err := c.Codec.Decode(dst, e)
	if e, ok := dst[n].(notes); ok && len(e.Lines) == 0 {
		dst[n] = notes{}
	}
	return dst, err
}

type failingCodec struct{ es.Codec[cartEvent] }

func (failingCodec) Decode(dst []cartEvent, _ es.Event) ([]cartEvent, error) { return dst, errElse }

// countingCodec decodes each event of history once, and then none.
type countingCodec struct {
	es.Codec[cartEvent]
	n int
}

func (c *countingCodec) Decode(dst []cartEvent, e es.Event) ([]cartEvent, error) {
	if strings.TrimSpace(e.Data) == "" {
		return dst, errElse
	}
	if c.n++; c.n > len(cartHistory()) {
		return dst, errElse
	}
	return c.Codec.Decode(dst, e)
}
