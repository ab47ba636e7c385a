package dynamostore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/leftfold/leftfold/es"
)

// fault is what a proxy does to one request.
type fault string

const (
	lostBefore   fault = "request lost"           // the connection breaks, the engine sees nothing
	lostAfter    fault = "answer lost"            // the engine has done it, the connection breaks
	lateBy1      fault = "late by 1"              // the connection breaks, the engine does it before the next request
	lateForever  fault = "late"                   // ... when all is over
	serverError  fault = "500"                    // without effect
	serverAfter  fault = "500 after the effect"   // with effect
	throttled    fault = "throttled"              // certainly without effect
	transaction  fault = "transaction conflict"   // likewise
	brokenBody   fault = "broken body"            // with effect
	brokenBefore fault = "broken body, no effect" // without
	noBody       fault = "no body"                // 200 and nothing more, with effect
	noBodyBefore fault = "no body, no effect"     // without
)

var allFaults = []fault{lostBefore, lostAfter, lateBy1, lateForever, serverError, serverAfter, throttled, transaction, brokenBody, brokenBefore, noBody, noBodyBefore}

// proxy stands between the SDK and the engine. The plan says what happens to the
// n-th request, counted from 1.
type proxy struct {
	*httptest.Server
	engine string // its URL
	plan   func(n int) fault

	mu    sync.Mutex
	n     int
	calls []string
	late  []lateRequest
}

type lateRequest struct {
	before int // the request before which it arrives; 0: at the end
	send   func()
}

func newProxy(engine string, plan func(n int) fault) *proxy {
	p := &proxy{engine: engine, plan: plan}
	p.Server = httptest.NewServer(p)
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	p.mu.Lock()
	p.n++
	n, f := p.n, p.plan(p.n)
	line := fmt.Sprintf("#%d %s", n, op)
	if f != "" {
		line += ": " + string(f)
	}
	p.calls = append(p.calls, line)
	var due []func()
	rest := p.late[:0]
	for _, l := range p.late {
		if l.before != 0 && l.before <= n {
			due = append(due, l.send)
		} else {
			rest = append(rest, l)
		}
	}
	p.late = rest
	p.mu.Unlock()
	for _, send := range due {
		send()
	}
	forward := func() (*http.Response, error) {
		out, err := http.NewRequest(r.Method, p.engine+r.URL.Path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		out.Header = r.Header.Clone()
		out.Header.Del("Accept-Encoding")
		return http.DefaultClient.Do(out)
	}
	discard := func() {
		if res, err := forward(); err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}
	answer := func(status int, kind string) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":"by the proxy"}`, kind)
	}
	switch f {
	case lostBefore:
		panic(http.ErrAbortHandler)
	case lostAfter:
		discard()
		panic(http.ErrAbortHandler)
	case lateBy1, lateForever:
		before := n + 1
		if f == lateForever {
			before = 0
		}
		p.mu.Lock()
		p.late = append(p.late, lateRequest{before, discard})
		p.mu.Unlock()
		panic(http.ErrAbortHandler)
	case serverError:
		answer(500, "InternalServerError")
	case serverAfter:
		discard()
		answer(500, "InternalServerError")
	case throttled:
		answer(400, "ProvisionedThroughputExceededException")
	case transaction:
		answer(400, "TransactionConflictException")
	case noBody, noBodyBefore:
		if f == noBody {
			discard()
		}
		w.WriteHeader(http.StatusOK)
		if n%2 == 0 {
			w.(http.Flusher).Flush() // of a length that is not said
		}
	case brokenBody, brokenBefore:
		if f == brokenBody {
			discard()
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = io.WriteString(w, `{"Items":[{"s":`)
	default:
		res, err := forward()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer res.Body.Close()
		for k, v := range res.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}
}

// land lets what is still late arrive.
func (p *proxy) land() {
	p.mu.Lock()
	late := p.late
	p.late = nil
	p.mu.Unlock()
	for _, l := range late {
		l.send()
	}
}

// ledger is a publisher that remembers, and may refuse.
type ledger struct {
	refuse error

	mu        sync.Mutex
	published []es.Commit
}

func (l *ledger) Publish(ctx context.Context, c es.Commit) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return l.refuse
	}
	l.published = append(l.published, c)
	return ctx.Err()
}

