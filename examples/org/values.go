package org

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Longest values, in Unicode characters (code points).
const (
	MaxName        = 120
	MaxLocation    = 150
	MaxDescription = 1200
)

// FieldError says what is wrong with one field of a profile.
type FieldError struct {
	Field   string // "name", "location" or "description"
	Problem string // a predicate, such as "is empty"
}

func (e *FieldError) Error() string { return e.Field + " " + e.Problem }

// Name is what an org is called: 1 to [MaxName] characters.
type Name struct{ text }

// Location is where an org is: 1 to [MaxLocation] characters.
type Location struct{ text }

// Description is what an org says of itself: at most [MaxDescription] characters,
// and it may be empty.
type Description struct{ text }

// NewName returns the trimmed name, or a [*FieldError].
func NewName(s string) (Name, error) {
	t, err := newText("name", s, 1, MaxName)
	return Name{t}, err
}

// NewLocation returns the trimmed location, or a [*FieldError].
func NewLocation(s string) (Location, error) {
	t, err := newText("location", s, 1, MaxLocation)
	return Location{t}, err
}

// NewDescription returns the trimmed description, or a [*FieldError].
func NewDescription(s string) (Description, error) {
	t, err := newText("description", s, 0, MaxDescription)
	return Description{t}, err
}

// Profile is what an org says of itself. Profiles are compared with ==.
type Profile struct {
	Name        Name        `json:"name"`
	Location    Location    `json:"location"`
	Description Description `json:"description"`
}

// NewProfile returns the profile of three texts. Its error joins a [*FieldError] for
// each field that is not valid, in the order of the arguments.
func NewProfile(name, location, description string) (Profile, error) {
	n, err1 := NewName(name)
	l, err2 := NewLocation(location)
	d, err3 := NewDescription(description)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Profile{}, err
	}
	return Profile{Name: n, Location: l, Description: d}, nil
}

// text is a line of Unicode text without white space around it. It encodes as a JSON
// string.
type text struct{ s string }

// newText trims s, white space as Unicode defines it, and checks the rest.
func newText(field, s string, least, most int) (text, error) {
	// Checked first: an invalid byte would count as a character.
	if !utf8.ValidString(s) {
		return text{}, &FieldError{field, "is not valid UTF-8"}
	}
	s = strings.TrimSpace(s)
	n := utf8.RuneCountInString(s)
	switch {
	case n < least:
		return text{}, &FieldError{field, "is empty"}
	case n > most:
		return text{}, &FieldError{field, fmt.Sprintf("has %d characters, at most %d are allowed", n, most)}
	case strings.ContainsFunc(s, unicode.IsControl):
		return text{}, &FieldError{field, "contains a control character"}
	}
	return text{s}, nil
}

// String returns the text.
func (t text) String() string { return t.s }

// MarshalText returns the text.
func (t text) MarshalText() ([]byte, error) { return []byte(t.s), nil }

// UnmarshalText takes a text from history as it is: the rules may have been others
// when it was stored, and what has happened cannot be refused any more.
func (t *text) UnmarshalText(b []byte) error {
	t.s = string(b)
	return nil
}
