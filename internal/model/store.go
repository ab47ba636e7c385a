package model

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/leftfold/leftfold/es"
)

// StoreSteps are calls of an [es.Store], one after the other.
type StoreSteps []storeStep

// storeStep is a call. Its numbers choose among what is there when its turn comes.
type storeStep struct {
	Do     string
	Stream int
	Which  int  // commit among those that were tried, or slot among those that are taken
	Place  int  // where to append: see place
	Ended  bool // whether the context has ended before
	After  uint64
	Hint   int
	Stop   int // reads that many commits at most; 0: all
	Commit content
}

// content is what a new commit holds.
type content struct {
	Events   [][]byte
	Meta     map[string]string
	Command  string
	Second   int64 // of its time
	State    []byte
	Done     int
	Settled  bool
	Replaces int // 0: what the slot needs; 1: nothing; 2: a stranger
	Broken   int // 1 to 3: a form that no store takes
}

const streams = 3

// Store generates up to n steps.
func Store(n int) *rapid.Generator[StoreSteps] {
	data := rapid.SliceOfN(rapid.Byte(), 0, 6)
	some := rapid.IntRange(0, 9)
	commit := rapid.Custom(func(t *rapid.T) content {
		c := content{
			Events: rapid.SliceOfN(data, 1, 3).Draw(t, "events"), Settled: rapid.Bool().Draw(t, "settled"),
			Second: rapid.Int64Range(0, 5).Draw(t, "second"), Done: rapid.IntRange(0, 2).Draw(t, "done"),
			Meta:    rapid.MapOfN(rapid.SampledFrom([]string{"actor", "trace.id", "ключ"}), rapid.StringOfN(rapid.RuneFrom([]rune("aü🎈\n")), 0, 4, -1), 0, 2).Draw(t, "meta"),
			Command: rapid.SampledFrom([]string{"", "create", "c/ü"}).Draw(t, "command"),
		}
		if rapid.Bool().Draw(t, "with state") {
			c.State = data.Draw(t, "state")
		}
		switch some.Draw(t, "odd") {
		case 7:
			c.Replaces = 1
		case 8:
			c.Replaces = 2
		case 9:
			c.Broken = rapid.IntRange(1, 3).Draw(t, "broken")
		}
		return c
	})
	step := rapid.Custom(func(t *rapid.T) storeStep {
		s := storeStep{
			Do: rapid.SampledFrom([]string{
				"append", "append", "append", "append again", "claim", "settle", "settle", "revoke", "revoke", "undo", "undo",
				"load", "load back", "pending", "streams",
			}).Draw(t, "do"),
			Stream: rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2}).Draw(t, "stream"), Ended: some.Draw(t, "ended") == 9,
		}
		switch s.Do {
		case "append":
			s.Place, s.Which, s.Commit = some.Draw(t, "place"), some.Draw(t, "which"), commit.Draw(t, "commit")
		case "load", "load back", "pending", "streams":
			s.After, s.Hint, s.Stop = rapid.Uint64Range(0, 6).Draw(t, "after"), rapid.IntRange(-1, 5).Draw(t, "hint"), rapid.IntRange(0, 3).Draw(t, "stop")
		default:
			// Mostly the newest, where most is possible.
			s.Which, s.Place = max(0, some.Draw(t, "which")-5), some.Draw(t, "place")
		}
		return s
	})
	return rapid.Map(upTo(n, step), func(s []storeStep) StoreSteps { return s })
}

// upTo generates 1 to n steps. By itself, a slice of no least length has 6 on average.
func upTo[S any](n int, step *rapid.Generator[S]) *rapid.Generator[[]S] {
	return rapid.Custom(func(t *rapid.T) []S {
		least := rapid.SampledFrom([]int{1, n / 4, n / 2}).Draw(t, "least")
		return rapid.SliceOfN(step, max(1, least), n).Draw(t, "steps")
	})
}

