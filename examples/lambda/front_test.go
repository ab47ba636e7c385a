package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

// call is a request as a client sends it. A header may have several lines.
type call struct {
	name, method, target string
	header               http.Header
	body                 string
}

// answer is what the client gets.
type answer struct {
	status int
	header http.Header
	body   string
}

// front is a way to a handler: it hands a call to it and an answer back.
type front struct {
	name, domain, stage string
	serve               func(*testing.T, front, http.Handler, call) answer
}

// direct is the way that the others are compared with.
var direct = front{"net/http", "api.example.com", "", overTCP}

var fronts = []front{
	{"HTTP API", "abc123.execute-api.eu-central-1.amazonaws.com", "$default", overV2},
	{"HTTP API with a stage", "api.example.com", "orgs", overV2},
	{"function URL", "abc123.lambda-url.eu-central-1.on.aws", "$default", overV2},
	{"REST API", "abc123.execute-api.eu-central-1.amazonaws.com", "prod", overREST},
}

// overTCP sends a call to a server of package http, byte by byte: its client would change some.
func overTCP(t *testing.T, f front, h http.Handler, c call) answer {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var lines strings.Builder
	_ = c.header.Write(&lines)
	// From a goroutine: the server may answer before it has read all.
	go fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s",
		c.method, c.target, f.domain, len(c.body), &lines, c.body)
	reader := bufio.NewReader(conn)
	for {
		res, err := http.ReadResponse(reader, &http.Request{Method: c.method})
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode < 200 {
			continue
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		return answer{res.StatusCode, res.Header, string(body)}
	}
}

// overV2 does what an HTTP API and a function URL do: payload format 2.0.
func overV2(t *testing.T, f front, h http.Handler, c call) answer {
	path, query, _ := strings.Cut(c.target, "?")
	if !strings.Contains(f.domain, "lambda-url") {
		decoded, err := url.PathUnescape(path)
		if err != nil {
			t.Fatal(err)
		}
		if path = decoded; f.stage != "$default" {
			path = "/" + f.stage + path
		}
	}
	header := map[string]string{"host": f.domain}
	for name, lines := range c.header {
		if name != "Cookie" {
			header[strings.ToLower(name)] = strings.Join(lines, ",")
		}
	}
	var cookies []string
	for _, line := range c.header["Cookie"] {
		cookies = append(cookies, strings.Split(line, "; ")...)
	}
	e := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: "$default", RawPath: path, RawQueryString: query, Headers: header, Cookies: cookies,
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RouteKey: "$default", Stage: f.stage, DomainName: f.domain,
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: c.method, Path: path, Protocol: "HTTP/1.1", SourceIP: "192.0.2.7"},
		},
	}
	e.Body, e.IsBase64Encoded = encode(c)
	var res events.APIGatewayV2HTTPResponse
	invokeWith(t, h, e, &res)
	got := answer{res.StatusCode, make(http.Header), plain(t, res.Body, res.IsBase64Encoded)}
	for name, value := range res.Headers {
		got.header.Set(name, value)
	}
	for _, cookie := range res.Cookies {
		got.header.Add("Set-Cookie", cookie)
	}
	return got
}

