package console_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/examples/local/console"
)

// wait is an API that answers 204 when it is released.
func wait(release <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.WriteHeader(http.StatusNoContent)
	})
}

// gone is the context of a client that has gone: even a feed ends at once.
func gone(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func open() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

var paths = []string{"/", "/console/app.js", "/console/feed", "/console/streams", "/console/history", "/console/switches"}

// Where other machines can reach the server, there is no console.
func TestNotOnOtherAddresses(t *testing.T) {
	is := is.New(t)
	for _, ip := range []string{"0.0.0.0", "192.168.1.5", "::"} {
		h := console.New(new(memory.Store), new(memory.Bus)).Handler(wait(open()), &net.TCPAddr{IP: net.ParseIP(ip), Port: 8080})
		for _, path := range paths {
			req := httptest.NewRequestWithContext(gone(t), "GET", path, nil)
			req.Host = "localhost:8080"
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			is.Equal(w.Code, http.StatusNoContent) // that is the API
		}
	}
}

// A name of somebody else's that leads here (DNS rebinding) gets nothing.
func TestNotUnderOtherNames(t *testing.T) {
	is := is.New(t)
	r := newRig(t)
	for host, want := range map[string]int{
		"localhost": 200, "localhost:8080": 200, "LOCALHOST:8080": 200, "127.0.0.1:8080": 200, "127.0.0.1": 200, "[::1]:8080": 200, "[::1]": 200,
		"evil.example": 421, "evil.example:8080": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example:8080": 421,
		"192.168.1.5:8080": 421, "0.0.0.0:8080": 421, "": 421, "localhost:8080:8080": 421, "[::]:8080": 421,
	} {
		for _, path := range paths {
			if want == 200 && path != "/" {
				continue // they have tests of their own
			}
			req := httptest.NewRequestWithContext(gone(t), "GET", path, nil)
			req.Host = host
			w := httptest.NewRecorder()
			r.handler.ServeHTTP(w, req)
			if w.Code != want {
				t.Errorf("%q %s: %d, not %d", host, path, w.Code, want)
			}
			is.Equal(w.Header().Get("X-Content-Type-Options"), "nosniff")
		}
	}
}

// A page of another site cannot throw a switch.
func TestNotFromOtherSites(t *testing.T) {
	r := newRig(t)
	for name, tt := range map[string]struct {
		header, value string
		want          int
	}{
		"this page":           {"Sec-Fetch-Site", "same-origin", 200},
		"this page, older":    {"Origin", "http://localhost:8080", 200},
		"no browser":          {"X", "", 200},
		"another site":        {"Sec-Fetch-Site", "cross-site", 403},
		"another port":        {"Sec-Fetch-Site", "same-site", 403},
		"another site, older": {"Origin", "https://evil.example", 403},
		"another port, older": {"Origin", "http://localhost:3000", 403},
		"a file":              {"Origin", "null", 403},
	} {
		req := httptest.NewRequestWithContext(t.Context(), "POST", "/console/switches", strings.NewReader(`{}`))
		req.Host = "localhost:8080"
		req.Header.Set(tt.header, tt.value)
		w := httptest.NewRecorder()
		r.handler.ServeHTTP(w, req)
		if w.Code != tt.want {
			t.Errorf("%s: %d, not %d", name, w.Code, tt.want)
		}
	}
}

func TestPolicy(t *testing.T) {
	is := is.New(t)
	r := newRig(t)
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
	req.Host = "localhost"
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	policy := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self';", "style-src 'self';", "frame-ancestors 'none'", "base-uri 'none'"} {
		is.True(strings.Contains(policy, want))
	}
	is.True(!strings.Contains(policy, "unsafe"))
}
