package estest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/leftfold/leftfold/es"
)

// Op names a method of a store or a publisher.
type Op string

// The calls that can be disturbed.
const (
	Append   Op = "append"
	Claim    Op = "claim"
	Settle   Op = "settle"
	Revoke   Op = "revoke"
	Publish  Op = "publish"
	Load     Op = "load"
	LoadBack Op = "load back"
	Pending  Op = "pending"
)

// Call is one call of a store or a publisher through a [Faulty].
type Call struct {
	N      int         // the first call is 1; store and publisher are counted together
	Op     Op          // what is called
	Stream es.StreamID // of which stream; zero for Pending
	Commit es.Commit   // with which commit; zero for reads; not to be changed
}

// String returns number, method and place: "#3 append org/1@2".
func (c Call) String() string {
	switch {
	case c.Commit.Version > 0:
		return fmt.Sprintf("#%d %s %s@%d", c.N, c.Op, c.Stream, c.Commit.Version)
	case c.Stream != es.StreamID{}:
		return fmt.Sprintf("#%d %s %s", c.N, c.Op, c.Stream)
	}
	return fmt.Sprintf("#%d %s", c.N, c.Op)
}

// Fault is what happens to a call.
type Fault int

const (
	// None: the call takes its course.
	None Fault = iota
	// Refuse: the call has no effect and says so, with an error that wraps
	// [es.ErrRefused].
	Refuse
	// LoseBefore: the request is lost. There is no effect, and an error that
	// leaves that open.
	LoseBefore
	// LoseAfter: the answer is lost. There is the effect, and an error that leaves
	// that open. A read gives its commits first.
	LoseAfter
	// CrashBefore: the process dies before the call. This call and all after it
	// have no effect and fail with [ErrCrashed].
	CrashBefore
	// CrashAfter: the process dies after the call, which has its effect and never
	// returns to anybody who could go on: it fails with [ErrCrashed], like all
	// calls after it.
	CrashAfter

	late // and everything above
)

// Late returns the fault of a write that is delayed on its way: there is an error
// that leaves the effect open, and the effect comes before the k-th call after this
// one, or with [Faulty.Land], whichever is first. A k below 1 counts as 1.
func Late(k int) Fault { return late + Fault(max(k, 1)) - 1 }

// String returns the fault in words.
func (f Fault) String() string {
	switch {
	case f == None:
		return "no fault"
	case f == Refuse:
		return "refused"
	case f == LoseBefore:
		return "request lost"
	case f == LoseAfter:
		return "answer lost"
	case f == CrashBefore:
		return "crashed before"
	case f == CrashAfter:
		return "crashed after"
	case f >= late:
		return fmt.Sprintf("late by %d", f-late+1)
	}
	return fmt.Sprintf("fault(%d)", int(f))
}

// ErrCrashed is what a call gets from a process that is dead.
var ErrCrashed = errors.New("the process has crashed")

// errLost is the error of a call that leaves its effect open.
var errLost = errors.New("connection lost")

// Plan says which fault a call meets. It is asked for one call after the other, and
// so must not use what asks it.
type Plan func(Call) Fault

// At is the plan of one fault, at the n-th call.
func At(n int, f Fault) Plan {
	return func(c Call) Fault {
		if c.N == n {
			return f
		}
		return None
	}
}

// On is the plan of one fault, at the n-th call of a method; 0 means at every call of
// it. The plan counts for itself: each [Faulty] needs one of its own.
func On(op Op, n int, f Fault) Plan {
	seen := 0
	return func(c Call) Fault {
		if c.Op != op {
			return None
		}
		if seen++; n == 0 || seen == n {
			return f
		}
		return None
	}
}

// Seeded is a plan that disturbs calls at random: a part of them, rate being between
// 0 and 1, with any fault but a crash. The same seed gives the same fault to a call
// of the same number. A test prints its seed.
func Seeded(seed uint64, rate float64) Plan {
	return func(c Call) Fault {
		r := rand.New(rand.NewPCG(seed, uint64(c.N)))
		if r.Float64() >= rate {
			return None
		}
		return []Fault{Refuse, LoseBefore, LoseAfter, Late(1 + r.IntN(8))}[r.IntN(4)]
	}
}

