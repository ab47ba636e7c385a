package leftfold_test

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/leftfold/leftfold"

// file is a Go file of this module, and a node of the import graph. Packages of
// this module are written as go list takes them: ".", "./es", "./es/memory".
type file struct {
	name    string // slash-separated, from the root
	pkg     string
	test    bool
	imports []string
}

// rule says what the files of some packages import. Patterns are packages, trees
// of packages ("./es/...", which includes "./es"), or std for the standard library.
type rule struct {
	name   string
	of     []string // packages that the rule is about
	except []string // packages among them that it is not about
	tests  bool     // whether it is about test files, too
	allow  []string // what may be imported; nil means anything
	deny   []string // what may not be imported
}

const std = "std"

var rules = []rule{
	{
		name:  "es imports the standard library alone",
		of:    []string{"./es"},
		allow: []string{std},
	}, {
		name:  "es/memory imports the standard library and es alone",
		of:    []string{"./es/memory/..."},
		allow: []string{std, "./es"},
	}, {
		name:  "es/estest imports the standard library and es alone",
		of:    []string{"./es/estest/..."},
		allow: []string{std, "./es"},
	}, {
		name: "internal/attempt imports the standard library and the core of the SDK alone",
		of:   []string{"./internal/attempt/..."},
		allow: []string{
			std,
			"github.com/aws/aws-sdk-go-v2/aws/...",
			"github.com/aws/smithy-go/...",
		},
	}, {
		name: "dynamostore imports es, DynamoDB and the core of the SDK alone",
		of:   []string{"./dynamostore/..."},
		allow: []string{
			std, "./es", "./internal/attempt",
			"github.com/aws/aws-sdk-go-v2/aws/...",
			"github.com/aws/aws-sdk-go-v2/service/dynamodb/...",
			"github.com/aws/smithy-go/...",
		},
	}, {
		name: "snsbus imports es, SNS, Lambda's events and the core of the SDK alone",
		of:   []string{"./snsbus/..."},
		allow: []string{
			std, "./es", "./internal/attempt",
			"github.com/aws/aws-lambda-go/events",
			"github.com/aws/aws-sdk-go-v2/aws/...",
			"github.com/aws/aws-sdk-go-v2/service/sns/...",
			"github.com/aws/smithy-go/...",
		},
	}, {
		name:   "any other package imports the standard library and es alone",
		of:     []string{"./..."},
		except: []string{"./internal/attempt/...", "./internal/model/...", "./dynamostore/...", "./snsbus/...", "./examples/..."},
		allow:  []string{std, "./es"},
	}, {
		name:  "internal/model imports es, its tests and libraries for tests alone",
		of:    []string{"./internal/model/..."},
		allow: []string{std, "./es", "./es/estest", "pgregory.net/rapid", "github.com/anishathalye/porcupine"},
	}, {
		name:  "examples/local/console imports the standard library and es alone", // it shows any service
		of:    []string{"./examples/local/console/..."},
		allow: []string{std, "./es"},
	}, {
		name:  "dynamostore does not know snsbus, in tests either",
		of:    []string{"./dynamostore/..."},
		tests: true,
		deny:  []string{"./snsbus/..."},
	}, {
		name:  "snsbus does not know dynamostore, in tests either",
		of:    []string{"./snsbus/..."},
		tests: true,
		deny:  []string{"./dynamostore/..."},
	}, {
		name:   "only examples import examples, in tests either",
		of:     []string{"./..."},
		except: []string{"./examples/..."},
		tests:  true,
		deny:   []string{"./examples/..."},
	}, {
		name:   "what is for tests is for tests alone",
		of:     []string{"./..."},
		except: []string{"./internal/model/..."},
		deny: []string{
			"github.com/matryer/is/...", "pgregory.net/rapid/...", "github.com/anishathalye/porcupine/...", "./internal/model/...",
			"github.com/chromedp/...", // a browser drives the console, in tests
		},
	}, {
		// A command line has flags, a terminal and a pace; the service has none of them, and starts without their code.
		name:   "what command lines are made of is for esctl alone",
		of:     []string{"./..."},
		except: []string{"./examples/esctl/..."},
		deny:   []string{"github.com/spf13/...", "github.com/schollz/...", "golang.org/x/term/...", "golang.org/x/time/..."},
	}, {
		name:  "nobody imports esctl, which is a program",
		of:    []string{"./..."},
		tests: true,
		deny:  []string{"./examples/esctl/..."},
	},
}

