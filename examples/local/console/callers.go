package console

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/leftfold/leftfold/es"
)

// caller is who executes commands: a request to the API, or the event handler. A caller runs
// one command after the other.
type caller struct {
	name    string
	request bool
	key     string    // the Idempotency-Key of a request
	commit  string    // the ID of the commit that it stored last, or tried to
	stored  es.Commit // without its events
}

type callerKey struct{}

func withCaller(ctx context.Context, who *caller) context.Context {
	return context.WithValue(ctx, callerKey{}, who)
}

// callerOf returns who is behind a call. Only the relay comes without a name.
func callerOf(ctx context.Context) *caller {
	if who, ok := ctx.Value(callerKey{}).(*caller); ok {
		return who
	}
	return &caller{name: "the relay"}
}

// role says what the caller is to a commit.
func (w *caller) role(c es.Commit, step string) string {
	switch {
	case step == "append", w.name == "the relay":
		return w.name
	case w.commit == c.ID:
		return "its author"
	case w.request:
		return "the next command"
	}
	return w.name
}

// watch is the API, with what its callers are told of their commits, and who waits.
func (c *Console) watch(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.Header.Get("Prefer"), "wait") {
			defer c.polls.begin(r)()
		}
		who := &caller{name: "a command", request: true, key: r.Header.Get("Idempotency-Key")}
		if c.switches.get("writer") == dies && c.deaths.recent(who.key) {
			panic(http.ErrAbortHandler)
		}
		answer := &answerWriter{ResponseWriter: w}
		defer func() {
			if who.commit != "" {
				c.answered(who, answer.status)
			}
		}()
		api.ServeHTTP(answer, r.WithContext(withCaller(r.Context(), who)))
		if answer.status == 0 { // it returned, and did not die
			answer.status = http.StatusOK
		}
	})
}

// answered notes what a caller was told; status 0 means nothing at all.
func (c *Console) answered(who *caller, status int) {
	told := "nothing, the connection broke"
	if status > 0 {
		told = strconv.Itoa(status) + " " + http.StatusText(status)
	}
	c.feed.add("step", step{
		Stream: who.stored.Stream.String(), Version: who.stored.Version, Commit: who.commit,
		Step: "answer", Outcome: "done", By: told, At: time.Now(),
	})
}

// answerWriter remembers the status.
type answerWriter struct {
	http.ResponseWriter
	status int
}

func (w *answerWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// maxPolls is how many waiting queries are shown.
const maxPolls = 20

// poll is a query that waits for a view.
type poll struct {
	Path  string    `json:"path"`
	Known string    `json:"known"` // the version that the client has, as a tag
	Since time.Time `json:"since"`
}

// polls are the queries that wait now. It has a feed.
type polls struct {
	feed    *feed
	mu      sync.Mutex
	waiting []*poll // in the order in which they came
}

// begin notes a query, until the function that it returns is called.
func (p *polls) begin(r *http.Request) (end func()) {
	this := &poll{r.URL.Path, r.Header.Get("If-None-Match"), time.Now()}
	p.change(func() { p.waiting = append(p.waiting, this) })
	return func() {
		p.change(func() {
			for i := range p.waiting {
				if p.waiting[i] == this {
					p.waiting = append(p.waiting[:i:i], p.waiting[i+1:]...)
					return
				}
			}
		})
	}
}

func (p *polls) change(do func()) {
	p.mu.Lock()
	do()
	p.mu.Unlock()
	p.feed.add("polls", p.list())
}

func (p *polls) list() []poll {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := []poll{}
	for _, w := range p.waiting[:min(len(p.waiting), maxPolls)] {
		list = append(list, *w)
	}
	return list
}
