package estest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/leftfold/leftfold/es"
)

func appendedIsLoaded(ctx context.Context, s es.Store) error {
	stream, other := newStream("1"), newStream("1")
	a, b := settled(newCommit(stream, 1, 2)), newCommit(stream, 3, 1)
	return first(
		holds(ctx, s, stream),
		put(ctx, s, a),
		holds(ctx, s, stream, a),
		put(ctx, s, b),
		holds(ctx, s, stream, a, b),
		holds(ctx, s, other),
	)
}

func appendKeepsStatus(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a, b := settled(newCommit(stream, 1, 1)), newCommit(stream, 2, 1)
	return first(put(ctx, s, a, b), holds(ctx, s, stream, a, b))
}

func appendToTakenSlot(ctx context.Context, s es.Store) error {
	for _, status := range []es.Status{es.Pending, es.Settled} {
		stream := newStream("1")
		a := withStatus(newCommit(stream, 1, 1), status)
		err := first(
			put(ctx, s, a),
			expect("append to the slot of a "+name(a), s.Append(ctx, newCommit(stream, 1, 1)), es.ErrConflict),
			expect("append of a settled commit to the slot of a "+name(a), s.Append(ctx, settled(newCommit(stream, 1, 2))), es.ErrConflict),
			holds(ctx, s, stream, a),
		)
		if err != nil {
			return err
		}
	}
	return nil
}

func createsRace(ctx context.Context, s es.Store) error {
	for range 20 {
		stream := newStream("1")
		creates := make([]es.Commit, 8)
		for i := range creates {
			creates[i] = newCommit(stream, 1, 1)
		}
		winner, err := oneWins(together(len(creates), func(i int) error { return s.Append(ctx, creates[i]) }))
		if err := first(err, holds(ctx, s, stream, creates[winner])); err != nil {
			return err
		}
	}
	return nil
}

// oneWins returns the index of the call that succeeded, and an error unless it was
// one and the others were conflicts.
func oneWins(errs []error) (winner int, _ error) {
	winners := 0
	for i, err := range errs {
		switch {
		case err == nil:
			winner = i
			winners++
		case !errors.Is(err, es.ErrConflict):
			return 0, fmt.Errorf("one of %d at once failed, and not with a conflict: %w", len(errs), err)
		}
	}
	if winners != 1 {
		return 0, fmt.Errorf("%d of %d at once succeeded", winners, len(errs))
	}
	return winner, nil
}

func appendBeyondEnd(ctx context.Context, s es.Store) error {
	for _, before := range []int{0, 1, 3} {
		stream := newStream("1")
		if before > 0 {
			if err := put(ctx, s, settled(newCommit(stream, 1, before))); err != nil {
				return err
			}
		}
		err := s.Append(ctx, settled(newCommit(stream, uint64(before)+2, 1)))
		if errors.Is(err, es.ErrConflict) {
			continue
		}
		if found, loadErr := all(s.Load(ctx, stream, 0)); loadErr == nil {
			return fmt.Errorf("an append at version %d to a stream of %d events was no conflict (%v), and load yields %d commits without an error",
				before+2, before, brief(err), len(found))
		}
	}
	// A store that refuses it all would pass until here.
	stream := newStream("1")
	a, b := settled(newCommit(stream, 1, 3)), newCommit(stream, 4, 1)
	return first(put(ctx, s, a, b), holds(ctx, s, stream, a, b))
}

func appendAgain(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a, b, c := newCommit(stream, 1, 2), settled(newCommit(stream, 3, 1)), newCommit(stream, 4, 1)
	again := func(when string) error { return expect("append again, "+when, s.Append(ctx, a), nil) }
	return first(
		put(ctx, s, a), again("while it is pending"), holds(ctx, s, stream, a),
		expect("claim", s.Claim(ctx, a), nil), again("after its claim"), holds(ctx, s, stream, withStatus(a, es.Claimed)),
		expect("settle", s.Settle(ctx, a), nil), again("after it was settled"), holds(ctx, s, stream, settled(a)),
		put(ctx, s, b), again("after another commit followed"),
		expect("append again as a settled commit", s.Append(ctx, b), nil),
		put(ctx, s, c), again("after a third commit followed"),
		expect("revoke", s.Revoke(ctx, c), nil), again("after the third was revoked"),
		holds(ctx, s, stream, settled(a), b, marker(c)),
	)
}

