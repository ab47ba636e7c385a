package main_test

import (
	"fmt"
	"hash/crc32"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/leftfold/leftfold/examples/otp"
)

// Every row of the HTTP API, through every gateway. What it takes a moved clock to see is
// tested in package service.
func testAPI(t *testing.T, p programs) {
	s := start(t, p.checked, settings{})
	s.consume(2)
	for _, k := range []kind{restAPI, httpAPI, functionURL} {
		t.Run(string(k), func(t *testing.T) {
			t.Parallel()
			for name, test := range map[string]func(*testing.T, *system, *client, string){
				"codes": testCodes, "guesses": testGuesses, "orgs": testOrgs, "bodies": testBodies,
				"queries": testQueries, "history": testHistory, "repeats": testRepeats, "paths": testPaths,
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					at := "@" + name + "." + strings.ToLower(strings.ReplaceAll(string(k), " ", "-")) + ".example"
					test(t, s, s.through(t, k), at)
				})
			}
		})
	}
}

func testCodes(t *testing.T, s *system, c *client, at string) {
	to := "jane" + at
	res := c.post("/otp", code(" JANE"+at)).wants(202)
	if res.number("version") != 1 || res.header.Get("ETag") != `"1"` || res.header.Get("Content-Type") != "application/json" {
		t.Errorf("%v %s", res.header, res.body)
	}
	expires, err := time.Parse(time.RFC3339, res.text("expires_at"))
	if left := time.Until(expires); err != nil || left < 9*time.Minute || left > 10*time.Minute {
		t.Errorf("expires_at: %v, %v", expires, err)
	}
	path := "/otp/" + res.text("challenge")
	sent := c.get(path, "If-None-Match", `"1"`, "Prefer", "wait=5").wants(200)
	if want := map[string]any{
		"challenge": res.text("challenge"), "status": "sent", "expires_at": res.text("expires_at"), "version": 2.0,
	}; !reflect.DeepEqual(sent.members(), want) || sent.header.Get("ETag") != `"2"` || sent.header.Get("Preference-Applied") != "wait=5" {
		t.Errorf("%v %s", sent.header, sent.body)
	}
	if not := c.get(path, "If-None-Match", `"2"`).wants(304); not.header.Get("ETag") != `"2"` || not.body != "" {
		t.Errorf("304 with %v %q", not.header, not.body)
	}
	if codes := s.mail.to(to); len(codes) != 1 {
		t.Errorf("sent %q", codes)
	}
	c.get("/otp/"+res.text("challenge")[:40]+"x").refuses(404, "not-found")

	for body, pointer := range map[string]string{
		`{"channel":"email","to":"jane"}`: "/to", `{"channel":"sms","to":"0151 1"}`: "/to", `{"channel":"fax","to":"x"}`: "/channel",
	} {
		if got := c.post("/otp", body).refuses(422, "invalid").pointers(); !slices.Equal(got, []string{pointer}) {
			t.Errorf("%s: %q", body, got)
		}
	}

	// A mail server takes no text messages.
	res = c.post("/otp", map[string]string{"channel": "sms", "to": fmt.Sprintf("+4915112%06d", crc32.ChecksumIEEE([]byte(at))%1e6)}).wants(202)
	if got := c.get("/otp/"+res.text("challenge"), "If-None-Match", `"1"`, "Prefer", "wait=5").wants(200).text("status"); got != "send_failed" {
		t.Errorf("a text message is %q", got)
	}

	var challenges []string
	for range 4 {
		challenge, _ := s.requestCode(c, to)
		challenges = append(challenges, challenge)
	}
	if got := c.get("/otp/" + challenges[2]).wants(200).text("status"); got != "superseded" {
		t.Errorf("the code before the last is %q", got)
	}
	many := c.post("/otp", code(to)).refuses(429, "too-many-codes")
	if seconds, err := strconv.Atoi(many.header.Get("Retry-After")); err != nil || seconds < 3500 || seconds > 3600 {
		t.Errorf("Retry-After: %q", many.header.Get("Retry-After"))
	}
}