type noted struct{ Text string }

var notes = es.Aggregate[int, noted]{
	Category:  "notes",
	Fold:      func(n int, _ noted) int { return n + 1 },
	Events:    es.JSON(map[string]noted{"noted": {}}),
	Snapshots: es.Snapshots[int]{Schema: "notes/1"},
}

func note(text string) func(int) ([]noted, error) {
	return func(int) ([]noted, error) { return []noted{{text}, {text}}, nil }
}

// Every request of every operation fails in every way: what the caller is told is
// true, and the history is contiguous.
func TestFaultsBeforeTheEngine(t *testing.T) {
	t.Parallel()
	client := live(t)
	var mu sync.Mutex
	told, streams := map[string]int{}, 0
	try := func(table, start string, refuse error, f fault, n int, outage bool) (calls int) {
		mu.Lock()
		streams++
		id := fmt.Sprint(streams)
		mu.Unlock()
		what, made, err := throughProxy(t.Context(), client, table, start, id, refuse, func(call int) fault {
			if call == n || outage && call > n {
				return f
			}
			return ""
		})
		if err != nil {
			t.Errorf("%s, %s from request %d (all: %v), broker: %v: %v\nin: %s", start, f, n, outage, refuse, err, strings.Join(made, ", "))
		}
		mu.Lock()
		defer mu.Unlock()
		told[what]++
		return len(made)
	}
	var wg sync.WaitGroup
	turns := make(chan struct{}, 16) // most of the time is pauses
	for _, start := range []string{"new", "settled", "pending", "claimed", "revoked"} {
		for _, refuse := range []error{nil, fmt.Errorf("not today: %w", es.ErrRefused)} {
			for _, f := range allFaults {
				table := newTable(t, client) // a relay must not meet the commits of another broker
				wg.Go(func() {
					turns <- struct{}{}
					defer func() { <-turns }()
					for n, calls := 1, 1; n <= calls; n++ {
						try(table, start, refuse, f, n, true)
						calls = try(table, start, refuse, f, n, false)
					}
				})
			}
		}
	}
	wg.Wait()
	t.Logf("told: %v", told)
	for _, what := range []string{"accepted", "refused", "unknown"} {
		if told[what] == 0 {
			t.Errorf("no run was told %q", what)
		}
	}
}

// fewShards is for tests with so many relays that their queries of empty shards would take most of the time.
const fewShards = 2

