package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/smithy-go"
	"github.com/matryer/is"
	"github.com/spf13/cobra"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
)

var update = flag.Bool("update", false, "write what the commands print into testdata/*.golden")

// noon is when all tests take place.
var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// world is a reference system in memory, with damage where a test wants some.
type world struct {
	*memory.Store
	orgs memory.Views[org.View]
	otps memory.Views[otp.View]

	publish   func(es.Commit) error
	terminal  bool
	interrupt func() // called when a stream is read

	// What a store never does, by stream.
	lost      map[string]uint64 // the slot with this version is not there
	unread    map[string]error  // reading ends with this
	unsettled map[string]uint64 // the slot with this version is pending
	unviewed  map[string]error
}

func newWorld() *world {
	return &world{Store: new(memory.Store), publish: func(es.Commit) error { return nil }}
}

func (w *world) Publish(_ context.Context, c es.Commit) error { return w.publish(c) }

func (w *world) Load(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		if w.interrupt != nil {
			w.interrupt()
		}
		if err := w.unread[stream.String()]; err != nil {
			yield(es.Commit{}, err)
			return
		}
		for c, err := range w.Store.Load(ctx, stream, after) {
			if v := w.lost[stream.String()]; v > 0 && v == c.Version {
				continue
			}
			if v := w.unsettled[stream.String()]; v > 0 && v == c.Version {
				c.Status = es.Pending
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// views are those of orgs, some of which cannot be read.
type views struct {
	es.Views[org.View]
	unviewed map[string]error
}

func (v views) Get(ctx context.Context, stream es.StreamID) (es.View[org.View], error) {
	if err := v.unviewed[stream.String()]; err != nil {
		return es.View[org.View]{}, err
	}
	return v.Views.Get(ctx, stream)
}

// esctl runs a command line.
func (w *world) esctl(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return w.run(t.Context(), args...)
}

func (w *world) run(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	tool := tool{
		getenv: func(string) string { return "" }, stdout: &out, stderr: &err, terminal: w.terminal,
		now: func() time.Time { return noon },
		open: func(context.Context, *tool, ...string) (*system, error) {
			logger := slog.New(slog.NewTextHandler(&err, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey || a.Key == "ms" {
					return slog.Attr{}
				}
				return a
			}}))
			s := newSystem(w, w, views{&w.orgs, w.unviewed}, &w.otps, logger)
			s.place = "the tables of a test"
			s.journal.Now = func() time.Time { return noon }
			s.tables = func(context.Context) error { return nil }
			return s, nil
		},
	}
	code = tool.run(ctx, args)
	return code, out.String(), err.String()
}

// golden compares what command lines print with a file of testdata.
func (w *world) golden(t *testing.T, name string, lines ...string) {
	t.Helper()
	var got strings.Builder
	for _, line := range lines {
		code, stdout, stderr := w.esctl(t, words(line)...)
		fmt.Fprintf(&got, "$ esctl %s\n%s", line, stdout)
		if stderr != "" {
			fmt.Fprintf(&got, "--- standard error:\n%s", stderr)
		}
		fmt.Fprintf(&got, "--- exit code %d\n\n", code)
	}
	// Nobody sees white space at the end of a line, and editors take it away.
	text := strings.TrimRight(got.String(), "\n") + "\n"
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("not what %s says; if it should be so, run this test with -update. Got:\n%s", file, text)
	}
}

// words splits a command line at spaces; what is between double quotes is one word.
func words(line string) (all []string) {
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			all = append(all, part)
		} else {
			all = append(all, strings.Fields(part)...)
		}
	}
	return all
}

