package service

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/leftfold/leftfold/examples/otp"
)

// Config is what the environment says. Printing or logging one shows no key and no
// password.
type Config struct {
	EventTable string // EVENT_TABLE
	ViewTable  string // VIEW_TABLE
	TopicARN   string // TOPIC_ARN
	OTPKey     Secret // OTP_KEY, for [otp.NewCodes]
	TokenKey   Secret // TOKEN_KEY, for [NewTokens]
	PublicURL  string // PUBLIC_URL, without a slash at the end
	LogLevel   slog.Level
	Sender     Secret // SENDER, for [Config.NewSender]; an smtp URL may hold a password
}

// ReadConfig reads the variables of the environment. Those that a program cannot do
// without are named by it; none of the others need be set. Whatever is
// set must be well-formed. The error names all variables that are missing,
// malformed, or required and unknown, a line each, and shows no values.
//
//	EVENT_TABLE, VIEW_TABLE  names of DynamoDB tables
//	TOPIC_ARN                ARN of an SNS FIFO topic
//	OTP_KEY, TOKEN_KEY       at least 32 bytes each, in base64
//	PUBLIC_URL               http or https; issuer and audience of the tokens
//	SENDER                   log, sns, or smtp://user:password@host:port?from=address
//	LOG_LEVEL                debug, info (the default), warn or error
func ReadConfig(getenv func(string) string, required ...string) (Config, error) {
	var c Config
	var errs []error
	for _, v := range []struct {
		name string
		read func(string) error
	}{
		{"EVENT_TABLE", pattern(&c.EventTable, `([a-zA-Z0-9_.-]+)`, 3, 255, "the name of a DynamoDB table, of 3 to 255 characters")},
		{"VIEW_TABLE", pattern(&c.ViewTable, `([a-zA-Z0-9_.-]+)`, 3, 255, "the name of a DynamoDB table, of 3 to 255 characters")},
		{"TOPIC_ARN", pattern(&c.TopicARN, `arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:([a-zA-Z0-9_-]+)\.fifo`, 1, 251, "the ARN of an SNS FIFO topic")},
		{"OTP_KEY", key(&c.OTPKey, otp.MinKey)},
		{"TOKEN_KEY", key(&c.TokenKey, minTokenKey)},
		{"PUBLIC_URL", func(s string) error {
			u, err := url.Parse(s)
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
				return errors.New("must be an http or https URL of host and path")
			}
			c.PublicURL = strings.TrimRight(s, "/")
			return nil
		}},
		{"SENDER", func(s string) error {
			c.Sender = newSecret([]byte(s))
			_, err := c.newSender(nil, nil)
			return err
		}},
		{"LOG_LEVEL", func(s string) error {
			if !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(s)) {
				return errors.New("must be debug, info, warn or error")
			}
			return c.LogLevel.UnmarshalText([]byte(s))
		}},
	} {
		value := strings.TrimSpace(getenv(v.name))
		needed := slices.Contains(required, v.name)
		required = slices.DeleteFunc(slices.Clone(required), func(name string) bool { return name == v.name })
		switch {
		case value != "":
			if err := v.read(value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", v.name, err))
			}
		case needed:
			errs = append(errs, fmt.Errorf("%s: is not set", v.name))
		}
	}
	for _, name := range required {
		errs = append(errs, fmt.Errorf("%s: there is no such variable", name))
	}
	return c, errors.Join(errs...)
}

// pattern takes what matches, if the group in it has the right length: a repetition of that many
// would make the expression a thousand times larger, and compiling it the slowest part of a start.
func pattern(to *string, expr string, least, most int, what string) func(string) error {
	return func(s string) error {
		found := regexp.MustCompile(`^(?:` + expr + `)$`).FindStringSubmatch(s)
		if found == nil || len(found[1]) < least || len(found[1]) > most {
			return errors.New("must be " + what)
		}
		*to = s
		return nil
	}
}

func key(to *Secret, least int) func(string) error {
	return func(s string) error {
		// Standard or URL alphabet, padded or not: generators differ.
		s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
		b, err := base64.RawStdEncoding.DecodeString(s)
		switch {
		case err != nil:
			return errors.New("must be base64")
		case len(b) < least:
			return fmt.Errorf("has %d bytes, at least %d are needed", len(b), least)
		}
		*to = newSecret(b)
		return nil
	}
}

// NewSender returns the sender that SENDER names. The one for sns is the program's to
// give; without it, SENDER=sns is an error, and so is SENDER not set.
func (c Config) NewSender(logger *slog.Logger, sns Sender) (Sender, error) {
	sender, err := c.newSender(logger, sns)
	switch {
	case err != nil:
		return nil, fmt.Errorf("SENDER: %w", err)
	case sender == nil:
		return nil, errors.New("SENDER: this program has no sender for sns")
	}
	return sender, nil
}

func (c Config) newSender(logger *slog.Logger, sns Sender) (Sender, error) {
	value := string(c.Sender.Reveal())
	switch {
	case value == "log":
		return logSender{logger}, nil
	case value == "sns":
		return sns, nil
	case strings.HasPrefix(value, "smtp://"):
		u, err := url.Parse(value)
		if err != nil {
			return nil, errors.New("the URL is malformed") // the parser's error would show it
		}
		return newSMTPSender(u)
	}
	return nil, errors.New("must be log, sns or smtp://user:password@host:port?from=address")
}

// Secret is a value that is not to be shown: printed, logged or encoded it says
// [secret] and nothing else.
type Secret struct {
	value *[]byte // a pointer, for the sake of package fmt: see [otp.Codes]
}

func newSecret(b []byte) Secret { return Secret{&b} }

// Reveal returns the value itself, nil if there is none.
func (s Secret) Reveal() []byte {
	if s.value == nil {
		return nil
	}
	return *s.value
}

// Format keeps the value out of anything that is printed.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// LogValue keeps the value out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// MarshalText keeps the value out of anything that is encoded.
func (s Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }
