package console

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
)

// control is a switch as the page shows it. Its first position is how things are when they work.
type control struct {
	Name      string     `json:"name"`
	Title     string     `json:"title"`
	Positions []position `json:"positions"`
}

// position is one of a switch's, with what to expect of it.
type position struct {
	Name   string `json:"name"`
	Label  string `json:"label"`
	Expect string `json:"expect"`
}

// The positions that break something.
const (
	refuses     = "refuses"
	losesBefore = "loses-before"
	losesAfter  = "loses-after"
	slow        = "slow"
	dies        = "dies"
	together    = "together"
	fails       = "fails"
	paused      = "paused"
)

// controls are all switches that there are, in the order in which a visitor should try them.
var controls = []control{
	{"broker", "The broker", []position{
		{"works", "works", "A command is stored, published and settled. The caller is told 200 or 201, and the view follows."},
		{refuses, "refuses every message", "The caller is told 503, and nothing has happened: the commit is revoked, and the next command gets its version. No subscriber ever sees it."},
		{losesBefore, "times out, and got nothing", "The caller is told 202: stored, and it will be published. The commit stays pending. Nobody can build on it, so the next command is told 503, until the broker works again. Then the next command or the relay claims it, publishes it and settles it."},
		{losesAfter, "times out, but got it", "The caller is told 202, because nobody can know. The view follows all the same. Once the broker works, the commit is published again under the same ID, and the broker drops the repeat."},
		{slow, "is slow", "Each publication takes 0.4 s. The caller waits, and is then told the usual."},
	}},
	{"writer", "The process that runs a command", []position{
		{"lives", "lives", "It stores the events, publishes them and settles the commit."},
		{dies, "dies right after it has stored the events", "The connection breaks, and the caller is told nothing. The commit stays pending. The next command on the stream waits for a second, whether its author lives, and then claims and publishes it; or else the relay does. Sent again with the same Idempotency-Key, the command has no second effect."},
	}},
	{"race", "Two writers on one stream", []position{
		{"apart", "come one after the other", "Each builds on the one before."},
		{together, "store at the same moment", "Each command waits for a rival before it stores, for 0.4 s at most. One of them wins the version. The other one's attempt is not stored: it loads again, decides again, and gets the next version. If both required the same version (If-Match), the loser is told 412."},
	}},
	{"views", "The projection", []position{
		{"works", "works", "Views are brought up to date as commits are delivered."},
		{fails, "fails", "Commands go on. The view falls behind and is never wrong, only older. The commit is delivered again until the projection has taken it."},
		{paused, "is paused", "Commands go on, and the view stands still. Queries that wait for a version keep waiting, for 5 s at most. Then it catches up, in order."},
	}},
	{"relay", "The relay", []position{
		{"runs", "runs every 2 s", "It looks for what was left behind, and finishes what nobody else does: commits that have been pending for longer than a second."},
		{paused, "is paused", "A commit that was left behind is finished by the next command on its stream, and not before."},
	}},
}

// switches has the position of each switch.
type switches struct {
	feed    *feed
	mu      sync.Mutex
	at      map[string]string
	changed chan struct{} // closed when a switch was thrown
}

func newSwitches(f *feed) *switches {
	s := &switches{feed: f, changed: make(chan struct{})}
	s.mend()
	return s
}

var errNoSwitch = errors.New("there is no such switch, or it has no such position")

// throw puts a switch into a position.
func (s *switches) throw(name, to string) error {
	if !slices.ContainsFunc(controls, func(sw control) bool {
		return sw.Name == name && slices.ContainsFunc(sw.Positions, func(p position) bool { return p.Name == to })
	}) {
		return errNoSwitch
	}
	s.change(func() { s.at[name] = to })
	return nil
}

// mend puts all switches back.
func (s *switches) mend() {
	s.change(func() {
		s.at = make(map[string]string, len(controls))
		for _, sw := range controls {
			s.at[sw.Name] = sw.Positions[0].Name
		}
	})
}

func (s *switches) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
	s.feed.add("switches", s.at)
}

func (s *switches) state() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.at)
}

func (s *switches) get(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[name]
}

// wait returns when the switch is not in the position any more, or with the context's error.
func (s *switches) wait(ctx context.Context, name, position string) error {
	for {
		s.mu.Lock()
		at, changed := s.at[name], s.changed
		s.mu.Unlock()
		if at != position {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// serveSwitches is POST /console/switches: {"switch":"broker","to":"refuses"}, or {} to mend
// everything. It answers with the positions of all.
func (c *Console) serveSwitches(w http.ResponseWriter, r *http.Request) {
	var thrown struct{ Switch, To string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&thrown); err != nil {
		http.Error(w, `Send {"switch":"…","to":"…"}.`, http.StatusBadRequest)
		return
	}
	if thrown.Switch == "" {
		c.switches.mend()
	} else if err := c.switches.throw(thrown.Switch, thrown.To); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	writeJSON(w, c.switches.state())
}
