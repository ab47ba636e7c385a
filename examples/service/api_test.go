package service_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/matryer/is"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

const jane, phone = "jane@example.com", "+4915112345678"

func TestRequestCode(t *testing.T) {
	sys, is := start(t), is.New(t)
	before := sys.clock.Now()
	res := sys.post("/otp", map[string]string{"channel": "email", "to": " Jane@Example.com "}).wants(202)
	is.Equal(res.number("version"), 1)
	is.Equal(res.header.Get("ETag"), `"1"`)
	is.Equal(res.header.Get("Content-Type"), "application/json")
	is.Equal(res.header.Get("Cache-Control"), "no-store")
	is.Equal(res.header.Get("X-Content-Type-Options"), "nosniff")
	expires, err := time.Parse(time.RFC3339, res.text("expires_at"))
	is.NoErr(err)
	is.True(!expires.Before(before.Add(10 * time.Minute)))
	is.True(!expires.After(sys.clock.Now().Add(10 * time.Minute)))

	challenge := res.text("challenge")
	sent := sys.get("/otp/"+challenge, "If-None-Match", `"1"`, "Prefer", "wait=5").wants(200)
	is.Equal(sent.members(), map[string]any{"challenge": challenge, "status": "sent", "expires_at": res.text("expires_at"), "version": 2.0})
	is.Equal(sent.header.Get("ETag"), `"2"`)
	is.Equal(sent.header.Get("Preference-Applied"), "wait=5")
	messages := sys.outbox.to(jane)
	is.Equal(len(messages), 1)
	is.True(strings.Contains(messages[0].Text, messages[0].Code))

	_, code := sys.requestCode(phone)
	is.Equal(len(code), 6)
}

func TestRequestCodeRefused(t *testing.T) {
	sys, is := start(t), is.New(t)
	for _, tt := range []struct {
		channel, to string
		pointers    []string
	}{
		{"email", "jane", []string{"/to"}},
		{"sms", jane, []string{"/to"}},
		{"email", phone, []string{"/to"}},
		{"sms", "0151 123", []string{"/to"}},
		{"fax", jane, []string{"/channel"}},
		{"", "", []string{"/channel"}},
	} {
		res := sys.post("/otp", map[string]string{"channel": tt.channel, "to": tt.to}).refuses(422, "invalid")
		is.Equal(slices.Sorted(maps.Keys(res.pointers())), tt.pointers)
	}

	for range 5 {
		sys.requestCode(jane)
	}
	sys.clock.move(20 * time.Minute)
	res := sys.post("/otp", map[string]string{"channel": "email", "to": "JANE@example.com"}).refuses(429, "too-many-codes")
	seconds, err := strconv.Atoi(res.header.Get("Retry-After"))
	is.NoErr(err)
	is.True(seconds > 39*60 && seconds <= 40*60)
	sys.requestCode(phone) // another address has a limit of its own
	sys.clock.move(time.Duration(seconds) * time.Second)
	sys.requestCode(jane)
}

func TestVerifyCode(t *testing.T) {
	sys, is := start(t), is.New(t)
	challenge, code := sys.requestCode(jane)
	res := sys.post("/otp/verify", guess(" Jane@example.COM", challenge, code)).wants(200)
	is.Equal(res.text("token_type"), "Bearer")
	is.Equal(res.number("version"), 3)
	is.Equal(res.header.Get("ETag"), `"3"`)
	is.Equal(res.header.Get("Cache-Control"), "no-store")
	expires, err := time.Parse(time.RFC3339, res.text("expires_at"))
	is.NoErr(err)
	is.True(expires.Sub(sys.clock.Now()) > time.Hour-time.Minute && expires.Sub(sys.clock.Now()) <= time.Hour)

	var claims jwt.RegisteredClaims
	_, err = jwt.ParseWithClaims(res.text("token"), &claims, func(*jwt.Token) (any, error) { return tokenKey, nil })
	is.NoErr(err)
	is.Equal(claims.Subject, res.text("subject"))
	is.Equal(claims.Issuer, "https://leftfold.example")
	is.Equal(claims.Audience, jwt.ClaimStrings{"https://leftfold.example"})
	is.True(claims.ExpiresAt.Equal(expires))
	is.True(claims.IssuedAt.Add(time.Hour).Equal(expires))
	is.Equal(claims.ID, claims.Subject+"-3")

	status := sys.get("/otp/"+challenge, "If-None-Match", `"2"`, "Prefer", "wait=5").wants(200)
	is.Equal(status.text("status"), "verified")
}

// Whatever is wrong with a guess, the answer is the same, byte for byte.
func TestVerifyRefusedUniformly(t *testing.T) {
	sys := start(t)
	answers := make(map[string]response)
	try := func(reason, to, challenge, code string) {
		t.Helper()
		answers[reason] = sys.post("/otp/verify", guess(to, challenge, code)).refuses(401, "code-denied")
	}

	challenge, code := sys.requestCode(jane)
	try("unknown address", "nobody@example.com", challenge, code)
	try("impossible address", "nobody", challenge, code)
	try("wrong challenge", jane, challenge[:len(challenge)-1]+"0", code)
	try("challenge of another", jane, sys.codes.Challenge("x", 1), code)
	try("wrong code", jane, challenge, wrong(code))
	try("code of another form", jane, challenge, "12345x7")
	sys.post("/otp/verify", guess(jane, challenge, code)).wants(200)
	try("used", jane, challenge, code)

	challenge, code = sys.requestCode(jane)
	for range 5 {
		try("wrong code", jane, challenge, wrong(code))
	}
	try("exhausted", jane, challenge, code)

	challenge, code = sys.requestCode(jane)
	_, _ = sys.requestCode(jane)
	try("superseded", jane, challenge, code)

	challenge, code = sys.requestCode(phone)
	sys.clock.move(10*time.Minute - 5*time.Second)
	try("wrong code", phone, challenge, wrong(code))
	sys.clock.move(6 * time.Second)
	try("expired", phone, challenge, code)

	want := answers["unknown address"]
	for reason, got := range answers {
		if got.body != want.body || !reflect.DeepEqual(without(got.header, "Date"), without(want.header, "Date")) {
			t.Errorf("%s:\n%v %s\nand unknown address:\n%v %s", reason, got.header, got.body, want.header, want.body)
		}
	}
	if want.header.Get("WWW-Authenticate") == "" {
		t.Error("401 without WWW-Authenticate")
	}
}

