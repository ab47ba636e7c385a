package model

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/es/memory"
)

// attempts is how many random runs have to find what is broken. Each is the same every time.
const attempts = 300

// broken is a store with one method in the place of a sound one.
type broken struct {
	*memory.Store
	append, claim, settle, revoke func(context.Context, es.Commit) error
	load                          func(iter.Seq2[es.Commit, error]) iter.Seq2[es.Commit, error]
	back                          func(iter.Seq2[es.Commit, error]) iter.Seq2[es.Commit, error]
	after                         func(uint64) uint64
	pending                       func(iter.Seq2[es.Commit, error]) iter.Seq2[es.Commit, error]
	streams                       func(iter.Seq2[es.StreamID, error]) iter.Seq2[es.StreamID, error]
}

func (b *broken) Append(ctx context.Context, c es.Commit) error {
	if b.append != nil {
		return b.append(ctx, c)
	}
	return b.Store.Append(ctx, c)
}

func (b *broken) Claim(ctx context.Context, c es.Commit) error {
	if b.claim != nil {
		return b.claim(ctx, c)
	}
	return b.Store.Claim(ctx, c)
}

func (b *broken) Settle(ctx context.Context, c es.Commit) error {
	if b.settle != nil {
		return b.settle(ctx, c)
	}
	return b.Store.Settle(ctx, c)
}

func (b *broken) Revoke(ctx context.Context, c es.Commit) error {
	if b.revoke != nil {
		return b.revoke(ctx, c)
	}
	return b.Store.Revoke(ctx, c)
}

func (b *broken) Load(ctx context.Context, id es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	if b.after != nil {
		after = b.after(after)
	}
	commits := b.Store.Load(ctx, id, after)
	if b.load != nil {
		return b.load(commits)
	}
	return commits
}

func (b *broken) LoadBack(ctx context.Context, id es.StreamID, hint int) iter.Seq2[es.Commit, error] {
	commits := b.Store.LoadBack(ctx, id, hint)
	if b.back != nil {
		return b.back(commits)
	}
	return commits
}

func (b *broken) Pending(ctx context.Context, before time.Time) iter.Seq2[es.Commit, error] {
	commits := b.Store.Pending(ctx, before)
	if b.pending != nil {
		return b.pending(commits)
	}
	return commits
}

func (b *broken) Streams(ctx context.Context, shard, shards int, after es.StreamID) iter.Seq2[es.StreamID, error] {
	ids := b.Store.Streams(ctx, shard, shards, after)
	if b.streams != nil {
		return b.streams(ids)
	}
	return ids
}

func newBroken(breakIt func(*broken)) *broken {
	b := &broken{Store: new(memory.Store)}
	breakIt(b)
	return b
}

// but returns a sequence in which each element is changed, or left out.
func but[V any](change func(n int, v *V) bool) func(iter.Seq2[V, error]) iter.Seq2[V, error] {
	return func(seq iter.Seq2[V, error]) iter.Seq2[V, error] {
		return func(yield func(V, error) bool) {
			n := 0
			for v, err := range seq {
				if err == nil && !change(n, &v) {
					continue
				}
				if n++; !yield(v, err) {
					return
				}
			}
		}
	}
}

