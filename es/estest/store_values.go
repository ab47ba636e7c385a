package estest

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/leftfold/leftfold/es"
)

func everyField(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a, b := settled(full(stream, 1)), full(stream, 5)
	// What is unset must not come back as something else.
	c := settled(es.Commit{Stream: newStream("2"), Version: 1, ID: b.ID + "2", Time: past, Events: []es.Event{{Type: "e"}}})
	c.State = &es.Snapshot{Schema: "empty"}
	if err := first(put(ctx, s, a, b, c), holds(ctx, s, stream, a, b), holds(ctx, s, c.Stream, c)); err != nil {
		return err
	}
	back, err := all(s.LoadBack(ctx, stream, 2))
	return first(expect("load back", err, nil), differAll(back, []es.Commit{b, a}))
}

func timesKept(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	moments := []time.Time{
		past,
		past.In(time.FixedZone("far east", 14*3600)),
		time.Date(2026, time.March, 29, 1, 59, 59, 999999999, time.UTC),
		time.Date(2026, time.March, 29, 2, 0, 0, 1, time.UTC),
		time.Date(2199, time.December, 31, 23, 59, 59, 100000000, time.UTC),
		time.Now(),
	}
	for i, moment := range moments {
		c := settled(newCommit(stream, uint64(i+1), 1))
		c.Time = moment
		c.Done = []es.Done{{Command: "c", Version: 1, Time: moment.Add(time.Nanosecond)}}
		if err := put(ctx, s, c); err != nil {
			return err
		}
	}
	found, err := all(s.Load(ctx, stream, 0))
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if len(found) != len(moments) {
		return fmt.Errorf("load yields %d of %d commits", len(found), len(moments))
	}
	for i, c := range found {
		if len(c.Done) != 1 {
			return fmt.Errorf("there are %d named commands, not 1", len(c.Done))
		}
		for got, want := range map[time.Time]time.Time{c.Time: moments[i], c.Done[0].Time: moments[i].Add(time.Nanosecond)} {
			switch {
			case !got.Equal(want):
				return fmt.Errorf("time %v came back as %v", want.UTC(), got)
			case got.Location() != time.UTC:
				return fmt.Errorf("time %v came back in %v, not in UTC", want.UTC(), got.Location())
			case strings.Contains(got.String(), " m="):
				return fmt.Errorf("time %v came back with a monotonic reading", got)
			}
		}
	}
	return nil
}

func oneNanosecond(ctx context.Context, s es.Store) error {
	stream, other := newStream("1"), newStream("2")
	a, b, c := settled(newCommit(stream, 1, 2)), settled(newCommit(stream, 3, 2)), newCommit(other, 1, 1)
	b.Time, c.Time = a.Time, a.Time
	return first(put(ctx, s, a, b, c), holds(ctx, s, stream, a, b), holds(ctx, s, other, c))
}

// awkwardNames returns streams that have nothing to do with each other and look
// alike: to who joins category and ID with some separator, folds case, cuts, or
// normalises.
func awkwardNames() []es.StreamID {
	c := newStream("").Category
	long := strings.Repeat("x", es.MaxID-1)
	return []es.StreamID{
		{Category: c, ID: "1"}, {Category: c + "-otp", ID: "1"}, {Category: c, ID: "otp-1"}, {Category: c + "-otp", ID: "/1"},
		{Category: c, ID: "1/2"}, {Category: c, ID: "1/2/"}, {Category: c, ID: "/1/2"}, {Category: c, ID: "1//2"}, {Category: c, ID: "/"},
		{Category: c + "#a", ID: "b"}, {Category: c, ID: "a#b"}, {Category: c + "#a#", ID: "b"},
		{Category: c + ":a", ID: "b"}, {Category: c, ID: "a:b"}, {Category: c + "|a", ID: "b"}, {Category: c, ID: "a|b"},
		{Category: c, ID: "A"}, {Category: c, ID: "a"}, {Category: strings.ToUpper(c), ID: "a"},
		{Category: c, ID: "é"}, {Category: c, ID: "e\u0301"}, {Category: c, ID: "e"},
		{Category: c, ID: "1 "}, {Category: c, ID: " 1"}, {Category: c, ID: "01"}, {Category: c, ID: "1.0"},
		{Category: c, ID: "%2F"}, {Category: c, ID: "a+b"}, {Category: c, ID: "a b"}, {Category: c, ID: "a%20b"}, {Category: c, ID: "a_b"}, {Category: c, ID: "a\\b"},
		{Category: c, ID: "../" + c + "/1"}, {Category: c, ID: "🎈"}, {Category: c, ID: "1@1"}, {Category: c, ID: "1@2"},
		{Category: c, ID: long + "a"}, {Category: c, ID: long + "b"}, {Category: c, ID: long},
	}
}

