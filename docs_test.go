package leftfold_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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
	doc, err := os.ReadFile("docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(estest\\.)?(Test\\w+)`").FindAllStringSubmatch(string(doc), -1)
	if len(named) < 20 {
		t.Fatalf("docs/design.md names %d tests, so the pattern must be wrong", len(named))
	}
	for _, n := range named {
		dir := "es"
		if n[1] != "" {
			dir = "es/estest"
		}
		if !strings.Contains(code[filepath.FromSlash(dir)], "func "+n[2]+"(") {
			t.Errorf("docs/design.md names %s%s, which is not in %s", n[1], n[2], dir)
		}
	}
}
