package main_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
)

// gateway is what stands between an HTTP client and a function: a REST API or an HTTP API of
// API Gateway, or a function URL. It turns requests into payloads and responses into
// answers as AWS does (see "Lambda proxy integrations" and "Invoking Lambda function URLs"
// in AWS's documentation).
type gateway struct {
	kind   kind
	invoke func(payload []byte) ([]byte, error)
	wrong  func(error) // told of responses that no function should give
}

type kind string

const (
	restAPI     kind = "REST API"
	httpAPI     kind = "HTTP API" // with a stage in its path
	functionURL kind = "function URL"
)

const (
	stage     = "prod"
	apiDomain = "abc123.execute-api.us-east-1.amazonaws.com"
)

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	event := g.version2
	if g.kind == restAPI {
		event = g.version1
	}
	payload, err := json.Marshal(event(r, body))
	if err != nil {
		g.wrong(err)
		panic(http.ErrAbortHandler)
	}
	response, err := g.invoke(payload)
	if err == nil {
		if err = g.answer(w, r, response); err == nil {
			return
		}
		g.wrong(fmt.Errorf("the response to %s %s, %w: %q", r.Method, r.URL.Path, err, response))
	}
	w.Header().Set("Content-Type", "application/json")
	status := http.StatusBadGateway
	if g.kind == httpAPI {
		status = http.StatusInternalServerError
		if errors.Is(err, errTimedOut) {
			status = http.StatusServiceUnavailable
		}
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"message":"Internal server error"}`)
}

// text returns a body as it is, or in base64 if it is none that JSON can hold.
func text(body []byte) (any, bool) {
	switch {
	case len(body) == 0:
		return nil, false
	case utf8.Valid(body):
		return string(body), false
	}
	return base64.StdEncoding.EncodeToString(body), true
}

// incoming returns the headers as a server at AWS sees them.
func incoming(r *http.Request) http.Header {
	h := r.Header.Clone()
	h.Set("Host", apiDomain)
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	h.Set("X-Forwarded-For", host)
	h.Set("X-Forwarded-Port", "443")
	h.Set("X-Forwarded-Proto", "https")
	return h
}

func last(values map[string][]string) map[string]string {
	if len(values) == 0 {
		return nil // AWS says null here
	}
	one := make(map[string]string)
	for k, v := range values {
		one[k] = v[len(v)-1]
	}
	return one
}

// version1 is the payload of a REST API with a resource for everything.
func (g *gateway) version1(r *http.Request, body []byte) any {
	header, query := incoming(r), map[string][]string(r.URL.Query())
	if len(query) == 0 {
		query = nil
	}
	text, encoded := text(body)
	now := time.Now()
	return map[string]any{
		"resource": "/{proxy+}", "path": r.URL.EscapedPath(), "httpMethod": r.Method,
		"headers": last(header), "multiValueHeaders": header,
		"queryStringParameters": last(query), "multiValueQueryStringParameters": query,
		"pathParameters": map[string]string{"proxy": strings.TrimPrefix(r.URL.Path, "/")}, "stageVariables": nil,
		"requestContext": map[string]any{
			"accountId": "000000000000", "apiId": "abc123", "resourceId": "r1", "resourcePath": "/{proxy+}", "httpMethod": r.Method,
			"path": "/" + stage + r.URL.Path, "stage": stage, "protocol": "HTTP/1.1", "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
			"requestTime": now.Format("02/Jan/2006:15:04:05 -0700"), "requestTimeEpoch": now.UnixMilli(),
			"domainName": apiDomain, "domainPrefix": "abc123",
			"identity": map[string]any{"sourceIp": header.Get("X-Forwarded-For"), "userAgent": r.UserAgent()},
		},
		"body": text, "isBase64Encoded": encoded,
	}
}

// version2 is the payload of an HTTP API and of a function URL.
func (g *gateway) version2(r *http.Request, body []byte) any {
	path, at, route, domain := r.URL.EscapedPath(), "$default", "$default", "abc123.lambda-url.us-east-1.on.aws"
	if g.kind == httpAPI {
		// It has decoded the path, and leaves the stage in it.
		path, at, route, domain = "/"+stage+r.URL.Path, stage, "ANY /{proxy+}", apiDomain
	}
	header := make(map[string]string)
	var cookies []string
	for k, v := range incoming(r) {
		if k = strings.ToLower(k); k == "cookie" {
			cookies = v
			continue
		}
		header[k] = strings.Join(v, ",")
	}
	query := make(map[string]string)
	for k, v := range r.URL.Query() {
		query[k] = strings.Join(v, ",")
	}
	now := time.Now()
	event := map[string]any{
		"version": "2.0", "routeKey": route, "rawPath": path, "rawQueryString": r.URL.RawQuery, "headers": header,
		"requestContext": map[string]any{
			"accountId": "000000000000", "apiId": "abc123", "domainName": domain, "domainPrefix": "abc123",
			"http": map[string]any{
				"method": r.Method, "path": path, "protocol": "HTTP/1.1", "sourceIp": header["x-forwarded-for"], "userAgent": r.UserAgent(),
			},
			"requestId": "JKJaXmPLvHcESHA=", "routeKey": route, "stage": at, "time": now.Format("02/Jan/2006:15:04:05 -0700"), "timeEpoch": now.UnixMilli(),
		},
		"isBase64Encoded": false,
	}
	if len(query) > 0 {
		event["queryStringParameters"] = query
	}
	if cookies != nil {
		event["cookies"] = cookies
	}
	if text, encoded := text(body); text != nil {
		event["body"], event["isBase64Encoded"] = text, encoded
	}
	return event
}

// answer gives a response to the client. It is as strict as the REST API, with all kinds.
func (g *gateway) answer(w http.ResponseWriter, r *http.Request, response []byte) error {
	var res struct {
		Status  int                 `json:"statusCode"`
		Header  map[string]string   `json:"headers"`
		Headers map[string][]string `json:"multiValueHeaders"`
		Body    string              `json:"body"`
		Encoded bool                `json:"isBase64Encoded"`
		Cookies []string            `json:"cookies"`
	}
	d := json.NewDecoder(bytes.NewReader(response))
	d.DisallowUnknownFields()
	if err := d.Decode(&res); err != nil {
		return err
	}
	if res.Status < 200 || res.Status > 599 {
		return errors.New("with status " + strconv.Itoa(res.Status))
	}
	body := []byte(res.Body)
	if res.Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(res.Body); err != nil {
			return err
		}
	}
	header := make(http.Header)
	for k, v := range res.Header {
		header.Set(k, v)
	}
	if g.kind == restAPI {
		for k, v := range res.Headers {
			header[http.CanonicalHeaderKey(k)] = v
		}
		// One of those that it does not let pass.
		if v := header["Www-Authenticate"]; v != nil {
			header["X-Amzn-Remapped-Www-Authenticate"] = v
			header.Del("Www-Authenticate")
		}
	}
	for _, c := range res.Cookies {
		header.Add("Set-Cookie", c)
	}
	header.Del("Content-Length") // it counts itself
	maps.Copy(w.Header(), header)
	w.WriteHeader(res.Status)
	if r.Method != http.MethodHead && res.Status != http.StatusNotModified {
		_, _ = w.Write(body)
	}
	return nil
}

// The rig itself: requests become what AWS sends, and only what AWS takes becomes an answer.
func TestGateway(t *testing.T) {
	var payload []byte
	response := `{"statusCode":200}`
	var wrong error
	through := func(k kind, method, target, body string) *httptest.ResponseRecorder {
		g := &gateway{kind: k, wrong: func(err error) { wrong = err }, invoke: func(p []byte) ([]byte, error) {
			payload = p
			if response == "" {
				return nil, errTimedOut
			}
			return []byte(response), nil
		}}
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Header["X-Two"] = []string{"a", "b"}
		r.Header.Set("Cookie", "c=d")
		w := httptest.NewRecorder()
		wrong = nil
		g.ServeHTTP(w, r)
		return w
	}

	through(restAPI, "PUT", "/orgs/a%20b?x=1&x=2%20", "{}")
	var v1 events.APIGatewayProxyRequest
	if err := json.Unmarshal(payload, &v1); err != nil {
		t.Fatal(err)
	}
	if v1.HTTPMethod != "PUT" || v1.Path != "/orgs/a%20b" || v1.RequestContext.Path != "/prod/orgs/a b" || v1.RequestContext.ResourceID == "" ||
		v1.Headers["X-Two"] != "b" || len(v1.MultiValueHeaders["X-Two"]) != 2 || v1.QueryStringParameters["x"] != "2 " ||
		len(v1.MultiValueQueryStringParameters["x"]) != 2 || v1.Body != "{}" || v1.IsBase64Encoded {
		t.Errorf("%s", payload)
	}
	for k, path := range map[kind]string{httpAPI: "/prod/orgs/a b", functionURL: "/orgs/a%20b"} {
		through(k, "PUT", "/orgs/a%20b?x=1&x=2%20", "\xff")
		var v2 events.APIGatewayV2HTTPRequest
		if err := json.Unmarshal(payload, &v2); err != nil {
			t.Fatal(err)
		}
		if v2.Version != "2.0" || v2.RequestContext.HTTP.Method != "PUT" || v2.RawPath != path || v2.RawQueryString != "x=1&x=2%20" ||
			v2.Headers["x-two"] != "a,b" || v2.Headers["cookie"] != "" || len(v2.Cookies) != 1 || v2.QueryStringParameters["x"] != "1,2 " ||
			v2.Body != "/w==" || !v2.IsBase64Encoded {
			t.Errorf("%s: %s", k, payload)
		}
	}

	response = `{"statusCode":401,"headers":{"a":"1"},"multiValueHeaders":{"B":["2","3"],"Www-Authenticate":["x"]},"body":"/w==","isBase64Encoded":true}`
	w := through(restAPI, "GET", "/", "")
	if w.Code != 401 || w.Body.String() != "\xff" || w.Header().Get("A") != "1" || len(w.Header()["B"]) != 2 || w.Header().Get("X-Amzn-Remapped-Www-Authenticate") != "x" {
		t.Errorf("%v", w)
	}
	if w := through(functionURL, "GET", "/", ""); w.Code != 401 || w.Header()["B"] != nil {
		t.Errorf("%v", w)
	}
	for _, response = range []string{`{}`, `null`, `[]`, `{"statusCode":"200"}`, `{"statusCode":200,"x":1}`, `{"statusCode":200,"body":{}}`, `{"batchItemFailures":[]}`} {
		if w := through(restAPI, "GET", "/", ""); w.Code != http.StatusBadGateway || wrong == nil {
			t.Errorf("%s: %d, %v", response, w.Code, wrong)
		}
	}
	response = ""
	for k, status := range map[kind]int{restAPI: 502, httpAPI: 503, functionURL: 502} {
		if w := through(k, "GET", "/", ""); w.Code != status || wrong != nil {
			t.Errorf("%s: a time-out is %d, %v", k, w.Code, wrong)
		}
	}
}
