package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

// system is the whole reference system behind a TCP socket, put together like the local
// server, with a clock that can be moved and parts that can be made to fail.
type system struct {
	t       *testing.T
	url     string
	client  *http.Client
	service *service.Service
	codes   otp.Codes
	clock   *clock
	outbox  *outbox
	store   *store
	broker  *broker
	views   *fault // of the views
	answers *fault
	logs    *logs
}

var (
	otpKey   = []byte("the key of the codes in all tests")
	tokenKey = []byte("the key of the tokens in all tests")
)

func start(t *testing.T) *system {
	t.Helper()
	codes, err := otp.NewCodes(otpKey)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := service.NewTokens(tokenKey, "https://leftfold.example", 0)
	if err != nil {
		t.Fatal(err)
	}
	logs := new(logs)
	logger := slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	bus := memory.Bus{Logger: logger}
	sys := &system{
		t: t, codes: codes, clock: new(clock), outbox: new(outbox),
		store: &store{Store: new(memory.Store)}, broker: &broker{bus: &bus}, logs: logs, views: new(fault), answers: new(fault),
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 128},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	sys.service = &service.Service{
		Journal: &es.Journal{
			Store: sys.store, Publisher: sys.broker, Now: sys.clock.Now, Logger: logger,
			Grace:   time.Millisecond, // who is gone here is gone at once
			Timeout: 10 * time.Second, // a slow machine is no fault
		},
		OrgViews: views[org.View]{new(memory.Views[org.View]), sys.views},
		OTPViews: views[otp.View]{new(memory.Views[otp.View]), sys.views},
		Answers:  views[service.Answer]{new(memory.Views[service.Answer]), sys.answers},
		Codes:    codes, Tokens: tokens, Sender: sys.outbox, Logger: logger, Now: sys.clock.Now,
	}
	bus.Subscribe("views", sys.service.Project)
	bus.Subscribe("codes", sys.service.React)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sys.url = "http://" + listener.Addr().String()
	server := http.Server{ReadHeaderTimeout: time.Minute, Handler: sys.service.Handler(), ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelError)}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		sys.client.CloseIdleConnections()
		if err := errors.Join(server.Shutdown(ctx), bus.Close(ctx)); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	return sys
}

// in returns the system for a subtest.
func (s *system) in(t *testing.T) *system {
	c := *s
	c.t = t
	return &c
}

// clock is the real one, moved.
type clock struct {
	offset atomic.Int64
	whole  atomic.Bool // cut to seconds
}

func (c *clock) Now() time.Time {
	now := time.Now().Add(time.Duration(c.offset.Load()))
	if c.whole.Load() {
		now = now.Truncate(time.Second)
	}
	return now
}

func (c *clock) move(d time.Duration) { c.offset.Add(int64(d)) }

// outbox is a sender that keeps messages, or fails.
type outbox struct {
	mu       sync.Mutex
	messages []service.Message
	fault
}

func (o *outbox) Send(_ context.Context, m service.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.messages = append(o.messages, m)
	return o.get()
}

// fault is an error that is switched on and off.
type fault struct {
	err, put atomic.Pointer[error]
	before   atomic.Pointer[func()] // a put, once
}

func (f *fault) fail(err error)    { f.err.Store(&err) }
func (f *fault) failPut(err error) { f.put.Store(&err) }

func (f *fault) get() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

// views cannot be read, or written, while there is a fault.
type views[V any] struct {
	es.Views[V]
	fault *fault
}

func (v views[V]) Get(ctx context.Context, stream es.StreamID) (es.View[V], error) {
	if err := v.fault.get(); err != nil {
		return es.View[V]{}, err
	}
	return v.Views.Get(ctx, stream)
}

func (v views[V]) Put(ctx context.Context, stream es.StreamID, view es.View[V], old uint64) error {
	if before := v.fault.before.Swap(nil); before != nil {
		(*before)()
	}
	if err := v.fault.put.Load(); err != nil && *err != nil {
		return *err
	}
	return v.Views.Put(ctx, stream, view, old)
}

func (o *outbox) to(to string) []service.Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	var found []service.Message
	for _, m := range o.messages {
		if m.To == to {
			found = append(found, m)
		}
	}
	return found
}

// broker publishes on a bus, or does what it is told to.
type broker struct {
	bus  *memory.Bus
	mu   sync.Mutex
	do   func(es.Commit) error // nil: publish
	seen []es.Commit
}

func (b *broker) Publish(ctx context.Context, c es.Commit) error {
	b.mu.Lock()
	do := b.do
	b.mu.Unlock()
	if do != nil {
		if err := do(c); err != nil {
			return err
		}
	}
	b.mu.Lock()
	b.seen = append(b.seen, c)
	b.mu.Unlock()
	return b.bus.Publish(ctx, c)
}

// first returns the commit that was published first.
func (b *broker) first() es.Commit {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen[0]
}

func (b *broker) set(do func(es.Commit) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.do = do
}

// store is one whose appends fail when told to: before the append or after it.
type store struct {
	es.Store
	mu            sync.Mutex
	before, after error
	gate          func() // nil: open
}

