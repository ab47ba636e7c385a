package main_test

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
)

// TestSoak runs the whole system under load and with faults at random, for as long as the variable
// SOAK says (a duration such as 1h), in rounds. Each has tables, topic, queues and streams of its own.
// At its end the faults stop, what crashed is finished, and everything has to agree. It ends with the
// first round in which something does not.
//
// SOAK_SEED is the seed of the first round; each further one has the next number. A seed makes
// the same choices; which calls they meet is up to the machine.
func TestSoak(t *testing.T) {
	e := live(t)
	t.Parallel()
	length, round, say := time.Duration(0), 4*time.Second, func(s string) { t.Log(s) }
	if v := os.Getenv("SOAK"); v != "" {
		var err error
		if length, err = time.ParseDuration(v); err != nil {
			t.Fatalf("SOAK: %v", err)
		}
		round, say = 15*time.Second, func(s string) { fmt.Println(s) }
	}
	first := mathrand.Uint64N(1e9)
	if v := os.Getenv("SOAK_SEED"); v != "" {
		var err error
		if first, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("SOAK_SEED: %v", err)
		}
	}
	program := buildProgram(t)
	began := time.Now()
	var total tally
	rounds := 0
	for seed := first; rounds == 0 || time.Since(began) < length; seed++ {
		var found tally
		good := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { found = soak(t, program, seed, round) })
		if rounds++; !good {
			found.violations = max(found.violations, 1)
		}
		total.add(found)
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		say(fmt.Sprintf("%7v  round %d, seed %d: %d commands, %d unknown, %d crashes, %d faults, %d violations; heap %d MB", time.Since(began).Round(time.Second),
			rounds, seed, found.commands, found.unknown, found.crashes, found.faults, found.violations, memory.HeapAlloc>>20))
		if !good {
			break
		}
	}
	say(fmt.Sprintf("\nseed %d, %d rounds in %v, on DynamoDB at %s, SNS at %s, SQS at %s\n%s", first, rounds, time.Since(began).Round(time.Second),
		e.urls["dynamodb"], e.urls["sns"], e.urls["sqs"], total))
	if total.accepted == 0 || total.crashes == 0 || total.faults == 0 {
		t.Error("nothing was put to the test")
	}
}

// tally is what came of rounds. Accepted, refused or unknown is what the first answer to a command says.
type tally struct {
	commands, accepted, refused, unknown, happened, not     int
	crashes, faults, republished, dropped, gaps, violations int
}

func (t *tally) add(o tally) {
	t.commands, t.accepted, t.refused, t.unknown = t.commands+o.commands, t.accepted+o.accepted, t.refused+o.refused, t.unknown+o.unknown
	t.happened, t.not, t.crashes, t.faults = t.happened+o.happened, t.not+o.not, t.crashes+o.crashes, t.faults+o.faults
	t.republished, t.dropped, t.gaps, t.violations = t.republished+o.republished, t.dropped+o.dropped, t.gaps+o.gaps, t.violations+o.violations
}

func (t tally) String() string {
	var b strings.Builder
	for _, row := range []struct {
		name string
		n    int
	}{
		{"commands", t.commands}, {"  accepted", t.accepted}, {"  refused", t.refused}, {"  unknown", t.unknown},
		{"    resolved: happened", t.happened}, {"    resolved: did not happen", t.not},
		{"crashes", t.crashes}, {"other faults", t.faults}, {"republished", t.republished}, {"duplicates dropped", t.dropped}, {"gaps healed", t.gaps},
		{"violations", t.violations},
	} {
		fmt.Fprintf(&b, "%-28s %9d\n", row.name, row.n)
	}
	return b.String()
}

