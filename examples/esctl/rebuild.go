package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leftfold/leftfold/es"
)

func (t *tool) rebuild() *cobra.Command {
	var (
		p            pace
		within, file string
		leftOut      []string
	)
	c := &cobra.Command{
		Use:   "rebuild [STREAM...]",
		Short: "Make views anew from their events: all, or those of some streams",
		Long: `rebuild folds events anew and puts what comes out in the place of the views: after a change of what a
view shows, or where verify found one that drifted. It may be run at any time, and as often as you like:
the service goes on meanwhile, and readers never see a view go back. Events are only read.

With --resume FILE it keeps its place in FILE, and the same command goes on from there after it failed,
was interrupted or killed. When it is done, it removes the file. An esctl that was built otherwise does
not go on, for its views may be others.

It stops at a stream that cannot be read, and says which; --skip leaves that one out.

It scans the table of events once for each category, reads each stream, and gets and puts each view: for
small streams 2 read units and a write unit each. On a terminal it scans once more, to know the time left;
--no-count spares that. The RebuildRole of examples/deploy may do all of it.`,
		Example: `  esctl rebuild --resume rebuild.json
  esctl rebuild --category org --parallel 16 --rate 200
  esctl rebuild org/42`,
		Args:              takes(0, -1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			named, err := parseStreams(args)
			if err != nil {
				return err
			}
			skip, err := parseStreams(leftOut)
			if err != nil {
				return err
			}
			if err := p.validate(); err != nil {
				return err
			}
			if len(named) > 0 && (file != "" || within != "" || len(skip) > 0) {
				return usagef("streams are named, which --resume, --category and --skip are not for")
			}
			if within != "" && !slices.Contains(categoryNames(), within) {
				return usagef("there are no views of the category %q; there are %s", within, strings.Join(categoryNames(), ", "))
			}
			for _, stream := range named {
				if !slices.Contains(categoryNames(), stream.Category) {
					return usagef("there are no views of %s; there are those of %s", stream, strings.Join(categoryNames(), ", "))
				}
			}
			s, err := t.open(c.Context(), t, "EVENT_TABLE", "VIEW_TABLE")
			if err != nil {
				return err
			}
			for _, stream := range named {
				if err := s.exists(c.Context(), stream); err != nil {
					return err
				}
			}
			all := slices.DeleteFunc(slices.Clone(s.categories), func(c category) bool {
				return within != "" && c.name() != within ||
					len(named) > 0 && !slices.ContainsFunc(named, func(s es.StreamID) bool { return s.Category == c.name() })
			})
			place, err := openPlace(file, s.place, p.parallel, c.Flags().Changed("parallel"), all)
			if err != nil {
				return err
			}
			p.parallel = place.Shards
			list := s.lister
			if len(named) > 0 {
				list = only(named)
			}
			r := rebuilding{store: s.store, list: list, skip: skip, pace: p, place: place}
			bar, err := t.progress("rebuilding", p, func(add func()) error { return r.count(c.Context(), all, add) })
			if err != nil {
				return err
			}
			defer bar.done()
			for i, known := range all {
				err = r.run(c.Context(), known, &place.Parts[i], bar)
				if err != nil {
					break
				}
			}
			bar.done()
			if err != nil {
				if err := place.save(); err != nil {
					return err
				}
				if c.Context().Err() != nil {
					err = c.Context().Err() // where it was just then says nothing
				}
				return advise(err, file)
			}
			for _, part := range place.Parts {
				fmt.Fprintf(t.stdout, "%s: %s rebuilt from %s", part.Category, count(part.Streams, "stream"), count(int(part.Events), "event"))
				if part.before > 0 {
					fmt.Fprintf(t.stdout, ", %s before the interruption", count(part.before, "stream"))
				}
				fmt.Fprintln(t.stdout)
			}
			return place.remove()
		},
	}
	c.Flags().StringVar(&within, "category", "", "only views of this `category`")
	c.Flags().StringVar(&file, "resume", "", "keep the place in this `file`, and go on from there")
	c.Flags().StringArrayVar(&leftOut, "skip", nil, "leave this `stream` out; may be repeated")
	p.flags(c)
	completeCategory(c)
	return c
}

