package otp

import (
	"slices"
	"time"
)

// Status is how far a request has come, as it is read.
type Status string

// The statuses. An expired code keeps the status that it had.
const (
	StatusRequested  Status = "requested"
	StatusSent       Status = "sent"
	StatusSendFailed Status = "send_failed"
	StatusVerified   Status = "verified"
	StatusSuperseded Status = "superseded" // a newer code was requested
	StatusExhausted  Status = "exhausted"  // no guesses left
)

// maxShown is how many requests a view remembers.
const maxShown = 16

// View is the stream of an address as it is read: its last 16 requests, oldest first.
type View struct {
	Version  uint64           `json:"version"`
	Requests []RequestSummary `json:"requests"`
}

// RequestSummary is one request in a [View].
type RequestSummary struct {
	Version   uint64    `json:"version"` // of the Requested event
	Status    Status    `json:"status"`
	ExpiresAt time.Time `json:"expires_at"`
	Attempts  int       `json:"attempts"` // wrong guesses
}

// Find returns the request with the given version, and false if the view does not have
// it yet, or any more.
func (v View) Find(request uint64) (RequestSummary, bool) {
	i := slices.IndexFunc(v.Requests, func(r RequestSummary) bool { return r.Version == request })
	if i < 0 {
		return RequestSummary{}, false
	}
	return v.Requests[i], true
}

// FoldView returns the view after an event, for an [es.Projection].
func FoldView(v View, e Event) View {
	v.Version++
	v.Requests = slices.Clone(v.Requests) // views share no memory
	switch e := e.(type) {
	case Requested:
		if n := len(v.Requests); n > 0 {
			switch last := &v.Requests[n-1]; last.Status {
			case StatusVerified, StatusExhausted:
			default:
				last.Status = StatusSuperseded
			}
		}
		v.Requests = append(v.Requests, RequestSummary{Version: v.Version, Status: StatusRequested, ExpiresAt: e.ExpiresAt})
		v.Requests = v.Requests[max(0, len(v.Requests)-maxShown):]
	case Sent:
		v.move(e.Request, StatusSent)
	case SendFailed:
		v.move(e.Request, StatusSendFailed)
	case Rejected:
		if r := v.request(e.Request); r != nil {
			if r.Attempts++; r.Attempts == MaxAttempts {
				r.Status = StatusExhausted
			}
		}
	case Verified:
		if r := v.request(e.Request); r != nil {
			r.Status = StatusVerified
		}
	}
	return v
}

// move sets the status of a request about which nothing else is known yet.
func (v View) move(request uint64, to Status) {
	if r := v.request(request); r != nil && r.Status == StatusRequested {
		r.Status = to
	}
}

func (v View) request(version uint64) *RequestSummary {
	for i := range v.Requests {
		if v.Requests[i].Version == version {
			return &v.Requests[i]
		}
	}
	return nil
}