func TestCodeStatus(t *testing.T) {
	sys, is := start(t), is.New(t)
	at := func(challenge, known string) response {
		t.Helper()
		return sys.get("/otp/"+challenge, "If-None-Match", known, "Prefer", "wait=5").wants(200)
	}
	first, code := sys.requestCode(jane)
	for range 5 {
		sys.post("/otp/verify", guess(jane, first, wrong(code))).wants(401)
	}
	res := at(first, `"6"`)
	is.Equal(res.text("status"), "exhausted")
	is.Equal(res.number("version"), 7)

	second, _ := sys.requestCode(jane)
	third, _ := sys.requestCode(jane)
	is.Equal(sys.get("/otp/"+second).wants(200).text("status"), "superseded")
	is.Equal(sys.get("/otp/"+first).wants(200).text("status"), "exhausted")
	res = sys.get("/otp/" + third).wants(200)
	is.Equal(res.number("version"), 11)

	is.Equal(sys.get("/otp/"+third, "If-None-Match", `"11"`).wants(304).header.Get("ETag"), `"11"`)
	sys.get("/otp/"+third[:len(third)-1]+"0").refuses(404, "not-found")
	sys.get("/otp/nothing", "Prefer", "wait=5").refuses(404, "not-found") // at once: it will never be there
	id, _, ok := sys.codes.Locate(third)
	is.True(ok)
	sys.get("/otp/"+sys.codes.Challenge(id, 99)).refuses(404, "not-found")

	sys.outbox.fail(&service.SendError{Reason: otp.Refused, Detail: "no such mailbox"})
	failed := sys.post("/otp", map[string]string{"channel": "email", "to": "gone@example.com"}).wants(202)
	is.Equal(at(failed.text("challenge"), `"1"`).text("status"), "send_failed")
	is.True(strings.Contains(sys.logs.String(), `"code not sent"`))

	sys.outbox.fail(errors.New("a text that shows gone@example.com"))
	failed = sys.post("/otp", map[string]string{"channel": "email", "to": "gone@example.com"}).wants(202)
	is.Equal(at(failed.text("challenge"), `"3"`).text("status"), "send_failed")
	is.True(!strings.Contains(sys.logs.String(), "gone@")) // what a sender says is not shown
}

// Whose key was changed can open no address. The codes of these events are dead as well, so they
// are reported as not sent, and hold up neither the stream nor the queue.
func TestAddressOfAnotherKey(t *testing.T) {
	sys, is := start(t), is.New(t)
	other, err := otp.NewCodes([]byte("the key of the codes before these"))
	is.NoErr(err)
	to, err := otp.ParseAddress(jane)
	is.NoErr(err)
	id := other.StreamID(to)
	journal := &es.Journal{Store: sys.store.Store, Now: sys.clock.Now} // it publishes nothing
	_, err = es.Execute(t.Context(), journal, &otp.Aggregate, id, otp.Request(other, to, sys.clock.Now()))
	is.NoErr(err)
	for c, err := range sys.store.Load(t.Context(), es.StreamID{Category: otp.Aggregate.Category, ID: id}, 0) {
		is.NoErr(err)
		is.NoErr(sys.service.React(t.Context(), c)) // it need not come again
	}
	var last otp.Event
	for step, err := range es.History(t.Context(), sys.service.Journal, &otp.Aggregate, id) {
		is.NoErr(err)
		last = step.Event
	}
	is.Equal(last, otp.SendFailed{Request: 1, Reason: otp.Unreadable})
	is.Equal(len(sys.outbox.to(jane)), 0)
	is.True(strings.Contains(sys.logs.String(), `"reason":"unreadable"`))
	is.True(!strings.Contains(sys.logs.String(), "jane"))
}

func TestCreateOrg(t *testing.T) {
	sys, is := start(t), is.New(t)
	bearer, id := sys.login(jane)
	body := map[string]string{"name": " Acme ", "location": "Berlin"}
	res := sys.post("/orgs", body, "Authorization", bearer).wants(201)
	is.Equal(res.header.Get("Location"), "/orgs/"+id)
	is.Equal(res.header.Get("ETag"), `"1"`)
	is.Equal(res.header.Get("Cache-Control"), "no-store")
	want := map[string]any{"id": id, "name": "Acme", "location": "Berlin", "description": "", "version": 1.0}
	is.Equal(res.members(), want)

	res = sys.get("/orgs/"+id, "Prefer", "wait=5").wants(200)
	is.Equal(res.members(), want)
	is.Equal(res.header.Get("ETag"), `"1"`)

	sys.post("/orgs", body, "Authorization", bearer).refuses(409, "org-exists")
	sys.post("/orgs", body, "Authorization", strings.Replace(bearer, "Bearer", "bEARER", 1)).refuses(409, "org-exists")
}

