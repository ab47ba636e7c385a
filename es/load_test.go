package es_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

func snapshotting(schema string, every int) *es.Aggregate[[]string, Counted] {
	a := counter
	a.Snapshots = es.Snapshots[[]string]{Schema: schema, Every: every}
	return &a
}

// fill executes n commands of one event each.
func fill(t testing.TB, j *es.Journal, a *es.Aggregate[[]string, Counted], n int) {
	t.Helper()
	for i := range n {
		if _, err := es.Execute(t.Context(), j, a, "1", count(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever the strategy and the length, the state is the left fold.
func TestLoadStrategiesAgree(t *testing.T) {
	for every := 1; every <= 5; every++ {
		for length := range 12 {
			tap := newTap()
			a := snapshotting("s1", every)
			fill(t, tap.journal(), a, length)
			want, wantVersion, err := a.Replay(tap.Load(t.Context(), theStream, 0))
			if err != nil {
				t.Fatal(err)
			}
			got, version, err := es.Load(t.Context(), tap.journal(), a, "1")
			if err != nil || version != wantVersion || !slices.Equal(got, want) {
				t.Errorf("every %d, length %d: %v@%d, want %v@%d, %v", every, length, got, version, want, wantVersion, err)
			}
		}
	}
}

func TestSnapshotBoundsTheLoad(t *testing.T) {
	for every := 1; every <= 9; every++ {
		tap := newTap()
		j, a := tap.journal(), snapshotting("s1", every)
		for n := range 40 {
			tap.reset()
			fill(t, j, a, 1)
			if tap.read > every {
				t.Fatalf("command %d with Every %d read %d commits", n, every, tap.read)
			}
			if calls := strings.Join(tap.reset(), " "); calls != "loadback append publish settle" {
				t.Fatalf("command %d with Every %d made these calls: %s", n, every, calls)
			}
		}
	}
}

// A store is asked for as many commits as will be needed: one where the newest
// carries the state, and all up to the next snapshot where it may not.
func TestSnapshotHint(t *testing.T) {
	small := metered{newTap()}
	j := &es.Journal{Store: small}
	fill(t, j, snapshotting("s1", 8), 10)
	for n, hint := range small.hints {
		if hint != 1 {
			t.Errorf("small states: load %d had the hint %d", n, hint)
		}
	}
	tap := newTap() // not metered: snapshots are due only
	j = &es.Journal{Store: tap}
	fill(t, j, snapshotting("s1", 8), 100)
	for n, hint := range tap.hints {
		if want := 8; hint != want && n > 1 {
			t.Errorf("large states: load %d had the hint %d, want %d", n, hint, want)
		}
	}
	// A state that became small again is noticed after a while.
	fill(t, j, snapshotting("s1", 1), 40)
	if last := tap.hints[len(tap.hints)-1]; last != 1 {
		t.Errorf("states that are small again: hint %d", last)
	}
	// Categories do not learn from each other.
	other := snapshotting("s1", 8)
	other.Category = "other"
	fill(t, j, snapshotting("s1", 8), 2)
	fill(t, j, other, 1)
	if last := tap.hints[len(tap.hints)-1]; last != 1 {
		t.Errorf("another category: hint %d", last)
	}
}

func TestSnapshotSchema(t *testing.T) {
	prove(t, snapshotSchema, nil, []mutant[seen]{
		{"a snapshot survives a change of its schema", func(s es.Store, p es.Publisher) (es.Store, es.Publisher) {
			return &broken{Store: s, read: func(c es.Commit) es.Commit {
				if c.State != nil {
					c.State = &es.Snapshot{Schema: "s2", Data: c.State.Data}
				}
				return c
			}}, p
		}},
	})
}

func snapshotSchema(t *testing.T, see seen) error {
	tap := newTap()
	old, changed := snapshotting("s1", 3), snapshotting("s2", 3)
	changed.Fold = func(s []string, e Counted) []string { return append(s[:len(s):len(s)], strings.ToUpper(e.By)) }
	for range 10 {
		if _, err := es.Execute(t.Context(), tap.journal(), old, "1", count("x")); err != nil {
			t.Fatal(err)
		}
	}
	got, version, err := es.Load(t.Context(), see.journal(tap), changed, "1")
	if err != nil || version != 10 || strings.Join(got, "") != strings.Repeat("X", 10) {
		return fmt.Errorf("the state of another schema is used: %v@%d, %v", got, version, err)
	}
	// The next command writes one of the new schema, which is due, and from
	// then on loads are short again.
	fill(t, see.journal(tap), changed, 1)
	tap.reset()
	if _, _, err := es.Load(t.Context(), see.journal(tap), changed, "1"); err != nil || tap.read != 1 {
		return fmt.Errorf("read %d commits after a new snapshot, %v", tap.read, err)
	}
	return nil
}

func TestSnapshotCodec(t *testing.T) {
	tap := newTap()
	a := snapshotting("s1", 1)
	boom := errors.New("boom")
	a.Snapshots.Encode = func(s []string) ([]byte, error) { return []byte(strings.Join(s, "|")), nil }
	a.Snapshots.Decode = func(data []byte) ([]string, error) { return strings.Split(string(data), "|"), nil }
	fill(t, tap.journal(), a, 3)
	if all := slots(t, tap.Store, theStream); all[2].State.Data != "0|1|2" {
		t.Errorf("state: %s", all[2].State.Data)
	}
	if got, _, err := es.Load(t.Context(), tap.journal(), a, "1"); err != nil || strings.Join(got, "") != "012" {
		t.Errorf("%v, %v", got, err)
	}
	a.Snapshots.Decode = func([]byte) ([]string, error) { return nil, boom }
	if _, _, err := es.Load(t.Context(), tap.journal(), a, "1"); !errors.Is(err, boom) {
		t.Errorf("a snapshot that cannot be decoded: %v", err)
	}
	b := snapshotting("s2", 1)
	b.Snapshots.Encode = func([]string) ([]byte, error) { return nil, boom }
	b.Snapshots.Decode = a.Snapshots.Decode
	if _, err := es.Execute(t.Context(), tap.journal(), b, "1", count("x")); !errors.Is(err, boom) {
		t.Errorf("a snapshot that cannot be encoded: %v", err)
	}
	if n := len(slots(t, tap.Store, theStream)); n != 3 {
		t.Errorf("%d commits after a command that failed", n)
	}
}

// metered is a store that charges 100 bytes a unit and takes 10 units.
type metered struct{ *tap }

func (metered) Units(c es.Commit) int {
	n := 0
	for _, e := range c.Events {
		n += len(e.Type) + len(e.Data)
	}
	if c.State != nil {
		n += len(c.State.Data)
	}
	if n > 1000 {
		return 0
	}
	return n/100 + 1
}

func TestSnapshotFreeOrDue(t *testing.T) {
	a := snapshotting("s1", 4)
	add := func(j *es.Journal, size int) {
		t.Helper()
		if _, err := es.Execute(t.Context(), j, a, "1", count(strings.Repeat("x", size))); err != nil {
			t.Fatal(err)
		}
	}
	withState := func(store es.Store) (marks string) {
		for _, c := range slots(t, store, theStream) {
			if c.State != nil {
				marks += "S"
			} else {
				marks += "-"
			}
		}
		return marks
	}
	small := metered{newTap()}
	j := &es.Journal{Store: small}
	for range 8 { // event 14 bytes, state grows by 4 bytes: free as long as both fit into 100
		add(j, 1)
	}
	if got := withState(small.Store); got != "SSSSSSSS" {
		t.Errorf("small states are free: %s", got)
	}
	large := metered{newTap()}
	j = &es.Journal{Store: large}
	for range 8 { // event 68 bytes, state from 54 bytes: never free
		add(j, 50)
	}
	if got := withState(large.Store); got != "---S---S" {
		t.Errorf("large states are due only: %s", got)
	}
	huge := metered{newTap()}
	j = &es.Journal{Store: huge}
	for range 12 { // from the fourth on the state is too large for the store
		add(j, 300)
	}
	if got := withState(huge.Store); got != "------------" {
		t.Errorf("a state that the store cannot take: %s", got)
	}
	if got, version, err := es.Load(t.Context(), j, a, "1"); err != nil || version != 12 || len(got) != 12 {
		t.Errorf("without snapshots: %d events@%d, %v", len(got), version, err)
	}
}

func TestLatestOnly(t *testing.T) {
	tap := newTap()
	a := counter
	a.LatestOnly = true
	fill(t, tap.journal(), &a, 5)
	tap.reset()
	got, version, err := es.Load(t.Context(), tap.journal(), &a, "1")
	if err != nil || version != 5 || strings.Join(got, "") != "4" || tap.read != 1 || tap.hints[0] != 1 {
		t.Errorf("%v@%d after reading %d, %v", got, version, tap.read, err)
	}
	plant(t, tap.Store, raw(6, "p", "pending"))
	if got, version, err := es.Load(t.Context(), tap.journal(), &a, "1"); err != nil || version != 5 || strings.Join(got, "") != "4" {
		t.Errorf("with a pending commit: %v@%d, %v", got, version, err)
	}
}

func TestHistoryHidesPending(t *testing.T) {
	for status, visible := range map[es.Status]string{es.Pending: "a", es.Revoked: "a", es.Claimed: "ab", es.Settled: "ab"} {
		for _, a := range []*es.Aggregate[[]string, Counted]{&counter, snapshotting("s1", 2)} {
			tap := newTap()
			plant(t, tap.Store, with(raw(1, "one", "a"), es.Settled), with(raw(2, "two", "b"), status))
			var seen string
			for step, err := range es.History(t.Context(), tap.journal(), a, "1") {
				if err != nil {
					t.Fatal(err)
				}
				seen += step.Event.By
			}
			if seen != visible {
				t.Errorf("history shows %q with a %v commit at its end", seen, status)
			}
			if got, _, err := es.Load(t.Context(), tap.journal(), a, "1"); err != nil || strings.Join(got, "") != visible {
				t.Errorf("load shows %q with a %v commit at the end, %v", got, status, err)
			}
			if got, _, err := a.Replay(tap.Load(t.Context(), theStream, 0)); err != nil || strings.Join(got, "") != visible {
				t.Errorf("replay shows %q with a %v commit at the end, %v", got, status, err)
			}
		}
	}
}

func TestHistory(t *testing.T) {
	tap := newTap()
	ctx := es.WithMeta(t.Context(), meta("actor", "ada"))
	_, err := es.Execute(ctx, tap.journal(), &counter, "1", count("a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	fill(t, tap.journal(), &counter, 1)
	commit := slots(t, tap.Store, theStream)[0]
	want := []struct{ version, state string }{{"1", "a"}, {"2", "ab"}, {"3", "ab0"}}
	i := 0
	for step, err := range es.History(t.Context(), tap.journal(), &counter, "1") {
		if err != nil || fmt.Sprint(step.Version) != want[i].version || strings.Join(step.State, "") != want[i].state {
			t.Errorf("step %d: %+v, %v", i, step, err)
		}
		if i < 2 && (step.Commit != commit.ID || !step.Time.Equal(commit.Time) || step.Meta["actor"] != "ada" || step.Type != "counted" || step.Stream != theStream) {
			t.Errorf("step %d is recorded as %+v", i, step.Recorded)
		}
		i++
	}
	if i != 3 {
		t.Errorf("%d steps", i)
	}
	for range es.History(t.Context(), tap.journal(), &counter, "1") {
		break // breaking off is fine
	}
}

// holed yields what a damaged store would.
type holed struct {
	*memory.Store
	commits []es.Commit
}

func (h holed) Load(context.Context, es.StreamID, uint64) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		for _, c := range h.commits {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func (h holed) LoadBack(context.Context, es.StreamID, int) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		for _, c := range slices.Backward(h.commits) {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func TestGapInStore(t *testing.T) {
	one, two, three, four := raw(1, "1", "a"), raw(2, "2", "b", "b"), raw(4, "4", "c"), raw(5, "5", "d")
	for name, commits := range map[string][]es.Commit{
		"first missing":       {two, three},
		"only the last":       {three},
		"middle missing":      {one, three},
		"one of two missing":  {one, two, four},
		"twice":               {one, two, two},
		"pending behind hole": {one, with(three, es.Pending)},
		"marker behind hole":  {one, {Stream: theStream, Version: 4, ID: "m", Status: es.Revoked}},
		"only a late marker":  {{Stream: theStream, Version: 4, ID: "m", Status: es.Revoked}},
	} {
		for i := range commits {
			if commits[i].Status == es.Pending && name != "pending behind hole" || i < len(commits)-1 {
				commits[i].Status = es.Settled
			}
		}
		j := &es.Journal{Store: holed{commits: commits}}
		for strategy, a := range map[string]*es.Aggregate[[]string, Counted]{"whole": &counter, "snapshots": snapshotting("s1", 8)} {
			_, _, err := es.Load(t.Context(), j, a, "1")
			if _, ok := errors.AsType[*es.GapError](err); !ok {
				t.Errorf("%s, %s: load: %v", name, strategy, err)
			}
			_, err = es.Execute(t.Context(), j, a, "1", count("x"))
			if _, ok := errors.AsType[*es.GapError](err); !ok {
				t.Errorf("%s, %s: execute: %v", name, strategy, err)
			}
		}
		var last error
		for _, err := range es.History(t.Context(), j, &counter, "1") {
			last = err
		}
		if _, ok := errors.AsType[*es.GapError](last); !ok {
			t.Errorf("%s: history: %v", name, last)
		}
	}
}

func TestUnknownEvent(t *testing.T) {
	prove(t, unknownEvent, es.JSON[TaskEvent], []mutant[codecOf]{
		{"an unknown event is skipped", func(table map[string]TaskEvent, _ ...es.Upcast) es.Codec[TaskEvent] {
			c := brokenCodec{Codec: es.JSON(table)}
			c.decode = func(dst []TaskEvent, e es.Event) ([]TaskEvent, error) {
				got, err := c.Codec.Decode(dst, e)
				if errors.Is(err, es.ErrUnknownEvent) {
					return dst, nil
				}
				return got, err
			}
			return c
		}},
		{"an unknown event is found out after it is stored", func(table map[string]TaskEvent, _ ...es.Upcast) es.Codec[TaskEvent] {
			c := brokenCodec{Codec: es.JSON(table)}
			c.encode = func(e TaskEvent) (es.Event, error) {
				stored, err := c.Codec.Encode(e)
				if errors.Is(err, es.ErrUnknownEvent) {
					return es.Event{Type: fmt.Sprintf("%T", e), Data: "{}"}, nil
				}
				return stored, err
			}
			return c
		}},
	})
}

func unknownEvent(t *testing.T, codec codecOf) error {
	plain := tasks
	plain.Events = codec(map[string]TaskEvent{"task.added": Added{}, "task.finished": Finished{}})
	snapshots := plain
	snapshots.Snapshots.Schema = "s1"

	stream := es.StreamID{Category: "tasks", ID: "1"}
	added := func(version uint64, types ...string) es.Commit {
		c := es.Commit{Stream: stream, Version: version, ID: fmt.Sprint(version), Status: es.Settled}
		for _, name := range types {
			c.Events = append(c.Events, es.Event{Type: name, Data: fmt.Sprintf(`{"Title":"%d"}`, c.Last()+1)})
		}
		return c
	}
	tap := newTap()
	plant(t, tap.Store, added(1, "task.added", "task.added"), added(3, "task.added", "strange"))
	var wrong []error
	demand := func(what string, err error, version uint64, name string) {
		event, ok := errors.AsType[*es.EventError](err)
		if !ok || !errors.Is(err, es.ErrUnknownEvent) || event.Stream != stream || event.Version != version || event.Type != name {
			wrong = append(wrong, fmt.Errorf("%s: %w", what, cmp.Or(err, errors.New("no error"))))
		}
	}
	state, version, err := plain.Replay(tap.Load(t.Context(), stream, 0))
	demand("replay", err, 4, "strange")
	if version != 2 || strings.Join(state.Open, "") != "12" {
		wrong = append(wrong, fmt.Errorf("replay stopped at %v@%d", state, version))
	}
	for _, a := range []*es.Aggregate[Tasks, TaskEvent]{&plain, &snapshots} {
		_, _, err = es.Load(t.Context(), tap.journal(), a, "1")
		demand("load", err, 4, "strange")
		_, err = es.Execute(t.Context(), tap.journal(), a, "1", add("x"))
		demand("execute", err, 4, "strange")
	}
	for _, err = range es.History(t.Context(), tap.journal(), &plain, "1") {
	}
	demand("history", err, 4, "strange")

	// When writing: nothing is stored, not even the events before it.
	tap = newTap()
	_, err = es.Execute(t.Context(), tap.journal(), &plain, "1", func(Tasks) ([]TaskEvent, error) {
		return []TaskEvent{Added{"a"}, Nested{}}, nil
	})
	demand("execute", err, 2, "es_test.Nested")
	if all := slots(t, tap.Store, stream); len(all) != 0 || len(tap.published) != 0 {
		wrong = append(wrong, fmt.Errorf("stored %v, published %v", all, tap.published))
	}
	return errors.Join(wrong...)
}

func TestLoadErrors(t *testing.T) {
	tap := newTap()
	tap.on = func(op string, _ es.Commit, do func() error) error {
		if op == "load" || op == "loadback" {
			return errLost
		}
		return do()
	}
	for _, a := range []*es.Aggregate[[]string, Counted]{&counter, snapshotting("s1", 8)} {
		if _, _, err := es.Load(t.Context(), tap.journal(), a, "1"); !errors.Is(err, errLost) {
			t.Errorf("load: %v", err)
		}
		if _, err := es.Execute(t.Context(), tap.journal(), a, "1", count("x")); !errors.Is(err, errLost) {
			t.Errorf("execute: %v", err)
		}
	}
	for _, err := range es.History(t.Context(), tap.journal(), &counter, "1") {
		if !errors.Is(err, errLost) {
			t.Errorf("history: %v", err)
		}
	}
	if _, _, err := es.Load(t.Context(), tap.journal(), &counter, ""); !errors.Is(err, es.ErrInvalid) {
		t.Errorf("load without an ID: %v", err)
	}
	for _, err := range es.History(t.Context(), tap.journal(), &counter, "") {
		if !errors.Is(err, es.ErrInvalid) {
			t.Errorf("history without an ID: %v", err)
		}
	}
}
