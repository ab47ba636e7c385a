package es

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Longest category and ID of a stream, in bytes. Together with the separator
// they stay far below the key limits of the stores.
const (
	MaxCategory = 64
	MaxID       = 256
)

// StreamID names a stream, the history of one aggregate: "org/42" is category
// "org" and ID "42". Both parts belong to the name; streams of different
// categories never share anything.
type StreamID struct{ Category, ID string }

// String returns category and ID with a slash between them. A valid category
// has no slash, so different valid streams have different strings.
func (s StreamID) String() string { return s.Category + "/" + s.ID }

// Validate returns nil or an error that wraps [ErrInvalid] and says what is
// wrong with which part. A category has 1 to [MaxCategory] bytes and no slash,
// an ID 1 to [MaxID] bytes; both are UTF-8 without control characters.
func (s StreamID) Validate() error {
	if err := validateName("category", s.Category, MaxCategory); err != nil {
		return fmt.Errorf("stream %.80q: %w", s.String(), err)
	}
	if strings.Contains(s.Category, "/") {
		return fmt.Errorf("stream %.80q: %w: category contains a slash", s.String(), ErrInvalid)
	}
	if err := validateName("ID", s.ID, MaxID); err != nil {
		return fmt.Errorf("stream %.80q: %w", s.String(), err)
	}
	return nil
}

// hasControl reports whether there is a control character, as unicode.IsControl says.
func hasControl(s string) bool {
	for _, r := range s {
		if r < ' ' || '\x7f' <= r && r <= '\u009f' {
			return true
		}
	}
	return false
}

// plain reports whether there is nothing but printable ASCII. Most names are checked several times, and
// are nothing else.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= '\x7f' {
			return false
		}
	}
	return true
}

// validateName checks a short text that becomes part of a key.
func validateName(what, name string, limit int) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: %s is empty", ErrInvalid, what)
	case len(name) <= limit && plain(name):
		return nil
	case len(name) > limit:
		return fmt.Errorf("%w: %s has %d bytes, at most %d are allowed", ErrInvalid, what, len(name), limit)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: %s is not UTF-8", ErrInvalid, what)
	case hasControl(name):
		return fmt.Errorf("%w: %s contains a control character", ErrInvalid, what)
	}
	return nil
}