func TestUnauthorized(t *testing.T) {
	sys, is := start(t), is.New(t)
	bearer, id := sys.login(jane)
	sign := func(method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
		token, err := jwt.NewWithClaims(method, claims).SignedString(key)
		is.NoErr(err)
		return "Bearer " + token
	}
	now := sys.clock.Now()
	claims := func(change string, to any) jwt.MapClaims {
		c := jwt.MapClaims{"sub": id, "iss": "https://leftfold.example", "aud": "https://leftfold.example", "exp": now.Add(time.Hour).Unix()}
		c[change] = to
		if to == nil {
			delete(c, change)
		}
		return c
	}
	sys.post("/orgs", profile("Acme"), "Authorization", sign(jwt.SigningMethodHS256, tokenKey, claims("x", 1))).wants(201) // the control
	for name, authorization := range map[string]string{
		"none":            "",
		"another scheme":  "Basic " + strings.TrimPrefix(bearer, "Bearer "),
		"no token":        "Bearer",
		"garbage":         "Bearer x.y.z",
		"unsigned":        sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims("x", 1)),
		"another hash":    sign(jwt.SigningMethodHS512, tokenKey, claims("x", 1)),
		"another key":     sign(jwt.SigningMethodHS256, otpKey, claims("x", 1)),
		"expired":         sign(jwt.SigningMethodHS256, tokenKey, claims("exp", now.Add(-time.Second).Unix())),
		"no expiry":       sign(jwt.SigningMethodHS256, tokenKey, claims("exp", nil)),
		"no subject":      sign(jwt.SigningMethodHS256, tokenKey, claims("sub", nil)),
		"another issuer":  sign(jwt.SigningMethodHS256, tokenKey, claims("iss", "x")),
		"no issuer":       sign(jwt.SigningMethodHS256, tokenKey, claims("iss", nil)),
		"other audience":  sign(jwt.SigningMethodHS256, tokenKey, claims("aud", "x")),
		"cut":             bearer[:len(bearer)-2],
		"signature of no": bearer + "x",
	} {
		t.Run(name, func(t *testing.T) {
			sys := sys.in(t)
			for _, res := range []response{
				sys.post("/orgs", profile("Acme"), "Authorization", authorization),
				sys.put("/orgs/"+id, profile("Acme"), "Authorization", authorization),
				sys.get("/orgs/"+id+"/history", "Authorization", authorization),
				// Who is not known is not told what is wrong with the body.
				sys.post("/orgs", "{", "Authorization", authorization, "Content-Type", "text/plain"),
			} {
				res.refuses(401, "unauthorized")
				if !strings.HasPrefix(res.header.Get("WWW-Authenticate"), "Bearer") {
					t.Error("no WWW-Authenticate")
				}
			}
		})
	}

	sys.get("/orgs/"+id+"/history", "Authorization", bearer).wants(200)
	sys.clock.move(time.Hour)
	sys.get("/orgs/"+id+"/history", "Authorization", bearer).refuses(401, "unauthorized")
}

func TestUpdateOrg(t *testing.T) {
	sys, is := start(t), is.New(t)
	bearer, id := sys.login(jane)
	other, _ := sys.login(phone)
	update := func(name string, header ...string) response {
		t.Helper()
		return sys.put("/orgs/"+id, profile(name), append(header, "Authorization", bearer)...)
	}
	update("A").refuses(404, "not-found")
	update("A", "If-Match", `"1"`).refuses(404, "not-found")
	update("A", "If-Match", `"0"`).refuses(404, "not-found")
	update("A", "If-Match", `*`).refuses(404, "not-found")
	sys.post("/orgs", profile("A"), "Authorization", bearer).wants(201)

	res := update("B").wants(200)
	is.Equal(res.header.Get("ETag"), `"2"`)
	is.Equal(res.members(), map[string]any{"id": id, "name": "B", "location": "Berlin", "description": "d", "version": 2.0})
	res = update("B").wants(200) // nothing changed
	is.Equal(res.header.Get("ETag"), `"2"`)
	is.Equal(res.number("version"), 2)

	res = update("C", "If-Match", `"1"`).refuses(412, "precondition-failed")
	is.True(strings.Contains(res.text("detail"), "2")) // it says where the org is
	is.Equal(update("C", "If-Match", `"2"`).wants(200).number("version"), 3)
	for _, tt := range []struct {
		match  string
		status int
	}{
		{`"3"`, 200}, {`*`, 200}, {`"1", "3"`, 200}, {`"3","9"`, 200}, {`"9" , "3",`, 200}, {`"abc", "3"`, 200}, {`"1","2","3","4"`, 200},
		{`W/"3"`, 412}, {`"4"`, 412}, {`"03"`, 412}, {`"abc"`, 412}, {`"1", "2"`, 412}, {`W/"3", "2"`, 412}, {`"0"`, 412}, {`""`, 412}, {`"99999999999999999999"`, 412}, {`"a,b"`, 412}, {`"3,"`, 412},
		{`3`, 400}, {`"3`, 400}, {`"3" "4"`, 400}, {`w/"3"`, 400}, {`*, "3"`, 400}, {`,`, 400}, {`'3'`, 400}, {`"a b"`, 400},
	} {
		if res := update("C", "If-Match", tt.match); res.status != tt.status {
			t.Errorf("If-Match: %s: %d, want %d: %s", tt.match, res.status, tt.status, res.body)
		}
	}

	sys.put("/orgs/"+id, profile("D"), "Authorization", other).refuses(403, "forbidden")
	sys.put("/orgs/nobody", profile("D"), "Authorization", bearer).refuses(403, "forbidden")
	// Who may not is not told what is wrong with the body.
	sys.put("/orgs/"+id, "{", "Authorization", other, "Content-Type", "text/plain").refuses(403, "forbidden")
	is.Equal(sys.get("/orgs/"+id, "If-None-Match", `"2"`, "Prefer", "wait=5").wants(200).text("name"), "C")
}