// broken returns what breaks the rule, a line an import.
func (r rule) broken(files []file) []string {
	var lines []string
	for _, f := range files {
		if f.test && !r.tests || !r.about(f.pkg) {
			continue
		}
		for _, imp := range f.imports {
			if r.allow != nil && !matchAny(r.allow, imp) || matchAny(r.deny, imp) {
				lines = append(lines, fmt.Sprintf("package %s imports %s (in %s), but %s", f.pkg, imp, f.name, r.name))
			}
		}
	}
	return lines
}

func (r rule) about(pkg string) bool { return matchAny(r.of, pkg) && !matchAny(r.except, pkg) }

func matchAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		tree, isTree := strings.CutSuffix(pattern, "/...")
		switch {
		case pattern == std:
			// By its convention the first element of any other import path has a dot.
			first, _, _ := strings.Cut(pkg, "/")
			return !strings.Contains(first, ".")
		case isTree && tree == ".":
			return pkg == "." || strings.HasPrefix(pkg, "./")
		case isTree:
			return pkg == tree || strings.HasPrefix(pkg, tree+"/")
		}
		return pkg == pattern
	})
}

// readFiles reads the imports of every Go file of the module, whatever its build
// constraints are.
func readFiles(fsys fs.FS) ([]file, error) {
	var files []file
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			// What the go command leaves out of "./..." as well.
			base := path.Base(name)
			hidden := strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")
			if name != "." && (hidden || base == "testdata" || base == "vendor" || base == "node_modules" || exists(fsys, name+"/go.mod")) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		f := file{name: name, pkg: local(path.Dir(name)), test: strings.HasSuffix(name, "_test.go")}
		for _, spec := range parsed.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if imp == module {
				imp = "."
			} else if rest, ok := strings.CutPrefix(imp, module+"/"); ok {
				imp = local(rest)
			}
			f.imports = append(f.imports, imp)
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

func local(dir string) string {
	if dir == "." {
		return dir
	}
	return "./" + dir
}

func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return !errors.Is(err, fs.ErrNotExist)
}

// tools are modules that only develop the project, and those of examples that are
// modules of their own. They run by exact version, so that whoever imports the library
// does not get them into the own module graph.
var tools = []string{
	"github.com/golangci/golangci-lint/...",
	"go.opentelemetry.io/...",
	"golang.org/x/perf/...",
	"honnef.co/go/tools/...",
}

// toolsIn returns what a go.mod says of development tools, a line each.
func toolsIn(gomod string) []string {
	var lines []string
	for line := range strings.Lines(gomod) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "//")
		words := strings.Fields(line)
		if slices.Contains(words, "tool") || slices.ContainsFunc(words, func(w string) bool { return matchAny(tools, w) }) {
			lines = append(lines, fmt.Sprintf("go.mod has %q, but development tools stay out of it", strings.TrimSpace(line)))
		}
	}
	return lines
}

func TestImports(t *testing.T) {
	files, err := readFiles(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			if !slices.ContainsFunc(files, func(f file) bool { return r.about(f.pkg) }) {
				t.Errorf("the rule is about no package of this module: it cannot break")
			}
			for _, line := range r.broken(files) {
				t.Error(line)
			}
		})
	}
}

func TestGoModHasNoTools(t *testing.T) {
	gomod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range toolsIn(string(gomod)) {
		t.Error(line)
	}
}