// Run takes the steps on a store, on streams of a category of their own, and returns an
// error that names the first answer that the contract does not allow, with the steps
// up to there. Where the contract leaves open what a journal never does, a contiguous store is
// held to "conflict", and of any other it is not asked.
func (steps StoreSteps) Run(ctx context.Context, s es.Store, contiguous bool) error {
	r := &storeRun{store: s, contiguous: contiguous, category: "model-" + strings.ToLower(rand.Text())}
	for i := range r.streams {
		r.streams[i].id = es.StreamID{Category: r.category, ID: fmt.Sprint("ü/", i)}
	}
	for _, step := range steps {
		if err := r.take(ctx, step); err != nil {
			return fmt.Errorf("%w\nafter these steps:\n  %s", err, strings.Join(r.trace, "\n  "))
		}
	}
	for i := range r.streams {
		if err := r.same(ctx, &r.streams[i]); err != nil {
			return fmt.Errorf("at the end: %w\nafter these steps:\n  %s", err, strings.Join(r.trace, "\n  "))
		}
	}
	return nil
}

type storeRun struct {
	store      es.Store
	contiguous bool
	category   string
	streams    [streams]modelStream
	made       int
	trace      []string
}

// modelStream is the model of a stream: a row of slots, of which the last alone may be
// other than settled.
type modelStream struct {
	id    es.StreamID
	slots []es.Commit
	tried []es.Commit // every commit that was ever given to Append, newest last
}

// next returns the slot that the next commit takes, and whose marker it replaces.
func (m *modelStream) next() (version uint64, replaces string) {
	if len(m.slots) == 0 {
		return 1, ""
	}
	if tip := m.slots[len(m.slots)-1]; tip.Status == es.Revoked {
		return tip.Version, tip.ID
	} else {
		return tip.Last() + 1, ""
	}
}

func (m *modelStream) slot(version uint64) *es.Commit {
	for i := range m.slots {
		if m.slots[i].Version == version {
			return &m.slots[i]
		}
	}
	return nil
}

// tip returns the last slot if it is not settled.
func (m *modelStream) tip() *es.Commit {
	if n := len(m.slots); n > 0 && m.slots[n-1].Status != es.Settled {
		return &m.slots[n-1]
	}
	return nil
}

// answer is what a write comes to.
type answer string

const (
	fine     answer = "nil"
	conflict answer = "a conflict"
	refused  answer = "refused"
	other    answer = "an error that is no conflict"
	ended    answer = "the error of the context"
)

func (a answer) check(err error) error {
	ok := false
	switch a {
	case fine:
		ok = err == nil
	case conflict:
		ok = errors.Is(err, es.ErrConflict) && !errors.Is(err, es.ErrRefused)
	case refused:
		ok = errors.Is(err, es.ErrRefused) && !errors.Is(err, es.ErrConflict)
	case other:
		ok = err != nil && !errors.Is(err, es.ErrConflict)
	case ended:
		ok = errors.Is(err, context.Canceled) && !errors.Is(err, es.ErrConflict)
	}
	if !ok {
		return fmt.Errorf("the answer is %s, not %s", fmt.Sprint(err), a)
	}
	return nil
}

func (r *storeRun) take(ctx context.Context, step storeStep) error {
	if step.Do == "undo" {
		// A commit that is revoked, and whose append arrives once more.
		step.Place = min(step.Place, 7) // the commit itself
		for _, step.Do = range []string{"revoke", "append again"} {
			if err := r.take(ctx, step); err != nil {
				return err
			}
		}
		return nil
	}
	if step.Ended {
		over, cancel := context.WithCancel(ctx)
		cancel()
		return r.read(over, step, r.write(ctx, over, step))
	}
	return r.read(ctx, step, r.write(ctx, ctx, step))
}

