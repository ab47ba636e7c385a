package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/leftfold/leftfold/es"
)

// step is one step of a commit through the protocol. The page folds them into what it shows.
type step struct {
	Stream  string    `json:"stream"`
	Version uint64    `json:"version"`
	Commit  string    `json:"commit"`
	Step    string    `json:"step"`    // append, publish, settle, revoke, claim, view, answer
	Outcome string    `json:"outcome"` // done, refused, conflict, unknown
	By      string    `json:"by"`      // who took it; of an answer, what was said
	At      time.Time `json:"at"`
	Stored  *stored   `json:"stored,omitempty"` // of an append alone
}

// stored is what a commit has besides its place.
type stored struct {
	Time     time.Time         `json:"time"`
	Command  string            `json:"command,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
	Replaces string            `json:"replaces,omitempty"`
	Events   []event           `json:"events"`
}

type event struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// step reports a step with its outcome, and returns that.
func (c *Console) step(ctx context.Context, name string, commit es.Commit, err error) error {
	who := callerOf(ctx)
	s := step{
		Stream: commit.Stream.String(), Version: commit.Version, Commit: commit.ID,
		Step: name, Outcome: outcome(err), By: who.role(commit, name), At: time.Now(),
	}
	if name == "view" {
		s.By = "the projection"
	}
	if name == "append" {
		s.Stored = storedOf(commit)
		who.stored = es.Commit{Stream: commit.Stream, Version: commit.Version}
	}
	c.feed.add("step", s)
	if name == "revoke" && err == nil {
		c.ledger.revoke()
	}
	c.mark(commit.Stream)
	return err
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, es.ErrConflict):
		return "conflict"
	case errors.Is(err, es.ErrRefused):
		return "refused"
	case errors.Is(err, errProjection):
		return "failed"
	}
	return "unknown"
}

func storedOf(c es.Commit) *stored {
	s := stored{Time: c.Time, Command: c.Command, Meta: c.Meta, Replaces: c.Replaces, Events: make([]event, len(c.Events))}
	for i, e := range c.Events {
		s.Events[i] = event{e.Type, shown([]byte(e.Data))}
	}
	return &s
}

// maxShown is how many bytes of an event or a document are kept for the page.
const maxShown = 8 << 10

// shown returns data as JSON of bounded size.
func shown(data []byte) json.RawMessage {
	if len(data) > maxShown || !json.Valid(data) {
		return json.RawMessage(fmt.Sprintf(`"%d bytes"`, len(data)))
	}
	return append(json.RawMessage(nil), data...)
}
