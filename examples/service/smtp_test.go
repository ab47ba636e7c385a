package service_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

// mailServer speaks just enough SMTP. It answers a command that is in refusals as is said
// there, and everything else well; it keeps what it was told.
func mailServer(t *testing.T, refusals map[string]string) (addr string, told func() string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex
		log strings.Builder
	)
	t.Cleanup(func() { _ = listener.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				reply := func(command, byDefault string) {
					if r, ok := refusals[command]; ok {
						byDefault = r
					}
					if byDefault != "" {
						fmt.Fprintf(conn, "%s\r\n", byDefault)
					}
				}
				reply("greeting", "220 hello")
				lines, data := bufio.NewScanner(conn), false
				for lines.Scan() {
					line := lines.Text()
					mu.Lock()
					log.WriteString(line + "\n")
					mu.Unlock()
					command, _, _ := strings.Cut(line, " ")
					switch {
					case data && line == ".":
						data = false
						reply("end", "250 queued")
					case data:
					case command == "EHLO":
						reply(command, "250-hello\r\n250 AUTH PLAIN")
					case command == "AUTH":
						reply(command, "235 welcome")
					case command == "DATA":
						data = refusals["DATA"] == ""
						reply(command, "354 go on")
					default:
						reply(command, "250 OK")
					}
				}
			})
		}
	})
	return listener.Addr().String(), func() string {
		mu.Lock()
		defer mu.Unlock()
		return log.String()
	}
}

func smtpSender(t *testing.T, addr string) service.Sender {
	t.Helper()
	c, err := service.ReadConfig(env(map[string]string{"SENDER": "smtp://user:hunter2@" + addr + "?from=Codes%20%3Ccodes@example.com%3E"}))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.NewSender(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var message = service.Message{
	ID: "m-1", Channel: otp.Email, To: jane, Code: "098765", Text: "Your code is 098765.", At: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC),
}

func TestSMTP(t *testing.T) {
	is := is.New(t)
	addr, told := mailServer(t, nil)
	is.NoErr(smtpSender(t, addr).Send(t.Context(), message))
	for _, line := range []string{
		"MAIL FROM:<codes@example.com>", "RCPT TO:<jane@example.com>", "From: codes@example.com", "To: jane@example.com",
		"Subject: Your code", "Date: Fri, 02 Jan 2026 15:04:05 +0000", "Your code is 098765.", "AUTH PLAIN AHVzZXIAaHVudGVyMg==",
	} {
		if !strings.Contains(told(), line) {
			t.Errorf("%q is missing:\n%s", line, told())
		}
	}
}

func TestSMTPFailures(t *testing.T) {
	for _, tt := range []struct {
		command, reply string
		want           otp.Reason
	}{
		{"RCPT", "550 <jane@example.com>: no such user", otp.Refused},
		{"RCPT", "450 <jane@example.com>: greylisted", otp.Unavailable},
		{"MAIL", "550 no", otp.Unavailable},
		{"AUTH", "535 user hunter2 is wrong", otp.Unavailable},
		{"DATA", "451 no", otp.Unavailable},
		{"end", "554 spam for jane@example.com", otp.Unavailable},
		{"greeting", "421 busy", otp.Unavailable},
		{"greeting", "nonsense", otp.Unavailable},
	} {
		t.Run(tt.command+" "+tt.reply[:3], func(t *testing.T) {
			is := is.New(t)
			addr, _ := mailServer(t, map[string]string{tt.command: tt.reply})
			err := smtpSender(t, addr).Send(t.Context(), message)
			e, ok := errors.AsType[*service.SendError](err)
			is.True(ok)
			is.Equal(e.Reason, tt.want)
			is.True(!strings.Contains(err.Error(), "jane") && !strings.Contains(err.Error(), "hunter2"))
		})
	}

	t.Run("channel", func(t *testing.T) {
		m := message
		m.Channel = otp.SMS
		err := smtpSender(t, "127.0.0.1:1").Send(t.Context(), m)
		if e, ok := errors.AsType[*service.SendError](err); !ok || e.Reason != otp.Unsupported {
			t.Error(err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = listener.Close()
		err = smtpSender(t, listener.Addr().String()).Send(t.Context(), message)
		if e, ok := errors.AsType[*service.SendError](err); !ok || e.Reason != otp.Unavailable {
			t.Error(err)
		}
	})
	t.Run("silence", func(t *testing.T) {
		addr, _ := mailServer(t, map[string]string{"greeting": ""})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		err := smtpSender(t, addr).Send(ctx, message)
		if e, ok := errors.AsType[*service.SendError](err); !ok || e.Reason != otp.Unavailable {
			t.Error(err)
		}
	})
}