func testGuesses(t *testing.T, s *system, c *client, at string) {
	to := "jane" + at
	challenge, secret := s.requestCode(c, to)
	denied := c.post("/otp/verify", guess("nobody"+at, challenge, secret)).refuses(401, "code-denied")
	authenticate := "Www-Authenticate"
	if c.kind == restAPI {
		authenticate = "X-Amzn-Remapped-Www-Authenticate"
	}
	if denied.header.Get(authenticate) != "Bearer" {
		t.Errorf("401 with %v", denied.header)
	}
	for range otp.MaxAttempts {
		res := c.post("/otp/verify", guess(to, challenge, wrong(secret))).refuses(401, "code-denied")
		if res.body != denied.body || !reflect.DeepEqual(without(res.header, "Date"), without(denied.header, "Date")) {
			t.Errorf("%v %s\nand\n%v %s", res.header, res.body, denied.header, denied.body)
		}
	}
	c.post("/otp/verify", guess(to, challenge, secret)).refuses(401, "code-denied")
	if got := c.get("/otp/"+challenge, "If-None-Match", `"6"`, "Prefer", "wait=5").wants(200).text("status"); got != "exhausted" {
		t.Errorf("after %d guesses: %q", otp.MaxAttempts, got)
	}

	challenge, secret = s.requestCode(c, to)
	c.post("/otp/verify", guess(to, challenge[:len(challenge)-1]+"0", secret)).refuses(401, "code-denied")
	res := c.post("/otp/verify", guess(to, challenge, secret)).wants(200)
	if res.text("token") == "" || res.text("token_type") != "Bearer" || res.number("version") != 10 || res.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v %s", res.header, res.body)
	}
	c.post("/otp/verify", guess(to, challenge, secret)).refuses(401, "code-denied")
	if got := c.get("/otp/"+challenge, "If-None-Match", `"9"`, "Prefer", "wait=5").wants(200).text("status"); got != "verified" {
		t.Errorf("after the right guess: %q", got)
	}
	if got := c.post("/otp/verify", `{"to":1,"code":"","x":1}`).refuses(422, "invalid").pointers(); len(got) != 4 {
		t.Errorf("%q", got)
	}
}

func testOrgs(t *testing.T, s *system, c *client, at string) {
	bearer, id := s.login(c, "jane"+at)
	other, _ := s.login(c, "john"+at)
	path := "/orgs/" + id
	claims := jwt.MapClaims{"sub": id, "iss": publicURL, "aud": publicURL, "exp": time.Now().Add(-time.Second).Unix()}
	expired, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(tokenKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"", "Basic eDp5", "Bearer x.y.z", "Bearer " + expired, bearer[:len(bearer)-2]} {
		c.post("/orgs", profile("A"), "Authorization", token).refuses(401, "unauthorized")
		c.put(path, profile("A"), "Authorization", token).refuses(401, "unauthorized")
		c.get(path+"/history", "Authorization", token).refuses(401, "unauthorized")
	}
	c.put(path, profile("A"), "Authorization", bearer).refuses(404, "not-found")
	c.get(path).refuses(404, "not-found")

	res := c.post("/orgs", map[string]string{"name": " Ünïcödé 株式会社 & <Söhne>", "location": "Zürich"}, "Authorization", bearer).wants(201)
	want := map[string]any{"id": id, "name": "Ünïcödé 株式会社 & <Söhne>", "location": "Zürich", "description": "", "version": 1.0}
	if !reflect.DeepEqual(res.members(), want) || res.header.Get("Location") != path || res.header.Get("ETag") != `"1"` {
		t.Errorf("%v %s", res.header, res.body)
	}
	if view := c.get(path, "Prefer", "wait=5").wants(200); !reflect.DeepEqual(view.members(), want) || view.header.Get("ETag") != `"1"` {
		t.Errorf("%v %s", view.header, view.body)
	}
	c.post("/orgs", profile("A"), "Authorization", bearer).refuses(409, "org-exists")

	put := func(name string, header ...string) response {
		t.Helper()
		return c.put(path, profile(name), append(header, "Authorization", bearer)...)
	}
	for range 2 { // the second time nothing changes
		if res := put("B").wants(200); res.header.Get("ETag") != `"2"` || res.number("version") != 2 {
			t.Errorf("%v %s", res.header, res.body)
		}
	}
	put("C", "If-Match", `"1"`).refuses(412, "precondition-failed")
	put("C", "If-Match", `2`).refuses(400, "malformed")
	put("C", "If-Match", `"1", "2"`).wants(200)
	put("D", "If-Match", `*`).wants(200)
	c.put(path, profile("E"), "Authorization", other).refuses(403, "forbidden")
	if view := c.get(path, "If-None-Match", `"3"`, "Prefer", "wait=5").wants(200); view.text("name") != "D" {
		t.Errorf("%s", view.body)
	}
}