// Each rule finds the file that breaks it, and says so; none minds a file that is
// as it should be.
func TestRulesBreak(t *testing.T) {
	const aws = "github.com/aws/aws-sdk-go-v2/"
	good := []file{
		{name: "doc.go", pkg: "."},
		{name: "deps_test.go", pkg: ".", test: true, imports: []string{"testing", "github.com/matryer/is"}},
		{name: "es/store.go", pkg: "./es", imports: []string{"context", "encoding/json"}},
		{name: "es/store_test.go", pkg: "./es", test: true, imports: []string{"testing", "github.com/matryer/is", "./es/memory"}},
		{name: "es/memory/store.go", pkg: "./es/memory", imports: []string{"sync", "./es"}},
		{name: "es/estest/store.go", pkg: "./es/estest", imports: []string{"testing", "testing/synctest", "./es"}},
		{name: "es/memory/model_test.go", pkg: "./es/memory", test: true, imports: []string{"pgregory.net/rapid", "./internal/model"}},
		{name: "internal/model/store.go", pkg: "./internal/model", imports: []string{"./es", "./es/estest", "pgregory.net/rapid"}},
		{name: "internal/attempt/attempt.go", pkg: "./internal/attempt", imports: []string{
			"context", aws + "aws/transport/http", "github.com/aws/smithy-go",
		}},
		{name: "dynamostore/store.go", pkg: "./dynamostore", imports: []string{
			"context", "./es", "./internal/attempt", aws + "aws", aws + "service/dynamodb", aws + "service/dynamodb/types", "github.com/aws/smithy-go",
		}},
		{name: "dynamostore/store_test.go", pkg: "./dynamostore", test: true, imports: []string{"./es/estest", aws + "config"}},
		{name: "snsbus/consumer.go", pkg: "./snsbus", imports: []string{
			"./es", aws + "aws/transport/http", aws + "service/sns/types", "github.com/aws/aws-lambda-go/events",
		}},
		{name: "examples/local/console/store.go", pkg: "./examples/local/console", imports: []string{"net/http", "./es"}},
		{name: "examples/local/chromium_test.go", pkg: "./examples/local", test: true, imports: []string{"github.com/chromedp/chromedp"}},
		{name: "examples/lambda/main.go", pkg: "./examples/lambda", imports: []string{
			"./dynamostore", "./snsbus", "./examples/service", aws + "config", "github.com/golang-jwt/jwt/v5",
		}},
		{name: "examples/esctl/main.go", pkg: "./examples/esctl", imports: []string{
			"./dynamostore", "./snsbus", "./examples/service", "github.com/spf13/cobra", "golang.org/x/term", "golang.org/x/time/rate",
		}},
	}
	for _, r := range rules {
		for _, line := range r.broken(good) {
			t.Errorf("a good graph: %s", line)
		}
	}

	bad := map[string][]file{
		"es imports the standard library alone": {
			{pkg: "./es", imports: []string{"golang.org/x/sync/errgroup"}},
			{pkg: "./es", imports: []string{"./es/memory"}},
		},
		"es/memory imports the standard library and es alone": {
			{pkg: "./es/memory", imports: []string{"./es/estest"}},
			{pkg: "./es/memory", imports: []string{"github.com/google/uuid"}},
		},
		"es/estest imports the standard library and es alone": {
			{pkg: "./es/estest", imports: []string{"./es/memory"}},
			{pkg: "./es/estest", imports: []string{"github.com/anishathalye/porcupine"}},
		},
		"internal/attempt imports the standard library and the core of the SDK alone": {
			{pkg: "./internal/attempt", imports: []string{"./es"}},
			{pkg: "./internal/attempt", imports: []string{aws + "service/sns"}},
		},
		"dynamostore imports es, DynamoDB and the core of the SDK alone": {
			{pkg: "./dynamostore", imports: []string{aws + "service/sns"}},
			{pkg: "./dynamostore", imports: []string{aws + "service/dynamodbstreams"}},
			{pkg: "./dynamostore", imports: []string{aws + "feature/dynamodb/attributevalue"}},
			{pkg: "./dynamostore", imports: []string{"./es/memory"}},
			{pkg: "./dynamostore/internal/item", imports: []string{"./examples/org"}},
		},
		"snsbus imports es, SNS, Lambda's events and the core of the SDK alone": {
			{pkg: "./snsbus", imports: []string{aws + "service/dynamodb/types"}},
			{pkg: "./snsbus", imports: []string{"github.com/aws/aws-lambda-go/lambda"}},
			{pkg: "./snsbus", imports: []string{"./examples/otp"}},
		},
		"any other package imports the standard library and es alone": {
			{pkg: ".", imports: []string{"./es/memory"}},
			{pkg: "./es/newcomer", imports: []string{"github.com/google/uuid"}},
		},
		"dynamostore does not know snsbus, in tests either": {
			{pkg: "./dynamostore", imports: []string{"./snsbus"}},
			{pkg: "./dynamostore", test: true, imports: []string{"./snsbus"}},
		},
		"snsbus does not know dynamostore, in tests either": {
			{pkg: "./snsbus", imports: []string{"./dynamostore"}},
			{pkg: "./snsbus", test: true, imports: []string{"./dynamostore"}},
		},
		"only examples import examples, in tests either": {
			{pkg: "./es", imports: []string{"./examples/org"}},
			{pkg: "./es/estest", test: true, imports: []string{"./examples/otp"}},
		},
		"internal/model imports es, its tests and libraries for tests alone": {
			{pkg: "./internal/model", imports: []string{"./es/memory"}},
			{pkg: "./internal/model", imports: []string{"github.com/matryer/is"}},
		},
		"examples/local/console imports the standard library and es alone": {
			{pkg: "./examples/local/console", imports: []string{"./examples/org"}},
			{pkg: "./examples/local/console", imports: []string{"./es/estest"}},
		},
		"what is for tests is for tests alone": {
			{pkg: "./examples/org", imports: []string{"github.com/matryer/is"}},
			{pkg: "./examples/org", imports: []string{"github.com/anishathalye/porcupine"}},
			{pkg: "./es/memory", imports: []string{"./internal/model"}},
			{pkg: "./es/estest", imports: []string{"pgregory.net/rapid"}},
			{pkg: "./examples/local", imports: []string{"github.com/chromedp/chromedp"}},
			{pkg: "./examples/service", imports: []string{"pgregory.net/rapid"}},
		},
		"what command lines are made of is for esctl alone": {
			{pkg: "./examples/lambda", imports: []string{"github.com/spf13/cobra"}},
			{pkg: "./examples/local", imports: []string{"github.com/schollz/progressbar/v3"}},
			{pkg: "./examples/service", imports: []string{"golang.org/x/time/rate"}},
		},
		"nobody imports esctl, which is a program": {
			{pkg: "./examples/lambda", imports: []string{"./examples/esctl"}},
			{pkg: "./examples/local", test: true, imports: []string{"./examples/esctl"}},
		},
	}
	for _, r := range rules {
		if len(bad[r.name]) == 0 {
			t.Errorf("no graph breaks the rule %q", r.name)
		}
		for _, f := range bad[r.name] {
			f.name = "bad.go"
			want := []string{"package " + f.pkg + " imports " + f.imports[0] + " (in bad.go), but " + r.name}
			if got := r.broken(append(slices.Clone(good), f)); !slices.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", r.name, got, want)
			}
		}
	}
}

