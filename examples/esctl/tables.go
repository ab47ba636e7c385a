package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (t *tool) tables() *cobra.Command {
	c := &cobra.Command{
		Use:   "tables",
		Short: "Create the tables",
	}
	group(c)
	c.AddCommand(&cobra.Command{
		Use:   "create",
		Short: "Create the tables of events and views, for tests and local use",
		Long: `create makes the tables that EVENT_TABLE and VIEW_TABLE name, with the keys and the index that the
service needs, billed on demand, and waits until they can be used. A table that is there is left as it is;
if it has other keys, that is an error.

For production use the template of examples/deploy: it adds backups, protection from deletion, and the
time after which kept answers are deleted.`,
		Example: `  AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8000 EVENT_TABLE=events VIEW_TABLE=views esctl tables create`,
		Args:    takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := t.open(c.Context(), t, "EVENT_TABLE", "VIEW_TABLE")
			if err != nil {
				return err
			}
			if err := s.tables(c.Context()); err != nil {
				return err
			}
			fmt.Fprintf(t.stdout, "%s can be used\n", s.place)
			return nil
		},
	})
	return c
}
