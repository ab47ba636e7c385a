package estest

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

// brokenStore is a store in which some methods are replaced.
type brokenStore struct {
	*memory.Store
	append, claim, settle, revoke func(context.Context, es.Commit) error
	load                          func(context.Context, es.StreamID, uint64) iter.Seq2[es.Commit, error]
	loadBack                      func(context.Context, es.StreamID, int) iter.Seq2[es.Commit, error]
	pending                       func(context.Context, time.Time) iter.Seq2[es.Commit, error]
	streams                       func(context.Context, int, int, es.StreamID) iter.Seq2[es.StreamID, error]
	units                         func(es.Commit) int
}

func breakStore(change func(b *brokenStore, s *memory.Store)) func(*testing.T) es.Store {
	return func(*testing.T) es.Store {
		s := new(memory.Store)
		b := &brokenStore{
			Store: s, append: s.Append, claim: s.Claim, settle: s.Settle, revoke: s.Revoke,
			load: s.Load, loadBack: s.LoadBack, pending: s.Pending, streams: s.Streams,
			units: func(c es.Commit) int { return 1 + len(c.Events[0].Data)/1024 },
		}
		change(b, s)
		return b
	}
}

func (b *brokenStore) Append(ctx context.Context, c es.Commit) error { return b.append(ctx, c) }
func (b *brokenStore) Claim(ctx context.Context, c es.Commit) error  { return b.claim(ctx, c) }
func (b *brokenStore) Settle(ctx context.Context, c es.Commit) error { return b.settle(ctx, c) }
func (b *brokenStore) Revoke(ctx context.Context, c es.Commit) error { return b.revoke(ctx, c) }
func (b *brokenStore) Load(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	return b.load(ctx, stream, after)
}
func (b *brokenStore) LoadBack(ctx context.Context, stream es.StreamID, hint int) iter.Seq2[es.Commit, error] {
	return b.loadBack(ctx, stream, hint)
}
func (b *brokenStore) Pending(ctx context.Context, before time.Time) iter.Seq2[es.Commit, error] {
	return b.pending(ctx, before)
}
func (b *brokenStore) Streams(ctx context.Context, shard, shards int, after es.StreamID) iter.Seq2[es.StreamID, error] {
	return b.streams(ctx, shard, shards, after)
}
func (b *brokenStore) Units(c es.Commit) int { return b.units(c) }

// reads replaces what the reads of streams give out.
func (b *brokenStore) reads(s *memory.Store, each func(es.Commit) (es.Commit, bool)) {
	b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
		return mapped(s.Load(ctx, stream, after), each)
	}
	b.loadBack = func(ctx context.Context, stream es.StreamID, hint int) iter.Seq2[es.Commit, error] {
		return mapped(s.LoadBack(ctx, stream, hint), each)
	}
}

// mapped changes the commits of a sequence, or leaves them out.
func mapped(commits iter.Seq2[es.Commit, error], each func(es.Commit) (es.Commit, bool)) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		for c, err := range commits {
			keep := true
			if err == nil {
				c, keep = each(c)
			}
			if keep && !yield(c, err) {
				return
			}
		}
	}
}

func yieldAll(commits []es.Commit, err error) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		for _, c := range commits {
			if !yield(c, nil) {
				return
			}
		}
		if err != nil {
			yield(es.Commit{}, err)
		}
	}
}

// slot returns what the store has in the slot of a commit.
func slot(s *memory.Store, c es.Commit) (es.Commit, bool) {
	for found := range s.Load(context.Background(), c.Stream, c.Version-1) {
		return found, found.Version == c.Version
	}
	return es.Commit{}, false
}

type nothingStore struct{}

func (nothingStore) Append(context.Context, es.Commit) error { return nil }
func (nothingStore) Claim(context.Context, es.Commit) error  { return nil }
func (nothingStore) Settle(context.Context, es.Commit) error { return nil }
func (nothingStore) Revoke(context.Context, es.Commit) error { return nil }
func (nothingStore) Load(context.Context, es.StreamID, uint64) iter.Seq2[es.Commit, error] {
	return yieldAll(nil, nil)
}
func (nothingStore) LoadBack(context.Context, es.StreamID, int) iter.Seq2[es.Commit, error] {
	return yieldAll(nil, nil)
}
func (nothingStore) Pending(context.Context, time.Time) iter.Seq2[es.Commit, error] {
	return yieldAll(nil, nil)
}
func (nothingStore) Streams(context.Context, int, int, es.StreamID) iter.Seq2[es.StreamID, error] {
	return func(func(es.StreamID, error) bool) {}
}