func TestStoreFindsMutants(t *testing.T) {
	bg := context.WithoutCancel
	mutants := map[string]func(*broken){
		"an append stores nothing": func(b *broken) {
			b.append = func(ctx context.Context, c es.Commit) error {
				if len(c.Events) == 3 {
					return nil
				}
				return b.Store.Append(ctx, c)
			}
		},
		"an append that was sent before is a conflict": func(b *broken) {
			seen := map[string]bool{}
			b.append = func(ctx context.Context, c es.Commit) error {
				if seen[c.ID] {
					return es.ErrConflict
				}
				err := b.Store.Append(ctx, c)
				seen[c.ID] = err == nil
				return err
			}
		},
		"an append takes the slot of any marker": func(b *broken) {
			b.append = func(ctx context.Context, c es.Commit) error {
				for tip := range b.Store.LoadBack(ctx, c.Stream, 1) {
					if tip.Status == es.Revoked && tip.Version == c.Version && tip.ID != c.ID {
						c.Replaces = tip.ID
					}
					break
				}
				return b.Store.Append(ctx, c)
			}
		},
		"an append needs an empty slot": func(b *broken) {
			b.append = func(ctx context.Context, c es.Commit) error {
				if c.Replaces != "" {
					return es.ErrConflict
				}
				return b.Store.Append(ctx, c)
			}
		},
		"an invalid commit is a conflict": func(b *broken) {
			b.append = func(ctx context.Context, c es.Commit) error {
				if err := b.Store.Append(ctx, c); !errors.Is(err, es.ErrRefused) {
					return err
				}
				return es.ErrConflict
			}
		},
		"a write ignores its context": func(b *broken) {
			b.settle = func(ctx context.Context, c es.Commit) error { return b.Store.Settle(bg(ctx), c) }
		},
		"a claim of a settled commit is fine": func(b *broken) {
			b.claim = func(ctx context.Context, c es.Commit) error {
				for tip := range b.Store.LoadBack(ctx, c.Stream, 1) {
					if tip.ID == c.ID && tip.Status == es.Settled {
						return nil
					}
					break
				}
				return b.Store.Claim(ctx, c)
			}
		},
		"a claim does nothing": func(b *broken) {
			b.claim = func(ctx context.Context, c es.Commit) error {
				for tip := range b.Store.LoadBack(ctx, c.Stream, 1) {
					if tip.ID == c.ID && tip.Status == es.Pending {
						return nil
					}
					break
				}
				return b.Store.Claim(ctx, c)
			}
		},
		"a settle of a revoked commit is fine": func(b *broken) {
			b.settle = func(ctx context.Context, c es.Commit) error {
				if err := b.Store.Settle(ctx, c); !errors.Is(err, es.ErrConflict) {
					return err
				}
				return nil
			}
		},
		"a revoke of a claimed commit is fine": func(b *broken) {
			b.revoke = func(ctx context.Context, c es.Commit) error {
				if err := b.Store.Revoke(ctx, c); !errors.Is(err, es.ErrConflict) {
					return err
				}
				return nil
			}
		},
		"a revoke of a commit that was replaced is a conflict": func(b *broken) {
			b.revoke = func(ctx context.Context, c es.Commit) error {
				for tip := range b.Store.LoadBack(ctx, c.Stream, 1) {
					if tip.Version == c.Version && tip.ID != c.ID {
						return es.ErrConflict
					}
					break
				}
				return b.Store.Revoke(ctx, c)
			}
		},
		"a revoke of an empty slot is fine": func(b *broken) {
			b.revoke = func(ctx context.Context, c es.Commit) error {
				if err := b.Store.Revoke(ctx, c); !errors.Is(err, es.ErrRefused) {
					return err
				}
				return nil
			}
		},
		"a load starts one too late": func(b *broken) {
			b.after = func(after uint64) uint64 {
				if after > 0 {
					after++
				}
				return after
			}
		},
		"a load leaves markers out": func(b *broken) {
			b.load = but(func(_ int, c *es.Commit) bool { return c.Status != es.Revoked })
		},
		"a load ends after a page": func(b *broken) {
			b.load = but(func(n int, _ *es.Commit) bool { return n < 2 })
		},
		"a load back is oldest first": func(b *broken) {
			b.back = func(commits iter.Seq2[es.Commit, error]) iter.Seq2[es.Commit, error] {
				return func(yield func(es.Commit, error) bool) {
					var all []es.Commit
					for c, err := range commits {
						if err != nil {
							yield(c, err)
							return
						}
						all = append(all, c)
					}
					for _, c := range slices.Backward(all) {
						if !yield(c, nil) {
							return
						}
					}
				}
			}
		},
		"times are local": func(b *broken) {
			b.load = but(func(_ int, c *es.Commit) bool {
				c.Time = c.Time.In(time.FixedZone("x", 3600))
				return true
			})
		},
		"times are cut": func(b *broken) {
			b.load = but(func(_ int, c *es.Commit) bool {
				c.Time = c.Time.Truncate(time.Microsecond)
				return true
			})
		},
		"a metadata entry is lost": func(b *broken) {
			b.load = but(func(_ int, c *es.Commit) bool {
				delete(c.Meta, "ключ")
				return true
			})
		},
		"what is given out is kept": func(b *broken) {
			kept := map[string]es.Commit{}
			b.load = but(func(_ int, c *es.Commit) bool {
				if k, ok := kept[c.ID]; ok && k.Status == c.Status {
					*c = k
				}
				kept[c.ID] = *c
				return true
			})
		},
		"claimed commits are not pending": func(b *broken) {
			b.pending = but(func(_ int, c *es.Commit) bool { return c.Status == es.Pending })
		},
		"pending commits of all ages": func(b *broken) {
			b.pending = func(iter.Seq2[es.Commit, error]) iter.Seq2[es.Commit, error] {
				return b.Store.Pending(context.Background(), time.Now())
			}
		},
		"a stream is listed twice": func(b *broken) {
			b.streams = func(ids iter.Seq2[es.StreamID, error]) iter.Seq2[es.StreamID, error] {
				return func(yield func(es.StreamID, error) bool) {
					for id, err := range ids {
						for range 2 {
							if !yield(id, err) {
								return
							}
						}
					}
				}
			}
		},
		"a shard is left out": func(b *broken) {
			b.streams = but(func(n int, _ *es.StreamID) bool { return n < 1 })
		},
	}
	steps := Store(60)
	found := func(t *testing.T, breakIt func(*broken)) error {
		for seed := range attempts {
			if err := steps.Example(seed).Run(t.Context(), newBroken(breakIt), true); err != nil {
				return err
			}
		}
		return nil
	}
	for name, breakIt := range mutants {
		t.Run(name, func(t *testing.T) {
			err := found(t, breakIt)
			if err == nil {
				t.Fatal("nobody noticed")
			}
			t.Log(err)
		})
	}
}