// write takes a step that writes, and looks at the stream afterwards.
func (r *storeRun) write(ctx, in context.Context, step storeStep) error {
	m := &r.streams[step.Stream]
	var c es.Commit
	switch step.Do {
	case "append":
		var ok bool
		if c, ok = r.compose(m, step); !ok {
			return nil
		}
	case "append again":
		// A write that was sent before, and arrives now: whatever became of it, or of its slot.
		if len(m.tried) == 0 {
			return nil
		}
		c = m.tried[len(m.tried)-1-step.Which%len(m.tried)]
	case "claim", "settle", "revoke":
		c = r.target(m, step)
	default:
		return nil
	}
	want, change := r.allows(m, step.Do, c)
	if in.Err() != nil {
		change = func() {}
		if want != refused { // whichever is seen first
			want = ended
		} else {
			want = other
		}
	}
	sent := c.Clone()
	send := map[string]func(context.Context, es.Commit) error{
		"append": r.store.Append, "append again": r.store.Append, "claim": r.store.Claim, "settle": r.store.Settle, "revoke": r.store.Revoke,
	}[step.Do]
	err := send(in, sent)
	scribble(sent)
	r.trace = append(r.trace, fmt.Sprintf("%s %s: %v", step.Do, brief(c), err))
	if err := want.check(err); err != nil {
		return err
	}
	change()
	return r.same(ctx, m)
}

// compose returns a new commit, and false if there is no place for one.
func (r *storeRun) compose(m *modelStream, step storeStep) (es.Commit, bool) {
	d := step.Commit
	r.made++
	c := es.Commit{
		Stream: m.id, ID: fmt.Sprintf("%s-%d", r.category, r.made), Command: d.Command, Meta: d.Meta, Status: es.Pending,
		Time: time.Unix(1e9+d.Second, 123456789).In(time.FixedZone("somewhere", 5*3600+1800)),
	}
	for i, data := range d.Events {
		c.Events = append(c.Events, es.Event{Type: fmt.Sprint("test.", i), Data: string(data)})
	}
	if d.State != nil {
		c.State = &es.Snapshot{Schema: "test/1", Data: string(d.State)}
	}
	for i := range d.Done {
		c.Done = append(c.Done, es.Done{Command: fmt.Sprint("c", i), Fingerprint: 1<<64 - 1, Version: uint64(i), Time: c.Time.Add(-time.Nanosecond)})
	}
	if d.Settled {
		c.Status = es.Settled
	}
	c.Version, c.Replaces = m.next()
	tip := m.tip()
	switch {
	case step.Place < 6:
		// Behind a commit that is not settled there is no place, but a contiguous store says so.
		if tip != nil && tip.Status != es.Revoked && !r.contiguous {
			return c, false
		}
	case step.Place < 8: // a slot that is taken
		if len(m.slots) == 0 {
			return c, false
		}
		slot := m.slots[len(m.slots)-1-step.Which%len(m.slots)]
		c.Version, c.Replaces = slot.Version, slot.ID
	case !r.contiguous:
		return c, false
	case step.Place == 8: // beyond the end
		c.Version += 1 + uint64(step.Which)
	default: // inside of a commit, if it has an inside
		if len(m.slots) == 0 {
			return c, false
		}
		c.Version = m.slots[len(m.slots)-1-step.Which%len(m.slots)].Version + 1
	}
	switch d.Replaces {
	case 1:
		c.Replaces = ""
	case 2:
		c.Replaces = "stranger"
	}
	switch d.Broken {
	case 1:
		c.Events = nil
	case 2:
		c.Status = es.Claimed
	case 3:
		c.Stream.Category = "a/b"
	}
	return c, true
}

// target returns what a claim, a settle or a revoke is about: mostly a commit that was
// tried, else a stranger in its slot, or an empty slot. Of all else the store takes no notice.
func (r *storeRun) target(m *modelStream, step storeStep) es.Commit {
	version, _ := m.next()
	c := es.Commit{Stream: m.id, Version: version, ID: "nobody"}
	if len(m.tried) > 0 && step.Place < 9 {
		tried := m.tried[len(m.tried)-1-step.Which%len(m.tried)]
		c.Version, c.ID = tried.Version, tried.ID
		if step.Place == 8 {
			c.ID = "stranger"
		}
	}
	if step.Place%2 == 0 {
		c.Status, c.Replaces, c.Events = es.Revoked, "noise", []es.Event{{Type: "noise"}}
	}
	return c
}