func appendAfterRevoke(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a, b := settled(newCommit(stream, 1, 1)), newCommit(stream, 2, 1)
	return first(
		put(ctx, s, a, b),
		expect("revoke", s.Revoke(ctx, b), nil),
		expect("append again, after its revoke", s.Append(ctx, b), es.ErrConflict),
		holds(ctx, s, stream, a, marker(b)),
	)
}

func delayedAppend(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a := newCommit(stream, 1, 1)
	b := replacing(a, newCommit(stream, 1, 1))
	c := replacing(b, newCommit(stream, 1, 2))
	late := func(c es.Commit, when string) error {
		return expect("append that comes late, "+when, s.Append(ctx, c), es.ErrConflict)
	}
	return first(
		put(ctx, s, a), expect("revoke of the first commit", s.Revoke(ctx, a), nil),
		put(ctx, s, b), late(a, "when its slot is taken by another"),
		expect("revoke of the second commit", s.Revoke(ctx, b), nil),
		late(a, "when its slot is free again"), late(b, "after its revoke, replacing a marker that is gone"),
		holds(ctx, s, stream, marker(b)),
		put(ctx, s, c), expect("settle of the third commit", s.Settle(ctx, c), nil),
		late(a, "when its slot is settled"), late(b, "when its slot is settled"),
		holds(ctx, s, stream, settled(c)),
	)
}

func appendToMarker(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a, b := newCommit(stream, 1, 1), newCommit(stream, 1, 1)
	stranger := newCommit(stream, 1, 1)
	return first(
		put(ctx, s, a), expect("revoke", s.Revoke(ctx, a), nil),
		expect("append to a marker's slot without naming it", s.Append(ctx, b), es.ErrConflict),
		expect("append to a marker's slot, naming another", s.Append(ctx, replacing(stranger, b)), es.ErrConflict),
		holds(ctx, s, stream, marker(a)),
		put(ctx, s, replacing(a, b)),
		holds(ctx, s, stream, replacing(a, b)),
		expect("append that took a marker's slot, again", s.Append(ctx, replacing(a, b)), nil),
		expect("append to a marker's slot that was taken", s.Append(ctx, replacing(a, stranger)), es.ErrConflict),
		expect("settle of what took a marker's slot", s.Settle(ctx, b), nil),
		holds(ctx, s, stream, settled(replacing(a, b))),
	)
}

func replaceNoMarker(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a, b := newCommit(stream, 1, 1), newCommit(stream, 1, 1)
	return first(
		expect("append that replaces a marker, to a slot that was never used", s.Append(ctx, replacing(a, b)), es.ErrConflict),
		holds(ctx, s, stream),
		put(ctx, s, a),
		expect("append that replaces a pending commit", s.Append(ctx, replacing(a, b)), es.ErrConflict),
		expect("claim", s.Claim(ctx, a), nil),
		expect("append that replaces a claimed commit", s.Append(ctx, replacing(a, b)), es.ErrConflict),
		expect("settle", s.Settle(ctx, a), nil),
		expect("append that replaces a settled commit", s.Append(ctx, replacing(a, b)), es.ErrConflict),
		holds(ctx, s, stream, settled(a)),
	)
}

func replacesRace(ctx context.Context, s es.Store) error {
	for range 10 {
		stream := newStream("1")
		revoked := newCommit(stream, 1, 1)
		if err := first(put(ctx, s, revoked), expect("revoke", s.Revoke(ctx, revoked), nil)); err != nil {
			return err
		}
		commits := make([]es.Commit, 8)
		for i := range commits {
			commits[i] = replacing(revoked, newCommit(stream, 1, 1))
		}
		winner, err := oneWins(together(len(commits), func(i int) error { return s.Append(ctx, commits[i]) }))
		if err := first(err, holds(ctx, s, stream, commits[winner])); err != nil {
			return err
		}
	}
	return nil
}