// soak runs one round, with faults for so long.
func soak(t *testing.T, program string, seed uint64, length time.Duration) (found tally) {
	const users, orgs, addresses = 6, 10, 2
	s := start(t, program, settings{log: "info", timeout: 5 * time.Second, gate: make(chan struct{}, 4)})
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	t.Cleanup(s.client.CloseIdleConnections)
	random := func(n uint64) *mathrand.Rand { return mathrand.New(mathrand.NewPCG(seed, n)) }
	w := &weather{random: random(0)}
	s.setPlan(w.plan)
	messages, batches := random(1), random(2)
	var mu sync.Mutex
	s.mapping.packed, s.mapping.visibility = true, 50*time.Millisecond
	s.mapping.late = func() (time.Duration, bool) { // one call at a time
		if messages.IntN(20) > 0 {
			return 0, false
		}
		return time.Duration(messages.IntN(2000)+1) * time.Millisecond, messages.IntN(2) == 0
	}
	s.mapping.refuse = func(string) bool {
		mu.Lock()
		defer mu.Unlock()
		return batches.IntN(200) == 0
	}
	stop := s.consume(2)

	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var faulty, load sync.WaitGroup
	var killed atomic.Int64
	faulty.Go(func() {
		random := random(3)
		for pause(ctx, time.Duration(100+random.IntN(900))*time.Millisecond) == nil {
			if s.killOne(random) {
				killed.Add(1)
			}
		}
	})
	faulty.Go(func() {
		for pause(ctx, 700*time.Millisecond) == nil {
			_ = s.schedule() // it may die, too
		}
	})
	var companies []*company
	for n := range orgs {
		id := fmt.Sprint("org", n)
		companies = append(companies, &company{id: id, token: bearer(t, id), waiting: make(map[int]bool)})
	}
	kinds := []kind{restAPI, httpAPI, functionURL}
	for n := range users {
		u := &user{s: s, c: s.through(t, kinds[n%len(kinds)]), name: fmt.Sprint("user", n), random: random(uint64(10 + n))}
		load.Go(func() {
			for ctx.Err() == nil {
				u.change(companies[u.random.IntN(orgs)])
			}
		})
	}
	for n := range addresses {
		u := &user{s: s, c: s.through(t, kinds[n%len(kinds)]), name: fmt.Sprint("guest", n), random: random(uint64(100 + n))}
		load.Go(func() {
			for a := 0; ctx.Err() == nil; a++ {
				u.login(ctx, fmt.Sprintf("%s.%d@example.com", u.name, a))
			}
		})
	}
	load.Wait()
	cancel()
	faulty.Wait()
	stop()
	_, hits := s.made()
	s.setPlan(nil)
	s.await(t, s.quiet)
	s.mapping.release()

	if err := s.settle(); err != nil {
		t.Error(err)
		found.violations++
	}
	h, err := s.history()
	if err != nil {
		t.Fatal(err)
	}
	shown := make(map[es.StreamID]bool)
	for _, v := range h.violations() {
		if found.violations++; found.violations > 20 {
			continue // they are counted
		}
		t.Errorf("seed %d: %s", seed, v.text)
		if v.stream != (es.StreamID{}) && !shown[v.stream] && len(shown) < 3 {
			shown[v.stream] = true
			t.Log(h.tell(v.stream))
		}
	}
	effects, known := h.effects(), make(map[string]bool)
	for _, a := range h.told {
		if known[a.key] {
			continue
		}
		known[a.key] = true
		found.commands++
		switch {
		case a.outcome == accepted:
			found.accepted++
		case a.outcome == denied:
			found.refused++
		case len(effects[commandName(a.key)]) > 0:
			found.unknown, found.happened = found.unknown+1, found.happened+1
		default:
			found.unknown, found.not = found.unknown+1, found.not+1
		}
	}
	found.crashes = int(killed.Load()) + w.crashes
	found.faults = hits - w.crashes
	found.republished = strings.Count(s.String(), `"msg":"commit finished for its author"`)
	found.dropped, found.gaps = s.mapping.old, s.mapping.gaps
	return found
}

// weather decides what becomes of calls: single faults, and now and then an outage of the broker or of
// the database.
type weather struct {
	random  *mathrand.Rand
	broker  bool // whose outage it is
	until   time.Time
	outage  fault
	crashes int
}

var (
	ofBroker = []fault{
		refused, serverError, throttled, nothingBefore, nothingAfter, lateBefore, lateAfter, resetBefore, resetAfter, resetDuring, slow,
	}
	ofDatabase = []fault{
		refused, serverError, throttled, lateBefore, lateAfter, resetBefore, resetAfter, resetDuring, slow,
	}
)

// plan is that of a function, which calls it one at a time.
func (w *weather) plan(_ int, op string) fault {
	broker := op == "Publish"
	faults := ofDatabase
	if broker {
		faults = ofBroker
	}
	if time.Now().Before(w.until) {
		if broker == w.broker && w.random.IntN(5) > 0 {
			return w.outage
		}
		return ""
	}
	switch n := w.random.IntN(3000); {
	case n < 4: // an outage
		w.broker = w.random.IntN(3) > 0
		faults = ofDatabase
		if w.broker {
			faults = ofBroker
		}
		w.outage = faults[w.random.IntN(len(faults))]
		w.until = time.Now().Add(time.Duration(100+w.random.IntN(1400)) * time.Millisecond)
		return ""
	case n < 20:
		w.crashes++
		return []fault{killBefore, killAfter}[w.random.IntN(2)]
	case n < 21:
		w.crashes++
		return frozen
	case n < 50 || broker && n < 150:
		return faults[w.random.IntN(len(faults))]
	}
	return ""
}