func testBodies(t *testing.T, s *system, c *client, at string) {
	bearer, id := s.login(c, "jane"+at)
	for _, tt := range []struct {
		contentType, body string
		status            int
		slug              string
		pointers          []string
	}{
		{"application/json", `{"name":"","location":7,"description":"` + strings.Repeat("x", 1201) + `","x":null}`, 422, "invalid", []string{"/description", "/location", "/name", "/x"}},
		{"application/json", `[]`, 422, "invalid", []string{""}},
		{"application/json", ``, 400, "malformed", nil},
		{"application/json", `{"name":"Acme"`, 400, "malformed", nil},
		{"application/json", "{\"name\":\"A\xff\",\"location\":\"Berlin\"}", 400, "malformed", nil},
		{"application/json", `{"name":"` + strings.Repeat("x", 16<<10) + `"}`, 413, "too-large", nil},
		{"application/x-www-form-urlencoded", `name=Acme`, 415, "unsupported-media-type", nil},
		{"", `{}`, 415, "unsupported-media-type", nil},
	} {
		for _, res := range []response{
			c.post("/orgs", tt.body, "Authorization", bearer, "Content-Type", tt.contentType),
			c.put("/orgs/"+id, tt.body, "Authorization", bearer, "Content-Type", tt.contentType),
		} {
			if got := slices.Sorted(slices.Values(res.refuses(tt.status, tt.slug).pointers())); !slices.Equal(got, tt.pointers) {
				t.Errorf("%.40s: %q", tt.body, got)
			}
		}
		if tt.status != 422 {
			c.post("/otp", tt.body, "Content-Type", tt.contentType).refuses(tt.status, tt.slug)
			c.post("/otp/verify", tt.body, "Content-Type", tt.contentType).refuses(tt.status, tt.slug)
		}
	}
	// The largest that is allowed.
	body := `{"name":"Acme","location":"Berlin"}`
	c.post("/orgs", body+strings.Repeat(" ", 16<<10-len(body)), "Authorization", bearer, "Content-Type", `Application/JSON; charset="UTF-8"`).wants(201)
}

func testQueries(t *testing.T, s *system, c *client, at string) {
	bearer, id := s.login(c, "jane"+at)
	path := "/orgs/" + id
	// It waits for the view to appear, and then for a newer one.
	answers := make(chan response, 1)
	go func() { answers <- c.get(path, "Prefer", "wait=5") }()
	c.post("/orgs", profile("A"), "Authorization", bearer).wants(201)
	if res := (<-answers).wants(200); res.number("version") != 1 || res.header.Get("Preference-Applied") != "wait=5" {
		t.Errorf("%v %s", res.header, res.body)
	}
	go func() { answers <- c.get(path, "Prefer", "respond-async, wait=5", "If-None-Match", `W/"1"`) }()
	c.put(path, profile("B"), "Authorization", bearer).wants(200)
	if res := (<-answers).wants(200); res.number("version") != 2 || res.text("name") != "B" {
		t.Errorf("%v %s", res.header, res.body)
	}

	begin := time.Now()
	if res := c.get(path, "Prefer", "wait=1", "If-None-Match", `"2"`).wants(304); time.Since(begin) < time.Second || res.header.Get("ETag") != `"2"` {
		t.Errorf("304 after %v, with %v", time.Since(begin), res.header)
	}
	for known, status := range map[string]int{`"2"`: 304, `"1", "2"`: 304, `*`: 304, `"1"`: 200, `"x"`: 200, `2`: 400} {
		if res := c.get(path, "If-None-Match", known); res.status != status {
			t.Errorf("If-None-Match: %s: %d", known, res.status)
		}
	}
	if res := c.send("HEAD", path, nil).wants(200); res.header.Get("ETag") != `"2"` || res.body != "" {
		t.Errorf("HEAD: %v %q", res.header, res.body)
	}
}