func wholeCommits(ctx context.Context, s es.Store) error {
	const commits, events = 20, 100
	stream := newStream("1")
	written := make(chan struct{})
	errs := together(3, func(i int) error {
		if i == 0 {
			defer close(written)
			for n := range commits {
				if err := put(ctx, s, settled(newCommit(stream, uint64(n*events+1), events))); err != nil {
					return err
				}
			}
			return nil
		}
		for last := false; ; {
			found, err := all(s.Load(ctx, stream, 0))
			if err != nil {
				return fmt.Errorf("load: %w", err)
			}
			for _, c := range found {
				if len(c.Events) != events {
					return fmt.Errorf("a reader saw %d of the %d events of a commit", len(c.Events), events)
				}
			}
			if last {
				if len(found) != commits {
					return fmt.Errorf("a reader saw %d of %d commits in the end", len(found), commits)
				}
				return nil
			}
			select {
			case <-written:
				last = true
			default:
			}
		}
	})
	return first(errs...)
}

func mostEvents(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	return wholeOrRefused(ctx, s, newCommit(stream, 1, es.MaxEvents))
}

func largeCommit(ctx context.Context, s es.Store) error {
	c := newCommit(newStream("1"), 1, 1)
	c.Events[0].Data = strings.Repeat("1", 1<<20)
	return wholeOrRefused(ctx, s, c)
}

// wholeOrRefused appends a commit that not every store can take. After it the stream
// takes one that every store can.
func wholeOrRefused(ctx context.Context, s es.Store, c es.Commit) error {
	err := s.Append(ctx, c)
	if err == nil {
		return holds(ctx, s, c.Stream, c)
	}
	if errors.Is(err, es.ErrConflict) {
		return fmt.Errorf("append of a large commit, which met no other, is reported as a conflict: %w", err)
	}
	small := newCommit(c.Stream, 1, 1)
	return first(
		expect("append of a commit that cannot be stored", err, es.ErrRefused),
		holds(ctx, s, c.Stream),
		put(ctx, s, small),
		holds(ctx, s, c.Stream, small),
	)
}

func unitsAndSize(ctx context.Context, s es.Store) error {
	metered, ok := s.(es.Metered)
	if !ok {
		return nil
	}
	last := 1
	for size := 1; size <= 1<<20; size *= 4 {
		c := newCommit(newStream("1"), 1, 1)
		c.Events[0].Data = strings.Repeat("1", size)
		units := metered.Units(c)
		err := s.Append(ctx, c)
		switch {
		case units != metered.Units(c):
			return fmt.Errorf("a commit with %d bytes of data costs %d units, and then %d", size, units, metered.Units(c))
		case units == 0 && size == 1:
			return errors.New("the smallest commit costs 0 units")
		case units == 0 && !errors.Is(err, es.ErrRefused):
			return fmt.Errorf("a commit with %d bytes of data costs 0 units, and is not refused: %v", size, brief(err))
		case units > 0 && err != nil:
			return fmt.Errorf("a commit with %d bytes of data costs %d units, and cannot be appended: %w", size, units, err)
		case units > 0 && units < last:
			return fmt.Errorf("a commit with %d bytes of data costs %d units, and a smaller one %d", size, units, last)
		}
		last = max(last, units)
	}
	return nil
}

func invalidCommit(ctx context.Context, s es.Store) error {
	for what, spoil := range map[string]func(*es.Commit){
		"without events":         func(c *es.Commit) { c.Events = nil },
		"without an ID":          func(c *es.Commit) { c.ID = "" },
		"at version 0":           func(c *es.Commit) { c.Version = 0 },
		"of too many events":     func(c *es.Commit) { c.Events = make([]es.Event, es.MaxEvents+1) },
		"with a nameless event":  func(c *es.Commit) { c.Events[0].Type = "" },
		"of a nameless stream":   func(c *es.Commit) { c.Stream.ID = "" },
		"of a nameless category": func(c *es.Commit) { c.Stream.Category = "" },
	} {
		good := newCommit(newStream("1"), 1, 1)
		bad := newCommit(good.Stream, 1, 1)
		spoil(&bad)
		err := s.Append(ctx, bad)
		if errors.Is(err, es.ErrConflict) {
			return fmt.Errorf("append of a commit %s is reported as a conflict: %w", what, err)
		}
		err = first(
			expect("append of a commit "+what, err, es.ErrRefused),
			holds(ctx, s, good.Stream),
			put(ctx, s, good),
			holds(ctx, s, good.Stream, good),
		)
		if err != nil {
			return err
		}
	}
	return nil
}

