package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sample = `go: go1.26
processors: 2
date: 2026-11-24
goos: linux
goarch: amd64
cpu: AMD EPYC
BenchmarkReplay/of=org/events=1000/lib=loop-2 10 2000000 ns/op 1000000 cpu-ns/op 8 allocs/event
BenchmarkReplay/of=org/events=1000/lib=loop-2 10 9000000 ns/op 1000000 cpu-ns/op 8 allocs/event
BenchmarkReplay/of=org/events=1000/lib=loop-2 10 1000000 ns/op 1000000 cpu-ns/op 8 allocs/event
BenchmarkReplay/of=org/events=1000/lib=leftfold-2 10 2080000 ns/op 3000000 cpu-ns/op 8 allocs/event
BenchmarkParallel/of=org/lib=leftfold 10 1700 ns/op
BenchmarkParallel/of=org/lib=leftfold-2 10 1000 ns/op
BenchmarkCommand/of=org/events=10/lib=leftfold-2 10 1700 ns/op
BenchmarkCommand/of=org/events=100/lib=leftfold-2 10 5000 ns/op
BenchmarkCodec/codec=goccy.go-json/by=bare-2 10 100 ns/op
BenchmarkCodec/codec=goccy.go-json/by=codec-2 10 120 ns/op
BenchmarkCodec/codec=goccy.go-json/by=pointers-2 10 110 ns/op
BenchmarkCodec/codec=encoding.json/by=bare-2 10 100 ns/op
BenchmarkCodec/codec=encoding.json/by=pointers-2 10 111 ns/op
BenchmarkReplay/of=account/events=1000/lib=loop-2 10 100 ns/op
BenchmarkReplay/of=account/events=1000/lib=leftfold-2 10 120 ns/op
BenchmarkReplay/of=account/events=1000/lib=loop-2 10 400 ns/op
BenchmarkReplay/of=account/events=1000/lib=leftfold-2 10 440 ns/op
BenchmarkReplay/of=account/events=1000/lib=loop-2 10 1000 ns/op
BenchmarkReplay/of=account/events=1000/lib=leftfold-2 10 1300 ns/op
BenchmarkKept/of=org/each=1/lib=leftfold-2 1 1700 ns/op 276.2 B-kept/event
`

func TestTables(t *testing.T) {
	byClock, err := read(strings.NewReader(sample), "sample", false)
	if err != nil {
		t.Fatal(err)
	}
	byCPU, err := read(strings.NewReader(sample), "sample", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		text func(*results) string
		of   *results
		want string
	}{
		{machine, byClock, "Measured with go1.26, linux/amd64, 2 processors (AMD EPYC), 2026-11-24, by the clock's time."},
		{machine, byClock, "Medians of 1 to 3 measurements"},
		{timeTable, byClock, "| replay, 1 000 org events | 1 = 2.00 ms | 1.04 | – |"},
		{timeTable, byCPU, "| replay, 1 000 org events | 1 = 1.00 ms | 3.00 | – |"},
		{timeTable, byClock, "| replay, 1 000 account events | 1 = 400 ns | 1.20 | – |"},
		{timeTable, byClock, "| replay, 10 org events | – | – |"},
		{allocTable, byClock, "| an event, replay of 1 000 org events | 8 | 8 | – |"},
		{parallelTable, byClock, "| – | 1.70 | – |"},
		{parallelTable, byCPU, "| – | – | – | – | – | – | – |\n\n–: it takes"},
		{keptTable, byClock, "| org, an event a command | – | 276 | – |"},
		{commandTable, byClock, "| leftfold | 1.70 µs | 5.00 µs | – |"},
		{goalTable, byClock, "| replay, 1 000 org events, to the loop | at most 1.05 | 1.04 | met |"},
		{goalTable, byCPU, "| replay, 1 000 org events, to the loop | at most 1.05 | 3.00 | missed |"},
		{goalTable, byClock, "| speed-up on 2 processors | at least 1.70 | 1.70 | met |"},
		{goalTable, byClock, "| bytes kept an event, org | at most 275 | 276 | missed |"},
		{goalTable, byClock, "alone | at least 2.00 | 1.00 | missed |"},
		{goalTable, byClock, "| bytes kept an event, account | at most 80.0 | – |  |"},
	} {
		if got := tt.text(tt.of); !strings.Contains(got, tt.want) {
			t.Errorf("no %q in\n%s", tt.want, got)
		}
	}
}

// The documentation has a place for each table, and each is written anew.
func TestPlaces(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", docFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		got, err := replace(doc, table.name, "| new |\n")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(got), "<!-- begin "+table.name+" -->\n| new |\n<!-- end "+table.name+" -->\n") {
			t.Errorf("the table %s was not written", table.name)
		}
	}
	if _, err := replace(doc, "other", ""); err == nil {
		t.Error("a table without a place was written")
	}
}

func TestPlot(t *testing.T) {
	r, err := read(strings.NewReader(sample), "sample", false)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "img", "command.svg")
	if err := svg(r, file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", ">leftfold<", ">100<", ">1 s<", "sans-serif"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in the plot", want)
		}
	}
	for _, name := range commanded() {
		if _, ok := colours[name]; !ok {
			t.Errorf("%s has no colour", name)
		}
	}
}
