package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"github.com/leftfold/leftfold/es"
)

// finding is something that is wrong with a stream, or with its view.
type finding struct {
	Kind    string `json:"kind"`
	Stream  string `json:"stream"`
	Version uint64 `json:"version,omitempty"`
	Detail  string `json:"detail"`
}

func (f finding) String() string {
	at := f.Stream
	if f.Version > 0 {
		at = fmt.Sprintf("%s@%d", at, f.Version)
	}
	return fmt.Sprintf("%-16s %s: %s", f.Kind, shown(at), shown(f.Detail))
}

func (t *tool) verify() *cobra.Command {
	var (
		p      pace
		grace  time.Duration
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "verify [STREAM...]",
		Short: "Check streams, and that views are what their events fold to",
		Long: `verify reads streams, all or those that are named, and says what is wrong, a line each:

  hole             versions are missing: the store is damaged
  unreadable       an item of the store cannot be decoded: the store is damaged
  buried           an unsettled commit has another behind it: a rule of the protocol was broken
  unknown-event    an event is in no table of this program, which is older than the writer or lost a name
  bad-event        an event is in the table and cannot be decoded
  snapshot-drift   a commit carries another state than its events fold to
  stuck            a commit is pending or claimed for longer than --grace: see esctl pending
  view-drift       a view is not what the events up to its version fold to: see esctl rebuild
  view-behind      a view lacks events that are older than --grace: see esctl rebuild
  view-ahead       a view has a version that its stream has not: the end of the stream is lost
  view-unreadable  the document of a view cannot be decoded

docs/operations.md says what to do about each. Run the esctl that belongs to the deployed function:
another fold makes other views. The service may go on meanwhile.

It costs a scan of the table of events (see esctl streams), to read each stream, and to get each
view: for small streams 2 read units each. Exit code 3: it found something.

Not checked: views of streams that do not exist, answers that are kept for a time, and whether
a settled commit was published.`,
		Example: `  esctl verify
  esctl verify org/42 org/43
  esctl verify --parallel 16 --rate 500   # at most 500 streams a second
  esctl verify --json | jq -r .stream     # names of streams with something wrong`,
		Args:              takes(0, -1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			named, err := parseStreams(args)
			if err != nil {
				return err
			}
			if err := p.validate(); err != nil {
				return err
			}
			s, err := t.open(c.Context(), t, "EVENT_TABLE", "VIEW_TABLE")
			if err != nil {
				return err
			}
			list := s.lister
			if len(named) > 0 {
				list = only(named)
			}
			bar, err := t.progress("verifying", p, func(add func()) error {
				return p.walk(c.Context(), list, nil, func(context.Context, es.StreamID) error { add(); return nil })
			})
			if err != nil {
				return err
			}
			defer bar.done()
			var (
				mu                       sync.Mutex
				streams, damaged, faults int
				strange                  int // streams of categories that this program does not know
				events                   uint64
			)
			settled := t.now().Add(-grace)
			limit := p.limiter()
			err = p.walk(c.Context(), list, nil, func(ctx context.Context, stream es.StreamID) error {
				if err := limit.Wait(ctx); err != nil {
					return err
				}
				r, err := s.check(ctx, stream, settled)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					return err
				case !r.exists && len(named) > 0:
					return fmt.Errorf("stream %s does not exist", stream)
				}
				streams++
				if s.category(stream.Category) == nil {
					strange++
				}
				events += r.events
				if len(r.found) > 0 {
					damaged++
					bar.clear()
				}
				for _, f := range r.found {
					faults++
					if asJSON {
						if err := writeJSON(t.stdout, f); err != nil {
							return err
						}
						continue
					}
					fmt.Fprintln(t.stdout, f)
				}
				bar.add()
				return nil
			})
			bar.done()
			if err != nil {
				return err
			}
			summary := t.stdout
			if asJSON {
				summary = t.stderr
			}
			fmt.Fprintf(summary, "checked %s with %s: ", count(streams, "stream"), count(int(events), "event"))
			if faults == 0 {
				fmt.Fprintln(summary, "nothing found")
			} else {
				fmt.Fprintf(summary, "%s in %s\n", count(faults, "finding"), count(damaged, "stream"))
			}
			if strange > 0 {
				fmt.Fprintf(summary, "of %s the category is none of this program's: events and views were not checked\n", count(strange, "stream"))
			}
			if faults > 0 {
				return errFound
			}
			return nil
		},
	}
	c.Flags().DurationVar(&grace, "grace", 5*time.Minute, "how long a commit may be pending, and a view behind")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a finding, a line each; the summary goes to standard error")
	p.flags(c)
	return c
}

