package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
)

// The library for this, awslabs/aws-lambda-go-api-proxy v0.16.2, is not used: it leaves the stage in
// the path, takes a decoded path for an encoded one (a % in it is an error, which it prints with the
// path; what is behind a ? becomes the query), divides the values of most headers at commas (an
// Idempotency-Key too), and answers HEAD with a body. The tests have a row for each.

// serveHTTPAPI answers a request of payload format 2.0. Its headers that came several times are
// one, joined by commas, and stay so: nobody can tell those commas from others.
//
// Sources: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
// and https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
func serveHTTPAPI(ctx context.Context, h http.Handler, e events.APIGatewayV2HTTPRequest) (any, error) {
	header := make(http.Header, len(e.Headers)+1)
	for name, value := range e.Headers {
		header.Set(name, value)
	}
	if len(e.Cookies) > 0 {
		header.Set("Cookie", strings.Join(e.Cookies, "; "))
	}
	// An HTTP API decodes the path, and puts the stage in front of it unless that has no name. A
	// function URL has no stage and leaves the path as it came.
	u := url.URL{Path: e.RawPath}
	if strings.Contains(e.RequestContext.DomainName, ".lambda-url.") {
		u = decode(e.RawPath)
	} else if rest, ok := strings.CutPrefix(e.RawPath, "/"+e.RequestContext.Stage); ok && (rest == "" || rest[0] == '/') {
		u.Path = rest
	}
	u.RawQuery = e.RawQueryString
	w, err := serve(ctx, h, e.RequestContext.HTTP.Method, u, header, e.RequestContext.HTTP.SourceIP, e.Body, e.IsBase64Encoded)
	if err != nil {
		return nil, err
	}
	res := events.APIGatewayV2HTTPResponse{StatusCode: w.status, Headers: make(map[string]string, len(w.sent)), Cookies: w.sent["Set-Cookie"]}
	for name, values := range w.sent {
		if name != "Set-Cookie" {
			res.Headers[name] = strings.Join(values, ", ")
		}
	}
	res.Body, res.IsBase64Encoded = w.text()
	return res, nil
}

// serveRESTAPI answers a request of a REST API, whose path is as it came, without a stage, and
// whose query is decoded.
//
// Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
func serveRESTAPI(ctx context.Context, h http.Handler, e events.APIGatewayProxyRequest) (any, error) {
	header := make(http.Header, len(e.MultiValueHeaders))
	for name, values := range e.MultiValueHeaders {
		header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	u := decode(e.Path)
	u.RawQuery = url.Values(e.MultiValueQueryStringParameters).Encode()
	w, err := serve(ctx, h, e.HTTPMethod, u, header, e.RequestContext.Identity.SourceIP, e.Body, e.IsBase64Encoded)
	if err != nil {
		return nil, err
	}
	res := events.APIGatewayProxyResponse{StatusCode: w.status, MultiValueHeaders: w.sent}
	res.Body, res.IsBase64Encoded = w.text()
	return res, nil
}

// decode returns the URL of a path that is percent-encoded.
func decode(path string) url.URL {
	if decoded, err := url.PathUnescape(path); err == nil {
		return url.URL{Path: decoded, RawPath: path}
	}
	return url.URL{Path: path} // no gateway lets it through; nothing is found there
}

// serve makes the request that a server would have read, and has it answered.
func serve(ctx context.Context, h http.Handler, method string, u url.URL, header http.Header, remote, body string, isBase64 bool) (*response, error) {
	raw := []byte(body)
	if isBase64 {
		var err error
		if raw, err = base64.StdEncoding.DecodeString(body); err != nil {
			return nil, err
		}
	}
	if u.Path == "" {
		u.Path = "/"
	}
	r := &http.Request{
		Method: method, URL: &u, RequestURI: u.RequestURI(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Host: header.Get("Host"), RemoteAddr: remote,
		Body: http.NoBody, ContentLength: int64(len(raw)),
	}
	header.Del("Host") // as package http has it
	if len(raw) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(raw))
	}
	w := &response{header: make(http.Header)}
	h.ServeHTTP(w, r.WithContext(ctx))
	w.WriteHeader(http.StatusOK) // unless it was written
	if method == http.MethodHead {
		w.body.Reset()
	}
	return w, nil
}

// response is an answer in the making. What it does is what the server of package http does.
type response struct {
	header http.Header // the handler's
	status int         // 0 until the header is written
	sent   http.Header // as it was then
	body   bytes.Buffer
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 && w.header.Get("Content-Type") == "" {
		w.header.Set("Content-Type", http.DetectContentType(p))
	}
	w.WriteHeader(http.StatusOK)
	if w.status == http.StatusNoContent || w.status == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	return w.body.Write(p)
}

// text returns the body, in base64 if it is not UTF-8.
func (w *response) text() (body string, isBase64 bool) {
	if b := w.body.Bytes(); !utf8.Valid(b) {
		return base64.StdEncoding.EncodeToString(b), true
	}
	return w.body.String(), false
}
