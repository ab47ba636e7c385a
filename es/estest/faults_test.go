package estest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

// A store that is not disturbed is the store.
func TestFaultyWithoutFaults(t *testing.T) {
	TestStore(t, func(*testing.T) es.Store { return new(Faulty).Store(new(memory.Store)) })
}

func TestFaultyWrites(t *testing.T) {
	ops := map[Op]func(es.Store, es.Publisher) func(context.Context, es.Commit) error{
		Append:  func(s es.Store, _ es.Publisher) func(context.Context, es.Commit) error { return s.Append },
		Claim:   func(s es.Store, _ es.Publisher) func(context.Context, es.Commit) error { return s.Claim },
		Settle:  func(s es.Store, _ es.Publisher) func(context.Context, es.Commit) error { return s.Settle },
		Revoke:  func(s es.Store, _ es.Publisher) func(context.Context, es.Commit) error { return s.Revoke },
		Publish: func(_ es.Store, p es.Publisher) func(context.Context, es.Commit) error { return p.Publish },
	}
	tests := []struct {
		fault  Fault
		effect bool
		err    error // what the error must wrap; nil: no error
	}{
		{None, true, nil},
		{Refuse, false, es.ErrRefused},
		{LoseBefore, false, errLost},
		{LoseAfter, true, errLost},
		{Late(1), false, errLost},
		{CrashBefore, false, ErrCrashed},
		{CrashAfter, true, ErrCrashed},
	}
	for op, method := range ops {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%s %v", op, test.fault), func(t *testing.T) {
				log := new(effects)
				f := Faulty{Plan: At(1, test.fault)}
				c := newCommit(newStream("1"), 1, 1)
				err := method(f.Store(log), f.Publisher(log))(t.Context(), c)
				if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
					t.Errorf("the error is %v, not %v", err, test.err)
				}
				if test.fault != Refuse && errors.Is(err, es.ErrRefused) || errors.Is(err, es.ErrConflict) {
					t.Errorf("%v says more than is known", err)
				}
				if done := log.done != nil; done != test.effect {
					t.Errorf("it had an effect: %v", done)
				}
				if err := f.Land(t.Context()); err != nil {
					t.Error(err)
				}
				if want := test.effect || test.fault == Late(1); (log.done != nil) != want {
					t.Errorf("in the end the effects are %v", log.done)
				}
				if crashed := errors.Is(test.err, ErrCrashed); f.Crashed() != crashed {
					t.Errorf("crashed is %v", f.Crashed())
				}
			})
		}
	}
}

func TestFaultyReads(t *testing.T) {
	store := new(memory.Store)
	c := newCommit(newStream("1"), 1, 1)
	if err := store.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	reads := map[Op]func(es.Store) iter.Seq2[es.Commit, error]{
		Load:     func(s es.Store) iter.Seq2[es.Commit, error] { return s.Load(t.Context(), c.Stream, 0) },
		LoadBack: func(s es.Store) iter.Seq2[es.Commit, error] { return s.LoadBack(t.Context(), c.Stream, 1) },
		Pending:  func(s es.Store) iter.Seq2[es.Commit, error] { return s.Pending(t.Context(), past.Add(time.Hour)) },
	}
	tests := []struct {
		fault  Fault
		yields int
		err    error
	}{
		{None, 1, nil},
		{Refuse, 0, es.ErrRefused},
		{LoseBefore, 0, errLost},
		{LoseAfter, 1, errLost},
		{Late(3), 0, errLost},
		{CrashBefore, 0, ErrCrashed},
		{CrashAfter, 0, ErrCrashed},
	}
	for op, read := range reads {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%s %v", op, test.fault), func(t *testing.T) {
				f := Faulty{Plan: On(op, 1, test.fault)}
				seq := read(f.Store(store))
				got, err := all(seq)
				if len(got) != test.yields || !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
					t.Errorf("it yields %d commits and %v", len(got), err)
				}
				// Each run of a sequence is a call of its own.
				again, err := all(seq)
				switch dead := errors.Is(test.err, ErrCrashed); {
				case dead && !errors.Is(err, ErrCrashed):
					t.Errorf("a dead process reads %d commits: %v", len(again), err)
				case !dead && (err != nil || len(again) != 1):
					t.Errorf("the second run yields %d commits and %v", len(again), err)
				}
			})
		}
	}
}

