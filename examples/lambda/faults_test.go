package main_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/golang-jwt/jwt/v5"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
)

// command sends a command until it is accepted, like a client that believes what it is
// told: after an answer that leaves the outcome open it repeats the same command, and after
// one that denies it, it gives a new one.
func (s *system) command(c *client, method, path string, body any, header ...string) response {
	c.t.Helper()
	key := rand.Text()
	for end := time.Now().Add(patient); ; {
		res := c.send(method, path, body, append(header, "Idempotency-Key", key)...)
		a := s.note(res, answer{what: method + " " + path, key: key})
		switch {
		case a.outcome == accepted:
			return res
		case res.status < 500 && res.problem() != "conflict", time.Now().After(end):
			c.t.Fatalf("%s: %d %s", a.what, res.status, res.body)
		case a.outcome == denied:
			key = rand.Text()
		}
		if err := pause(c.t.Context(), 50*time.Millisecond); err != nil {
			c.t.Fatal(err)
		}
	}
}

// bearer returns a token as the service would issue it.
func bearer(t *testing.T, subject string) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": subject, "iss": publicURL, "aud": publicURL, "exp": time.Now().Add(time.Hour).Unix()}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(tokenKey)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + token
}

// check finishes what is unfinished, and demands that all agree.
func (s *system) check(t *testing.T) {
	t.Helper()
	if err := s.settle(); err != nil {
		t.Error(err)
	}
	h, err := s.history()
	if err == nil {
		err = h.check()
	}
	if err != nil {
		t.Error(err)
	}
}