// Plans combines plans: the first one that has a fault for a call decides. All are
// asked.
func Plans(plans ...Plan) Plan {
	return func(c Call) Fault {
		fault := None
		for _, plan := range plans {
			if f := plan(c); fault == None {
				fault = f
			}
		}
		return fault
	}
}

// Faulty is what stands between one process and its store and broker, and breaks:
// by a plan, so that every failure can be had again. What it wraps may be shared
// with other processes.
//
// The zero value disturbs nothing. Plan is set before the first call. It is safe
// for concurrent use; the number of a call is then a matter of chance.
type Faulty struct {
	Plan Plan

	mu    sync.Mutex
	calls []string
	n     int
	dead  bool
	late  []lateWrite
}

// lateWrite is a write on its way.
type lateWrite struct {
	at   int // the call before which it lands
	land func()
}

// Calls returns the calls so far, one line each, with their faults: for the message
// of a test that fails.
func (f *Faulty) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Crashed reports whether the process is dead.
func (f *Faulty) Crashed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

// Land lets every write that is still on its way take effect, in the order in which
// they were sent. A crash of the process that sent them does not stop them. Nobody
// hears what becomes of them. It returns the context's error if that ends first; the
// rest stays on its way.
func (f *Faulty) Land(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		f.mu.Lock()
		if len(f.late) == 0 {
			f.mu.Unlock()
			return nil
		}
		next := f.late[0]
		f.late = f.late[1:]
		f.mu.Unlock()
		next.land()
	}
}

// meet counts a call, lets land what is due, and returns the call's fault.
func (f *Faulty) meet(c Call) (Call, Fault, error) {
	f.mu.Lock()
	if f.dead {
		f.mu.Unlock()
		return c, None, ErrCrashed
	}
	f.n++
	c.N = f.n
	fault := None
	if f.Plan != nil {
		fault = f.Plan(c)
	}
	line := c.String()
	if fault != None {
		line += ": " + fault.String()
	}
	f.calls = append(f.calls, line)
	if fault == CrashBefore || fault == CrashAfter {
		f.dead = true
	}
	var due []func()
	f.late = slices.DeleteFunc(f.late, func(l lateWrite) bool {
		if l.at <= c.N {
			due = append(due, l.land)
			return true
		}
		return false
	})
	f.mu.Unlock()
	for _, land := range due {
		land()
	}
	if fault == CrashBefore {
		return c, fault, ErrCrashed
	}
	return c, fault, nil
}

// write passes a write on, as far as its fault allows.
func (f *Faulty) write(ctx context.Context, op Op, c es.Commit, send func(context.Context, es.Commit) error) error {
	call, fault, err := f.meet(Call{Op: op, Stream: c.Stream, Commit: c})
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", op, err)
	case fault == None:
		return send(ctx, c)
	case fault == Refuse:
		return fmt.Errorf("%v: %w", call, es.ErrRefused)
	case fault == LoseAfter:
		_ = send(ctx, c)
	case fault == CrashAfter:
		_ = send(ctx, c)
		return fmt.Errorf("%v: %w", call, ErrCrashed)
	case fault >= late && ctx.Err() == nil:
		c, ctx := c.Clone(), context.WithoutCancel(ctx)
		f.mu.Lock()
		f.late = append(f.late, lateWrite{at: call.N + int(fault-late) + 1, land: func() { _ = send(ctx, c) }})
		f.mu.Unlock()
	}
	return fmt.Errorf("%v: %w", call, errLost)
}

