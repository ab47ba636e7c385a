// Package console is a page on which one sees a service that is built on es at work: a
// command becomes an event, the event is published, the view follows, and when something
// breaks, the commit protocol recovers. It stands between a service and its store and
// broker, watches what passes, and breaks it where the visitor says so:
//
//	c := console.New(store, bus, console.Of(&org.Aggregate, orgViews, orgFold))
//	journal := &es.Journal{Store: c.Store(), Publisher: c.Publisher()}
//	err := c.Start(ctx)                          // what was there before
//	bus.Subscribe("views", c.Views(project))     // an es.Projection's Handle
//	bus.Subscribe("codes", c.EventHandler(react)) // an es.Reactor's Handle
//	bus.Subscribe("console", c.Deliver)
//	go c.Run(ctx)
//	http.Serve(listener, c.Handler(api, listener.Addr()))
//
// The page is at / and listens to a feed of what happens, which it folds into what it
// shows: it is a projection itself. All of it is in the binary, and it asks nobody else.
//
// It is for one machine, and shows whatever it sees to whoever may open it. So it
// is served on a loopback address alone, to a browser that asks for a loopback name: a
// page of another site that had its own name point here (DNS rebinding) gets nothing,
// nor can it throw a switch. Nothing is logged.
//
// Package estest breaks stores and brokers as well, but for tests: by the number of the
// call, remembering each for the message of a test that fails, and a process that died
// stays dead. A page needs switches, delays and a memory that does not grow, and a program
// should not link package testing; so the few lines of each fault are here.
package console

import (
	"context"
	"embed"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/leftfold/leftfold/es"
)

// ListedStore is a store that can say which streams it has, which the check needs.
type ListedStore interface {
	es.Store
	es.Lister
}

// Console watches one service. Make one with [New]. It is safe for concurrent use.
type Console struct {
	store     ListedStore
	publisher es.Publisher
	kinds     map[string]Kind

	feed     *feed
	switches *switches
	race     race
	polls    polls
	deaths   deaths
	ledger   ledger
	dirty    chan struct{} // has one value while a stream is to be looked at
}

// New returns a console of a store and a broker, with all kinds of streams that there are.
func New(store ListedStore, publisher es.Publisher, kinds ...Kind) *Console {
	f := newFeed()
	c := &Console{
		store: store, publisher: publisher, kinds: make(map[string]Kind, len(kinds)),
		feed: f, switches: newSwitches(f), polls: polls{feed: f},
		ledger: ledger{streams: make(map[es.StreamID]*account), touched: make(map[es.StreamID]bool)},
		dirty:  make(chan struct{}, 1),
	}
	for _, k := range kinds {
		c.kinds[k.category] = k
	}
	return c
}

// Start takes what the store has as published: it came before anybody watched. It is
// called before the first command, and before the bus delivers anything.
func (c *Console) Start(ctx context.Context) error {
	for id, err := range c.store.Streams(ctx, 0, 1, es.StreamID{}) {
		if err != nil {
			return fmt.Errorf("console: %w", err)
		}
		if err := c.open(ctx, id); err != nil {
			return fmt.Errorf("console: %w", err)
		}
	}
	c.feed.add("check", c.ledger.check())
	return nil
}

// settleFor is how long Run waits for more to look at, so that it does not look at a
// stream after each step of each command.
const settleFor = 50 * time.Millisecond

// Run looks at each stream that something happened to, in the store and the read
// database themselves, and reports what it finds, until the context ends.
func (c *Console) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.dirty:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleFor):
		}
		c.look(ctx)
	}
}

// Close mends what is broken and ends all feeds, so that what runs can finish and the
// server can shut down.
func (c *Console) Close() {
	c.switches.mend()
	c.feed.close()
}

//go:embed page
var page embed.FS

// Handler returns the API with the console beside it: at / and below /console/. The API is
// watched as well: what its callers are told, and who waits for a view. Where addr, on which
// the server listens, is not a loopback address, there is no console, and only the API.
func (c *Console) Handler(api http.Handler, addr net.Addr) http.Handler {
	api = c.watch(api)
	if !ServedOn(addr) {
		return api
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", serveFile)
	mux.HandleFunc("GET /console/", serveFile)
	mux.HandleFunc("GET /console/feed", c.serveFeed)
	mux.HandleFunc("GET /console/streams", c.serveStreams)
	mux.HandleFunc("GET /console/history", c.serveHistory)
	mux.HandleFunc("POST /console/switches", c.serveSwitches)
	console := guard(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" || strings.HasPrefix(r.URL.Path, "/console/") {
			console.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}

// mark has a stream looked at.
func (c *Console) mark(id es.StreamID) {
	c.ledger.touch(id)
	select {
	case c.dirty <- struct{}{}:
	default: // it will be
	}
}