// testOrder has clients that change a few orgs at the same time, while environments die
// at random. Messages are delivered in batches as deep as they come.
func testOrder(t *testing.T, p programs, packed bool) {
	const orgs, clients, updates = 4, 2, 8
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	random := mathrand.New(mathrand.NewPCG(seed, 0))
	s := start(t, p.checked, settings{})
	s.mapping.packed, s.mapping.visibility = packed, 50*time.Millisecond
	var often atomic.Int64 // that many faults come often
	s.setPlan(func(int, string) fault {
		odds := 100
		if often.Load() > 0 {
			odds = 10
		}
		f := map[int]fault{0: killBefore, 1: killAfter, 2: serverError}[random.IntN(odds)]
		if f != "" {
			often.Add(-1)
		}
		return f
	})
	c := s.through(t, httpAPI)
	var wg sync.WaitGroup
	for o := range orgs {
		id := fmt.Sprint("org", o)
		token := bearer(t, id)
		s.command(c, "POST", "/orgs", profile("0"), "Authorization", token)
		for n := range clients {
			wg.Go(func() {
				for u := range updates {
					s.command(c, "PUT", "/orgs/"+id, profile(fmt.Sprint(n, ".", u)), "Authorization", token)
				}
			})
		}
	}
	if packed {
		wg.Wait() // so that there are deep batches, of which few are delivered
		often.Store(20)
	}
	stop := s.consume(3)
	wg.Wait()
	s.await(t, func() bool {
		behind, err := s.behind(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(behind) > 0 {
			_ = s.schedule() // it may die, too
		}
		return len(behind) == 0
	})
	stop()
	calls, hits := s.made()
	s.setPlan(nil)
	s.check(t)
	t.Logf("%d calls, %d faults, %d deliveries failed, up to %d messages of a group in a batch", len(calls), hits, s.mapping.failed, s.mapping.depth)
	if hits == 0 || packed && (s.mapping.depth < 2 || s.mapping.failed == 0) {
		t.Error("nothing was put to the test")
	}
}

// await waits until a condition holds.
func (s *system) await(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !holds(); {
		if time.Now().After(end) {
			t.Fatal("it never came")
		}
		if err := pause(t.Context(), 100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// scenario is the life of a user: a code, a token, an org, and a change of it. Each command is
// followed by the events that it leads to, one invocation at a time, so that the calls
// are the same each time.
func (s *system) scenario(c *client) {
	const to = "jane@example.com"
	address, err := otp.ParseAddress(to)
	if err != nil {
		c.t.Fatal(err)
	}
	codes := es.StreamID{Category: otp.Aggregate.Category, ID: s.codes.StreamID(address)}
	var res response
	for tries := 0; ; tries++ {
		if tries == 3 {
			c.t.Fatal("no code was sent")
		}
		before := len(s.mail.to(to))
		res = s.command(c, "POST", "/otp", code(to))
		s.follow(c.t, codes, uint64(res.number("version"))+1)
		if len(s.mail.to(to)) > before {
			break
		}
	}
	secret := s.mail.to(to)
	res = s.command(c, "POST", "/otp/verify", guess(to, res.text("challenge"), secret[len(secret)-1]))
	s.follow(c.t, codes, uint64(res.number("version")))
	token, id := "Bearer "+res.text("token"), res.text("subject")
	stream := es.StreamID{Category: org.Aggregate.Category, ID: id}
	res = s.command(c, "POST", "/orgs", profile("A"), "Authorization", token)
	s.follow(c.t, stream, uint64(res.number("version")))
	res = s.command(c, "PUT", "/orgs/"+id, profile("B"), "Authorization", token)
	s.follow(c.t, stream, uint64(res.number("version")))
}

// further gives one more command on each stream of the scenario.
func (s *system) further(c *client) {
	stored, err := s.stored(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for stream := range stored {
		if stream.Category == org.Aggregate.Category {
			s.command(c, "PUT", "/orgs/"+stream.ID, profile("C"), "Authorization", bearer(c.t, stream.ID))
		} else {
			s.command(c, "POST", "/otp", code("jane@example.com"))
		}
	}
}

// follow delivers messages until the view of a stream is at a version. It gives up when there
// is nothing more to be delivered.
func (s *system) follow(t *testing.T, stream es.StreamID, version uint64) {
	t.Helper()
	for idle, end := 0, time.Now().Add(patient); idle < 2 && time.Now().Before(end); {
		view, err := s.view(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		if view.version >= version {
			return
		}
		if _, err = s.mapping.step(t.Context(), time.Second); err != nil {
			t.Fatal(err)
		}
		if s.mapping.waiting() > 0 || s.mapping.progress() {
			continue
		}
		idle++
		_ = s.schedule() // it may fail, as long as there are faults
	}
}

// each runs the cases, many at once: most of their time is waiting.
func each[C any](t *testing.T, p programs, cases []C, name func(C) string, run func(*testing.T, C)) {
	var wg sync.WaitGroup
	for _, c := range cases {
		p.turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-p.turns }()
			t.Run(name(c), func(t *testing.T) { run(t, c) })
		})
	}
	wg.Wait()
}

// newCase starts a system for the scenario.
func newCase(t *testing.T, p programs) (*system, *client) {
	s := start(t, p.plain, settings{gate: p.starts})
	s.mapping.packed, s.mapping.visibility = true, 50*time.Millisecond
	return s, s.through(t, functionURL)
}

// testFaults runs the scenario with a fault at each of the calls that the function makes.
func testFaults(t *testing.T, p programs) {
	var calls []string
	for range 3 { // where the machine is slow, something may be sent again
		s, c := newCase(t, p)
		s.scenario(c)
		if made, _ := s.made(); calls == nil || len(made) < len(calls) {
			calls = made
		}
		s.check(t)
	}
	if t.Failed() {
		return
	}
	t.Logf("%d calls: %q", len(calls), calls)

	type one struct {
		n      int
		fault  fault
		outage bool
	}
	var cases []one
	before := []fault{serverError, nothingBefore, lateBefore, resetBefore} // without effect, and nobody knows
	after := []fault{nothingAfter, lateAfter, resetAfter}                  // with it
	publishes := 0
	for i, op := range calls {
		cases = append(cases, one{i + 1, killBefore, false}, one{i + 1, killAfter, false})
		switch op {
		case "PutItem":
			cases = append(cases, one{i + 1, nothingBefore, false}, one{i + 1, resetAfter, false})
		case "Query":
			cases = append(cases, one{i + 1, nothingAfter, false})
		case "Publish":
			// In each of the three ways that the service can tell apart: once, so that the second attempt
			// succeeds, and at every attempt.
			for _, f := range []fault{refused, before[publishes%len(before)], after[publishes%len(after)]} {
				cases = append(cases, one{i + 1, f, false}, one{i + 1, f, true})
			}
			publishes++
		}
	}
	var mu sync.Mutex
	told := make(map[outcome]int)
	each(t, p, cases, func(c one) string {
		name := fmt.Sprintf("%d %s %s", c.n, calls[c.n-1], c.fault)
		if c.outage {
			name += " and so on"
		}
		return name
	}, func(t *testing.T, f one) {
		s, c := newCase(t, p)
		var since time.Time
		s.setPlan(func(n int, op string) fault {
			switch {
			case n < f.n || op != calls[f.n-1]:
				return ""
			case since.IsZero():
				since = time.Now()
				return f.fault
			case f.outage && time.Since(since) < 1200*time.Millisecond:
				return f.fault
			}
			return ""
		})
		s.scenario(c)
		if made, hits := s.made(); hits == 0 {
			t.Errorf("the fault did not come: %q", made)
		}
		s.check(t)
		mu.Lock()
		defer mu.Unlock()
		for _, a := range s.told {
			told[a.outcome]++
		}
	})
	t.Logf("%d cases; told: %v", len(cases), told)
	if publishes < len(before) {
		t.Errorf("%d publishes do not get round all faults", publishes)
	}
	for _, o := range []outcome{accepted, denied, open} {
		if told[o] == 0 {
			t.Errorf("nobody was told %q", o)
		}
	}
}

// testLosses runs the scenario with a queue that loses one of its messages, or that gives it
// up because it fails each time. The next message of the stream heals the view.
func testLosses(t *testing.T, p programs) {
	type loss struct {
		n       int
		givenUp bool
	}
	var cases []loss
	for n := range 5 {
		cases = append(cases, loss{n + 1, false}, loss{n + 1, true})
	}
	each(t, p, cases, func(l loss) string {
		if l.givenUp {
			return fmt.Sprintf("message %d is given up", l.n)
		}
		return fmt.Sprintf("message %d is lost", l.n)
	}, func(t *testing.T, l loss) {
		s, c := newCase(t, p)
		var lost string
		s.mapping.lose = func(id string, n int) bool {
			if n == l.n {
				lost = id
			}
			return n == l.n && !l.givenUp
		}
		if l.givenUp {
			s.mapping.most = 2
			s.mapping.refuse = func(id string) bool { return id == lost }
		}
		s.scenario(c)
		if behind, err := s.behind(t.Context()); err != nil || lost == "" || l.givenUp && !slices.Equal(s.mapping.dead, []string{lost}) {
			t.Errorf("nothing was lost: %q, %v", behind, err)
		}
		s.further(c)
		s.check(t)
	})
}

// testPoison has messages in the queue that nobody can read: they end in the dead-letter queue,
// and what is behind them in their group comes after that.
func testPoison(t *testing.T, p programs) {
	s := start(t, p.checked, settings{most: 2})
	c, token := s.through(t, restAPI), bearer(t, "acme")
	groups := make(chan string, 100)
	s.mapping.invoke = func(payload []byte) ([]byte, error) {
		var event struct{ Records []record }
		if err := json.Unmarshal(payload, &event); err != nil {
			return nil, err
		}
		groups <- event.Records[0].Attributes["MessageGroupId"]
		return s.invoke(payload)
	}
	s.command(c, "POST", "/orgs", profile("A"), "Authorization", token)
	if n, err := s.mapping.step(t.Context(), patient); n != 1 || err != nil {
		t.Fatalf("%d messages, %v", n, err)
	}
	for _, group := range []string{<-groups, "another"} {
		if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
			QueueUrl: &s.mapping.queue, MessageBody: aws.String(`{"poison":true}`), MessageGroupId: &group, MessageDeduplicationId: aws.String(rand.Text()),
		}); err != nil {
			t.Fatal(err)
		}
	}
	s.command(c, "PUT", "/orgs/acme", profile("B"), "Authorization", token)
	s.check(t)
	dead := &mapping{client: s.sqs, queue: s.dlq}
	s.await(t, func() bool {
		if err := dead.drain(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		_, err := s.mapping.step(t.Context(), 0)
		return err == nil && dead.waiting() == 2
	})
	if s.mapping.failed != 4 {
		t.Errorf("%d deliveries failed, want 2 of 2 messages", s.mapping.failed)
	}
}

// testTimeouts has Lambda end the function in the middle of a batch, at each of its calls.
func testTimeouts(t *testing.T, p programs) {
	const orgs, updates = 3, 2
	prepare := func(t *testing.T) (*system, int) {
		s, c := newCase(t, p)
		for o := range orgs {
			id := fmt.Sprint("org", o)
			s.command(c, "POST", "/orgs", profile("0"), "Authorization", bearer(t, id))
			for u := range updates {
				s.command(c, "PUT", "/orgs/"+id, profile(fmt.Sprint(u+1)), "Authorization", bearer(t, id))
			}
		}
		s.await(t, func() bool {
			if err := s.mapping.drain(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			return s.mapping.waiting() == orgs*(1+updates)
		})
		s.setPlan(nil)
		return s, orgs * (1 + updates)
	}
	s, messages := prepare(t)
	if n, err := s.mapping.step(t.Context(), 0); err != nil || n != messages {
		t.Fatalf("%d of %d messages in the first batch, %v", n, messages, err)
	}
	calls, _ := s.made()
	s.check(t)
	t.Logf("%d messages, %d calls: %q", messages, len(calls), calls)
	var cases []int
	for n := range calls {
		cases = append(cases, n+1)
	}
	var ended atomic.Int64
	each(t, p, cases, func(n int) string { return fmt.Sprintf("%d %s", n, calls[n-1]) }, func(t *testing.T, at int) {
		s, _ := prepare(t)
		s.timeout = 2 * time.Second
		s.setPlan(func(n int, _ string) fault {
			if n == at {
				return frozen
			}
			return ""
		})
		n, err := s.mapping.step(t.Context(), 0)
		_, hits := s.made()
		if ended.Add(int64(hits)); err != nil || hits > 0 && n > 0 {
			t.Errorf("%d messages done, %v", n, err)
		}
		s.timeout = patient
		s.setPlan(nil)
		s.check(t)
	})
	// On a slow machine the function may stop in time, before its last calls.
	if n := int(ended.Load()); n < len(calls)/2 {
		t.Errorf("%d of %d were ended", n, len(calls))
	}
}
