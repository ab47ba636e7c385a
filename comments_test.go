package leftfold_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Every exported name has a doc comment: constants, variables, functions and types, methods of
// types and of interfaces. Those of a group may have it in common, and so may the methods of an
// interface whose own comment names them. What Error returns is for people, and nobody's contract.
func TestExportedNamesAreDocumented(t *testing.T) {
	names := 0
	for _, dir := range packages(t) {
		fset := token.NewFileSet()
		for _, file := range dir.parse(t, fset) {
			for _, d := range file.Decls {
				for name, comment := range declared(d) {
					names++
					if strings.TrimSpace(comment.Text()) == "" {
						t.Errorf("%s: %s has no doc comment", fset.Position(name.Pos()), name.Name)
					}
				}
			}
		}
	}
	if names < 200 {
		t.Errorf("there are %d names, so the pattern must be wrong", names)
	}
}

// Every package has an overview, and that of a package which others import opens with an example.
func TestPackagesOpenWithAnExample(t *testing.T) {
	for _, dir := range packages(t) {
		var docs []string
		name := ""
		for _, file := range dir.parse(t, token.NewFileSet()) {
			name = file.Name.Name
			if file.Doc != nil {
				docs = append(docs, file.Doc.Text())
			}
		}
		if len(docs) != 1 {
			t.Errorf("%s has %d package comments, not one", dir.name, len(docs))
			continue
		}
		prefix := "Package " + name + " "
		if name == "main" {
			prefix = "Command " + path.Base(dir.name) + " "
		}
		if !strings.HasPrefix(docs[0], prefix) {
			t.Errorf("%s: its package comment begins with %.20q, not with %q", dir.name, docs[0], prefix)
		}
		overview, _, _ := strings.Cut(docs[0], "\n# ")
		if name != "main" && !strings.Contains(overview, "\n\t") {
			t.Errorf("%s: its package comment has no example before the first heading", dir.name)
		}
	}
}

// The overviews of the module and of package es open with a whole program: it runs, and prints what
// its comments say.
func TestOverviewsRun(t *testing.T) {
	for name, want := range map[string]string{"doc.go": "100 1 <nil>\n", "es/doc.go": "1 <nil>\n100 <nil>\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			program := "package main\n\nimport (\n"
			var code strings.Builder
			for line := range strings.Lines(file.Doc.Text()) {
				if strings.HasPrefix(line, "\t") || line == "\n" && code.Len() > 0 {
					code.WriteString(strings.TrimPrefix(line, "\t"))
				} else if code.Len() > 0 {
					break
				}
			}
			for _, imp := range []string{"context", "errors", "fmt", "log", module + "/es", module + "/es/memory"} {
				if strings.Contains(code.String(), path.Base(imp)+".") {
					program += "\t\"" + imp + "\"\n"
				}
			}
			program += ")\n\n" + code.String()
			main := filepath.Join(t.TempDir(), "main.go")
			if err := os.WriteFile(main, []byte(program), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), "go", "run", main).CombinedOutput()
			if err != nil || string(out) != want {
				t.Errorf("%v\n%s\nof\n%s", err, out, program)
			}
		})
	}
}

// declared returns what a declaration exports, each with its comment.
func declared(d ast.Decl) map[*ast.Ident]*ast.CommentGroup {
	found := map[*ast.Ident]*ast.CommentGroup{}
	add := func(name *ast.Ident, comments ...*ast.CommentGroup) {
		if !name.IsExported() {
			return
		}
		found[name] = nil
		for _, c := range comments {
			if c != nil {
				found[name] = c
				return
			}
		}
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil || receiver(d.Recv.List[0].Type).IsExported() && d.Name.Name != "Error" {
			add(d.Name, d.Doc)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.ValueSpec:
				for _, name := range spec.Names {
					add(name, spec.Doc, spec.Comment, d.Doc)
				}
			case *ast.TypeSpec:
				add(spec.Name, spec.Doc, d.Doc)
				methods, ok := spec.Type.(*ast.InterfaceType)
				if !ok || !spec.Name.IsExported() {
					continue
				}
				for _, m := range methods.Methods.List {
					for _, name := range m.Names {
						add(name, m.Doc, m.Comment)
						own := found[spec.Name]
						if found[name] == nil && own != nil && strings.Contains(own.Text(), name.Name) {
							found[name] = own
						}
					}
				}
			}
		}
	}
	return found
}

// receiver returns the name of a receiver's type.
func receiver(e ast.Expr) *ast.Ident {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e
	}
	return ast.NewIdent("_")
}

// folder is a package of this module, with its Go files but the tests.
type folder struct {
	name  string
	files []string
}

func packages(t *testing.T) []folder {
	t.Helper()
	files, err := readFiles(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	var found []folder
	for _, f := range files {
		if f.test {
			continue
		}
		i := slices.IndexFunc(found, func(d folder) bool { return d.name == path.Dir(f.name) })
		if i < 0 {
			i = len(found)
			found = append(found, folder{name: path.Dir(f.name)})
		}
		found[i].files = append(found[i].files, f.name)
	}
	if len(found) < 10 {
		t.Fatalf("there are %d packages, so the pattern must be wrong", len(found))
	}
	return found
}

func (d folder) parse(t *testing.T, fset *token.FileSet) []*ast.File {
	t.Helper()
	var parsed []*ast.File
	for _, name := range d.files {
		src, err := fs.ReadFile(os.DirFS("."), name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	return parsed
}
