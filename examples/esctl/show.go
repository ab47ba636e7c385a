package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/leftfold/leftfold/es"
)

// event is an event of a stream as it is stored.
type event struct {
	Version uint64            `json:"version"`
	Time    time.Time         `json:"time,omitzero"`
	Status  string            `json:"status"`
	Commit  string            `json:"commit"`
	Command string            `json:"command,omitempty"`
	Meta    map[string]string `json:"meta,omitempty"`
	Type    string            `json:"type,omitempty"`
	Data    json.RawMessage   `json:"data,omitempty"`
	Bytes   []byte            `json:"bytes,omitempty"` // the data, where it is no JSON
}

// history is a stream up to a version.
type history struct {
	Stream  string          `json:"stream"`
	Version uint64          `json:"version"`
	Events  []event         `json:"events"`
	State   json.RawMessage `json:"state,omitempty"`
}

func (t *tool) show() *cobra.Command {
	var (
		at     uint64
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "show STREAM",
		Short: "Show the events of a stream, and its state at a version",
		Long: `show prints each event of a stream as it is stored, and the state that they fold to: the
newest, or that at a version.

A pending commit is shown and is not in the state, for it may still be revoked. What this program
cannot read is shown as well; then there is no state, and the exit code is 1.

It shows everything that the events hold, names and addresses included. Codes are in no event.
It reads the whole stream: a read unit for each 4 KB.`,
		Example: `  esctl show org/42
  esctl show org/42 --at 3
  esctl show org/42 --json | jq .state`,
		Args:              takes(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			stream, err := parseStream(args[0])
			if err != nil {
				return err
			}
			if c.Flags().Changed("at") && at == 0 {
				return usagef("--at is 0; the first version is 1")
			}
			s, err := t.open(c.Context(), t, "EVENT_TABLE")
			if err != nil {
				return err
			}
			h, err := s.read(c, stream, at)
			if len(h.Events) > 0 {
				print := t.printHistory
				if asJSON {
					print = func(h history) error { return writeJSON(t.stdout, h) }
				}
				err = errors.Join(print(h), err)
			}
			return err
		},
	}
	c.Flags().Uint64Var(&at, "at", 0, "stop at this `version`, and show the state there")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object with everything")
	return c
}

// read returns a stream up to a version, 0 for all of it. What it could read is there after an
// error, too.
func (s *system) read(c *cobra.Command, stream es.StreamID, at uint64) (history, error) {
	h := history{Stream: stream.String(), Events: []event{}}
	var f fold
	if known := s.category(stream.Category); known != nil {
		f = known.fold()
	}
	var failed error
	var open string // the status of what is not history
	for commit, err := range s.store.Load(c.Context(), stream, 0) {
		if err != nil {
			failed = errors.Join(failed, err)
			break
		}
		if commit.Status == es.Revoked {
			h.Events = append(h.Events, event{Version: commit.Version, Status: commit.Status.String(), Commit: commit.ID})
		}
		for i, e := range commit.Events {
			shown := event{
				Version: commit.Version + uint64(i), Time: commit.Time, Status: commit.Status.String(), Commit: commit.ID,
				Command: commit.Command, Meta: commit.Meta, Type: e.Type,
			}
			if data := []byte(e.Data); json.Valid(data) {
				shown.Data = data
			} else {
				shown.Bytes = data
			}
			h.Events = append(h.Events, shown)
			if commit.Status == es.Pending {
				open = commit.Status.String()
			} else {
				h.Version = shown.Version
				if f != nil && failed == nil {
					if err := f.add(commit, i); err != nil {
						failed = &es.EventError{Stream: stream, Version: shown.Version, Type: e.Type, Err: err}
					}
				}
			}
			if shown.Version == at {
				break
			}
		}
		if commit.Status == es.Pending || at > 0 && commit.Version+uint64(len(commit.Events)) > at {
			break
		}
	}
	switch {
	case failed != nil:
		return h, failed
	case len(h.Events) == 0:
		return h, fmt.Errorf("stream %s does not exist", stream)
	case at > h.Version && open != "":
		return h, fmt.Errorf("stream %s is at version %d; what follows is %s", stream, h.Version, open)
	case at > h.Version:
		return h, fmt.Errorf("stream %s is at version %d: it has no version %d", stream, h.Version, at)
	case h.Version == 0:
		return h, nil // nothing is history yet
	case f == nil:
		return h, fmt.Errorf("there is no state: this program has no aggregate for the category %q", stream.Category)
	}
	var err error
	h.State, err = f.state()
	return h, err
}

func (t *tool) printHistory(h history) error {
	w := tabwriter.NewWriter(t.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VERSION\tTIME\tSTATUS\tCOMMIT\tEVENT\tDATA")
	for _, e := range h.Events {
		data := string(e.Bytes)
		if e.Data != nil {
			var line bytes.Buffer
			if err := json.Compact(&line, e.Data); err != nil {
				return err
			}
			data = unescaped(line.String())
		}
		when := ""
		if !e.Time.IsZero() {
			when = e.Time.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", e.Version, when, e.Status, shown(e.Commit), shown(e.Type), shown(data))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if h.Version == 0 {
		fmt.Fprintln(t.stdout, "\nThe stream is at version 0: nothing of this is history.")
	}
	if h.State == nil {
		return nil
	}
	var state bytes.Buffer
	if err := json.Indent(&state, h.State, "", "  "); err != nil {
		return err
	}
	fmt.Fprintf(t.stdout, "\nstate at version %d:\n", h.Version)
	for line := range bytes.Lines(append(state.Bytes(), '\n')) {
		fmt.Fprintln(t.stdout, shown(unescaped(string(bytes.TrimRight(line, "\n")))))
	}
	return nil
}

// unescaped returns JSON with the characters in it that encoding/json escapes for the sake of HTML.
func unescaped(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+1 == len(s) {
			return b.String() + s
		}
		b.WriteString(s[:i])
		s = s[i:]
		n := 2 // a pair: what follows a backslash does not begin another escape
		switch {
		case strings.HasPrefix(s, `\u0026`):
			n = 6
			b.WriteByte('&')
		case strings.HasPrefix(s, `\u003c`):
			n = 6
			b.WriteByte('<')
		case strings.HasPrefix(s, `\u003e`):
			n = 6
			b.WriteByte('>')
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
}