// A caller that breaks off does not get the error of the fault that follows.
func TestFaultyReadBrokenOff(t *testing.T) {
	store := new(memory.Store)
	c := newCommit(newStream("1"), 1, 1)
	if err := store.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	f := Faulty{Plan: On(Load, 0, LoseAfter)}
	n := 0
	f.Store(store).Load(t.Context(), c.Stream, 0)(func(es.Commit, error) bool { n++; return false })
	if n != 1 {
		t.Errorf("yielded %d times", n)
	}
}

// A late write lands before the k-th call after it, whichever call that is, and
// whether its context has ended by then or not.
func TestFaultyLate(t *testing.T) {
	log := new(effects)
	f := Faulty{Plan: On(Append, 1, Late(3))}
	store, publisher := f.Store(log), f.Publisher(log)
	a, b := newCommit(newStream("1"), 1, 1), newCommit(newStream("1"), 1, 1)

	ctx, cancel := context.WithCancel(t.Context())
	sent := a.Clone()
	if err := store.Append(ctx, sent); !errors.Is(err, errLost) {
		t.Errorf("append: %v", err)
	}
	cancel()
	spoil(sent)
	for range store.Load(t.Context(), b.Stream, 0) {
		t.Error("the log has no commits")
	}
	if err := publisher.Publish(t.Context(), b); err != nil || len(log.done) != 1 {
		t.Errorf("publish: %v, effects %v", err, log.done)
	}
	if err := store.Settle(t.Context(), b); err != nil {
		t.Error(err)
	}
	want := []string{"publish " + b.ID, "append " + a.ID, "settle " + b.ID}
	if !slices.Equal(log.done, want) {
		t.Errorf("the effects are %v, not %v", log.done, want)
	}
	if err := differ(log.commits[1], a); err != nil {
		t.Errorf("what landed: %v", err)
	}
	calls := []string{
		"#1 append " + a.Stream.String() + "@1: late by 3",
		"#2 load " + b.Stream.String(),
		"#3 publish " + b.Stream.String() + "@1",
		"#4 settle " + b.Stream.String() + "@1",
	}
	if !slices.Equal(f.Calls(), calls) {
		t.Errorf("the calls are %q, not %q", f.Calls(), calls)
	}
}

