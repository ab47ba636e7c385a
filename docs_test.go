package leftfold_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every test that the documentation names as a proof must be there.
func TestDocumentedTestsExist(t *testing.T) {
	code := map[string]string{} // directory → its Go files
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		code[filepath.Dir(path)] += string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, least := range map[string]int{"docs/design.md": 20, "docs/protocol.md": 12, "docs/adapters.md": 1, "README.md": 8} {
		doc, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile("`(estest\\.)?(Test\\w+)`").FindAllStringSubmatch(string(doc), -1)
		if len(named) < least {
			t.Fatalf("%s names %d tests, so the pattern must be wrong", name, len(named))
		}
		for _, n := range named {
			dirs := []string{".", "es", "dynamostore", "snsbus", "examples/lambda"}
			if n[1] != "" {
				dirs = []string{"es/estest"}
			}
			if !slices.ContainsFunc(dirs, func(dir string) bool {
				return regexp.MustCompile(`func ` + n[2] + `[(\[]`).MatchString(code[filepath.FromSlash(dir)])
			}) {
				t.Errorf("%s names %s%s, which is not in %v", name, n[1], n[2], dirs)
			}
		}
	}
}

// Whoever is woken by an alarm finds what to do under its name.
func TestAlarmsAreDocumented(t *testing.T) {
	template, err := os.ReadFile("examples/deploy/template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	alarms := regexp.MustCompile(`(?m)^  (\w+):\n    Type: AWS::CloudWatch::Alarm$`).FindAllStringSubmatch(string(template), -1)
	if len(alarms) < 5 {
		t.Fatalf("the template has %d alarms, so the pattern must be wrong", len(alarms))
	}
	for _, alarm := range alarms {
		if !strings.Contains(string(doc), "\n### "+alarm[1]+"\n") {
			t.Errorf("docs/operations.md has no section on %s", alarm[1])
		}
	}
}

// The tutorial deploys its function with the template of another: what it reads must be set there.
func TestTutorialEnvironment(t *testing.T) {
	template, err := os.ReadFile("examples/deploy/template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	reads := regexp.MustCompile(`os\.Getenv\("(\w+)"\)`).FindAllStringSubmatch(string(doc), -1)
	if len(reads) != 3 {
		t.Errorf("the function reads %d variables, so the pattern must be wrong", len(reads))
	}
	for _, name := range reads {
		if !strings.Contains(string(template), "\n          "+name[1]+": ") {
			t.Errorf("the function of the tutorial reads %s, which the template does not set", name[1])
		}
	}
}

// A link within the documentation leads to a file that is there, and to a heading that is in it.
func TestLinks(t *testing.T) {
	heading := regexp.MustCompile(`(?m)^#+ (.+)$`)
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(pages, "README.md", "CONTRIBUTING.md", "examples/deploy/README.md") {
		doc, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		prose := regexp.MustCompile("(?s)```.*?\n```").ReplaceAllString(string(doc), "")
		for _, link := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(prose, -1) {
			path, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			target := name
			if path != "" {
				target = filepath.Join(filepath.Dir(name), filepath.FromSlash(path))
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", name, link[1], err)
				continue
			}
			if anchor == "" {
				continue
			}
			text, err := os.ReadFile(target)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(heading.FindAllStringSubmatch(string(text), -1), func(h []string) bool {
				return regexp.MustCompile(`[^\w-]`).ReplaceAllString(strings.ReplaceAll(strings.ToLower(h[1]), " ", "-"), "") == anchor
			}) {
				t.Errorf("%s links to %s, and there is no such heading", name, link[1])
			}
		}
	}
}

// The README shows the code of an example that runs, and what it prints.
func TestReadmeExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("es/example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(code), "func Example() {\n")
	body, output, ok := strings.Cut(body, "\t// Output:\n")
	if !ok {
		t.Fatal("es/example_test.go has no Example with output")
	}
	if want := "```go\n" + unindent(body, "\t") + "```"; !strings.Contains(string(readme), want) {
		t.Errorf("README.md lacks this code:\n%s", want)
	}
	output, _, _ = strings.Cut(output, "}\n")
	if want := "```\n" + unindent(output, "\t// ") + "```"; !strings.Contains(string(readme), want) {
		t.Errorf("README.md lacks this output:\n%s", want)
	}
	if n := strings.Count(body, "\n"); n >= 30 {
		t.Errorf("the smallest useful aggregate has %d lines, 30 are too many", n)
	}
}

func unindent(text, by string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimPrefix(line, by))
	}
	return b.String()
}
