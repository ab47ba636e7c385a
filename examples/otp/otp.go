// Package otp is the domain of one-time passwords: a stream an address, on which
// codes are requested, sent, guessed and verified.
//
//	codes, err := otp.NewCodes(key)
//	to, err := otp.NewAddress(otp.Email, "jane@example.com")
//	...
//	id := codes.StreamID(to)
//	result, err := es.Execute(ctx, journal, &otp.Aggregate, id, otp.Request(codes, to, time.Now()))
//	challenge := codes.Challenge(id, result.Version) // for the one who asked
//	code := codes.Code(id, result.Version)           // for the address
//
// No event holds a code or a challenge: both are derived from a server key, the
// stream and the version of the [Requested] event, so that who sends a code and who
// checks it compute the same one ([Codes]). A hash of a six-digit code in an immutable log
// would be readable for ever. Nor does any hold an address as it is: it is sealed with
// the same key, for who sends the code.
//
// Everything here is a pure function or a value: no I/O, no clock, no random values.
package otp

import (
	"errors"
	"fmt"
	"time"

	"github.com/leftfold/leftfold/es"
)

// The rules.
const (
	Lifetime    = 10 * time.Minute // of a code
	MaxAttempts = 5                // guesses at a code
	MaxRequests = 5                // codes for an address in Window
	Window      = time.Hour
)

// Event is what can happen on the stream of an address: [Requested], [Sent],
// [SendFailed], [Rejected] or [Verified].
type Event interface{ event() }