// read passes a read on each time it is run.
func (f *Faulty) read(op Op, stream es.StreamID, commits iter.Seq2[es.Commit, error]) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		call, fault, err := f.meet(Call{Op: op, Stream: stream})
		switch {
		case err != nil:
			yield(es.Commit{}, fmt.Errorf("%s: %w", op, err))
			return
		case fault == None:
			commits(yield)
			return
		case fault == Refuse:
			yield(es.Commit{}, fmt.Errorf("%v: %w", call, es.ErrRefused))
			return
		case fault == CrashAfter:
			yield(es.Commit{}, fmt.Errorf("%v: %w", call, ErrCrashed))
			return
		case fault == LoseAfter:
			for c, err := range commits {
				if !yield(c, err) || err != nil {
					return
				}
			}
		}
		yield(es.Commit{}, fmt.Errorf("%v: %w", call, errLost))
	}
}

// Store returns the store as the process sees it. It is a [es.Lister] and
// [es.Metered], too: if s lists no streams, Streams yields an error that wraps
// errors.ErrUnsupported, and if s is not metered, every byte costs a unit, so that
// no snapshot is free. Streams is not disturbed, but by a crash, and not counted.
func (f *Faulty) Store(s es.Store) es.Store { return &faultyStore{f, s} }

// Publisher returns the publisher as the process sees it. It is a [es.Checker], too:
// if p is none, everything passes the check.
func (f *Faulty) Publisher(p es.Publisher) es.Publisher { return &faultyPublisher{f, p} }

type faultyStore struct {
	faults *Faulty
	store  es.Store
}

var (
	_ es.Lister  = (*faultyStore)(nil)
	_ es.Metered = (*faultyStore)(nil)
	_ es.Checker = (*faultyPublisher)(nil)
)

func (s *faultyStore) Append(ctx context.Context, c es.Commit) error {
	return s.faults.write(ctx, Append, c, s.store.Append)
}

func (s *faultyStore) Claim(ctx context.Context, c es.Commit) error {
	return s.faults.write(ctx, Claim, c, s.store.Claim)
}

func (s *faultyStore) Settle(ctx context.Context, c es.Commit) error {
	return s.faults.write(ctx, Settle, c, s.store.Settle)
}

func (s *faultyStore) Revoke(ctx context.Context, c es.Commit) error {
	return s.faults.write(ctx, Revoke, c, s.store.Revoke)
}

func (s *faultyStore) Load(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	return s.faults.read(Load, stream, s.store.Load(ctx, stream, after))
}

func (s *faultyStore) LoadBack(ctx context.Context, stream es.StreamID, hint int) iter.Seq2[es.Commit, error] {
	return s.faults.read(LoadBack, stream, s.store.LoadBack(ctx, stream, hint))
}

func (s *faultyStore) Pending(ctx context.Context, before time.Time) iter.Seq2[es.Commit, error] {
	return s.faults.read(Pending, es.StreamID{}, s.store.Pending(ctx, before))
}

func (s *faultyStore) Streams(ctx context.Context, shard, shards int, after es.StreamID) iter.Seq2[es.StreamID, error] {
	return func(yield func(es.StreamID, error) bool) {
		lister, ok := s.store.(es.Lister)
		switch {
		case s.faults.Crashed():
			yield(es.StreamID{}, ErrCrashed)
		case !ok:
			yield(es.StreamID{}, fmt.Errorf("streams: %w: %T", errors.ErrUnsupported, s.store))
		default:
			lister.Streams(ctx, shard, shards, after)(yield)
		}
	}
}

func (s *faultyStore) Units(c es.Commit) int {
	if metered, ok := s.store.(es.Metered); ok {
		return metered.Units(c)
	}
	bytes := 1
	for _, e := range c.Events {
		bytes += len(e.Type) + len(e.Data)
	}
	if c.State != nil {
		bytes += 1 + len(c.State.Schema) + len(c.State.Data)
	}
	return bytes
}

type faultyPublisher struct {
	faults    *Faulty
	publisher es.Publisher
}

func (p *faultyPublisher) Publish(ctx context.Context, c es.Commit) error {
	return p.faults.write(ctx, Publish, c, p.publisher.Publish)
}

func (p *faultyPublisher) Check(c es.Commit) error {
	if checker, ok := p.publisher.(es.Checker); ok {
		return checker.Check(c)
	}
	return nil
}
