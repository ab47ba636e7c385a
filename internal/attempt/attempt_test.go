package attempt

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var errSlow = errors.New("slow down")

// policy knows one error that passes and has a name, and one that passes.
func policy() *Policy {
	return &Policy{Timeout: 100 * time.Millisecond, Attempts: 3, Explain: func(code string, status int) (error, bool) {
		if code == "slow" || status == http.StatusTooManyRequests {
			return errSlow, true
		}
		return nil, code == "busy"
	}}
}

// answered returns the error that the SDK makes of an answer.
func answered(status int, code string) error {
	return &smithy.OperationError{Err: &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
		Err:      &smithy.GenericAPIError{Code: code},
	}}}
}

var errLost = errors.New("lost")

func TestWhatIsCertain(t *testing.T) {
	type e = []error
	invalid, slow, busy, internal := answered(400, "invalid"), answered(400, "slow"), answered(409, "busy"), answered(500, "internal")
	for _, row := range []struct {
		name    string
		answers e
		certain bool
		wraps   e
	}{
		{"done", e{nil}, true, nil},
		{"refused", e{invalid}, true, e{invalid}},
		{"refused by the status alone", e{answered(499, "")}, true, nil},
		{"passes, three times", e{slow, answered(429, ""), slow}, true, e{errSlow, slow}},
		{"passes without a name", e{busy, busy, nil}, true, nil},
		{"unknown, then done", e{errLost, internal, nil}, true, nil},
		{"unknown", e{errLost, errLost, errLost}, false, e{errLost}},
		{"unknown, then refused", e{errLost, invalid}, false, e{invalid, errLost}},
		{"unknown, then passes", e{internal, slow, slow}, false, e{slow, errSlow, internal}},
		{"passes, then unknown", e{slow, busy, errLost}, false, e{errLost}},
		{"passes, unknown, passes", e{slow, errLost, slow}, false, e{errSlow, errLost}},
		{"a time-out of the server", e{answered(408, ""), answered(408, ""), answered(408, "")}, false, nil},
		{"no status of errors", e{answered(200, ""), answered(302, ""), answered(599, "")}, false, nil},
		{"a server's fault that passes", e{answered(503, "slow"), answered(503, "slow"), answered(503, "slow")}, false, e{errSlow}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				certain, err := policy().Try(t.Context(), func(context.Context, *Way) error {
					n++
					return row.answers[n-1]
				})
				if n != len(row.answers) {
					t.Errorf("%d attempts, not %d", n, len(row.answers))
				}
				if certain != row.certain || (err == nil) != (row.answers[n-1] == nil) {
					t.Errorf("certain: %v; %v", certain, err)
				}
				for _, want := range row.wraps {
					if !errors.Is(err, want) {
						t.Errorf("the error does not wrap %q: %v", want, err)
					}
				}
			})
		})
	}
}

func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := policy()
		p.Attempts = 6
		var times, pauses []time.Duration
		ended := time.Now()
		_, err := p.Try(t.Context(), func(ctx context.Context, _ *Way) error {
			begun := time.Now()
			pauses = append(pauses, begun.Sub(ended))
			<-ctx.Done()
			ended = time.Now()
			times = append(times, ended.Sub(begun)/time.Millisecond)
			return ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) || !slices.Equal(times, []time.Duration{100, 200, 400, 800, 1600, 3200}) {
			t.Errorf("attempts of %d ms; %v", times, err)
		}
		for i, most := range []time.Duration{0, 25, 50, 100, 200, 200} {
			if pauses[i] > most*time.Millisecond || i > 0 && pauses[i] == 0 {
				t.Errorf("pause %d is %v, and %d ms at most", i, pauses[i], most)
			}
		}
	})
}

