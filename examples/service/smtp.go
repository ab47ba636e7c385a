package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"github.com/leftfold/leftfold/examples/otp"
)

// smtpTimeout is the time for one email.
const smtpTimeout = 10 * time.Second

// smtpSender sends emails by SMTP (RFC 5321), encrypted if the server offers it.
type smtpSender struct {
	addr, host string
	auth       smtp.Auth // nil: none
	from       string
}

// newSMTPSender reads smtp://user:password@host:port?from=address. The port is 587
// by default. The password is sent over TLS or to localhost alone. No part of the URL
// is in the errors.
func newSMTPSender(u *url.URL) (smtpSender, error) {
	from, err := mail.ParseAddress(u.Query().Get("from"))
	if err != nil {
		return smtpSender{}, errors.New("the URL needs ?from= with an email address")
	}
	if u.Hostname() == "" || strings.Trim(u.Path, "/") != "" {
		return smtpSender{}, errors.New("the URL must be smtp://user:password@host:port?from=address")
	}
	port := u.Port()
	if port == "" {
		port = "587"
	}
	s := smtpSender{addr: net.JoinHostPort(u.Hostname(), port), host: u.Hostname(), from: from.Address}
	if u.User != nil {
		password, _ := u.User.Password()
		s.auth = smtp.PlainAuth("", u.User.Username(), password, s.host)
	}
	return s, nil
}

// Send sends one email. An answer of 500 and above to the address means that it is refused;
// anything else, that the server is unavailable.
func (s smtpSender) Send(ctx context.Context, m Message) error {
	if m.Channel != otp.Email {
		return &SendError{otp.Unsupported, "SMTP sends emails alone"}
	}
	ctx, cancel := context.WithTimeout(ctx, smtpTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return &SendError{otp.Unavailable, "dial: " + err.Error()}
	}
	defer conn.Close()
	// What net/smtp does not do: end with the context.
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()

	step, err := s.converse(conn, m)
	if err == nil {
		return nil
	}
	// The text of an answer may repeat the address; its code does not.
	answer, ok := errors.AsType[*textproto.Error](err)
	switch {
	case !ok:
		return &SendError{otp.Unavailable, step + " failed"}
	case step == "RCPT" && answer.Code >= 500:
		return &SendError{otp.Refused, fmt.Sprintf("%s was answered %d", step, answer.Code)}
	}
	return &SendError{otp.Unavailable, fmt.Sprintf("%s was answered %d", step, answer.Code)}
}

// converse returns the step that failed.
func (s smtpSender) converse(conn net.Conn, m Message) (string, error) {
	c, err := smtp.NewClient(conn, s.host)
	if err != nil {
		return "greeting", err
	}
	defer c.Close()
	if ok, _ := c.Extension("STARTTLS"); ok {
		if err := c.StartTLS(&tls.Config{ServerName: s.host}); err != nil {
			return "STARTTLS", err
		}
	}
	if s.auth != nil {
		if err := c.Auth(s.auth); err != nil {
			return "AUTH", err
		}
	}
	if err := c.Mail(s.from); err != nil {
		return "MAIL", err
	}
	if err := c.Rcpt(m.To); err != nil {
		return "RCPT", err
	}
	body, err := c.Data()
	if err != nil {
		return "DATA", err
	}
	_, err = fmt.Fprintf(body, "From: %s\r\nTo: %s\r\nSubject: Your code\r\nDate: %s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n",
		s.from, m.To, m.At.Format(time.RFC1123Z), m.Text)
	if err := errors.Join(err, body.Close()); err != nil {
		return "DATA", err
	}
	_ = c.Quit() // the message is accepted, whatever comes now
	return "", nil
}
