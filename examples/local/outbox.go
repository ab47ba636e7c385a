package main

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

// maxKept is how many messages an outbox keeps.
const maxKept = 1000

// outbox is a sender that keeps what others would send, the last 1000 messages, and shows it
// at GET /dev/outbox?to=address, newest last. The zero value is ready to use.
type outbox struct {
	mu       sync.Mutex
	messages []kept
}

type kept struct {
	To      string      `json:"to"`
	Channel otp.Channel `json:"channel"`
	Text    string      `json:"text"`
	Code    string      `json:"code"`
	At      time.Time   `json:"at"`
}

// Send keeps a message.
func (o *outbox) Send(_ context.Context, m service.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.messages = append(o.messages, kept{To: m.To, Channel: m.Channel, Text: m.Text, Code: m.Code, At: m.At})
	if len(o.messages) > maxKept {
		o.messages = append([]kept(nil), o.messages[1:]...)
	}
	return nil
}

// withOutbox adds the path that exists here alone.
func withOutbox(api http.Handler, o *outbox) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/dev/outbox" && r.Method == http.MethodGet {
			o.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}

// ServeHTTP shows the messages to one address, however it is written.
func (o *outbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := r.FormValue("to")
	if a, err := otp.ParseAddress(to); err == nil {
		to = a.Reveal()
	}
	found := []kept{}
	o.mu.Lock()
	for _, m := range o.messages {
		if m.To == to {
			found = append(found, m)
		}
	}
	o.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string][]kept{"messages": found})
}