// killOne ends an environment, at work or not, and reports whether there was one.
func (f *function) killOne(random *mathrand.Rand) bool {
	f.mu.Lock()
	var alive []*environment
	for _, e := range f.all {
		if !e.ended() {
			alive = append(alive, e)
		}
	}
	f.mu.Unlock()
	if len(alive) == 0 {
		return false
	}
	alive[random.IntN(len(alive))].kill()
	return true
}

// company is an org that several users change.
type company struct {
	id, token string
	version   atomic.Uint64 // the newest that anybody was told

	mu      sync.Mutex
	next    int          // the number of the next command with a key
	waiting map[int]bool // those whose clients may send them again
}

// begin returns the number of a command with a key, or false where it could push a command out of what the
// stream remembers that may still be sent again.
func (c *company) begin() (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := range c.waiting {
		if c.next-n >= 8 {
			return 0, false
		}
	}
	c.waiting[c.next] = true
	c.next++
	return c.next - 1, true
}

func (c *company) end(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, n)
}

// user gives one command after another.
type user struct {
	s      *system
	c      *client
	name   string
	random *mathrand.Rand
	count  int // of commands
}

// change creates or updates an org, under a key or not, and under a condition or not.
func (u *user) change(to *company) {
	u.count++
	name := fmt.Sprint(u.name, ".", u.count)
	method, path, header := "PUT", "/orgs/"+to.id, []string{"Authorization", to.token}
	known := to.version.Load()
	if known == 0 || u.random.IntN(50) == 0 {
		method, path = "POST", "/orgs"
	}
	match := uint64(0)
	if method == "PUT" && u.random.IntN(3) == 0 {
		match = known
		header = append(header, "If-Match", etag(int(match)))
	}
	again := false
	if u.random.IntN(2) == 0 {
		var n int
		if n, again = to.begin(); again {
			header = append(header, "Idempotency-Key", name)
			defer to.end(n)
		}
	}
	stream := es.StreamID{Category: org.Aggregate.Category, ID: to.id}
	body := map[string]string{"name": "n", "location": "l", "description": name}
	_, a := u.give(again, answer{stream: stream, key: name}, method, path, body, header...)
	if a.outcome != accepted {
		return
	}
	if match > 0 && a.version != match+1 {
		u.c.t.Errorf("%s %s under If-Match %d led to version %d", method, path, match, a.version)
	}
	for known = to.version.Load(); known < a.version && !to.version.CompareAndSwap(known, a.version); known = to.version.Load() {
		continue
	}
}

// login requests a code, and guesses at it: wrong, mostly, and then right.
func (u *user) login(ctx context.Context, to string) {
	address, err := otp.ParseAddress(to)
	if err != nil {
		u.c.t.Error(err)
		return
	}
	key := func() string { u.count++; return fmt.Sprint(u.name, ".", u.count) }
	stream := es.StreamID{Category: otp.Aggregate.Category, ID: u.s.codes.StreamID(address)}
	for range 1 + u.random.IntN(otp.MaxRequests+1) {
		a := answer{stream: stream, key: key()}
		res, a := u.give(true, a, "POST", "/otp", code(to), "Idempotency-Key", a.key)
		if a.outcome != accepted {
			continue
		}
		right := u.s.codes.Code(stream.ID, a.version)
		for end := time.Now().Add(2 * time.Second); !slices.Contains(u.s.mail.to(to), right) && time.Now().Before(end) && ctx.Err() == nil; {
			_ = pause(ctx, 20*time.Millisecond)
		}
		for n := u.random.IntN(3); n >= 0; n-- {
			try := right
			if n > 0 {
				try = wrong(right)
			}
			a := answer{stream: stream, key: key(), guess: n > 0}
			_, a = u.give(true, a, "POST", "/otp/verify", guess(to, res.text("challenge"), try), "Idempotency-Key", a.key)
			if n > 0 && a.outcome == accepted {
				u.c.t.Errorf("a wrong guess got a token: %s of %s", a.what, stream)
			}
		}
	}
}

// give sends a command, and perhaps again while the outcome is open.
func (u *user) give(again bool, a answer, method, path string, body any, header ...string) (response, answer) {
	a.what = method + " " + path
	for {
		res := u.c.send(method, path, body, header...)
		told := u.s.note(res, a)
		if told.outcome != open || !again || u.random.IntN(4) == 0 {
			return res, told
		}
		if err := pause(u.c.t.Context(), time.Duration(1+u.random.IntN(300))*time.Millisecond); err != nil {
			return res, told
		}
	}
}