func (s *store) Append(ctx context.Context, c es.Commit) error {
	s.mu.Lock()
	before, after, gate := s.before, s.after, s.gate
	s.mu.Unlock()
	if gate != nil {
		gate()
	}
	if before != nil {
		return before
	}
	return errors.Join(s.Store.Append(ctx, c), after)
}

func (s *store) fail(before, after error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

// collide makes the next append wait until there is a second one.
func (s *store) collide() {
	s.mu.Lock()
	defer s.mu.Unlock()
	meet, met := make(chan struct{}), make(chan struct{})
	end := sync.OnceFunc(func() { close(met) })
	s.gate = func() {
		select {
		case meet <- struct{}{}:
		case <-meet:
		case <-met:
		}
		end()
	}
}

// logs is a buffer for concurrent use.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// request is what is sent; response what comes back.
type request struct {
	method, path string
	body         any // a string goes as it is, anything else as JSON
	header       map[string]string
}

type response struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

func (s *system) send(r request) response {
	s.t.Helper()
	var body io.Reader
	switch b := r.body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), r.method, s.url+r.path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
		if v == "" {
			req.Header.Del(k)
		}
	}
	res, err := s.client.Do(req)
	if err != nil {
		// Not Fatal: clients run in goroutines of their own, too.
		s.t.Errorf("%s %s: %v", r.method, r.path, err)
		return response{t: s.t, header: http.Header{}}
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Errorf("%s %s: %v", r.method, r.path, err)
	}
	return response{s.t, res.StatusCode, res.Header, string(data)}
}

func (s *system) get(path string, header ...string) response {
	s.t.Helper()
	return s.send(request{method: "GET", path: path, header: pairs(header)})
}

func (s *system) post(path string, body any, header ...string) response {
	s.t.Helper()
	return s.send(request{method: "POST", path: path, body: body, header: pairs(header)})
}

func (s *system) put(path string, body any, header ...string) response {
	s.t.Helper()
	return s.send(request{method: "PUT", path: path, body: body, header: pairs(header)})
}

func pairs(kv []string) map[string]string {
	m := make(map[string]string)
	for i := 0; i+1 < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

// text returns a member of the body that is a string, and number one that is a number.
func (r response) text(member string) string {
	r.t.Helper()
	v, _ := r.members()[member].(string)
	return v
}

func (r response) number(member string) int {
	r.t.Helper()
	v, _ := r.members()[member].(float64)
	return int(v)
}

func (r response) members() map[string]any {
	r.t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.body), &m); err != nil {
		r.t.Fatalf("%d %q: %v", r.status, r.body, err)
	}
	return m
}

// pointers returns the errors of a problem by their pointers.
func (r response) pointers() map[string]string {
	r.t.Helper()
	found := make(map[string]string)
	list, _ := r.members()["errors"].([]any)
	for _, e := range list {
		e := e.(map[string]any)
		found[e["pointer"].(string)] = e["detail"].(string)
	}
	return found
}

// wants fails the test unless the status is the one given.
func (r response) wants(status int) response {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

// refuses fails the test unless the answer is a problem with this status and type.
func (r response) refuses(status int, slug string) response {
	r.t.Helper()
	r.wants(status)
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		r.t.Errorf("Content-Type %q", got)
	}
	if !strings.HasSuffix(r.text("type"), "/"+slug) || r.number("status") != status || r.text("detail") == "" || r.text("title") == "" {
		r.t.Errorf("want a problem of type …/%s and status %d: %s", slug, status, r.body)
	}
	return r
}

// requestCode asks for a code and waits until it was sent.
func (s *system) requestCode(to string) (challenge, code string) {
	s.t.Helper()
	channel := "sms"
	if strings.Contains(to, "@") {
		channel = "email"
	}
	res := s.post("/otp", map[string]string{"channel": channel, "to": to}).wants(202)
	challenge = res.text("challenge")
	status := s.get("/otp/"+challenge, "If-None-Match", etag(res.number("version")), "Prefer", "wait=5").wants(200)
	if status.text("status") != "sent" {
		s.t.Fatalf("not sent: %s", status.body)
	}
	messages := s.outbox.to(to)
	return challenge, messages[len(messages)-1].Code
}

func guess(to, challenge, code string) map[string]string {
	return map[string]string{"to": to, "challenge": challenge, "code": code}
}

// wrong returns a code that is not this one.
func wrong(code string) string {
	n, _ := strconv.Atoi(code)
	return strconv.Itoa(100000 + (n+1)%900000)
}

// login returns what goes before every request with a token, and the ID of its subject.
func (s *system) login(to string) (bearer, id string) {
	s.t.Helper()
	challenge, code := s.requestCode(to)
	res := s.post("/otp/verify", guess(to, challenge, code)).wants(200)
	return "Bearer " + res.text("token"), res.text("subject")
}

func etag(version int) string { return `"` + strconv.Itoa(version) + `"` }

func profile(name string) map[string]string {
	return map[string]string{"name": name, "location": "Berlin", "description": "d"}
}

// without returns headers apart from those that differ from answer to answer.
func without(h http.Header, names ...string) http.Header {
	h = maps.Clone(h)
	for _, n := range names {
		h.Del(n)
	}
	return h
}