func TestContextEnds(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	certain, err := policy().Try(ended, func(context.Context, *Way) error { t.Error("there was an attempt"); return nil })
	if !certain || !errors.Is(err, context.Canceled) {
		t.Errorf("ended before: certain: %v; %v", certain, err)
	}
	for _, row := range []struct {
		answer  error
		certain bool
	}{{answered(400, "slow"), true}, {errLost, false}} {
		n := 0
		ctx, cancel := context.WithCancel(t.Context())
		certain, err = policy().Try(ctx, func(context.Context, *Way) error { n++; cancel(); return row.answer })
		if n != 1 || certain != row.certain || !errors.Is(err, row.answer) {
			t.Errorf("ended after %v: %d attempts, certain: %v; %v", row.answer, n, certain, err)
		}
	}
}

type clientFunc func(*http.Request) (*http.Response, error)

func (f clientFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

// How far a request came decides what no answer means.
func TestHowFar(t *testing.T) {
	mute := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}))
	defer mute.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	post := func(ctx context.Context, client Client, url string) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("body"))
		if err != nil {
			return err
		}
		res, err := client.Do(r)
		if err == nil {
			err = res.Body.Close()
		}
		return err
	}
	fake := clientFunc(func(*http.Request) (*http.Response, error) { return nil, errLost })
	for name, row := range map[string]struct {
		certain bool
		send    func(context.Context, *Way) error
	}{
		"answered nothing": {false, func(ctx context.Context, w *Way) error { return post(ctx, w.Through(http.DefaultClient), mute.URL) }},
		"nobody listens":   {true, func(ctx context.Context, w *Way) error { return post(ctx, w.Through(http.DefaultClient), closed) }},
		"never left":       {true, func(_ context.Context, w *Way) error { w.Through(http.DefaultClient); return errLost }},
		"never asked for":  {false, func(context.Context, *Way) error { return errLost }},
		"no transport that is known": {false, func(ctx context.Context, w *Way) error {
			return post(ctx, w.Through(fake), closed)
		}},
		"another request under the same context was connected": {true, func(ctx context.Context, w *Way) error {
			_ = post(ctx, http.DefaultClient, mute.URL) // for credentials, say
			return post(ctx, w.Through(http.DefaultClient), closed)
		}},
		"answered 200 without a body": {false, func(ctx context.Context, w *Way) error {
			empty := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			defer empty.Close()
			return post(ctx, w.Through(http.DefaultClient), empty.URL)
		}},
		"answered 200 without a body of a length that is not said": {false, func(ctx context.Context, w *Way) error {
			empty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() }))
			defer empty.Close()
			return post(ctx, w.Through(http.DefaultClient), empty.URL)
		}},
		"answered on a way that is not known": {false, func(ctx context.Context, w *Way) error {
			_ = post(ctx, w.Through(http.DefaultClient), closed)
			return answered(500, "internal")
		}},
		"moved on to where nobody listens": {false, func(ctx context.Context, w *Way) error {
			moved := httptest.NewServer(http.RedirectHandler(closed, http.StatusTemporaryRedirect))
			defer moved.Close()
			return post(ctx, w.Through(http.DefaultClient), moved.URL)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			n, p := 0, policy()
			p.Timeout = 10 * time.Second
			certain, err := p.Try(t.Context(), func(ctx context.Context, w *Way) error { n++; return row.send(ctx, w) })
			if err == nil || n != 3 || certain != row.certain {
				t.Errorf("%d attempts, certain: %v; %v", n, certain, err)
			}
		})
	}
}

// A body comes through whole, and an answer that is an error needs none.
func TestBodies(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/flushed":
			w.(http.Flusher).Flush()
		case "/refused":
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, "body")
	}))
	defer server.Close()
	for path, want := range map[string]string{"/": "body", "/flushed": "body", "/refused": ""} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := new(Way).Through(http.DefaultClient).Do(r)
		if err != nil {
			t.Fatal(path, err)
		}
		body, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil || string(body) != want {
			t.Errorf("%s: %q, %v", path, body, err)
		}
	}
}