func testHistory(t *testing.T, s *system, c *client, at string) {
	bearer, id := s.login(c, "jane"+at)
	other, _ := s.login(c, "john"+at)
	path := "/orgs/" + id + "/history"
	c.get(path, "Authorization", bearer).refuses(404, "not-found")
	c.post("/orgs", profile("A"), "Authorization", bearer).wants(201)
	c.put("/orgs/"+id, profile("B"), "Authorization", bearer).wants(200)

	events, _ := c.get(path, "Authorization", bearer).wants(200).members()["events"].([]any)
	if len(events) != 2 {
		t.Fatalf("%d events", len(events))
	}
	for i, want := range []struct{ kind, name string }{{"org.created", "A"}, {"org.updated", "B"}} {
		e, _ := events[i].(map[string]any)
		if at, err := time.Parse(time.RFC3339, fmt.Sprint(e["time"])); err != nil || time.Since(at) > time.Minute {
			t.Errorf("event %d: time %v", i, e["time"])
		}
		delete(e, "time")
		p := map[string]any{"name": want.name, "location": "Berlin", "description": "d"}
		if !reflect.DeepEqual(e, map[string]any{"version": float64(i + 1), "type": want.kind, "data": p, "state": p}) {
			t.Errorf("event %d: %v", i, e)
		}
	}
	res := c.get(path+"?version=1", "Authorization", bearer).wants(200)
	if state, _ := res.members()["state"].(map[string]any); res.number("version") != 1 || state["name"] != "A" {
		t.Errorf("%s", res.body)
	}
	c.get(path+"?version=3", "Authorization", bearer).refuses(404, "not-found")
	for _, query := range []string{"?version=0", "?version=x", "?version=", "?version=1&version=2", "?version=%31%00"} {
		c.get(path+query, "Authorization", bearer).refuses(400, "malformed")
	}
	c.get(path, "Authorization", other).refuses(403, "forbidden")
	c.get(path).refuses(401, "unauthorized")
}

