package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/leftfold/leftfold/examples/otp"
)

// Sender hands codes over to a channel.
type Sender interface {
	// Send returns nil once the message was handed over. A [*SendError] says why
	// it was not; any other error counts as unavailable, and its text is not shown to
	// anybody. It obeys the context.
	Send(ctx context.Context, m Message) error
}

// SendError says why a message could not be sent. No part of it holds the address or
// the code: reason and detail are logged, the reason is stored.
type SendError struct {
	Reason otp.Reason
	Detail string
}

func (e *SendError) Error() string { return string(e.Reason) + ": " + e.Detail }

func reasonOf(err error) (otp.Reason, string) {
	if e, ok := errors.AsType[*SendError](err); ok {
		return e.Reason, e.Detail
	}
	return otp.Unavailable, fmt.Sprintf("%T", err)
}

// Message is a code on its way. Printing or logging it shows its ID alone.
type Message struct {
	ID      string // the same each time the same message is sent
	Channel otp.Channel
	To      string
	Code    string
	Text    string    // what the receiver reads; it holds the code
	At      time.Time // when the code was requested
}

func newMessage(to otp.Address, requested time.Time, code, id string) Message {
	return Message{
		ID: id, Channel: to.Channel(), To: to.Reveal(), Code: code, At: requested,
		Text: fmt.Sprintf("Your code is %s. It is valid for %d minutes and can be used once.", code, int(otp.Lifetime.Minutes())),
	}
}

// Format keeps address and code out of anything that is printed.
func (m Message) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[message "+m.ID+"]") }

// LogValue keeps address and code out of logs.
func (m Message) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(m)) }

// logSender sends nothing: it logs that there is something to send, and not what. It
// is for a deployment that sends no codes yet.
type logSender struct{ logger *slog.Logger }

func (s logSender) Send(ctx context.Context, m Message) error {
	s.logger.LogAttrs(ctx, slog.LevelInfo, "code to be sent", slog.String("id", m.ID), slog.String("channel", string(m.Channel)))
	return nil
}
