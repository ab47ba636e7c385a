// Package docs has no code of its own: these are the adapters of adapters.md, which quotes
// this file, and the suites that they pass.
package docs_test

import (
	"cmp"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
)

// table stands for your database: rows of bytes under a stream and a version.
type table struct {
	mu   sync.Mutex
	rows map[es.StreamID]map[uint64]string
}

// get: SELECT row FROM t WHERE stream = ? AND version = ?. No row is an empty one.
func (t *table) get(ctx context.Context, stream es.StreamID, version uint64) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rows[stream][version], ctx.Err()
}

// swap: UPDATE t SET row = ? WHERE stream = ? AND version = ? AND row = ?. Where the old
// row is empty: INSERT INTO t ... ON CONFLICT DO NOTHING. It says whether it did.
func (t *table) swap(ctx context.Context, stream es.StreamID, version uint64, old, row string) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := ctx.Err(); err != nil || t.rows[stream][version] != old {
		return false, err
	}
	if t.rows == nil {
		t.rows = make(map[es.StreamID]map[uint64]string)
	}
	if t.rows[stream] == nil {
		t.rows[stream] = make(map[uint64]string)
	}
	t.rows[stream][version] = row
	return true, nil
}

// scan: SELECT row FROM t WHERE stream = ? ORDER BY version.
func (t *table) scan(ctx context.Context, stream es.StreamID) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var rows []string
	for _, version := range slices.Sorted(maps.Keys(t.rows[stream])) {
		rows = append(rows, t.rows[stream][version])
	}
	return rows, ctx.Err()
}

// all: SELECT row FROM t.
func (t *table) all(ctx context.Context) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var rows []string
	for _, stream := range t.rows {
		rows = slices.AppendSeq(rows, maps.Values(stream))
	}
	return rows, ctx.Err()
}

// store is an es.Store on a table.
type store struct{ db *table }

func encode(c es.Commit) (string, error) {
	c = c.Clone()
	c.Time = c.Time.UTC()
	for i := range c.Done {
		c.Done[i].Time = c.Done[i].Time.UTC()
	}
	var row strings.Builder
	if err := gob.NewEncoder(&row).Encode(c); err != nil {
		return "", fmt.Errorf("%w: %w", es.ErrRefused, err) // nothing was sent
	}
	return row.String(), nil
}

func decode(row string) (c es.Commit, err error) {
	if row != "" {
		err = gob.NewDecoder(strings.NewReader(row)).Decode(&c)
	}
	return c, err
}

// write changes what is in the commit's slot to what next makes of it. A slot that was
// never used holds the zero Commit.
func (s *store) write(ctx context.Context, c es.Commit, next func(es.Commit) (es.Commit, error)) error {
	for {
		row, err := s.db.get(ctx, c.Stream, c.Version)
		if err != nil {
			return err
		}
		now, err := decode(row)
		if err != nil {
			return err
		}
		then, err := next(now)
		if err != nil {
			return fmt.Errorf("%s@%d, which holds %q, %v: %w", c.Stream, c.Version, now.ID, now.Status, err)
		}
		newRow, err := encode(then)
		if err != nil || newRow == row {
			return err
		}
		if done, err := s.db.swap(ctx, c.Stream, c.Version, row, newRow); done || err != nil {
			return err
		}
		// Somebody else was faster: look again.
	}
}

func (s *store) Append(ctx context.Context, c es.Commit) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("%w: %w", es.ErrRefused, err)
	}
	return s.write(ctx, c, func(now es.Commit) (es.Commit, error) {
		switch {
		case now.ID == c.ID && now.Status != es.Revoked:
			return now, nil // this very write was here before
		case now.ID == "" && c.Replaces == "":
			return c, nil
		case now.ID == c.Replaces && now.Status == es.Revoked:
			return c, nil
		}
		return now, es.ErrConflict
	})
}

func (s *store) Claim(ctx context.Context, c es.Commit) error {
	return s.write(ctx, c, func(now es.Commit) (es.Commit, error) {
		if now.ID != c.ID || now.Status == es.Settled || now.Status == es.Revoked {
			return now, es.ErrConflict
		}
		now.Status = es.Claimed
		return now, nil
	})
}

