package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

// meter notes what the engine charges.
type meter struct {
	*dynamodb.Client
	mu       sync.Mutex
	requests []string
	table    float64
	index    float64
}

func (m *meter) charge(op string, c *types.ConsumedCapacity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests = append(m.requests, op)
	if c == nil {
		return
	}
	m.table += *c.Table.CapacityUnits
	for _, i := range c.GlobalSecondaryIndexes {
		m.index += *i.CapacityUnits
	}
}

// take returns what was charged since the last call.
func (m *meter) take() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := fmt.Sprintf("%s: %g", strings.Join(m.requests, " "), m.table)
	if m.index > 0 {
		s += fmt.Sprintf(" + %g", m.index)
	}
	m.requests, m.table, m.index = nil, 0, 0
	return s
}

func (m *meter) GetItem(ctx context.Context, in *dynamodb.GetItemInput, o ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	in.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
	out, err := m.Client.GetItem(ctx, in, o...)
	if err == nil {
		m.charge("GetItem", out.ConsumedCapacity)
	}
	return out, err
}

func (m *meter) PutItem(ctx context.Context, in *dynamodb.PutItemInput, o ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	in.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
	out, err := m.Client.PutItem(ctx, in, o...)
	if err == nil {
		m.charge("PutItem", out.ConsumedCapacity)
	}
	return out, err
}

func (m *meter) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, o ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	in.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
	out, err := m.Client.UpdateItem(ctx, in, o...)
	if err == nil {
		m.charge("UpdateItem", out.ConsumedCapacity)
	}
	return out, err
}

func (m *meter) Query(ctx context.Context, in *dynamodb.QueryInput, o ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	in.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
	out, err := m.Client.Query(ctx, in, o...)
	if err == nil {
		m.charge("Query", out.ConsumedCapacity)
	}
	return out, err
}

func (m *meter) Scan(ctx context.Context, in *dynamodb.ScanInput, o ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error) {
	in.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
	out, err := m.Client.Scan(ctx, in, o...)
	if err == nil {
		m.charge("Scan", out.ConsumedCapacity)
	}
	return out, err
}

func newMeter(t *testing.T) *meter { return &meter{Client: live(t)} }

// sized returns the commit with as much data as makes its item so large.
func sized(t *testing.T, c es.Commit, size int) es.Commit {
	t.Helper()
	c.Events = append([]es.Event(nil), c.Events...)
	data := c.Events[0].Data
	// More data has a longer length in front of it.
	for n := size - sizeOf(c, ""); n > 0; n-- {
		c.Events[0].Data = data + strings.Repeat("x", n)
		if sizeOf(c, "") == size {
			return c
		}
	}
	t.Fatalf("no data makes a commit of %d bytes one of %d", sizeOf(c, ""), size)
	return c
}

// Each unit is filled to its last byte, and exceeded by one: so a size that is wrong by
// one byte is found.
func TestUnitsAreWhatIsCharged(t *testing.T) {
	t.Parallel()
	m := newMeter(t)
	s := New(m, newTable(t, m.Client), &Options{Timeout: patient})
	for name, c := range shapes() {
		c.Status = es.Settled
		for _, size := range []int{2 << 10, 2<<10 + 1, 3 << 10, 7<<10 + 1} {
			c := sized(t, c, size)
			c.Stream.ID = fmt.Sprintf("%s %d", name, size)
			c = sized(t, shrunk(c), size)
			free(t, s, c)
			m.take()
			if err := s.Append(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if got, want := m.take(), fmt.Sprintf("PutItem: %d", s.Units(c)); got != want {
				t.Errorf("%s of %d bytes: charged was %s, not %s", name, size, got, want)
			}
			for got, err := range s.LoadBack(t.Context(), c.Stream, 1) {
				if err != nil || !reflect.DeepEqual(got, c) {
					t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, got, c)
				}
				break
			}
		}
	}
}

// free puts the marker that the commit replaces, if it replaces one.
func free(t *testing.T, s *Store, c es.Commit) {
	t.Helper()
	if c.Replaces == "" {
		return
	}
	c.ID, c.Replaces, c.Status = c.Replaces, "", es.Pending
	if err := errors.Join(s.Append(t.Context(), c), s.Revoke(t.Context(), c)); err != nil {
		t.Fatal(err)
	}
}

