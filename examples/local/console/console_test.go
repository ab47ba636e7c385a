package console_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/examples/local/console"
)

// What each fault does, and who mends it. The steps are those that the page shows.
func TestFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		broken map[string]string
		told   int      // to the first command, which is broken
		next   int      // to the second one, with everything mended; 0: there is none
		first  []string // steps of version 1, in order, perhaps with others between them
		end    int      // events that there are in the end
	}{
		"nothing": {nil, 200, 0, []string{"append done, a command", "publish done, its author", "settle done, its author"}, 1},
		"refuses": {map[string]string{"broker": "refuses"}, 503, 200, []string{
			"append done, a command", "publish refused, its author", "revoke done, its author", "answer done, 503 Service Unavailable",
			"append done, a command", "publish done, its author", "settle done, its author",
		}, 1},
		"loses before, next command": {map[string]string{"broker": "loses-before", "relay": "paused"}, 200, 200, []string{
			"append done, a command", "publish unknown, its author", "answer done, 200 OK",
			"claim done, the next command", "publish done, the next command", "settle done, the next command",
		}, 2},
		"loses after, relay": {map[string]string{"broker": "loses-after"}, 200, 0, []string{
			"append done, a command", "view done, the projection", "publish unknown, its author", "answer done, 200 OK",
			"claim done, the relay", "publish done, the relay", "settle done, the relay",
		}, 1},
		"slow": {map[string]string{"broker": "slow"}, 200, 0, []string{"append done, a command", "publish done, its author", "settle done, its author"}, 1},
		"dies": {map[string]string{"writer": "dies"}, 0, 200, []string{
			"append done, a command", "answer done, nothing, the connection broke",
			"claim done, the next command", "publish done, the next command", "settle done, the next command",
		}, 2},
		"projection fails": {map[string]string{"views": "fails"}, 200, 0, []string{"append done, a command", "publish done, its author", "settle done, its author", "view failed, the projection"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			r := newRig(t)
			r.journal.Grace = time.Nanosecond // nobody waits for those who are dead
			server := httptest.NewServer(r.handler)
			defer server.Close()
			for name, to := range tt.broken {
				r.throw(name, to)
			}
			is.Equal(r.count("a"), tt.told)
			if tt.broken["views"] == "fails" {
				follow(t, server, "", checked("behind", 1))
			}
			status, _ := r.ask("POST", "/console/switches", `{}`) // all is mended
			is.Equal(status, 200)
			if tt.next > 0 {
				is.Equal(r.count("a"), tt.next)
			}
			_, err := r.journal.Relay(t.Context())
			is.NoErr(err)
			follow(t, server, "", checked("equal", tt.end))
			left := map[string]bool{"settle": true, "view": true}
			got := said(follow(t, server, "", func(e received) bool {
				for name := range left {
					if step(name, tt.end)(e) {
						delete(left, name)
					}
				}
				return len(left) == 0
			}), 1)
			rest := got
			for _, want := range tt.first { // in this order, among others
				i := slices.Index(rest, want)
				if i < 0 {
					t.Fatalf("%q is missing or misplaced in\n%s", want, strings.Join(got, "\n"))
				}
				rest = rest[i+1:]
			}
		})
	}
}

// A projection that is paused gets what it missed, in order.
func TestPausedProjection(t *testing.T) {
	is := is.New(t)
	r := newRig(t)
	server := httptest.NewServer(r.handler)
	defer server.Close()
	r.throw("views", "paused")
	for range 3 {
		is.Equal(r.count("a"), 200)
	}
	follow(t, server, "", checked("behind", 3))
	v, err := r.views.Get(t.Context(), es.StreamID{Category: "counter", ID: "a"})
	is.NoErr(err)
	is.Equal(v.Version, uint64(0))
	r.throw("views", "works")
	follow(t, server, "", checked("equal", 3))
}

// While the relay is paused it finds nothing to do.
func TestPausedRelay(t *testing.T) {
	is := is.New(t)
	r := newRig(t)
	r.journal.Grace = -1
	r.throw("relay", "paused")
	r.throw("writer", "dies")
	is.Equal(r.count("a"), 0)
	n, err := r.journal.Relay(t.Context())
	is.NoErr(err)
	is.Equal(n, 0)
	r.throw("relay", "runs")
	n, err = r.journal.Relay(t.Context())
	is.NoErr(err)
	is.Equal(n, 1)
}

