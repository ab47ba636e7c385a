package service_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"pgregory.net/rapid"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

// Whatever is asked of the service, over a network that loses answers and with a broker that
// refuses, each answer is one that a plain model allows, and at the end the history is that of the
// accepted commands, and the views are what they come to.
func TestServiceAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := drawSteps(rt)
		var failed any
		// The clock is that of the bubble, and a panic would not leave it.
		synctest.Test(t, func(t *testing.T) {
			defer func() { failed = recover() }()
			newRig(t).run(steps)
		})
		if f, ok := failed.(failure); ok {
			rt.Fatal(string(f))
		} else if failed != nil {
			panic(failed)
		}
	})
}

// failure is the panic of a run that fails.
type failure string

// rig is the service in one goroutine: the front, whose calls of store and broker are
// disturbed, and the back, which handles what is delivered.
type rig struct {
	t       *testing.T
	handler http.Handler
	front   *estest.Faulty
	fault   trouble
	back    *service.Service
	bus     *memory.Bus
	codes   otp.Codes
	users   []*user
	clean   bool     // nothing was ever disturbed
	calls   []string // of the request, as far as they were disturbed
	trace   []string
}

// user has the worlds that the answers so far allow. There are several where an outcome is
// unknown.
type user struct {
	address string
	id      string // of the org
	orgs    []orgWorld
	otps    []otpWorld
	codes   []uint64 // the versions of the codes that were requested
	seen    int      // the newest view so far
}

// trouble is what happens to the calls of one request.
type trouble struct {
	Op    estest.Op // empty: any
	Fault estest.Fault
	From  int // the calls that go well before
	Count int
	Then  estest.Fault // what happens to the call after these
}

type modelStep struct {
	Do      string
	User    int
	As      int // 8: somebody else; 9: nobody
	Name    int
	Key     int // below 2: none
	Match   int // see match
	Version int
	Times   int // in a row, the trouble in the first
	Trouble trouble
	Move    time.Duration
}

func drawSteps(t *rapid.T) []modelStep {
	digit := rapid.IntRange(0, 9)
	step := rapid.Custom(func(t *rapid.T) modelStep {
		s := modelStep{
			Do: rapid.SampledFrom([]string{
				"create", "create", "update", "update", "update", "update", "get", "history", "history at",
				"request", "request", "guess right", "guess right", "guess wrong", "guess wrong", "guess wrong", "move", "relay",
			}).Draw(t, "do"),
			User: rapid.IntRange(0, 1).Draw(t, "user"),
		}
		switch s.Do {
		case "move":
			s.Move = rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 11 * time.Minute, 31 * time.Minute}).Draw(t, "by")
			return s
		case "create", "update":
			s.Name, s.Key, s.Match = rapid.IntRange(0, 2).Draw(t, "name"), rapid.IntRange(0, 4).Draw(t, "key"), digit.Draw(t, "match")
		}
		if s.Times = 1; s.Do == "request" || s.Do == "guess wrong" {
			s.Times = rapid.SampledFrom([]int{1, 1, 1, 5}).Draw(t, "times") // which is the limit of both
		}
		s.As, s.Version = digit.Draw(t, "as"), digit.Draw(t, "version")
		if digit.Draw(t, "trouble") > 6 {
			fault := rapid.SampledFrom([]estest.Fault{estest.Refuse, estest.LoseBefore, estest.LoseAfter, estest.Late(3), estest.Late(9)})
			s.Trouble = trouble{
				Op:    rapid.SampledFrom([]estest.Op{"", estest.Append, estest.Publish, estest.Settle, estest.Revoke, estest.LoadBack}).Draw(t, "op"),
				Fault: fault.Draw(t, "fault"), Then: fault.Draw(t, "then"),
				From: rapid.IntRange(0, 3).Draw(t, "from"), Count: rapid.SampledFrom([]int{1, 2, 9}).Draw(t, "count"),
			}
		}
		return s
	})
	least := rapid.SampledFrom([]int{1, 15, 30}).Draw(t, "least")
	return rapid.SliceOfN(step, least, 50).Draw(t, "steps")
}