// shrunk returns the commit without data that was added to make it large.
func shrunk(c es.Commit) es.Commit {
	c.Events = append([]es.Event(nil), c.Events...)
	c.Events[0].Data = strings.TrimRight(c.Events[0].Data, "x")
	return c
}

// 400 KB are taken, and no byte more, by the engine as by the store.
func TestLargestItem(t *testing.T) {
	t.Parallel()
	client := live(t)
	s := New(client, newTable(t, client), &Options{Timeout: patient})
	fits := sized(t, full(es.StreamID{Category: "c", ID: "fits"}, 1), maxItem-len("p0"))
	above := sized(t, full(es.StreamID{Category: "c", ID: "more"}, 1), maxItem-len("p0")+1)
	free(t, s, shrunk(fits))
	if err := s.Append(t.Context(), fits); err != nil || s.Units(fits) != 400 {
		t.Errorf("%d units, %v", s.Units(fits), err)
	}
	// It can be settled: its size stays what it was.
	for _, write := range []func(context.Context, es.Commit) error{s.Claim, s.Settle} {
		if err := write(t.Context(), fits); err != nil {
			t.Error(err)
		}
	}
	if err := s.Append(t.Context(), above); !errors.Is(err, ErrTooLarge) || !errors.Is(err, es.ErrRefused) || s.Units(above) != 0 {
		t.Errorf("%d units, %v", s.Units(above), err)
	}
	_, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &s.table, Item: encode(above, "0")})
	if err == nil {
		t.Error("the engine takes what the store refuses")
	}
}

// What the package's documentation says of costs.
func TestCost(t *testing.T) {
	t.Parallel()
	m := newMeter(t)
	ctx := t.Context()
	s := New(m, newTable(t, m.Client), &Options{Timeout: patient})
	bare := New(m, newTable(t, m.Client), &Options{Timeout: patient, NoIndex: true})
	views := NewViews[string](m, newViewTable(t, m.Client), "names", &ViewOptions{Timeout: patient})
	eventual := NewViews[string](m, views.table, "names", &ViewOptions{Timeout: patient, Eventual: true})

	step := func(what string, err error, want string) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := m.take(); got != want {
			t.Errorf("%s: %s, not %s", what, got, want)
		}
	}
	read := func(commits func(func(es.Commit, error) bool), most int) (err error) {
		n := 0
		for _, err := range commits {
			if n++; err != nil || n == most {
				return err
			}
		}
		return nil
	}
	for _, kb := range []int{1, 3} {
		stream := es.StreamID{Category: "cost", ID: strconv.Itoa(kb)}
		commit := func(version uint64, id string) es.Commit {
			return sized(t, es.Commit{
				Stream: stream, Version: version, ID: id, Time: time.Unix(1e9, 0), Events: []es.Event{{Type: "e"}},
			}, kb<<10-len("p0"))
		}
		a, b, c := commit(1, "a"), commit(2, "b"), commit(2, "c")
		c.Replaces = b.ID
		c.Events[0].Data = c.Events[0].Data[len("r1:b"):]
		step("append", s.Append(ctx, a), fmt.Sprintf("PutItem: %d + 1", kb))
		step("claim", s.Claim(ctx, a), fmt.Sprintf("UpdateItem: %d", kb))
		step("settle", s.Settle(ctx, a), fmt.Sprintf("UpdateItem: %d + 1", kb))
		step("append", s.Append(ctx, b), fmt.Sprintf("PutItem: %d + 1", kb))
		step("revoke", s.Revoke(ctx, b), fmt.Sprintf("PutItem: %d + 1", kb))
		step("append to a marker's slot", s.Append(ctx, c), fmt.Sprintf("PutItem: %d + 1", kb))
		// AWS charges half a unit for an empty shard, too.
		step("pending", read(s.Pending(ctx, time.Now()), -1), "Query Query Query Query Query Query Query Query GetItem: 1 + 0.5")
		step("settle", s.Settle(ctx, c), fmt.Sprintf("UpdateItem: %d + 1", kb))
		step("load", read(s.Load(ctx, stream, 0), -1), fmt.Sprintf("Query: %d", (2*kb+3)/4))
		step("load back", read(s.LoadBack(ctx, stream, 1), 1), "Query: 1")
		step("load back, all of it", read(s.LoadBack(ctx, stream, 2), -1), fmt.Sprintf("Query Query: %d", (2*kb+3)/4))

		step("append without index", bare.Append(ctx, a), fmt.Sprintf("PutItem: %d", kb))
		step("settle without index", bare.Settle(ctx, a), fmt.Sprintf("UpdateItem: %d", kb))
		step("streams", func() error {
			for _, err := range bare.Streams(ctx, 0, 1, es.StreamID{}) {
				return err
			}
			return nil
		}(), "Scan: 1")
		a.Status, a.Stream.ID = es.Settled, a.Stream.ID+"s"
		step("append as settled", s.Append(ctx, a), fmt.Sprintf("PutItem: %d", kb))

		step("put", views.Put(ctx, stream, es.View[string]{Version: 1, Value: strings.Repeat("x", kb<<10-100)}, 0), fmt.Sprintf("PutItem: %d", kb))
		_, err := views.Get(ctx, stream)
		step("get", err, "GetItem: 1")
		_, err = eventual.Get(ctx, stream)
		step("get, eventually consistent", err, "GetItem: 0.5")
	}
}