// fickle is a read database with one call in the place of a sound one.
type fickle struct {
	memory.Views[estest.Document]
	get func(context.Context, es.StreamID) (es.View[estest.Document], error)
	put func(context.Context, es.StreamID, es.View[estest.Document], uint64) error
}

func (f *fickle) Get(ctx context.Context, id es.StreamID) (es.View[estest.Document], error) {
	if f.get != nil {
		return f.get(ctx, id)
	}
	return f.Views.Get(ctx, id)
}

func (f *fickle) Put(ctx context.Context, id es.StreamID, v es.View[estest.Document], old uint64) error {
	if f.put != nil {
		return f.put(ctx, id, v, old)
	}
	return f.Views.Put(ctx, id, v, old)
}

func TestViewsFindMutants(t *testing.T) {
	type view = es.View[estest.Document]
	mutants := map[string]func(*fickle){
		"a put overwrites": func(f *fickle) {
			f.put = func(ctx context.Context, id es.StreamID, v view, _ uint64) error {
				have, _ := f.Views.Get(ctx, id)
				return f.Views.Put(ctx, id, v, have.Version)
			}
		},
		"versions have to rise": func(f *fickle) {
			f.put = func(ctx context.Context, id es.StreamID, v view, old uint64) error {
				if v.Version > 0 && v.Version <= old {
					return es.ErrConflict
				}
				return f.Views.Put(ctx, id, v, old)
			}
		},
		"version 0 is stored": func(f *fickle) {
			f.put = func(ctx context.Context, id es.StreamID, v view, old uint64) error {
				if v.Version == 0 {
					return ctx.Err()
				}
				return f.Views.Put(ctx, id, v, old)
			}
		},
		"the same document again is fine": func(f *fickle) {
			f.put = func(ctx context.Context, id es.StreamID, v view, old uint64) error {
				if have, err := f.Views.Get(ctx, id); err == nil && have.Version == v.Version && v.Version > 0 {
					return nil
				}
				return f.Views.Put(ctx, id, v, old)
			}
		},
		"a put ignores its context": func(f *fickle) {
			f.put = func(ctx context.Context, id es.StreamID, v view, old uint64) error {
				return f.Views.Put(context.WithoutCancel(ctx), id, v, old)
			}
		},
		"documents are merged": func(f *fickle) {
			f.put = func(ctx context.Context, id es.StreamID, v view, old uint64) error {
				if have, err := f.Views.Get(ctx, id); err == nil && len(v.Value.Tags) == 0 {
					v.Value.Tags = have.Value.Tags
				}
				return f.Views.Put(ctx, id, v, old)
			}
		},
		"streams share a document": func(f *fickle) {
			f.get = func(ctx context.Context, id es.StreamID) (view, error) {
				id.ID = id.ID[:len(id.ID)-1] + "0"
				return f.Views.Get(ctx, id)
			}
		},
		"a document is an alias": func(f *fickle) {
			var mu sync.Mutex
			kept := map[es.StreamID]view{}
			f.get = func(ctx context.Context, id es.StreamID) (view, error) {
				v, err := f.Views.Get(ctx, id)
				mu.Lock()
				defer mu.Unlock()
				if k, ok := kept[id]; ok && k.Version == v.Version {
					return k, err
				}
				kept[id] = v
				return v, err
			}
		},
	}
	steps := Views(60)
	found := func(t *testing.T, breakIt func(*fickle)) error {
		for seed := range attempts {
			var f fickle
			breakIt(&f)
			if err := steps.Example(seed).Run(t.Context(), &f); err != nil {
				return err
			}
		}
		return nil
	}
	for name, breakIt := range mutants {
		t.Run(name, func(t *testing.T) {
			err := found(t, breakIt)
			if err == nil {
				t.Fatal("nobody noticed")
			}
			t.Log(err)
		})
	}
}
