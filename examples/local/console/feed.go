package console

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxEntries = 2000             // entries that a feed remembers
	maxReaders = 16               // pages at a time
	beat       = 10 * time.Second // how often a silent feed says that it lives
	writeFor   = 10 * time.Second // the time that a reader has for what it is sent
)

// feed is what happened lately, in order. Readers keep their own place in it, so that one
// who is slow costs nothing: it finds that its place is gone, and begins anew.
type feed struct {
	boot string // tells this feed from that of the process before it

	mu      sync.Mutex
	entries []entry       // oldest first, numbered without a gap
	last    uint64        // the number of the newest
	changed chan struct{} // closed when there is more
	readers int
	closed  bool
}

// entry is one thing that happened.
type entry struct {
	number uint64
	kind   string
	data   []byte
}

func newFeed() *feed { return &feed{boot: rand.Text()[:8], changed: make(chan struct{})} }

// add puts something at the end, encoded as JSON.
func (f *feed) add(kind string, v any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, err := json.Marshal(v)
	if err != nil {
		kind, data = "broken", []byte(strconv.Quote(err.Error()))
	}
	f.last++
	f.entries = append(f.entries, entry{f.last, kind, data})
	if len(f.entries) == 2*maxEntries { // halved, and not moved with each entry
		f.entries = append([]entry(nil), f.entries[maxEntries:]...)
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// after returns what came after a number, false if some of that is forgotten, and a channel
// that is closed when there is more.
func (f *feed) after(number uint64) (entries []entry, complete bool, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if number > f.last {
		return nil, false, f.changed
	}
	kept := f.entries[max(0, len(f.entries)-maxEntries):]
	n := f.last - number
	if n > uint64(len(kept)) {
		return kept, false, f.changed
	}
	return kept[uint64(len(kept))-n:], true, f.changed
}

// enter reports whether there is room for one more reader.
func (f *feed) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.readers == maxReaders {
		return false
	}
	f.readers++
	return true
}

func (f *feed) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers--
}

// close ends the feed for every reader.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.changed)
		f.changed = make(chan struct{})
	}
}

func (f *feed) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// number returns the number in a Last-Event-ID, false if it is not one of this feed.
func (f *feed) number(id string) (uint64, bool) {
	boot, number, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	return n, err == nil && boot == f.boot
}

// hello is what a page begins with; the steps that the feed remembers follow.
type hello struct {
	Boot     string            `json:"boot"` // another one after a restart
	Switches []control         `json:"switches"`
	State    map[string]string `json:"state"` // of the switches
	Check    check             `json:"check"`
	Rows     []row             `json:"rows"`
	Polls    []poll            `json:"polls"`
}

// serveFeed is GET /console/feed: server-sent events. A reader that comes again with the
// Last-Event-ID that it had last gets what it missed, and nothing twice; one that is new, or
// was away for too long, gets a hello and what is remembered.
func (c *Console) serveFeed(w http.ResponseWriter, r *http.Request) {
	f := c.feed
	if !f.enter() {
		http.Error(w, "Too many consoles are open.", http.StatusServiceUnavailable)
		return
	}
	defer f.leave()
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = fmt.Fprint(w, "retry: 1000\n\n")

	last, known := f.number(r.Header.Get("Last-Event-ID"))
	for !f.isClosed() {
		entries, complete, changed := f.after(last)
		_ = out.SetWriteDeadline(time.Now().Add(writeFor))
		if !known || !complete {
			known = true
			entries, _, changed = f.after(0)
			if len(entries) > 0 {
				last = entries[len(entries)-1].number
			}
			// It has no number: whoever leaves before its first step begins anew.
			data, err := json.Marshal(c.hello(r))
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(w, "event: hello\ndata: %s\n\n", data)
			entries = steps(entries)
		}
		for _, e := range entries {
			_, _ = fmt.Fprintf(w, "id: %s-%d\nevent: %s\ndata: %s\n\n", f.boot, e.number, e.kind, e.data)
			last = max(last, e.number)
		}
		if out.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		case <-time.After(beat):
			_, _ = fmt.Fprint(w, ": alive\n\n")
		}
	}
}

func (c *Console) hello(r *http.Request) hello {
	return hello{Boot: c.feed.boot, Switches: controls, State: c.switches.state(), Check: c.ledger.check(), Rows: c.rows(r.Context(), "", maxRows), Polls: c.polls.list()}
}

// steps leaves the steps: of everything else, a hello has the newest.
func steps(entries []entry) []entry {
	var found []entry
	for _, e := range entries {
		if e.kind == "step" {
			found = append(found, e)
		}
	}
	return found
}
