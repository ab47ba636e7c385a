package estest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/leftfold/leftfold/es"
)

// longStream fills a stream with so many commits, and so much data, that every
// limit on a page is met several times.
func longStream(ctx context.Context, s es.Store, stream es.StreamID) ([]es.Commit, error) {
	commits := make([]es.Commit, 1300)
	version := uint64(1)
	for i := range commits {
		commits[i] = settled(newCommit(stream, version, 1+i%3))
		commits[i].Events[0].Data = strings.Repeat(" ", 1000) + commits[i].Events[0].Data
		version = commits[i].Last() + 1
	}
	return commits, put(ctx, s, commits...)
}

func loadLongStream(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	commits, err := longStream(ctx, s, stream)
	if err != nil {
		return err
	}
	tip := newCommit(stream, commits[len(commits)-1].Last()+1, 1)
	if err := first(put(ctx, s, tip), holds(ctx, s, stream, append(commits, tip)...)); err != nil {
		return err
	}
	middle := commits[len(commits)/3]
	rest, err := all(s.Load(ctx, stream, middle.Last()))
	return first(expect("load", err, nil), differAll(rest, append(commits[len(commits)/3+1:], tip)))
}

func loadAfter(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	var commits []es.Commit
	version := uint64(1)
	for _, n := range []int{1, 3, 2, 1, 4} {
		commits = append(commits, settled(newCommit(stream, version, n)))
		version += uint64(n)
	}
	if err := put(ctx, s, commits...); err != nil {
		return err
	}
	check := func(commits []es.Commit) error {
		for after := range version + 3 {
			want := slices.DeleteFunc(slices.Clone(commits), func(c es.Commit) bool { return c.Version <= after })
			got, err := all(s.Load(ctx, stream, after))
			if err := first(err, differAll(got, want)); err != nil {
				return fmt.Errorf("load after version %d: %w", after, err)
			}
		}
		return nil
	}
	if err := check(commits); err != nil {
		return err
	}
	tip := newCommit(stream, version, 2)
	return first(
		put(ctx, s, tip), check(append(commits, tip)),
		expect("revoke", s.Revoke(ctx, tip), nil), check(append(commits, marker(tip))),
	)
}

func loadBackReversed(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	back := func(hint int, commits []es.Commit) error {
		want := slices.Clone(commits)
		slices.Reverse(want)
		got, err := all(s.LoadBack(ctx, stream, hint))
		if err := first(err, differAll(got, want)); err != nil {
			return fmt.Errorf("load back with hint %d: %w", hint, err)
		}
		return nil
	}
	if err := back(1, nil); err != nil {
		return err
	}
	commits, err := longStream(ctx, s, stream)
	if err != nil {
		return err
	}
	for _, hint := range []int{-1, 0, 8, 1000, 5000} {
		if err := back(hint, commits); err != nil {
			return err
		}
	}
	tip := newCommit(stream, commits[len(commits)-1].Last()+1, 1)
	return first(
		put(ctx, s, tip), back(200, append(commits, tip)),
		expect("revoke", s.Revoke(ctx, tip), nil), back(200, append(commits, marker(tip))),
		backHintOne(ctx, s),
	)
}

// backHintOne reads on with the smallest hint, on a short stream.
func backHintOne(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a, b, c := settled(newCommit(stream, 1, 1)), settled(newCommit(stream, 2, 3)), newCommit(stream, 5, 1)
	if err := put(ctx, s, a, b, c); err != nil {
		return err
	}
	for _, hint := range []int{1, 2, 3} {
		got, err := all(s.LoadBack(ctx, stream, hint))
		if err := first(err, differAll(got, []es.Commit{c, b, a})); err != nil {
			return fmt.Errorf("load back with hint %d: %w", hint, err)
		}
	}
	return nil
}

func readersSeeWrites(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	newest := func(when string, want es.Commit) error {
		for back, err := range s.LoadBack(ctx, stream, 1) {
			if err := first(err, differ(back, want)); err != nil {
				return fmt.Errorf("load back right after %s: %w", when, err)
			}
			found, err := all(s.Load(ctx, stream, want.Version-1))
			if err := first(err, differAll(found, []es.Commit{want})); err != nil {
				return fmt.Errorf("load right after %s: %w", when, err)
			}
			return nil
		}
		return fmt.Errorf("load back right after %s yields nothing", when)
	}
	var revoked es.Commit
	for version := range uint64(40) {
		c := newCommit(stream, version+1, 1)
		gone := newCommit(stream, version+1, 2)
		err := first(
			put(ctx, s, gone), newest("an append", gone),
			expect("revoke", s.Revoke(ctx, gone), nil), newest("a revoke", marker(gone)),
			put(ctx, s, replacing(gone, c)), newest("an append to a marker's slot", replacing(gone, c)),
			expect("claim", s.Claim(ctx, c), nil), newest("a claim", withStatus(replacing(gone, c), es.Claimed)),
			expect("settle", s.Settle(ctx, c), nil), newest("a settle", settled(replacing(gone, c))),
		)
		if err != nil {
			return err
		}
		revoked = gone
	}
	return expect("append of a revoked commit", s.Append(ctx, revoked), es.ErrConflict)
}

