package service

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
)

// maxBody is the largest body that is read, in bytes.
const maxBody = 16 << 10

// form is a body: a JSON object whose members are all texts.
type form struct {
	raw    []byte
	values map[string]string
	errors []fieldProblem
}

// readForm reads a body with the given members. Which of them must be there is for
// the caller to say. It returns a problem for a body that is no JSON document of the
// right type and size; what is wrong inside is collected for [form.check].
func readForm(w http.ResponseWriter, r *http.Request, members ...string) (*form, error) {
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset, ok := params["charset"]; err != nil || mediaType != "application/json" || ok && !strings.EqualFold(charset, "utf-8") {
		return nil, newProblem(http.StatusUnsupportedMediaType, "unsupported-media-type", "Unsupported media type",
			"Send the body as application/json, in UTF-8.")
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, newProblem(http.StatusRequestEntityTooLarge, "too-large", "Body too large",
			fmt.Sprintf("The body may have at most %d bytes.", maxBody))
	}
	switch {
	case err != nil:
		return nil, malformed("The body could not be read to its end.")
	case !utf8.Valid(raw):
		return nil, malformed("The body is not valid UTF-8.")
	case !json.Valid(raw):
		return nil, malformed("The body is not one valid JSON document.")
	}
	f := &form{raw: raw, values: make(map[string]string, len(members))}
	return f, f.parse(members)
}

// parse reads the members of a valid JSON document one by one: encoding/json into a
// struct would let duplicates and other spellings of a name pass, and would report one
// error instead of all.
func (f *form) parse(members []string) error {
	d := json.NewDecoder(bytes.NewReader(f.raw))
	start, err := d.Token()
	if err != nil {
		return malformed("The body is not one valid JSON document.")
	}
	if start != json.Delim('{') {
		return invalid([]fieldProblem{{Pointer: "", Detail: "must be an object"}})
	}
	seen := make(map[string]bool)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return malformed("The body is not one valid JSON document.")
		}
		member, _ := name.(string)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return malformed("The body is not one valid JSON document.")
		}
		if seen[member] {
			return malformed("The body has a member twice.")
		}
		seen[member] = true
		var text *string // nil for null
		switch err := json.Unmarshal(value, &text); {
		case !slices.Contains(members, member):
			f.add(member, "is unknown")
		case err != nil, text == nil:
			f.add(member, "must be a string")
		default:
			f.values[member] = *text
		}
	}
	return nil
}

func (f *form) add(member, detail string) {
	pointer := "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(member)
	// Of two things that are wrong with a member, the first is the cause.
	if !slices.ContainsFunc(f.errors, func(p fieldProblem) bool { return p.Pointer == pointer }) {
		f.errors = append(f.errors, fieldProblem{pointer, detail})
	}
}

// require notes members that are missing or empty.
func (f *form) require(members ...string) {
	for _, m := range members {
		if f.values[m] == "" {
			f.add(m, "is empty")
		}
	}
}

// check returns nil, or one problem that has everything that is wrong with the body:
// what was found while it was read, and what the domain says.
func (f *form) check(err error) error {
	f.collect(err)
	if len(f.errors) == 0 {
		return err // nil, or not about a field
	}
	return invalid(f.errors)
}

func (f *form) collect(err error) {
	type joined interface {
		error
		Unwrap() []error
	}
	if e, ok := errors.AsType[joined](err); ok {
		for _, err := range e.Unwrap() {
			f.collect(err)
		}
	} else if e, ok := errors.AsType[*org.FieldError](err); ok {
		f.add(e.Field, e.Problem)
	} else if e, ok := errors.AsType[*otp.FieldError](err); ok {
		f.add(e.Field, e.Problem)
	}
}

// idempotencyKey is an Idempotency-Key as the command is named by it, and the content of the request.
type idempotencyKey struct {
	name    string
	content []byte
}

// readKey returns the Idempotency-Key of a request, nil if there is none. It may be a quoted
// string, as the draft of the IETF has it, or bare.
func (s *Service) readKey(r *http.Request, f *form) (*idempotencyKey, error) {
	keys := r.Header.Values("Idempotency-Key")
	if len(keys) == 0 {
		return nil, nil
	}
	text := keys[0]
	if n := len(text); n >= 2 && text[0] == '"' && text[n-1] == '"' {
		text = text[1 : n-1]
	}
	printable := !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' })
	if len(keys) > 1 || len(text) < 1 || len(text) > es.MaxName || !printable {
		return nil, malformed(fmt.Sprintf("Send one Idempotency-Key of 1 to %d printable ASCII characters.", es.MaxName))
	}
	// Hashed, with a prefix: it is stored, and must not meet the names of reactors. The content
	// is keyed: a body can hold what may be guessed.
	sum := sha256.Sum256([]byte(text))
	return &idempotencyKey{"http:" + hex.EncodeToString(sum[:16]), s.Codes.Content(r.Method, r.URL.Path, string(f.raw))}, nil
}
