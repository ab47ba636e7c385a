package estest

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/leftfold/leftfold/es"
)

// TestAggregate checks an aggregate's codec, fold and snapshots, in one line of a
// test:
//
//	estest.TestAggregate(t, &org.Aggregate, []org.Event{org.Created{Name: "Acme"}, org.Moved{To: "Bern"}})
//
// History is a stream as it may happen, with every type of the codec at least once,
// and best with every field of an event set to something. It finds
//
//   - a type of the codec that is not in history,
//   - an event that does not survive being encoded and decoded,
//   - an event that changes when another is decoded, because a function of
//     [es.NewCodec] keeps a reference to memory that is used again,
//   - a fold that panics on an event, after any part of history or as the first,
//   - a fold that gives different states for the same history,
//   - a fold that changes the state or the event that it was given, and not only
//     what it returns: then a state that somebody keeps would change later,
//   - a type that is left out of the fold: it changes the state nowhere in
//     history. Types that are meant not to are named as inert,
//   - a state that does not survive its snapshot, if the aggregate has snapshots.
//
// It cannot see a type that is left out of a fold which changes the state at every
// event, by counting them for instance: [TestDecisions] can.
//
// States and events are compared with reflect.DeepEqual. The cost grows with the
// square of the history's length.
func TestAggregate[S, E any](t *testing.T, a *es.Aggregate[S, E], history []E, inert ...string) {
	t.Helper()
	for _, err := range checkAggregate(a, history, inert) {
		t.Error(err)
	}
}

// checkAggregate returns everything that is wrong, one error each.
func checkAggregate[S, E any](a *es.Aggregate[S, E], history []E, inert []string) (errs []error) {
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if a == nil || a.Fold == nil || a.Events == nil {
		fail("the aggregate needs Fold and Events")
		return errs
	}
	types := a.Events.Types()
	for _, name := range inert {
		if !slices.Contains(types, name) {
			fail("event %q: it is named as inert and is not a type of the codec: take it off the list", name)
		}
	}

	stored := make([]es.Event, len(history))
	seen := make(map[string]bool)
	for i, e := range history {
		var err error
		if stored[i], err = roundTrip(a.Events, e); err != nil {
			fail("event %d of history, %w", i+1, err)
		}
		seen[stored[i].Type] = true
	}
	for _, name := range types {
		if !seen[name] {
			fail("event %q: it is a type of the codec and not in history: add one", name)
		}
	}
	if len(errs) > 0 {
		return errs // what follows would say the same in other words
	}

	f := folder[S, E]{a: a, stored: stored}
	changes := make(map[string]bool)
	for n := range len(history) + 1 {
		changed, err := f.state(n)
		if err != nil {
			fail("%w", err)
			return errs
		}
		maps.Copy(changes, changed)
		if a.Snapshots.Schema != "" {
			if err := f.snapshot(n); err != nil {
				fail("%w", err)
				return errs
			}
		}
	}
	for _, name := range types {
		switch {
		case !changes[name] && !slices.Contains(inert, name):
			fail("event %q: it changes the state nowhere in history: add it to Fold, or name it as inert", name)
		case changes[name] && slices.Contains(inert, name):
			fail("event %q: it is named as inert and changes the state: take it off the list", name)
		}
	}
	return errs
}

// roundTrip encodes an event and returns it as it is stored.
func roundTrip[E any](codec es.Codec[E], e E) (es.Event, error) {
	stored, err := codec.Encode(e)
	if err != nil {
		return stored, fmt.Errorf("%T: it cannot be encoded: %w", e, err)
	}
	back, err := codec.Decode(nil, stored)
	if err != nil {
		return stored, fmt.Errorf("event %q: it cannot be decoded: %w", stored.Type, err)
	}
	if len(back) != 1 || !reflect.DeepEqual(back[0], e) {
		return stored, fmt.Errorf("event %q: %s was encoded as %s and came back as %s: export its fields, and use no empty slice or map where nil comes back, and no time that is not in UTC",
			stored.Type, verbose(e), stored.Data, verbose(back...))
	}
	for range 10 { // memory may be used again or not
		again, err := decodeAgain(codec, stored)
		if err != nil {
			return stored, err
		}
		decodeBlanks(codec, stored)
		if !reflect.DeepEqual(again, e) {
			return stored, fmt.Errorf("event %q: it came back as %s, and became %s when other data was decoded: let unmarshal copy what it keeps of the data",
				stored.Type, verbose(e), verbose(again))
		}
	}
	return stored, nil
}

