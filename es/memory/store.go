package memory

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leftfold/leftfold/es"
)

// Store is an [es.Store] and an [es.Lister]. The zero value is an empty store.
//
// Versions are contiguous: an append beyond the end of a stream, or behind a commit
// that is not settled, is a conflict. An append that the store cannot take by form
// wraps [es.ErrRefused] and what [es.Commit.Validate] says; so does the revoke of an
// empty slot, without the latter.
//
// A sequence shows its stream as it was when the sequence was started. Streams do
// not wait for each other, and no lock is held while a caller's code runs, so a
// loop over a sequence may call the store.
type Store struct {
	mu      sync.RWMutex                  // guards the maps, and nothing in the streams
	streams map[string]map[string]*stream // by category and ID

	// unsettled has every pending and claimed commit, so that Pending need not
	// visit all streams. Its lock is taken under that of a stream, never the
	// other way round.
	unsettled struct {
		sync.Mutex
		tips map[es.StreamID]*es.Commit
	}
}

var (
	_ es.Store  = (*Store)(nil)
	_ es.Lister = (*Store)(nil)
)

// stream is a row of slots. What it points to is never changed, only replaced or
// added to, so readers need the lock for a moment and no longer.
type stream struct {
	mu      sync.Mutex
	settled history
	room    strings.Builder // of the history's last chunk
	tip     *es.Commit      // the slot behind them: pending, claimed or a marker; nil if unused
}

// slot returns what is in a slot, nil if it is unused.
func (s *stream) slot(id es.StreamID, version uint64) *es.Commit {
	if s.tip != nil && s.tip.Version == version {
		return s.tip
	}
	if version == 0 || version >= s.settled.next {
		return nil
	}
	r := reader{history: s.settled, stream: id}
	r.from(version - 1)
	if r.version != version {
		return nil
	}
	c := new(es.Commit)
	r.commit(c)
	return c
}

// read returns the slots as they are now.
func (s *stream) read() (history, *es.Commit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settled, s.tip
}

// stream returns the stream, nil if nothing was ever written to it.
func (s *Store) stream(id es.StreamID) *stream {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.streams[id.Category][id.ID]
}

// open returns the stream that a commit of the version is appended to, and makes it if need be.
func (s *Store) open(id es.StreamID, version uint64) *stream {
	if version > 1 { // or else it will be new
		if st := s.stream(id); st != nil {
			return st
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := s.streams[id.Category]
	if ids == nil {
		if s.streams == nil {
			s.streams = make(map[string]map[string]*stream)
		}
		ids = make(map[string]*stream)
		s.streams[id.Category] = ids
	}
	st := ids[id.ID]
	if st == nil {
		st = new(stream)
		ids[id.ID] = st
	}
	return st
}

// put stores a commit in the slot behind the settled ones. The stream is locked.
func (s *Store) put(st *stream, c *es.Commit) {
	if st.tip != nil {
		s.unsettled.Lock()
		delete(s.unsettled.tips, c.Stream)
		s.unsettled.Unlock()
	}
	if c.Status == es.Settled {
		st.settled.add(&st.room, c)
		st.tip = nil
		return
	}
	tip := *c
	st.tip = &tip
	if c.Status == es.Revoked {
		return
	}
	s.unsettled.Lock()
	defer s.unsettled.Unlock()
	if s.unsettled.tips == nil {
		s.unsettled.tips = make(map[es.StreamID]*es.Commit)
	}
	s.unsettled.tips[c.Stream] = &tip
}

// Append is that of [es.Store].
func (s *Store) Append(ctx context.Context, c es.Commit) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("append %s@%d: %w", c.Stream, c.Version, err)
	}
	if err := c.Validate(); err != nil {
		return fmt.Errorf("append: %w: %w", es.ErrRefused, err)
	}
	if c.Status != es.Pending && c.Status != es.Settled {
		return fmt.Errorf("append %s@%d: %w: %w: a new commit is pending or settled, not %v", c.Stream, c.Version, es.ErrRefused, es.ErrInvalid, c.Status)
	}
	if c.Status == es.Pending {
		c = taken(c) // it is kept as it is
	}
	st := s.open(c.Stream, c.Version)
	st.mu.Lock()
	defer st.mu.Unlock()
	slot, next := st.slot(c.Stream, c.Version), st.settled.behind()
	switch {
	case slot != nil && slot.ID == c.ID && slot.Status != es.Revoked:
		return nil // it was stored before
	case c.Version != next:
		return fmt.Errorf("append %s@%d: %w: the next slot is %d", c.Stream, c.Version, es.ErrConflict, next)
	case slot != nil && slot.Status != es.Revoked:
		return conflict("append", c, slot)
	case slot != nil && slot.ID != c.Replaces, slot == nil && c.Replaces != "":
		return conflict("append", c, slot)
	}
	s.put(st, &c)
	return nil
}

// Claim is that of [es.Store].
func (s *Store) Claim(ctx context.Context, c es.Commit) error {
	return s.write(ctx, "claim", c, func(st *stream, slot *es.Commit) error {
		switch {
		case slot == nil || slot.ID != c.ID || slot.Status == es.Settled || slot.Status == es.Revoked:
			return conflict("claim", c, slot)
		case slot.Status == es.Pending:
			claimed := *slot
			claimed.Status = es.Claimed
			s.put(st, &claimed)
		}
		return nil
	})
}

// Settle is that of [es.Store].
func (s *Store) Settle(ctx context.Context, c es.Commit) error {
	return s.write(ctx, "settle", c, func(st *stream, slot *es.Commit) error {
		switch {
		case slot == nil || slot.ID != c.ID || slot.Status == es.Revoked:
			return conflict("settle", c, slot)
		case slot.Status != es.Settled:
			settled := *slot
			settled.Status = es.Settled
			s.put(st, &settled)
		}
		return nil
	})
}

