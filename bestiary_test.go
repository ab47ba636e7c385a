package leftfold_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/bestiary.md anew")

const aboutBestiary = `# The bestiary

Bugs that libraries for event sourcing have, or had: found by running them, or by reading their code. Each is in our tests as a mutant,
which is a store, a publisher, a command, a codec or a consumer with just this bug, and must be killed by a check that ours passes.
A mutant is a subtest of the test that is named beside it, needs no engine, and fails that test if it survives.

* Where a rule kills it, the test is that of a suite: exactly this rule must find it.
* The explorer kills it with a schedule after which store, broker and what the callers were told do not agree. ` + "`go test -v`" + ` prints it.
  In ` + "`TestRulesSwitchedOff`" + ` a mutant is named after the rule of the protocol that it lacks, in ` + "`TestNaiveProtocolsFail`" + ` after the way in which
  it takes a commit back.
* Where the test itself kills it, the test is about one promise, and runs ours and the mutants.

Stores and publishers on the real engines have mutants of their own, in the packages dynamostore and snsbus.

This page is made from the code of the tests, by ` + "`go test -run TestBestiary . -update`" + `. That test fails if the page is stale, if an entry
has no mutant, and if a mutant is not where it should be.
`

// An entry is a bug, with the mutants that have it.
type entry struct {
	bug     string
	mutants []mutant
}

// A mutant is in a test, by the name of its bug there.
type mutant struct {
	test string // as in es/estest.TestViews
	bug  string

	// by is what kills it, where the test does not say a rule: a string or a name in the
	// mutant's literal. Empty: it is the test that kills it.
	by string
}

const (
	stores      = "es/estest.TestStoreSuiteKills"
	publishers  = "es/estest.TestPublisherSuiteKills"
	viewStores  = "es/estest.TestViewsSuiteKills"
	protocols   = "es.TestNaiveProtocolsFail"
	rulesOff    = "es.TestRulesSwitchedOff"
	commands    = "es.TestWrongCommandsFail"
	projections = "es.TestProjectionAnyDelivery"
	untrue      = "snsbus.TestUntruePublishers"
	consumers   = "snsbus.TestConsumerRulesKill"
)