// overREST does what a REST API does.
func overREST(t *testing.T, f front, h http.Handler, c call) answer {
	path, query, _ := strings.Cut(c.target, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	header := map[string][]string{"Host": {f.domain}}
	maps.Copy(header, c.header)
	last := make(map[string]string)
	for name, lines := range header {
		last[name] = lines[len(lines)-1]
	}
	e := events.APIGatewayProxyRequest{
		Resource: "/{proxy+}", Path: path, HTTPMethod: c.method, Headers: last, MultiValueHeaders: header,
		RequestContext: events.APIGatewayProxyRequestContext{
			ResourceID: "r00t", Stage: f.stage, Path: "/" + f.stage + path, DomainName: f.domain, HTTPMethod: c.method,
			Identity: events.APIGatewayRequestIdentity{SourceIP: "192.0.2.7"},
		},
	}
	if len(values) > 0 {
		e.MultiValueQueryStringParameters = values
	}
	e.Body, e.IsBase64Encoded = encode(c)
	var res events.APIGatewayProxyResponse
	invokeWith(t, h, e, &res)
	got := answer{res.StatusCode, http.Header(res.MultiValueHeaders), plain(t, res.Body, res.IsBase64Encoded)}
	for name, value := range res.Headers {
		got.header.Set(name, value)
	}
	return got
}

// encode does what gateways do to bodies that may be no text.
func encode(c call) (string, bool) {
	if utf8.ValidString(c.body) && strings.HasPrefix(c.header.Get("Content-Type"), "application/json") && !strings.Contains(c.name, "base64") {
		return c.body, false
	}
	return base64.StdEncoding.EncodeToString([]byte(c.body)), c.body != ""
}

func plain(t *testing.T, body string, isBase64 bool) string {
	if !isBase64 {
		return body
	}
	raw, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// invokeWith invokes the function with an event.
func invokeWith(t *testing.T, h http.Handler, event, result any) {
	t.Helper()
	payload, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	f := function{api: h}
	out, err := f.Invoke(t.Context(), payload)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, result); err != nil {
		t.Fatal(err)
	}
}

// compare tells apart what a client sees.
func compare(t *testing.T, got, want answer) {
	t.Helper()
	for _, h := range []http.Header{got.header, want.header} {
		h.Del("Date")       // every gateway adds its own
		h.Del("Connection") // of this connection
	}
	if got.status != want.status {
		t.Errorf("status %d, want %d: %.500s", got.status, want.status, got.body)
	}
	for _, name := range slices.Sorted(maps.Keys(merge(got.header, want.header))) {
		g, w := got.header[name], want.header[name]
		if name != "Set-Cookie" { // several lines mean the same as one with commas
			g, w = []string{strings.Join(g, ", ")}, []string{strings.Join(w, ", ")}
		}
		if !reflect.DeepEqual(g, w) {
			t.Errorf("%s: %q, want %q", name, g, w)
		}
	}
	if got.body != want.body {
		t.Errorf("body %.2000q, want %.2000q", got.body, want.body)
	}
}

func merge(a, b http.Header) http.Header {
	m := make(http.Header)
	maps.Copy(m, a)
	maps.Copy(m, b)
	return m
}

func header(kv ...string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(kv); i += 2 {
		h.Add(kv[i], kv[i+1])
	}
	return h
}

// echo answers with all that a handler can know of a request.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	seen := map[string]any{
		"method": r.Method, "path": r.URL.Path, "query": r.URL.Query(), "host": r.Host, "proto": r.Proto,
		"length": r.ContentLength, "body": body, "error": err, "cookies": fmt.Sprint(r.Cookies()),
	}
	fields := make(map[string]string)
	for name, lines := range r.Header {
		if name != "User-Agent" && name != "Content-Length" && name != "Connection" && name != "Cookie" {
			fields[name] = strings.ReplaceAll(strings.Join(lines, ","), ", ", ",")
		}
	}
	seen["header"] = fields
	w.Header()["X-Several"] = []string{"a", "b, c"}
	http.SetCookie(w, &http.Cookie{Name: "one", Value: "1"})
	http.SetCookie(w, &http.Cookie{Name: "two", Value: "2"})
	out, _ := json.Marshal(seen)
	w.Header().Set("Content-Length", fmt.Sprint(len(out)))
	_, _ = w.Write(out)
})