func TestBodies(t *testing.T) {
	sys, is := start(t), is.New(t)
	bearer, id := sys.login(jane)
	long := strings.Repeat("x", 16<<10)
	for _, tt := range []struct {
		name, contentType, body string
		status                  int
		slug                    string
		pointers                []string
	}{
		{"all that is wrong", "", `{"name":"","location":7,"description":"` + strings.Repeat("x", 1201) + `","a/b~c":1,"x":null}`, 422, "invalid",
			[]string{"/a~1b~0c", "/description", "/location", "/name", "/x"}},
		{"nothing", "", `{}`, 422, "invalid", []string{"/location", "/name"}},
		{"control character", "", `{"name":"a\u0000b","location":"Berlin"}`, 422, "invalid", []string{"/name"}},
		{"null", "", `{"name":null,"location":"Berlin"}`, 422, "invalid", []string{"/name"}},
		{"another case", "", `{"Name":"Acme","location":"Berlin"}`, 422, "invalid", []string{"/Name", "/name"}},
		{"nested", "", `{"name":{"name":"Acme"},"location":["Berlin"]}`, 422, "invalid", []string{"/location", "/name"}},
		{"a number out of range", "", `{"name":1e999,"location":"Berlin"}`, 422, "invalid", []string{"/name"}},
		{"an array", "", `[]`, 422, "invalid", []string{""}},
		{"a text", "", `"Acme"`, 422, "invalid", []string{""}},
		{"null alone", "", `null`, 422, "invalid", []string{""}},
		{"empty", "", ``, 400, "malformed", nil},
		{"cut", "", `{"name":"Acme"`, 400, "malformed", nil},
		{"trailing", "", `{"name":"Acme","location":"Berlin"} {}`, 400, "malformed", nil},
		{"trailing comma", "", `{"name":"Acme","location":"Berlin",}`, 400, "malformed", nil},
		{"a member twice", "", `{"name":"Acme","location":"Berlin","name":"Other"}`, 400, "malformed", nil},
		{"a member twice, spelled otherwise", "", `{"name":"Acme","location":"Berlin","n\u0061me":"Other"}`, 400, "malformed", nil},
		{"invalid UTF-8", "", "{\"name\":\"A\xff\",\"location\":\"Berlin\"}", 400, "malformed", nil},
		{"too large", "", `{"name":"` + long + `"}`, 413, "too-large", nil},
		{"too large by white space", "", `{"name":"Acme","location":"Berlin"}` + strings.Repeat(" ", 16<<10), 413, "too-large", nil},
		{"no type", "-", `{}`, 415, "unsupported-media-type", nil},
		{"a form", "application/x-www-form-urlencoded", `name=Acme`, 415, "unsupported-media-type", nil},
		{"almost", "application/json5", `{}`, 415, "unsupported-media-type", nil},
		{"another charset", "application/json; charset=latin1", `{}`, 415, "unsupported-media-type", nil},
		{"a broken type", "application/json; charset", `{}`, 415, "unsupported-media-type", nil},
		{"two types", "application/json, text/plain", `{}`, 415, "unsupported-media-type", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is, sys := is.New(t), sys.in(t)
			header := []string{"Authorization", bearer}
			switch tt.contentType {
			case "":
			case "-":
				header = append(header, "Content-Type", "")
			default:
				header = append(header, "Content-Type", tt.contentType)
			}
			for _, res := range []response{sys.post("/orgs", tt.body, header...), sys.put("/orgs/"+id, tt.body, header...)} {
				res.refuses(tt.status, tt.slug)
				is.Equal(slices.Sorted(maps.Keys(res.pointers())), tt.pointers)
			}
			// The other commands read bodies in the same way.
			if tt.status != 422 {
				sys.post("/otp", tt.body, header...).refuses(tt.status, tt.slug)
				sys.post("/otp/verify", tt.body, header...).refuses(tt.status, tt.slug)
			}
		})
	}
	res := sys.post("/otp/verify", `{"to":1,"code":"","x":1}`).refuses(422, "invalid")
	is.Equal(slices.Sorted(maps.Keys(res.pointers())), []string{"/challenge", "/code", "/to", "/x"})
	res = sys.post("/otp", `{"to":1,"channel":"fax","x":1}`).refuses(422, "invalid")
	is.Equal(slices.Sorted(maps.Keys(res.pointers())), []string{"/channel", "/to", "/x"})

	// What is allowed: the largest body, white space, any case of the type.
	body := `{"name":"Acme","location":"Berlin"}`
	body += strings.Repeat(" ", 16<<10-len(body))
	sys.post("/orgs", body, "Authorization", bearer, "Content-Type", `Application/JSON; charset="UTF-8"`).wants(201)
}

func TestPathsAndMethods(t *testing.T) {
	sys, is := start(t), is.New(t)
	for _, path := range []string{
		"/", "/nothing", "/orgs/", "/orgs/x/", "//orgs", "/orgs//x", "/orgs/x/history/y", "/otp/", "/otp/verify/", "/otp/x/y", "/dev/outbox?to=" + jane, "/orgs/../otp",
		"/orgs/%00", "/orgs/" + strings.Repeat("x", 300), "/orgs/unknown",
	} {
		sys.get(path).refuses(404, "not-found")
	}
	for path, allow := range map[string]string{
		"/otp": "POST", "/otp/verify": "POST", "/otp/x": "GET, HEAD", "/orgs": "POST", "/orgs/x": "GET, HEAD, PUT",
		"/orgs/x/history": "GET, HEAD", "/healthz": "GET, HEAD",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"} {
			if strings.Contains(allow, method) {
				continue
			}
			res := sys.send(request{method: method, path: path})
			is.Equal(res.status, 405)
			is.Equal(res.header.Get("Allow"), allow)
			if method != "HEAD" {
				res.refuses(405, "method-not-allowed")
			}
		}
	}
	is.Equal(sys.get("/healthz").wants(200).text("status"), "ok")
	res := sys.send(request{method: "HEAD", path: "/healthz"}).wants(200)
	is.Equal(res.body, "")
}