// allows returns what the contract says of a write, and what it does to the model.
func (r *storeRun) allows(m *modelStream, do string, c es.Commit) (answer, func()) {
	nothing := func() {}
	slot := m.slot(c.Version)
	held := slot != nil && slot.ID == c.ID
	become := func(s es.Status) func() { return func() { slot.Status = s } }
	switch do {
	case "append", "append again":
		if c.Validate() != nil || c.Status != es.Pending && c.Status != es.Settled {
			return refused, nothing
		}
		kept := c.Clone()
		if do == "append" {
			m.tried = append(m.tried, kept)
		}
		next, _ := m.next()
		switch {
		case held && slot.Status != es.Revoked:
			return fine, nothing
		case slot != nil && slot.Status == es.Revoked && c.Replaces == slot.ID:
			return fine, func() { *slot = kept }
		case slot == nil && c.Version == next && c.Replaces == "" && m.tip() == nil:
			return fine, func() { m.slots = append(m.slots, kept) }
		}
		return conflict, nothing
	case "claim":
		switch {
		case held && slot.Status == es.Pending:
			return fine, become(es.Claimed)
		case held && slot.Status == es.Claimed:
			return fine, nothing
		}
		return conflict, nothing
	case "settle":
		if held && slot.Status != es.Revoked {
			return fine, become(es.Settled)
		}
		return conflict, nothing
	}
	switch {
	case slot == nil:
		return other, nothing
	case !held || slot.Status == es.Revoked:
		return fine, nothing
	case slot.Status != es.Pending:
		return conflict, nothing
	}
	return fine, func() { *slot = es.Commit{Stream: slot.Stream, Version: slot.Version, ID: slot.ID, Status: es.Revoked} }
}

// same compares a whole stream with the model.
func (r *storeRun) same(ctx context.Context, m *modelStream) error {
	return compare(fmt.Sprintf("load %s", m.id.ID), r.store.Load(ctx, m.id, 0), m.slots, 0)
}

// read takes a step that reads, unless there was an error before.
func (r *storeRun) read(ctx context.Context, step storeStep, err error) error {
	if err != nil {
		return err
	}
	m := &r.streams[step.Stream]
	var got iter.Seq2[es.Commit, error]
	var want []es.Commit
	switch step.Do {
	case "load":
		got = r.store.Load(ctx, m.id, step.After)
		for _, c := range m.slots {
			if c.Version > step.After {
				want = append(want, c)
			}
		}
	case "load back":
		got, want = r.store.LoadBack(ctx, m.id, step.Hint), slices.Clone(m.slots)
		slices.Reverse(want)
	case "pending":
		before := time.Unix(1e9+int64(step.After), 123456789)
		for i := range r.streams {
			if tip := r.streams[i].tip(); tip != nil && tip.Status != es.Revoked && tip.Time.Before(before) {
				want = append(want, *tip)
			}
		}
		got, step.Stop = r.oldestFirst(r.store.Pending(ctx, before)), 0
		slices.SortStableFunc(want, func(a, b es.Commit) int {
			return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Stream.ID, b.Stream.ID))
		})
	case "streams":
		return r.list(ctx, step)
	default:
		return nil
	}
	r.trace = append(r.trace, fmt.Sprintf("%s %s after %d, hint %d, stop %d", step.Do, m.id.ID, step.After, step.Hint, step.Stop))
	if ctx.Err() != nil {
		for c, err := range got {
			if err == nil {
				return fmt.Errorf("in an ended context it yields %s", brief(c))
			}
			return ended.check(err)
		}
		return errors.New("in an ended context it yields nothing")
	}
	if err := compare(step.Do, got, want, step.Stop); err != nil {
		return err
	}
	// A sequence can be run again, and reads anew.
	return compare(step.Do+", run again", got, want, step.Stop)
}