func writersLoseNothing(ctx context.Context, s es.Store) error {
	const writers, each = 16, 5
	stream := newStream("1")
	stored := make([][]es.Commit, writers)
	errs := together(writers, func(i int) error {
		for len(stored[i]) < each && ctx.Err() == nil {
			c := settled(newCommit(stream, 1, 1+i%3))
			for newest, err := range s.LoadBack(ctx, stream, 1) {
				if err != nil {
					return fmt.Errorf("load back: %w", err)
				}
				c.Version = newest.Last() + 1
				break
			}
			runtime.Gosched() // so that another may come in between, on a fast store, too
			switch err := s.Append(ctx, c); {
			case err == nil:
				stored[i] = append(stored[i], c)
			case !errors.Is(err, es.ErrConflict):
				return fmt.Errorf("append: %w", err)
			}
		}
		return nil
	})
	if err := first(errs...); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("the writers do not come to an end: %w", ctx.Err())
	}
	found, err := all(s.Load(ctx, stream, 0))
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	byID := make(map[string]es.Commit, len(found))
	next := uint64(1)
	for _, c := range found {
		if c.Version != next {
			return fmt.Errorf("version %d follows where %d should", c.Version, next)
		}
		byID[c.ID], next = c, c.Last()+1
	}
	for _, commits := range stored {
		for _, c := range commits {
			if err := differ(byID[c.ID], c); err != nil {
				return fmt.Errorf("a commit that was stored is not there: %w", err)
			}
		}
	}
	if len(found) != writers*each {
		return fmt.Errorf("%d commits are there, and %d were stored", len(found), writers*each)
	}
	return nil
}

func statusAlone(ctx context.Context, s es.Store) error {
	a, b := full(newStream("1"), 1), full(newStream("2"), 1)
	return first(
		put(ctx, s, a, b),
		expect("claim", s.Claim(ctx, a), nil), holds(ctx, s, a.Stream, withStatus(a, es.Claimed)),
		expect("settle after claim", s.Settle(ctx, a), nil), holds(ctx, s, a.Stream, settled(a)),
		expect("settle", s.Settle(ctx, b), nil), holds(ctx, s, b.Stream, settled(b)),
	)
}

func bareCommits(ctx context.Context, s es.Store) error {
	a, b := full(newStream("1"), 1), full(newStream("2"), 1)
	bare := func(c es.Commit) es.Commit { return es.Commit{Stream: c.Stream, Version: c.Version, ID: c.ID} }
	return first(
		put(ctx, s, a, b),
		expect("claim", s.Claim(ctx, bare(a)), nil), holds(ctx, s, a.Stream, withStatus(a, es.Claimed)),
		expect("settle", s.Settle(ctx, bare(a)), nil), holds(ctx, s, a.Stream, settled(a)),
		expect("revoke", s.Revoke(ctx, bare(b)), nil), holds(ctx, s, b.Stream, marker(b)),
	)
}

func claimAgain(ctx context.Context, s es.Store) error {
	a := newCommit(newStream("1"), 1, 1)
	return first(
		put(ctx, s, a),
		expect("claim", s.Claim(ctx, a), nil),
		expect("claim again", s.Claim(ctx, a), nil),
		holds(ctx, s, a.Stream, withStatus(a, es.Claimed)),
	)
}