func TestReadFiles(t *testing.T) {
	src := func(pkg, imp string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("//go:build never\n\npackage " + pkg + "\n\nimport _ \"" + imp + "\"\n")}
	}
	got, err := readFiles(fstest.MapFS{
		"go.mod":               {},
		"doc.go":               src("leftfold", "fmt"),
		"es/a.go":              src("es", module),
		"es/a_test.go":         src("es_test", module+"/es/memory"),
		"examples/x/y/main.go": src("main", module+"tools/es"),
		"README.md":            {},
		// None of these belongs to the module.
		".git/a.go":              src("a", "bad"),
		"_old/a.go":              src("a", "bad"),
		"es/testdata/a.go":       src("a", "bad"),
		"node_modules/a/a.go":    src("a", "bad"),
		"other/go.mod":           {},
		"other/main.go":          src("main", "bad"),
		"examples/vendor/b/b.go": src("b", "bad"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []file{
		{name: "doc.go", pkg: ".", imports: []string{"fmt"}},
		{name: "es/a.go", pkg: "./es", imports: []string{"."}},
		{name: "es/a_test.go", pkg: "./es", test: true, imports: []string{"./es/memory"}},
		{name: "examples/x/y/main.go", pkg: "./examples/x/y", imports: []string{module + "tools/es"}},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}

	if _, err := readFiles(fstest.MapFS{"a.go": {Data: []byte("pakkage a")}}); err == nil {
		t.Error("a file that is not Go was taken")
	}
}

func TestToolsIn(t *testing.T) {
	for _, good := range []string{
		"",
		"module " + module + "\n\ngo 1.26\n\nrequire github.com/matryer/is v1.4.1 // indirect\n",
		"require (\n\tgolang.org/x/text v0.23.0 // not golang.org/x/perf\n\tgolang.org/x/tools v0.30.0\n)\n",
	} {
		if got := toolsIn(good); len(got) > 0 {
			t.Errorf("%q: got %q", good, got)
		}
	}
	for _, bad := range []string{
		"require honnef.co/go/tools v0.8.2 // indirect\n",
		"require go.opentelemetry.io/otel v1.47.0\n",
		"require (\n\tgithub.com/golangci/golangci-lint/v2 v2.15.0\n)\n",
		"require (\n\tgolang.org/x/perf v0.0.0-20260908200009-22c9c6c9d4da\n)\n",
		"tool golang.org/x/tools/cmd/stringer\n",
		"tool (\n\tgolang.org/x/tools/cmd/stringer\n)\n",
	} {
		if got := toolsIn(bad); len(got) != 1 {
			t.Errorf("%q: got %q, want one line", bad, got)
		}
	}
}