// Of two writers that store at the same moment one wins, and the other decides again.
func TestRace(t *testing.T) {
	is := is.New(t)
	r := newRig(t)
	server := httptest.NewServer(r.handler)
	defer server.Close()
	r.throw("race", "together")
	told := make(chan int)
	for range 2 {
		go func() { told <- r.count("a") }()
	}
	is.Equal(<-told, 200)
	is.Equal(<-told, 200)
	follow(t, server, "", checked("equal", 2))
	all := follow(t, server, "", step("append", 2))
	is.Equal(len(slices.DeleteFunc(said(all, 1), func(s string) bool { return s != "append conflict, a command" })), 1)
}

// A page that comes again gets what it missed, and nothing twice; one whose place is gone
// begins anew.
func TestFeedResumes(t *testing.T) {
	is := is.New(t)
	r := newRig(t)
	server := httptest.NewServer(r.handler)
	defer server.Close()
	is.Equal(r.count("a"), 200)
	first := follow(t, server, "", checked("equal", 1))
	is.Equal(first[0].kind, "hello") // whatever else there is
	place := first[len(first)-1].id
	if place == "" { // the hello said it all
		first = follow(t, server, "", step("view", 1))
		place = first[len(first)-1].id
	}
	is.Equal(r.count("a"), 200)
	again := follow(t, server, place, step("settle", 2))
	for _, e := range again {
		is.True(e.kind != "hello")
	}
	is.Equal(len(said(again, 2)) > 2, true)
	seen := map[string]bool{}
	for _, e := range slices.Concat(first, again) {
		if e.kind == "hello" {
			continue
		}
		if seen[e.id] {
			t.Errorf("%s came twice", e.id)
		}
		seen[e.id] = true
	}
	boot, _, _ := strings.Cut(place, "-")
	for _, gone := range []string{"OTHER-3", boot + "-999999", boot, "?"} {
		is.Equal(follow(t, server, gone, func(received) bool { return true })[0].kind, "hello")
	}

	// More than a feed remembers.
	for range 2500 {
		r.throw("relay", "runs")
	}
	all := follow(t, server, place, func(received) bool { return true })
	is.Equal(all[0].kind, "hello")
}

// The time that a server gives a request and an answer is not for a feed.
func TestFeedOutlivesTimeouts(t *testing.T) {
	is := is.New(t)
	r := newRig(t)
	server := httptest.NewUnstartedServer(r.handler)
	server.Config.ReadTimeout, server.Config.WriteTimeout = time.Second, time.Second
	server.Start()
	defer server.Close()
	r.throw("broker", "slow")
	done := make(chan int)
	go func() { done <- max(r.count("a"), r.count("a"), r.count("a")) }()
	all := follow(t, server, "", step("settle", 3)) // after 1.2 s
	is.Equal(<-done, 200)
	is.True(!slices.ContainsFunc(all[1:], func(e received) bool { return e.kind == "hello" })) // it began once
}

// A feed ends with its console, so that the server can stop, and does not take any number of pages.
func TestFeedEnds(t *testing.T) {
	is := is.New(t)
	r := newRig(t)
	server := httptest.NewServer(r.handler)
	defer server.Close()
	for range 16 {
		res, err := server.Client().Get(server.URL + "/console/feed")
		is.NoErr(err)
		defer res.Body.Close()
		is.Equal(res.StatusCode, 200)
	}
	status, _ := r.ask("GET", "/console/feed", "")
	is.Equal(status, 503)
	r.console.Close()
	server.Close() // waits for all of them
}

// The check sees what can never be.
func TestCheckSeesWrong(t *testing.T) {
	stream := es.StreamID{Category: "counter", ID: "a"}
	commit := func(version uint64, id string) es.Commit {
		return es.Commit{
			Stream: stream, Version: version, ID: id, Time: time.Now(), Status: es.Settled,
			Events: []es.Event{{Type: "counted", Data: `{"By":1}`}},
		}
	}
	for want, wrong := range map[string]func(*rig) error{
		"version 2 was delivered and is not stored": func(r *rig) error {
			return r.console.Deliver(t.Context(), commit(2, "invented"))
		},
		"version 3 was delivered after 1": func(r *rig) error {
			return errors.Join(r.store.Append(t.Context(), commit(2, "lost")), r.store.Append(t.Context(), commit(3, "early")),
				r.console.Deliver(t.Context(), commit(3, "early")))
		},
		"what was delivered up to version 2 is not what is stored": func(r *rig) error {
			return errors.Join(r.store.Append(t.Context(), commit(2, "one")), r.console.Deliver(t.Context(), commit(2, "another")))
		},
		"the view is at version 7, and the store at 1": func(r *rig) error {
			return errors.Join(r.views.Put(t.Context(), stream, es.View[int]{Version: 7}, 1), r.console.Deliver(t.Context(), commit(1, "again")))
		},
	} {
		t.Run(want, func(t *testing.T) {
			is := is.New(t)
			r := newRig(t)
			server := httptest.NewServer(r.handler)
			defer server.Close()
			is.Equal(r.count("a"), 200)
			follow(t, server, "", checked("equal", 1))
			is.NoErr(wrong(r))
			all := follow(t, server, "", func(e received) bool {
				if e.kind == "hello" {
					e.data, _ = e.data["check"].(map[string]any)
				}
				return e.data["state"] == "wrong"
			})
			is.True(strings.Contains(fmt.Sprint(all[len(all)-1].data), "counter/a: "+want))
		})
	}
}

