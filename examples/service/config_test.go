package service_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

var everything = map[string]string{
	"EVENT_TABLE": "events", "VIEW_TABLE": "views", "TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:org.fifo",
	"OTP_KEY": strings.Repeat("k", 43) + "=", "TOKEN_KEY": strings.Repeat("-", 43), "PUBLIC_URL": "https://example.com/api/",
	"SENDER": "smtp://jane:hunter2@mail.example.com?from=codes@example.com", "LOG_LEVEL": "WARN",
}

var names = []string{"EVENT_TABLE", "VIEW_TABLE", "TOPIC_ARN", "OTP_KEY", "TOKEN_KEY", "PUBLIC_URL", "SENDER", "LOG_LEVEL"}

func env(m map[string]string) func(string) string {
	return func(name string) string { return m[name] }
}

func TestReadConfig(t *testing.T) {
	is := is.New(t)
	everything := maps.Clone(everything)
	everything["TOPIC_ARN"] = "arn:aws:sns:eu-central-1:123456789012:events.fifo"
	c, err := service.ReadConfig(env(everything), names...)
	is.NoErr(err)
	is.Equal(c.EventTable, "events")
	is.Equal(c.ViewTable, "views")
	is.Equal(c.TopicARN, everything["TOPIC_ARN"])
	is.Equal(c.PublicURL, "https://example.com/api")
	is.Equal(c.LogLevel, slog.LevelWarn)
	is.Equal(len(c.OTPKey.Reveal()), 32)
	is.Equal(len(c.TokenKey.Reveal()), 32)

	printed := fmt.Sprintf("%v %+v %#v %s %x %v %v", c, c, c, c.OTPKey, c.TokenKey, &c, struct{ c service.Config }{c})
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("start", slog.Any("config", c), slog.Any("key", c.OTPKey))
	encoded, err := json.Marshal(c)
	is.NoErr(err)
	for _, shown := range []string{printed, logged.String(), string(encoded)} {
		for _, secret := range []string{"hunter2", everything["OTP_KEY"], fmt.Sprintf("%d", c.OTPKey.Reveal()), fmt.Sprintf("%d", c.Sender.Reveal()), fmt.Sprintf("%x", c.OTPKey.Reveal()), base64.StdEncoding.EncodeToString(c.TokenKey.Reveal())} {
			is.True(!strings.Contains(shown, secret))
		}
	}

	// The longest and shortest names.
	for name, values := range map[string][]string{
		"EVENT_TABLE": {"a.b", strings.Repeat("x", 255)},
		"TOPIC_ARN":   {"arn:aws-us-gov:sns:us-gov-west-1:123456789012:e.fifo", "arn:aws:sns:eu-central-1:123456789012:" + strings.Repeat("x", 251) + ".fifo"},
	} {
		for _, value := range values {
			_, err := service.ReadConfig(env(map[string]string{name: value}))
			is.NoErr(err)
		}
	}

	// A program that needs nothing gets by with nothing.
	c, err = service.ReadConfig(env(nil))
	is.NoErr(err)
	is.Equal(c.LogLevel, slog.LevelInfo)
}

func TestReadConfigSaysAllThatIsWrong(t *testing.T) {
	is := is.New(t)
	_, err := service.ReadConfig(env(nil), names...)
	for _, name := range names {
		is.True(strings.Contains(err.Error(), name+": is not set"))
	}
	is.Equal(strings.Count(err.Error(), "\n"), len(names)-1)
	_, err = service.ReadConfig(env(nil), "OTP_KEY", "OPT_KEY")
	is.True(strings.Contains(err.Error(), "OTP_KEY: is not set"))
	is.True(strings.Contains(err.Error(), "OPT_KEY: there is no such variable")) // a program with a slip of the pen

	for name, values := range map[string][]string{
		"EVENT_TABLE": {"ab", "a table", "tables/events"},
		"VIEW_TABLE":  {strings.Repeat("x", 256)},
		"TOPIC_ARN": {"events", "arn:aws:sns:eu-central-1:123456789012:events", "arn:aws:sqs:eu-central-1:123456789012:events.fifo",
			"arn:aws:sns:eu-central-1:123456789012:.fifo", "arn:aws:sns:eu-central-1:123456789012:" + strings.Repeat("x", 252) + ".fifo"},
		"OTP_KEY":    {"!", "c2hvcnQ=", base64.StdEncoding.EncodeToString(make([]byte, 31))},
		"TOKEN_KEY":  {"secret-secret-secret-secret-sec!", "c2hvcnQ="},
		"PUBLIC_URL": {"example.com", "ftp://example.com", "https://", "https://jane:hunter2@example.com", "https://example.com?x=y", ":"},
		"SENDER": {"mail", "smtp://", "smtp://hunter2@mail.example.com", "smtp://jane:hunter2@mail.example.com?from=jane", "smtp://jane:hunter2@mail.example.com/x?from=a@b.c",
			"smtp://jane:hunter2@mail.example.com:port?from=a@b.c", "smtps://mail.example.com?from=a@b.c"},
		"LOG_LEVEL": {"loud", "info+1"},
	} {
		for _, value := range values {
			_, err := service.ReadConfig(env(map[string]string{name: value, "LOG_LEVEL": value}))
			if err == nil || !strings.HasPrefix(err.Error(), name+": ") {
				t.Errorf("%s=%s: %v", name, value, err)
			} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "c2hvcnQ") {
				t.Errorf("%s: the error shows the value: %v", name, err)
			}
		}
	}
}

func TestNewSender(t *testing.T) {
	is := is.New(t)
	logger := slog.New(slog.DiscardHandler)
	sender := func(value string, sns service.Sender) (service.Sender, error) {
		c, err := service.ReadConfig(env(map[string]string{"SENDER": value}))
		is.NoErr(err)
		return c.NewSender(logger, sns)
	}
	plugged := new(outbox)
	s, err := sender("sns", plugged)
	is.NoErr(err)
	is.Equal(s, service.Sender(plugged))
	_, err = sender("sns", nil)
	is.True(err != nil && strings.Contains(err.Error(), "SENDER") && strings.Contains(err.Error(), "sns"))
	_, err = sender("", nil)
	is.True(err != nil && strings.Contains(err.Error(), "SENDER"))

	var logged strings.Builder
	logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err = sender("log", nil)
	is.NoErr(err)
	is.NoErr(s.Send(t.Context(), service.Message{ID: "m-1", Channel: otp.Email, To: jane, Code: "098765"}))
	is.True(strings.Contains(logged.String(), "m-1"))
	is.True(!strings.Contains(logged.String(), "098765")) // at no level
	is.True(!strings.Contains(logged.String(), jane))
}

func TestNewTokensWantsALongKey(t *testing.T) {
	is := is.New(t)
	_, err := service.NewTokens(make([]byte, 31), "", 0)
	is.True(err != nil)
	is.True(errors.Unwrap(err) == nil)
}
