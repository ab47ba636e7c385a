package dynamostore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/leftfold/leftfold/es"
)

// org is an aggregate whose events say all of it, in 200 bytes of JSON.
type org struct {
	Name        string `json:"name"`
	Location    string `json:"location"`
	Description string `json:"description"`
}

func orgs() *es.Aggregate[org, org] {
	return &es.Aggregate[org, org]{
		Category: "org", Fold: func(_, e org) org { return e }, Events: es.JSON(map[string]org{"org.updated": {}}),
	}
}

func orgJSON(i int) string {
	o := org{Name: fmt.Sprintf("Acme %02d", i%64), Location: "12 Analytical Engine Street, London"}
	short, _ := json.Marshal(o)
	o.Description = strings.Repeat("It makes everything, from anvils to tunnels. ", 9)[:200-len(short)]
	data, _ := json.Marshal(o)
	return string(data)
}

// orgCommits returns a stream of n events, so many in each commit.
func orgCommits(n, each int) (commits []es.Commit) {
	for i := 0; i < n; i += each {
		c := es.Commit{
			Stream: es.StreamID{Category: "org", ID: "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"}, Version: uint64(i + 1),
			ID: fmt.Sprintf("4X2XQ6ZJ3M5K7N8P9RSTUV%04d", i), Time: moment.Add(time.Duration(i) * time.Second), Status: es.Settled,
		}
		for k := range each {
			c.Events = append(c.Events, es.Event{Type: "org.updated", Data: orgJSON(i + k)})
		}
		commits = append(commits, c)
	}
	return commits
}

// snapshotCommit returns the newest commit of a stream that has its state in it.
func snapshotCommit() []es.Commit {
	c := orgCommits(1, 1)[0]
	c.Version, c.State = 1000, &es.Snapshot{Schema: "org/1", Data: orgJSON(0)}
	return []es.Commit{c}
}

// tape keeps the items that were put, as they were on the wire, and answers every
// query with all of them, of their attributes those that the first query asks for: so
// what is measured is the client alone, on the bytes that it wrote itself.
type tape struct {
	items  []map[string]json.RawMessage
	answer []byte
}

func (t *tape) Do(r *http.Request) (*http.Response, error) {
	answer := []byte("{}")
	switch _, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); {
	case op == "Query" && t.answer != nil:
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		answer = t.answer
	default:
		var in struct {
			Item                 map[string]json.RawMessage
			ProjectionExpression string
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return nil, err
		}
		if op == "PutItem" {
			t.items = append(t.items, in.Item)
			break
		}
		t.answer = page(t.items, strings.FieldsFunc(in.ProjectionExpression, func(r rune) bool { return r == ',' || r == ' ' }))
		answer = t.answer
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
		Body: io.NopCloser(bytes.NewReader(answer)), ContentLength: int64(len(answer)), Request: r,
	}, nil
}

// page returns what DynamoDB answers to a query, with some attributes, or all of them if
// none is named.
func page(items []map[string]json.RawMessage, names []string) []byte {
	b := fmt.Appendf(nil, `{"Count":%d,"Items":[`, len(items))
	for i, it := range items {
		if i > 0 {
			b = append(b, ',')
		}
		open := '{'
		for _, name := range slices.Sorted(maps.Keys(it)) {
			if len(names) == 0 || slices.Contains(names, name) {
				b = fmt.Appendf(b, `%c%q:%s`, open, name, it[name])
				open = ','
			}
		}
		b = append(b, '}')
	}
	return fmt.Appendf(b, `],"ScannedCount":%d}`, len(items))
}

// spy keeps the last query.
type spy struct {
	*dynamodb.Client
	query *dynamodb.QueryInput
}

func (s *spy) Query(ctx context.Context, in *dynamodb.QueryInput, o ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	copied := *in
	s.query = &copied
	return s.Client.Query(ctx, in, o...)
}

// loads is a stream on a tape, and the ways to load it.
type loads struct {
	data  [][]byte // of all events
	tape  *tape
	sdk   func() (*dynamodb.QueryOutput, error) // the same query by the SDK alone
	store func() error                          // by the store
	es    func() error                          // by package es, every event decoded and folded
}