func sequenceAgain(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a, b := settled(newCommit(stream, 1, 1)), newCommit(stream, 2, 1)
	load, back := s.Load(ctx, stream, 0), s.LoadBack(ctx, stream, 8)
	shows := func(when string, want ...es.Commit) error {
		for range 2 {
			got, err := all(load)
			if err := first(err, differAll(got, want)); err != nil {
				return fmt.Errorf("load, run again %s: %w", when, err)
			}
			got, err = all(back)
			slices.Reverse(got)
			if err := first(err, differAll(got, want)); err != nil {
				return fmt.Errorf("load back, run again %s: %w", when, err)
			}
		}
		return nil
	}
	return first(
		shows("on an empty stream"),
		put(ctx, s, a), shows("after an append", a),
		put(ctx, s, b), shows("after another append", a, b),
		expect("settle", s.Settle(ctx, b), nil), shows("after a settle", a, settled(b)),
	)
}

func sequenceBroken(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	var commits []es.Commit
	for version := range uint64(5) {
		commits = append(commits, settled(newCommit(stream, version+1, 1)))
	}
	tip := newCommit(stream, 6, 1)
	if err := put(ctx, s, append(commits, tip)...); err != nil {
		return err
	}
	for what, seq := range map[string]iter.Seq2[es.Commit, error]{
		"load": s.Load(ctx, stream, 0), "load back": s.LoadBack(ctx, stream, 2), "pending": s.Pending(ctx, time.Now()),
	} {
		for enough := 1; enough <= 3; enough++ {
			n := 0
			// Called by hand: a loop would panic if it is called once too often.
			seq(func(es.Commit, error) bool { n++; return n < enough })
			if n > enough || n < enough && what != "pending" {
				return fmt.Errorf("%s was broken off after %d commits, and yielded %d", what, enough, n)
			}
		}
	}
	return first(
		holds(ctx, s, stream, append(commits, tip)...),
		expect("settle after sequences were broken off", s.Settle(ctx, tip), nil),
		holds(ctx, s, stream, append(commits, settled(tip))...),
	)
}

func loopCallsStore(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a := settled(newCommit(stream, 1, 1))
	if err := put(ctx, s, a, newCommit(stream, 2, 1)); err != nil {
		return err
	}
	return within(ctx, func(ctx context.Context) error {
		version := uint64(2)
		for what, seq := range map[string]iter.Seq2[es.Commit, error]{
			"load": s.Load(ctx, stream, 0), "load back": s.LoadBack(ctx, stream, 1), "pending": s.Pending(ctx, time.Now()),
		} {
			for c, err := range seq {
				if errors.Is(err, errors.ErrUnsupported) {
					break
				}
				if err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
				if c.Stream != stream || c.Version != version {
					continue // the rest is for the next sequence, and for other rows
				}
				next := newCommit(stream, version+1, 1)
				err := first(
					newestIs(ctx, s, c),
					expect("settle in a loop over "+what, s.Settle(ctx, c), nil),
					put(ctx, s, next),
					newestIs(ctx, s, next),
				)
				if err != nil {
					return err
				}
				version++
				break
			}
		}
		found, err := all(s.Load(ctx, stream, 0))
		if err == nil && (uint64(len(found)) != version || version < 4) {
			err = fmt.Errorf("there are %d commits, and the newest should be %d", len(found), version)
		}
		return expect("load after the loops", err, nil)
	})
}

// newestIs asks for the newest commit of a stream in all ways.
func newestIs(ctx context.Context, s es.Store, want es.Commit) error {
	found, err := all(s.Load(ctx, want.Stream, want.Version-1))
	if err := first(expect("load in a loop", err, nil), differAll(found, []es.Commit{want})); err != nil {
		return err
	}
	for c, err := range s.LoadBack(ctx, want.Stream, 1) {
		return first(expect("load back in a loop", err, nil), differ(c, want))
	}
	return errors.New("load back in a loop yields nothing")
}