func claimConflicts(ctx context.Context, s es.Store) error {
	stream, empty := newStream("1"), newStream("2")
	a, b := settled(newCommit(stream, 1, 1)), newCommit(stream, 2, 1)
	stranger := newCommit(stream, 2, 1)
	return first(
		expect("claim of a commit in an empty stream", s.Claim(ctx, newCommit(empty, 1, 1)), es.ErrConflict),
		holds(ctx, s, empty),
		put(ctx, s, a),
		expect("claim of a settled commit", s.Claim(ctx, a), es.ErrConflict),
		expect("claim of an empty slot", s.Claim(ctx, b), es.ErrConflict),
		put(ctx, s, b),
		expect("claim of a commit that is not in the slot", s.Claim(ctx, stranger), es.ErrConflict),
		holds(ctx, s, stream, a, b),
		expect("revoke", s.Revoke(ctx, b), nil),
		expect("claim of a revoked commit", s.Claim(ctx, b), es.ErrConflict),
		holds(ctx, s, stream, a, marker(b)),
	)
}

func settleAgain(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a, b := newCommit(stream, 1, 1), settled(newCommit(stream, 2, 1))
	return first(
		put(ctx, s, a),
		expect("settle", s.Settle(ctx, a), nil),
		expect("settle again", s.Settle(ctx, a), nil),
		put(ctx, s, b),
		expect("settle again, after another commit followed", s.Settle(ctx, a), nil),
		expect("settle of what was appended as settled", s.Settle(ctx, b), nil),
		holds(ctx, s, stream, settled(a), b),
	)
}

func settleConflicts(ctx context.Context, s es.Store) error {
	stream, empty := newStream("1"), newStream("2")
	a, b := settled(newCommit(stream, 1, 1)), newCommit(stream, 2, 1)
	return first(
		expect("settle of a commit in an empty stream", s.Settle(ctx, newCommit(empty, 1, 1)), es.ErrConflict),
		holds(ctx, s, empty),
		put(ctx, s, a),
		expect("settle of an empty slot", s.Settle(ctx, b), es.ErrConflict),
		expect("settle of a commit that is not in the settled slot", s.Settle(ctx, newCommit(stream, 1, 1)), es.ErrConflict),
		put(ctx, s, b),
		expect("settle of a commit that is not in the pending slot", s.Settle(ctx, newCommit(stream, 2, 1)), es.ErrConflict),
		holds(ctx, s, stream, a, b),
		expect("revoke", s.Revoke(ctx, b), nil),
		expect("settle of a revoked commit", s.Settle(ctx, b), es.ErrConflict),
		holds(ctx, s, stream, a, marker(b)),
	)
}

func revokeLeavesMarker(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a, b := settled(newCommit(stream, 1, 2)), full(stream, 3)
	if err := first(put(ctx, s, a, b), expect("revoke", s.Revoke(ctx, b), nil), holds(ctx, s, stream, a, marker(b))); err != nil {
		return err
	}
	back, err := all(s.LoadBack(ctx, stream, 1))
	if err := first(expect("load back", err, nil), differAll(back, []es.Commit{marker(b), a})); err != nil {
		return err
	}
	// The marker of a commit that took the slot of a marker.
	c := replacing(b, full(stream, 3))
	if err := first(put(ctx, s, c), expect("revoke", s.Revoke(ctx, c), nil), holds(ctx, s, stream, a, marker(c))); err != nil {
		return err
	}
	after, err := all(s.Load(ctx, stream, 2))
	return first(expect("load after version 2", err, nil), differAll(after, []es.Commit{marker(c)}))
}

func revokeAgain(ctx context.Context, s es.Store) error {
	a := newCommit(newStream("1"), 1, 1)
	return first(
		put(ctx, s, a),
		expect("revoke", s.Revoke(ctx, a), nil),
		expect("revoke again", s.Revoke(ctx, a), nil),
		holds(ctx, s, a.Stream, marker(a)),
	)
}