func (s *store) Settle(ctx context.Context, c es.Commit) error {
	return s.write(ctx, c, func(now es.Commit) (es.Commit, error) {
		if now.ID != c.ID || now.Status == es.Revoked {
			return now, es.ErrConflict
		}
		now.Status = es.Settled
		return now, nil
	})
}

func (s *store) Revoke(ctx context.Context, c es.Commit) error {
	return s.write(ctx, c, func(now es.Commit) (es.Commit, error) {
		switch {
		case now.ID == "":
			return now, errors.New("there is nothing to revoke")
		case now.ID != c.ID || now.Status == es.Revoked:
			return now, nil // it was revoked before
		case now.Status != es.Pending:
			return now, es.ErrConflict
		}
		return es.Commit{Stream: c.Stream, Version: c.Version, ID: c.ID, Status: es.Revoked}, nil
	})
}

// read returns the slots of a stream, up to a gap.
func (s *store) read(ctx context.Context, stream es.StreamID) (commits []es.Commit, err error) {
	rows, err := s.db.scan(ctx, stream)
	if err != nil {
		return nil, err
	}
	want := uint64(1)
	for _, row := range rows {
		c, err := decode(row)
		if err != nil {
			return commits, err
		}
		if c.Version != want {
			return commits, &es.GapError{Stream: stream, Want: want, Have: c.Version}
		}
		commits, want = append(commits, c), c.Last()+1
	}
	return commits, nil
}

func (s *store) Load(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		commits, err := s.read(ctx, stream)
		for _, c := range commits {
			if c.Version > after && !yield(c, nil) {
				return
			}
		}
		if err != nil {
			yield(es.Commit{}, err)
		}
	}
}

func (s *store) LoadBack(ctx context.Context, stream es.StreamID, _ int) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		commits, err := s.read(ctx, stream)
		if err != nil {
			yield(es.Commit{}, err)
			return
		}
		for _, c := range slices.Backward(commits) {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func (s *store) Pending(ctx context.Context, before time.Time) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		rows, err := s.db.all(ctx)
		var found []es.Commit
		for _, row := range rows {
			c, wrong := decode(row)
			err = cmp.Or(err, wrong)
			if (c.Status == es.Pending || c.Status == es.Claimed) && c.Time.Before(before) {
				found = append(found, c)
			}
		}
		if err != nil {
			yield(es.Commit{}, err)
			return
		}
		slices.SortFunc(found, func(a, b es.Commit) int { return a.Time.Compare(b.Time) })
		for _, c := range found {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func TestStore(t *testing.T) {
	estest.TestStore(t, func(*testing.T) es.Store { return &store{db: new(table)} })
}

// tally is the smallest aggregate: it counts.
type added struct{ By string }

var tally = es.Aggregate[int, added]{
	Category: "tally",
	Fold:     func(n int, _ added) int { return n + 1 },
	Events:   es.JSON(map[string]added{"tally.added": {}}),
}

// patient never runs out of time, and takes nobody for alive: only calls count.
func patient(s es.Store, p es.Publisher) *es.Journal {
	return &es.Journal{Store: s, Publisher: p, Timeout: time.Hour, Grace: -time.Hour}
}

func writer(name string) estest.Process {
	return estest.Process{Name: name, Run: func(ctx context.Context, s es.Store, p es.Publisher) error {
		_, err := es.Execute(ctx, patient(s, p), &tally, "1", func(int) ([]added, error) {
			return []added{{By: name}}, nil
		})
		return err
	}}
}

// taker is a broker that takes everything.
type taker struct{}

func (taker) Publish(context.Context, es.Commit) error { return nil }

// whole says what is wrong once everything has come to an end.
func whole(ctx context.Context, end *estest.End) error {
	for range 2 { // what crashed is finished; then what is still on its way lands
		if _, err := patient(end.Store, end.Publisher).Relay(ctx); err != nil {
			return err
		}
		var stored, published []string
		for c, err := range end.Store.Load(ctx, es.StreamID{Category: "tally", ID: "1"}, 0) {
			if err != nil {
				return err
			}
			if c.Status != es.Revoked {
				stored = append(stored, c.ID)
			}
		}
		for _, c := range end.Published() {
			if !slices.Contains(published, c.ID) {
				published = append(published, c.ID)
			}
		}
		if !slices.Equal(stored, published) {
			return fmt.Errorf("stored %v, published %v", stored, published)
		}
		least, most := 0, 0
		for _, told := range end.Told {
			_, unknown := errors.AsType[*es.UnknownError](told.Err)
			switch {
			case told.Crashed || unknown:
				most++
			case told.Err == nil:
				least, most = least+1, most+1
			}
		}
		if n := len(stored); n < least || n > most {
			return fmt.Errorf("stored %d commits; by what the callers were told there are %d to %d", n, least, most)
		}
		end.Land(ctx)
	}
	return nil
}

func TestEveryInterleaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		explorer := estest.Explorer{
			New:       func() (es.Store, es.Publisher) { return &store{db: new(table)}, taker{} },
			Processes: []estest.Process{writer("a"), writer("b")},
			Faults:    1,
			Check:     whole,
		}
		explored, err := explorer.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", explored)
	})
}

