package es_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/es/memory"
)

// Every call that a command makes fails in every way; then the commit is finished by
// somebody healthy; and then what was stored, what was published and what the
// caller was told must agree. The command is executed on streams in every state,
// with every way of finishing.

// start is a state in which a command finds its stream.
type start struct {
	name    string
	commits func() []es.Commit
	sent    bool // whether the dead author of the last commit had published it
	new     bool // whether the command demands that the stream is new
}

func starts() []start {
	settled := func() []es.Commit { return []es.Commit{with(raw(1, "one", "x"), es.Settled)} }
	dead := func(status es.Status) func() []es.Commit {
		return func() []es.Commit { return append(settled(), with(raw(2, "dead", "y"), status)) }
	}
	return []start{
		{name: "new stream", commits: func() []es.Commit { return nil }},
		{name: "settled", commits: settled},
		{name: "pending", commits: dead(es.Pending)},
		{name: "pending and published", commits: dead(es.Pending), sent: true},
		{name: "claimed", commits: dead(es.Claimed)},
		{name: "claimed and published", commits: dead(es.Claimed), sent: true},
		{name: "revoked", commits: dead(es.Revoked)},
		{name: "new stream, as demanded", commits: func() []es.Commit { return nil }, new: true},
		{name: "revoked at the first version, to be new", commits: func() []es.Commit { return []es.Commit{with(raw(1, "dead", "y"), es.Revoked)} }, new: true},
		{name: "settled, to be new", commits: settled, new: true},
	}
}

// endings are the ways in which somebody healthy comes by afterwards. The last
// step of each leaves nothing unfinished.
var endings = map[string][]string{
	"relay":           {"relay"},
	"next command":    {"next", "relay"},
	"repeat":          {"repeat", "relay"},
	"relay, repeat":   {"relay", "repeat", "relay"},
	"next and repeat": {"next", "repeat", "relay"},
}

// run is one command that meets faults, and what follows.
type run struct {
	start  start
	plan   estest.Plan
	ending []string
	landAt int // before which call of the healthy process late writes land; 0: after its last step

	faulty estest.Faulty
	store  *memory.Store
	broker *tap // remembers what was published
	result es.Result
	err    error
	calls  int // of the healthy process
}

const (
	accepted = "accepted"
	refused  = "refused"
	unknown  = "unknown"
	silent   = "crashed"
)

// told says what the caller was told by the process that met the faults.
func (r *run) told() string {
	_, isUnknown := errors.AsType[*es.UnknownError](r.err)
	switch {
	case r.faulty.Crashed():
		return silent
	case r.err == nil:
		return accepted
	case isUnknown:
		return unknown
	}
	return refused
}

var theName = es.Named("the command", []byte("its content"))

// do runs it all, in a bubble, and returns what is wrong.
func (r *run) do(ctx context.Context) error {
	r.store, r.broker = &memory.Store{}, newTap()
	for _, c := range r.start.commits() {
		status := c.Status
		c.Status = es.Pending
		c.Time = time.Now().Add(-time.Hour).UTC()
		err := r.store.Append(ctx, c)
		switch status {
		case es.Claimed:
			err = errors.Join(err, r.store.Claim(ctx, c))
		case es.Settled:
			err = errors.Join(err, r.broker.Publish(ctx, c), r.store.Settle(ctx, c))
		case es.Revoked:
			err = errors.Join(err, r.store.Revoke(ctx, c))
		}
		if status != es.Settled && r.start.sent {
			err = errors.Join(err, r.broker.Publish(ctx, c))
		}
		if err != nil {
			return err
		}
	}
	r.faulty.Plan = r.plan
	j := &es.Journal{Store: r.faulty.Store(r.store), Publisher: r.faulty.Publisher(r.broker)}
	options := []es.Option{theName}
	if r.start.new {
		options = append(options, es.IfVersion(0))
	}
	r.result, r.err = es.Execute(ctx, j, &counter, "1", count("the", "command"), options...)

	// From here on all is well, but for the writes that are still on their way.
	healthy := &tap{Store: r.store}
	healthy.on = func(_ string, _ es.Commit, do func() error) error {
		if r.calls++; r.calls == r.landAt {
			if err := r.faulty.Land(ctx); err != nil {
				return err
			}
		}
		return do()
	}
	j = &es.Journal{Store: healthy, Publisher: through{healthy, r.broker}}
	repeated := false
	for _, step := range append(r.ending, "land", "relay") {
		pass(2 * time.Second) // longer than the grace period
		switch step {
		case "relay":
			if _, err := j.Relay(ctx); err != nil {
				return fmt.Errorf("relay: %w", err)
			}
		case "next":
			if res, err := es.Execute(ctx, j, &counter, "1", count("next")); err != nil || res.Status != es.Settled {
				return fmt.Errorf("next command: %+v, %w", res, err)
			}
		case "repeat":
			repeated = true
			res, err := es.Execute(ctx, j, &counter, "1", count("the", "command"), theName)
			if err != nil || res.Status != es.Settled {
				return fmt.Errorf("repeat: %+v, %w", res, err)
			}
			if r.told() == accepted && (!res.Repeated || res.Version != r.result.Version || !res.Time.Equal(r.result.Time)) {
				return fmt.Errorf("the first result was %+v, that of the repeat is %+v", r.result, res)
			}
		case "land":
			if err := r.faulty.Land(ctx); err != nil {
				return err
			}
		}
	}
	return r.check(repeated)
}

