package leftfold_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/snsbus"
)

// documented returns the records of the table in docs/operations.md: for each name and
// outcome, the levels and the keys.
func documented(t *testing.T) map[string]string {
	t.Helper()
	doc, err := os.ReadFile("docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	records := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (?:`([^`]+)` )?\\| ([A-Z, ]+) \\| ([a-z ]+) \\|").FindAllStringSubmatch(string(doc), -1) {
		name, levels, keys := row[1], strings.Split(row[3], ", "), strings.Fields(row[4])
		if row[2] != "" {
			name, keys = name+": "+row[2], append(keys, "outcome")
		}
		records[name] = shape(levels, keys)
	}
	if len(records) < 20 {
		t.Fatalf("there are %d records in the table, so the pattern must be wrong", len(records))
	}
	return records
}

func shape(levels, keys []string) string {
	return fmt.Sprint(slices.Compact(slices.Sorted(slices.Values(levels))), slices.Compact(slices.Sorted(slices.Values(keys))))
}

// seen collects records as the table has them.
type seen struct {
	mu           sync.Mutex
	levels, keys map[string][]string
}

func newSeen() *seen {
	return &seen{levels: make(map[string][]string), keys: make(map[string][]string)}
}

func (s *seen) Enabled(context.Context, slog.Level) bool { return true }
func (s *seen) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s *seen) WithGroup(string) slog.Handler            { return s }

func (s *seen) Handle(_ context.Context, r slog.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, keys := r.Message, []string(nil)
	r.Attrs(func(a slog.Attr) bool {
		keys = append(keys, a.Key)
		if a.Key == "outcome" {
			name += ": " + a.Value.String()
		}
		return true
	})
	s.levels[name] = append(s.levels[name], r.Level.String())
	if before := s.keys[name]; before != nil && shape(nil, before) != shape(nil, keys) {
		return fmt.Errorf("%s has the keys %v, and had %v", name, keys, before)
	}
	s.keys[name] = keys
	return nil
}

// charging is a store that charges by size, and does to its writes as it is told.
type charging struct {
	memory.Store
	do func(write string) error // before the write; nil: nothing
}

func (s *charging) Units(es.Commit) int { return 1 }

func (s *charging) before(write string) error {
	if s.do == nil {
		return nil
	}
	return s.do(write)
}

func (s *charging) Append(ctx context.Context, c es.Commit) error {
	if err := s.before("append"); err != nil {
		return err
	}
	return s.Store.Append(ctx, c)
}

func (s *charging) Revoke(ctx context.Context, c es.Commit) error {
	if err := s.before("revoke"); err != nil {
		return err
	}
	return s.Store.Revoke(ctx, c)
}

type publisher func(es.Commit) error

func (p publisher) Publish(_ context.Context, c es.Commit) error { return p(c) }

