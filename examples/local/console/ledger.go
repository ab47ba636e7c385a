package console

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leftfold/leftfold/es"
)

// maxRows is how many streams a page gets at once.
const maxRows = 100

// ledger is the account of what is stored, what was delivered, and what the views have. Two
// histories are the same if they come to the same sum, so that it costs the same for a stream
// of any length. Like a store in memory it has something of every stream.
type ledger struct {
	mu      sync.Mutex
	streams map[es.StreamID]*account
	touched map[es.StreamID]bool // streams to be looked at
	looks   uint64
	revoked int
	repeats int
}

// account is that of one stream.
type account struct {
	settled   chain         // in the store, for ever
	stored    chain         // and with what is pending or claimed
	unsettled string        // the status of that, empty if there is nothing
	delivered chain         // to a subscriber
	counted   uint64        // the version that was delivered when the store was read
	view      uint64        // the version of the view
	lag       time.Duration // from the command to the view, the last time
	behind    time.Time     // since when the view is older than the store; zero if it is not
	seen      uint64        // the look that saw a change last
	wrong     string        // what can never be, and was seen first
}

func (a *account) accuse(format string, args ...any) {
	if a.wrong == "" {
		a.wrong = fmt.Sprintf(format, args...)
	}
}

// chain is the sum of a history: each commit, with all that subscribers get of it, in order.
type chain struct {
	version uint64
	sum     [sha256.Size]byte
}

func (c chain) add(commit es.Commit) chain {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%x %d %q", c.sum, commit.Version, commit.ID)
	for _, e := range commit.Events {
		_, _ = fmt.Fprintf(h, " %q %q", e.Type, e.Data)
	}
	return chain{commit.Last(), [sha256.Size]byte(h.Sum(nil))}
}

// account returns that of a stream. The ledger is locked.
func (l *ledger) account(id es.StreamID) *account {
	a := l.streams[id]
	if a == nil {
		a = new(account)
		l.streams[id] = a
	}
	return a
}

func (l *ledger) touch(id es.StreamID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.touched[id] = true
}

func (l *ledger) revoke() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revoked++
}

func (l *ledger) lag(c es.Commit, lag time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account(c.Stream).lag = lag
}

// deliver notes what a subscriber got. A repeat is allowed, a gap is not.
func (l *ledger) deliver(c es.Commit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(c.Stream)
	switch {
	case c.Last() <= a.delivered.version:
		l.repeats++
		return
	case c.Version != a.delivered.version+1:
		a.accuse("version %d was delivered after %d", c.Version, a.delivered.version)
	}
	a.delivered = a.delivered.add(c)
}

// open makes the account of a stream that was there before.
func (c *Console) open(ctx context.Context, id es.StreamID) error {
	_, err := c.inspect(ctx, id)
	if err != nil {
		return err
	}
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	a := c.ledger.account(id)
	a.delivered, a.counted = a.settled, a.settled.version
	return nil
}

// look brings the accounts of the streams up to date that something happened to.
func (c *Console) look(ctx context.Context) {
	l := &c.ledger
	l.mu.Lock()
	touched := l.touched
	l.touched = make(map[es.StreamID]bool)
	l.mu.Unlock()
	for id := range touched {
		row, err := c.inspect(ctx, id)
		if err != nil {
			if ctx.Err() == nil {
				c.mark(id) // again
			}
			continue
		}
		c.feed.add("row", row)
	}
	c.feed.add("check", l.check())
}