// exists returns an error if there is nothing in a stream.
func (s *system) exists(ctx context.Context, stream es.StreamID) error {
	for _, err := range s.store.LoadBack(ctx, stream, 1) {
		return err
	}
	return fmt.Errorf("stream %s does not exist", stream)
}

// advise says what can be done about a rebuild that ended too soon.
func advise(err error, file string) error {
	if gap, ok := errors.AsType[*es.GapError](err); ok {
		err = fmt.Errorf("%w\nesctl verify %s says more; --skip %[2]s leaves it out", err, quoted(gap.Stream.String()))
	}
	if event, ok := errors.AsType[*es.EventError](err); ok {
		err = fmt.Errorf("%w\nesctl show %s says more; --skip %[2]s leaves it out", err, quoted(event.Stream.String()))
	}
	if file != "" {
		err = fmt.Errorf("%w\nwhat is done is kept in %s: the same command goes on from there", err, quoted(file))
	}
	return err
}

// rebuilding is a rebuild on its way.
type rebuilding struct {
	store es.Store
	list  es.Lister
	skip  []es.StreamID
	pace  pace
	place *place
}

// streams lists the streams of a category, and others, with those left out that are skipped.
func (r *rebuilding) streams(ctx context.Context, shard, shards int, after es.StreamID) iter.Seq2[es.StreamID, error] {
	return func(yield func(es.StreamID, error) bool) {
		for stream, err := range r.list.Streams(ctx, shard, shards, after) {
			if err == nil && slices.Contains(r.skip, stream) {
				continue
			}
			if !yield(stream, err) {
				return
			}
		}
	}
}

// count calls add for each view that is still to be made. Categories that begin at the same place
// are counted by one scan.
func (r *rebuilding) count(ctx context.Context, all []category, add func()) error {
	counted := make([]bool, len(all))
	for i, from := range r.place.Parts {
		if from.Done || counted[i] {
			continue
		}
		var within []string
		for j, part := range r.place.Parts {
			if !part.Done && slices.Equal(part.after, from.after) {
				counted[j] = true
				within = append(within, all[j].name())
			}
		}
		err := r.pace.walk(ctx, listing{r.store, r.streams}, from.after, func(_ context.Context, stream es.StreamID) error {
			if slices.Contains(within, stream.Category) {
				add()
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// run makes the views of a category, from where it was before.
func (r *rebuilding) run(ctx context.Context, known category, part *part, bar *progress) error {
	if part.Done {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := r.pace.limiter()
	streams := listing{r.store, func(ctx context.Context, shard, shards int, after es.StreamID) iter.Seq2[es.StreamID, error] {
		return func(yield func(es.StreamID, error) bool) {
			for stream, err := range r.streams(ctx, shard, shards, after) {
				if err == nil && stream.Category == known.name() {
					err = limit.Wait(ctx)
				}
				if !yield(stream, err) {
					return
				}
			}
		}
	}}
	streamsBefore, eventsBefore, saved := part.Streams, part.Events, time.Now()
	err := known.rebuild(ctx, streams, es.RebuildOptions{
		Shards: r.pace.parallel, After: slices.Clone(part.after),
		Progress: func(now es.RebuildProgress) {
			if streamsBefore+now.Streams > part.Streams {
				bar.add()
			}
			part.after[now.Shard] = now.Stream
			part.Streams, part.Events = streamsBefore+now.Streams, eventsBefore+now.Events
			if time.Since(saved) >= saveEvery {
				saved = time.Now()
				if err := r.place.save(); err != nil {
					cancel(err)
				}
			}
		},
	})
	if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil && !errors.Is(cause, context.Canceled) {
		return cause // the file cannot be written
	}
	part.Done = err == nil
	return err
}