// through publishes by way of one tap to another.
type through struct{ from, to *tap }

func (t through) Publish(ctx context.Context, c es.Commit) error {
	return t.from.call("publish", c, func() error { return t.to.Publish(ctx, c) })
}

// check demands that store, broker and what the caller was told agree.
func (r *run) check(repeated bool) error {
	if err := check(r.store, r.broker.published, theStream); err != nil {
		return err
	}
	var effects []es.Commit
	for c, err := range r.store.Load(context.Background(), theStream, 0) {
		if err != nil {
			return err
		}
		if c.Command == "the command" && c.Status == es.Settled {
			effects = append(effects, c)
		}
	}
	want := map[string][2]int{accepted: {1, 1}, refused: {0, 0}, unknown: {0, 1}, silent: {0, 1}}[r.told()]
	if repeated {
		want = [2]int{1, 1}
	}
	switch {
	case len(effects) < want[0] || len(effects) > want[1]:
		return fmt.Errorf("the caller was told %q, and the command took effect %d times", r.told(), len(effects))
	case r.told() == accepted && effects[0].Last() != r.result.Version:
		return fmt.Errorf("the caller was told version %d, and it is %d", r.result.Version, effects[0].Last())
	}
	return nil
}

func (r *run) String() string {
	return fmt.Sprintf("%s; %s; told %s: %+v, %v; then %s, with late writes at call %d",
		r.start.name, strings.Join(r.faulty.Calls(), ", "), r.told(), r.result, r.err, strings.Join(r.ending, ", "), r.landAt)
}

// forever delays a write until the one who comes after is at work.
var forever = estest.Late(1000)

var faults = []estest.Fault{
	estest.Refuse, estest.LoseBefore, estest.LoseAfter, estest.CrashBefore, estest.CrashAfter,
	estest.Late(1), estest.Late(2), forever,
}

// tally counts what callers were told, over all runs.
type tally struct {
	mu   sync.Mutex
	told map[string]int
}

func (c *tally) add(r *run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told == nil {
		c.told = map[string]int{}
	}
	c.told[r.told()]++
}

func (c *tally) demand(t *testing.T) {
	t.Logf("told: %v", c.told)
	for _, what := range []string{accepted, refused, unknown, silent} {
		if c.told[what] == 0 {
			t.Errorf("no run was told %q: the test does not reach it", what)
		}
	}
}

// from is the plan of an outage: the same fault at every call from the n-th on.
func from(n int, f estest.Fault) estest.Plan {
	return func(c estest.Call) estest.Fault {
		if c.N >= n {
			return f
		}
		return estest.None
	}
}

// try does one run, and returns how many calls the command made.
func (c *tally) try(t *testing.T, r *run) int {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if err := r.do(t.Context()); err != nil {
			t.Fatalf("%v\nin: %v", err, r)
		}
	})
	c.add(r)
	return len(r.faulty.Calls())
}