// oldestFirst leaves out the streams of others, and puts commits of one time into a fixed
// order; any other order stays as it is.
func (r *storeRun) oldestFirst(commits iter.Seq2[es.Commit, error]) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		var found []es.Commit
		for c, err := range commits {
			if err != nil {
				yield(c, err)
				return
			}
			if c.Stream.Category != r.category {
				continue
			}
			at := len(found)
			for at > 0 && found[at-1].Time.Equal(c.Time) && found[at-1].Stream.ID > c.Stream.ID {
				at--
			}
			found = slices.Insert(found, at, c)
		}
		for _, c := range found {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// list compares what the shards have together with the model, and what comes behind
// one of the streams with what came behind it before.
func (r *storeRun) list(ctx context.Context, step storeStep) error {
	lister, ok := r.store.(es.Lister)
	if !ok {
		return nil
	}
	shards := max(1, step.Hint)
	r.trace = append(r.trace, fmt.Sprintf("streams of %d shards", shards))
	found := make(map[es.StreamID]int)
	for shard := range shards {
		all, err := list(lister.Streams(ctx, shard, shards, es.StreamID{}))
		if ctx.Err() != nil {
			return ended.check(err)
		}
		if err != nil {
			return fmt.Errorf("streams: %w", err)
		}
		for i, id := range all {
			if id.Category != r.category {
				continue
			}
			found[id]++
			behind, err := list(lister.Streams(ctx, shard, shards, id))
			if err != nil || !slices.Equal(behind, all[i+1:]) {
				return fmt.Errorf("streams behind %s: %v, %s, not %v", id, behind, fmt.Sprint(err), all[i+1:])
			}
		}
	}
	for i := range r.streams {
		m := &r.streams[i]
		live := slices.ContainsFunc(m.slots, func(c es.Commit) bool { return c.Status != es.Revoked })
		if n := found[m.id]; n > 1 || live && n == 0 || len(m.slots) == 0 && n > 0 {
			return fmt.Errorf("streams: %s is listed %d times, with %d slots", m.id, n, len(m.slots))
		}
	}
	return nil
}

func list(ids iter.Seq2[es.StreamID, error]) (all []es.StreamID, err error) {
	for id, err := range ids {
		if err != nil {
			return all, err
		}
		all = append(all, id)
	}
	return all, nil
}

// compare reads a sequence, up to stop commits of it, and writes over what it was given.
func compare(what string, got iter.Seq2[es.Commit, error], want []es.Commit, stop int) error {
	if stop > 0 {
		want = want[:min(stop, len(want))]
	}
	n := 0
	for c, err := range got {
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", what, err)
		case n == len(want):
			return fmt.Errorf("%s: there is %s where there should be nothing", what, brief(c))
		case c.Time.Location() != time.UTC:
			return fmt.Errorf("%s: the time of %s is in %s", what, brief(c), c.Time.Location())
		case !reflect.DeepEqual(plain(c), plain(want[n])):
			return fmt.Errorf("%s: commit %d is\n%+v, not\n%+v", what, n+1, plain(c), plain(want[n]))
		}
		scribble(c)
		if n++; n == stop {
			return nil
		}
	}
	if n < len(want) {
		return fmt.Errorf("%s: there are %d commits, and %s is missing", what, n, brief(want[n]))
	}
	return nil
}

// plain returns the commit with one form for all that is the same: nil and empty, and
// times of one instant.
func plain(c es.Commit) es.Commit {
	c = c.Clone()
	c.Time = c.Time.UTC()
	if len(c.Meta) == 0 {
		c.Meta = nil
	}
	if len(c.Events) == 0 {
		c.Events = nil
	}
	if len(c.Done) == 0 {
		c.Done = nil
	}
	for i := range c.Done {
		c.Done[i].Time = c.Done[i].Time.UTC()
	}
	return c
}

// scribble changes all that a commit refers to.
func scribble(c es.Commit) {
	for k := range c.Meta {
		c.Meta[k] = "scribbled"
	}
	maps.DeleteFunc(c.Meta, func(k, _ string) bool { return k == "actor" })
	for i := range c.Events {
		c.Events[i] = es.Event{Type: "scribbled", Data: "scribbled"}
	}
	if c.State != nil {
		*c.State = es.Snapshot{Schema: "scribbled", Data: "scribbled"}
	}
	for i := range c.Done {
		c.Done[i].Command = "scribbled"
	}
}

func brief(c es.Commit) string {
	_, id, _ := strings.Cut(strings.TrimPrefix(c.ID, "model-"), "-")
	_, replaces, _ := strings.Cut(strings.TrimPrefix(c.Replaces, "model-"), "-")
	return fmt.Sprintf("%s@%d %s (%d events, %v, replaces %q)", c.Stream.ID, c.Version, cmp.Or(id, c.ID), len(c.Events), c.Status, cmp.Or(replaces, c.Replaces))
}