// commit stores events as one commit, an hour before noon unless its ID begins with "new".
func (w *world) commit(t *testing.T, stream string, version uint64, id string, status es.Status, events ...any) {
	t.Helper()
	c := es.Commit{Stream: mustStream(t, stream), Version: version, ID: id, Time: noon.Add(-time.Hour), Status: status}
	if strings.HasPrefix(id, "new") {
		c.Time = noon.Add(-2 * time.Second)
	}
	if status == es.Claimed {
		c.Status = es.Pending
	}
	for _, e := range events {
		stored, err := encode(e)
		if err != nil {
			t.Fatal(err)
		}
		c.Events = append(c.Events, stored)
	}
	if err := w.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if status == es.Claimed {
		if err := w.Claim(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
}

func encode(e any) (es.Event, error) {
	switch e := e.(type) {
	case es.Event:
		return e, nil
	case org.Event:
		return org.Aggregate.Events.Encode(e)
	case otp.Event:
		return otp.Aggregate.Events.Encode(e)
	}
	return es.Event{}, fmt.Errorf("%T is no event", e)
}

func mustStream(t *testing.T, name string) es.StreamID {
	t.Helper()
	stream, err := parseStream(name)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func profile(t *testing.T, name string) org.Profile {
	t.Helper()
	p, err := org.NewProfile(name, "Oslo", "Makes & sells")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// requested is a code for an address.
var requested = otp.Requested{Channel: otp.Email, Sealed: []byte("only the service can open this"), At: noon.Add(-time.Hour), ExpiresAt: noon.Add(-50 * time.Minute)}

// populated is a world in which all is well.
func populated(t *testing.T) *world {
	t.Helper()
	w := newWorld()
	w.commit(t, "org/1", 1, "c1", es.Settled, org.Created{Profile: profile(t, "Acme")})
	w.commit(t, "org/1", 2, "c2", es.Settled, org.Updated{Profile: profile(t, "Acme Corp")}, org.Updated{Profile: profile(t, "Acme Ltd")})
	w.commit(t, "org/2", 1, "c3", es.Settled, org.Created{Profile: profile(t, "Umbrella")})
	w.commit(t, "org/20", 1, "c4", es.Settled, org.Created{Profile: profile(t, "Twenty")})
	w.commit(t, "otp/jane", 1, "c5", es.Settled, requested)
	w.commit(t, "otp/jane", 2, "c6", es.Settled, otp.Sent{Request: 1})
	if code, _, stderr := w.esctl(t, "rebuild"); code != 0 {
		t.Fatal(stderr)
	}
	return w
}

func TestHelp(t *testing.T) {
	newWorld().golden(t, "help", "--help", "streams --help", "show --help", "verify --help", "pending --help", "relay --help",
		"settle --help", "rebuild --help", "tables --help", "tables create --help")
}

func TestUsage(t *testing.T) {
	lines := []string{
		"", "verfy", "nonsense", "tables", "tables drop", "streams org", "streams --limit -1", "streams --limit many", "streams --after org",
		"show", "show org", "show org/", "show org/1 org/2", "show org/1 --at 0", "show org/1 --colour",
		"verify org", "verify --parallel 0", "verify --rate -1", "verify --grace soon",
		"settle org/1", "settle org/1 c1", `settle org/1 c1 --reason ""`, "pending all", "relay now",
		"rebuild --category crm", "rebuild crm/1", "rebuild org/1 --resume file", "rebuild --skip org", "rebuild --parallel 1000",
	}
	w := newWorld()
	w.golden(t, "usage", lines...)
	for _, line := range lines {
		if code, stdout, _ := w.esctl(t, words(line)...); code != exitUsage || stdout != "" {
			t.Errorf("%q: exit code %d, and %q on standard output", line, code, stdout)
		}
	}
}

// The environment is the caller's as well.
func TestNotConfigured(t *testing.T) {
	for name, value := range map[string]string{"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"} {
		t.Setenv(name, value)
	}
	run := func(env map[string]string, args ...string) (int, string) {
		var stdout, stderr bytes.Buffer
		tool := tool{getenv: func(name string) string { return env[name] }, stdout: &stdout, stderr: &stderr, now: time.Now, open: openAWS}
		return tool.run(t.Context(), args), stderr.String()
	}
	is := is.New(t)
	code, stderr := run(nil, "verify")
	is.Equal(code, exitUsage)
	is.Equal(stderr, "esctl: EVENT_TABLE: is not set\nesctl: VIEW_TABLE: is not set\nRun 'esctl verify --help' for usage.\n")
	code, stderr = run(map[string]string{"EVENT_TABLE": "events"}, "relay")
	is.Equal(code, exitUsage)
	is.Equal(stderr, "esctl: TOPIC_ARN: is not set\nRun 'esctl relay --help' for usage.\n")
	code, stderr = run(map[string]string{"EVENT_TABLE": "!"}, "show", "org/1")
	is.Equal(code, exitUsage)
	is.True(strings.Contains(stderr, "EVENT_TABLE: must be the name of a DynamoDB table"))
	// Whatever else the function needs is not even read.
	t.Setenv("AWS_REGION", "")
	code, stderr = run(map[string]string{"EVENT_TABLE": "events", "OTP_KEY": "!", "TOKEN_KEY": "!", "SENDER": "!"}, "streams")
	is.Equal(code, exitUsage)
	is.Equal(stderr, "esctl: AWS_REGION: is not set\nRun 'esctl streams --help' for usage.\n")
}

func TestStreams(t *testing.T) {
	w := populated(t)
	w.golden(t, "streams", "streams", "streams --category org", "streams --prefix org/2", "streams --limit 2", "streams --after org/2 --limit 2",
		"streams --limit 0 --json", "streams --category crm")
}

func TestShow(t *testing.T) {
	w := populated(t)
	w.commit(t, "org/3", 1, "c1", es.Settled, org.Created{Profile: profile(t, "Pending")})
	w.commit(t, "org/3", 2, "new", es.Pending, org.Updated{Profile: profile(t, "Not yet")})
	w.commit(t, "org/4", 1, "c1", es.Settled, org.Created{Profile: profile(t, "Newer")})
	w.commit(t, "org/4", 2, "c2", es.Settled, es.Event{Type: "org.merged", Data: "\x1b[2J\x00"})
	w.commit(t, "org/5", 1, "c1", es.Pending, org.Created{Profile: profile(t, "Revoked")})
	if err := w.Revoke(t.Context(), es.Commit{Stream: mustStream(t, "org/5"), Version: 1, ID: "c1"}); err != nil {
		t.Fatal(err)
	}
	w.commit(t, "crm/1", 1, "c1", es.Settled, es.Event{Type: "met", Data: `{"at":"a bar"}`})
	w.golden(t, "show", "show org/1", "show org/1 --at 2", "show org/1 --at 9", "show org/1 --json", "show otp/jane",
		"show org/3", "show org/3 --at 2", "show org/4", "show org/4 --at 1", "show org/4 --json", "show org/5", "show crm/1", "show org/99")
}

// Each kind of damage is found, and nothing else is.
func TestVerify(t *testing.T) {
	faults := []struct {
		kind  string
		fault func(t *testing.T, w *world)
	}{
		{"hole", func(t *testing.T, w *world) {
			w.commit(t, "org/1", 4, "new", es.Settled, org.Updated{Profile: profile(t, "Acme")})
			w.lost = map[string]uint64{"org/1": 2}
		}},
		{"hole", func(t *testing.T, w *world) {
			w.unread = map[string]error{"org/1": fmt.Errorf("load: %w", &es.GapError{Stream: mustStream(t, "org/1"), Want: 1, Have: 2})}
		}},
		{"hole", func(_ *testing.T, w *world) { w.lost = map[string]uint64{"org/1": 1} }}, // the first
		{"unreadable", func(_ *testing.T, w *world) {
			w.unread = map[string]error{"org/1": errors.New(`item org/1@1: attribute "c" is missing`)}
		}},
		{"buried", func(_ *testing.T, w *world) { w.unsettled = map[string]uint64{"org/1": 1} }},
		{"unknown-event", func(t *testing.T, w *world) {
			w.commit(t, "org/1", 4, "c9", es.Settled, es.Event{Type: "org.merged", Data: "{}"})
		}},
		{"bad-event", func(t *testing.T, w *world) {
			w.commit(t, "org/1", 4, "c9", es.Settled, es.Event{Type: "org.updated", Data: `{"name":`})
		}},
		{"snapshot-drift", func(t *testing.T, w *world) { snapshot(t, w, `{"exists":true,"profile":{"name":"Other"}}`) }},
		{"snapshot-drift", func(t *testing.T, w *world) { snapshot(t, w, `{"exists":`) }},
		{"stuck", func(t *testing.T, w *world) {
			w.commit(t, "org/1", 4, "c9", es.Pending, org.Updated{Profile: profile(t, "Stuck")})
		}},
		{"stuck", func(t *testing.T, w *world) {
			w.commit(t, "org/1", 4, "c9", es.Claimed, org.Updated{Profile: profile(t, "Stuck")})
		}},
		{"view-drift", func(t *testing.T, w *world) { put(t, w, 3, "Other") }},
		{"view-drift", func(t *testing.T, w *world) { put(t, w, 2, "Acme Corp") }}, // a part of a commit
		{"view-behind", func(t *testing.T, w *world) { put(t, w, 1, "Acme") }},
		{"view-ahead", func(t *testing.T, w *world) { put(t, w, 9, "Acme Ltd") }},
		{"view-ahead", func(_ *testing.T, w *world) { w.lost = map[string]uint64{"org/1": 2} }}, // the last of its commits
		{"view-unreadable", func(_ *testing.T, w *world) {
			w.unviewed = map[string]error{"org/1": errors.New("get view org of org/1: unexpected end of JSON input")}
		}},
	}
	for i, f := range faults {
		t.Run(fmt.Sprint(i, " ", f.kind), func(t *testing.T) {
			w := populated(t)
			if code, stdout, stderr := w.esctl(t, "verify"); code != 0 || stdout != "checked 4 streams with 7 events: nothing found\n" || stderr != "" {
				t.Fatalf("before: %d, %s%s", code, stdout, stderr)
			}
			f.fault(t, w)
			code, stdout, stderr := w.esctl(t, "verify", "--json")
			var got finding
			if err := json.Unmarshal([]byte(stdout), &got); err != nil { // one line
				t.Fatalf("%v: %s%s", err, stdout, stderr)
			}
			if code != exitFound || got.Kind != f.kind || got.Stream != "org/1" || !strings.Contains(stderr, ": 1 finding in 1 stream\n") {
				t.Errorf("exit code %d, %+v, %s", code, got, stderr)
			}
			if code, _, _ := w.esctl(t, "verify", "org/1", "org/2"); code != exitFound {
				t.Errorf("by its name: exit code %d", code)
			}
			if code, stdout, _ := w.esctl(t, "verify", "org/2", "org/20"); code != 0 {
				t.Errorf("others: exit code %d, %s", code, stdout)
			}
		})
	}
}

func TestVerifyReport(t *testing.T) {
	w := populated(t)
	w.commit(t, "crm/1", 1, "c1", es.Claimed, es.Event{Type: "met"})
	w.commit(t, "org/3", 1, "c1", es.Settled, org.Created{Profile: profile(t, "New")}, es.Event{Type: "org.merged"})
	w.commit(t, "org/4", 1, "c1", es.Pending, org.Created{Profile: profile(t, "Stuck")})
	w.commit(t, "org/5", 1, "new", es.Pending, org.Created{Profile: profile(t, "On its way")})
	w.commit(t, "org/6", 1, "c1", es.Settled, org.Created{Profile: profile(t, "Not in a view")})
	put(t, w, 3, "Other")
	w.lost = map[string]uint64{"org/2": 1}
	w.golden(t, "verify", "verify --parallel 1", "verify --parallel 1 --json", "verify --parallel 1 --grace 2h", "verify org/20", "verify --parallel 1 org/1 org/99")
}

// What cannot be asked is no finding: nothing is known of the streams that follow.
func TestVerifyFails(t *testing.T) {
	w := populated(t)
	w.unread = map[string]error{"org/2": &smithy.OperationError{ServiceID: "DynamoDB", OperationName: "Query", Err: errors.New("throttled")}}
	code, stdout, stderr := w.esctl(t, "verify")
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, "throttled") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	w.unread, w.unviewed = nil, map[string]error{"org/2": context.DeadlineExceeded}
	if code, stdout, _ := w.esctl(t, "verify"); code != exitFailed || stdout != "" {
		t.Errorf("exit code %d, %s", code, stdout)
	}
}

// Nothing is found of a service that goes on meanwhile: not what is on its way, nor what a view
// shows before it is settled.
func TestVerifyMeanwhile(t *testing.T) {
	w := populated(t)
	s := newSystem(w, w, &w.orgs, &w.otps, nil)
	orgs := s.categories[0].(*kind[org.State, org.View, org.Event]).projection
	w.publish = func(c es.Commit) error { return orgs.Handle(t.Context(), c) }
	var writers sync.WaitGroup
	defer writers.Wait()
	done := make(chan struct{})
	for n := range 3 {
		writers.Go(func() {
			for i := range 100 {
				id := fmt.Sprint("busy", i%2)
				_, err := es.Execute(t.Context(), s.journal, &org.Aggregate, id, func(s org.State) ([]org.Event, error) {
					if !s.Exists {
						return []org.Event{org.Created{Profile: profile(t, "Busy")}}, nil
					}
					return []org.Event{org.Updated{Profile: profile(t, fmt.Sprint("Busy ", n, i))}, org.Updated{Profile: profile(t, fmt.Sprint("Busier ", n, i))}}, nil
				})
				if err != nil && !errors.Is(err, es.ErrConflict) {
					t.Error(err)
				}
			}
		})
	}
	go func() { writers.Wait(); close(done) }()
	for busy := true; busy; {
		select {
		case <-done:
			busy = false // and once more
		default:
		}
		if code, stdout, stderr := w.esctl(t, "verify"); code != 0 {
			t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
		}
	}
}

// Where two documents differ is said, and what they hold is not.
func TestDifference(t *testing.T) {
	const differs = "differs from the fold of the events"
	for _, c := range []struct{ a, b, want string }{
		{`{"a":1}`, `{"a":1}`, ""},
		{`{"a":{"b":["x","y"]}}`, `{"a":{"b":["x","z"]}}`, differs + " at /a/b/1"},
		{`{"a":[1,2]}`, `{"a":[1]}`, differs + " at /a"},
		{`{"a":[1]}`, `{"a":{"b":1}}`, differs + " at /a"},
		{`{"b":1}`, `{"a":1,"b":1}`, differs + " at /a"},
		{`{"a":null}`, `{}`, differs},
		{`1`, `{}`, differs},
		{`{}`, `[]`, differs},
	} {
		if got := difference(json.RawMessage(c.a), json.RawMessage(c.b)); got != c.want {
			t.Errorf("%s, %s: %q, not %q", c.a, c.b, got, c.want)
		}
	}
}

func TestPending(t *testing.T) {
	w := populated(t)
	w.golden(t, "nothing", "pending", "pending --json", "relay")
	w.commit(t, "org/3", 1, "c1", es.Pending, org.Created{Profile: profile(t, "Stuck")})
	w.commit(t, "org/4", 1, "c1", es.Claimed, org.Created{Profile: profile(t, "Refused")}, org.Updated{Profile: profile(t, "1")}, org.Updated{Profile: profile(t, "2")}, org.Updated{Profile: profile(t, "3")})
	w.commit(t, "org/5", 1, "new", es.Pending, org.Created{Profile: profile(t, "On its way")})
	published := 0
	w.publish = func(c es.Commit) error {
		if c.Stream.ID == "4" {
			return fmt.Errorf("%w: it is too large", es.ErrRefused)
		}
		published++
		return nil
	}
	w.golden(t, "pending", "pending", "pending --older 5m", "pending --json",
		"settle org/3 c9 --reason wrong", "settle org/5 new --reason hasty", "settle org/1 c2 --reason settled", "settle org/99 c1 --reason nothing",
		"relay", "pending", `settle org/4 c1 --reason "over 256 KB, see ticket 17"`, "settle org/4 c1 --reason again", "pending")
	if published != 2 {
		t.Errorf("%d commits were published", published)
	}
}

// What is settled by hand is gone as a message, and never published. What is not to be settled stays.
func TestSettle(t *testing.T) {
	is := is.New(t)
	w := populated(t)
	w.publish = func(es.Commit) error { t.Error("it was published"); return nil }
	w.commit(t, "org/1", 4, "c9", es.Pending, org.Updated{Profile: profile(t, "Stuck")})
	status := func() (s es.Status) {
		for c, err := range w.LoadBack(t.Context(), mustStream(t, "org/1"), 1) {
			is.NoErr(err)
			return c.Status
		}
		return
	}
	for _, line := range []string{"settle org/1 c2 --reason x", "settle org/1 c9", `settle org/1 c9 --reason ""`} {
		code, _, _ := w.esctl(t, words(line)...)
		is.True(code != 0)
		is.Equal(status(), es.Pending)
	}
	code, _, stderr := w.esctl(t, "settle", "org/1", "c9", "--reason", "for good")
	is.Equal(code, 0)
	is.Equal(status(), es.Settled)
	is.True(strings.Contains(stderr, `reason="for good"`)) // the log has it

	// The view gets it when it is rebuilt.
	code, _, _ = w.esctl(t, "verify", "org/1")
	is.Equal(code, exitFound)
	code, _, _ = w.esctl(t, "rebuild", "org/1")
	is.Equal(code, 0)
	code, _, _ = w.esctl(t, "verify", "org/1")
	is.Equal(code, 0)
}

func TestTablesCreate(t *testing.T) {
	is := is.New(t)
	code, stdout, _ := newWorld().esctl(t, "tables", "create")
	is.Equal(code, 0)
	is.Equal(stdout, "the tables of a test can be used\n")
}

func TestCompletion(t *testing.T) {
	is := is.New(t)
	w := newWorld()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		code, stdout, _ := w.esctl(t, "completion", shell)
		is.Equal(code, 0)
		is.True(strings.Contains(stdout, "esctl")) // it is a script for this program
	}
	_, stdout, _ := w.esctl(t, "__complete", "rebuild", "--category", "")
	is.Equal(stdout, "org\notp\n:4\n") // and no files
	_, stdout, _ = w.esctl(t, "__complete", "show", "")
	is.Equal(stdout, ":4\n")
}

// put replaces the view of org/1, which is at version 3.
func put(t *testing.T, w *world, version uint64, name string) {
	t.Helper()
	v := es.View[org.View]{Version: version, Value: org.View{Profile: profile(t, name)}}
	if err := w.orgs.Put(t.Context(), mustStream(t, "org/1"), v, 3); err != nil {
		t.Fatal(err)
	}
}

// snapshot adds a commit with a state to org/1.
func snapshot(t *testing.T, w *world, state string) {
	t.Helper()
	e, err := encode(org.Updated{Profile: profile(t, "Acme")})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Append(t.Context(), es.Commit{
		Stream: mustStream(t, "org/1"), Version: 4, ID: "new", Time: noon, Status: es.Settled, Events: []es.Event{e},
		State: &es.Snapshot{Schema: org.Aggregate.Snapshots.Schema, Data: state},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnescaped(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":"b \u0026 \u003cc\u003e \u00e9 \n"}`: `{"a":"b & <c> \u00e9 \n"}`,
		`"\\u0026"`: `"\\u0026"`, `"\\\u0026"`: `"\\&"`, `x\`: `x\`, ``: ``,
	} {
		if got := unescaped(in); got != want {
			t.Errorf("%s: %s, not %s", in, got, want)
		}
	}
}

// Each command line that is documented is one: the commands are there, and so are their flags.
func TestDocumentedCommands(t *testing.T) {
	check := func(where, line string, whole bool) {
		line, _, _ = strings.Cut(line, " #")
		line = regexp.MustCompile(` (\||&&|2>>|2>).*`).ReplaceAllString(line, "")
		if line == "--help" {
			return
		}
		root := (&tool{}).root()
		c, rest, err := root.Find(words(line))
		if err == nil {
			err = c.ParseFlags(rest)
		}
		if err == nil && whole {
			err = c.ValidateArgs(c.Flags().Args())
		}
		if err == nil && c == root {
			err = errors.New("it names no command")
		}
		if err != nil {
			t.Errorf("%s: esctl %s: %v", where, line, err)
		}
	}
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		for _, m := range regexp.MustCompile(`(?m)\besctl (.+)$`).FindAllStringSubmatch(c.Example, -1) {
			if !strings.HasPrefix(m[1], "completion") {
				check(c.CommandPath()+" --help", m[1], true)
			}
		}
		for _, below := range c.Commands() {
			visit(below)
		}
	}
	visit((&tool{}).root())

	for file, least := range map[string]int{"../../docs/operations.md": 30, "../deploy/README.md": 1} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for i, part := range strings.Split(string(text), "```") {
			if i%2 == 1 {
				for _, m := range regexp.MustCompile(`(?m)(?:^|; |go run \./examples/)esctl (.+)$`).FindAllStringSubmatch(part, -1) {
					check(file, m[1], true)
					found++
				}
				continue
			}
			for _, m := range regexp.MustCompile("`esctl ([^`]+)`").FindAllStringSubmatch(part, -1) {
				check(file, m[1], false)
				found++
			}
		}
		if found < least {
			t.Errorf("%s has %d command lines, so the pattern must be wrong", file, found)
		}
	}
}

// Whoever is told of a finding finds what to do about it.
func TestFindingsAreDocumented(t *testing.T) {
	code, err := os.ReadFile("verify.go")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := regexp.MustCompile(`(?:find\(|kind :?= )"([a-z-]+)"`).FindAllStringSubmatch(string(code), -1)
	if len(kinds) < 11 {
		t.Fatalf("%d kinds of findings, so the pattern must be wrong", len(kinds))
	}
	_, help, _ := newWorld().esctl(t, "verify", "--help")
	for _, kind := range kinds {
		if !strings.Contains(help, "\n  "+kind[1]+" ") {
			t.Errorf("the help of verify does not explain %s", kind[1])
		}
		if !strings.Contains(string(doc), "`"+kind[1]+"`") {
			t.Errorf("docs/operations.md does not say what to do about %s", kind[1])
		}
	}
}