// What the library logs, in every case that it has a word for, is what the table in
// docs/operations.md says: name, outcome, level and keys.
func TestLogIsDocumented(t *testing.T) {
	all := newSeen()
	synctest.Test(t, func(t *testing.T) {
		logger := slog.New(all)
		ctx, down, refused := t.Context(), errors.New("time-out"), fmt.Errorf("closed: %w", es.ErrRefused)
		var store charging
		var answer error // of the broker
		var told []es.Commit
		j := &es.Journal{Store: &store, Publisher: publisher(func(c es.Commit) error {
			if answer == nil {
				told = append(told, c)
			}
			return answer
		}), Logger: logger}
		commit := func(id string) {
			_, _ = j.Commit(ctx, es.Commit{Stream: es.StreamID{Category: "log", ID: id}, Events: []es.Event{{Type: "log.tested", Data: "1"}}})
		}
		relay := func() {
			time.Sleep(time.Minute)
			_, _ = j.Relay(ctx)
		}
		for range 3 {
			commit("1")
		}
		answer = refused
		commit("2")
		answer = down
		commit("2")
		relay()
		stuck, err := first(store.Pending(ctx, time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Settle(ctx, stuck.Stream, stuck.ID, "nobody wants it"); err != nil {
			t.Error(err)
		}
		commit("3")
		answer = nil
		relay()
		relay()
		n := 0
		store.do = func(string) error {
			if n++; n == 1 {
				return es.ErrConflict
			}
			return nil
		}
		commit("4")
		store.do = func(string) error { return down }
		commit("5")
		store.do = nil

		p := &es.Projection[int, es.Event]{
			Category: "log", Events: asIs{}, Fold: func(n int, _ es.Event) int { return n + 1 },
			Views: &memory.Views[int]{}, Store: &store, Logger: logger,
		}
		for _, i := range []int{0, 2, 1} {
			if err := p.Handle(ctx, told[i]); err != nil {
				t.Error(err)
			}
		}

		r := &es.Reactor[es.Event]{Name: "log-tester", Category: "log", Events: asIs{}, Logger: logger, React: func(context.Context, es.Recorded[es.Event], string) error { return nil }}
		if err := r.Handle(ctx, told[0]); err != nil {
			t.Error(err)
		}

		var handle func(es.Commit) error
		consumer := &snsbus.Consumer{Logger: logger, Handle: func(_ context.Context, c es.Commit) error { return handle(c) }}
		receive := func(ctx context.Context, body string) {
			_, _ = consumer.HandleSQS(ctx, events.SQSEvent{Records: []events.SQSMessage{{MessageId: "m", EventSource: "aws:sqs", Body: body}}})
		}
		const body = `{"stream":{"category":"log","id":"1"},"version":1,"id":"c1","time":"2026-01-31T12:00:00Z","events":[{"type":"log.tested"}]}`
		handle = func(es.Commit) error { return nil }
		receive(ctx, body)
		receive(ctx, "malformed")
		handle = func(es.Commit) error { return down }
		receive(ctx, body)
		handle = func(es.Commit) error { panic("oops") }
		receive(ctx, body)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		receive(ended, body)

		bus := memory.Bus{Logger: logger}
		bus.Subscribe("sometimes", func(context.Context, es.Commit) error {
			defer func() { answer = nil }()
			return answer
		})
		answer = down
		if err := errors.Join(bus.Publish(ctx, told[0]), bus.Close(ctx)); err != nil {
			t.Error(err)
		}
	})

	want := documented(t)
	for name := range all.keys {
		if got := shape(all.levels[name], all.keys[name]); got != want[name] {
			t.Errorf("%s: logged is %s, documented %s", name, got, want[name])
		}
	}
	// The rest is the service's: see the next test.
	service := make(map[string]bool)
	for name := range records(t, "examples/service", "examples/lambda") {
		service[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if all.keys[name] == nil && !service[name] {
			t.Errorf("%s is documented, and was not logged", name)
		}
	}
}

// No call of a logger is without a row in the table: of the library's by its name,
// of the service's with its keys and levels.
func TestEveryRecordIsDocumented(t *testing.T) {
	want := documented(t)
	for name, got := range records(t, "examples/service", "examples/lambda") {
		if want[name] != got {
			t.Errorf("%s: the code has %s, the table %s", name, got, want[name])
		}
	}
	for name := range records(t, "es", "es/memory", "snsbus", "dynamostore") {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(row string) bool { return row == name || strings.HasPrefix(row, name+": ") }) {
			t.Errorf("%s is logged, and not in the table", name)
		}
	}
}

// records returns what the packages log, by the calls in their source.
func records(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, dir := range dirs {
		names, err := filepath.Glob(filepath.Join(filepath.FromSlash(dir), "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if f, ok := n.(*ast.FuncDecl); ok && f.Body != nil {
					recordsIn(t, f, found)
				}
				return true
			})
		}
	}
	if len(found) == 0 {
		t.Fatalf("nothing is logged in %v, so the pattern must be wrong", dirs)
	}
	return found
}

// recordsIn adds the calls in a function. A level that is a variable may be any that the
// function names.
func recordsIn(t *testing.T, f *ast.FuncDecl, found map[string]string) {
	t.Helper()
	var named []string
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(s.Sel.Name, "Level") && len(s.Sel.Name) > len("Level") {
			named = append(named, strings.ToUpper(strings.TrimPrefix(s.Sel.Name, "Level")))
		}
		return true
	})
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		at := -1 // the name's place among the arguments
		switch fun := call.Fun.(type) {
		case *ast.SelectorExpr:
			if slices.Contains([]string{"Debug", "Info", "Warn", "Error", "DebugContext", "InfoContext", "WarnContext", "ErrorContext", "Log"}, fun.Sel.Name) {
				if x, ok := fun.X.(*ast.SelectorExpr); ok && strings.EqualFold(x.Sel.Name, "logger") {
					t.Errorf("%s logs by %s, which this test does not read", f.Name, fun.Sel.Name)
				}
			}
			if fun.Sel.Name == "LogAttrs" {
				at = 2
			}
		case *ast.Ident:
			if fun.Name == "note" {
				at = 3
			}
		}
		if at < 0 || f.Name.Name == "note" && f.Recv == nil {
			return true
		}
		name, ok := call.Args[at].(*ast.BasicLit)
		if !ok {
			t.Errorf("%s logs something whose name is no literal", f.Name)
			return true
		}
		text, err := strconv.Unquote(name.Value)
		if err != nil {
			t.Fatal(err)
		}
		levels, keys := named, []string(nil)
		if l, ok := call.Args[at-1].(*ast.SelectorExpr); ok {
			levels = []string{strings.ToUpper(strings.TrimPrefix(l.Sel.Name, "Level"))}
		}
		for _, arg := range call.Args[at+1:] {
			if attr, ok := arg.(*ast.CallExpr); ok && len(attr.Args) > 0 {
				if key, ok := attr.Args[0].(*ast.BasicLit); ok {
					keys = append(keys, strings.Trim(key.Value, `"`))
				}
			}
		}
		found[text] = shape(levels, keys)
		return true
	})
}

// asIs leaves events as they are stored.
type asIs struct{}

func (asIs) Encode(e es.Event) (es.Event, error)                   { return e, nil }
func (asIs) Decode(dst []es.Event, e es.Event) ([]es.Event, error) { return append(dst, e), nil }
func (asIs) Types() []string                                       { return nil }

// first returns the first commit of a sequence.
func first(commits func(func(es.Commit, error) bool)) (es.Commit, error) {
	for c, err := range commits {
		return c, err
	}
	return es.Commit{}, errors.New("there is none")
}
