package snsbus

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/leftfold/leftfold/es"
)

// message is the body of a message. The package's documentation describes it.
type message struct {
	Stream struct {
		Category string `json:"category"`
		ID       string `json:"id"`
	} `json:"stream"`
	Version uint64            `json:"version"`
	ID      string            `json:"id"`
	Command string            `json:"command"`
	Time    *time.Time        `json:"time"`
	Meta    map[string]string `json:"meta"`
	Events  []struct {
		Type   string          `json:"type"`
		Data   json.RawMessage `json:"data"`
		Base64 []byte          `json:"base64"`
	} `json:"events"`
}

// timeFormat has a fixed width, so that times are sorted as texts.
const timeFormat = "2006-01-02T15:04:05.000000000Z"

// encode returns the body of a commit's message. Its error wraps [es.ErrInvalid].
func encode(c es.Commit) (string, error) {
	if err := c.Validate(); err != nil {
		return "", err
	}
	if err := validateTime(c.Time); err != nil {
		return "", fmt.Errorf("commit %s@%d: %w", c.Stream, c.Version, err)
	}
	size := 512
	for _, e := range c.Events {
		size += len(`{"type":"","data":},`) + len(e.Type) + len(e.Data)
	}
	b := make([]byte, 0, size)
	b = append(b, `{"stream":{"category":`...)
	b = appendText(b, c.Stream.Category)
	b = append(b, `,"id":`...)
	b = appendText(b, c.Stream.ID)
	b = append(b, `},"version":`...)
	b = strconv.AppendUint(b, c.Version, 10)
	b = append(b, `,"id":`...)
	b = appendText(b, c.ID)
	if c.Command != "" {
		b = append(b, `,"command":`...)
		b = appendText(b, c.Command)
	}
	b = append(b, `,"time":"`...)
	b = c.Time.UTC().AppendFormat(b, timeFormat)
	b = append(b, '"')
	if len(c.Meta) > 0 {
		before := `,"meta":{`
		for _, key := range slices.Sorted(maps.Keys(c.Meta)) {
			b = append(b, before...)
			b = appendText(b, key)
			b = append(b, ':')
			b = appendText(b, c.Meta[key])
			before = ","
		}
		b = append(b, '}')
	}
	before := `,"events":[`
	for _, e := range c.Events {
		b = append(b, before...)
		b = append(b, `{"type":`...)
		b = appendText(b, e.Type)
		b = append(appendData(b, e.Data), '}')
		before = ","
	}
	return string(append(b, "]}"...)), nil
}

// appendData appends what an event says as a member of its object.
func appendData(b []byte, data string) []byte {
	if data == "" {
		return b
	}
	with := append(b, `,"data":`...)
	at := len(with)
	if with = append(with, data...); embeds(with[at:]) {
		return with
	}
	b = append(b, `,"base64":"`...)
	b = base64.StdEncoding.AppendEncode(b, []byte(data))
	return append(b, '"')
}

// appendText appends a text as JSON. What a queue takes for no character is escaped.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || noCharacter(r):
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// noCharacter reports whether neither XML nor, therefore, SQS allows a character that is
// UTF-8 and no control character.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
func noCharacter(r rune) bool { return r == 0xFFFE || r == 0xFFFF }

// maxDepth is far below what decoders of JSON allow, encoding/json 10 000.
const maxDepth = 500

// embeds reports whether data is JSON that comes out of a message as the same bytes.
func embeds(data []byte) bool {
	if !json.Valid(data) || data[0] <= ' ' || data[len(data)-1] <= ' ' {
		return false // space around a value is no part of it
	}
	depth, quoted := 0, false
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && n == 1, noCharacter(r):
			return false
		case r == '\\':
			n++ // what it escapes is no quote
		case r == '"':
			quoted = !quoted
		case quoted:
		case r == '{' || r == '[':
			if depth++; depth > maxDepth {
				return false
			}
		case r == '}' || r == ']':
			depth--
		}
		i += n
	}
	return true
}

// decode returns the commit of a body that [encode] has made, as a settled one. Members
// that it does not know are left alone. Its error wraps [es.ErrInvalid].
func decode(body string) (es.Commit, error) {
	var m message
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		return es.Commit{}, fmt.Errorf("message: %w: %w", es.ErrInvalid, err)
	}
	if m.Time == nil {
		return es.Commit{}, fmt.Errorf("message of commit %.80q: %w: it has no time", m.ID, es.ErrInvalid)
	}
	c := es.Commit{
		Stream:  es.StreamID{Category: m.Stream.Category, ID: m.Stream.ID},
		Version: m.Version, ID: m.ID, Command: m.Command, Time: m.Time.UTC(), Status: es.Settled,
	}
	if len(m.Meta) > 0 {
		c.Meta = m.Meta
	}
	for i, e := range m.Events {
		if e.Data != nil && e.Base64 != nil {
			return es.Commit{}, fmt.Errorf("message of commit %.80q: %w: event %d has data twice", m.ID, es.ErrInvalid, i+1)
		}
		data := e.Base64
		if e.Data != nil {
			data = e.Data
		}
		c.Events = append(c.Events, es.Event{Type: e.Type, Data: string(data)})
	}
	if err := c.Validate(); err != nil {
		return es.Commit{}, fmt.Errorf("message: %w", err)
	}
	if err := validateTime(c.Time); err != nil {
		return es.Commit{}, fmt.Errorf("message of commit %s@%d: %w", c.Stream, c.Version, err)
	}
	return c, nil
}

// validateTime checks that a time can be written as RFC 3339.
func validateTime(t time.Time) error {
	if year := t.UTC().Year(); year < 0 || year > 9999 {
		return fmt.Errorf("%w: the year of its time is %d, 0 to 9999 are allowed", es.ErrInvalid, year)
	}
	return nil
}
