package estest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
)

// row is one rule of a contract, in words, and what finds out whether a T keeps it.
// It is no method of a test, so that the suites themselves can be tested.
//
// A row may share its database with others that run at the same time: it works on
// streams of a category of its own and ignores all others.
type row[T any] struct {
	rule  string
	check func(ctx context.Context, subject T) error
}

// rowTime is the time that a row has. It is long because a broker may need it to
// deliver again.
const rowTime = 2 * time.Minute

func run[T any](t *testing.T, rows []row[T], open func(t *testing.T) T) {
	for _, r := range rows {
		t.Run(r.rule, func(t *testing.T) {
			t.Parallel()
			subject := open(t)
			ctx, cancel := context.WithTimeout(t.Context(), rowTime)
			defer cancel()
			if err := r.check(ctx, subject); err != nil {
				t.Error(err)
			}
		})
	}
}

// newStream returns a stream with an ID in a category that nobody else uses.
func newStream(id string) es.StreamID {
	return es.StreamID{Category: "estest-" + strings.ToLower(rand.Text()), ID: id}
}

// past is a time long ago, with nanoseconds.
var past = time.Date(1996, time.February, 29, 23, 59, 59, 123456789, time.UTC)

// newCommit returns a pending commit of n events.
func newCommit(stream es.StreamID, version uint64, n int) es.Commit {
	c := es.Commit{Stream: stream, Version: version, ID: rand.Text(), Time: past.Add(time.Duration(version) * time.Second)}
	for i := range n {
		c.Events = append(c.Events, es.Event{Type: "test.happened", Data: fmt.Sprintf(`{"at":%d}`, version+uint64(i))})
	}
	return c
}

// settled returns the commit as a settled one.
func settled(c es.Commit) es.Commit {
	c.Status = es.Settled
	return c
}

// withStatus returns the commit in a status.
func withStatus(c es.Commit, s es.Status) es.Commit {
	c.Status = s
	return c
}

// replacing returns the commit as one that takes the slot of a revoked commit.
func replacing(revoked, c es.Commit) es.Commit {
	c.Replaces = revoked.ID
	return c
}

// marker returns what a revoked commit leaves behind.
func marker(c es.Commit) es.Commit {
	return es.Commit{Stream: c.Stream, Version: c.Version, ID: c.ID, Status: es.Revoked}
}

// full returns a pending commit with every field set to something awkward.
func full(stream es.StreamID, version uint64) es.Commit {
	return es.Commit{
		Stream: stream, Version: version, ID: rand.Text(), Command: "create/äöü 🎈 \"quoted\"",
		Time: past.In(time.FixedZone("somewhere", 5*3600+1800)),
		Meta: map[string]string{"actor": "søren", "empty": "", "trace.id": "00-ab\n\tcd", "κλειδί": "日本語"},
		Events: []es.Event{
			{Type: "test.text", Data: `{"name":"Grüße <&> \u2028"}`},
			{Type: "test.empty"},
			{Type: "test.binary", Data: "\x00\x01\xff\xfe\"\\\n\x80\x00"},
			{Type: "tést/имя", Data: "null"},
		},
		State: &es.Snapshot{Schema: "v1/ü", Data: "\xff\x00{}"},
		Done: []es.Done{
			{Command: "first ✓", Fingerprint: 1<<64 - 1, Version: 1<<63 - 1, Time: past.Add(-time.Nanosecond)},
			{Command: "second", Fingerprint: 0, Version: 1, Time: past},
		},
	}
}

