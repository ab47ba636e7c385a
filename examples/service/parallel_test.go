package service_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/otp"
)

// A hundred clients update one org. Every version was given to one of them, the
// history is what they were told, and the view ends where the history does.
func TestParallelUpdates(t *testing.T) {
	t.Parallel()
	const clients, most = 100, 40
	sys := start(t)
	bearer, id := sys.login(jane)
	sys.post("/orgs", profile("first"), "Authorization", bearer).wants(201)

	var mu sync.Mutex
	accepted := map[int]string{1: "first"}
	end := time.Now().Add(2 * time.Second)
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for n := 0; n < most && time.Now().Before(end); n++ {
				name := fmt.Sprintf("%d of %d", n, client)
				res := sys.put("/orgs/"+id, profile(name), "Authorization", bearer)
				switch res.status {
				case http.StatusOK, http.StatusAccepted:
					version := res.number("version")
					mu.Lock()
					if other, ok := accepted[version]; ok {
						t.Errorf("version %d was given to %q and to %q", version, other, name)
					}
					accepted[version] = name
					mu.Unlock()
				case http.StatusConflict:
				default:
					t.Errorf("%d: %s", res.status, res.body)
				}
			}
		})
	}
	wg.Wait()

	events := sys.get("/orgs/"+id+"/history", "Authorization", bearer).wants(200).members()["events"].([]any)
	if len(events) != len(accepted) || len(events) < 10 {
		t.Errorf("%d events, %d accepted", len(events), len(accepted))
	}
	for i, e := range events {
		e := e.(map[string]any)
		if version := int(e["version"].(float64)); version != i+1 {
			t.Fatalf("version %d follows %d", version, i)
		}
		if name := e["data"].(map[string]any)["name"]; name != accepted[i+1] {
			t.Errorf("version %d is %q, and %q was told so", i+1, name, accepted[i+1])
		}
	}
	view := sys.get("/orgs/"+id, "If-None-Match", etag(len(events)-1), "Prefer", "wait=5").wants(200)
	if view.number("version") != len(events) || view.text("name") != accepted[len(events)] {
		t.Errorf("the view is %s, the history has %d events", view.body, len(events))
	}
	t.Logf("%d updates accepted", len(accepted)-1)
}

// Guesses in parallel do not pass the limit.
func TestParallelGuesses(t *testing.T) {
	sys := start(t)
	challenge, code := sys.requestCode(jane)
	var wg sync.WaitGroup
	for client := range 40 {
		wg.Go(func() {
			bad := fmt.Sprintf("%06d", client)
			if bad == code {
				bad = "999999"
			}
			if res := sys.post("/otp/verify", guess(jane, challenge, bad)); res.status != 401 && res.status != 409 {
				t.Errorf("%d: %s", res.status, res.body)
			}
		})
	}
	wg.Wait()
	if n := count[otp.Rejected](sys, challenge); n != otp.MaxAttempts {
		t.Errorf("%d guesses were counted", n)
	}
	sys.post("/otp/verify", guess(jane, challenge, code)).refuses(401, "code-denied")
}

// A code is good once, however many send it.
func TestParallelVerify(t *testing.T) {
	sys := start(t)
	challenge, code := sys.requestCode(jane)
	var mu sync.Mutex
	statuses := make(map[int]int)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			res := sys.post("/otp/verify", guess(jane, challenge, code))
			mu.Lock()
			statuses[res.status]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if statuses[200] != 1 || statuses[200]+statuses[401]+statuses[409] != 50 {
		t.Errorf("answers by status: %v", statuses)
	}
	if n := count[otp.Verified](sys, challenge); n != 1 {
		t.Errorf("verified %d times", n)
	}
}

// A command that is sent many times at once under one name happens once, and
// everybody gets the first answer.
func TestParallelRepeats(t *testing.T) {
	const clients = 20
	sys := start(t)
	bearer, _ := sys.login(phone)
	for _, command := range []func() response{
		func() response {
			return sys.post("/otp", map[string]string{"channel": "email", "to": jane}, "Idempotency-Key", "one")
		},
		func() response {
			return sys.post("/orgs", profile("A"), "Authorization", bearer, "Idempotency-Key", "one")
		},
	} {
		sys.store.collide() // two of them have decided before either is stored
		answers := make([]response, clients)
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() { answers[i] = command() })
		}
		wg.Wait()
		for _, a := range answers {
			if a.status != answers[0].status || a.body != answers[0].body || a.header.Get("ETag") != answers[0].header.Get("ETag") {
				t.Errorf("one got %d %s\nanother %d %s", answers[0].status, answers[0].body, a.status, a.body)
			}
			if v := a.number("version"); v != 1 {
				t.Errorf("version %d: %s", v, a.body)
			}
		}
	}
}

// count returns how many events of a type are on the stream of a challenge.
func count[E otp.Event](sys *system, challenge string) (n int) {
	sys.t.Helper()
	id, _, _ := sys.codes.Locate(challenge)
	for step, err := range es.History(sys.t.Context(), sys.service.Journal, &otp.Aggregate, id) {
		if err != nil {
			sys.t.Fatal(err)
		}
		if _, ok := step.Event.(E); ok {
			n++
		}
	}
	return n
}