func revokeAfterReplaced(ctx context.Context, s es.Store) error {
	a := newCommit(newStream("1"), 1, 1)
	b := replacing(a, newCommit(a.Stream, 1, 1))
	again := func(when string) error { return expect("revoke again, "+when, s.Revoke(ctx, a), nil) }
	return first(
		put(ctx, s, a), expect("revoke", s.Revoke(ctx, a), nil), put(ctx, s, b),
		again("when the slot is taken by another"), holds(ctx, s, a.Stream, b),
		expect("claim of the other", s.Claim(ctx, b), nil),
		again("when the other is claimed"), holds(ctx, s, a.Stream, withStatus(b, es.Claimed)),
		expect("settle of the other", s.Settle(ctx, b), nil),
		again("when the other is settled"), holds(ctx, s, a.Stream, settled(b)),
		revokeWhereMarker(ctx, s),
	)
}

// revokeWhereMarker revokes again when the slot holds the marker of another.
func revokeWhereMarker(ctx context.Context, s es.Store) error {
	a := newCommit(newStream("1"), 1, 1)
	b := replacing(a, newCommit(a.Stream, 1, 1))
	return first(
		put(ctx, s, a), expect("revoke", s.Revoke(ctx, a), nil),
		put(ctx, s, b), expect("revoke of the other", s.Revoke(ctx, b), nil),
		expect("revoke again, when the other is revoked, too", s.Revoke(ctx, a), nil),
		holds(ctx, s, a.Stream, marker(b)),
	)
}

func claimThenRevoke(ctx context.Context, s es.Store) error {
	a := newCommit(newStream("1"), 1, 1)
	return first(
		put(ctx, s, a),
		expect("claim", s.Claim(ctx, a), nil),
		expect("revoke of a claimed commit", s.Revoke(ctx, a), es.ErrConflict),
		holds(ctx, s, a.Stream, withStatus(a, es.Claimed)),
		expect("settle of a claimed commit", s.Settle(ctx, a), nil),
		holds(ctx, s, a.Stream, settled(a)),
	)
}

func settleThenRevoke(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a, b := newCommit(stream, 1, 1), settled(newCommit(stream, 2, 1))
	return first(
		put(ctx, s, a),
		expect("settle", s.Settle(ctx, a), nil),
		expect("revoke of a settled commit", s.Revoke(ctx, a), es.ErrConflict),
		put(ctx, s, b),
		expect("revoke of a settled commit that is not the newest", s.Revoke(ctx, a), es.ErrConflict),
		expect("revoke of a commit that was appended as settled", s.Revoke(ctx, b), es.ErrConflict),
		holds(ctx, s, stream, settled(a), b),
	)
}

func revokeEmpty(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a, b := settled(newCommit(stream, 1, 1)), newCommit(stream, 2, 1)
	for n := range 2 {
		err := s.Revoke(ctx, es.Commit{Stream: stream, Version: uint64(n + 1), ID: rand.Text()})
		switch {
		case err == nil:
			return errors.New("revoke of an empty slot succeeded: then nothing keeps the append, which may still come, from being stored")
		case errors.Is(err, es.ErrConflict):
			return fmt.Errorf("revoke of an empty slot is reported as a conflict, which says that the commit stays: %w", err)
		}
		if n == 0 {
			if err := first(holds(ctx, s, stream), put(ctx, s, a)); err != nil {
				return err
			}
		}
	}
	return first(holds(ctx, s, stream, a), put(ctx, s, b), holds(ctx, s, stream, a, b))
}

func revokeAndClaimRace(ctx context.Context, s es.Store) error {
	return revokeRace(ctx, s, s.Claim, es.Claimed)
}

func revokeAndSettleRace(ctx context.Context, s es.Store) error {
	return revokeRace(ctx, s, s.Settle, es.Settled)
}

// revokeRace lets a revoke and another write run at once, many times.
func revokeRace(ctx context.Context, s es.Store, other func(context.Context, es.Commit) error, status es.Status) error {
	for range 40 {
		c := newCommit(newStream("1"), 1, 1)
		if err := put(ctx, s, c); err != nil {
			return err
		}
		winner, err := oneWins(together(2, func(i int) error {
			if i == 0 {
				return s.Revoke(ctx, c)
			}
			return other(ctx, c)
		}))
		left := marker(c)
		if winner == 1 {
			left = withStatus(c, status)
		}
		if err := first(err, holds(ctx, s, c.Stream, left)); err != nil {
			return err
		}
	}
	return nil
}