// throughProxy runs one command through a proxy, and then lets somebody healthy come by.
func throughProxy(ctx context.Context, client *dynamodb.Client, table, start, id string, refuse error, plan func(int) fault) (told string, calls []string, err error) {
	stream := es.StreamID{Category: "notes", ID: id}
	broker, store := &ledger{}, New(client, table, &Options{Timeout: patient, Shards: fewShards})
	good := &es.Journal{Store: store, Publisher: broker, Timeout: patient, Grace: -1}
	if start != "new" {
		if _, err := es.Execute(ctx, good, &notes, id, note("first")); err != nil {
			return "", nil, err
		}
		dead := es.Commit{Stream: stream, Version: 3, ID: "dead" + id, Time: time.Now(), Events: []es.Event{{Type: "noted", Data: `{}`}}}
		switch start {
		case "pending":
			err = store.Append(ctx, dead)
		case "claimed":
			err = errors.Join(store.Append(ctx, dead), store.Claim(ctx, dead))
		case "revoked":
			err = errors.Join(store.Append(ctx, dead), store.Revoke(ctx, dead))
		}
		if err != nil {
			return "", nil, err
		}
	}
	p := newProxy(*client.Options().BaseEndpoint, plan)
	defer p.Close()
	j := &es.Journal{Store: New(newClient(p.URL), table, &Options{Shards: fewShards}), Publisher: broker, Grace: -1}
	broker.refuse = refuse
	result, failed := es.Execute(ctx, j, &notes, id, note("second"), es.Named("the command", nil))
	broker.refuse = nil
	_, isUnknown := errors.AsType[*es.UnknownError](failed)
	switch {
	case failed == nil:
		told = "accepted"
	case isUnknown:
		told = "unknown"
	default:
		told = "refused"
	}
	p.mu.Lock()
	calls = append(calls, p.calls...)
	p.mu.Unlock()

	if _, err := good.Relay(ctx); err != nil {
		return told, calls, err
	}
	p.land()
	if _, err := good.Relay(ctx); err != nil {
		return told, calls, err
	}
	effects := func() (versions []uint64, err error) {
		for c, err := range store.Load(ctx, stream, 0) {
			if err != nil {
				return nil, err
			}
			if c.Command == "the command" && c.Status != es.Revoked {
				versions = append(versions, c.Last())
			}
		}
		return versions, nil
	}
	at, err := effects()
	switch {
	case err != nil:
	case told == "accepted" && (len(at) != 1 || at[0] != result.Version):
		err = fmt.Errorf("accepted as version %d, took effect at %v", result.Version, at)
	case told == "refused" && len(at) != 0:
		err = fmt.Errorf("refused (%w), took effect at %v", failed, at)
	case len(at) > 1:
		err = fmt.Errorf("took effect at %v", at)
	}
	if err != nil {
		return told, calls, err
	}
	// The repeat finds out, or does it, once.
	if _, err := es.Execute(ctx, good, &notes, id, note("second"), es.Named("the command", nil)); err != nil {
		return told, calls, fmt.Errorf("repeat: %w", err)
	}
	if at, err = effects(); err != nil || len(at) != 1 {
		return told, calls, fmt.Errorf("after the repeat it took effect at %v, %w", at, err)
	}
	return told, calls, checkHistory(ctx, store, stream, broker)
}

// checkHistory demands that every commit is settled and published, in order, and
// that no version is missing.
func checkHistory(ctx context.Context, s es.Store, stream es.StreamID, broker *ledger) error {
	var stored, sent []string
	next := uint64(1)
	for c, err := range s.Load(ctx, stream, 0) {
		if err != nil {
			return err
		}
		if c.Status == es.Revoked {
			continue
		}
		if c.Status != es.Settled || c.Version != next {
			return fmt.Errorf("commit at version %d is %v, want settled at %d", c.Version, c.Status, next)
		}
		next = c.Last() + 1
		stored = append(stored, c.ID)
	}
	seen := map[string]bool{}
	broker.mu.Lock()
	defer broker.mu.Unlock()
	for _, c := range broker.published {
		if c.Stream == stream && !seen[c.ID] {
			seen[c.ID] = true
			sent = append(sent, c.ID)
		}
	}
	if strings.Join(stored, " ") != strings.Join(sent, " ") {
		return fmt.Errorf("stored %v, published %v", stored, sent)
	}
	return nil
}

// place is where one run of everyFault takes place: on a stream of its own.
type place struct {
	events, views string
	stream        es.StreamID
	broker        *ledger
}

// everyFault runs a call with each fault at each of its requests, alone and from there
// on. Check is given what the call returned, after late requests have landed.
func everyFault(t *testing.T, client *dynamodb.Client, prepare func(place) error, call func(place, *dynamodb.Client) error, check func(place, error) error) {
	t.Helper()
	var wg sync.WaitGroup
	turns := make(chan struct{}, 16)
	for _, f := range allFaults {
		// Tables of their own: a relay must not meet the commits of another broker.
		events, views := newTable(t, client), newViewTable(t, client)
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			for n, calls := 1, 1; n <= calls; n++ {
				for _, outage := range []bool{true, false} {
					here := place{events, views, es.StreamID{Category: "notes", ID: fmt.Sprint(n, outage)}, new(ledger)}
					if err := prepare(here); err != nil {
						t.Error(err)
						return
					}
					p := newProxy(*client.Options().BaseEndpoint, func(call int) fault {
						if call == n || outage && call > n {
							return f
						}
						return ""
					})
					err := call(here, newClient(p.URL))
					p.land()
					p.Close()
					if err := check(here, err); err != nil {
						t.Errorf("%s from request %d (all: %v): %v\nin: %s", f, n, outage, err, strings.Join(p.calls, ", "))
					}
					calls = len(p.calls) // of the run that goes on after the fault
				}
			}
		})
	}
	wg.Wait()
}