// differ returns an error that names the fields in which two commits differ, nil if
// none does. Nil and empty are the same here, as they are in most databases.
func differ(got, want es.Commit) error {
	var b strings.Builder
	field := func(name string, same bool, got, want any) {
		if !same {
			fmt.Fprintf(&b, "; %s is %s, not %s", name, brief(got), brief(want))
		}
	}
	field("stream", got.Stream == want.Stream, got.Stream, want.Stream)
	field("version", got.Version == want.Version, got.Version, want.Version)
	field("ID", got.ID == want.ID, got.ID, want.ID)
	field("replaced ID", got.Replaces == want.Replaces, got.Replaces, want.Replaces)
	field("command", got.Command == want.Command, got.Command, want.Command)
	field("time", got.Time.Equal(want.Time), got.Time, want.Time)
	field("metadata", fmt.Sprint(got.Meta) == fmt.Sprint(want.Meta), got.Meta, want.Meta)
	field("status", got.Status == want.Status, got.Status, want.Status)
	field("number of events", len(got.Events) == len(want.Events), len(got.Events), len(want.Events))
	for i := range min(len(got.Events), len(want.Events)) {
		g, w := got.Events[i], want.Events[i]
		field(fmt.Sprintf("event %d", i+1), g.Type == w.Type && g.Data == w.Data, fmt.Sprintf("%s %q", g.Type, g.Data), fmt.Sprintf("%s %q", w.Type, w.Data))
	}
	if g, w := got.State, want.State; g == nil || w == nil {
		field("state", g == w, g != nil, w != nil)
	} else {
		field("state", g.Schema == w.Schema && g.Data == w.Data, fmt.Sprintf("%s %q", g.Schema, g.Data), fmt.Sprintf("%s %q", w.Schema, w.Data))
	}
	field("number of named commands", len(got.Done) == len(want.Done), len(got.Done), len(want.Done))
	for i := range min(len(got.Done), len(want.Done)) {
		g, w := got.Done[i], want.Done[i]
		same := g.Command == w.Command && g.Fingerprint == w.Fingerprint && g.Version == w.Version && g.Time.Equal(w.Time)
		field(fmt.Sprintf("named command %d", i+1), same, g, w)
	}
	if b.Len() == 0 {
		return nil
	}
	return fmt.Errorf("commit %s@%d%s", want.Stream, want.Version, b.String())
}

// brief keeps what is said about large data short.
func brief(v any) string {
	if s := fmt.Sprintf("%+v", v); len(s) > 200 {
		return s[:200] + "..."
	} else {
		return s
	}
}

// differAll is differ for sequences.
func differAll(got, want []es.Commit) error {
	for i := range min(len(got), len(want)) {
		if err := differ(got[i], want[i]); err != nil {
			return fmt.Errorf("commit %d of %d: %w", i+1, len(got), err)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("there are %d commits, not %d", len(got), len(want))
	}
	return nil
}

// mostCommits is more than any row writes to a stream, or finds pending.
const mostCommits = 20_000

// all returns the commits of a sequence up to its first error.
func all(commits iter.Seq2[es.Commit, error]) ([]es.Commit, error) {
	var found []es.Commit
	for c, err := range commits {
		if err != nil {
			return found, err
		}
		if found = append(found, c); len(found) > mostCommits {
			return nil, fmt.Errorf("the sequence does not end: %d commits so far", len(found))
		}
	}
	return found, nil
}

// expect returns an error unless err is the target; nil stands for success.
func expect(what string, err, target error) error {
	switch {
	case target == nil && err != nil:
		return fmt.Errorf("%s: %w", what, err)
	case target != nil && err == nil:
		return fmt.Errorf("%s succeeded, and should have failed with %q", what, target.Error())
	case !errors.Is(err, target):
		return fmt.Errorf("%s failed with an error that does not wrap %q: %w", what, target.Error(), err)
	}
	return nil
}

// first returns the first error there is, for a row of checks that stand by themselves.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// together calls f n times at once and returns what the calls returned.
func together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// lag is how long something may take that a contract lets come late.
const lag = 5 * time.Second

// eventually repeats a check until it succeeds or has failed for too long.
func eventually(ctx context.Context, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, lag)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// within calls f and gives up when the context ends, whether f obeys it or not.
func within(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer: %w", ctx.Err())
	}
}

// endedContexts returns contexts that have ended, by the way in which they have.
func endedContexts(ctx context.Context) (map[string]context.Context, context.CancelFunc) {
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	late, cancel := context.WithDeadline(ctx, past)
	return map[string]context.Context{"a cancelled context": cancelled, "a context past its deadline": late}, cancel
}