// What is on its way is not stopped by the death of its sender, nor by the end of a
// Land.
func TestFaultyLand(t *testing.T) {
	log := new(effects)
	f := Faulty{Plan: Plans(At(1, Late(0)), At(2, CrashBefore), On(Revoke, 0, Late(9)))}
	store := f.Store(log)
	a, b := newCommit(newStream("1"), 1, 1), newCommit(newStream("1"), 1, 1)
	_ = store.Revoke(t.Context(), a)
	if err := store.Append(t.Context(), b); !errors.Is(err, ErrCrashed) {
		t.Errorf("append: %v", err)
	}
	if want := []string{"revoke " + a.ID}; !slices.Equal(log.done, want) {
		t.Errorf("the effects are %v, not %v", log.done, want)
	}

	log = new(effects)
	f = Faulty{Plan: Plans(At(1, Late(9)), At(2, CrashAfter))}
	store = f.Store(log)
	_ = store.Append(t.Context(), a)
	_ = store.Append(t.Context(), b)
	for range 20 {
		if err := store.Append(t.Context(), b); !errors.Is(err, ErrCrashed) {
			t.Errorf("append by a dead process: %v", err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Land(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("land: %v", err)
	}
	if want := []string{"append " + b.ID}; !slices.Equal(log.done, want) {
		t.Errorf("the effects are %v, not %v", log.done, want)
	}
	if err := f.Land(t.Context()); err != nil {
		t.Error(err)
	}
	if want := []string{"append " + b.ID, "append " + a.ID}; !slices.Equal(log.done, want) {
		t.Errorf("the effects are %v, not %v", log.done, want)
	}
	if n := len(f.Calls()); n != 2 {
		t.Errorf("%d calls were counted", n)
	}
}

// A write in a context that has ended is not sent, so it does not land, either.
func TestFaultyLateInEndedContext(t *testing.T) {
	log := new(effects)
	f := Faulty{Plan: At(1, Late(1))}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if f.Store(log).Append(ended, newCommit(newStream("1"), 1, 1)) == nil {
		t.Error("append succeeded")
	}
	if err := f.Land(t.Context()); err != nil || log.done != nil {
		t.Errorf("land: %v, effects %v", err, log.done)
	}
}

func TestFaultyForwards(t *testing.T) {
	f := new(Faulty)
	inner := new(memory.Store)
	c := newCommit(newStream("1"), 1, 1)
	if err := inner.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for stream, err := range f.Store(inner).(es.Lister).Streams(t.Context(), 0, 1, es.StreamID{}) {
		if err != nil || stream != c.Stream {
			t.Errorf("streams: %v, %v", stream, err)
		}
	}
	n := 0
	for _, err := range f.Store(new(effects)).(es.Lister).Streams(t.Context(), 0, 1, es.StreamID{}) {
		if n++; !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("streams of a store that is no lister: %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d errors", n)
	}
	dead := Faulty{Plan: At(1, CrashBefore)}
	store := dead.Store(inner)
	_ = store.Settle(t.Context(), c)
	for _, err := range store.(es.Lister).Streams(t.Context(), 0, 1, es.StreamID{}) {
		if !errors.Is(err, ErrCrashed) {
			t.Errorf("streams of a dead process: %v", err)
		}
	}

	units := f.Store(inner).(es.Metered)
	with := c
	with.State = &es.Snapshot{}
	if without, with := units.Units(c), units.Units(with); without < 1 || with <= without {
		t.Errorf("a snapshot costs %d units, and the commit alone %d", with, without)
	}
	if got := f.Store(limited{}).(es.Metered).Units(c); got != 7 {
		t.Errorf("units are %d, not those of the store", got)
	}

	if err := f.Publisher(new(effects)).(es.Checker).Check(c); err != nil {
		t.Errorf("check where there is none: %v", err)
	}
	if err := f.Publisher(limited{}).(es.Checker).Check(c); !errors.Is(err, errElse) {
		t.Errorf("check: %v", err)
	}
}

// A seed gives the same faults every time, about as many as the rate says, and no
// crash.
func TestSeeded(t *testing.T) {
	faults := func(seed uint64) []Fault {
		plan := Seeded(seed, 0.25)
		var found []Fault
		for n := range 4000 {
			found = append(found, plan(Call{N: n + 1}))
		}
		return found
	}
	a := faults(1)
	if !slices.Equal(a, faults(1)) {
		t.Error("the same seed gives other faults")
	}
	if slices.Equal(a, faults(2)) {
		t.Error("another seed gives the same faults")
	}
	count := make(map[Fault]int)
	for _, f := range a {
		count[min(f, late)]++
	}
	if n := len(a) - count[None]; n < 900 || n > 1100 {
		t.Errorf("%d of %d calls are disturbed", n, len(a))
	}
	if count[Refuse] == 0 || count[LoseBefore] == 0 || count[LoseAfter] == 0 || count[late] == 0 {
		t.Errorf("some faults never come: %v", count)
	}
	if count[CrashBefore]+count[CrashAfter] > 0 {
		t.Errorf("there are crashes: %v", count)
	}
}

func TestPlans(t *testing.T) {
	plan := Plans(At(2, Refuse), On(Settle, 2, LoseAfter), On(Load, 0, LoseBefore))
	var got []Fault
	for i, op := range []Op{Settle, Append, Load, Settle, Settle, Load} {
		got = append(got, plan(Call{N: i + 1, Op: op}))
	}
	want := []Fault{None, Refuse, LoseBefore, LoseAfter, None, LoseBefore}
	if !slices.Equal(got, want) {
		t.Errorf("the faults are %v, not %v", got, want)
	}
}

func TestFaultWords(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range []Fault{None, Refuse, LoseBefore, LoseAfter, CrashBefore, CrashAfter, Late(1), Late(2), -1} {
		if seen[f.String()] {
			t.Errorf("two faults are called %q", f)
		}
		seen[f.String()] = true
	}
	if got := (Call{N: 3, Op: Pending}).String(); got != "#3 pending" {
		t.Error(got)
	}
}

// A journal keeps what it says whatever its process goes through: a command that
// was accepted is stored and published once another process has cleared up, and one
// that was refused is not. Seeds are in the failure.
func TestJournalThroughFaults(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			err := checkRow(t, row[uint64]{check: throughFaults}, func(*testing.T) uint64 { return seed })
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func throughFaults(ctx context.Context, seed uint64) error {
	store, log := new(memory.Store), new(effects)
	f := Faulty{Plan: Plans(Seeded(seed, 0.3), At(60, CrashAfter))}
	journal := &es.Journal{Store: f.Store(store), Publisher: f.Publisher(log), Grace: -1}
	stream := newStream("1")
	event := []es.Event{{Type: "e"}}

	accepted, unknown := 0, 0
	for range 40 {
		_, err := journal.Commit(ctx, es.Commit{Stream: stream, Events: event})
		_, isUnknown := errors.AsType[*es.UnknownError](err)
		switch {
		case err == nil:
			accepted++
		case isUnknown:
			unknown++
		}
	}
	// The network settles, and another process finishes what is left.
	if err := f.Land(ctx); err != nil {
		return err
	}
	healthy := &es.Journal{Store: store, Publisher: log, Grace: -1}
	if _, err := healthy.Commit(ctx, es.Commit{Stream: stream, Events: event}); err != nil {
		return fmt.Errorf("the healthy process: %w\n%q", err, f.Calls())
	}
	accepted++
	commits, err := all(store.Load(ctx, stream, 0))
	if err != nil {
		return err
	}
	for i, c := range commits {
		if c.Version != uint64(i+1) || c.Status != es.Settled {
			return fmt.Errorf("%v commit at version %d in place %d\n%q", c.Status, c.Version, i+1, f.Calls())
		}
		if !slices.Contains(log.done, "publish "+c.ID) {
			return fmt.Errorf("the commit at version %d was not published\n%q", c.Version, f.Calls())
		}
	}
	for _, published := range log.commits {
		if !slices.ContainsFunc(commits, func(c es.Commit) bool { return c.ID == published.ID }) {
			return fmt.Errorf("a commit was published and is not stored\n%q", f.Calls())
		}
	}
	if len(commits) < accepted || len(commits) > accepted+unknown {
		return fmt.Errorf("%d commits are stored, %d were accepted and %d are unknown\n%q", len(commits), accepted, unknown, f.Calls())
	}
	return nil
}

// effects is a store and a publisher that only notes what happens to it. It is not
// safe for concurrent use.
type effects struct {
	nothingStore
	done    []string
	commits []es.Commit
}

func (l *effects) note(op Op, c es.Commit) error {
	l.done = append(l.done, string(op)+" "+c.ID)
	l.commits = append(l.commits, c.Clone())
	return nil
}

func (l *effects) Append(ctx context.Context, c es.Commit) error {
	return errors.Join(ctx.Err(), l.note(Append, c))
}
func (l *effects) Claim(_ context.Context, c es.Commit) error   { return l.note(Claim, c) }
func (l *effects) Settle(_ context.Context, c es.Commit) error  { return l.note(Settle, c) }
func (l *effects) Revoke(_ context.Context, c es.Commit) error  { return l.note(Revoke, c) }
func (l *effects) Publish(_ context.Context, c es.Commit) error { return l.note(Publish, c) }

// Streams has another form than es.Lister wants: effects is none.
func (l *effects) Streams() {}

// limited is a store and a publisher with limits.
type limited struct {
	nothingStore
	nothingPublisher
}

func (limited) Units(es.Commit) int   { return 7 }
func (limited) Check(es.Commit) error { return errElse }