func TestIdempotencyKey(t *testing.T) {
	sys, is := start(t), is.New(t)
	same := func(a, b response) {
		t.Helper()
		is.Equal(a.status, b.status)
		is.Equal(a.body, b.body)
		is.Equal(without(a.header, "Date"), without(b.header, "Date"))
	}
	const key = "Idempotency-Key"
	code := map[string]string{"channel": "email", "to": jane}
	first := sys.post("/otp", code, key, `"one"`).wants(202)
	challenge := first.text("challenge")
	sys.get("/otp/"+challenge, "If-None-Match", `"1"`, "Prefer", "wait=5").wants(200)
	same(first, sys.post("/otp", code, key, `"one"`))
	same(first, sys.post("/otp", code, key, `one`)) // bare is the same key
	sys.post("/otp", map[string]string{"channel": "email", "to": " " + jane}, key, "one").refuses(422, "idempotency-key-reused")

	secret := sys.outbox.to(jane)[0].Code
	bad, good := guess(jane, challenge, wrong(secret)), guess(jane, challenge, secret)
	denied := sys.post("/otp/verify", bad, key, "guess").refuses(401, "code-denied")
	same(denied, sys.post("/otp/verify", bad, key, "guess"))
	sys.post("/otp/verify", good, key, "guess").refuses(422, "idempotency-key-reused")
	token := sys.post("/otp/verify", good, key, "right").wants(200)
	is.Equal(token.number("version"), 4) // requested, sent, rejected once, verified
	sys.clock.move(2 * time.Second)
	same(token, sys.post("/otp/verify", good, key, "right")) // the very same token
	same(denied, sys.post("/otp/verify", bad, key, "guess"))
	sys.post("/otp/verify", good, key, "another").refuses(401, "code-denied")
	same(first, sys.post("/otp", code, key, "one"))

	bearer, id := "Bearer "+token.text("token"), token.text("subject")
	created := sys.post("/orgs", profile("A"), "Authorization", bearer, key, "c").wants(201)
	updated := sys.put("/orgs/"+id, profile("B"), "Authorization", bearer, key, "u", "If-Match", `"1"`).wants(200)
	sys.put("/orgs/"+id, profile("C"), "Authorization", bearer).wants(200)
	same(created, sys.post("/orgs", profile("A"), "Authorization", bearer, key, "c"))
	same(updated, sys.put("/orgs/"+id, profile("B"), "Authorization", bearer, key, "u", "If-Match", `"1"`)) // the key comes before the condition
	sys.post("/orgs", profile("B"), "Authorization", bearer, key, "c").refuses(422, "idempotency-key-reused")
	sys.put("/orgs/"+id, profile("B"), "Authorization", bearer, key, "c").refuses(422, "idempotency-key-reused")
	sys.post("/orgs", profile("A"), "Authorization", bearer, key, "d").refuses(409, "org-exists")
	is.Equal(sys.get("/orgs/"+id, "If-None-Match", `"2"`, "Prefer", "wait=5").wants(200).number("version"), 3) // nothing happened twice

	for _, k := range []string{`""`, `"`, " ", "ä", "a\tb", strings.Repeat("k", 129)} {
		header := map[string]string{"Authorization": bearer, key: k}
		res := sys.send(request{method: "PUT", path: "/orgs/" + id, body: profile("Z"), header: header})
		if k == `"` {
			res.wants(200) // an odd key, and a key
			continue
		}
		res.refuses(400, "malformed")
	}
	sys.put("/orgs/"+id, profile("Y"), "Authorization", bearer, key, strings.Repeat("k", 128)).wants(200)
}

// What left no event is not done at all when it comes again, whatever happened since.
func TestIdempotencyKeyWithoutEvent(t *testing.T) {
	sys, is := start(t), is.New(t)
	bearer, id := sys.login(jane)
	const key = "Idempotency-Key"
	send := func(method, path, name string, header ...string) response {
		t.Helper()
		return sys.send(request{method: method, path: path, body: profile(name), header: pairs(append(header, "Authorization", bearer))})
	}
	put := func(name string, header ...string) response {
		t.Helper()
		return send("PUT", "/orgs/"+id, name, header...)
	}
	same := func(a, b response) {
		t.Helper()
		is.Equal(a.status, b.status)
		is.Equal(a.body, b.body)
		is.Equal(without(a.header, "Date"), without(b.header, "Date"))
	}
	missing := put("A", key, "missing").refuses(404, "not-found")
	missed := put("A", key, "missed", "If-Match", `"1"`).refuses(404, "not-found")
	send("POST", "/orgs", "A").wants(201)
	same(missing, put("A", key, "missing"))
	same(missed, put("A", key, "missed", "If-Match", `"1"`))
	put("B", key, "missing").refuses(422, "idempotency-key-reused")

	unchanged := put("A", key, "unchanged").wants(200)
	is.Equal(unchanged.number("version"), 1)
	stale := put("B", key, "stale", "If-Match", `"2"`).refuses(412, "precondition-failed")
	exists := send("POST", "/orgs", "B", key, "exists").refuses(409, "org-exists")
	put("B").wants(200)
	same(unchanged, put("A", key, "unchanged"))
	same(unchanged, put("A", key, `"unchanged"`))
	same(stale, put("B", key, "stale", "If-Match", `"2"`))
	same(exists, send("POST", "/orgs", "B", key, "exists"))
	put("C", key, "unchanged").refuses(422, "idempotency-key-reused")
	put("C", key, "stale", "If-Match", `"2"`).refuses(422, "idempotency-key-reused")
	send("POST", "/orgs", "A", key, "unchanged").refuses(422, "idempotency-key-reused") // another request
	is.Equal(put("B", key, "several", "If-Match", `"1", "2"`).wants(200).number("version"), 2)
	is.Equal(sys.get("/orgs/"+id, "If-None-Match", `"1"`, "Prefer", "wait=5").wants(200).text("name"), "B")

	// Keys are those of one org: another may have the same.
	other, otherID := sys.login(phone)
	sys.post("/orgs", profile("Z"), "Authorization", other, key, "unchanged").wants(201)
	is.Equal(sys.put("/orgs/"+otherID, profile("Y"), "Authorization", other, key, "stale").wants(200).number("version"), 2)

	challenge, code := sys.requestCode(jane)
	sys.post("/otp/verify", guess(jane, challenge, code)).wants(200)
	used := sys.post("/otp/verify", guess(jane, challenge, code), key, "used").refuses(401, "code-denied")
	same(used, sys.post("/otp/verify", guess(jane, challenge, code), key, "used"))
	sys.post("/otp/verify", guess(jane, challenge, wrong(code)), key, "used").refuses(422, "idempotency-key-reused")

	// Who is asked to come again may come again.
	for range 3 {
		sys.requestCode(jane)
	}
	body := map[string]string{"channel": "email", "to": jane}
	sys.post("/otp", body, key, "many").refuses(429, "too-many-codes")
	sys.clock.move(time.Hour)
	sys.post("/otp", body, key, "many").wants(202)
	bearer, _ = sys.login(jane)
	sys.broker.set(func(es.Commit) error { return es.ErrRefused })
	put("C", key, "closed").refuses(503, "unavailable")
	sys.broker.set(nil)
	is.Equal(put("C", key, "closed").wants(200).number("version"), 3)

	// What could not be kept is not said; what cannot be known is not done.
	sys.answers.fail(errors.New("gone"))
	put("D", key, "read").refuses(500, "internal")
	sys.answers.fail(nil)
	sys.answers.failPut(errors.New("gone"))
	put("C", key, "written").refuses(500, "internal")
	sys.answers.failPut(nil)
	is.Equal(put("C", key, "written").wants(200).number("version"), 3)
}

