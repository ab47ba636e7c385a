package dynamostore

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/leftfold/leftfold/es"
)

// bill counts what the engine charges for the requests of a client.
type bill struct {
	mu sync.Mutex
	charges
}

// charges is in capacity units; a request that is retried counts each time.
type charges struct {
	requests           int
	read, write, index float64
}

func (c charges) String() string {
	return fmt.Sprintf("%d requests, %g read, %g write, %g index", c.requests, c.read, c.write, c.index)
}

// take returns what was counted since the last call.
func (m *bill) take() charges {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.charges
	m.charges = charges{}
	return c
}

func (m *bill) add(c *types.ConsumedCapacity, write bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests++
	if c == nil {
		return
	}
	for _, index := range c.GlobalSecondaryIndexes {
		if write {
			m.index += *index.CapacityUnits
		} else {
			m.read += *index.CapacityUnits
		}
	}
	switch {
	case c.Table != nil && write:
		m.write += *c.Table.CapacityUnits
	case c.Table != nil:
		m.read += *c.Table.CapacityUnits
	}
}

// measure lets a client ask for what it is charged.
func (m *bill) measure(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("bill", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
		switch in := in.Parameters.(type) {
		case *dynamodb.PutItemInput:
			in.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
		case *dynamodb.UpdateItemInput:
			in.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
		case *dynamodb.GetItemInput:
			in.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
		case *dynamodb.QueryInput:
			in.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
		}
		out, metadata, err := next.HandleInitialize(ctx, in)
		switch out := out.Result.(type) {
		case *dynamodb.PutItemOutput:
			m.add(out.ConsumedCapacity, true)
		case *dynamodb.UpdateItemOutput:
			m.add(out.ConsumedCapacity, true)
		case *dynamodb.GetItemOutput:
			m.add(out.ConsumedCapacity, false)
		case *dynamodb.QueryOutput:
			m.add(out.ConsumedCapacity, false)
		}
		return out, metadata, err
	}), middleware.Before)
}

// filler is an aggregate with events and a state of a given size.
type filler struct{ Text string }

func filled(state int) *es.Aggregate[filler, filler] {
	return &es.Aggregate[filler, filler]{
		Category:  "sized",
		Fold:      func(_ filler, _ filler) filler { return filler{strings.Repeat("s", state)} },
		Events:    es.JSON(map[string]filler{"sized": {}}),
		Snapshots: es.Snapshots[filler]{Schema: "sized/1"},
	}
}

func say(bytes int) func(filler) ([]filler, error) {
	return func(filler) ([]filler, error) { return []filler{{strings.Repeat("e", bytes)}}, nil }
}

// The capacity contract: what each operation costs, on a real engine. The package
// doc and the README have the same table.
func TestCapacityContract(t *testing.T) {
	t.Parallel()
	ctx, engine := t.Context(), live(t)
	table := newTable(t, engine)
	var m bill
	client := newClient(*engine.Options().BaseEndpoint, func(o *dynamodb.Options) { o.APIOptions = append(o.APIOptions, m.measure) })
	store := New(client, table, &Options{Timeout: patient})
	broker := &ledger{}
	j := &es.Journal{Store: store, Publisher: broker, Timeout: patient}
	run := func(a *es.Aggregate[filler, filler], id string, bytes int) charges {
		t.Helper()
		m.take()
		if _, err := es.Execute(ctx, j, a, id, say(bytes)); err != nil {
			t.Fatal(err)
		}
		return m.take()
	}
	demand := func(what string, got, most charges) {
		t.Helper()
		t.Logf("%-50s %v", what, got)
		if got.requests > most.requests || got.read > most.read || got.write > most.write || got.index > most.index {
			t.Errorf("%s: %v, at most %v are allowed", what, got, most)
		}
	}
	long := func(a *es.Aggregate[filler, filler], id string) {
		t.Helper()
		for n := range 100 {
			c := es.Commit{Stream: es.StreamID{Category: a.Category, ID: id}, Version: uint64(n*1000 + 1), ID: fmt.Sprint(id, n), Status: es.Settled}
			for range 1000 {
				c.Events = append(c.Events, es.Event{Type: "sized", Data: []byte(`{}`)})
			}
			if err := store.Append(ctx, c); err != nil {
				t.Fatal(err)
			}
		}
		run(a, id, 1) // the first one has to fold, and leaves a snapshot
	}

	// Event and state under 1 KB together: the state is in every commit.
	small := filled(300)
	command := charges{requests: 3, read: 1, write: 2, index: 2}
	demand("command, small, first", run(small, "a", 200), command)
	for range 9 {
		run(small, "a", 200)
	}
	demand("command, small, on 10 events", run(small, "a", 200), command)
	long(small, "long")
	demand("command, small, on 100 000 events", run(small, "long", 200), command)

	// Events of 0.5 KB, a state of 2 KB: on average over the cycle of snapshots.
	large := filled(2000)
	for _, id := range []string{"b", "long too"} {
		if id == "long too" {
			long(large, id)
		}
		for range 10 {
			run(large, id, 350)
		}
		var sum charges
		for range 80 {
			c := run(large, id, 350)
			sum.requests += c.requests
			sum.read += c.read
			sum.write += c.write
			sum.index += c.index
		}
		t.Logf("80 commands, 0.5 KB events, 2 KB state, on %q: %v", id, sum)
		if sum.requests > 3*80 || sum.read/80 > 2 || sum.write/80 > 2.5 {
			t.Errorf("on average: %v", sum)
		}
	}
}