// Revoke is that of [es.Store].
func (s *Store) Revoke(ctx context.Context, c es.Commit) error {
	return s.write(ctx, "revoke", c, func(st *stream, slot *es.Commit) error {
		switch {
		case slot == nil:
			return fmt.Errorf("revoke %s@%d: %w: the slot is empty", c.Stream, c.Version, es.ErrRefused)
		case slot.ID != c.ID || slot.Status == es.Revoked:
			return nil // it was revoked before
		case slot.Status != es.Pending:
			return conflict("revoke", c, slot)
		}
		s.put(st, &es.Commit{Stream: slot.Stream, Version: slot.Version, ID: slot.ID, Status: es.Revoked})
		return nil
	})
}

// write changes a commit that is there, under the lock of its stream.
func (s *Store) write(ctx context.Context, op string, c es.Commit, change func(st *stream, slot *es.Commit) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s@%d: %w", op, c.Stream, c.Version, err)
	}
	st := s.stream(c.Stream)
	if st == nil {
		return change(nil, nil)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return change(st, st.slot(c.Stream, c.Version))
}

// conflict says what is in the slot that a write found in the wrong state.
func conflict(op string, c es.Commit, slot *es.Commit) error {
	if slot == nil {
		return fmt.Errorf("%s %s@%d: %w: the slot is unused", op, c.Stream, c.Version, es.ErrConflict)
	}
	return fmt.Errorf("%s %s@%d: %w: the slot holds commit %s, %v", op, c.Stream, c.Version, es.ErrConflict, slot.ID, slot.Status)
}

// Load is that of [es.Store].
func (s *Store) Load(ctx context.Context, id es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	return s.sequence(ctx, id, after, false)
}

// LoadBack is that of [es.Store]. The hint makes no difference.
func (s *Store) LoadBack(ctx context.Context, id es.StreamID, _ int) iter.Seq2[es.Commit, error] {
	return s.sequence(ctx, id, 0, true)
}

// sequence gives out copies of the slots behind a version, for as long as the context lasts.
func (s *Store) sequence(ctx context.Context, id es.StreamID, after uint64, back bool) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(es.Commit{}, fmt.Errorf("load %s: %w", id, err))
			return
		}
		st := s.stream(id)
		if st == nil {
			return
		}
		settled, tip := st.read()
		r := reader{history: settled, stream: id}
		ended := func() bool {
			err := ctx.Err()
			if err != nil {
				yield(es.Commit{}, fmt.Errorf("load %s: %w", id, err))
			}
			return err != nil
		}
		var c es.Commit
		if back {
			if tip != nil && (ended() || !yield(tip.Clone(), nil)) {
				return
			}
			for r.end(); r.back(); {
				if r.commit(&c); ended() || !yield(c, nil) {
					return
				}
			}
			return
		}
		for r.from(after); r.forward(&c); {
			if ended() || !yield(c, nil) {
				return
			}
		}
		if tip != nil && tip.Version > after && !ended() {
			yield(tip.Clone(), nil)
		}
	}
}

// Pending is that of [es.Store]. Its cost is that of the unsettled commits alone.
func (s *Store) Pending(ctx context.Context, before time.Time) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(es.Commit{}, fmt.Errorf("pending: %w", err))
			return
		}
		var found []*es.Commit
		s.unsettled.Lock()
		for _, c := range s.unsettled.tips {
			if c.Time.Before(before) {
				found = append(found, c)
			}
		}
		s.unsettled.Unlock()
		slices.SortFunc(found, func(a, b *es.Commit) int {
			return cmp.Or(a.Time.Compare(b.Time), compare(a.Stream, b.Stream))
		})
		for _, c := range found {
			if err := ctx.Err(); err != nil {
				yield(es.Commit{}, fmt.Errorf("pending: %w", err))
				return
			}
			if !yield(c.Clone(), nil) {
				return
			}
		}
	}
}

// Streams is that of [es.Lister]. The order is by category and then by ID, in bytes.
// A stream that has only a marker is left out.
func (s *Store) Streams(ctx context.Context, shard, shards int, after es.StreamID) iter.Seq2[es.StreamID, error] {
	return func(yield func(es.StreamID, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(es.StreamID{}, fmt.Errorf("streams: %w", err))
			return
		}
		if shard < 0 || shard >= shards {
			yield(es.StreamID{}, fmt.Errorf("streams: %w: shard %d of %d", es.ErrInvalid, shard, shards))
			return
		}
		for _, id := range s.list(shard, shards, after) {
			if settled, tip := s.stream(id).read(); settled.next == 0 && (tip == nil || tip.Status == es.Revoked) {
				continue
			}
			if err := ctx.Err(); err != nil {
				yield(es.StreamID{}, fmt.Errorf("streams: %w", err))
				return
			}
			if !yield(id, nil) {
				return
			}
		}
	}
}

// list returns all streams of a shard behind the given one, in order.
func (s *Store) list(shard, shards int, after es.StreamID) (found []es.StreamID) {
	s.mu.RLock()
	for category, ids := range s.streams {
		for id := range ids {
			stream := es.StreamID{Category: category, ID: id}
			if compare(stream, after) > 0 && shardOf(stream, shards) == shard {
				found = append(found, stream)
			}
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(found, compare)
	return found
}

func compare(a, b es.StreamID) int {
	return cmp.Or(cmp.Compare(a.Category, b.Category), cmp.Compare(a.ID, b.ID))
}

// shardOf is the same in every process, as the shards of a database are.
func shardOf(id es.StreamID, shards int) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id.String()))
	return int(h.Sum64() % uint64(shards))
}