// Requested: somebody asked for a code. The version of this event is what the code
// and its challenge are derived from, and what the other events name it by. It
// ends the code before.
type Requested struct {
	Channel   Channel   `json:"channel"`
	Sealed    []byte    `json:"sealed"` // the address: see Codes.Open
	At        time.Time `json:"at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Sent: the code was handed over to the channel.
type Sent struct {
	Request uint64 `json:"request"`
}

// SendFailed: the code could not be sent.
type SendFailed struct {
	Request uint64 `json:"request"`
	Reason  Reason `json:"reason"`
}

// Rejected: a wrong guess, which counts.
type Rejected struct {
	Request uint64 `json:"request"`
}

// Verified: the right guess. The code is used up.
type Verified struct {
	Request uint64 `json:"request"`
}

func (Requested) event()  {}
func (Sent) event()       {}
func (SendFailed) event() {}
func (Rejected) event()   {}
func (Verified) event()   {}

// Reason is why a code could not be sent: a category that says nothing of the
// address.
type Reason string

// The reasons.
const (
	Refused     Reason = "refused"     // the channel does not take the message
	Unavailable Reason = "unavailable" // the channel cannot be reached
	Unsupported Reason = "unsupported" // there is no sender for the channel
	Unreadable  Reason = "unreadable"  // the address was sealed with another key
)

// State is what a decision knows of an address. The zero State is that of an address
// for which no code was ever requested.
type State struct {
	// Version is the number of events folded, which is the version of the stream:
	// a stream's events are all of this package, and none is upcast to several.
	Version uint64 `json:"version"`
	// Code is the newest one; its Request is 0 if there is none.
	Code Code `json:"code"`
	// Times are those of the last requests, oldest first, zero where there were
	// fewer. An array: states share no memory.
	Times [MaxRequests]time.Time `json:"times"`
}

// Code is the state of one code.
type Code struct {
	Request   uint64    `json:"request"` // version of the Requested event
	ExpiresAt time.Time `json:"expires_at"`
	Attempts  int       `json:"attempts"` // wrong guesses
	Reported  bool      `json:"reported"` // as sent, or as not
	Used      bool      `json:"used"`
}

// Fold returns the state after an event.
func Fold(s State, e Event) State {
	s.Version++
	switch e := e.(type) {
	case Requested:
		copy(s.Times[:], s.Times[1:])
		s.Times[MaxRequests-1] = e.At
		s.Code = Code{Request: s.Version, ExpiresAt: e.ExpiresAt}
	case Sent:
		s.Code.Reported = s.Code.Reported || e.Request == s.Code.Request
	case SendFailed:
		s.Code.Reported = s.Code.Reported || e.Request == s.Code.Request
	case Rejected:
		if e.Request == s.Code.Request {
			s.Code.Attempts++
		}
	case Verified:
		s.Code.Used = s.Code.Used || e.Request == s.Code.Request
	}
	return s
}

// ErrDenied is the one answer of [Verify] to everything that is not the right
// challenge of a living code: it does not say what is wrong.
var ErrDenied = errors.New("no such code, or it cannot be used any more")

// RateError says that an address had its codes for now.
type RateError struct {
	RetryAfter time.Duration // until the next one is allowed
}

func (e *RateError) Error() string {
	return fmt.Sprintf("%d codes an address are allowed in %v; the next one in %v", MaxRequests, Window, e.RetryAfter)
}

// Request decides that an address gets a code, or returns a [*RateError].
func Request(codes Codes, to Address, now time.Time) func(State) ([]Event, error) {
	now = now.UTC().Round(0)
	return func(s State) ([]Event, error) {
		if oldest := s.Times[0]; !oldest.IsZero() {
			if wait := oldest.Add(Window).Sub(now); wait > 0 {
				return nil, &RateError{RetryAfter: wait}
			}
		}
		return []Event{Requested{Channel: to.Channel(), Sealed: codes.Seal(to), At: now, ExpiresAt: now.Add(Lifetime)}}, nil
	}
}

// ReportSent decides that the code of a request was sent. Of a code that was
// replaced or reported already there is nothing to say: no events.
func ReportSent(request uint64) func(State) ([]Event, error) {
	return report(request, Sent{request})
}

// ReportFailure decides that the code of a request could not be sent; otherwise it is
// like [ReportSent].
func ReportFailure(request uint64, reason Reason) func(State) ([]Event, error) {
	return report(request, SendFailed{request, reason})
}

func report(request uint64, e Event) func(State) ([]Event, error) {
	return func(s State) ([]Event, error) {
		if s.Code.Request != request || s.Code.Reported {
			return nil, nil
		}
		return []Event{e}, nil
	}
}

// ToSend reports whether the code of a request is still to be sent: not reported,
// not replaced, not used, and not expired. The state may be one from before the request.
func (s State) ToSend(request uint64, r Requested, now time.Time) bool {
	if !now.Before(r.ExpiresAt) {
		return false
	}
	return s.Version < request || s.Code.Request == request && !s.Code.Reported && !s.Code.Used
}

// Verify decides on a guess. A wrong guess at a living code is an event as much as
// the right one, [Rejected] or [Verified]: tell the answer only after the event was
// stored, or else guesses in parallel pass the limit. Everything that cannot be
// guessed at gives [ErrDenied] and no event: a wrong challenge, a code that is expired,
// used, replaced, or was guessed at too often. All comparisons take constant time.
func Verify(codes Codes, id, challenge, guess string, now time.Time) func(State) ([]Event, error) {
	return func(s State) ([]Event, error) {
		c := s.Code // the zero Code has expired long ago
		known := equal(challenge, codes.Challenge(id, c.Request))
		right := equal(guess, codes.Code(id, c.Request))
		switch {
		case !known, c.Used, c.Attempts >= MaxAttempts, !now.Before(c.ExpiresAt):
			return nil, ErrDenied
		case !right:
			return []Event{Rejected{c.Request}}, nil
		}
		return []Event{Verified{c.Request}}, nil
	}
}

// Aggregate ties the functions together for [es.Execute], [es.Load] and [es.History].
var Aggregate = es.Aggregate[State, Event]{
	Category: "otp",
	Fold:     Fold,
	Events: es.JSON(map[string]Event{
		"otp.requested":   Requested{},
		"otp.sent":        Sent{},
		"otp.send_failed": SendFailed{},
		"otp.rejected":    Rejected{},
		"otp.verified":    Verified{},
	}),
	Snapshots: es.Snapshots[State]{Schema: "otp/1"},
}