func TestEveryFault(t *testing.T) {
	var tally tally
	t.Run("starts", func(t *testing.T) {
		for _, start := range starts() {
			t.Run(start.name, func(t *testing.T) {
				t.Parallel()
				for _, ending := range endings {
					for _, fault := range faults {
						for _, plan := range []func(int, estest.Fault) estest.Plan{estest.At, from} {
							for n, reached := 1, true; reached; n++ {
								r := &run{start: start, plan: plan(n, fault), ending: ending}
								reached = tally.try(t, r) >= n
								if fault < estest.Late(1) {
									continue
								}
								for landAt := range r.calls { // before each call of the one who comes after
									tally.try(t, &run{start: start, plan: plan(n, fault), ending: ending, landAt: landAt + 1})
								}
							}
						}
					}
				}
			})
		}
	})
	tally.demand(t)
}

func TestEveryPairOfFaults(t *testing.T) {
	var tally tally
	t.Run("starts", func(t *testing.T) {
		for _, start := range starts() {
			t.Run(start.name, func(t *testing.T) {
				t.Parallel()
				for _, ending := range endings {
					for _, first := range faults {
						for n, reached := 1, true; reached; n++ {
							reached = false
							for _, second := range faults {
								for m, more := n+1, true; more; m++ {
									plan := estest.Plans(estest.At(n, first), estest.At(m, second))
									r := &run{start: start, plan: plan, ending: ending}
									calls := tally.try(t, r)
									for landAt := 0; second == forever && len(ending) == 3 && landAt <= r.calls; landAt++ {
										plan := estest.Plans(estest.At(n, first), from(m, forever))
										tally.try(t, &run{start: start, plan: plan, ending: ending, landAt: landAt})
									}
									more, reached = calls >= m, reached || calls >= n
								}
							}
						}
					}
				}
			})
		}
	})
	tally.demand(t)
}

// Several processes work on one stream at once, each with faults of its own and a
// relay beside it; every other one decides from what it remembers. Afterwards everything agrees, for each of many seeds.
func TestWritersWithFaults(t *testing.T) {
	const rounds, writers, commands = 200, 4, 5
	first := rand.Uint64()
	told := map[string]int{}
	for seed := first; seed < first+rounds; seed++ {
		synctest.Test(t, func(t *testing.T) {
			store, broker := &memory.Store{}, newTap()
			var mu sync.Mutex
			runs := map[string]*run{}
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					j := &es.Journal{Grace: 20 * time.Millisecond, Cache: w % 2}
					for n := range commands {
						r := &run{store: store, broker: broker}
						r.faulty.Plan = estest.Seeded(seed*1000+uint64(w*commands+n), 0.15)
						j.Store, j.Publisher = r.faulty.Store(store), r.faulty.Publisher(delayed{broker})
						by := fmt.Sprint(w, ".", n)
						r.result, r.err = es.Execute(t.Context(), j, &counter, "1", count(by, by), es.Named(by, nil))
						if n%2 == 0 {
							_, _ = j.Relay(t.Context())
						}
						mu.Lock()
						runs[by] = r
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			for _, r := range runs {
				if err := r.faulty.Land(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			pass(time.Minute)
			healthy := &es.Journal{Store: store, Publisher: broker}
			if _, err := healthy.Relay(t.Context()); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if err := check(store, broker.published, theStream); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			effects := map[string][]uint64{}
			for _, c := range slots(t, store, theStream) {
				effects[c.Command] = append(effects[c.Command], c.Last())
			}
			for name, r := range runs {
				what, at := r.told(), effects[name]
				told[what]++
				if len(at) > 1 || what == accepted && (len(at) != 1 || at[0] != r.result.Version) || what == refused && len(at) != 0 {
					t.Fatalf("seed %d: %s was told %s, and took effect at %v\nin: %v", seed, name, what, at, r)
				}
			}
		})
	}
	t.Logf("from seed %d; told: %v", first, told)
}

// delayed takes a moment to publish, around the grace period, so that others come in
// between.
type delayed struct{ es.Publisher }

func (d delayed) Publish(ctx context.Context, c es.Commit) error {
	pass(rand.N(40 * time.Millisecond))
	return d.Publisher.Publish(ctx, c)
}
