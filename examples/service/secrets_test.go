package service_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

// A run with everything in it, faults as well, and all loggers at the level of debugging; then all
// that was stored, published, logged and answered is searched for what must not be there.
func TestSecretsStayWhereTheyBelong(t *testing.T) {
	t.Parallel()
	sys := start(t)
	sys.clock.whole.Store(true) // fractions of a second could look like a code
	answers := make(map[string]string)
	say := func(what string, r response) response {
		answers[what] += fmt.Sprint(r.header, r.body)
		return r
	}
	const key, junk = "key-Qx7-", "junk-Vw9+"
	company := map[string]string{"name": "Zebulon Ltd", "location": "Ouagadougou", "description": "We sell yaks."}
	challenge, code := sys.requestCode(jane)
	challenge2, code2 := sys.requestCode(phone)
	say("query", sys.get("/otp/"+challenge))
	say("refusal", sys.post("/otp/verify", guess(jane, challenge, wrong(code)), "Idempotency-Key", key+"1").wants(401))
	say("refusal", sys.post("/otp/verify", guess(jane, challenge2, code)).wants(401))
	say("refusal", sys.get("/otp/"+challenge+"x").wants(404))
	say("refusal", sys.post("/otp/"+challenge, "").wants(405))
	token := say("token", sys.post("/otp/verify", guess(jane, challenge, code), "Idempotency-Key", key+"2").wants(200))
	bearer, id := "Bearer "+token.text("token"), token.text("subject")
	say("org", sys.post("/orgs", company, "Authorization", bearer, "Idempotency-Key", key+"5").wants(201))
	say("refusal", sys.post("/orgs", company, "Authorization", bearer).wants(409))
	say("refusal", sys.put("/orgs/"+id, profile("B"), "Authorization", bearer, "Idempotency-Key", key+"5").wants(422))
	say("refusal", sys.put("/orgs/"+id, company, "Authorization", bearer, "If-Match", `"7"`).wants(412))
	// What nobody should send is neither logged nor kept.
	for name, r := range map[string]request{
		"a token of nobody":         {method: "POST", path: "/orgs", body: company, header: pairs([]string{"Authorization", "Bearer " + junk})},
		"a token of another key":    {method: "POST", path: "/orgs", body: company, header: pairs([]string{"Authorization", bearer[:len(bearer)-8] + junk[:8]})},
		"a password":                {method: "POST", path: "/orgs", body: company, header: pairs([]string{"Authorization", "Basic " + junk})},
		"no JSON":                   {method: "POST", path: "/otp", body: junk},
		"another member":            {method: "POST", path: "/otp", body: map[string]string{"channel": junk, "to": junk, "too": junk}},
		"a member twice":            {method: "POST", path: "/otp", body: `{"to":"` + junk + `","to":"` + jane + `"}`},
		"a form":                    {method: "POST", path: "/otp", body: "to=" + junk, header: pairs([]string{"Content-Type", "text/" + junk})},
		"too much":                  {method: "POST", path: "/otp", body: strings.Repeat(junk, 2000)},
		"a code of letters":         {method: "POST", path: "/otp/verify", body: guess(jane, challenge, junk)},
		"a challenge of nobody":     {method: "POST", path: "/otp/verify", body: guess(jane, junk, "123456")},
		"a path":                    {method: "GET", path: "/" + junk + "?q=" + junk},
		"a name that is none":       {method: "GET", path: "/otp/" + junk},
		"a key that is none":        {method: "POST", path: "/otp", body: map[string]string{"channel": "email", "to": jane}, header: pairs([]string{"Idempotency-Key", strings.Repeat(junk, 20)})},
		"a version that is none":    {method: "PUT", path: "/orgs/" + id, body: company, header: pairs([]string{"Authorization", bearer, "If-Match", junk})},
		"a preference that is none": {method: "GET", path: "/orgs/" + id + "x", header: pairs([]string{"Prefer", "wait=" + junk})},
		"a profile that is none":    {method: "PUT", path: "/orgs/" + id, body: map[string]string{"name": "", "location": strings.Repeat(junk, 50)}, header: pairs([]string{"Authorization", bearer})},
	} {
		if res := say("refusal", sys.send(r)); res.status < 400 || res.status >= 500 {
			t.Errorf("%s: %d %s", name, res.status, res.body)
		}
	}
	say("org", sys.get("/orgs/"+id+"/history", "Authorization", bearer).wants(200))
	say("org", sys.get("/orgs/"+id, "Prefer", "wait=5").wants(200))

	for _, fault := range []error{errors.New("time-out"), fmt.Errorf("closed: %w", es.ErrRefused)} {
		sys.broker.set(func(es.Commit) error { return fault })
		say("refusal", sys.post("/otp/verify", guess(phone, challenge2, wrong(code2)), "Idempotency-Key", key+"3"))
		say("refusal", sys.put("/orgs/"+id, profile("B"), "Authorization", bearer))
		say("refusal", sys.post("/otp/verify", guess(phone, challenge2, code2)))
	}
	sys.broker.set(nil)
	sys.store.fail(nil, errors.New("reset"))
	say("refusal", sys.post("/otp/verify", guess(phone, challenge2, wrong(code2)), "Idempotency-Key", key+"4").wants(503))
	sys.store.fail(nil, nil)
	sys.outbox.fail(&service.SendError{Reason: otp.Refused, Detail: "mailbox unknown"})
	third := sys.post("/otp", map[string]string{"channel": "sms", "to": phone}).wants(202)
	sys.views.fail(errors.New("views are gone"))
	say("refusal", sys.get("/otp/"+challenge).wants(500))
	sys.views.fail(nil)
	sys.get("/otp/"+third.text("challenge"), "If-None-Match", third.header.Get("ETag"), "Prefer", "wait=5").wants(200) // reported
	sys.clock.move(time.Second)
	if _, err := sys.service.Journal.Relay(t.Context()); err != nil {
		t.Error(err)
	}
	sys.get("/orgs/"+id, "If-None-Match", `"1"`, "Prefer", "wait=5").wants(200) // what the relay finished is delivered

	var names, stored strings.Builder // of streams; and what is in them
	all, ok := sys.store.Store.(*memory.Store)
	if !ok {
		t.Fatal("not the store in memory")
	}
	commits := 0
	for stream, err := range all.Streams(t.Context(), 0, 1, es.StreamID{}) {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&names, stream)
		for c, err := range all.Load(t.Context(), stream, 0) {
			if err != nil {
				t.Fatal(err)
			}
			commits++
			fmt.Fprintln(&stored, text(t, c))
		}
	}
	var published strings.Builder
	sys.broker.mu.Lock()
	for _, c := range sys.broker.seen {
		fmt.Fprintln(&published, text(t, c))
	}
	sys.broker.mu.Unlock()
	var views strings.Builder
	for stream := range strings.FieldsSeq(names.String()) {
		category, id, _ := strings.Cut(stream, "/")
		org, err := sys.service.OrgViews.Get(t.Context(), es.StreamID{Category: category, ID: id})
		if err != nil {
			t.Fatal(err)
		}
		codes, err := sys.service.OTPViews.Get(t.Context(), es.StreamID{Category: category, ID: id})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&views, "%s %+v %+v\n", stream, org, codes)
	}
	if !strings.Contains(views.String(), "Berlin") || !strings.Contains(views.String(), "send_failed") {
		t.Fatalf("nothing to search: %s", views.String())
	}
	if commits < 8 || !strings.Contains(sys.logs.String(), "request failed") || !strings.Contains(published.String(), "otp.verified") {
		t.Fatalf("nothing to search: %d commits", commits)
	}

	mac := challenge[strings.LastIndex(challenge, "-")+1:]
	mac2 := challenge2[strings.LastIndex(challenge2, "-")+1:]
	secrets := []string{code, code2, mac, mac2, token.text("token")}
	for _, key := range [][]byte{otpKey, tokenKey} {
		secrets = append(secrets, string(key), hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key))
	}
	addresses := []string{jane, phone, "jane", phone[1:]}
	told := []string{key, junk[:len(junk)-1], bearer}
	search := func(where, in string, for_ ...string) {
		t.Helper()
		for _, secret := range for_ {
			if strings.Contains(in, secret) {
				t.Errorf("%q is in %s:\n%s", secret, where, in)
			}
		}
	}
	search("the store", stored.String(), secrets...)
	search("what was published", published.String(), secrets...)
	search("the logs", sys.logs.String(), slices.Concat(secrets, addresses, told, slices.Collect(maps.Values(company)), []string{"Bearer", "Basic"})...)
	search("the store", stored.String(), told...)
	search("what was published", published.String(), told...)
	search("the names of streams", names.String(), slices.Concat(addresses, told)...)
	// An address is in no event, no state and no view: who sends a code opens it.
	search("the store", stored.String(), addresses...)
	search("what was published", published.String(), addresses...)
	search("the views", views.String(), slices.Concat(secrets, addresses, told)...)
	search("refusals", answers["refusal"], slices.Concat(secrets, addresses, told, slices.Collect(maps.Values(company)))...)
	search("orgs", answers["org"], slices.Concat(secrets, addresses)...)
	search("the status of a code", answers["query"], slices.Concat([]string{code, code2, mac2}, addresses)...)
	search("the answer with the token", answers["token"], slices.Concat([]string{code, mac}, addresses)...)
	search("what is printed of the service", fmt.Sprintf("%+v %#v", sys.service.Codes, sys.service.Tokens), secrets...)
	messages := sys.outbox.to(jane)
	search("what is printed of a message", fmt.Sprintf("%v %+v %#v", messages[0], messages, messages[0].LogValue()), slices.Concat(secrets, addresses)...)
}

// text returns everything of a commit, its data readable, and what is base64 there decoded.
func text(t *testing.T, c es.Commit) string {
	var b strings.Builder
	show := func(what, data string) {
		fmt.Fprintf(&b, "%s %s ", what, data)
		for _, quoted := range regexp.MustCompile(`"[A-Za-z0-9+/]+=*"`).FindAllString(data, -1) {
			if decoded, err := base64.StdEncoding.DecodeString(quoted[1 : len(quoted)-1]); err == nil {
				fmt.Fprintf(&b, "%s ", decoded)
			}
		}
	}
	for _, e := range c.Events {
		show(e.Type, e.Data)
	}
	if c.State != nil {
		show("state", c.State.Data)
	}
	c.Events, c.State = nil, nil
	rest, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b.String() + string(rest)
}