// What was there before the console counts as published.
func TestStartsOnWhatIsThere(t *testing.T) {
	is := is.New(t)
	store := new(memory.Store)
	_, err := (&es.Journal{Store: store}).Commit(t.Context(), es.Commit{Stream: es.StreamID{Category: "counter", ID: "old"}, Events: []es.Event{{Type: "counted", Data: `{"By":3}`}}})
	is.NoErr(err)
	r := newRigOn(t, store)
	server := httptest.NewServer(r.handler)
	defer server.Close()
	follow(t, server, "", checked("equal", 1))
	is.Equal(r.count("old"), 200)
	follow(t, server, "", checked("equal", 2))
}

func TestHistory(t *testing.T) {
	is := is.New(t)
	r := newRig(t)
	for range 3 {
		is.Equal(r.count("a"), 200)
	}
	status, body := r.ask("GET", "/console/history?stream=counter/a", "")
	is.Equal(status, 200)
	var h struct {
		Stream, Fold string
		From, State  int
		Steps        []struct {
			Version  int
			Type, Go string
			Data     counted
			State    int
		}
	}
	is.NoErr(json.Unmarshal([]byte(body), &h))
	is.Equal(h.Stream, "counter/a")
	is.Equal(h.Fold, counterFold)
	is.Equal(h.From, 0)
	is.Equal(len(h.Steps), 3)
	last := h.Steps[2]
	is.Equal([]any{last.Version, last.Type, last.Go, last.Data.By, last.State}, []any{3, "counted", "counted", 1, 3})

	for range 12 {
		hundred := slices.Repeat([]counted{{1}}, 100)
		_, err := es.Execute(t.Context(), &es.Journal{Store: r.store}, &counter, "long", func(int) ([]counted, error) { return hundred, nil })
		is.NoErr(err)
	}
	_, body = r.ask("GET", "/console/history?stream=counter/long", "")
	is.NoErr(json.Unmarshal([]byte(body), &h))
	is.Equal(len(h.Steps), 500) // the newest
	is.Equal(h.From, 700)
	is.Equal(h.State, 700)
	is.Equal(h.Steps[0].State, 701)
	is.Equal(h.Steps[499].Version, 1200)

	for _, none := range []string{"", "counter", "counter/", "other/a", "/"} {
		status, _ := r.ask("GET", "/console/history?stream="+none, "")
		is.Equal(status, 404)
	}
}

func TestStreams(t *testing.T) {
	is := is.New(t)
	r := newRig(t)
	server := httptest.NewServer(r.handler)
	defer server.Close()
	is.Equal(r.count("apple"), 200)
	is.Equal(r.count("pear"), 200)
	follow(t, server, "", checked("equal", 2))
	for q, want := range map[string]int{"": 2, "pear": 1, "counter/": 2, "plum": 0} {
		_, body := r.ask("GET", "/console/streams?q="+q, "")
		var rows []struct{ Stream string }
		is.NoErr(json.Unmarshal([]byte(body), &rows))
		is.Equal(len(rows), want)
	}
}

func TestSwitches(t *testing.T) {
	is := is.New(t)
	r := newRig(t)
	for body, want := range map[string]int{
		`{"switch":"broker","to":"slow"}`: 200, `{"switch":"broker","to":"dies"}`: 422, `{"switch":"x","to":"y"}`: 422,
		`{}`: 200, `{`: 400, `{"switch":"` + strings.Repeat("x", 2000) + `"}`: 400,
	} {
		status, _ := r.ask("POST", "/console/switches", body)
		is.Equal(status, want)
	}
	server := httptest.NewServer(r.handler)
	defer server.Close()
	hello := follow(t, server, "", func(received) bool { return true })[0]
	controls := hello.data["switches"].([]any)
	is.True(len(controls) >= 5)
	works := map[string]any{}
	for _, control := range controls {
		control := control.(map[string]any)
		positions := control["positions"].([]any)
		for i, position := range positions {
			position := position.(map[string]any)
			is.True(len(position["expect"].(string)) > 20) // each says what to expect
			r.throw(control["name"].(string), position["name"].(string))
			if i == 0 {
				works[control["name"].(string)] = position["name"]
			}
		}
	}
	status, body := r.ask("POST", "/console/switches", `{}`)
	is.Equal(status, 200)
	var at map[string]any
	is.NoErr(json.Unmarshal([]byte(body), &at))
	is.Equal(at, works)
}

