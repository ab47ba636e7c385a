package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leftfold/leftfold/es"
)

func (t *tool) streams() *cobra.Command {
	var (
		within, prefix, after string
		limit                 int
		asJSON                bool
	)
	c := &cobra.Command{
		Use:   "streams",
		Short: "List streams",
		Long: `streams lists the names of streams, one a line.

DynamoDB has no list of streams: this is a Scan of the table of events. It costs a read unit
for each 4 KB that it passes over, shown or not, and needs dynamodb:Scan, which the function's role
has not: take the RebuildRole, or an operator's. A table of 1 GB is some 262 000 read units, about
0.03 USD. A limit ends the scan early; category and prefix do not make it cheaper.

The order is that of the table's hashes: it says nothing, and is the same each time.`,
		Example: `  esctl streams
  esctl streams --category org --limit 20
  esctl streams --after org/42          # the next ones
  esctl streams --limit 0 | wc -l       # all of them`,
		Args: takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			var from es.StreamID
			if after != "" {
				var err error
				if from, err = parseStream(after); err != nil {
					return err
				}
			}
			if limit < 0 {
				return usagef("--limit is %d; 0 is all", limit)
			}
			s, err := t.open(c.Context(), t, "EVENT_TABLE")
			if err != nil {
				return err
			}
			n := 0
			var last es.StreamID
			for stream, err := range s.lister.Streams(c.Context(), 0, 1, from) {
				if err != nil {
					return err
				}
				if within != "" && stream.Category != within || !strings.HasPrefix(stream.String(), prefix) {
					continue
				}
				if limit > 0 && n == limit {
					fmt.Fprintf(t.stderr, "There are more: --after %s\n", quoted(last.String()))
					return nil
				}
				n, last = n+1, stream
				if !asJSON {
					fmt.Fprintln(t.stdout, shown(stream.String()))
				} else if err := writeJSON(t.stdout, map[string]string{"stream": stream.String()}); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&within, "category", "", "only streams of this `category`")
	c.Flags().StringVar(&prefix, "prefix", "", "only streams whose name begins with this `text`, such as org/4")
	c.Flags().StringVar(&after, "after", "", "go on behind this `stream`, which was the last one shown")
	c.Flags().IntVar(&limit, "limit", 100, "show so many, 0 for all")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	completeCategory(c)
	return c
}

// completeCategory completes the flag --category.
func completeCategory(c *cobra.Command) {
	// It fails only where there is no such flag.
	_ = c.RegisterFlagCompletionFunc("category", cobra.FixedCompletions(categoryNames(), cobra.ShellCompDirectiveNoFileComp))
}

func categoryNames() (all []string) {
	for _, c := range newSystem(listing{}, nil, nil, nil, nil).categories {
		all = append(all, c.name())
	}
	return all
}

// quoted returns a text as one word of a shell.
func quoted(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./@:") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