// Of the same command sent twice at once, both are told what the faster one came to.
func TestIdempotencyKeyTwiceAtOnce(t *testing.T) {
	sys, is := start(t), is.New(t)
	bearer, id := sys.login(jane)
	put := func(name, key string) response {
		t.Helper()
		return sys.put("/orgs/"+id, profile(name), "Authorization", bearer, "Idempotency-Key", key)
	}
	sys.post("/orgs", profile("A"), "Authorization", bearer).wants(201)
	var fast response
	meanwhile := func(do func()) { sys.answers.before.Store(&do) }
	meanwhile(func() {
		sys.put("/orgs/"+id, profile("B"), "Authorization", bearer).wants(200)
		sys.put("/orgs/"+id, profile("A"), "Authorization", bearer).wants(200)
		fast = put("A", "one").wants(200)
	})
	slow := put("A", "one").wants(200)
	is.Equal(fast.number("version"), 3)
	is.Equal(slow.body, fast.body)

	meanwhile(func() { put("A", "two").wants(200) })
	sys.put("/orgs/"+id, profile("C"), "Authorization", bearer, "Idempotency-Key", "two", "If-Match", `"9"`).refuses(422, "idempotency-key-reused")
}

func TestPending(t *testing.T) {
	sys, is := start(t), is.New(t)
	bearer, id := sys.login(jane)
	unknown := func(es.Commit) error { return errors.New("time-out") }

	sys.broker.set(unknown)
	res := sys.post("/orgs", profile("A"), "Authorization", bearer).wants(202)
	is.Equal(res.header.Get("ETag"), `"1"`)
	is.Equal(res.header.Get("Location"), "/orgs/"+id)
	is.Equal(res.members(), map[string]any{"id": id, "name": "A", "location": "Berlin", "description": "d", "version": 1.0})
	sys.get("/orgs/"+id+"/history", "Authorization", bearer).refuses(404, "not-found") // not history yet
	sys.get("/orgs/"+id).refuses(404, "not-found")

	// Nobody builds on it while it cannot be published.
	sys.put("/orgs/"+id, profile("B"), "Authorization", bearer).refuses(503, "unavailable")
	sys.broker.set(nil)
	is.Equal(sys.put("/orgs/"+id, profile("B"), "Authorization", bearer).wants(200).number("version"), 2)
	is.Equal(sys.get("/orgs/"+id, "If-None-Match", `"1"`, "Prefer", "wait=5").wants(200).text("name"), "B")

	sys.broker.set(unknown)
	sys.put("/orgs/"+id, profile("C"), "Authorization", bearer).wants(202)
	challenge := sys.post("/otp", map[string]string{"channel": "sms", "to": phone}).wants(202).text("challenge")
	sys.broker.set(nil)
	sys.clock.move(time.Second)
	n, err := sys.service.Journal.Relay(t.Context())
	is.NoErr(err)
	is.Equal(n, 2)
	is.Equal(sys.get("/orgs/"+id, "If-None-Match", `"2"`, "Prefer", "wait=5").wants(200).text("name"), "C")
	is.Equal(sys.get("/otp/"+challenge, "If-None-Match", `"1"`, "Prefer", "wait=5").wants(200).text("status"), "sent")

	// A token whose event is pending is a token: its attempt has won its place.
	code := sys.outbox.to(phone)[0].Code
	sys.broker.set(unknown)
	token := sys.post("/otp/verify", guess(phone, challenge, code), "Idempotency-Key", "v").wants(202)
	is.True(token.text("token") != "")
	sys.broker.set(nil)
	again := sys.post("/otp/verify", guess(phone, challenge, code), "Idempotency-Key", "v").wants(200)
	is.Equal(again.body, token.body)
}

