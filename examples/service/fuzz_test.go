package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
)

// newFuzzed returns a service in memory, a subject that has an org, and what authorises it.
func newFuzzed(f *testing.F) (s *Service, subject, bearer string) {
	codes, err := otp.NewCodes(make([]byte, otp.MinKey))
	if err != nil {
		f.Fatal(err)
	}
	tokens, err := NewTokens(make([]byte, minTokenKey), "", 0)
	if err != nil {
		f.Fatal(err)
	}
	s = &Service{
		Journal:  &es.Journal{Store: new(memory.Store)},
		OrgViews: new(memory.Views[org.View]), OTPViews: new(memory.Views[otp.View]), Answers: new(memory.Views[Answer]),
		Codes: codes, Tokens: tokens,
	}
	to, err := otp.ParseAddress("jane@example.com")
	if err != nil {
		f.Fatal(err)
	}
	subject = codes.Subject(to)
	token, _, err := tokens.issue(subject, time.Now(), 1)
	if err != nil {
		f.Fatal(err)
	}
	profile, err := org.NewProfile("Acme", "Berlin", "")
	if err != nil {
		f.Fatal(err)
	}
	if _, err := es.Execute(f.Context(), s.Journal, &org.Aggregate, subject, org.Create(profile)); err != nil {
		f.Fatal(err)
	}
	for c, err := range s.Journal.Store.Load(f.Context(), orgStream(subject), 0) {
		if err != nil {
			f.Fatal(err)
		}
		if err := s.Project(f.Context(), c); err != nil {
			f.Fatal(err)
		}
	}
	return s, subject, "Bearer " + token
}

// Whatever is sent, the service is not to blame, and every refusal is a problem that says so.
func FuzzHandler(f *testing.F) {
	s, subject, bearer := newFuzzed(f)
	handler := s.Handler()
	body := `{"name":"Acme","location":"Berlin"}`
	f.Add("GET", "/healthz", "", "", "", "", "")
	f.Add("GET", "/orgs/me", `"1"`, "", "", "", "")
	f.Add("GET", "/orgs/me/history?version=1", "", "", "", "", "")
	f.Add("POST", "/orgs", "", "application/json", "a key", body, "")
	f.Add("PUT", "/orgs/me", `"1", W/"2"`, "application/json; charset=utf-8", `"a"`, body, "")
	f.Add("PUT", "/orgs/me", `*`, "application/json", "", `{"name":"\u0000","a/b~":[{}],"description":null}`, "")
	f.Add("POST", "/otp", "", "application/json", "", `{"channel":"sms","to":"+4915112345678"}`, "")
	f.Add("POST", "/otp/verify", "", "application/json", "k", `{"to":"jane@example.com","challenge":"x-1-y","code":"000000"}`, "Bearer x.y.z")
	f.Add("GET", "/otp/x-1-y", "", "", "", "", "Basic x")
	f.Add("GET", "*", "", "", "", "", "")
	f.Fuzz(func(t *testing.T, method, target, match, contentType, key, content, authorization string) {
		// In the place of "me" there is the one who may.
		u, err := url.ParseRequestURI(strings.Replace(target, "/me", "/"+subject, 1))
		if err != nil || u.Host != "" || u.Opaque != "" {
			t.Skip() // it gets no further than net/http
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(content))
		r.Method, r.URL, r.RequestURI = method, u, target
		if authorization == "" {
			authorization = bearer
		}
		for name, value := range map[string]string{
			"If-Match": match, "If-None-Match": match, "Content-Type": contentType, "Idempotency-Key": key, "Authorization": authorization,
		} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if err := sound(w, method); err != nil {
			t.Error(err)
		}
	})
}

// sound returns what is wrong with the form of an answer.
func sound(w *httptest.ResponseRecorder, method string) error {
	var v struct {
		Type, Title, Detail string
		Status              int
		Errors              []struct{ Pointer, Detail *string }
	}
	fail := func(why string) error { return fmt.Errorf("%s: %d %v %s", why, w.Code, w.Header(), w.Body) }
	switch {
	case w.Code >= 500:
		return fail("our fault")
	case w.Code == http.StatusNotModified:
		if w.Body.Len() > 0 || w.Header().Get("ETag") == "" {
			return fail("304")
		}
		return nil
	case !json.Valid(w.Body.Bytes()):
		return fail("no JSON")
	case w.Code < 300:
		if w.Header().Get("Content-Type") != "application/json" {
			return fail("the wrong type")
		}
		return nil
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		return fail(err.Error())
	}
	switch {
	case w.Header().Get("Content-Type") != "application/problem+json", v.Status != w.Code, v.Title == "", v.Detail == "",
		!strings.HasPrefix(v.Type, problemBase), len(v.Type) == len(problemBase):
		return fail("no problem")
	case w.Code == http.StatusMethodNotAllowed && (w.Header().Get("Allow") == "" || slices.Contains(strings.Split(w.Header().Get("Allow"), ", "), method)):
		return fail("405 of a method that is allowed")
	case w.Code == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "":
		return fail("401 without a challenge")
	}
	for _, e := range v.Errors {
		if e.Pointer == nil || e.Detail == nil || *e.Detail == "" || *e.Pointer != "" && (*e.Pointer)[0] != '/' {
			return fail("an error without a place")
		}
	}
	return nil
}

