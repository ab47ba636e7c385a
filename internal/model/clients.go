package model

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
)

// Clients are several processes that work on one stream at once, each with a journal of
// its own, over a network that loses answers: commands, the state, the history. Whatever
// they were told must be the history of one list to which commands are added one by one:
// linearizability, which porcupine checks.
type Clients struct {
	Seed    uint64  // of what they do, and of the faults; when it happens is up to chance
	Clients int     // at once
	Each    int     // operations of a client
	Faults  float64 // how often a fault begins, or the broker refuses, at a call: 0 to 1

	Store     es.Store
	Publisher es.Publisher // nil: one that takes everything
	Stream    string       // ID; must not be in use
	Remember  int          // of [es.Journal]; 0: enough
	Timeout   time.Duration
	Pause     time.Duration // the longest before and after each call of the store; for synctest
}

// operation is what a client asks for.
type operation string

const (
	execute operation = "execute"
	load    operation = "load"
	history operation = "history"
)

type input struct {
	op   operation
	name string // of the command
}

// output is what a client is told.
type output struct {
	accepted bool     // the command is stored, at version
	unknown  bool     // it may be stored
	version  int      // of the stream; of the command, if it was accepted
	seen     int      // the commands that the decision saw; -1 if it is not known
	names    []string // the commands, by the state or the history
}

// names is the aggregate: the names of the commands, in order.
type added struct{ Name string }

var names = es.Aggregate[[]string, added]{
	Category: "list",
	Fold:     func(s []string, e added) []string { return append(slices.Clip(s), e.Name) },
	Events:   es.JSON(map[string]added{"list.added": {}}),
}

// stream is the model: a list of accepted commands. A command that is unknown is added as
// well, for its time has no end: if it was never stored, it comes behind everything else.
var stream = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		names, i, o := strings.Fields(state.(string)), in.(input), out.(output)
		switch {
		case i.op != execute:
			return o.version == len(names) && slices.Equal(o.names, names), state
		case !o.accepted && !o.unknown:
			return true, state // refused: it has left nothing behind
		case o.accepted && (o.version != len(names)+1 || o.seen >= 0 && o.seen != len(names)):
			return false, state
		}
		return true, state.(string) + i.name + " "
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v: %+v", in, out) },
}

// Run returns an error if what the clients were told, together with what is there at the
// end, is not linearizable. It says in which seed.
func (k Clients) Run(ctx context.Context) error {
	var clock atomic.Int64
	var mu sync.Mutex
	var done []porcupine.Operation
	record := func(client int, call int64, in input, out output) {
		op := porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: clock.Add(1)}
		if in.op == execute && out.unknown {
			op.Return = math.MaxInt64
		}
		mu.Lock()
		defer mu.Unlock()
		done = append(done, op)
	}
	var wg sync.WaitGroup
	networks := make([]*estest.Faulty, k.Clients)
	for client := range k.Clients {
		networks[client] = &estest.Faulty{Plan: k.plan(uint64(client))}
		wg.Go(func() {
			j := k.journal(networks[client])
			r := rand.New(rand.NewPCG(k.Seed, uint64(client)))
			for n := range k.Each {
				in := input{op: []operation{execute, execute, load, history}[r.IntN(4)], name: fmt.Sprintf("%c%d", 'a'+client, n)}
				call := clock.Add(1)
				if out, ok := k.do(ctx, j, in, r.IntN(2) == 0); ok {
					record(client, call, in, out)
				}
			}
		})
	}
	wg.Wait()
	// Now everything that is still on its way arrives, and nothing is disturbed any more.
	for _, n := range networks {
		if err := n.Land(ctx); err != nil {
			return err
		}
	}
	j := k.journal(new(estest.Faulty))
	for _, in := range []input{{op: execute, name: "last"}, {op: load}, {op: history}} {
		call := clock.Add(1)
		out, ok := k.do(ctx, j, in, true)
		if !ok || in.op == execute && (!out.accepted || out.unknown) {
			return fmt.Errorf("seed %d: %s fails where nothing is disturbed", k.Seed, in.op)
		}
		record(k.Clients, call, in, out)
	}
	switch result := porcupine.CheckOperationsTimeout(stream, done, time.Minute); result {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return errors.New("the checker has not come to an end in a minute")
	default:
		slices.SortFunc(done, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
		var b strings.Builder
		for _, op := range done {
			fmt.Fprintf(&b, "\n  client %d, %d to %d: %+v: %+v", op.ClientId, op.Call, op.Return, op.Input, op.Output)
		}
		return fmt.Errorf("seed %d: %w:%s", k.Seed, errOrder, b.String())
	}
}