func (nothingStore) Units(es.Commit) int { return 0 }

func TestStoreSuiteFailsNothing(t *testing.T) {
	allFail(t, storeRows(), func(*testing.T) es.Store { return nothingStore{} })
}

func TestStoreSuiteKills(t *testing.T) {
	mustDie(t, storeRows(), storeMutants())
}

func storeMutants() []mutant[es.Store] {
	return []mutant[es.Store]{
		{"two creates both succeed, and one is gone", "two creates of one stream cannot both succeed", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				err := s.Append(ctx, c)
				if c.Version == 1 && errors.Is(err, es.ErrConflict) {
					return nil
				}
				return err
			}
		})},
		{"an append beyond the end is stored, and a gap stays", "an append beyond the end leaves no silent gap", breakStore(func(b *brokenStore, s *memory.Store) {
			var beyond memo
			b.append = func(ctx context.Context, c es.Commit) error {
				err := s.Append(ctx, c)
				if _, taken := slot(s, c); errors.Is(err, es.ErrConflict) && !taken && c.Replaces == "" {
					beyond.put(es.Commit{ID: c.Stream.String()})
					return nil
				}
				return err
			}
			b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
				commits, err := all(s.Load(ctx, stream, after))
				if _, ok := beyond.get(stream.String()); ok {
					commits = append(commits, newCommit(stream, 100, 1))
				}
				return yieldAll(commits, err)
			}
		})},
		{"an append beyond the end says that it was stored, and was not", "an append beyond the end leaves no silent gap", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				err := s.Append(ctx, c)
				if _, taken := slot(s, c); errors.Is(err, es.ErrConflict) && !taken && c.Replaces == "" {
					return nil
				}
				return err
			}
		})},
		{"the history stops at the first megabyte", "load yields every commit of a long stream", breakStore(func(b *brokenStore, s *memory.Store) {
			b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
				commits, err := all(s.Load(ctx, stream, after))
				bytes := 0
				for i, c := range commits {
					for _, e := range c.Events {
						bytes += len(e.Data)
					}
					if bytes > 1<<20 {
						return yieldAll(commits[:i], err)
					}
				}
				return yieldAll(commits, err)
			}
		})},
		{"the history stops after 1000 commits", "load yields every commit of a long stream", breakStore(func(b *brokenStore, s *memory.Store) {
			b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
				commits, err := all(s.Load(ctx, stream, after))
				return yieldAll(commits[:min(len(commits), 1000)], err)
			}
		})},
		{"the loop over the pages never advances", "load yields every commit of a long stream", breakStore(func(b *brokenStore, s *memory.Store) {
			b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
				commits, err := all(s.Load(ctx, stream, after))
				if len(commits) < 1000 {
					return yieldAll(commits, err)
				}
				return func(yield func(es.Commit, error) bool) {
					for {
						for _, c := range commits[:1000] {
							if !yield(c, nil) {
								return
							}
						}
					}
				}
			}
		})},
		{"the hint is a limit", "load back is load, reversed, whatever the hint", breakStore(func(b *brokenStore, s *memory.Store) {
			b.loadBack = func(ctx context.Context, stream es.StreamID, hint int) iter.Seq2[es.Commit, error] {
				commits, err := all(s.LoadBack(ctx, stream, hint))
				if hint > 0 {
					commits = commits[:min(len(commits), hint)]
				}
				return yieldAll(commits, err)
			}
		})},
		{"the hint is a limit on each page, and the last page is cut", "load back is load, reversed, whatever the hint", breakStore(func(b *brokenStore, s *memory.Store) {
			b.loadBack = func(ctx context.Context, stream es.StreamID, hint int) iter.Seq2[es.Commit, error] {
				commits, err := all(s.LoadBack(ctx, stream, hint))
				if hint > 0 && len(commits) > hint {
					commits = commits[:len(commits)-len(commits)%hint]
				}
				return yieldAll(commits, err)
			}
		})},
		{"a load starts one version too early", "load after a version starts at the right commit", breakStore(func(b *brokenStore, s *memory.Store) {
			b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
				return s.Load(ctx, stream, max(after, 1)-1)
			}
		})},
		{"a load starts one version too late", "load after a version starts at the right commit", breakStore(func(b *brokenStore, s *memory.Store) {
			b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
				if after > 0 {
					after++
				}
				return s.Load(ctx, stream, after)
			}
		})},
		{"a load has empty elements in front", "load after a version starts at the right commit", breakStore(func(b *brokenStore, s *memory.Store) {
			b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
				commits, err := all(s.Load(ctx, stream, after))
				if len(commits) > 0 {
					commits = append(make([]es.Commit, after), commits...)
				}
				return yieldAll(commits, err)
			}
		})},
		{"reads come from a replica that lags behind", "a reader sees the write that was acknowledged before", breakStore(func(b *brokenStore, s *memory.Store) {
			var fresh memo
			b.append = func(ctx context.Context, c es.Commit) error {
				fresh.put(es.Commit{ID: c.Stream.String()})
				return s.Append(ctx, c)
			}
			b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
				commits, err := all(s.Load(ctx, stream, after))
				if fresh.take(stream.String()) && len(commits) > 0 {
					commits = commits[:len(commits)-1]
				}
				return yieldAll(commits, err)
			}
		})},
		{"a failed request is reported as a conflict", "a write in a context that has ended is an error and has no effect", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				if s.Append(ctx, c) != nil {
					return es.ErrConflict
				}
				return nil
			}
		})},
		{"a malformed commit is reported as a conflict", "an invalid commit is refused and stores nothing", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				if c.Validate() != nil {
					return es.ErrConflict
				}
				return s.Append(ctx, c)
			}
		})},
		{"a commit that is too large is reported as a conflict", "a commit that is too large is refused, and no conflict", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				for _, e := range c.Events {
					if len(e.Data) > 400_000 {
						return es.ErrConflict
					}
				}
				return s.Append(ctx, c)
			}
		})},
		{"a commit that is too large costs units", "units are 0 for a commit that is too large, and for no other", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				if len(c.Events[0].Data) > 400_000 {
					return es.ErrRefused
				}
				return s.Append(ctx, c)
			}
		})},
		{"a large commit costs no units, and is stored", "units are 0 for a commit that is too large, and for no other", breakStore(func(b *brokenStore, _ *memory.Store) {
			b.units = func(c es.Commit) int { return max(0, 1+(100_000-len(c.Events[0].Data))/1024) }
		})},
		{"a large commit costs less than a small one", "units are 0 for a commit that is too large, and for no other", breakStore(func(b *brokenStore, _ *memory.Store) {
			b.units = func(c es.Commit) int { return 1 + 1<<20/(1+len(c.Events[0].Data)) }
		})},
		{"a commit that is too large is cut", "a commit that is too large is refused, and no conflict", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				c = c.Clone()
				for i, e := range c.Events {
					c.Events[i].Data = e.Data[:min(len(e.Data), 400_000)]
				}
				return s.Append(ctx, c)
			}
		})},
		{"an append meets itself and calls it a conflict", "an append that is sent again recognises itself", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				if _, taken := slot(s, c); taken && c.Replaces == "" {
					return es.ErrConflict
				}
				return s.Append(ctx, c)
			}
		})},
		{"an append recognises itself only while it is pending", "an append that is sent again recognises itself", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				if found, taken := slot(s, c); taken && found.ID == c.ID && found.Status != c.Status {
					return es.ErrConflict
				}
				return s.Append(ctx, c)
			}
		})},
		{"streams are keyed by ID alone", "streams do not share slots, whatever their names", keyedBy(func(id es.StreamID) es.StreamID {
			return es.StreamID{Category: "all", ID: id.ID}
		})},
		{"category and ID are joined by a hash sign", "streams do not share slots, whatever their names", keyedBy(func(id es.StreamID) es.StreamID {
			return es.StreamID{Category: "all", ID: (id.Category + "#" + id.ID)[:min(len(id.Category+id.ID)+1, es.MaxID)]}
		})},
		{"the events of a commit appear one after the other", "all events of a commit are seen, or none", breakStore(func(b *brokenStore, s *memory.Store) {
			var half memo
			b.append = func(ctx context.Context, c es.Commit) error {
				half.put(c)
				return s.Append(ctx, c)
			}
			b.reads(s, func(c es.Commit) (es.Commit, bool) {
				if half.take(c.ID) && c.Version > 1 {
					c.Events = c.Events[:len(c.Events)/2]
				}
				return c, true
			})
		})},
		{"events above 100 are not stored", "a commit of the most events is stored whole, or refused whole", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				c.Events = c.Events[:min(len(c.Events), 100)]
				return s.Append(ctx, c)
			}
		})},
		{"events above 100 are not stored, and that is an error", "a commit of the most events is stored whole, or refused whole", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				if len(c.Events) <= 100 {
					return s.Append(ctx, c)
				}
				c.Events = c.Events[:100]
				return errors.Join(es.ErrRefused, s.Append(ctx, c))
			}
		})},
		{"what was taken in is kept by reference", "what is taken in does not alias", breakStore(func(b *brokenStore, s *memory.Store) {
			var kept memo
			b.append = func(ctx context.Context, c es.Commit) error {
				kept.put(c)
				return s.Append(ctx, c)
			}
			b.reads(s, func(c es.Commit) (es.Commit, bool) {
				if k, ok := kept.get(c.ID); ok {
					k.Status = c.Status
					c = k.Clone()
				}
				return c, true
			})
		})},
		{"what is given out is the store's own", "what is given out does not alias", breakStore(func(b *brokenStore, s *memory.Store) {
			var cache memo
			b.reads(s, func(c es.Commit) (es.Commit, bool) {
				k, ok := cache.get(c.ID)
				if !ok {
					k = c
					cache.put(k)
				}
				k.Status = c.Status
				return k, true
			})
		})},
		{"times are cut to seconds", "times keep nanoseconds and come back in UTC", breakStore(func(b *brokenStore, s *memory.Store) {
			b.reads(s, func(c es.Commit) (es.Commit, bool) {
				c.Time = c.Time.Truncate(time.Second)
				return c, true
			})
		})},
		{"times are cut to microseconds", "times keep nanoseconds and come back in UTC", breakStore(func(b *brokenStore, s *memory.Store) {
			b.reads(s, func(c es.Commit) (es.Commit, bool) {
				for i := range c.Done {
					c.Done[i].Time = c.Done[i].Time.Truncate(time.Microsecond)
				}
				return c, true
			})
		})},
		{"times come back in local time", "times keep nanoseconds and come back in UTC", breakStore(func(b *brokenStore, s *memory.Store) {
			b.reads(s, func(c es.Commit) (es.Commit, bool) {
				c.Time = c.Time.In(time.FixedZone("here", 3600))
				return c, true
			})
		})},
		{"commits are keyed by their time", "two commits in one nanosecond are two commits", breakStore(func(b *brokenStore, s *memory.Store) {
			b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
				commits, err := all(s.Load(ctx, stream, after))
				return yieldAll(slices.CompactFunc(commits, func(a, b es.Commit) bool { return a.Time.Equal(b.Time) }), err)
			}
		})},
		{"metadata is lost when the status changes", "claim and settle change the status and nothing else", breakStore(func(b *brokenStore, s *memory.Store) {
			b.reads(s, func(c es.Commit) (es.Commit, bool) {
				if c.Status == es.Claimed {
					c.Meta = nil
				}
				return c, true
			})
		})},
		{"data that is not text is mangled", "every field comes back", breakStore(func(b *brokenStore, s *memory.Store) {
			b.reads(s, func(c es.Commit) (es.Commit, bool) {
				for i := range c.Events {
					c.Events[i].Data = string([]rune(c.Events[i].Data))
				}
				return c, true
			})
		})},
		{"a revoke deletes the commit", "a revoke leaves the ID and nothing else", deleting()},
		{"a revoke deletes the commit, and a delayed append raises it", "an append that is sent again after its revoke is a conflict", deleting()},
		{"a marker does not stop the append that it is the marker of", "a delayed append cannot raise a revoked commit", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				if found, taken := slot(s, c); taken && found.Status == es.Revoked && found.ID == c.ID {
					c.Replaces = c.ID
				}
				return s.Append(ctx, c)
			}
		})},
		{"a marker stops nobody", "a revoked slot is taken only by a commit that replaces exactly that marker", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				if found, taken := slot(s, c); taken && found.Status == es.Revoked && found.ID != c.ID {
					c.Replaces = found.ID
				}
				return s.Append(ctx, c)
			}
		})},
		{"a marker keeps the events", "a revoke leaves the ID and nothing else", breakStore(func(b *brokenStore, s *memory.Store) {
			var kept memo
			b.append = func(ctx context.Context, c es.Commit) error {
				kept.put(c.Clone())
				return s.Append(ctx, c)
			}
			b.reads(s, func(c es.Commit) (es.Commit, bool) {
				if k, ok := kept.get(c.ID); ok && c.Status == es.Revoked {
					c.Events = k.Clone().Events
				}
				return c, true
			})
		})},
		{"a revoke takes back the last event alone", "a revoke leaves the ID and nothing else", breakStore(func(b *brokenStore, s *memory.Store) {
			var kept memo
			b.append = func(ctx context.Context, c es.Commit) error {
				kept.put(c.Clone())
				return s.Append(ctx, c)
			}
			b.reads(s, func(c es.Commit) (es.Commit, bool) {
				if k, ok := kept.get(c.ID); ok && c.Status == es.Revoked && len(k.Events) > 1 {
					c = k.Clone()
					c.Events = c.Events[:len(c.Events)-1]
				}
				return c, true
			})
		})},
		{"a commit may replace what was never there", "a commit cannot replace what is not a marker", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				if _, taken := slot(s, c); !taken {
					c.Replaces = ""
				}
				return s.Append(ctx, c)
			}
		})},
		{"a claimed commit can be revoked", "claim takes the right to revoke away", revokingAnything()},
		{"a settled commit can be revoked", "a settled commit cannot be revoked", revokingAnything()},
		{"a revoke and a claim that run at once both win", "of a revoke and a claim at once exactly one wins", revokingAnything()},
		{"a revoke of an empty slot succeeds", "a revoke of an empty slot is an error, and no conflict", breakStore(func(b *brokenStore, s *memory.Store) {
			b.revoke = func(ctx context.Context, c es.Commit) error {
				if err := s.Revoke(ctx, c); !errors.Is(err, es.ErrRefused) {
					return err
				}
				return nil
			}
		})},
		{"a revoke of an empty slot is a conflict", "a revoke of an empty slot is an error, and no conflict", breakStore(func(b *brokenStore, s *memory.Store) {
			b.revoke = func(ctx context.Context, c es.Commit) error {
				if err := s.Revoke(ctx, c); !errors.Is(err, es.ErrRefused) {
					return err
				}
				return es.ErrConflict
			}
		})},
		{"a revoke does not recognise itself", "a revoke that comes again is nil", breakStore(func(b *brokenStore, s *memory.Store) {
			b.revoke = func(ctx context.Context, c es.Commit) error {
				if found, _ := slot(s, c); found.Status == es.Revoked {
					return es.ErrConflict
				}
				return s.Revoke(ctx, c)
			}
		})},
		{"a revoke takes the commit of another for its own that was settled", "a revoke that comes again after the slot was taken by another is nil", breakStore(func(b *brokenStore, s *memory.Store) {
			b.revoke = func(ctx context.Context, c es.Commit) error {
				if found, taken := slot(s, c); taken && found.ID != c.ID {
					return es.ErrConflict
				}
				return s.Revoke(ctx, c)
			}
		})},
		{"a revoke takes back whatever is in the slot", "a revoke that comes again after the slot was taken by another is nil", breakStore(func(b *brokenStore, s *memory.Store) {
			b.revoke = func(ctx context.Context, c es.Commit) error {
				if found, taken := slot(s, c); taken && found.Status == es.Pending {
					c = found
				}
				return s.Revoke(ctx, c)
			}
		})},
		{"a claim of a settled commit succeeds", "a claim of what is not pending is a conflict", breakStore(func(b *brokenStore, s *memory.Store) {
			b.claim = func(ctx context.Context, c es.Commit) error {
				if found, taken := slot(s, c); taken && found.Status == es.Settled {
					return nil
				}
				return s.Claim(ctx, c)
			}
		})},
		{"a claim does not recognise itself", "a claimed commit that is claimed again stays as it is", breakStore(func(b *brokenStore, s *memory.Store) {
			b.claim = func(ctx context.Context, c es.Commit) error {
				if found, _ := slot(s, c); found.Status == es.Claimed {
					return es.ErrConflict
				}
				return s.Claim(ctx, c)
			}
		})},
		{"a settle looks at the slot and not at the ID", "a settle of what is revoked or not there is a conflict", breakStore(func(b *brokenStore, s *memory.Store) {
			b.settle = func(ctx context.Context, c es.Commit) error {
				found, _ := slot(s, c)
				c.ID = found.ID
				return s.Settle(ctx, c)
			}
		})},
		{"a settle does not recognise itself", "a settled commit that is settled again stays as it is", breakStore(func(b *brokenStore, s *memory.Store) {
			b.settle = func(ctx context.Context, c es.Commit) error {
				if found, _ := slot(s, c); found.Status == es.Settled {
					return es.ErrConflict
				}
				return s.Settle(ctx, c)
			}
		})},
		{"a settle of nothing succeeds", "a settle of what is revoked or not there is a conflict", breakStore(func(b *brokenStore, s *memory.Store) {
			b.settle = func(ctx context.Context, c es.Commit) error {
				if _, taken := slot(s, c); !taken {
					return nil
				}
				return s.Settle(ctx, c)
			}
		})},
		{"a conflict is retried until it is none", "16 writers on one stream lose nothing", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				if err := s.Append(ctx, c); !errors.Is(err, es.ErrConflict) {
					return err
				}
				return nil // the first writer's is as good
			}
		})},
		{"every commit is appended as settled", "an append keeps the status that it was given", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error { return s.Append(ctx, settled(c)) }
		})},
		{"contexts are not looked at", "a write in a context that has ended is an error and has no effect", breakStore(func(b *brokenStore, s *memory.Store) {
			b.settle = func(ctx context.Context, c es.Commit) error { return s.Settle(context.WithoutCancel(ctx), c) }
		})},
		{"an ended context gives an error after the effect", "a write in a context that has ended is an error and has no effect", breakStore(func(b *brokenStore, s *memory.Store) {
			b.append = func(ctx context.Context, c es.Commit) error {
				return errors.Join(s.Append(context.WithoutCancel(ctx), c), ctx.Err())
			}
		})},
		{"an ended context makes a stream look empty", "a read in a context that has ended is an error", breakStore(func(b *brokenStore, s *memory.Store) {
			b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
				commits, _ := all(s.Load(ctx, stream, after))
				return yieldAll(commits, nil)
			}
		})},
		{"a sequence is read once, when it is made", "a sequence can be run again, and then reads anew", breakStore(func(b *brokenStore, s *memory.Store) {
			b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
				commits, err := all(s.Load(ctx, stream, after))
				return yieldAll(commits, err)
			}
		})},
		{"a sequence goes on after its caller broke off", "breaking off a sequence is fine", breakStore(func(b *brokenStore, s *memory.Store) {
			b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
				return func(yield func(es.Commit, error) bool) {
					for c, err := range s.Load(ctx, stream, after) {
						yield(c, err)
					}
				}
			}
		})},
		{"a sequence keeps a lock while its caller works", "a loop over a sequence may call the store", breakStore(func(b *brokenStore, s *memory.Store) {
			var readers atomic.Int32
			b.settle = func(ctx context.Context, c es.Commit) error {
				for readers.Load() > 0 {
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(time.Second):
					}
				}
				return s.Settle(ctx, c)
			}
			b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
				return func(yield func(es.Commit, error) bool) {
					readers.Add(1)
					defer readers.Add(-1)
					s.Load(ctx, stream, after)(yield)
				}
			}
		})},
		{"a sequence has the only connection while its caller works", "a loop over a sequence may call the store", breakStore(func(b *brokenStore, s *memory.Store) {
			connection := make(chan struct{}, 1)
			b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
				return func(yield func(es.Commit, error) bool) {
					select {
					case connection <- struct{}{}:
						defer func() { <-connection }()
						s.Load(ctx, stream, after)(yield)
					case <-ctx.Done():
						yield(es.Commit{}, ctx.Err())
					}
				}
			}
		})},
		{"pending has claimed commits left out", "pending lists what is unsettled, oldest first, and nothing else", breakStore(func(b *brokenStore, s *memory.Store) {
			b.pending = func(ctx context.Context, before time.Time) iter.Seq2[es.Commit, error] {
				return mapped(s.Pending(ctx, before), func(c es.Commit) (es.Commit, bool) { return c, c.Status == es.Pending })
			}
		})},
		{"pending has what is as old as the limit", "pending lists what is unsettled, oldest first, and nothing else", breakStore(func(b *brokenStore, s *memory.Store) {
			b.pending = func(ctx context.Context, before time.Time) iter.Seq2[es.Commit, error] {
				return s.Pending(ctx, before.Add(time.Nanosecond))
			}
		})},
		{"pending is in no order", "pending lists what is unsettled, oldest first, and nothing else", breakStore(func(b *brokenStore, s *memory.Store) {
			b.pending = func(ctx context.Context, before time.Time) iter.Seq2[es.Commit, error] {
				commits, err := all(s.Pending(ctx, before))
				slices.Reverse(commits)
				return yieldAll(commits, err)
			}
		})},
		{"pending fails", "pending lists what is unsettled, oldest first, and nothing else", breakStore(func(b *brokenStore, _ *memory.Store) {
			b.pending = func(context.Context, time.Time) iter.Seq2[es.Commit, error] { return yieldAll(nil, errElse) }
		})},
		{"every shard has all streams", "streams are listed, each once, over any number of shards, and from any place on", breakStore(func(b *brokenStore, s *memory.Store) {
			b.streams = func(ctx context.Context, _, _ int, after es.StreamID) iter.Seq2[es.StreamID, error] {
				return s.Streams(ctx, 0, 1, after)
			}
		})},
		{"a listing always starts at the beginning", "streams are listed, each once, over any number of shards, and from any place on", breakStore(func(b *brokenStore, s *memory.Store) {
			b.streams = func(ctx context.Context, shard, shards int, _ es.StreamID) iter.Seq2[es.StreamID, error] {
				return s.Streams(ctx, shard, shards, es.StreamID{})
			}
		})},
		{"a listing knows one shard alone", "streams are listed, each once, over any number of shards, and from any place on", breakStore(func(b *brokenStore, s *memory.Store) {
			b.streams = func(ctx context.Context, shard, shards int, after es.StreamID) iter.Seq2[es.StreamID, error] {
				return s.Streams(ctx, 0, shards, after)
			}
		})},
	}
}

