package console_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/examples/local/console"
)

// counted is the event of the domain of these tests: something was counted.
type counted struct{ By int }

var counter = es.Aggregate[int, counted]{
	Category: "counter",
	Fold:     func(n int, e counted) int { return n + e.By },
	Events:   es.JSON(map[string]counted{"counted": {}}),
}

const counterFold = "func(n int, e counted) int { return n + e.By }"

// rig is a service with a console: POST /count/{id} counts, and its answers are as plain as can be.
type rig struct {
	t       *testing.T
	console *console.Console
	store   *memory.Store
	bus     *memory.Bus
	views   *memory.Views[int]
	journal *es.Journal
	handler http.Handler
}

var loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}

// newRig runs a service until the test ends.
func newRig(t *testing.T) *rig { return newRigOn(t, new(memory.Store)) }

func newRigOn(t *testing.T, store *memory.Store) *rig {
	t.Helper()
	r := &rig{t: t, store: store, bus: new(memory.Bus), views: new(memory.Views[int])}
	r.console = console.New(r.store, r.bus, console.Of(&counter, r.views, counterFold))
	r.journal = &es.Journal{Store: r.console.Store(), Publisher: r.console.Publisher()}
	views := es.Projection[int, counted]{Category: "counter", Fold: counter.Fold, Events: counter.Events, Views: r.views, Store: r.journal.Store}
	if err := views.Rebuild(t.Context(), es.RebuildOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := r.console.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.bus.Subscribe("views", r.console.Views(views.Handle))
	r.bus.Subscribe("console", r.console.Deliver)
	api := http.NewServeMux()
	api.HandleFunc("POST /count/{id}", func(w http.ResponseWriter, req *http.Request) {
		_, err := es.Execute(req.Context(), r.journal, &counter, req.PathValue("id"), func(int) ([]counted, error) { return []counted{{1}}, nil })
		switch {
		case errors.Is(err, es.ErrRefused):
			w.WriteHeader(http.StatusServiceUnavailable)
		case err != nil:
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	r.handler = r.console.Handler(api, loopback)

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { r.console.Run(ctx) })
	t.Cleanup(func() {
		r.console.Close()
		if err := r.bus.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
		stop()
		wg.Wait()
	})
	return r
}

// ask returns the answer to one request; status 0 if the connection was broken.
func (r *rig) ask(method, path, body string) (status int, answer string) {
	r.t.Helper()
	req := httptest.NewRequestWithContext(r.t.Context(), method, path, strings.NewReader(body))
	req.Host = "localhost:8080"
	w := httptest.NewRecorder()
	defer func() {
		p := recover()
		if err, _ := p.(error); errors.Is(err, http.ErrAbortHandler) {
			status, answer = 0, ""
		} else if p != nil {
			panic(p)
		}
	}()
	r.handler.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

func (r *rig) throw(name, to string) {
	r.t.Helper()
	if status, answer := r.ask("POST", "/console/switches", `{"switch":"`+name+`","to":"`+to+`"}`); status != 200 {
		r.t.Fatalf("%s %s: %d %s", name, to, status, answer)
	}
}

func (r *rig) count(id string) int {
	r.t.Helper()
	status, _ := r.ask("POST", "/count/"+id, "")
	return status
}

// received is an entry of a feed as a page gets it.
type received struct {
	id, kind string
	data     map[string]any
}

// follow reads a feed, over a real connection, until it has what is wanted. It begins behind
// the given Last-Event-ID.
func follow(t *testing.T, server *httptest.Server, lastID string, until func(received) bool) []received {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/console/feed", nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := res.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("the feed is %s, %s", res.Status, got)
	}
	var all []received
	var e received
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.data); err != nil && e.kind != "polls" {
				t.Fatalf("%s: %v", value, err)
			}
		case "":
			if e.kind == "" {
				continue
			}
			all = append(all, e)
			if until(e) {
				return all
			}
			e = received{}
		}
	}
	t.Fatalf("the feed ended, %v, after %v", lines.Err(), all)
	return nil
}

// step is what until waits for: a step of a commit at a version that went well.
func step(name string, version int) func(received) bool {
	return func(e received) bool {
		return e.kind == "step" && e.data["step"] == name && e.data["outcome"] == "done" && e.data["version"] == float64(version)
	}
}

// checked is what until waits for: the numbers of the check.
func checked(state string, stored int) func(received) bool {
	return func(e received) bool {
		check := e.data
		if e.kind == "hello" {
			check, _ = e.data["check"].(map[string]any)
		}
		return (e.kind == "hello" || e.kind == "check") && check["state"] == state && check["stored"] == float64(stored)
	}
}

// said returns the steps of a feed in a line each: what, outcome and who.
func said(all []received, version int) []string {
	var lines []string
	for _, e := range all {
		if e.kind == "step" && e.data["version"] == float64(version) {
			lines = append(lines, e.data["step"].(string)+" "+e.data["outcome"].(string)+", "+e.data["by"].(string))
		}
	}
	return lines
}