// bestiary has its entries by chapter. They are numbered through.
var bestiary = []struct {
	chapter string
	entries []entry
}{
	{"Stores", []entry{
		{"Two creates race, and both succeed: the events of one are gone.", []mutant{
			{test: stores, bug: "two creates both succeed, and one is gone"},
		}},
		{"An append beyond the end succeeds: it leaves a gap, or stores nothing.", []mutant{
			{test: stores, bug: "an append beyond the end is stored, and a gap stays"},
			{test: stores, bug: "an append beyond the end says that it was stored, and was not"},
		}},
		{"A history ends silently with its first page, or the loop over the pages never ends.", []mutant{
			{test: stores, bug: "the history stops at the first megabyte"},
			{test: stores, bug: "the history stops after 1000 commits"},
			{test: stores, bug: "the loop over the pages never advances"},
		}},
		{"A limit is that of a page, and not of all.", []mutant{
			{test: stores, bug: "the hint is a limit"},
			{test: stores, bug: "the hint is a limit on each page, and the last page is cut"},
		}},
		{"A read from a version on has empty elements in front, or begins one too early or too late.", []mutant{
			{test: stores, bug: "a load has empty elements in front"},
			{test: stores, bug: "a load starts one version too early"},
			{test: stores, bug: "a load starts one version too late"},
		}},
		{"Reads lag behind: a writer does not see what it appended.", []mutant{
			{test: stores, bug: "reads come from a replica that lags behind"},
		}},
		{"What is throttled, too large or cancelled is called a conflict, and retried for ever.", []mutant{
			{test: stores, bug: "a failed request is reported as a conflict"},
			{test: stores, bug: "a commit that is too large is reported as a conflict"},
		}},
		{"A write whose answer was lost meets itself and calls it a conflict: the command runs twice.", []mutant{
			{test: stores, bug: "an append meets itself and calls it a conflict"},
			{test: rulesOff, bug: "5: a write recognises itself"},
		}},
		{"Streams are keyed by ID alone: two categories share a history.", []mutant{
			{test: stores, bug: "streams are keyed by ID alone"},
			{test: viewStores, bug: "documents are keyed by ID alone"},
		}},
		{"The events of one command are stored one by one: a reader sees half of them.", []mutant{
			{test: stores, bug: "the events of a commit appear one after the other"},
		}},
		{"More events than a transaction takes: half of them are stored, with an error or without.", []mutant{
			{test: stores, bug: "events above 100 are not stored"},
			{test: stores, bug: "events above 100 are not stored, and that is an error"},
		}},
		{"What is given out or taken in is the store's own memory: a caller rewrites history.", []mutant{
			{test: stores, bug: "what was taken in is kept by reference"},
			{test: stores, bug: "what is given out is the store's own"},
		}},
		{"Times are cut to seconds, or are the key: two events of one nanosecond are one.", []mutant{
			{test: stores, bug: "times are cut to seconds"},
			{test: stores, bug: "commits are keyed by their time"},
		}},
		{"A commit is taken back by deleting it, be it in a transaction: somebody who saw it appends behind it, or a late write raises it.", []mutant{
			{test: protocols, bug: "delete in a transaction, if it is the last", by: "vanished"},
			{test: rulesOff, bug: "4: a slot is never emptied"},
			{test: stores, bug: "a revoke deletes the commit, and a delayed append raises it"},
		}},
		{"Events are taken back after any error, whatever has become of them, or in part.", []mutant{
			{test: rulesOff, bug: "2: it is revoked only after a refusal that is certain"},
			{test: stores, bug: "a settled commit can be revoked"},
			{test: stores, bug: "a revoke takes back the last event alone"},
		}},
		{"A cancelled context stops the compensation.", []mutant{
			{test: "es.TestCancelDoesNotStopCommit", bug: "a cancelled context stops the compensation"},
		}},
	}},
	{"Publishing", []entry{
		{"Events are stored, the process dies, and nobody ever publishes them.", []mutant{
			{test: protocols, bug: "delete", by: "lost"},
		}},
		{"A failed publish is a success; or a command that took effect is an error, and is done again.", []mutant{
			{test: commands, bug: "a failed publish is a success"},
			{test: commands, bug: "what may be published is an error, and is done again"},
		}},
		{"A batch is taken in part: subscribers have some of the events, and the store none.", []mutant{
			{test: commands, bug: "a commit is published in two parts, and the second one decides"},
		}},
		{"Duplicates are told by content, or by stream and version: what is new is swallowed.", []mutant{
			{test: publishers, bug: "duplicates are told by content"},
			{test: publishers, bug: "duplicates are told by stream and version"},
		}},
		{"One message group for everything, or none.", []mutant{
			{test: publishers, bug: "there is one lane for the whole system"},
			{test: publishers, bug: "there are no groups, so no order"},
		}},
		{"A retry hides a first attempt that is unknown behind a second that was refused.", []mutant{
			{test: rulesOff, bug: "2: every attempt counts"},
			{test: untrue, bug: "the last attempt decides", by: "reset after the effect"},
			{test: untrue, bug: "the SDK repeats", by: "reset after the effect"},
		}},
		{"An answer of 200 that is empty, or says half, is a success.", []mutant{
			{test: untrue, bug: "200 without an ID is success", by: "200 without a body or an effect"},
			{test: publishers, bug: "events above 100 do not arrive"},
		}},
		{"Two writers publish version 6 before version 5.", []mutant{
			{test: protocols, bug: "delete", by: "disorder"},
			{test: rulesOff, bug: "1: nobody builds on a commit that is not settled"},
		}},
	}},
	{"Commands and codecs", []entry{
		{"Pending events are cleared before they are appended: the retry stores nothing, and succeeds.", []mutant{
			{test: commands, bug: "pending events are cleared before the append"},
		}},
		{"A retry saves the old events, and does not decide again.", []mutant{
			{test: commands, bug: "a retry saves the old events again"},
		}},
		{"An event of an unknown type is skipped, or is found out after it was stored.", []mutant{
			{test: "es.TestUnknownEvent", bug: "an unknown event is skipped"},
			{test: "es.TestUnknownEvent", bug: "an unknown event is found out after it is stored"},
		}},
		{"Events are named after Go types: a rename loses history, and two packages collide.", []mutant{
			{test: "es.TestJSONNames", bug: "events are named after their Go types"},
		}},
		{"The state is stale when a command decides for the second time.", []mutant{
			{test: commands, bug: "the second decision is made on the state of the first"},
		}},
		{"Types are in a global registry: tests poison each other.", []mutant{
			{test: "es.TestJSONNames", bug: "all codecs share one registry"},
		}},
		{"A snapshot survives a change of its schema.", []mutant{
			{test: "es.TestSnapshotSchema", bug: "a snapshot survives a change of its schema"},
		}},
		{"A snapshot or a cache hides which commands were done: a repeat does it again.", []mutant{
			{test: "es.TestNamedSurvivesSnapshots", bug: "a snapshot is stored without the names of commands"},
			{test: "es.TestNamedSurvivesSnapshots", bug: "a cache has states without the names of commands"},
		}},
	}},
	{"The read side", []entry{
		{"An event that is delivered twice is applied twice.", []mutant{
			{test: projections, bug: "what comes again is applied again"},
		}},
		{"Progress is a time, or a position that is not given out in order: events are skipped.", []mutant{
			{test: projections, bug: "progress is the time of the last commit"},
			{test: projections, bug: "progress is one position in all streams"},
		}},
		{"A gap is not noticed, or blocks for ever.", []mutant{
			{test: projections, bug: "a gap is not noticed"},
			{test: projections, bug: "a gap blocks for ever"},
		}},
		{"Behind a message that failed the rest of its group is handled; or one bad group stops all.", []mutant{
			{test: consumers, bug: "what comes after a failure in its group is handled"},
			{test: consumers, bug: "one bad group stops all"},
		}},
		{"A message that cannot be parsed is dropped, or blocks for ever.", []mutant{
			{test: consumers, bug: "what is malformed is dropped"},
			{test: consumers, bug: "what is malformed is an error of the event"},
		}},
		{"A view is overwritten by an older one.", []mutant{
			{test: projections, bug: "an older commit overwrites the view"},
			{test: viewStores, bug: "a put overwrites whatever is there, even the newer"},
		}},
		{"An answer of the wrong kind makes the queue delete the batch.", []mutant{
			{test: consumers, bug: "an event of another kind is answered"},
			{test: consumers, bug: "failures are returned without their IDs"},
		}},
	}},
}