// broker stands for yours: a queue for each stream, and one subscriber.
type broker struct {
	ctx     func() context.Context
	deliver func(context.Context, es.Commit) error

	mu     sync.Mutex
	queues map[es.StreamID][]es.Commit
	wg     sync.WaitGroup
}

func (b *broker) Publish(ctx context.Context, c es.Commit) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return fmt.Errorf("%w: %w", es.ErrRefused, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queues == nil {
		b.queues = make(map[es.StreamID][]es.Commit)
	}
	b.queues[c.Stream] = append(b.queues[c.Stream], c.Clone())
	if len(b.queues[c.Stream]) == 1 {
		b.wg.Go(func() { b.drain(c.Stream) })
	}
	return nil
}

// drain delivers what is queued for a stream, in order, each until it is taken.
func (b *broker) drain(stream es.StreamID) {
	for b.ctx().Err() == nil {
		b.mu.Lock()
		c := b.queues[stream][0].Clone()
		b.mu.Unlock()
		if b.deliver(b.ctx(), c) != nil {
			continue
		}
		b.mu.Lock()
		b.queues[stream] = b.queues[stream][1:]
		empty := len(b.queues[stream]) == 0
		b.mu.Unlock()
		if empty {
			return
		}
	}
}

func TestPublisher(t *testing.T) {
	estest.TestPublisher(t, func(t *testing.T, deliver func(context.Context, es.Commit) error) es.Publisher {
		b := &broker{ctx: t.Context, deliver: deliver}
		t.Cleanup(b.wg.Wait)
		return b
	})
}

// views is an es.Views on a table.
type views[V any] struct{ db *table }

func (v *views[V]) Get(ctx context.Context, stream es.StreamID) (view es.View[V], err error) {
	row, err := v.db.get(ctx, stream, 0)
	if err == nil && row != "" {
		err = json.Unmarshal([]byte(row), &view)
	}
	return view, err
}

func (v *views[V]) Put(ctx context.Context, stream es.StreamID, view es.View[V], old uint64) error {
	if view.Version == 0 {
		return fmt.Errorf("%w: a view of version 0", es.ErrInvalid)
	}
	row, err := v.db.get(ctx, stream, 0)
	if err != nil {
		return err
	}
	var now es.View[V]
	if row != "" {
		if err := json.Unmarshal([]byte(row), &now); err != nil {
			return err
		}
	}
	newRow, err := json.Marshal(view)
	if err != nil {
		return err
	}
	if now.Version == old {
		var done bool
		if done, err = v.db.swap(ctx, stream, 0, row, string(newRow)); done || err != nil {
			return err
		}
	}
	return fmt.Errorf("view of %s: %w: it is not at version %d", stream, es.ErrConflict, old)
}

func TestViews(t *testing.T) {
	estest.TestViews(t, func(*testing.T) es.Views[estest.Document] { return &views[estest.Document]{db: new(table)} })
}

// What adapters.md shows is in this file, and every adapter of this file is shown.
func TestAdaptersAreQuoted(t *testing.T) {
	page, err := os.ReadFile("adapters.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("adapters_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var quoted strings.Builder
	for _, block := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		if !strings.Contains(string(code), block[1]) {
			t.Errorf("adapters.md shows what adapters_test.go has not:\n%s", block[1])
		}
		quoted.WriteString(block[1])
	}
	declared := regexp.MustCompile(`(?m)^func .*$`).FindAllString(string(code), -1)
	for _, line := range declared[:len(declared)-1] { // this test is last
		if !strings.Contains(quoted.String(), line) {
			t.Errorf("adapters.md does not show\n%s", line)
		}
	}
}