func pendingLists(ctx context.Context, s es.Store) error {
	before := past.Add(time.Hour)
	category := newStream("1").Category
	commit := func(id string, age time.Duration) es.Commit {
		c := full(es.StreamID{Category: category, ID: id}, 1)
		c.Time = before.Add(-age)
		return c
	}
	var (
		oldest   = commit("oldest", 40*time.Minute)
		claimed  = commit("claimed", 30*time.Minute)
		younger  = commit("younger", time.Nanosecond)
		old      = commit("replaced", 50*time.Minute)
		replaced = replacing(old, commit("replaced", 20*time.Minute))
		later    = settled(commit("later", 60*time.Minute))
		tip      = newCommit(later.Stream, later.Last()+1, 2)
	)
	tip.Time = before.Add(-10 * time.Minute)
	revoked, done, justNow := commit("revoked", time.Minute), commit("settled", time.Minute), commit("just now", 0)
	young := commit("young", -time.Nanosecond)

	own := func() ([]es.Commit, error) {
		found, err := all(s.Pending(ctx, before))
		return slices.DeleteFunc(found, func(c es.Commit) bool { return c.Stream.Category != category }), err
	}
	if _, err := own(); errors.Is(err, errors.ErrUnsupported) {
		return put(ctx, s, oldest)
	}
	lists := func(want ...es.Commit) error {
		// An index may lag behind.
		return eventually(ctx, func() error {
			found, err := own()
			if err := first(expect("pending", err, nil), differAll(found, want)); err != nil {
				return fmt.Errorf("pending: %w", err)
			}
			return nil
		})
	}
	return first(
		put(ctx, s, younger, claimed, old, oldest, revoked, done, justNow, young, later, tip, settled(commit("never pending", time.Minute))),
		expect("claim", s.Claim(ctx, claimed), nil),
		expect("revoke", s.Revoke(ctx, revoked), nil),
		expect("settle", s.Settle(ctx, done), nil),
		expect("revoke", s.Revoke(ctx, old), nil), put(ctx, s, replaced),
		lists(oldest, withStatus(claimed, es.Claimed), replaced, tip, younger),
		expect("settle", s.Settle(ctx, oldest), nil),
		expect("settle of a claimed commit", s.Settle(ctx, claimed), nil),
		expect("revoke", s.Revoke(ctx, younger), nil),
		lists(replaced, tip),
		expect("settle", s.Settle(ctx, replaced), nil), expect("settle", s.Settle(ctx, tip), nil),
		lists(),
	)
}

func streamsListed(ctx context.Context, s es.Store) error {
	lister, ok := s.(es.Lister)
	if !ok {
		return nil
	}
	const streams = 23
	category := newStream("1").Category
	markerOnly := newCommit(es.StreamID{Category: category, ID: "marker only"}, 1, 1)
	for i := range streams {
		stream := es.StreamID{Category: category, ID: fmt.Sprintf("%d/ü %d", i%7, i)}
		for version := range uint64(1 + i%3) {
			if err := put(ctx, s, settled(newCommit(stream, version+1, 1))); err != nil {
				return err
			}
		}
		// A stream that has a tip besides, and one that has nothing else.
		if i%4 == 0 {
			if err := put(ctx, s, newCommit(stream, uint64(2+i%3), 1)); err != nil {
				return err
			}
		}
	}
	pendingOnly := newCommit(es.StreamID{Category: category, ID: "pending only"}, 1, 1)
	if err := first(put(ctx, s, markerOnly, pendingOnly), expect("revoke", s.Revoke(ctx, markerOnly), nil)); err != nil {
		return err
	}
	list := func(shard, shards int, after es.StreamID) ([]es.StreamID, error) {
		var found []es.StreamID
		for stream, err := range lister.Streams(ctx, shard, shards, after) {
			if err != nil {
				return nil, fmt.Errorf("streams of shard %d of %d, after %q: %w", shard, shards, after, err)
			}
			if stream.Category == category && stream != markerOnly.Stream {
				found = append(found, stream)
			}
		}
		return found, nil
	}
	for _, shards := range []int{1, 3} {
		times := make(map[es.StreamID]int)
		for shard := range shards {
			found, err := list(shard, shards, es.StreamID{})
			if err != nil {
				return err
			}
			for _, stream := range found {
				times[stream]++
			}
			for i := 0; i < len(found); i += max(1, len(found)/3) {
				rest, err := list(shard, shards, found[i])
				if err != nil {
					return err
				}
				if !slices.Equal(rest, found[i+1:]) {
					return fmt.Errorf("streams of shard %d of %d, after %q: there are %v, not %v", shard, shards, found[i], rest, found[i+1:])
				}
			}
			broken := 0
			lister.Streams(ctx, shard, shards, es.StreamID{})(func(es.StreamID, error) bool { broken++; return false })
			if broken > 1 {
				return errors.New("streams goes on after the caller broke off")
			}
		}
		for stream, n := range times {
			if n != 1 {
				return fmt.Errorf("stream %q is listed %d times over %d shards", stream, n, shards)
			}
		}
		if len(times) != streams+1 {
			return fmt.Errorf("%d of %d streams are listed over %d shards", len(times), streams+1, shards)
		}
	}
	return nil
}