// Queries that wait are seen while they wait.
func TestPolls(t *testing.T) {
	is := is.New(t)
	c := console.New(new(memory.Store), new(memory.Bus))
	release := make(chan struct{})
	h := c.Handler(wait(release), loopback)
	server := httptest.NewServer(h)
	defer server.Close()
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/orgs/1", nil)
	req.Header.Set("Prefer", "wait=5")
	req.Header.Set("If-None-Match", `"3"`)
	done := make(chan struct{})
	go func() { defer close(done); h.ServeHTTP(httptest.NewRecorder(), req) }()
	waits := func(n int) func(received) bool {
		return func(e received) bool {
			polls, ok := e.data["polls"].([]any)
			return ok && len(polls) == n
		}
	}
	for { // a hello has the polls of its moment
		hello := follow(t, server, "", func(received) bool { return true })
		if waits(1)(hello[0]) {
			poll := hello[0].data["polls"].([]any)[0].(map[string]any)
			is.Equal(poll["path"], "/orgs/1")
			is.Equal(poll["known"], `"3"`)
			break
		}
	}
	close(release)
	<-done
	is.True(waits(0)(follow(t, server, "", func(received) bool { return true })[0]))
}

// Every file of the page is served, and what is not of it is not.
func TestFiles(t *testing.T) {
	is := is.New(t)
	r := newRig(t)
	page := os.DirFS("page")
	is.NoErr(fs.WalkDir(page, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		want := 200
		if strings.HasPrefix(d.Name(), "LICENSE") || strings.HasSuffix(name, ".md") {
			want = 404
		}
		status, _ := r.ask("GET", "/console/"+name, "")
		if status != want {
			t.Errorf("%s: %d", name, status)
		}
		return nil
	}))
	for _, path := range []string{"/console/", "/console/x.js", "/console/vendor", "/console/page/app.js", "/console/..%2fconsole.go"} {
		status, _ := r.ask("GET", path, "")
		is.Equal(status, 404)
	}
	_, body := r.ask("GET", "/", "")
	is.True(strings.Contains(body, "<title>leftfold console</title>"))

	// The policy forbids them, so none may be there.
	for _, inline := range []string{`<script>`, `<script[^>]*>[^<]`, `<style`, `\sstyle=`, `\son\w+=`, `https?://`} {
		is.True(!regexp.MustCompile(inline).MatchString(body))
	}
	// It works offline: what it loads is here.
	files, err := fs.Glob(page, "*.js")
	is.NoErr(err)
	is.True(len(files) > 8)
	for _, name := range files {
		src, err := fs.ReadFile(page, name)
		is.NoErr(err)
		for _, m := range regexp.MustCompile(`(?m)^(?:import|export) .* from '([^']+)'`).FindAllStringSubmatch(string(src), -1) {
			if _, err := fs.Stat(page, strings.TrimPrefix(m[1], "/console/")); err != nil {
				t.Errorf("%s imports %s", name, m[1])
			}
		}
		is.True(!strings.Contains(string(src), "innerHTML") && !strings.Contains(string(src), "://"))
	}
}

// The library is the one that its README names.
func TestVendored(t *testing.T) {
	is := is.New(t)
	readme, err := os.ReadFile("page/vendor/README.md")
	is.NoErr(err)
	file, err := os.ReadFile("page/vendor/htm-preact.js")
	is.NoErr(err)
	sum := sha256.Sum256(file)
	is.True(strings.Contains(string(readme), "`"+hex.EncodeToString(sum[:])+"`"))
}

func TestServedOn(t *testing.T) {
	is := is.New(t)
	for ip, want := range map[string]bool{"127.0.0.1": true, "127.9.9.9": true, "::1": true, "0.0.0.0": false, "::": false, "192.168.1.5": false} {
		is.Equal(console.ServedOn(&net.TCPAddr{IP: net.ParseIP(ip), Port: 80}), want)
	}
	is.Equal(console.ServedOn(&net.UnixAddr{Name: "/tmp/x"}), false)
}