// A command on a stream of 10 commits costs what it costs on one of 300.
func TestCommandCost(t *testing.T) {
	t.Parallel()
	m := newMeter(t)
	ctx := t.Context()
	s := New(m, newTable(t, m.Client), &Options{Timeout: patient})
	journal := &es.Journal{Store: s, Publisher: new(memory.Bus), Timeout: patient}
	count := es.Aggregate[int, int]{
		Category: "count", Events: es.JSON(map[string]int{"counted": 0}),
		Fold: func(sum, n int) int { return sum + n }, Snapshots: es.Snapshots[int]{Schema: "1"},
	}
	costs := make(map[string]int)
	for n := range 300 {
		m.take()
		if _, err := es.Execute(ctx, journal, &count, "1", func(int) ([]int, error) { return []int{1}, nil }); err != nil {
			t.Fatal(err)
		}
		if cost := m.take(); n >= 10 {
			costs[cost]++
		}
	}
	if len(costs) != 1 || costs["Query PutItem UpdateItem: 3 + 2"] != 290 {
		t.Errorf("commands cost %v", costs)
	}
}

// A stream of more than a page, and of more commits than one query asks for.
func TestLongStream(t *testing.T) {
	t.Parallel()
	m := newMeter(t)
	ctx := t.Context()
	s := New(m, newTable(t, m.Client), &Options{Timeout: patient})
	stream := es.StreamID{Category: "long", ID: "1"}
	const commits = 1100
	var wg sync.WaitGroup
	for part := range 8 {
		wg.Go(func() {
			for v := part + 1; v <= commits; v += 8 {
				c := es.Commit{Stream: stream, Version: uint64(v), ID: "c", Status: es.Settled, Events: []es.Event{{Type: "e", Data: strings.Repeat("\x00", 1500)}}}
				if err := s.Append(ctx, c); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, read := range []struct {
		name     string
		commits  func(func(es.Commit, error) bool)
		first    uint64
		requests int
	}{
		{"load", s.Load(ctx, stream, 0), 1, 2},
		{"load back", s.LoadBack(ctx, stream, 5000), commits, 2},
	} {
		m.take()
		var n uint64
		for c, err := range read.commits {
			if err != nil {
				t.Fatal(err)
			}
			want := read.first + n
			if read.first > 1 {
				want = read.first - n
			}
			if c.Version != want {
				t.Fatalf("%s: version %d where %d should be", read.name, c.Version, want)
			}
			n++
		}
		if requests := strings.Count(m.take(), "Query"); n != commits || requests != read.requests {
			t.Errorf("%s: %d commits in %d requests", read.name, n, requests)
		}
	}
}