var errOrder = errors.New("what was told is not the history of one list")

// plan has faults that last: one lost answer is made good by sending the write again, and
// only several in a row leave an outcome unknown.
func (k Clients) plan(client uint64) estest.Plan {
	r := rand.New(rand.NewPCG(k.Seed, ^client))
	left, fault := 0, estest.None
	return func(c estest.Call) estest.Fault {
		begins, refuses, changes := r.Float64() < k.Faults, r.Float64() < k.Faults, r.IntN(3) == 0
		if begins && left == 0 {
			left, changes = []int{1, 5}[r.IntN(2)], true
		}
		if changes {
			fault = []estest.Fault{estest.Refuse, estest.LoseBefore, estest.LoseAfter, estest.Late(1 + r.IntN(12))}[r.IntN(4)]
		}
		switch {
		case left > 0:
			left--
			return fault
		case refuses && c.Op == estest.Publish:
			return estest.Refuse
		}
		return estest.None
	}
}

func (k Clients) journal(network *estest.Faulty) *es.Journal {
	publisher := k.Publisher
	if publisher == nil {
		publisher = taker{}
	}
	j := &es.Journal{
		Store: network.Store(slow{k.Store, k.Pause}), Publisher: network.Publisher(publisher),
		Grace: -1, Timeout: k.Timeout, Attempts: 1000, Remember: k.Remember,
	}
	if j.Remember == 0 {
		j.Remember = 1 << 20
	}
	return j
}

// do returns what a client is told, and false if it was told nothing: a read that failed.
// A command whose outcome is unknown is sent again, if the client insists.
func (k Clients) do(ctx context.Context, j *es.Journal, in input, insist bool) (output, bool) {
	switch in.op {
	case load:
		state, version, err := es.Load(ctx, j, &names, k.Stream)
		return output{version: int(version), names: state}, err == nil
	case history:
		var out output
		for step, err := range es.History(ctx, j, &names, k.Stream) {
			if err != nil {
				return output{}, false
			}
			out.version, out.names = int(step.Version), step.State
		}
		return out, true
	}
	everUnknown := false
	for try := 1; ; try++ {
		out := output{seen: -1}
		res, err := es.Execute(ctx, j, &names, k.Stream, func(state []string) ([]added, error) {
			out.seen = len(state)
			return []added{{in.name}}, nil
		}, es.Named(in.name, nil))
		_, unknown := errors.AsType[*es.UnknownError](err)
		everUnknown = everUnknown || unknown
		switch {
		case err == nil:
			out.accepted, out.version = true, int(res.Version)
			if res.Repeated {
				out.seen = -1
			}
			// Stored, but nobody sees it before it is published.
			out.unknown = res.Status == es.Pending
			return out, true
		case everUnknown && insist && try < 20:
			continue
		}
		return output{unknown: everUnknown, seen: -1}, true
	}
}

// slow is a store whose calls take their time, so that those of others come in between.
type slow struct {
	es.Store
	pause time.Duration
}

func (s slow) wait() {
	if s.pause > 0 {
		time.Sleep(rand.N(s.pause))
	}
}

func (s slow) write(ctx context.Context, c es.Commit, send func(context.Context, es.Commit) error) error {
	s.wait()
	defer s.wait()
	return send(ctx, c)
}

func (s slow) Append(ctx context.Context, c es.Commit) error { return s.write(ctx, c, s.Store.Append) }
func (s slow) Claim(ctx context.Context, c es.Commit) error  { return s.write(ctx, c, s.Store.Claim) }
func (s slow) Settle(ctx context.Context, c es.Commit) error { return s.write(ctx, c, s.Store.Settle) }
func (s slow) Revoke(ctx context.Context, c es.Commit) error { return s.write(ctx, c, s.Store.Revoke) }

func (s slow) Load(ctx context.Context, id es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	return s.read(s.Store.Load(ctx, id, after))
}

func (s slow) LoadBack(ctx context.Context, id es.StreamID, hint int) iter.Seq2[es.Commit, error] {
	return s.read(s.Store.LoadBack(ctx, id, hint))
}

func (s slow) read(commits iter.Seq2[es.Commit, error]) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		s.wait()
		defer s.wait()
		commits(yield)
	}
}

// taker is a broker that takes everything.
type taker struct{}

func (taker) Publish(ctx context.Context, _ es.Commit) error { return ctx.Err() }
