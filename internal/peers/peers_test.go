package peers

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
)

func all() []Library { return slices.Concat(Libraries, Strategies) }

func TestWorkload(t *testing.T) {
	for i := range profiles {
		data, err := json.Marshal(OrgUpdated(profile(i)))
		if err != nil || len(data) != profileSize {
			t.Fatalf("%s: %d bytes, %v", data, len(data), err)
		}
		if profile(i) == profile(i+1) || profile(i) != profileOf(i, true) {
			t.Fatalf("profile %d: %v", i, profile(i))
		}
	}
}

// What is measured must do the same: every library comes to the state of the loop,
// whichever way the events came in.
func TestSameState(t *testing.T) {
	for _, lib := range all() {
		t.Run(lib.Name, func(t *testing.T) {
			same(t, lib.Org, loopLibrary.Org)
			same(t, lib.Account, loopLibrary.Account)
		})
	}
}

func same[S comparable](t *testing.T, open, limit func() (Store[S], error)) {
	t.Helper()
	if open == nil {
		return
	}
	ctx := t.Context()
	store, err := open()
	if err != nil {
		t.Fatal(err)
	}
	loop, err := limit()
	if err != nil {
		t.Fatal(err)
	}
	state := func(id string, n int) {
		t.Helper()
		want, err := loop.Replay(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		var zero S
		if want == zero {
			t.Fatalf("%s: the loop has the zero state", id)
		}
		if got, err := store.Replay(ctx, id); err != nil || got != want {
			t.Fatalf("%s after %d events: %+v, %v, want %+v", id, n, got, err, want)
		}
	}
	for i := range 40 {
		for _, s := range []Store[S]{loop, store} {
			if i == 0 {
				err = s.Create(ctx, id(1))
			} else {
				err = s.Command(ctx, id(1), i)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		state(id(1), i+1)
	}
	for k, each := range []int{1, 7, 100} {
		for _, s := range []Store[S]{loop, store} {
			if err := s.Fill(ctx, id(2+k), 40, each); err != nil {
				t.Fatal(err)
			}
		}
		state(id(2+k), 40)
		for _, s := range []Store[S]{loop, store} {
			if err := s.Command(ctx, id(2+k), 40); err != nil {
				t.Fatal(err)
			}
		}
		state(id(2+k), 41)
	}

	// It decides: neither is possible, and neither adds an event.
	if err := store.Create(ctx, id(1)); err == nil {
		t.Error("a stream began twice")
	}
	if err := store.Command(ctx, id(99), 1); err == nil {
		t.Error("a command passed on a stream that does not exist")
	}
	state(id(1), 40)

	// Streams are used in parallel.
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			if err := store.Create(ctx, id(50+k)); err != nil {
				t.Error(err)
			}
			for i := range 20 {
				if err := store.Command(ctx, id(50+k), i+1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for k := range 4 {
		if err := loop.Fill(ctx, id(50+k), 21, 1); err != nil {
			t.Fatal(err)
		}
		state(id(50+k), 21)
	}
}

// id is the ID of a stream. All libraries take a UUID, and one takes nothing else.
func id(k int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", k) }