func TestBrokerRefuses(t *testing.T) {
	sys, is := start(t), is.New(t)
	bearer, id := sys.login(jane)
	sys.post("/orgs", profile("A"), "Authorization", bearer).wants(201)
	refuse := func(es.Commit) error { return fmt.Errorf("no such topic: %w", es.ErrRefused) }

	sys.broker.set(refuse)
	for _, res := range []response{
		sys.put("/orgs/"+id, profile("B"), "Authorization", bearer),
		sys.post("/otp", map[string]string{"channel": "sms", "to": phone}),
	} {
		res.refuses(503, "unavailable")
		is.Equal(res.header.Get("Retry-After"), "1")
	}
	is.Equal(strings.Count(sys.logs.String(), `"request failed"`), 2) // once each
	is.Equal(sys.get("/orgs/"+id+"/history?version=1", "Authorization", bearer).wants(200).number("version"), 1)
	sys.get("/orgs/"+id+"/history?version=2", "Authorization", bearer).refuses(404, "not-found")

	sys.broker.set(nil)
	is.Equal(sys.put("/orgs/"+id, profile("C"), "Authorization", bearer).wants(200).number("version"), 2)
	sys.requestCode(phone)
	is.Equal(len(sys.outbox.to(phone)), 1) // of the refused one nothing was sent

	// A guess that was not stored is not answered and does not count.
	challenge, code := sys.requestCode(jane)
	sys.broker.set(refuse)
	for range 6 {
		sys.post("/otp/verify", guess(jane, challenge, wrong(code))).refuses(503, "unavailable")
		sys.post("/otp/verify", guess(jane, challenge, code)).refuses(503, "unavailable")
	}
	sys.broker.set(nil)
	sys.post("/otp/verify", guess(jane, challenge, code)).wants(200)
}

func TestOutcomeUnknown(t *testing.T) {
	sys, is := start(t), is.New(t)
	bearer, id := sys.login(jane)
	sys.store.fail(nil, errors.New("connection reset"))
	header := []string{"Authorization", bearer, "Idempotency-Key", "once"}
	res := sys.post("/orgs", profile("A"), header...).refuses(503, "outcome-unknown")
	is.Equal(res.header.Get("Retry-After"), "1")

	sys.store.fail(nil, nil)
	res = sys.post("/orgs", profile("A"), header...).wants(201)
	is.Equal(res.number("version"), 1)
	is.Equal(sys.get("/orgs/"+id, "Prefer", "wait=5").wants(200).number("version"), 1)

	sys.store.fail(fmt.Errorf("throttled: %w", es.ErrRefused), nil)
	sys.put("/orgs/"+id, profile("B"), "Authorization", bearer).refuses(503, "unavailable")
	sys.store.fail(es.ErrConflict, nil)
	sys.put("/orgs/"+id, profile("B"), "Authorization", bearer).refuses(409, "conflict")
}

// Other failures are ours: the client is told nothing of them, the log is.
func TestInternalErrors(t *testing.T) {
	sys, is := start(t), is.New(t)
	_, id := sys.login(jane)
	challenge, _ := sys.requestCode(jane)
	sys.views.fail(errors.New("table views-7 is gone"))
	for _, path := range []string{"/orgs/" + id, "/otp/" + challenge} {
		res := sys.get(path).refuses(500, "internal")
		is.True(!strings.Contains(res.body, "views-7"))
	}
	is.Equal(strings.Count(sys.logs.String(), `"request failed"`), 2)
	is.True(strings.Contains(sys.logs.String(), `"route":"/otp/{challenge}"`))
	is.True(!strings.Contains(sys.logs.String(), challenge))

	sys.views.fail(context.DeadlineExceeded)
	sys.get("/orgs/"+id).refuses(503, "timeout")
}

func TestConditionalQueries(t *testing.T) {
	sys, is := start(t), is.New(t)
	bearer, id := sys.login(jane)
	sys.post("/orgs", profile("A"), "Authorization", bearer).wants(201)
	sys.put("/orgs/"+id, profile("B"), "Authorization", bearer).wants(200)
	sys.put("/orgs/"+id, profile("C"), "Authorization", bearer).wants(200)
	sys.get("/orgs/"+id, "If-None-Match", `"2"`, "Prefer", "wait=5").wants(200)
	for _, tt := range []struct {
		known  string
		status int
	}{
		{`"3"`, 304}, {`W/"3"`, 304}, {`"1", "3"`, 304}, {`*`, 304}, {`"x", W/"3"`, 304},
		{`"4"`, 304}, // the client knows more than this view
		{`"2"`, 200}, {`"1","2"`, 200}, {`"x"`, 200}, {`"03"`, 200}, {`""`, 200},
		{`3`, 400}, {`"3`, 400}, {`"3"x`, 400}, {`,`, 400},
	} {
		res := sys.get("/orgs/"+id, "If-None-Match", tt.known)
		if res.status != tt.status {
			t.Errorf("If-None-Match: %s: %d, want %d: %s", tt.known, res.status, tt.status, res.body)
		}
		if res.status == 304 && (res.header.Get("ETag") != `"3"` || res.body != "") {
			t.Errorf("304 with %v %q", res.header, res.body)
		}
	}
	is.Equal(sys.send(request{method: "HEAD", path: "/orgs/" + id}).wants(200).header.Get("ETag"), `"3"`)
}