// A handler sees the same request, whichever way it comes.
func TestSameRequest(t *testing.T) {
	const jsonType = "application/json"
	for _, c := range []call{
		{name: "plain", target: "/orgs/1"},
		{name: "root", target: "/"},
		{name: "HEAD", method: "HEAD", target: "/x"},
		{name: "OPTIONS", method: "OPTIONS", target: "/x"},
		{name: "other method", method: "PURGE", target: "/x"},
		{name: "space", target: "/a%20b"},
		{name: "plus", target: "/a+b%2Bc"},
		{name: "percent", target: "/100%25"},
		{name: "percent twice", target: "/a%2541"},
		{name: "needless escape", target: "/%41%2d"},
		{name: "question mark", target: "/a%3Fb?c=d"},
		{name: "hash", target: "/a%23b?c=d"},
		{name: "semicolon", target: "/a;b=c%3Bd"},
		{name: "colon", target: "/a:b@c"},
		{name: "unicode", target: "/%C3%BCber/%F0%9F%98%80"},
		{name: "slashes", target: "//evil.example/x//"},
		{name: "dots", target: "/a/../b/%2e%2e/"},
		{name: "stage in the path", target: "/orgs/orgs"},
		{name: "stage alone", target: "/orgs"},
		{name: "stage as a prefix", target: "/orgsandmore"},
		{name: "query", target: "/x?a=1&b=2&a=3"},
		{name: "query with escapes", target: "/x?a=%26%3D%2B+%20%C3%BC&%61=b%25"},
		{name: "query without values", target: "/x?a&b=&c"},
		{name: "query of an email", target: "/x?to=jane%2Btag@example.com"},
		{name: "header", target: "/x", header: header("X-A", "b", "x-lower", "C")},
		{name: "several lines", target: "/x", header: header("X-A", "1", "X-A", "2")},
		{name: "comma in a header", target: "/x", header: header("Idempotency-Key", `"a,b"`, "If-None-Match", `"1","2"`)},
		{name: "unicode in a header", target: "/x", header: header("X-A", "ü")},
		{name: "cookies", target: "/x", header: header("Cookie", "a=1; b=2")},
		{name: "authorization", target: "/x", header: header("Authorization", "Bearer a.b.c")},
		{name: "body", method: "POST", target: "/x", header: header("Content-Type", jsonType), body: `{"a":"<ü&😀>"}`},
		{name: "base64 body", method: "POST", target: "/x", header: header("Content-Type", jsonType), body: `{"a":1}`},
		{name: "bytes", method: "POST", target: "/x", body: "\x00\xff\xfe"},
		{name: "no type", method: "POST", target: "/x", body: "text"},
		{name: "empty body", method: "PUT", target: "/x", header: header("Content-Type", jsonType)},
		{name: "large", method: "POST", target: "/x", header: header("Content-Type", jsonType), body: strings.Repeat("x", 1<<20)},
	} {
		if c.method == "" {
			c.method = "GET"
		}
		for _, f := range fronts {
			t.Run(f.name+"/"+c.name, func(t *testing.T) { compare(t, f.serve(t, f, echo, c), overTCP(t, f, echo, c)) })
		}
	}
}

// What a gateway loses is lost: an HTTP API decodes the path, so that %2F is a slash, and joins
// headers that came twice.
func TestLost(t *testing.T) {
	got := fronts[0].serve(t, fronts[0], echo, call{method: "GET", target: "/a%2Fb"})
	if !strings.Contains(got.body, `"path":"/a/b"`) {
		t.Error(got.body)
	}
	segments := http.NewServeMux()
	segments.HandleFunc("/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.PathValue("id")) })
	for _, f := range append(fronts[2:], direct) {
		if got := f.serve(t, f, segments, call{method: "GET", target: "/a%2Fb"}); got.body != "a/b" {
			t.Errorf("%s: %d %q", f.name, got.status, got.body)
		}
	}
}

// The stage is taken from the front of the path, where it is.
func TestStage(t *testing.T) {
	for _, row := range []struct{ path, stage, want string }{
		{"/prod/orgs/1", "prod", "/orgs/1"}, {"/prod/prod/1", "prod", "/prod/1"}, {"/prod/", "prod", "/"}, {"/prod", "prod", "/"},
		{"/production/1", "prod", "/production/1"}, {"/orgs/1", "prod", "/orgs/1"}, {"/orgs/1", "$default", "/orgs/1"}, {"", "$default", "/"}, {"/orgs/1", "", "/orgs/1"},
	} {
		var e events.APIGatewayV2HTTPRequest
		e.Version, e.RawPath, e.RequestContext.Stage = "2.0", row.path, row.stage
		var seen string
		invokeWith(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.URL.Path }), e, new(any))
		if seen != row.want {
			t.Errorf("%s of the stage %s is %s, want %s", row.path, row.stage, seen, row.want)
		}
	}
}