// keyedBy makes a store that maps streams to others.
func keyedBy(key func(es.StreamID) es.StreamID) func(*testing.T) es.Store {
	return breakStore(func(b *brokenStore, s *memory.Store) {
		to := func(write func(context.Context, es.Commit) error) func(context.Context, es.Commit) error {
			return func(ctx context.Context, c es.Commit) error {
				c.Stream = key(c.Stream)
				return write(ctx, c)
			}
		}
		b.append, b.claim, b.settle, b.revoke = to(s.Append), to(s.Claim), to(s.Settle), to(s.Revoke)
		b.load = func(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
			return mapped(s.Load(ctx, key(stream), after), func(c es.Commit) (es.Commit, bool) {
				c.Stream = stream
				return c, true
			})
		}
	})
}

// deleting makes a store whose revoke leaves an empty slot.
func deleting() func(*testing.T) es.Store {
	return breakStore(func(b *brokenStore, s *memory.Store) {
		b.append = func(ctx context.Context, c es.Commit) error {
			if found, taken := slot(s, c); taken && found.Status == es.Revoked {
				c.Replaces = found.ID
			}
			return s.Append(ctx, c)
		}
		b.reads(s, func(c es.Commit) (es.Commit, bool) { return c, c.Status != es.Revoked })
	})
}

// revokingAnything makes a store whose revoke does not look at the status.
func revokingAnything() func(*testing.T) es.Store {
	return breakStore(func(b *brokenStore, s *memory.Store) {
		var revoked memo
		b.revoke = func(ctx context.Context, c es.Commit) error {
			err := s.Revoke(ctx, c)
			if errors.Is(err, es.ErrConflict) {
				revoked.put(c)
				return nil
			}
			return err
		}
		b.claim = func(ctx context.Context, c es.Commit) error {
			if found, _ := slot(s, c); found.ID == c.ID && found.Status == es.Revoked {
				return nil
			}
			return s.Claim(ctx, c)
		}
		b.reads(s, func(c es.Commit) (es.Commit, bool) {
			if _, ok := revoked.get(c.ID); ok {
				c = marker(c)
			}
			return c, true
		})
	})
}