func TestPreferWait(t *testing.T) {
	t.Parallel()
	sys, is := start(t), is.New(t)
	bearer, id := sys.login(jane)

	// It waits for the view to appear, and then for a newer one.
	for i, change := range []func() response{
		func() response { return sys.post("/orgs", profile("A"), "Authorization", bearer) },
		func() response { return sys.put("/orgs/"+id, profile("B"), "Authorization", bearer) },
	} {
		answer := make(chan response, 1)
		header := []string{"Prefer", "respond-async, Wait=5; x=y", "If-None-Match", etag(i)}
		if i == 0 {
			header = header[:2]
		}
		go func() { answer <- sys.get("/orgs/"+id, header...) }()
		change()
		res := (<-answer).wants(200)
		is.Equal(res.number("version"), i+1)
		is.Equal(res.header.Get("Preference-Applied"), "wait=5")
	}

	for _, tt := range []struct {
		prefer, applied string
		atLeast, atMost time.Duration
	}{
		{"wait=1", "wait=1", time.Second, 4 * time.Second},
		{`wait="1"`, "wait=1", time.Second, 4 * time.Second},
		{"wait=0", "wait=0", 0, 4 * time.Second},
		{"wait=-1", "", 0, 4 * time.Second},
		{"wait=soon", "", 0, 4 * time.Second},
		{"wait", "", 0, 4 * time.Second},
		{"return=minimal", "", 0, 4 * time.Second},
	} {
		begin := time.Now()
		res := sys.get("/orgs/"+id, "Prefer", tt.prefer, "If-None-Match", `"2"`).wants(304)
		took := time.Since(begin)
		is.Equal(res.header.Get("Preference-Applied"), tt.applied)
		if took < tt.atLeast || took > tt.atMost {
			t.Errorf("%s took %v", tt.prefer, took)
		}
	}
	// A wait beyond the limit is cut to it, and said so; nothing to wait for here.
	is.Equal(sys.get("/orgs/"+id, "Prefer", "wait=3600").wants(200).header.Get("Preference-Applied"), "wait=5")

	// A client that goes away is not waited for.
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", sys.url+"/orgs/nobody", nil)
	is.NoErr(err)
	req.Header.Set("Prefer", "wait=5")
	time.AfterFunc(20*time.Millisecond, cancel)
	res, err := sys.client.Do(req)
	if err == nil {
		_ = res.Body.Close()
	}
	is.True(errors.Is(err, context.Canceled))
}

func TestHistory(t *testing.T) {
	sys, is := start(t), is.New(t)
	bearer, id := sys.login(jane)
	other, _ := sys.login(phone)
	path := "/orgs/" + id + "/history"
	sys.get(path, "Authorization", bearer).refuses(404, "not-found")
	sys.post("/orgs", profile("A"), "Authorization", bearer).wants(201)
	sys.put("/orgs/"+id, profile("B"), "Authorization", bearer).wants(200)

	res := sys.get(path, "Authorization", bearer).wants(200)
	is.Equal(res.header.Get("Cache-Control"), "no-store")
	events := res.members()["events"].([]any)
	is.Equal(len(events), 2)
	for i, want := range []struct{ kind, name string }{{"org.created", "A"}, {"org.updated", "B"}} {
		e := events[i].(map[string]any)
		p := map[string]any{"name": want.name, "location": "Berlin", "description": "d"}
		at, err := time.Parse(time.RFC3339, e["time"].(string))
		is.NoErr(err)
		is.True(sys.clock.Now().Sub(at) < time.Minute)
		delete(e, "time")
		is.Equal(e, map[string]any{"version": float64(i + 1), "type": want.kind, "data": p, "state": p})
	}
	res = sys.get(path+"?version=1", "Authorization", bearer).wants(200)
	is.Equal(res.members(), map[string]any{"version": 1.0, "state": map[string]any{"name": "A", "location": "Berlin", "description": "d"}})
	sys.get(path+"?version=2", "Authorization", bearer).wants(200)
	sys.get(path+"?version=3", "Authorization", bearer).refuses(404, "not-found")
	for _, version := range []string{"0", "-1", "x", "", "1.5", "99999999999999999999", "1&version=2"} {
		sys.get(path+"?version="+version, "Authorization", bearer).refuses(400, "malformed")
	}
	sys.get(path, "Authorization", other).refuses(403, "forbidden")
	sys.get(path).refuses(401, "unauthorized")
}

// An event that is delivered again sends nothing again; one that comes too late sends nothing.
func TestReactorRepeats(t *testing.T) {
	sys, is := start(t), is.New(t)
	challenge, _ := sys.requestCode(jane)
	id, _, _ := sys.codes.Locate(challenge)
	requested := sys.broker.first()
	is.Equal(requested.Stream, es.StreamID{Category: "otp", ID: id})
	for range 3 {
		is.NoErr(sys.service.Handle(t.Context(), requested))
	}
	is.Equal(len(sys.outbox.to(jane)), 1)
	_, version, err := es.Load(t.Context(), sys.service.Journal, &otp.Aggregate, id)
	is.NoErr(err)
	is.Equal(version, uint64(2))

	// The broker delivers nothing for the next one; it comes by hand, and late.
	held := make(chan es.Commit, 1)
	sys.broker.set(func(c es.Commit) error { held <- c; return errors.New("time-out") })
	sys.post("/otp", map[string]string{"channel": "sms", "to": phone}).wants(202)
	late := <-held
	late.State, late.Done, late.Status = nil, nil, es.Settled
	sys.broker.set(nil)
	sys.clock.move(10 * time.Minute)
	is.NoErr(sys.service.React(t.Context(), late))
	is.Equal(len(sys.outbox.to(phone)), 0)

	// Shutting down is no failure of the channel: the event has to come again.
	ctx, cancel := context.WithCancel(t.Context())
	ending := *sys.service
	ending.Sender = senderFunc(func(context.Context, service.Message) error { cancel(); return context.Canceled })
	sys.clock.move(-10 * time.Minute)
	is.True(errors.Is(ending.React(ctx, late), context.Canceled))
	is.True(!strings.Contains(sys.logs.String(), "code not sent"))
}

type senderFunc func(context.Context, service.Message) error

func (f senderFunc) Send(ctx context.Context, m service.Message) error { return f(ctx, m) }