func newRig(t *testing.T) *rig {
	codes, err := otp.NewCodes(otpKey)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := service.NewTokens(tokenKey, "https://leftfold.example", 0)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, codes: codes, bus: new(memory.Bus), clean: true}
	r.front = &estest.Faulty{Plan: func(c estest.Call) (fault estest.Fault) {
		defer func() {
			if fault != estest.None {
				r.calls = append(r.calls, fmt.Sprint(c, ": ", fault))
			}
		}()
		tr := &r.fault
		switch {
		case tr.Op != "" && tr.Op != c.Op:
			return estest.None
		case tr.From > 0:
			tr.From--
			return estest.None
		case tr.Count > 0:
			tr.Count--
			return tr.Fault
		}
		then := tr.Then
		tr.Then = estest.None
		return then
	}}
	store := new(memory.Store)
	r.back = &service.Service{
		Journal:  &es.Journal{Store: store, Publisher: r.bus},
		OrgViews: new(memory.Views[org.View]), OTPViews: new(memory.Views[otp.View]), Answers: new(memory.Views[service.Answer]),
		Codes: codes, Tokens: tokens, Sender: new(outbox),
	}
	front := *r.back
	front.Journal = &es.Journal{Store: r.front.Store(store), Publisher: r.front.Publisher(r.bus)}
	r.handler = front.Handler()
	r.bus.Subscribe("views", r.back.Project)
	r.bus.Subscribe("codes", r.back.React)
	for _, address := range []string{jane, "joe@example.com"} {
		to, err := otp.ParseAddress(address)
		if err != nil {
			t.Fatal(err)
		}
		r.users = append(r.users, &user{address: address, id: codes.Subject(to), orgs: []orgWorld{{}}, otps: []otpWorld{{}}})
	}
	return r
}

func (r *rig) run(steps []modelStep) {
	defer func() { _ = r.bus.Close(r.t.Context()) }()
	for _, s := range steps {
		r.fault = s.Trouble
		if s.Trouble.Count > 0 {
			r.clean = false
		}
		switch u := r.users[s.User]; s.Do {
		case "move":
			time.Sleep(s.Move)
		case "relay":
			// The front's, disturbed like everything else.
			_, _ = (&es.Journal{Store: r.front.Store(r.back.Journal.Store), Publisher: r.front.Publisher(r.bus)}).Relay(r.t.Context())
		case "create", "update":
			r.command(u, s)
		case "get":
			r.get(u, s, r.clean)
		case "history", "history at":
			r.history(u, s, r.clean)
		default:
			for range s.Times {
				r.otp(u, s)
			}
		}
		r.fault = trouble{}
		synctest.Wait() // for what was published to be delivered
	}
	// Everything arrives that is still on its way, and what crashed is finished.
	if err := r.front.Land(r.t.Context()); err != nil {
		r.fail("%v", err)
	}
	for range 2 { // the reports of what the first one publishes
		time.Sleep(2 * time.Second)
		if _, err := r.back.Journal.Relay(r.t.Context()); err != nil {
			r.fail("%v", err)
		}
		synctest.Wait()
	}
	for _, u := range r.users {
		r.history(u, modelStep{Do: "history"}, true)
		for i := range u.orgs {
			u.orgs[i].maybe = nil
		}
		r.get(u, modelStep{}, true)
		r.codesAtTheEnd(u)
	}
}

func (r *rig) fail(format string, args ...any) {
	panic(failure(fmt.Sprintf("%s\nafter\n  %s", fmt.Sprintf(format, args...), strings.Join(r.trace, "\n  "))))
}

