package main

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPack(t *testing.T) {
	var first []byte
	for n := range 2 {
		dir := t.TempDir()
		for _, name := range []string{"bootstrap", "a.txt"} {
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, []byte("content of "+name), 0o600); err != nil {
				t.Fatal(err)
			}
			at := time.Now().Add(time.Duration(n) * -time.Hour)
			if err := os.Chtimes(file, at, at); err != nil {
				t.Fatal(err)
			}
		}
		archive := filepath.Join(dir, "new", "out.zip")
		if err := pack(archive, filepath.Join(dir, "bootstrap"), filepath.Join(dir, "a.txt")); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(archive)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			first = content
		} else if !bytes.Equal(content, first) {
			t.Error("the archive depends on more than contents and names")
		}
	}

	r, err := zip.NewReader(bytes.NewReader(first), int64(len(first)))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"bootstrap", "a.txt"} {
		f := r.File[i]
		if f.Name != name || f.Mode() != 0o755 {
			t.Errorf("%s with mode %v", f.Name, f.Mode())
		}
		opened, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(opened)
		if err != nil || string(content) != "content of "+name {
			t.Errorf("%s: %q, %v", name, content, err)
		}
	}
}

func TestPackNothing(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "out.zip")
	if err := pack(archive, filepath.Join(t.TempDir(), "missing")); !os.IsNotExist(err) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(archive); !os.IsNotExist(err) {
		t.Error("an archive was written")
	}
}