func testRepeats(t *testing.T, s *system, c *client, at string) {
	to := "jane" + at
	const key = "Idempotency-Key"
	same := func(a, b response) {
		t.Helper()
		if a.status != b.status || a.body != b.body || !reflect.DeepEqual(without(a.header, "Date"), without(b.header, "Date")) {
			t.Errorf("%d %v %s\nand\n%d %v %s", a.status, a.header, a.body, b.status, b.header, b.body)
		}
	}
	first := c.post("/otp", code(to), key, `"one"`).wants(202)
	c.get("/otp/"+first.text("challenge"), "If-None-Match", `"1"`, "Prefer", "wait=5").wants(200)
	same(first, c.post("/otp", code(to), key, "one")) // bare is the same
	c.post("/otp", code(" "+to), key, "one").refuses(422, "idempotency-key-reused")

	secret := s.mail.to(to)[0]
	bad, good := guess(to, first.text("challenge"), wrong(secret)), guess(to, first.text("challenge"), secret)
	denied := c.post("/otp/verify", bad, key, "guess").refuses(401, "code-denied")
	same(denied, c.post("/otp/verify", bad, key, "guess"))
	c.post("/otp/verify", good, key, "guess").refuses(422, "idempotency-key-reused")
	token := c.post("/otp/verify", good, key, "right").wants(200)
	same(token, c.post("/otp/verify", good, key, "right"))

	bearer, path := "Bearer "+token.text("token"), "/orgs/"+token.text("subject")
	created := c.post("/orgs", profile("A"), "Authorization", bearer, key, "c").wants(201)
	updated := c.put(path, profile("B"), "Authorization", bearer, key, "u", "If-Match", `"1"`).wants(200)
	c.put(path, profile("C"), "Authorization", bearer).wants(200)
	same(created, c.post("/orgs", profile("A"), "Authorization", bearer, key, "c"))
	same(updated, c.put(path, profile("B"), "Authorization", bearer, key, "u", "If-Match", `"1"`))
	c.post("/orgs", profile("B"), "Authorization", bearer, key, "c").refuses(422, "idempotency-key-reused")
	c.put(path, profile("B"), "Authorization", bearer, key, "c").refuses(422, "idempotency-key-reused")
	c.put(path, profile("B"), "Authorization", bearer, key, strings.Repeat("k", 129)).refuses(400, "malformed")
	if view := c.get(path, "If-None-Match", `"2"`, "Prefer", "wait=5").wants(200); view.number("version") != 3 || view.text("name") != "C" {
		t.Errorf("%s", view.body)
	}
}

func testPaths(t *testing.T, _ *system, c *client, _ string) {
	for _, path := range []string{
		"/", "/nothing", "/orgs/", "/orgs/x/", "/orgs//x", "/otp/", "/otp/x/y", "/dev/outbox?to=x", "/orgs/../otp", "/orgs/%00",
		"/orgs/" + strings.Repeat("x", 300), "/orgs/unknown", "/otp/unknown", "/prod/healthz", "/orgs/a%2Fb", "/orgs/%E4",
	} {
		c.get(path).refuses(404, "not-found")
	}
	for path, allow := range map[string]string{
		"/otp": "POST", "/otp/verify": "POST", "/otp/x": "GET, HEAD", "/orgs": "POST", "/orgs/x": "GET, HEAD, PUT",
		"/orgs/x/history": "GET, HEAD", "/healthz": "GET, HEAD",
	} {
		for _, method := range []string{"PATCH", "DELETE", "OPTIONS"} {
			if res := c.send(method, path, nil).refuses(405, "method-not-allowed"); res.header.Get("Allow") != allow {
				t.Errorf("%s %s: Allow: %q", method, path, res.header.Get("Allow"))
			}
		}
	}
	if res := c.get("/healthz").wants(200); res.text("status") != "ok" {
		t.Errorf("%s", res.body)
	}
	c.send("HEAD", "/healthz", nil).wants(200)
}

// without returns headers apart from some that differ from answer to answer.
func without(h http.Header, names ...string) http.Header {
	h = maps.Clone(h)
	for _, n := range names {
		h.Del(n)
	}
	return h
}

// testLatency measures how long it takes from a command to the view that shows it.
func testLatency(t *testing.T, p programs) {
	const updates = 50
	s := start(t, p.checked, settings{})
	s.consume(1)
	c := s.through(t, httpAPI)
	bearer, id := s.login(c, "jane@example.com")
	c.post("/orgs", profile("0"), "Authorization", bearer).wants(201)
	var took, commands []time.Duration
	for n := range updates {
		begin := time.Now()
		version := c.put("/orgs/"+id, profile(fmt.Sprint(n+1)), "Authorization", bearer).wants(200).number("version")
		commands = append(commands, time.Since(begin))
		if view := c.get("/orgs/"+id, "If-None-Match", etag(version-1), "Prefer", "wait=5").wants(200); view.number("version") < version {
			t.Fatalf("%s", view.body)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	slices.Sort(commands)
	t.Logf("%d updates: command p50 %v, p99 %v; until the view shows it p50 %v, p99 %v", updates,
		commands[updates/2], commands[updates*99/100], took[updates/2], took[updates*99/100])
}
