package otp

import (
	"fmt"
	"log/slog"
	"strings"
)

// Channel is a way to send a code.
type Channel string

// The channels.
const (
	Email Channel = "email"
	SMS   Channel = "sms"
)

// Longest addresses, in bytes.
const (
	MaxEmail = 254
	maxPhone = 64 // as it is written, with spaces and punctuation
)

// FieldError says what is wrong with the channel or the address of a request. It does
// not repeat the address.
type FieldError struct {
	Field   string // "channel" or "to"
	Problem string // a predicate, such as "is not an email address"
}

func (e *FieldError) Error() string { return e.Field + " " + e.Problem }

// Address is where a code is sent: an email address or a phone number, checked and
// normalised, so that one mailbox and one phone have one address. Addresses are
// compared with ==. Printing or logging one shows the channel alone; see [Address.Reveal].
type Address struct {
	channel Channel
	to      string
}

// NewAddress checks and normalises an address of a channel. White space around it is
// cut off. The error is a [*FieldError].
//
// An email address follows the pattern of the HTML standard for an email input
// (https://html.spec.whatwg.org/#valid-e-mail-address) and has at most [MaxEmail] bytes. All of it becomes lower
// case: the part before the @ could in theory differ by case, but no provider
// of note lets it, and one mailbox must not get two limits.
//
// A phone number is in international form, with a plus sign, and valid in its country's
// numbering plan. Spaces, dots, hyphens and parentheses may divide it; it becomes E.164.
func NewAddress(channel Channel, to string) (Address, error) {
	to = strings.TrimSpace(to)
	switch {
	case channel != Email && channel != SMS:
		return Address{}, &FieldError{"channel", `must be "email" or "sms"`}
	case to == "":
		return Address{}, &FieldError{"to", "is empty"}
	case channel == SMS:
		return newPhone(to)
	case len(to) > MaxEmail:
		return Address{}, &FieldError{"to", fmt.Sprintf("has %d bytes, at most %d are allowed", len(to), MaxEmail)}
	case !validEmail(to):
		return Address{}, &FieldError{"to", "is not an email address"}
	}
	return Address{Email, strings.ToLower(to)}, nil
}

// ParseAddress is [NewAddress] for an address whose channel is not said: what has an @
// is an email address, anything else a phone number.
func ParseAddress(to string) (Address, error) {
	if strings.Contains(to, "@") {
		return NewAddress(Email, to)
	}
	return NewAddress(SMS, to)
}

// Channel returns the channel of the address.
func (a Address) Channel() Channel { return a.channel }

// Reveal returns the address itself, normalised. It is personal data.
func (a Address) Reveal() string { return a.to }

// Format keeps the address out of anything that is printed.
func (a Address) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "[%s address]", a.channel) }

// LogValue keeps the address out of logs.
func (a Address) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(a)) }

func newPhone(to string) (Address, error) {
	wrong := &FieldError{"to", "is not a phone number in international form, such as +14155550100"}
	// The library would also take letters, extensions and several plus signs.
	rest, plus := strings.CutPrefix(to, "+")
	strange := func(r rune) bool { return !strings.ContainsRune("0123456789 .-()", r) }
	if !plus || len(to) > maxPhone || strings.ContainsFunc(rest, strange) {
		return Address{}, wrong
	}
	number, ok := e164(strings.NewReplacer(" ", "", ".", "", "-", "", "(", "", ")", "").Replace(rest))
	if !ok {
		return Address{}, wrong
	}
	return Address{SMS, "+" + number}, nil
}

// validEmail reports whether s matches the pattern of the HTML standard:
//
//	/^[a-zA-Z0-9.!#$%&'*+\/=?^_`{|}~-]+@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$/
func validEmail(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" {
		return false
	}
	for i := range len(local) {
		if c := local[i]; !alphanumeric(c) && !strings.Contains(".!#$%&'*+/=?^_`{|}~-", string(rune(c))) {
			return false
		}
	}
	for label := range strings.SplitSeq(domain, ".") {
		if len(label) < 1 || len(label) > 63 || !alphanumeric(label[0]) || !alphanumeric(label[len(label)-1]) {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !alphanumeric(c) && c != '-' {
				return false
			}
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