// An answer is the same, however the handler writes it.
func TestSameAnswer(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"nothing":         func(http.ResponseWriter, *http.Request) {},
		"status alone":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) },
		"body alone":      func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>ü") },
		"no content":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204); _, _ = w.Write([]byte("x")) },
		"not modified":    func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", `"1"`); w.WriteHeader(304) },
		"twice":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.WriteHeader(500) },
		"informational":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(202) },
		"header too late": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x"); w.Header().Set("X-Late", "x") },
		"in parts":        func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{"); fmt.Fprint(w, "}") },
		"bytes":           func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0xff, 0, 0xfe}) },
		"its own type": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "a/b")
			fmt.Fprint(w, "<html>")
		},
		"empty first part": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(nil); fmt.Fprint(w, "x") },
	} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, f := range fronts {
				t.Run(f.name+"/"+name+"/"+method, func(t *testing.T) {
					want := overTCP(t, f, h, call{method: method, target: "/"})
					got := f.serve(t, f, h, call{method: method, target: "/"})
					if got.header.Get("Content-Length") == "" {
						want.header.Del("Content-Length") // the server of package http counts; so do the gateways
					}
					compare(t, got, want)
				})
			}
		}
	}
}

// The context of a request is the invocation's, with its deadline.
func TestContext(t *testing.T) {
	type key struct{}
	ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), time.Hour)
	defer cancel()
	for _, name := range []string{"http-api", "function-url", "rest-api"} {
		var seen context.Context
		f := function{api: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Context() })}
		if _, err := f.Invoke(ctx, recorded(t, name)); err != nil {
			t.Fatal(err)
		}
		want, _ := ctx.Deadline()
		if got, ok := seen.Deadline(); !ok || !got.Equal(want) || seen.Value(key{}) != "value" {
			t.Errorf("%s: deadline %v, want %v", name, got, want)
		}
	}
}

// system is the reference system in memory, always the same: an org at version 2, an address
// that may create one, and one that has asked for all the codes it may.
type system struct {
	http.Handler
	owner, founder string // Authorization
	id, founderID  string
}