// send sends a request and returns its answer, whose form is always the same.
func (r *rig) send(s modelStep, u *user, method, path string, body any, header ...string) response {
	data, err := json.Marshal(body)
	if err != nil {
		r.fail("%v", err)
	}
	req := httptest.NewRequestWithContext(r.t.Context(), method, path, strings.NewReader(string(data)))
	req.Header.Set("Content-Type", "application/json")
	for k, v := range pairs(header) {
		if v != "" {
			req.Header.Set(k, v)
		}
	}
	if s.As < 9 {
		subject := u.id
		if s.As == 8 {
			subject = "somebody-else"
		}
		now := time.Now()
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": subject, "iss": "https://leftfold.example", "aud": "https://leftfold.example", "exp": now.Add(time.Hour).Unix(),
		}).SignedString(tokenKey)
		if err != nil {
			r.fail("%v", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	r.calls = nil
	r.handler.ServeHTTP(w, req)
	res := response{status: w.Code, header: w.Header(), body: w.Body.String()}
	r.trace = append(r.trace, fmt.Sprintf("%s %s %s %v: %d %s [%s]", method, path, data, header, res.status, strings.TrimSpace(res.body), strings.Join(r.calls, ", ")))
	if w.Code >= 400 && (w.Header().Get("Content-Type") != "application/problem+json" || !strings.Contains(res.body, `"status":`+strconv.Itoa(w.Code))) {
		r.fail("the last answer is no problem")
	}
	return res
}

func (r *rig) members(res response) map[string]any {
	var m map[string]any
	if err := json.Unmarshal([]byte(res.body), &m); err != nil {
		r.fail("%d %q: %v", res.status, res.body, err)
	}
	return m
}

// verdict sorts an answer: what a world says of it, or that nothing happened for
// a reason that any world may have, or that nobody knows.
func (r *rig) verdict(s modelStep, res response) (nothing, unknown bool) {
	if s.Trouble.Count == 0 {
		return false, false
	}
	slug := problemSlug(res)
	return res.status == 500 && slug == "internal" || res.status == 503 && slug == "unavailable", res.status == 503 && slug == "outcome-unknown"
}

func problemSlug(res response) string {
	var p struct{ Type string }
	_ = json.Unmarshal([]byte(res.body), &p)
	return p.Type[strings.LastIndex(p.Type, "/")+1:]
}

// orgWorld is what an org may have come to. It is a value.
type orgWorld struct {
	names []string   // of the accepted commands
	done  []orgDone  // those with a key
	kept  []orgDone  // the answers that left no event
	maybe []orgMaybe // commands that may yet take the next slot
}

type orgDone struct {
	key, content string
	answer       orgAnswer
}

type orgMaybe struct{ name, key, content string }

type orgAnswer struct {
	status, version int
	slug            string // of a refusal
}

// accept returns the world after a command was accepted: its slot is taken.
func (w orgWorld) accept(m orgMaybe, status int) orgWorld {
	w.names, w.maybe = append(slices.Clip(w.names), m.name), nil
	if m.key != "" {
		w.done = append(slices.Clip(w.done), orgDone{m.key, m.content, orgAnswer{status: status, version: len(w.names)}})
		w.done = w.done[max(0, len(w.done)-8):]
	}
	return w
}

// after returns the worlds in which a command of unknown outcome has come to effect
// meanwhile, and those in which none has yet.
func after(worlds []orgWorld) []orgWorld {
	all := slices.Clone(worlds)
	for _, w := range worlds {
		for _, m := range w.maybe {
			status := 200
			if strings.HasPrefix(m.content, "POST") {
				status = 201
			}
			all = append(all, w.accept(m, status))
		}
	}
	return distinct(all)
}

func distinct[W any](worlds []W) []W {
	seen := make(map[string]bool)
	return slices.DeleteFunc(worlds, func(w W) bool {
		key := fmt.Sprintf("%+v", w)
		defer func() { seen[key] = true }()
		return seen[key]
	})
}

// command is POST /orgs or PUT /orgs/{id}.
func (r *rig) command(u *user, s modelStep) {
	create := s.Do == "create"
	c := orgMaybe{name: string(rune('A' + s.Name)), content: "POST"}
	method, path, match := "POST", "/orgs", ""
	if !create {
		method, path = "PUT", "/orgs/"+u.id
		n := len(u.orgs[len(u.orgs)-1].names)
		match = map[int]string{6: etag(n), 7: etag(max(0, n-1)), 8: "*", 9: `"0", ` + etag(n)}[s.Match]
	}
	c.content = method + c.name
	if s.Key >= 2 {
		c.key = "key " + strconv.Itoa(s.Key)
	}
	if create && s.As == 8 {
		s.As = 0 // somebody else would create their own
	}
	res := r.send(s, u, method, path, profile(c.name), "Idempotency-Key", c.key, "If-Match", match)
	switch s.As {
	case 9:
		r.wants(res, 401, "unauthorized")
		return
	case 8:
		r.wants(res, 403, "forbidden")
		return
	}
	nothing, unknown := r.verdict(s, res)
	var next []orgWorld
	for _, w := range after(u.orgs) {
		want, then, adds := w.apply(c, create, match)
		switch {
		case nothing:
			next = append(next, w)
		case unknown && adds:
			w.maybe = append(slices.Clip(w.maybe), c)
			next = append(next, w)
		case r.says(res, want, c.name, u.id, s.Trouble.Count > 0):
			next = append(next, then)
		}
	}
	if len(next) == 0 {
		r.fail("the last answer fits none of %+v", u.orgs)
	}
	u.orgs = distinct(next)
}

// says reports whether the answer to a command is the one that is wanted; later, as 202,
// where the publication may not be confirmed.
func (r *rig) says(res response, want orgAnswer, name, id string, later bool) bool {
	if want.slug != "" {
		return res.status == want.status && problemSlug(res) == want.slug
	}
	if res.status != want.status && (!later || res.status != 202) {
		return false
	}
	m := r.members(res)
	return m["version"] == float64(want.version) && m["name"] == name && m["id"] == id && res.header.Get("ETag") == etag(want.version)
}

// apply returns what a command comes to in this world, the world after it, and whether
// it adds an event.
func (w orgWorld) apply(c orgMaybe, create bool, match string) (orgAnswer, orgWorld, bool) {
	if c.key != "" {
		for _, d := range slices.Concat(w.kept, w.done) {
			switch {
			case d.key != c.key:
			case d.content != c.content:
				return orgAnswer{status: 422, slug: "idempotency-key-reused"}, w, false
			default:
				return d.answer, w, false
			}
		}
	}
	keep := func(a orgAnswer) (orgAnswer, orgWorld, bool) {
		if c.key != "" {
			w.kept = append(slices.Clip(w.kept), orgDone{c.key, c.content, a})
		}
		return a, w, false
	}
	n := len(w.names)
	switch {
	case match != "" && match != "*" && !strings.Contains(match, etag(n)) && n > 0:
		return keep(orgAnswer{status: 412, slug: "precondition-failed"})
	case !create && n == 0:
		return keep(orgAnswer{status: 404, slug: "not-found"})
	case create && n > 0:
		return keep(orgAnswer{status: 409, slug: "org-exists"})
	case !create && w.names[n-1] == c.name:
		return keep(orgAnswer{status: 200, version: n})
	}
	status := 200
	if create {
		status = 201
	}
	return orgAnswer{status: status, version: n + 1}, w.accept(c, status), true
}

func (r *rig) wants(res response, status int, slug string) {
	if res.status != status || problemSlug(res) != slug {
		r.fail("the last answer should be %d %s", status, slug)
	}
}

// get is GET /orgs/{id}. The view is never older than it was, and what it says was
// true at its version; where all is up to date, it is the newest.
func (r *rig) get(u *user, s modelStep, current bool) {
	known := 0
	if s.Version > 5 {
		known = u.seen
	}
	res := r.send(s, u, "GET", "/orgs/"+u.id, nil, "If-None-Match", etag(known))
	version, name := 0, ""
	switch res.status {
	case 200:
		m := r.members(res)
		v, _ := m["version"].(float64)
		version, name = int(v), fmt.Sprint(m["name"])
		if version <= known || m["location"] != "Berlin" || m["id"] != u.id {
			r.fail("the last answer is of another")
		}
	case 304:
		version, _ = strconv.Atoi(strings.Trim(res.header.Get("ETag"), `"`))
		if version > known {
			r.fail("the last answer hides something new")
		}
	case 404:
	default:
		r.fail("the last answer is none of a view")
	}
	if version < u.seen {
		r.fail("the view was at version %d before", u.seen)
	}
	u.seen = version
	u.orgs = slices.DeleteFunc(after(u.orgs), func(w orgWorld) bool {
		return version > len(w.names) || name != "" && w.names[version-1] != name || current && version != len(w.names)
	})
	if len(u.orgs) == 0 {
		r.fail("the last answer fits no world")
	}
}

// history is GET /orgs/{id}/history. All that was accepted is in it, but for the
// newest command while its publication is not confirmed.
func (r *rig) history(u *user, s modelStep, current bool) {
	path, at := "/orgs/"+u.id+"/history", s.Version%5
	if s.Do == "history at" {
		path += "?version=" + strconv.Itoa(at)
	}
	res := r.send(s, u, "GET", path, nil)
	nothing, _ := r.verdict(s, res)
	switch {
	case s.As == 9:
		r.wants(res, 401, "unauthorized")
		return
	case s.As == 8:
		r.wants(res, 403, "forbidden")
		return
	case s.Do == "history at" && at == 0:
		r.wants(res, 400, "malformed")
		return
	case nothing:
		return
	}
	var got struct {
		Version int
		State   struct{ Name string }
		Events  []struct {
			Version int
			Type    string
			Data    struct{ Name string }
			State   struct{ Name string }
		}
	}
	if res.status == 200 {
		if err := json.Unmarshal([]byte(res.body), &got); err != nil {
			r.fail("the last answer: %v", err)
		}
	} else {
		r.wants(res, 404, "not-found")
	}
	shows := func(names []string) bool {
		if s.Do == "history at" {
			if at > len(names) {
				return res.status == 404
			}
			return res.status == 200 && got.Version == at && got.State.Name == names[at-1]
		}
		if len(got.Events) != len(names) {
			return false
		}
		for i, e := range got.Events {
			kind := "org.updated"
			if i == 0 {
				kind = "org.created"
			}
			if e.Version != i+1 || e.Type != kind || e.Data.Name != names[i] || e.State.Name != names[i] {
				return false
			}
		}
		return true
	}
	u.orgs = slices.DeleteFunc(after(u.orgs), func(w orgWorld) bool {
		return !shows(w.names) && (current || len(w.names) == 0 || !shows(w.names[:len(w.names)-1]))
	})
	if len(u.orgs) == 0 {
		r.fail("the last answer fits no world")
	}
}

// otpWorld is what the stream of an address may have come to. It is a value.
type otpWorld struct {
	requests []time.Time
	code     uint64 // the version of the newest request; 0 if its requester never heard of it
	expires  time.Time
	attempts int
	used     bool
	wrong    int // guesses that were counted
	right    int
	maybe    []otpMaybe
}

type otpMaybe struct {
	do string
	at time.Time
}

func (w otpWorld) accept(m otpMaybe, version uint64) otpWorld {
	w.maybe = nil
	switch m.do {
	case "request":
		w.requests, w.code, w.expires, w.attempts, w.used = append(slices.Clip(w.requests), m.at), version, m.at.Add(otp.Lifetime), 0, false
	case "guess right":
		w.right, w.used = w.right+1, true
	case "guess wrong":
		w.wrong, w.attempts = w.wrong+1, w.attempts+1
	}
	return w
}

func otpAfter(worlds []otpWorld) []otpWorld {
	all := slices.Clone(worlds)
	for _, w := range worlds {
		for _, m := range w.maybe {
			all = append(all, w.accept(m, 0))
		}
	}
	return distinct(all)
}

// otp is POST /otp or POST /otp/verify.
func (r *rig) otp(u *user, s modelStep) {
	now := time.Now()
	to, err := otp.ParseAddress(u.address)
	if err != nil {
		r.fail("%v", err)
	}
	stream := r.codes.StreamID(to)
	m := otpMaybe{do: s.Do, at: now}
	var res response
	var guessed uint64
	if s.Do == "request" {
		res = r.send(s, u, "POST", "/otp", map[string]string{"channel": "email", "to": u.address})
	} else {
		if len(u.codes) == 0 {
			return
		}
		// Mostly the newest code.
		guessed = u.codes[max(0, len(u.codes)-1-max(0, s.Version-7))]
		code := r.codes.Code(stream, guessed)
		if s.Do == "guess wrong" {
			code = wrong(code)
		}
		res = r.send(s, u, "POST", "/otp/verify", guess(u.address, r.codes.Challenge(stream, guessed), code))
	}
	nothing, unknown := r.verdict(s, res)
	var version uint64
	if res.status == 200 || res.status == 202 {
		v, _ := r.members(res)["version"].(float64)
		version = uint64(v)
		if s.Do == "request" {
			if r.members(res)["challenge"] != r.codes.Challenge(stream, version) || slices.Contains(u.codes, version) {
				r.fail("the last answer has another challenge")
			}
			u.codes = append(u.codes, version)
		} else if r.members(res)["subject"] != u.id {
			r.fail("the last answer has another subject")
		}
	}
	var next []otpWorld
	for _, w := range otpAfter(u.otps) {
		var allowed, fits bool
		if s.Do == "request" {
			n := len(w.requests)
			allowed = n < otp.MaxRequests || !w.requests[n-otp.MaxRequests].Add(otp.Window).After(now)
			if allowed {
				fits = res.status == 202 && version > w.code
			} else {
				left := w.requests[n-otp.MaxRequests].Add(otp.Window).Sub(now)
				fits = res.status == 429 && res.header.Get("Retry-After") == strconv.Itoa(int((left+time.Second-1)/time.Second))
			}
		} else {
			allowed = w.code == guessed && !w.used && w.attempts < otp.MaxAttempts && now.Before(w.expires)
			switch {
			case allowed && s.Do == "guess right":
				fits = (res.status == 200 || s.Trouble.Count > 0 && res.status == 202) && version > w.code
			default:
				fits = res.status == 401 && problemSlug(res) == "code-denied"
			}
		}
		switch {
		case nothing:
			next = append(next, w)
		case unknown && allowed:
			w.maybe = append(slices.Clip(w.maybe), m)
			next = append(next, w)
		case fits && allowed:
			next = append(next, w.accept(m, version))
		case fits:
			next = append(next, w)
		}
	}
	if len(next) == 0 {
		r.fail("the last answer fits none of %+v", u.otps)
	}
	u.otps = distinct(next)
}

// codesAtTheEnd compares the history of an address with the worlds that are left.
func (r *rig) codesAtTheEnd(u *user) {
	to, err := otp.ParseAddress(u.address)
	if err != nil {
		r.fail("%v", err)
	}
	var requests, wrong, right, version int
	verified := make(map[uint64]bool)
	for step, err := range es.History(r.t.Context(), r.back.Journal, &otp.Aggregate, r.codes.StreamID(to)) {
		if err != nil {
			r.fail("history: %v", err)
		}
		version = int(step.Version)
		switch e := step.Event.(type) {
		case otp.Requested:
			requests++
		case otp.Rejected:
			wrong++
		case otp.Verified:
			if right++; verified[e.Request] {
				r.fail("a code was used twice")
			}
			verified[e.Request] = true
		}
	}
	u.otps = slices.DeleteFunc(otpAfter(u.otps), func(w otpWorld) bool {
		return len(w.requests) != requests || w.wrong != wrong || w.right != right
	})
	if len(u.otps) == 0 {
		r.fail("at the end there are %d requests, %d wrong guesses and %d right ones", requests, wrong, right)
	}
	view, err := r.back.OTPViews.Get(r.t.Context(), es.StreamID{Category: "otp", ID: r.codes.StreamID(to)})
	if err != nil || int(view.Version) != version {
		r.fail("the view of the codes is at version %d and the stream at %d: %v", view.Version, version, err)
	}
}
