package dynamostore

import (
	"context"
	"fmt"
	"os"
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

// charges is in capacity units.
type charges struct {
	requests           int
	failed             int // requests that failed on their way, and were sent again
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
		if err != nil {
			m.mu.Lock()
			m.failed++
			m.mu.Unlock()
			return out, metadata, err
		}
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

func filled(category string, state int) *es.Aggregate[filler, filler] {
	return &es.Aggregate[filler, filler]{
		Category:  category,
		Fold:      func(_ filler, _ filler) filler { return filler{strings.Repeat("s", state)} },
		Events:    es.JSON(map[string]filler{"sized": {}}),
		Snapshots: es.Snapshots[filler]{Schema: "sized/1"},
	}
}

func say(bytes int) func(filler) ([]filler, error) {
	return func(filler) ([]filler, error) { return []filler{{strings.Repeat("e", bytes)}}, nil }
}

// The capacity contract: what operations cost on a real engine. The README has the
// rows as they are measured here.
func TestCapacityContract(t *testing.T) {
	t.Parallel()
	ctx, engine := t.Context(), live(t)
	table := newTable(t, engine)
	var m bill
	client := newClient(*engine.Options().BaseEndpoint, func(o *dynamodb.Options) { o.APIOptions = append(o.APIOptions, m.measure) })
	store := healthy(client, table)
	j := &es.Journal{Store: store, Publisher: &ledger{}, Timeout: patient}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	// row measures what do costs, n times. Where a connection breaks, it is measured
	// again: that is not what the operation costs. Each try has streams of its own.
	row := func(what string, n float64, most charges, prepare, do func(id string)) {
		t.Helper()
		for try := range 5 {
			id := fmt.Sprint(what, " ", try)
			prepare(id)
			m.take()
			do(id)
			got := m.take()
			if got.failed > 0 {
				t.Logf("%s: %d requests failed on their way", what, got.failed)
				continue
			}
			requests, read, write, index := float64(got.requests)/n, got.read/n, got.write/n, got.index/n
			line := fmt.Sprintf("| %s | %g | %g | %g | %g |", what, requests, read, write, index)
			t.Log(line)
			if requests > float64(most.requests) || read > most.read || write > most.write || index > most.index {
				t.Errorf("%s: %v, at most %v are allowed", what, got, most)
			}
			if !strings.Contains(string(readme), line) {
				t.Errorf("README.md lacks the line\n%s", line)
			}
			return
		}
		t.Errorf("%s: a request failed in each try", what)
	}
	run := func(a *es.Aggregate[filler, filler], id string, n int) {
		t.Helper()
		for range n {
			if _, err := es.Execute(ctx, j, a, id, say(350)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// long makes a stream of 100 000 events. The next command has to fold them, and
	// leaves a snapshot.
	long := func(a *es.Aggregate[filler, filler], id string) {
		t.Helper()
		for n := range 100 {
			c := es.Commit{Stream: es.StreamID{Category: a.Category, ID: id}, Version: uint64(n*1000 + 1), ID: fmt.Sprint(id, n), Status: es.Settled}
			for range 1000 {
				c.Events = append(c.Events, es.Event{Type: "sized", Data: `{}`})
			}
			if err := store.Append(ctx, c); err != nil {
				t.Fatal(err)
			}
		}
		run(a, id, 1)
	}

	small, large := filled("small", 300), filled("large", 2000)
	run(large, "0", 10) // from here on the journal knows how much it has to read
	nothing := func(string) {}

	command := charges{requests: 3, read: 1, write: 2, index: 2}
	one := func(id string) { run(small, id, 1) }
	row("command, the first of its stream", 1, command, nothing, one)
	row("command with IfVersion(0), the first of its stream", 1, charges{requests: 2, write: 2, index: 2}, nothing, func(id string) {
		if _, err := es.Execute(ctx, j, small, id, say(350), es.IfVersion(0)); err != nil {
			t.Fatal(err)
		}
	})
	row("command on 10 events", 1, command, func(id string) { run(small, id, 10) }, one)
	row("command on 100 000 events", 1, command, func(id string) { long(small, id) }, one)
	average := charges{requests: 3, read: 2, write: 2.5, index: 2}
	many := func(id string) { run(large, id, 80) }
	row("command with a state of 2 KB, on 10 events, on average", 80, average, func(id string) { run(large, id, 10) }, many)
	row("command with a state of 2 KB, on 100 000 events, on average", 80, average, func(id string) { long(large, id); run(large, id, 10) }, many)
	row("load on 100 000 events", 1, charges{requests: 1, read: 1}, func(id string) { long(small, id) }, func(id string) {
		if _, _, err := es.Load(ctx, j, small, id); err != nil {
			t.Fatal(err)
		}
	})

	single := func(id string) es.Commit {
		return es.Commit{Stream: es.StreamID{Category: "small", ID: id}, Version: 1, ID: "one", Events: []es.Event{{Type: "sized"}}}
	}
	write := func(op func(context.Context, es.Commit) error) func(string) {
		return func(id string) {
			if err := op(ctx, single(id)); err != nil {
				t.Fatal(err)
			}
		}
	}
	row("append", 1, charges{requests: 1, write: 1, index: 1}, nothing, write(store.Append))
	row("claim", 1, charges{requests: 1, write: 1}, write(store.Append), write(store.Claim))
	row("settle", 1, charges{requests: 1, write: 1, index: 1}, write(store.Append), write(store.Settle))
	row("revoke", 1, charges{requests: 1, write: 1, index: 1}, write(store.Append), write(store.Revoke))

	views := NewViews[filler](client, newViewTable(t, engine), "sized", &ViewOptions{Timeout: patient})
	p := es.Projection[filler, filler]{Category: small.Category, Fold: small.Fold, Events: small.Events, Views: views, Store: store}
	handle := func(version uint64) func(string) {
		return func(id string) {
			c := single(id)
			c.Version, c.Events[0].Data = version, `{}`
			if err := p.Handle(ctx, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	row("view update", 1, charges{requests: 2, read: 1, write: 1}, handle(1), handle(2))
	row("view poll", 1, charges{requests: 1, read: 1}, handle(1), func(id string) {
		if _, err := views.Get(ctx, es.StreamID{Category: "small", ID: id}); err != nil {
			t.Fatal(err)
		}
	})
}