// loadsOf records a stream. Back is for one that is read from its end, by its snapshot.
func loadsOf(tb testing.TB, commits []es.Commit, back bool) *loads {
	l := &loads{tape: new(tape)}
	client := &spy{Client: newClient("http://127.0.0.1:1", func(o *dynamodb.Options) { o.HTTPClient = l.tape })}
	s := New(client, "events", nil)
	for _, c := range commits {
		if err := s.Append(tb.Context(), c); err != nil {
			tb.Fatal(err)
		}
		for _, e := range c.Events {
			l.data = append(l.data, []byte(e.Data))
		}
	}
	ctx, stream, a := context.Background(), commits[0].Stream, orgs()
	if back {
		a.Snapshots = es.Snapshots[org]{Schema: "org/1"}
	}
	l.store = func() error {
		n, sequence := 0, s.Load(ctx, stream, 0)
		if back {
			sequence = s.LoadBack(ctx, stream, 1)
		}
		for c, err := range sequence {
			if err != nil {
				return err
			}
			if n += len(c.Events); back {
				break
			}
		}
		if last := commits[len(commits)-1].Last(); uint64(n) != last && !back {
			return fmt.Errorf("%d events, not %d", n, last)
		}
		return nil
	}
	j := &es.Journal{Store: s}
	l.es = func() error {
		_, version, err := es.Load(ctx, j, a, stream.ID)
		if last := commits[len(commits)-1].Last(); err == nil && version != last {
			return fmt.Errorf("it is at version %d, not %d", version, last)
		}
		return err
	}
	if err := cmp.Or(l.store(), l.es()); err != nil {
		tb.Fatal(err)
	}
	query := client.query
	l.sdk = func() (*dynamodb.QueryOutput, error) { return client.Client.Query(ctx, query) }
	return l
}

func (l *loads) bare() error {
	_, err := l.sdk()
	return err
}

var streams = []struct {
	name    string
	commits []es.Commit
	back    bool
}{
	{"1000x1", orgCommits(1000, 1), false},
	{"100x10", orgCommits(1000, 10), false},
	{"snapshot", snapshotCommit(), true},
}

// json decodes the events alone, by encoding/json: it says how fast the machine is.
func (l *loads) json() error {
	for _, data := range l.data {
		if err := json.Unmarshal(data, new(org)); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkLoad is the processor's time to load 1 000 events from a store without a network,
// as commits of 1 and of 10 events, and to load a snapshot: by encoding/json alone, without a store; by the SDK alone, which
// leaves attributes in maps, by the store, which makes commits of them, and by package
// es, which decodes and folds events of 200 bytes of JSON.
func BenchmarkLoad(b *testing.B) {
	for _, stream := range streams {
		l := loadsOf(b, stream.commits, stream.back)
		for _, by := range []struct {
			name string
			load func() error
		}{{"json", l.json}, {"sdk", l.bare}, {"store", l.store}, {"es", l.es}} {
			b.Run("of="+stream.name+"/by="+by.name, func(b *testing.B) {
				measure(b, by.load)
				b.ReportMetric(float64(len(l.tape.answer)), "wire-B/op")
			})
		}
	}
}

// measure runs a benchmark by the time of the processor, the collector included, since
// others may use the machine as well.
func measure(b *testing.B, do func() error) {
	b.Helper()
	b.ReportAllocs()
	started := processor(b)
	for b.Loop() {
		if err := do(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processor(b)-started)/float64(b.N), "cpu-ns/op")
}

func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What a load costs beside the SDK's own part, in allocations, which do not depend on the
// machine; and what it reads, which a real engine charges for as TestUnitsAreWhatIsCharged shows.
func TestLoadOverhead(t *testing.T) {
	for i, most := range []struct {
		beside    float64 // allocations of the store for each of the SDK's
		commit    float64 // allocations for each commit, the SDK's part included
		wire      int     // bytes for each event, with what is around it
		readUnits int
	}{
		{1.01, 12, 345, 80},
		{1.05, 14, 230, 53},
		{1.10, 360, 610, 1},
	} {
		stream := streams[i]
		l := loadsOf(t, stream.commits, stream.back)
		allocations := func(load func() error) float64 {
			return testing.AllocsPerRun(20, func() {
				if err := load(); err != nil {
					t.Fatal(err)
				}
			})
		}
		sdk, store := allocations(l.bare), allocations(l.store)
		if store > most.beside*sdk {
			t.Errorf("%s: the store makes %.2f times the allocations of the SDK alone", stream.name, store/sdk)
		}
		if each := store / float64(len(stream.commits)); each > most.commit {
			t.Errorf("%s: %.1f allocations a commit", stream.name, each)
		}
		events, size := 0, 0
		for _, c := range stream.commits {
			events, size = events+len(c.Events), size+sizeOf(c, "")
		}
		if each := len(l.tape.answer) / events; each > most.wire {
			t.Errorf("%s: %d bytes on the wire for an event", stream.name, each)
		}
		if units := (size + 4095) / 4096; units > most.readUnits {
			t.Errorf("%s: %d read units", stream.name, units)
		}
		t.Logf("%s: %.0f allocations, %.0f by the SDK alone; %d bytes on the wire", stream.name, store, sdk, len(l.tape.answer))
	}
}
