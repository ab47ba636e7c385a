package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/leftfold/leftfold/es"
)

func (t *tool) pending() *cobra.Command {
	var (
		older  time.Duration
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "pending",
		Short: "List commits that are not settled, and for how long",
		Long: `pending lists the commits that are stored and not known to be published, oldest first.

pending   its author may still publish or revoke it
claimed   somebody has taken over publishing it, and it can no longer be revoked

Under load there are always some, for milliseconds. The relay finishes what is older than a second,
each minute in the template of examples/deploy: what is older than some minutes is stuck.

It costs a query of each shard of the index, 8, and a read of each commit that it shows.`,
		Example: `  esctl pending
  esctl pending --older 5m       # what the relay did not finish`,
		Args: takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := t.open(c.Context(), t, "EVENT_TABLE")
			if err != nil {
				return err
			}
			now := t.now()
			before := now.Add(-older)
			if older <= 0 {
				before = now.Add(24 * time.Hour) // the clock of an author may be ahead
			}
			n := 0
			w := tabwriter.NewWriter(t.stdout, 0, 0, 2, ' ', 0)
			for commit, err := range s.store.Pending(c.Context(), before) {
				if err != nil {
					return err
				}
				age := max(0, now.Sub(commit.Time))
				if n++; asJSON {
					var types []string
					for _, e := range commit.Events {
						types = append(types, e.Type)
					}
					if err := writeJSON(t.stdout, struct {
						Stream  string    `json:"stream"`
						Version uint64    `json:"version"`
						Commit  string    `json:"commit"`
						Status  string    `json:"status"`
						Time    time.Time `json:"time"`
						Seconds float64   `json:"age_seconds"`
						Types   []string  `json:"types"`
					}{commit.Stream.String(), commit.Version, commit.ID, commit.Status.String(), commit.Time, age.Seconds(), types}); err != nil {
						return err
					}
					continue
				}
				if n == 1 {
					fmt.Fprintln(w, "AGE\tSTATUS\tSTREAM\tVERSION\tCOMMIT\tEVENTS")
				}
				fmt.Fprintf(w, "%v\t%v\t%s\t%d\t%s\t%s\n", ageOf(age), commit.Status, shown(commit.Stream.String()), commit.Version, shown(commit.ID), shown(typesOf(commit)))
			}
			if n == 0 && !asJSON {
				fmt.Fprintln(t.stdout, "nothing is pending")
			}
			return w.Flush()
		},
	}
	c.Flags().DurationVar(&older, "older", 0, "only what is older than this `duration`, such as 5m")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

// ageOf rounds an age to what is of interest.
func ageOf(age time.Duration) time.Duration {
	if age > time.Minute {
		return age.Round(time.Second)
	}
	return age.Round(time.Millisecond)
}

// typesOf returns the types of a commit's events in words.
func typesOf(c es.Commit) (words string) {
	for i, e := range c.Events {
		if i == 3 {
			return fmt.Sprintf("%s and %d more", words, len(c.Events)-i)
		}
		if i > 0 {
			words += " "
		}
		words += e.Type
	}
	return words
}

func (t *tool) relay() *cobra.Command {
	return &cobra.Command{
		Use:   "relay",
		Short: "Publish and settle what crashed, once",
		Long: `relay claims, publishes and settles every commit that has been pending for longer than a second.
It is what the function does each minute, done once, from here: what fails, fails with its reason
before your eyes. Any number of relays may run at once; a commit that is published twice is delivered
once, or dropped by its version.

It publishes to the topic of TOPIC_ARN. Do not run it on the tables of a local server: that publishes
to subscribers in its own memory, which would never hear of what is settled from here.

It needs dynamodb:UpdateItem on the table of events and sns:Publish on the topic.`,
		Example: `  esctl pending --older 1m && esctl relay`,
		Args:    takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := t.open(c.Context(), t, "EVENT_TABLE", "TOPIC_ARN")
			if err != nil {
				return err
			}
			n, err := s.journal.Relay(c.Context())
			fmt.Fprintf(t.stdout, "published and settled %s\n", count(n, "commit"))
			return err
		},
	}
}

// livingFor is the age below which the author of a commit may be alive, and the relay may not have
// come by.
const livingFor = time.Minute

func (t *tool) settle() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "settle STREAM COMMIT --reason TEXT",
		Short: "End a blockade by hand: settle a commit WITHOUT publishing it",
		Long: `settle marks the newest commit of a stream as published, although it is not. It is the last resort,
for a commit that the broker will never take: until it is settled, its stream takes no commands.

What it gives up: no subscriber ever gets this commit as a message. A view gets it from the store with
the next commit of the stream, or by "esctl rebuild STREAM"; an event handler never sees it: a code is
not sent, other systems do not learn of it. Its author, if it is alive, was told that it will be published.

Before: "esctl pending" shows the commit, and "esctl relay" says why it cannot be published. If the relay
succeeds, there is nothing to settle.

The protocol is kept: only the commit with the ID that you name is settled, only if it is the newest of
its stream, pending or claimed, and not before it is a minute old. It is claimed first, so that its author
cannot revoke it afterwards.

The reason is required. It goes to the log, which is standard error here, with stream, version and commit:
keep it. The event store has no place for it; a commit is never changed but for its status.`,
		Example: `  esctl settle org/42 JXQ3ZM7T2K5P4N6RWYVA --reason "over 256 KB, see ticket 17" 2>>settled.log`,
		Args:    takes(2, 2),
		RunE: func(c *cobra.Command, args []string) error {
			stream, err := parseStream(args[0])
			if err != nil {
				return err
			}
			if reason == "" {
				return usagef("--reason is missing: say why the commit will never be published")
			}
			s, err := t.open(c.Context(), t, "EVENT_TABLE")
			if err != nil {
				return err
			}
			id := args[1]
			for commit, err := range s.store.LoadBack(c.Context(), stream, 1) {
				if err != nil {
					return err
				}
				age := t.now().Sub(commit.Time)
				switch {
				case commit.ID != id:
					return fmt.Errorf("the newest commit of %s is %s, %v; nothing was settled", stream, commit.ID, commit.Status)
				case commit.Status == es.Settled || commit.Status == es.Revoked:
					return fmt.Errorf("commit %s of %s is %v: there is nothing to settle", id, stream, commit.Status)
				case age < livingFor:
					return fmt.Errorf("commit %s of %s is %v old: its author or the relay may still publish it; wait until it is %v old", id, stream, ageOf(age), livingFor)
				}
				if err := s.journal.Settle(c.Context(), stream, id, reason); err != nil {
					return err
				}
				fmt.Fprintf(t.stdout, "settled %s@%d (%s) without publishing it\n", shown(stream.String()), commit.Version, shown(typesOf(commit)))
				return nil
			}
			return fmt.Errorf("stream %s does not exist", stream)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().StringVar(&reason, "reason", "", "why it will never be published; goes to the log")
	return c
}
