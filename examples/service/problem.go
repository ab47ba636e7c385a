package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
)

// problemBase begins the type of every problem. A type identifies its problem and
// never changes; it need not be a page.
const problemBase = "https://github.com/leftfold/leftfold/problems/"

// retryAfter is what a client is asked to wait when the service is short of
// something that it cannot foresee the end of.
const retryAfter = time.Second

// problem is an error as the client sees it: RFC 9457.
type problem struct {
	Type   string         `json:"type"`
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail"`
	Errors []fieldProblem `json:"errors,omitempty"`

	retryAfter   time.Duration
	authenticate string // the value of WWW-Authenticate
}

// fieldProblem is what is wrong with one member of the body.
type fieldProblem struct {
	Pointer string `json:"pointer"` // RFC 6901
	Detail  string `json:"detail"`
}

func newProblem(status int, slug, title, detail string) *problem {
	return &problem{Type: problemBase + slug, Title: title, Status: status, Detail: detail}
}

func (p *problem) Error() string { return p.Title + ": " + p.Detail }

func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if p.retryAfter > 0 {
		seconds := (p.retryAfter + time.Second - 1) / time.Second
		h.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	if p.authenticate != "" {
		h.Set("WWW-Authenticate", p.authenticate)
	}
	_ = writeBody(w, p.Status, "application/problem+json", p)
}

// problemOf says what the client gets to see of an error.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	// First: an unknown outcome may wrap anything.
	if _, ok := errors.AsType[*es.UnknownError](err); ok {
		return unavailable("outcome-unknown", "Outcome unknown",
			"The command may have been stored or not. Repeat it with the same Idempotency-Key: it will not happen twice.")
	}
	if e, ok := errors.AsType[*es.VersionError](err); ok {
		return newProblem(http.StatusPreconditionFailed, "precondition-failed", "Precondition failed",
			fmt.Sprintf("If-Match does not name the current version, which is %d. Read it, and decide anew.", e.Have))
	}
	if e, ok := errors.AsType[*otp.RateError](err); ok {
		p := newProblem(http.StatusTooManyRequests, "too-many-codes", "Too many codes",
			fmt.Sprintf("An address gets at most %d codes an hour. Use the newest one, or ask again later.", otp.MaxRequests))
		p.retryAfter = e.RetryAfter
		return p
	}
	_, blocked := errors.AsType[*es.BlockedError](err)
	switch {
	case errors.Is(err, otp.ErrDenied):
		p := newProblem(http.StatusUnauthorized, "code-denied", "Code denied",
			"The address, the challenge or the code is wrong, or the code was used, replaced, guessed at too often, or has expired. Request a new one.")
		p.authenticate = "Bearer"
		return p
	case errors.Is(err, org.ErrExists):
		return newProblem(http.StatusConflict, "org-exists", "Org exists", "You have created your org already. Change it with PUT.")
	case errors.Is(err, org.ErrNotFound):
		return notFound("This org was never created. Create it with POST /orgs.")
	case errors.Is(err, es.ErrNameReused):
		return newProblem(http.StatusUnprocessableEntity, "idempotency-key-reused", "Idempotency-Key reused",
			"This Idempotency-Key was used for another request. Use a new one for a new request.")
	case blocked, errors.Is(err, es.ErrRefused):
		return unavailable("unavailable", "Unavailable", "This request stored nothing, because it could not be published now. Try again later.")
	case errors.Is(err, es.ErrConflict):
		p := newProblem(http.StatusConflict, "conflict", "Conflict",
			"Others were changing the same thing all the time. This request stored nothing. Try again.")
		p.retryAfter = retryAfter
		return p
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unavailable("timeout", "Time-out", "There was not enough time. This request stored nothing. Try again later.")
	}
	return newProblem(http.StatusInternalServerError, "internal", "Internal error",
		"Something is wrong on our side, and it was logged. If you repeat a command, do it with the same Idempotency-Key.")
}

func unavailable(slug, title, detail string) *problem {
	p := newProblem(http.StatusServiceUnavailable, slug, title, detail)
	p.retryAfter = retryAfter
	return p
}

func notFound(detail string) *problem {
	return newProblem(http.StatusNotFound, "not-found", "Not found", detail)
}

func malformed(detail string) *problem {
	return newProblem(http.StatusBadRequest, "malformed", "Malformed request", detail)
}

func methodNotAllowed(allow []string) *problem {
	return newProblem(http.StatusMethodNotAllowed, "method-not-allowed", "Method not allowed",
		"This path allows "+strings.Join(allow, ", ")+".")
}

func invalid(errs []fieldProblem) *problem {
	p := newProblem(http.StatusUnprocessableEntity, "invalid", "Invalid request",
		"The body is not valid; see errors for each member that is wrong.")
	p.Errors = errs
	return p
}

// writeJSON answers with a JSON document.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	return writeBody(w, status, "application/json", v)
}

func writeBody(w http.ResponseWriter, status int, mediaType string, v any) error {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// A client that has gone gets nothing, and nobody is there to be told.
	_, _ = w.Write(body.Bytes())
	return nil
}
