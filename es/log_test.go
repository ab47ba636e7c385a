package es_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
)

// still is a store, a broker and a read database that keep nothing, so that what
// is counted is the library's.
type still struct{ es.Store }

func (still) LoadBack(context.Context, es.StreamID, int) iter.Seq2[es.Commit, error] {
	return func(func(es.Commit, error) bool) {}
}
func (still) Units(es.Commit) int                      { return 1 }
func (still) Append(context.Context, es.Commit) error  { return nil }
func (still) Settle(context.Context, es.Commit) error  { return nil }
func (still) Publish(context.Context, es.Commit) error { return nil }
func (still) Pending(context.Context, time.Time) iter.Seq2[es.Commit, error] {
	return func(func(es.Commit, error) bool) {}
}

func (still) Get(context.Context, es.StreamID) (es.View[string], error) {
	return es.View[string]{}, nil
}
func (still) Put(context.Context, es.StreamID, es.View[string], uint64) error { return nil }

// asIs leaves events as they are stored: encoding/json keeps buffers in pools, which
// the race detector empties at random.
type asIs struct{}

func (asIs) Encode(e es.Event) (es.Event, error)                   { return e, nil }
func (asIs) Decode(dst []es.Event, e es.Event) ([]es.Event, error) { return append(dst, e), nil }
func (asIs) Types() []string                                       { return nil }

// logged returns what is logged when all goes well.
func logged(logger *slog.Logger) map[string]func() error {
	ctx := context.Background()
	j := &es.Journal{Store: still{}, Publisher: still{}, Logger: logger}
	a := &es.Aggregate[string, es.Event]{Category: "test", Events: asIs{}, LatestOnly: true, Fold: func(s string, _ es.Event) string { return s }}
	events := []es.Event{{Type: "test.event"}}
	p := &es.Projection[string, es.Event]{Category: "test", Events: asIs{}, Fold: a.Fold, Views: still{}, Store: still{}, Logger: logger}
	r := &es.Reactor[es.Event]{Name: "test", Category: "test", Events: asIs{}, Logger: logger, React: func(context.Context, es.Recorded[es.Event], string) error { return nil }}
	c := es.Commit{Stream: es.StreamID{Category: "test", ID: "1"}, Version: 1, ID: "id", Events: events}
	return map[string]func() error{
		"Execute": func() error {
			_, err := es.Execute(ctx, j, a, "1", func(string) ([]es.Event, error) { return events, nil })
			return err
		},
		"Relay":  func() error { _, err := j.Relay(ctx); return err },
		"Handle": func() error { return p.Handle(ctx, c) },
		"React":  func() error { return r.Handle(ctx, c) },
	}
}

// counting counts records.
type counting struct {
	slog.Handler
	level slog.Level
	n     int
}

func (h *counting) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h *counting) Handle(context.Context, slog.Record) error { h.n++; return nil }

// A logger that is not asked for anything costs no allocation, and none costs nothing
// at all.
func TestLoggingThatIsOffAllocatesNothing(t *testing.T) {
	// What these allocate for other reasons. It may become less.
	most := map[string]float64{"Execute": 23, "Relay": 5, "Handle": 4, "React": 5}
	info, debug := &counting{level: slog.LevelInfo}, &counting{level: slog.LevelDebug}
	none, off, on := logged(nil), logged(slog.New(info)), logged(slog.New(debug))
	for name, limit := range most {
		allocs := func(run func() error) float64 {
			return testing.AllocsPerRun(100, func() {
				if err := run(); err != nil {
					t.Error(err)
				}
			})
		}
		without, with := allocs(none[name]), allocs(off[name])
		t.Logf("%s: %v allocations without a logger, %v with one that is off, %v with one for debugging", name, without, with, allocs(on[name]))
		if with != without || without > limit {
			t.Errorf("%s: %v allocations without a logger, at most %v were expected; %v with one that is off", name, without, limit, with)
		}
		if debug.n != 101 || info.n != 0 {
			t.Errorf("%s: %d records for debugging, want one each time; %d of those who do not ask", name, debug.n, info.n)
		}
		debug.n = 0
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkLogging(b *testing.B) {
	for _, mode := range []struct {
		name   string
		logger *slog.Logger
	}{
		{"none", nil},
		{"info", slog.New(slog.NewJSONHandler(discard{}, nil))},
		{"debug", slog.New(slog.NewJSONHandler(discard{}, &slog.HandlerOptions{Level: slog.LevelDebug}))},
	} {
		for name, run := range logged(mode.logger) {
			b.Run(fmt.Sprintf("%s/logger=%s", name, mode.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := run(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