func namesApart(ctx context.Context, s es.Store) error {
	streams := awkwardNames()
	commits := make([]es.Commit, len(streams))
	for i, stream := range streams {
		commits[i] = newCommit(stream, 1, 1+i%3)
		if err := s.Append(ctx, commits[i]); err != nil {
			return fmt.Errorf("append to %.80q: %w", stream, err)
		}
	}
	for i, stream := range streams {
		if i%2 == 0 {
			if err := s.Settle(ctx, commits[i]); err != nil {
				return fmt.Errorf("settle in %.80q: %w", stream, err)
			}
			commits[i].Status = es.Settled
		}
	}
	for i, stream := range streams {
		if err := holds(ctx, s, stream, commits[i]); err != nil {
			return fmt.Errorf("stream %.80q: %w", stream, err)
		}
	}
	return nil
}

// spoil changes everything that a commit points to.
func spoil(c es.Commit) {
	for k := range c.Meta {
		c.Meta[k] = "spoilt"
	}
	if c.Meta != nil {
		c.Meta["more"] = "spoilt"
	}
	for i := range c.Events {
		c.Events[i] = es.Event{Type: "spoilt", Data: "spoilt"}
	}
	if c.State != nil {
		*c.State = es.Snapshot{Schema: "spoilt", Data: "spoilt"}
	}
	for i := range c.Done {
		c.Done[i].Command = "spoilt"
	}
}

func takenInNoAlias(ctx context.Context, s es.Store) error {
	a, b := full(newStream("1"), 1), settled(full(newStream("2"), 1))
	spoilt, spoiltToo := a.Clone(), b.Clone()
	if err := put(ctx, s, spoilt, spoiltToo); err != nil {
		return err
	}
	spoil(spoilt)
	spoil(spoiltToo)
	return first(
		holds(ctx, s, a.Stream, a), holds(ctx, s, b.Stream, b),
		expect("claim", s.Claim(ctx, spoilt), nil), holds(ctx, s, a.Stream, withStatus(a, es.Claimed)),
		expect("settle", s.Settle(ctx, spoilt), nil), holds(ctx, s, a.Stream, settled(a)),
	)
}

func givenOutNoAlias(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	a, b := settled(full(stream, 1)), full(stream, 5)
	if err := put(ctx, s, a.Clone(), b.Clone()); err != nil {
		return err
	}
	for what, seq := range map[string]iter.Seq2[es.Commit, error]{
		"load": s.Load(ctx, stream, 0), "load back": s.LoadBack(ctx, stream, 8), "pending": s.Pending(ctx, past.Add(time.Hour)),
	} {
		for c, err := range seq {
			if err == nil && c.Stream == stream {
				spoil(c)
			}
		}
		if err := holds(ctx, s, stream, a, b); err != nil {
			return fmt.Errorf("after a caller changed what %s gave out: %w", what, err)
		}
		back, err := all(s.LoadBack(ctx, stream, 2))
		if err := first(err, differAll(back, []es.Commit{b, a})); err != nil {
			return fmt.Errorf("load back after a caller changed what %s gave out: %w", what, err)
		}
	}
	return nil
}
