// Package service is the reference system around the domains org and otp: one
// [http.Handler], the projections, the event handler that sends codes, and the
// configuration. Where the parts come from, memory or AWS, is the business of the
// program that assembles them:
//
//	s := &service.Service{
//		Journal: &es.Journal{Store: store, Publisher: publisher},
//		OrgViews: orgs, OTPViews: otps, Answers: answers,
//		Codes: codes, Tokens: tokens, Sender: sender,
//	}
//	http.ListenAndServe(addr, s.Handler())
//
// and every commit that is delivered goes to s.Handle.
package service

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
)

// Service is the reference system. All fields but Logger and Now must be set. It is
// safe for concurrent use, and must not be changed while it is used.
type Service struct {
	Journal  *es.Journal
	OrgViews es.Views[org.View]
	OTPViews es.Views[otp.View]
	Answers  es.Views[Answer]
	Codes    otp.Codes
	Tokens   Tokens
	Sender   Sender

	// Logger gets every answer of 500 and above, every code that could not be
	// sent, and what the projections log; nil means none. No address, code,
	// challenge or token is logged.
	Logger *slog.Logger

	// Now is the clock; nil means time.Now. It should be that of the journal.
	Now func() time.Time
}

// Handler returns the HTTP API.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, m := range map[string]methods{
		"/otp":               {http.MethodPost: s.requestCode},
		"/otp/verify":        {http.MethodPost: s.verifyCode},
		"/otp/{challenge}":   {http.MethodGet: s.getCode},
		"/orgs":              {http.MethodPost: s.createOrg},
		"/orgs/{id}":         {http.MethodGet: s.getOrg, http.MethodPut: s.updateOrg},
		"/orgs/{id}/history": {http.MethodGet: s.getHistory},
		"/healthz":           {http.MethodGet: s.getHealth},
	} {
		mux.Handle(pattern, s.serve(m))
	}
	mux.Handle("/", s.serve(nil))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A path that is not clean is unknown; the mux would redirect it. To a request for "*" it would
		// answer without a word.
		if r.URL.Path != path.Clean(r.URL.Path) || r.RequestURI == "*" {
			s.fail(w, r, notFound("There is nothing at this path."))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// methods has the handler for each method of a path. A handler either answers or
// returns why it did not.
type methods map[string]func(http.ResponseWriter, *http.Request) error

// serve routes by method, and turns what handlers return into answers.
func (s *Service) serve(m methods) http.Handler {
	allow := slices.Sorted(maps.Keys(m))
	if m[http.MethodGet] != nil {
		allow = append([]string{http.MethodGet, http.MethodHead}, slices.DeleteFunc(allow, func(a string) bool { return a == http.MethodGet })...)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet // net/http leaves the body out
		}
		handle := m[method]
		var err error
		switch {
		case len(m) == 0:
			err = notFound("There is nothing at this path.")
		case handle == nil:
			w.Header().Set("Allow", strings.Join(allow, ", "))
			err = methodNotAllowed(allow)
		default:
			err = handle(w, r)
		}
		if err != nil {
			s.fail(w, r, err)
		}
	})
}

// fail answers with a problem, and logs it if it is ours.
func (s *Service) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError && s.Logger != nil && !errors.Is(err, context.Canceled) {
		level := slog.LevelError
		if p.Status == http.StatusServiceUnavailable {
			level = slog.LevelWarn
		}
		// The pattern, not the path: that may hold a challenge.
		s.Logger.LogAttrs(r.Context(), level, "request failed",
			slog.String("method", r.Method), slog.String("route", r.Pattern), slog.Int("status", p.Status), slog.Any("error", err))
	}
	p.write(w)
}

func (s *Service) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// getHealth answers while the process can serve.
func (s *Service) getHealth(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}