// decodeAgain returns an event that was decoded before, in memory of its own.
func decodeAgain[E any](codec es.Codec[E], e es.Event) (E, error) {
	events, err := codec.Decode(nil, e)
	if err != nil || len(events) != 1 {
		var zero E
		return zero, fmt.Errorf("event %q: decoded again it gives %d events: %w", e.Type, len(events), err)
	}
	return events[0], nil
}

// decodeBlanks decodes what is as long as an event and says nothing, whatever comes of that.
func decodeBlanks[E any](codec es.Codec[E], e es.Event) {
	defer func() { _ = recover() }()
	_, _ = codec.Decode(nil, es.Event{Type: e.Type, Data: strings.Repeat(" ", len(e.Data))})
}

// verbose prints events with their fields.
func verbose[E any](events ...E) string {
	if len(events) == 1 {
		return fmt.Sprintf("%+v", events[0])
	}
	return fmt.Sprintf("%+v", events)
}

// folder folds a history. Events are decoded each time, so that no two folds share
// memory.
type folder[S, E any] struct {
	a      *es.Aggregate[S, E]
	stored []es.Event
}

// event returns an event of history in memory of its own.
func (f *folder[S, E]) event(i int) (E, error) {
	return decodeAgain(f.a.Events, f.stored[i])
}

// after returns the state after n events, in memory of its own.
func (f *folder[S, E]) after(n int) (state S, err error) {
	for i := range n {
		if state, err = f.fold(state, i); err != nil {
			return state, err
		}
	}
	return state, nil
}

// fold returns the state after one more event.
func (f *folder[S, E]) fold(state S, i int) (next S, err error) {
	e, err := f.event(i)
	if err != nil {
		return state, err
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("event %q: Fold panics with %v on the state %+v: an event has happened, so fold it on every state", f.stored[i].Type, r, state)
		}
	}()
	next = f.a.Fold(state, e)
	if same, err := f.event(i); err != nil || !reflect.DeepEqual(e, same) {
		return next, fmt.Errorf("event %q: Fold changed the event from %+v to %+v: copy what is changed", f.stored[i].Type, same, e)
	}
	return next, nil
}

// state folds every event of history on the state after the first n, and returns
// the types that changed it.
func (f *folder[S, E]) state(n int) (changed map[string]bool, _ error) {
	given, err := f.after(n)
	if err != nil {
		return nil, err
	}
	twin, err := f.after(n)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(given, twin) {
		return nil, fmt.Errorf("event %q: Fold gives different states for the same history: %+v and %+v: use no clock and no random values in it, and no order of a map",
			f.stored[n-1].Type, given, twin)
	}
	changed = make(map[string]bool)
	for i, e := range f.stored {
		next, err := f.fold(given, i)
		if err != nil {
			return nil, err
		}
		if !reflect.DeepEqual(given, twin) {
			return nil, fmt.Errorf("event %q: Fold changed the state that it was given from %+v to %+v: copy maps and slices before they are changed (maps.Clone, slices.Clone)",
				e.Type, twin, given)
		}
		if !reflect.DeepEqual(next, given) {
			changed[e.Type] = true
		}
	}
	return changed, nil
}

// snapshot encodes and decodes the state after n events.
func (f *folder[S, E]) snapshot(n int) error {
	encode, decode := f.a.Snapshots.Encode, f.a.Snapshots.Decode
	if (encode == nil) != (decode == nil) {
		return fmt.Errorf("snapshot %q: it needs both Encode and Decode, or neither", f.a.Snapshots.Schema)
	}
	if encode == nil {
		encode = func(state S) ([]byte, error) { return json.Marshal(state) }
		decode = func(data []byte) (state S, err error) { return state, json.Unmarshal(data, &state) }
	}
	state, err := f.after(n)
	if err != nil {
		return err
	}
	data, err := encode(state)
	if err != nil {
		return fmt.Errorf("snapshot %q: the state after %d events cannot be encoded: %w", f.a.Snapshots.Schema, n, err)
	}
	back, err := decode(data)
	if err != nil {
		return fmt.Errorf("snapshot %q: the state after %d events cannot be decoded: %w", f.a.Snapshots.Schema, n, err)
	}
	if !reflect.DeepEqual(back, state) {
		return fmt.Errorf("snapshot %q: the state after %d events, %+v, was encoded as %s and came back as %+v: export its fields, or set Encode and Decode",
			f.a.Snapshots.Schema, n, state, data, back)
	}
	return nil
}
