package es_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

// filled returns a journal whose stream counter/1 has n commits of one event of
// about 200 bytes.
func filled(b *testing.B, a *es.Aggregate[[]string, Counted], n int) *es.Journal {
	b.Helper()
	j := &es.Journal{Store: &memory.Store{}}
	by := strings.Repeat("x", 190)
	for range n {
		if _, err := es.Execute(b.Context(), j, a, "1", count(by)); err != nil {
			b.Fatal(err)
		}
	}
	return j
}

// last is a counter whose state is small, so that benchmarks measure the core.
func last(snapshots string) *es.Aggregate[[]string, Counted] {
	a := counter
	a.Fold = func(_ []string, e Counted) []string { return []string{e.By[:1]} }
	a.Snapshots = es.Snapshots[[]string]{Schema: snapshots}
	return &a
}

func BenchmarkReplay(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint("events=", n), func(b *testing.B) {
			a := last("")
			j := filled(b, a, n)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := a.Replay(j.Store.Load(context.Background(), theStream, 0)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
		})
	}
}

// The cost of a command must not depend on the length of its stream.
func BenchmarkExecute(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint("snapshots/events=", n), func(b *testing.B) {
			a := last("s1")
			j := filled(b, a, n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := es.Execute(context.Background(), j, a, "1", count("x")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("create", func(b *testing.B) {
		a, j, n := last(""), &es.Journal{Store: &memory.Store{}}, 0
		b.ReportAllocs()
		for b.Loop() {
			n++
			if _, err := es.Execute(context.Background(), j, a, fmt.Sprint(n), count("x")); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("published", func(b *testing.B) {
		bus := &memory.Bus{}
		a, j, n := last(""), &es.Journal{Store: &memory.Store{}, Publisher: bus}, 0
		b.ReportAllocs()
		for b.Loop() {
			n++
			if _, err := es.Execute(context.Background(), j, a, fmt.Sprint(n), count("x")); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	codec := newCodec()
	stored, err := codec.Encode(Nested{Tags: []string{"a", "b"}, More: map[string]int{"x": 1}})
	if err != nil {
		b.Fatal(err)
	}
	var buf []TaskEvent
	b.ReportAllocs()
	for b.Loop() {
		if buf, err = codec.Decode(buf[:0], stored); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProjection(b *testing.B) {
	p := joined(&memory.Store{}, &memory.Views[string]{})
	p.Fold = func(string, Counted) string { return "x" }
	c := raw(1, "id", "a")
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Handle(context.Background(), c); err != nil {
			b.Fatal(err)
		}
		c.Version++
	}
}