// A relay whose requests fail leaves nothing that the next one does not finish, and
// counts only what it has settled.
func TestFaultsOfARelay(t *testing.T) {
	t.Parallel()
	ctx, client := t.Context(), live(t)
	everyFault(t, client, func(here place) error {
		return New(client, here.events, &Options{Timeout: patient, Shards: fewShards}).Append(ctx, es.Commit{
			Stream: here.stream, Version: 1, ID: "dead", Time: time.Now().Add(-time.Hour),
			Events: []es.Event{{Type: "noted", Data: `{}`}},
		})
	}, func(here place, broken *dynamodb.Client) error {
		n, err := (&es.Journal{Store: New(broken, here.events, &Options{Shards: fewShards}), Publisher: here.broker}).Relay(ctx)
		if n > len(here.broker.published) {
			return fmt.Errorf("settled without being published, %w", err)
		}
		return nil // it may fail
	}, func(here place, err error) error {
		store := New(client, here.events, &Options{Timeout: patient, Shards: fewShards})
		_, relayed := (&es.Journal{Store: store, Publisher: here.broker, Timeout: patient}).Relay(ctx)
		if len(here.broker.published) == 0 {
			err = errors.Join(err, errors.New("nothing was published"))
		}
		return errors.Join(err, relayed, checkHistory(ctx, store, here.stream, here.broker))
	})
}

// A projection whose requests fail says so, unless the view is there; and the next
// delivery makes it right. A document that lands late overwrites nothing newer.
func TestFaultsOfAProjection(t *testing.T) {
	t.Parallel()
	ctx, engine := t.Context(), live(t)
	projection := func(here place, client *dynamodb.Client) es.Projection[int, noted] {
		var o *ViewOptions
		if client == engine {
			o = &ViewOptions{Timeout: patient}
		}
		return es.Projection[int, noted]{
			Category: "notes", Fold: notes.Fold, Events: notes.Events,
			Views: NewViews[int](client, here.views, "notes", o), Store: healthy(client, here.events),
		}
	}
	commit := func(here place, version uint64) es.Commit {
		return es.Commit{
			Stream: here.stream, Version: version, ID: fmt.Sprint("c", version), Status: es.Settled, Time: time.Now(),
			Events: []es.Event{{Type: "noted", Data: `{}`}},
		}
	}
	demand := func(here place, version uint64) error {
		view, err := projection(here, engine).Views.Get(ctx, here.stream)
		if err == nil && (view.Version != version || view.Value != int(version)) {
			err = fmt.Errorf("the view is %+v, want version %d", view, version)
		}
		return err
	}
	everyFault(t, engine, func(here place) error {
		p := projection(here, engine)
		for version := range uint64(4) {
			if err := p.Store.Append(ctx, commit(here, version+1)); err != nil {
				return err
			}
		}
		return p.Handle(ctx, commit(here, 1))
	}, func(here place, broken *dynamodb.Client) error {
		// The second never comes: it is healed from the store.
		p := projection(here, broken)
		if err := p.Handle(ctx, commit(here, 3)); err == nil {
			if err := demand(here, 3); err != nil {
				return err
			}
		}
		// Others go on before what is late has landed.
		others := projection(here, engine)
		return errors.Join(others.Handle(ctx, commit(here, 3)), others.Handle(ctx, commit(here, 4)))
	}, func(here place, err error) error {
		return errors.Join(err, demand(here, 4))
	})
}