func newSystem(t *testing.T) system {
	t.Helper()
	key := []byte(strings.Repeat("k", 32))
	codes, err := otp.NewCodes(key)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := service.NewTokens(key, "https://leftfold.example", 0)
	if err != nil {
		t.Fatal(err)
	}
	var bus memory.Bus
	now := func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	s := &service.Service{
		Journal:  &es.Journal{Store: new(memory.Store), Publisher: &bus, Now: now},
		OrgViews: new(memory.Views[org.View]), OTPViews: new(memory.Views[otp.View]), Answers: new(memory.Views[service.Answer]),
		Codes: codes, Tokens: tokens, Now: now,
	}
	bus.Subscribe("views", s.Project)
	t.Cleanup(func() {
		if err := bus.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	sys := system{Handler: s.Handler()}
	do := func(method, path, body string, h http.Header) map[string]any {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		r.Header = h
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		sys.ServeHTTP(w, r)
		var members map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &members); err != nil || w.Code > 299 {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		return members
	}
	login := func(to string) (bearer, subject string) {
		t.Helper()
		challenge := do("POST", "/otp", `{"channel":"email","to":"`+to+`"}`, header())["challenge"].(string)
		id, version, _ := codes.Locate(challenge)
		res := do("POST", "/otp/verify", `{"to":"`+to+`","challenge":"`+challenge+`","code":"`+codes.Code(id, version)+`"}`, header())
		return "Bearer " + res["token"].(string), res["subject"].(string)
	}
	sys.owner, sys.id = login("owner@example.com")
	sys.founder, sys.founderID = login("founder@example.com")
	do("POST", "/orgs", `{"name":"Acme","location":"Berlin"}`, header("Authorization", sys.owner))
	do("PUT", "/orgs/"+sys.id, `{"name":"Acmé","location":"Paris"}`, header("Authorization", sys.owner))
	for range otp.MaxRequests {
		do("POST", "/otp", `{"channel":"email","to":"busy@example.com"}`, header())
	}
	do("GET", "/orgs/"+sys.id, "", header("Prefer", "wait=5", "If-None-Match", `"1"`))
	return sys
}

// Every request of the API has the same answer, whichever way it comes.
func TestSameAPI(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		call   func(system) call
	}{
		{"health", 200, get("/healthz")},
		{"health by HEAD", 200, request("HEAD", "/healthz", "")},
		{"unknown path", 404, get("/nothing")},
		{"path that is not clean", 404, get("//healthz")},
		{"trailing slash", 404, get("/healthz/")},
		{"wrong method", 405, request("DELETE", "/orgs", "")},
		{"wrong method of an org", 405, request("POST", "/orgs/1", "{}")},
		{"org", 200, get("/orgs/{id}")},
		{"org by HEAD", 200, request("HEAD", "/orgs/{id}", "")},
		{"org with escapes", 200, func(s system) call {
			return call{method: "GET", target: fmt.Sprintf("/%%6Frgs/%%%02X%s", s.id[0], s.id[1:])}
		}},
		{"no org", 404, get("/orgs/nobody")},
		{"no org with a percent", 404, get("/orgs/%2525")},
		{"org that is known", 304, get("/orgs/{id}", "If-None-Match", `"2"`)},
		{"org that is known by HEAD", 304, request("HEAD", "/orgs/{id}", "", "If-None-Match", `"2"`)},
		{"org that is known by a list", 304, get("/orgs/{id}", "If-None-Match", `"7", W/"2"`)},
		{"org that is known by lines", 304, get("/orgs/{id}", "If-None-Match", `"1"`, "If-None-Match", `"2"`)},
		{"org that has changed", 200, get("/orgs/{id}", "If-None-Match", `"1"`)},
		{"org to wait for", 200, get("/orgs/{id}", "If-None-Match", `"1"`, "Prefer", "respond-async, wait=1")},
		{"condition that is malformed", 400, get("/orgs/{id}", "If-None-Match", "2")},
		{"history", 200, get("/orgs/{id}/history", "Authorization", "owner")},
		{"history at a version", 200, get("/orgs/{id}/history?version=1", "Authorization", "owner")},
		{"history at an escaped version", 200, get("/orgs/{id}/history?x=%26version%3D9&%76ersion=%32", "Authorization", "owner")},
		{"history at two versions", 400, get("/orgs/{id}/history?version=1&version=2", "Authorization", "owner")},
		{"history at no version", 400, get("/orgs/{id}/history?version", "Authorization", "owner")},
		{"history at a version to come", 404, get("/orgs/{id}/history?version=3", "Authorization", "owner")},
		{"history without a token", 401, get("/orgs/{id}/history")},
		{"history with a bad token", 401, get("/orgs/{id}/history", "Authorization", "Bearer x")},
		{"history of others", 403, get("/orgs/{id}/history", "Authorization", "founder")},
		{"create", 201, request("POST", "/orgs", `{"name":"Süß & <Co>","location":"東京"}`, "Authorization", "founder")},
		{"create, base64", 201, request("POST", "/orgs", `{"name":"Süß & <Co>","location":"東京"}`, "Authorization", "founder")},
		{"create by a name", 201, request("POST", "/orgs", `{"name":"n","location":"l"}`, "Authorization", "founder", "Idempotency-Key", `"one, two"`)},
		{"create twice", 409, request("POST", "/orgs", `{"name":"n","location":"l"}`, "Authorization", "owner")},
		{"create what is invalid", 422, request("POST", "/orgs", `{"name":"","location":7,"x":1}`, "Authorization", "founder")},
		{"update", 200, request("PUT", "/orgs/{id}", `{"name":"n","location":"l"}`, "Authorization", "owner", "If-Match", `"2"`)},
		{"update of another version", 412, request("PUT", "/orgs/{id}", `{"name":"n","location":"l"}`, "Authorization", "owner", "If-Match", `"1"`)},
		{"update by others", 403, request("PUT", "/orgs/{id}", `{"name":"n","location":"l"}`, "Authorization", "founder")},
		{"update of nothing", 404, request("PUT", "/orgs/{founder}", `{"name":"n","location":"l"}`, "Authorization", "founder")},
		{"code", 202, request("POST", "/otp", `{"channel":"sms","to":"+14155552671"}`)},
		{"too many codes", 429, request("POST", "/otp", `{"channel":"email","to":"busy@example.com"}`)},
		{"bad address", 422, request("POST", "/otp", `{"channel":"email","to":"nobody"}`)},
		{"wrong code", 401, request("POST", "/otp/verify", `{"to":"owner@example.com","challenge":"x","code":"123456"}`)},
		{"unknown challenge", 404, get("/otp/unknown")},
		{"largest body", 422, request("POST", "/otp", fill(16<<10))},
		{"too large a body", 413, request("POST", "/otp", fill(16<<10+1))},
		{"too large a body, base64", 413, request("POST", "/otp", fill(16<<10+1))},
		{"empty body", 400, request("POST", "/otp", "")},
		{"malformed body", 400, request("POST", "/otp", "{")},
		{"body that is not UTF-8", 400, request("POST", "/otp", "{\"to\":\"\xff\"}")},
		{"no type", 415, func(system) call { return call{method: "POST", target: "/otp", body: "{}"} }},
		{"no type, no body", 415, func(system) call { return call{method: "POST", target: "/otp"} }},
		{"wrong type", 415, request("POST", "/otp", "a=b", "Content-Type", "application/x-www-form-urlencoded")},
		{"type with a charset", 202, request("POST", "/otp", `{"channel":"email","to":"x@example.com"}`, "Content-Type", `application/json; charset="utf-8"`)},
	} {
		t.Run(row.name, func(t *testing.T) {
			serve := func(t *testing.T, f front) answer {
				sys := newSystem(t)
				c := row.call(sys)
				c.name = row.name
				return f.serve(t, f, sys, c)
			}
			want := serve(t, direct)
			if want.status != row.status {
				t.Fatalf("status %d, want %d: %s", want.status, row.status, want.body)
			}
			for _, f := range fronts {
				t.Run(f.name, func(t *testing.T) { compare(t, serve(t, f), want) })
			}
		})
	}
}

func get(target string, kv ...string) func(system) call { return request("GET", target, "", kv...) }

// request makes a call in which {id} and {founder}, and the owner and founder in Authorization, stand for those
// of the system.
func request(method, target, body string, kv ...string) func(system) call {
	return func(s system) call {
		h := header(kv...)
		if h.Get("Content-Type") == "" && method != "GET" && method != "HEAD" {
			h.Set("Content-Type", "application/json")
		}
		switch h.Get("Authorization") {
		case "owner":
			h.Set("Authorization", s.owner)
		case "founder":
			h.Set("Authorization", s.founder)
		}
		return call{method: method, target: strings.NewReplacer("{id}", s.id, "{founder}", s.founderID).Replace(target), header: h, body: body}
	}
}

func fill(n int) string { return `{"to":"` + strings.Repeat("x", n-9) + `"}` }