// count returns a number of things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// checked is what became of one stream.
type checked struct {
	exists bool // there is something in it, or it has a view
	events uint64
	found  []finding
}

// check reads a stream and its view. Its error says that it could not; everything that
// is wrong with what was read is found. Settled is when the newest commit should be settled, and in the
// view, if it is older.
func (s *system) check(ctx context.Context, stream es.StreamID, settled time.Time) (r checked, err error) {
	find := func(kind string, version uint64, format string, args ...any) {
		r.found = append(r.found, finding{kind, stream.String(), version, fmt.Sprintf(format, args...)})
	}
	// The view first: what it shows must be in the stream when that is read.
	var (
		view    es.View[json.RawMessage]
		f       fold
		folding bool // whether f is at the version that was read last
		viewing bool // whether there is more to say about the view
	)
	if known := s.category(stream.Category); known != nil {
		f, folding, viewing = known.fold(), true, true
		if view, err = known.view(ctx, stream); err != nil {
			if remote(ctx, err) {
				return r, err
			}
			viewing = false
			find("view-unreadable", 0, "%v", err)
		}
		r.exists = !viewing || view.Version > 0
	}
	var (
		version uint64     // of the last event that was read
		end     uint64     // of the last that must be in the view
		tip     *es.Commit // the last slot, if it is not settled
		broken  bool       // whether there is no telling what follows
	)
	for c, err := range s.store.Load(ctx, stream, 0) {
		if _, gap := errors.AsType[*es.GapError](err); gap {
			find("hole", 0, "%v", err)
			broken = true
			break
		}
		if err != nil {
			if remote(ctx, err) {
				return r, err
			}
			find("unreadable", version+1, "%v", err)
			broken = true
			break
		}
		r.exists = true
		if c.Version != version+1 {
			find("hole", 0, "%v", &es.GapError{Stream: stream, Want: version + 1, Have: c.Version})
			broken = true
			break
		}
		if tip != nil {
			find("buried", tip.Version, "commit %s is %v, and commit %s is behind it", tip.ID, tip.Status, c.ID)
			tip = nil
		}
		if c.Status != es.Settled {
			tip = &c
		}
		if c.Status == es.Revoked {
			continue
		}
		r.events += uint64(len(c.Events))
		before := version
		version = c.Last()
		if c.Status == es.Settled && c.Time.Before(settled) {
			end = version
		}
		for i := range c.Events {
			if !folding {
				break
			}
			if err := f.add(c, i); err != nil {
				kind := "bad-event"
				if errors.Is(err, es.ErrUnknownEvent) {
					kind = "unknown-event"
				}
				find(kind, c.Version+uint64(i), "%q cannot be decoded: %v", c.Events[i].Type, err)
				folding = false
			}
		}
		if !folding {
			continue
		}
		if err := s.compare(c, f, find); err != nil {
			return r, err
		}
		switch {
		case !viewing:
		case view.Version == version:
			have, err := f.view()
			if err != nil {
				return r, err
			}
			if d := difference(view.Value, have); d != "" {
				find("view-drift", version, "it %s", d)
				viewing = false
			}
		case view.Version > before && view.Version < version:
			find("view-drift", view.Version, "it has a part of commit %s, which goes to version %d", c.ID, version)
			viewing = false
		}
	}
	if tip != nil && tip.Status != es.Revoked && !broken && !tip.Time.After(settled) {
		find("stuck", tip.Version, "commit %s is %v, and was stored at %s", tip.ID, tip.Status, tip.Time.UTC().Format(time.RFC3339))
	}
	switch {
	case broken || !viewing:
	case view.Version > version:
		find("view-ahead", view.Version, "it is at version %d, and its stream at version %d", view.Version, version)
	case view.Version < end && folding:
		find("view-behind", view.Version, "it is at version %d, and its stream was at version %d by %s", view.Version, end, settled.UTC().Format(time.RFC3339))
	}
	return r, nil
}

// compare finds a snapshot that is not the state.
func (s *system) compare(c es.Commit, f fold, find func(string, uint64, string, ...any)) error {
	snapshot, err := f.snapshot(c)
	if err != nil {
		find("snapshot-drift", c.Last(), "it cannot be decoded: %v", err)
		return nil
	}
	if snapshot == nil {
		return nil
	}
	state, err := f.state()
	if err != nil {
		return err
	}
	if d := difference(snapshot, state); d != "" {
		find("snapshot-drift", c.Last(), "it %s", d)
	}
	return nil
}

// remote tells an error of the way to the data from one of the data.
func remote(ctx context.Context, err error) bool {
	_, operation := errors.AsType[*smithy.OperationError](err)
	return operation || ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
