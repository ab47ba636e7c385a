package dynamostore

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/leftfold/leftfold/es"
)

func TestViewsShareATable(t *testing.T) {
	client := live(t)
	table := newViewTable(t, client)
	stream := es.StreamID{Category: "org", ID: "1"}
	names := []string{"a", "b", "a b", "ä"}
	for i, name := range names {
		v := NewViews[int](client, table, name, &ViewOptions{Timeout: patient})
		if err := v.Put(t.Context(), stream, es.View[int]{Version: uint64(i + 1), Value: i}, 0); err != nil {
			t.Error(err)
		}
	}
	for i, name := range names {
		v := NewViews[int](client, table, name, &ViewOptions{Timeout: patient, Eventual: true})
		if got, err := v.Get(t.Context(), stream); err != nil || got.Value != i || got.Version != uint64(i+1) {
			t.Errorf("%s has %+v, %v", name, got, err)
		}
	}
}

// A view that is not wanted for ever says until when.
func TestViewsKeep(t *testing.T) {
	client := live(t)
	table := newViewTable(t, client)
	stream := es.StreamID{Category: "org", ID: "1"}
	for name, keep := range map[string]time.Duration{"for ever": 0, "a day": 24 * time.Hour} {
		v := NewViews[int](client, table, name, &ViewOptions{Timeout: patient, Keep: keep})
		before := time.Now()
		for n := range uint64(2) {
			if err := v.Put(t.Context(), stream, es.View[int]{Version: n + 1, Value: 7}, n); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := v.Get(t.Context(), stream); err != nil || got.Value != 7 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		out, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: item{"k": text(name + "/org/1")}})
		if err != nil {
			t.Fatal(err)
		}
		x, ok := out.Item["x"].(*types.AttributeValueMemberN)
		if ok != (keep > 0) {
			t.Errorf("%s: x is %v", name, out.Item["x"])
		}
		if !ok {
			continue
		}
		seconds, err := strconv.ParseInt(x.Value, 10, 64)
		if end := time.Unix(seconds, 0); err != nil || end.Before(before.Add(keep-time.Second)) || end.After(time.Now().Add(keep)) {
			t.Errorf("%s: until %v, %v", name, end, err)
		}
	}
}

func TestViewLimits(t *testing.T) {
	client := live(t)
	v := NewViews[string](client, newViewTable(t, client), "texts", &ViewOptions{Timeout: patient})
	stream := es.StreamID{Category: "org", ID: "1"}
	most := maxItem - len("k") - len("texts/org/1") - len("v") - 2 - len("d") - len(`""`) - len("w") - 8
	if err := v.Put(t.Context(), stream, es.View[string]{Version: 1, Value: strings.Repeat("x", most)}, 0); err != nil {
		t.Error(err)
	}
	err := v.Put(t.Context(), stream, es.View[string]{Version: 2, Value: strings.Repeat("x", most+1)}, 1)
	if !errors.Is(err, ErrTooLarge) || !errors.Is(err, es.ErrRefused) {
		t.Error(err)
	}
	if got, err := v.Get(t.Context(), stream); err != nil || len(got.Value) != most || got.Version != 1 {
		t.Errorf("%d bytes of version %d, %v", len(got.Value), got.Version, err)
	}
}

// What is wrong with a call is said without asking anybody.
func TestViewsInvalid(t *testing.T) {
	stream := es.StreamID{Category: "org", ID: "1"}
	one := es.View[float64]{Version: 1}
	for _, name := range []string{"", "a/b", "a\n", strings.Repeat("x", 65), "\xff"} {
		v := NewViews[float64](nil, "views", name, nil)
		if _, err := v.Get(t.Context(), stream); !errors.Is(err, es.ErrInvalid) {
			t.Errorf("get of %q: %v", name, err)
		}
		if err := v.Put(t.Context(), stream, one, 0); !errors.Is(err, es.ErrInvalid) {
			t.Errorf("put of %q: %v", name, err)
		}
	}
	v := NewViews[float64](nil, "views", "numbers", nil)
	if err := v.Put(t.Context(), es.StreamID{}, one, 0); !errors.Is(err, es.ErrInvalid) {
		t.Errorf("put of no stream: %v", err)
	}
	if err := v.Put(t.Context(), stream, es.View[float64]{Version: 1, Value: math.NaN()}, 0); !errors.Is(err, es.ErrRefused) {
		t.Errorf("put of what is no JSON: %v", err)
	}
}

func TestCreateTables(t *testing.T) {
	client := live(t)
	events, views := newTable(t, client), newViewTable(t, client)
	if err := CreateTables(t.Context(), client, events, views); err != nil {
		t.Errorf("again: %v", err)
	}
	for _, swapped := range [][2]string{{views, ""}, {"", events}} {
		if err := CreateTables(t.Context(), client, swapped[0], swapped[1]); !errors.Is(err, es.ErrInvalid) {
			t.Errorf("a table with other keys: %v", err)
		}
	}
	// Of several that start at once each creates them or waits.
	name := "events-of-several-" + events
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() { errs <- CreateTables(t.Context(), client, name, "") }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if _, err := client.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: &name}); err != nil {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := CreateTables(ended, client, events, views); !errors.Is(err, context.Canceled) {
		t.Errorf("in a context that has ended: %v", err)
	}
}

// Without the table every call says so.
func TestNoTable(t *testing.T) {
	client := live(t)
	s := New(client, "missing-"+"events", &Options{Timeout: patient})
	c := es.Commit{Stream: es.StreamID{Category: "org", ID: "1"}, Version: 1, ID: "a", Events: []es.Event{{Type: "e"}}}
	for name, write := range map[string]func(context.Context, es.Commit) error{"append": s.Append, "claim": s.Claim, "settle": s.Settle, "revoke": s.Revoke} {
		if err := write(t.Context(), c); !errors.Is(err, ErrNoTable) || !errors.Is(err, es.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, err := range s.Load(t.Context(), c.Stream, 0) {
		if !errors.Is(err, ErrNoTable) {
			t.Errorf("load: %v", err)
		}
	}
	v := NewViews[int](client, "missing-views", "numbers", nil)
	if _, err := v.Get(t.Context(), c.Stream); !errors.Is(err, ErrNoTable) {
		t.Errorf("get: %v", err)
	}
}