// inspect reads view and store. The order matters: what a view has was delivered before, and
// what was delivered was stored before. So whatever is ahead of what is read after it is wrong.
func (c *Console) inspect(ctx context.Context, id es.StreamID) (row, error) {
	var version uint64
	var document any
	if kind, ok := c.kinds[id.Category]; ok {
		var err error
		if version, document, err = kind.view(ctx, id); err != nil {
			return row{}, err
		}
	}
	l := &c.ledger
	l.mu.Lock()
	a := l.account(id)
	delivered, settled := a.delivered, a.settled
	l.mu.Unlock()

	stored, unsettled := settled, ""
	for commit, err := range c.store.Load(ctx, id, settled.version) {
		if err != nil {
			return row{}, err
		}
		switch commit.Status {
		case es.Settled:
			settled = settled.add(commit)
			stored = settled
		case es.Pending, es.Claimed:
			stored, unsettled = settled.add(commit), commit.Status.String()
		}
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	l.looks++
	a.settled, a.stored, a.unsettled, a.counted, a.view, a.seen = settled, stored, unsettled, delivered.version, version, l.looks
	switch {
	case delivered.version > stored.version:
		a.accuse("version %d was delivered and is not stored", delivered.version)
	case delivered.version == stored.version && delivered.sum != stored.sum:
		a.accuse("what was delivered up to version %d is not what is stored", stored.version)
	case version > stored.version:
		a.accuse("the view is at version %d, and the store at %d", version, stored.version)
	}
	switch {
	case version >= stored.version:
		a.behind = time.Time{}
	case a.behind.IsZero():
		a.behind = time.Now()
	}
	return a.row(id, document), nil
}

// row is what the page shows of a stream.
type row struct {
	Stream    string          `json:"stream"`
	Stored    uint64          `json:"stored"`
	Delivered uint64          `json:"delivered"`
	View      uint64          `json:"view"`
	Unsettled string          `json:"unsettled,omitempty"`
	Lag       int64           `json:"lag"`              // milliseconds, the last time
	Behind    *time.Time      `json:"behind,omitempty"` // since when
	Wrong     string          `json:"wrong,omitempty"`
	Document  json.RawMessage `json:"document,omitempty"`
}

func (a *account) row(id es.StreamID, document any) row {
	r := row{
		Stream: id.String(), Stored: a.stored.version, Delivered: a.counted, View: a.view,
		Unsettled: a.unsettled, Lag: a.lag.Milliseconds(), Wrong: a.wrong,
	}
	if !a.behind.IsZero() {
		behind := a.behind
		r.Behind = &behind
	}
	if data, err := json.Marshal(document); err == nil && a.view > 0 {
		r.Document = shown(data)
	}
	return r
}

// rows returns the streams whose names contain a text, those first that changed last.
func (c *Console) rows(ctx context.Context, part string, limit int) []row {
	type found struct {
		id   es.StreamID
		seen uint64
	}
	var all []found
	l := &c.ledger
	l.mu.Lock()
	for id, a := range l.streams {
		if strings.Contains(id.String(), part) {
			all = append(all, found{id, a.seen})
		}
	}
	l.mu.Unlock()
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(b.seen, a.seen), strings.Compare(a.id.String(), b.id.String()))
	})
	rows := []row{}
	for _, f := range all[:min(len(all), limit)] {
		var document any
		if kind, ok := c.kinds[f.id.Category]; ok {
			// Without its document a row still says enough.
			_, document, _ = kind.view(ctx, f.id)
		}
		l.mu.Lock()
		rows = append(rows, l.streams[f.id].row(f.id, document))
		l.mu.Unlock()
	}
	return rows
}

// check is the one thing that must always be so: stored = published = in the views.
type check struct {
	State     string   `json:"state"` // equal, behind, wrong
	Streams   int      `json:"streams"`
	Stored    uint64   `json:"stored"` // events
	Delivered uint64   `json:"delivered"`
	Viewed    uint64   `json:"viewed"`
	Unsettled int      `json:"unsettled"` // commits
	Revoked   int      `json:"revoked"`   // commits, since the start
	Repeats   int      `json:"repeats"`   // deliveries
	Wrong     []string `json:"wrong,omitempty"`
}

// maxWrong is how many wrongs are told.
const maxWrong = 5

func (l *ledger) check() check {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := check{State: "equal", Revoked: l.revoked, Repeats: l.repeats}
	for id, a := range l.streams {
		if a.stored.version > 0 {
			c.Streams++
		}
		c.Stored += a.stored.version
		c.Delivered += a.counted
		c.Viewed += a.view
		if a.unsettled != "" {
			c.Unsettled++
		}
		if a.stored.version != a.counted || a.stored.version != a.view {
			c.State = "behind"
		}
		if a.wrong != "" && len(c.Wrong) < maxWrong {
			c.Wrong = append(c.Wrong, id.String()+": "+a.wrong)
		}
	}
	if len(c.Wrong) > 0 {
		slices.Sort(c.Wrong)
		c.State = "wrong"
	}
	return c
}
