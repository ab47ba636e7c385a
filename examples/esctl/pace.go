package main

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/leftfold/leftfold/es"
)

// mostParallel is how many streams may be worked on at a time.
const mostParallel = 256

// pace is how fast a command goes through streams.
type pace struct {
	parallel int
	rate     float64
	noCount  bool
}

func (p *pace) flags(c *cobra.Command) {
	c.Flags().IntVar(&p.parallel, "parallel", 4, "work on so many `streams` at a time")
	c.Flags().Float64Var(&p.rate, "rate", 0, "at most so many `streams` a second; 0 is no limit")
	c.Flags().BoolVar(&p.noCount, "no-count", false, "on a terminal: do not scan the table once more, to know the time left")
}

func (p *pace) validate() error {
	switch {
	case p.parallel < 1 || p.parallel > mostParallel:
		return usagef("--parallel is %d; it must be 1 to %d", p.parallel, mostParallel)
	case p.rate < 0:
		return usagef("--rate is %v; it must be above 0, or 0 for no limit", p.rate)
	}
	return nil
}

// limiter returns what each stream waits for.
func (p *pace) limiter() *rate.Limiter {
	if p.rate == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(p.rate), 1)
}

// walk calls each for every stream, several at a time, and stops at the first error. After has, for
// each that goes at a time, the stream behind which it begins; nil is the beginning.
func (p *pace) walk(ctx context.Context, list es.Lister, after []es.StreamID, each func(context.Context, es.StreamID) error) error {
	if after == nil {
		after = make([]es.StreamID, p.parallel)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for shard := range p.parallel {
		wg.Go(func() {
			for stream, err := range list.Streams(ctx, shard, p.parallel, after[shard]) {
				if err == nil {
					err = each(ctx, stream)
				}
				if err != nil {
					cancel(err) // the first counts
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// only lists the streams that are named.
func only(named []es.StreamID) listing {
	return listing{streams: func(_ context.Context, shard, shards int, _ es.StreamID) iter.Seq2[es.StreamID, error] {
		return func(yield func(es.StreamID, error) bool) {
			for i := shard; i < len(named); i += shards {
				if !yield(named[i], nil) {
					return
				}
			}
		}
	}}
}

func parseStreams(args []string) (named []es.StreamID, _ error) {
	for _, arg := range args {
		stream, err := parseStream(arg)
		if err != nil {
			return nil, err
		}
		named = append(named, stream)
	}
	return named, nil
}

// progress draws how far a command has come. Where nobody watches, and when it is done, it does nothing.
type progress struct{ bar *progressbar.ProgressBar }

// progress begins to draw. To know the time that is left, it has the streams counted first.
func (t *tool) progress(what string, p pace, count func(add func()) error) (*progress, error) {
	if !t.terminal {
		return &progress{}, nil
	}
	most := -1 // unknown
	if !p.noCount {
		counting := t.bar("counting", most)
		most = 0
		var mu sync.Mutex
		err := count(func() {
			mu.Lock()
			defer mu.Unlock()
			most++
			counting.add()
		})
		counting.done()
		if err != nil {
			return nil, err
		}
	}
	return t.bar(what, most), nil
}

func (t *tool) bar(what string, most int) *progress {
	return &progress{progressbar.NewOptions(most,
		progressbar.OptionSetWriter(t.stderr), progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(30),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("streams"),
		progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetSpinnerChangeInterval(0), // else a goroutine turns it for ever
	)}
}

// A bar that cannot be drawn is no reason to stop.

func (p *progress) add() {
	if p.bar != nil {
		_ = p.bar.Add(1)
	}
}

// clear makes room for other output.
func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Exit()
		_ = p.bar.Clear()
		p.bar = nil
	}
}