// What is understood of a condition says again what was said.
func FuzzCondition(f *testing.F) {
	for _, seed := range []string{`*`, `"1"`, `W/"1", "2"`, ` ,"a,b" ,`, `"18446744073709551616"`, `"01"`, `"1" "2"`, `W/`, "\"\x80\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		r := &http.Request{Header: http.Header{"If-Match": {value}}}
		c, err := readCondition(r, "If-Match")
		if err != nil {
			if problemOf(err).Status != http.StatusBadRequest {
				t.Error(err)
			}
			return
		}
		if !c.present || c.any == (len(c.tags) > 0) {
			t.Fatalf("%+v", c)
		}
		if c.any {
			return
		}
		var again []string
		for _, tag := range c.tags {
			text := `"` + tag.opaque + `"`
			if !strings.Contains(value, text) {
				t.Errorf("the tag %s is not in %q", text, value)
			}
			if v, ok := tag.version(); ok && etag(v) != text {
				t.Errorf("%s is version %d", text, v)
			}
			if tag.weak {
				text = "W/" + text
			}
			again = append(again, text)
		}
		d, err := readCondition(&http.Request{Header: http.Header{"If-Match": again}}, "If-Match")
		if err != nil || !slices.Equal(c.tags, d.tags) {
			t.Errorf("%v became %v, %v", c.tags, d.tags, err)
		}
		bare := strings.NewReplacer(" ", "", "\t", "", ",", "")
		if bare.Replace(value) != bare.Replace(strings.Join(again, "")) {
			t.Errorf("%q became %q", value, again)
		}
		if c.known() != d.known() {
			t.Errorf("known %d became %d", c.known(), d.known())
		}
	})
}

func FuzzPrefer(f *testing.F) {
	for _, seed := range []string{"wait=5", "Wait = \"3\"", "respond-async, wait=100", "wait=-1", "wait", "wait=99999999999999999999", "wait=1;x, wait=2", "=,;"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		wait, ok := readWait(&http.Request{Header: http.Header{"Prefer": {value}}})
		if wait < 0 || wait > maxWait || wait%time.Second != 0 || !ok && wait > 0 {
			t.Errorf("%v, %v", wait, ok)
		}
		if ok && !strings.Contains(strings.ToLower(value), "wait") {
			t.Errorf("it waits %v without being asked", wait)
		}
		// A preference of another comes in between.
		again, sure := readWait(&http.Request{Header: http.Header{"Prefer": {"return=minimal", value}}})
		if again != wait || sure != ok {
			t.Errorf("%v, %v became %v, %v", wait, ok, again, sure)
		}
	})
}

func FuzzIdempotencyKey(f *testing.F) {
	s, _, _ := newFuzzed(f)
	for _, seed := range []string{"k", `"k"`, `"`, `""`, `"""`, " ", "ä", "\x7f", strings.Repeat("k", es.MaxName), `"` + strings.Repeat("k", es.MaxName) + `"`} {
		f.Add(seed)
	}
	read := func(ctx context.Context, value string) (*idempotencyKey, error) {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/orgs", nil)
		r.Header["Idempotency-Key"] = []string{value}
		return s.readKey(r, &form{raw: []byte("{}")})
	}
	f.Fuzz(func(t *testing.T, value string) {
		k, err := read(t.Context(), value)
		if err != nil {
			if problemOf(err).Status != http.StatusBadRequest {
				t.Error(err)
			}
			return
		}
		if len(k.name) > es.MaxName || len(k.content) == 0 || strings.ContainsFunc(k.name, func(c rune) bool { return c <= ' ' || c > '~' }) {
			t.Errorf("%q is named %q", value, k.name)
		}
		if len(value) > 8 && strings.Contains(k.name, value) {
			t.Errorf("the name %q shows the key", k.name)
		}
		// Quoted or not, it is one key, unless it has the quotes itself.
		if !strings.HasPrefix(value, `"`) {
			quoted, err := read(t.Context(), `"`+value+`"`)
			if err != nil || quoted.name != k.name {
				t.Errorf("%q and %q are different keys: %v", value, `"`+value+`"`, err)
			}
		}
		other, err := read(t.Context(), "x"+strings.Trim(value, `"`))
		if err == nil && other.name == k.name {
			t.Errorf("two keys are named %s", k.name)
		}
	})
}
