package es_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/es/memory"
)

// Each rule of the protocol is switched off, and the explorer must find out. What a rule
// demands of the store or of the broker is broken there; what it demands of the journal is
// broken in what the journal sees of them.

// broken is a store that differs from the one it wraps in one thing.
type broken struct {
	es.Store
	append func(context.Context, es.Commit) error
	claim  func(context.Context, es.Commit) error
	revoke func(context.Context, es.Commit) error
	settle func(context.Context, es.Commit) error
	read   func(es.Commit) es.Commit // what a read of the commit gives
}

func (b *broken) reads(commits iter.Seq2[es.Commit, error]) iter.Seq2[es.Commit, error] {
	if b.read == nil {
		return commits
	}
	return func(yield func(es.Commit, error) bool) {
		for c, err := range commits {
			if !yield(b.read(c), err) {
				return
			}
		}
	}
}

func (b *broken) Load(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	return b.reads(b.Store.Load(ctx, stream, after))
}

func (b *broken) LoadBack(ctx context.Context, stream es.StreamID, hint int) iter.Seq2[es.Commit, error] {
	return b.reads(b.Store.LoadBack(ctx, stream, hint))
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

func (b *broken) Revoke(ctx context.Context, c es.Commit) error {
	if b.revoke != nil {
		return b.revoke(ctx, c)
	}
	return b.Store.Revoke(ctx, c)
}

func (b *broken) Settle(ctx context.Context, c es.Commit) error {
	if b.settle != nil {
		return b.settle(ctx, c)
	}
	return b.Store.Settle(ctx, c)
}

// publisher is a function that is a publisher.
type publisher func(context.Context, es.Commit) error

func (p publisher) Publish(ctx context.Context, c es.Commit) error { return p(ctx, c) }

// emptied returns a store with all that is in another, but for the marker of a revoked commit.
func emptied(ctx context.Context, s es.Store) (*memory.Store, error) {
	left := new(memory.Store)
	for c, err := range s.Load(ctx, theDiary, 0) {
		if err != nil {
			return nil, err
		}
		if c.Status == es.Revoked {
			continue
		}
		c.Replaces = "" // what it replaced was in another store
		if err := left.Append(ctx, c); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// hasty is a publisher that takes every error for a refusal.
func hasty(s es.Store, p es.Publisher) (es.Store, es.Publisher) {
	return s, publisher(func(ctx context.Context, c es.Commit) error {
		if err := p.Publish(ctx, c); err != nil {
			return errors.Join(es.ErrRefused, err)
		}
		return nil
	})
}

// twoAttempts is a publisher as of a client that tries again by itself, and tells of the last attempt only.
func twoAttempts(s es.Store, p es.Publisher) (es.Store, es.Publisher) {
	return s, publisher(func(ctx context.Context, c es.Commit) (err error) {
		for range 2 {
			if err = p.Publish(ctx, c); err == nil {
				return nil
			}
		}
		return err
	})
}

// seen is how the journal of a process sees the store and the broker.
type seen func(es.Store, es.Publisher) (es.Store, es.Publisher)

// journal returns one of a process on the tap, as store and as broker.
func (see seen) journal(t *tap) *es.Journal {
	if see == nil {
		return t.journal()
	}
	s, p := see(t, t)
	return &es.Journal{Store: s, Publisher: p}
}

func (see seen) by(processes ...estest.Process) []estest.Process {
	for i, p := range processes {
		if see != nil {
			processes[i].Run = func(ctx context.Context, s es.Store, b es.Publisher) error {
				s, b = see(s, b)
				return p.Run(ctx, s, b)
			}
		}
	}
	return processes
}

func TestRulesSwitchedOff(t *testing.T) {
	for _, row := range []struct {
		rule   string
		shared func() (es.Store, es.Publisher)
		seen   seen
		faults int
	}{
		{
			rule: "1: nobody builds on a commit that is not settled",
			seen: func(s es.Store, p es.Publisher) (es.Store, es.Publisher) {
				return &broken{Store: s, append: func(ctx context.Context, c es.Commit) error {
					c.Status = es.Settled // for everybody to see, before it is published
					return s.Append(ctx, c)
				}}, p
			},
		}, {
			rule:   "2: it is revoked only after a refusal that is certain",
			seen:   hasty,
			faults: 1,
		}, {
			rule:   "2: every attempt counts",
			seen:   twoAttempts,
			faults: 2,
		}, {
			rule: "3: claim takes the author's right to revoke away",
			seen: func(s es.Store, p es.Publisher) (es.Store, es.Publisher) {
				return &broken{Store: s, claim: func(context.Context, es.Commit) error { return nil }}, p
			},
			faults: 1,
		}, {
			rule: "4: a slot is never emptied",
			shared: func() (es.Store, es.Publisher) {
				b := &broken{Store: new(memory.Store)}
				b.revoke = func(ctx context.Context, c es.Commit) error {
					err := b.Store.Revoke(ctx, c)
					if err == nil {
						b.Store, err = emptied(ctx, b.Store)
					}
					return err
				}
				return b, sink{}
			},
			faults: 2,
		}, {
			rule: "5: a write recognises itself",
			shared: func() (es.Store, es.Publisher) {
				b := &broken{Store: new(memory.Store)}
				b.append = func(ctx context.Context, c es.Commit) error {
					for old, err := range b.Store.Load(ctx, c.Stream, c.Version-1) {
						if err != nil || old.Status != es.Revoked {
							return errors.Join(err, es.ErrConflict)
						}
					}
					return b.Store.Append(ctx, c)
				}
				return b, sink{}
			},
			faults: 2,
		}, {
			rule: "5: after an unknown answer the identical write is sent again, and a read is no proof",
			seen: func(s es.Store, p es.Publisher) (es.Store, es.Publisher) {
				return &broken{Store: s, append: func(ctx context.Context, c es.Commit) error {
					err := s.Append(ctx, c)
					if err == nil || errors.Is(err, es.ErrConflict) || errors.Is(err, es.ErrRefused) {
						return err
					}
					for there, err := range s.LoadBack(ctx, c.Stream, 1) {
						if err == nil && there.ID == c.ID {
							return nil
						}
						break
					}
					return es.ErrRefused
				}}, p
			},
			faults: 1,
		}, {
			rule: "7: what is unknown is not called refused",
			seen: func(s es.Store, p es.Publisher) (es.Store, es.Publisher) {
				return &broken{Store: s, append: func(ctx context.Context, c es.Commit) error {
					if err := s.Append(ctx, c); err != nil {
						return errors.Join(es.ErrRefused, err)
					}
					return nil
				}}, p
			},
			faults: 1,
		},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			if row.shared == nil {
				row.shared = inMemory
			}
			mustFind(t, &estest.Explorer{
				New: row.shared, Processes: row.seen.by(writer("a"), writer("b")), Faults: row.faults, Check: protocolHolds("a", "b"),
			})
		})
	}
}

// Rules 6, 8 and 9 are kept for what an interleaving leaves undecided: how often the broker gives a message
// away, and who finishes a commit. Each has a promise that holds with it, and does not without.

// byID is a broker that gives a message away once, as a FIFO topic does: it knows it by its ID.
type byID struct{ delivered []es.Commit }

func (b *byID) Publish(_ context.Context, c es.Commit) error {
	if !slices.ContainsFunc(b.delivered, func(d es.Commit) bool { return d.ID == c.ID }) {
		b.delivered = append(b.delivered, c)
	}
	return nil
}

func (b *byID) Published() []es.Commit { return b.delivered }

// once fails if a version was delivered twice.
func once(ctx context.Context, end *estest.End) error {
	_, err := patient(end.Store, end.Publisher).Relay(ctx)
	var versions []uint64
	for _, c := range end.Published() {
		if slices.Contains(versions, c.Version) {
			return fmt.Errorf("version %d was delivered twice", c.Version)
		}
		versions = append(versions, c.Version)
	}
	return err
}

// finished fails if the writers leave something to others, though nothing has failed.
func finished(ctx context.Context, end *estest.End) error {
	for c, err := range end.Store.Load(ctx, theDiary, 0) {
		if err != nil {
			return err
		}
		if c.Status != es.Settled {
			return fmt.Errorf("commit %d is %v, and its author is alive", c.Version, c.Status)
		}
	}
	return nil
}

// publishedOnce fails if anything is published again, though nothing has failed.
func publishedOnce(_ context.Context, end *estest.End) error {
	if all := end.Published(); len(all) != len(firsts(all)) {
		return fmt.Errorf("published %d messages of %d commits", len(all), len(firsts(all)))
	}
	return nil
}

// cancelled is a writer whose caller hangs up at any moment, which is a process of its own. If it obeys, no
// call is made after that.
type cancelled struct {
	obeys bool
	hung  bool
	up    func()
}

func (c *cancelled) processes() []estest.Process {
	return []estest.Process{
		{Name: "a", Run: func(ctx context.Context, s es.Store, p es.Publisher) error {
			ctx, c.up = context.WithCancel(ctx)
			c.hung = false
			j := patient(s, p)
			if c.obeys {
				j = patient(&broken{Store: s, settle: func(_ context.Context, commit es.Commit) error { return s.Settle(ctx, commit) }},
					publisher(func(_ context.Context, commit es.Commit) error { return p.Publish(ctx, commit) }))
			}
			_, err := es.Execute(ctx, j, &diary, "1", note("a"), es.Named("a", nil))
			return err
		}},
		{Name: "caller", Run: func(ctx context.Context, _ es.Store, _ es.Publisher) error {
			return estest.Step(ctx, "hang up", true, func(context.Context) (string, error) {
				c.hung = true
				c.up()
				return "done", nil
			})
		}},
	}
}

func TestRulesOfCourtesy(t *testing.T) {
	graceful := func(grace time.Duration) []estest.Process {
		at := func(name string, run func(context.Context, *es.Journal) error) estest.Process {
			return estest.Process{Name: name, Run: func(ctx context.Context, s es.Store, p es.Publisher) error {
				j := patient(s, p)
				j.Grace = grace
				return run(ctx, j)
			}}
		}
		return []estest.Process{
			at("a", func(ctx context.Context, j *es.Journal) error {
				_, err := es.Execute(ctx, j, &diary, "1", note("a"))
				return err
			}),
			at("relay", func(ctx context.Context, j *es.Journal) error {
				_, err := j.Relay(ctx)
				return err
			}),
		}
	}
	fifo := func() (es.Store, es.Publisher) { return new(memory.Store), new(byID) }
	anew := seen(func(s es.Store, p es.Publisher) (es.Store, es.Publisher) {
		tries := 0
		return s, publisher(func(ctx context.Context, c es.Commit) error {
			tries++
			c.ID += fmt.Sprint(", try ", tries)
			return p.Publish(ctx, c)
		})
	})
	for _, row := range []struct {
		rule    string
		new     func() (es.Store, es.Publisher)
		faults  int
		check   func(context.Context, *estest.End) error
		on, off func(x *estest.Explorer)
	}{
		{
			"6: a publish is repeated under the same ID", fifo, 1, once,
			func(x *estest.Explorer) { x.Processes = []estest.Process{writer("a"), writer("b")} },
			func(x *estest.Explorer) { x.Processes = anew.by(writer("a"), writer("b")) },
		}, {
			"8: once the append has begun, hanging up stops nothing", inMemory, 0, finished,
			func(x *estest.Explorer) { hangUp(x, &cancelled{}) },
			func(x *estest.Explorer) { hangUp(x, &cancelled{obeys: true}) },
		}, {
			"9: a young commit is left to its author", inMemory, 0, publishedOnce,
			func(x *estest.Explorer) { x.Processes = graceful(time.Hour) },
			func(x *estest.Explorer) { x.Processes = graceful(-time.Hour) },
		},
	} {
		t.Run(row.rule+"/on", func(t *testing.T) {
			x := &estest.Explorer{New: row.new, Faults: row.faults, Check: row.check}
			row.on(x)
			explore(t, x)
		})
		t.Run(row.rule+"/off", func(t *testing.T) {
			t.Parallel()
			x := &estest.Explorer{New: row.new, Faults: row.faults, Check: row.check}
			row.off(x)
			mustFind(t, x)
		})
	}
}

func hangUp(x *estest.Explorer, c *cancelled) {
	x.Processes = c.processes()
	x.State = func() string { return fmt.Sprint(c.hung) }
}

// byVersion is a broker that takes the version for the identity of a message.
type byVersion struct {
	known     map[uint64]bool
	delivered []es.Commit
}

func (b *byVersion) Publish(_ context.Context, c es.Commit) error {
	if !b.known[c.Version] {
		b.known[c.Version] = true
		b.delivered = append(b.delivered, c)
	}
	return nil
}

func (b *byVersion) Published() []es.Commit { return b.delivered }

// Rule 6, that a message is known by the ID of its commit, is a second line of defence: while
// the others hold, no commit is revoked that the broker has seen, and a broker that knows messages by
// their versions does no harm. With rule 2 broken, a commit that takes the slot of such a one
// is swallowed, and what was stored is never published.
func TestDeduplicationByVersion(t *testing.T) {
	fresh := func() (es.Store, es.Publisher) { return new(memory.Store), &byVersion{known: map[uint64]bool{}} }
	isLost := func(ctx context.Context, end *estest.End) error {
		_, err := patient(end.Store, end.Publisher).Relay(ctx)
		return errors.Join(err, violations(ctx, end)[lost])
	}
	t.Run("alone", func(t *testing.T) {
		explore(t, &estest.Explorer{New: fresh, Faults: 1, Check: protocolHolds("a", "b"), Processes: []estest.Process{writer("a"), writer("b")}})
	})
	t.Run("with rule 2 broken", func(t *testing.T) {
		t.Parallel()
		mustFind(t, &estest.Explorer{New: fresh, Faults: 1, Check: isLost, Processes: seen(hasty).by(writer("a"), writer("b"))})
	})
	t.Run("by ID, with rule 2 broken", func(t *testing.T) {
		explore(t, &estest.Explorer{New: inMemory, Faults: 1, Check: isLost, Processes: seen(hasty).by(writer("a"), writer("b"))})
	})
}

// Journals and commands as they are often written go through the explorer like ours, and each
// must fail.
func TestWrongCommandsFail(t *testing.T) {
	// execute is what a writer does.
	execute := func(ctx context.Context, j *es.Journal, name string, decide func([]string) ([]done, error)) error {
		_, err := es.Execute(ctx, j, &diary, "1", decide, es.Named(name, nil))
		return err
	}
	for _, row := range []struct {
		bug             string
		writers, faults int
		run             func(ctx context.Context, j *es.Journal, name string) error
	}{
		{"a failed publish is a success", 1, 1, func(ctx context.Context, j *es.Journal, name string) error {
			var failed error
			p := j.Publisher
			j.Publisher = publisher(func(ctx context.Context, c es.Commit) error {
				failed = p.Publish(ctx, c)
				return failed
			})
			if err := execute(ctx, j, name, note(name)); failed == nil {
				return err
			}
			return nil
		}},
		{"what may be published is an error, and is done again", 1, 1, func(ctx context.Context, j *es.Journal, name string) error {
			for range 2 {
				result, err := es.Execute(ctx, j, &diary, "1", note(name))
				if err == nil && result.Status == es.Settled {
					return nil
				}
			}
			return errLost
		}},
		{"a commit is published in two parts, and the second one decides", 1, 1, func(ctx context.Context, j *es.Journal, name string) error {
			p := j.Publisher
			j.Publisher = publisher(func(ctx context.Context, c es.Commit) error {
				_ = p.Publish(ctx, c)
				return p.Publish(ctx, c)
			})
			return execute(ctx, j, name, note(name))
		}},
		{"pending events are cleared before the append", 2, 0, func(ctx context.Context, j *es.Journal, name string) error {
			pending := []string{name}
			return execute(ctx, j, name, func(s []string) (events []done, err error) {
				for _, name := range pending {
					events, err = note(name)(s)
				}
				pending = nil
				return events, err
			})
		}},
		{"a retry saves the old events again", 2, 0, func(ctx context.Context, j *es.Journal, name string) error {
			var old []done
			return execute(ctx, j, name, func(s []string) (_ []done, err error) {
				if old == nil {
					old, err = note(name)(s)
				}
				return old, err
			})
		}},
		{"the second decision is made on the state of the first", 2, 0, func(ctx context.Context, j *es.Journal, name string) error {
			var state []string
			loaded := false
			return execute(ctx, j, name, func(s []string) ([]done, error) {
				if !loaded {
					state, loaded = s, true
				}
				return note(name)(state)
			})
		}},
	} {
		t.Run(row.bug, func(t *testing.T) {
			t.Parallel()
			names := []string{"a", "b"}[:row.writers]
			x := estest.Explorer{New: inMemory, Faults: row.faults, Check: protocolHolds(names...)}
			for _, name := range names {
				x.Processes = append(x.Processes, estest.Process{Name: name, Run: func(ctx context.Context, s es.Store, p es.Publisher) error {
					return row.run(ctx, patient(s, p), name)
				}})
			}
			mustFind(t, &x)
		})
	}
}
