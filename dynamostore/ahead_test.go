package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/leftfold/leftfold/es"
)

// slow answers each query after a while with one page of a stream, and notes what happens when.
type slow struct {
	Client
	pages, each int // commits
	latency     time.Duration
	broken      int // the page that fails
	began       time.Time
	notes       []string
}

func (s *slow) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf("%d ", time.Since(s.began).Milliseconds())+fmt.Sprintf(format, args...))
}

func (s *slow) Query(ctx context.Context, in *dynamodb.QueryInput, _ ...option) (*dynamodb.QueryOutput, error) {
	page := 0
	if in.ExclusiveStartKey != nil {
		d := decoder{it: in.ExclusiveStartKey}
		page = int(d.version()) / s.each
	}
	s.note("asked for %d", page)
	select {
	case <-time.After(s.latency):
	case <-ctx.Done():
		s.note("cancelled %d", page)
		return nil, ctx.Err()
	}
	if page == s.broken {
		return nil, &types.ResourceNotFoundException{}
	}
	out := new(dynamodb.QueryOutput)
	for i := range s.each {
		version := page*s.each + i + 1
		if in.ScanIndexForward != nil {
			version = s.pages*s.each + 1 - version
		}
		out.Items = append(out.Items, encode(es.Commit{Stream: long, Version: uint64(version), ID: "a", Status: es.Settled, Events: []es.Event{{Type: "e"}}}, ""))
	}
	if page < s.pages-1 {
		out.LastEvaluatedKey = keyOf(long, uint64((page+1)*s.each))
	}
	return out, nil
}

// While a page is folded the next is on its way, but not before a quarter of it was taken; when the call
// returns, nothing is on its way any more.
func TestReadAhead(t *testing.T) {
	const most = 1 << 10
	for _, row := range []struct {
		name    string
		back    bool
		broken  int
		latency time.Duration
		stop    int // after so many commits
		took    time.Duration
		want    string // what the store asks for, and when
		err     bool
	}{
		{"three pages that come while the one before is folded", false, -1, 40, most, 40 + 3*80, "0 asked for 0, 60 asked for 1, 140 asked for 2", false},
		{"three pages that come late", false, -1, 100, most, 100 + 20 + 100 + 20 + 100 + 80, "0 asked for 0, 120 asked for 1, 240 asked for 2", false},
		{"stopped at the first commit", false, -1, 40, 1, 50, "0 asked for 0", false},
		{"stopped after a quarter of the first page", false, -1, 40, 2, 60, "0 asked for 0", false},
		{"stopped while the next page is on its way", false, -1, 100, 4, 140, "0 asked for 0, 120 asked for 1, 140 cancelled 1", false},
		{"stopped when the next page is there", false, -1, 40, 8, 120, "0 asked for 0, 60 asked for 1", false},
		{"the next page fails", false, 1, 40, most, 120, "0 asked for 0, 60 asked for 1", true},
		{"the first page fails", false, 0, 40, most, 40, "0 asked for 0", true},
		{"back, which asks when it has to", true, -1, 40, most, 3*40 + 3*80, "0 asked for 0, 120 asked for 1, 240 asked for 2", false},
		{"back, stopped at the end of a page", true, -1, 40, 8, 120, "0 asked for 0", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &slow{pages: 3, each: 8, latency: row.latency * time.Millisecond, broken: row.broken, began: time.Now()}
				s := New(c, "events", &Options{Attempts: 1})
				commits := s.Load(t.Context(), long, 0)
				if row.back {
					commits = s.LoadBack(t.Context(), long, 8)
				}
				n, failed := 0, false
				for _, err := range commits {
					if err != nil {
						failed = true
						continue
					}
					time.Sleep(10 * time.Millisecond)
					if n++; n == row.stop {
						break
					}
				}
				if want := min(row.stop, 24); n != want && !row.err {
					t.Errorf("%d commits, not %d", n, want)
				}
				if took := time.Since(c.began) / time.Millisecond; took != row.took {
					t.Errorf("it took %d ms, not %d", took, row.took)
				}
				if notes := strings.Join(c.notes, ", "); notes != row.want || failed != row.err {
					t.Errorf("failed: %t\ngot  %s\nwant %s", failed, notes, row.want)
				}
			})
		})
	}
}

// Whatever ends a load ends what it began: a context, or a consumer that panics.
func TestReadAheadEnds(t *testing.T) {
	for name, end := range map[string]func(cancel context.CancelFunc){
		"a context that ends":    func(cancel context.CancelFunc) { cancel() },
		"a consumer that panics": func(context.CancelFunc) { panic("of the test") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &slow{pages: 3, each: 8, latency: 100 * time.Millisecond, broken: -1, began: time.Now()}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var last error
				func() {
					defer func() { _ = recover() }()
					n := 0
					for _, err := range New(c, "events", nil).Load(ctx, long, 0) {
						if last = err; n == 4 && err == nil {
							synctest.Wait() // until the next page was asked for
							end(cancel)
						}
						n++
					}
				}()
				if !slices.Contains(c.notes, "100 cancelled 1") || time.Since(c.began) != 100*time.Millisecond {
					t.Errorf("%q", c.notes)
				}
				if name == "a context that ends" && !errors.Is(last, context.Canceled) {
					t.Errorf("the sequence ends with %v", last)
				}
			})
		})
	}
}