func TestBestiary(t *testing.T) {
	var page strings.Builder
	page.WriteString(aboutBestiary)
	packages := map[string]map[string]*ast.FuncDecl{}
	number := 0
	for _, c := range bestiary {
		fmt.Fprintf(&page, "\n## %s\n\n| | bug | mutant | in | killed by |\n|---|---|---|---|---|\n", c.chapter)
		for _, e := range c.entries {
			number++
			if len(e.mutants) == 0 {
				t.Errorf("entry %d has no mutant: %s", number, e.bug)
			}
			head := fmt.Sprintf("%d | %s", number, e.bug)
			for _, m := range e.mutants {
				dir, name, _ := strings.Cut(m.test, ".")
				if packages[dir] == nil {
					packages[dir] = testFunctions(t, dir)
				}
				killer, err := m.killer(packages[dir], name)
				if err != nil {
					t.Errorf("entry %d, mutant %q of %s: %v", number, m.bug, m.test, err)
				}
				fmt.Fprintf(&page, "| %s | %s | `%s` | %s |\n", head, m.bug, m.test, killer)
				head = " | "
			}
		}
	}
	if number != 39 {
		t.Errorf("there are %d entries", number)
	}
	file := filepath.Join("docs", "bestiary.md")
	if *update && !t.Failed() {
		if err := os.WriteFile(file, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != page.String() {
		t.Errorf("docs/bestiary.md is stale, write it with -update: %v", err)
	}
}

// testFunctions returns the functions in the tests of a package, by name.
func testFunctions(t *testing.T, dir string) map[string]*ast.FuncDecl {
	files, err := filepath.Glob(filepath.Join(filepath.FromSlash(dir), "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no tests: %v", dir, err)
	}
	functions := map[string]*ast.FuncDecl{}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil {
				functions[d.Name.Name] = d
			}
		}
	}
	return functions
}

// killer returns what kills the mutant, by the code: the rule that stands beside it, or what
// is said of it here if that is in it, or the test. The mutant is a literal in the test, or in
// a function that the test names, with its bug as the first string.
func (m *mutant) killer(functions map[string]*ast.FuncDecl, test string) (string, error) {
	f := functions[test]
	if f == nil {
		return "", fmt.Errorf("there is no such test")
	}
	names, _ := words(f) // its own included
	if slices.Contains(names, "live") {
		return "", fmt.Errorf("the test needs an engine")
	}
	var found *ast.CompositeLit
	var rules []string
	n := 0
	for _, name := range names {
		if functions[name] == nil {
			continue
		}
		ast.Inspect(functions[name], func(node ast.Node) bool {
			if lit, ok := node.(*ast.CompositeLit); ok {
				if own := ownStrings(lit); len(own) > 0 && own[0] == m.bug {
					found, rules = lit, own[1:]
					n++
				}
			}
			return true
		})
	}
	switch {
	case n != 1:
		return "", fmt.Errorf("it is there %d times", n)
	case len(rules) > 0:
		return "“" + strings.Join(rules, "”, “") + "”", nil
	case m.by != "":
		names, texts := words(found)
		if slices.Contains(names, m.by) {
			return "a schedule of the explorer: `" + m.by + "`", nil
		}
		if slices.Contains(texts, m.by) {
			return "what it says after “" + m.by + "”, which is not true", nil
		}
		return "", fmt.Errorf("nothing in it is called %q", m.by)
	case slices.Contains(names, "mustFind"):
		return "a schedule of the explorer", nil
	}
	return "the test itself", nil
}

// words returns the names and the strings that occur in a piece of code, each name once.
func words(node ast.Node) (names, texts []string) {
	ast.Inspect(node, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.Ident:
			if !slices.Contains(names, node.Name) {
				names = append(names, node.Name)
			}
		case *ast.BasicLit:
			if text, err := strconv.Unquote(node.Value); err == nil {
				texts = append(texts, text)
			}
		}
		return true
	})
	return names, texts
}

// ownStrings returns the strings that are elements of a literal.
func ownStrings(lit *ast.CompositeLit) (own []string) {
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			e = kv.Value
		}
		if b, ok := e.(*ast.BasicLit); ok && b.Kind == token.STRING {
			if text, err := strconv.Unquote(b.Value); err == nil {
				own = append(own, text)
			}
		}
	}
	return own
}
