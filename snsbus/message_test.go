package snsbus

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/leftfold/leftfold/es"
)

var update = flag.Bool("update", false, "write the golden files anew")

var moment = time.Date(1996, time.February, 29, 23, 59, 59, 123456789, time.UTC)

// bare returns a commit as it is delivered, with nothing in it that may be left out.
func bare() es.Commit {
	return es.Commit{
		Stream: es.StreamID{Category: "org", ID: "42"}, Version: 1, ID: "01J9ZQ3M8X", Time: moment, Status: es.Settled,
		Events: []es.Event{{Type: "org.created", Data: `{"name":"Acme"}`}},
	}
}

// full returns a commit as it is delivered, with everything in it.
func full() es.Commit {
	return es.Commit{
		Stream: es.StreamID{Category: "org", ID: "42/ü"}, Version: math.MaxUint64 - 6, ID: "01J9ZQ3M8Y", Status: es.Settled,
		Command: "create/\"ü\" \\ 🎈 </script> \u2028 \uFFFE \uFFFF \uFFFD", Time: moment,
		Meta: map[string]string{"actor": "søren", "empty": "", "trace": "a\n\t\x00\x7f\u0085b", "κλειδί": "日本語"},
		Events: []es.Event{
			{Type: "org.created", Data: `{"name":"Grüße <&> \u2028 \ufffe \ud800","at": [1, 2.50,1e400]}`},
			{Type: "test.pretty", Data: "{\n\t\"a\" : null\n}"},
			{Type: "test.null", Data: "null"},
			{Type: "test.empty"},
			{Type: "test.binary", Data: "\x00\x01\xff\""},
			{Type: "test.text", Data: "hello"},
			{Type: "test.twice", Data: `{"a":1,"a":2}`},
		},
	}
}

// same reports whether two commits are the same, where empty data is none.
func same(a, b es.Commit) bool {
	a, b = a.Clone(), b.Clone()
	for _, c := range []*es.Commit{&a, &b} {
		if len(c.Meta) == 0 {
			c.Meta = nil
		}
	}
	return a.Time.Equal(b.Time) && reflect.DeepEqual(a, b)
}

// legal returns what SQS refuses in a body, or nil.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
func legal(body string) error {
	if !utf8.ValidString(body) {
		return fmt.Errorf("the body is not UTF-8: %q", body)
	}
	for i, r := range body {
		ok := r == 0x9 || r == 0xA || r == 0xD || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
		if !ok {
			return fmt.Errorf("byte %d of the body begins a %U: %q", i, r, body)
		}
	}
	return nil
}

// roundTrip returns what a commit becomes on its way.
func roundTrip(c es.Commit) (es.Commit, error) {
	body, err := encode(c)
	if err != nil {
		return es.Commit{}, err
	}
	if err := legal(body); err != nil {
		return es.Commit{}, err
	}
	return decode(body)
}

// The form of a message is history: queues hold old ones, and other programs read it.
func TestGolden(t *testing.T) {
	for name, c := range map[string]es.Commit{"bare": bare(), "full": full()} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".json")
			got, err := encode(c)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(path, []byte(got+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			stored, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.TrimSuffix(string(stored), "\n"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			back, err := decode(string(stored))
			if err != nil {
				t.Fatal(err)
			}
			if !same(back, c) {
				t.Errorf("got  %+v\nwant %+v", back, c)
			}
			if err := legal(got); err != nil {
				t.Error(err)
			}
		})
	}
}

// Data can be read where that loses nothing, and comes back as it was.
func TestData(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	rows := []struct{ data, want string }{
		{"", ""},
		{`{"a":1}`, "data"},
		{`{"a": 1}`, "data"},
		{`"a"`, "data"}, {`0`, "data"}, {`-1.50e+07`, "data"}, {`true`, "data"}, {`null`, "data"}, {`[]`, "data"},
		{"[1,\n\t 2\r\n]", "data"},
		{"\"Gr\u00fc\u00dfe <&> \u2028 \U0001F388 \x7f \uFFFD \U0001FFFE\"", "data"},
		{`"\ud800 \uFFFF \u0000 \" \\"`, "data"},
		{`{"a":1,"a":1}`, "data"},
		{nested(maxDepth), "data"},
		{`["` + nested(maxDepth+1) + `"]`, "data"},
		{`"\\` + nested(maxDepth+1) + `"`, "data"},
		{`"\"` + nested(maxDepth+1) + `"`, "data"},
		{nested(maxDepth + 1), "base64"},
		{`["\\",` + nested(maxDepth) + `]`, "base64"},
		{nested(9_999), "base64"},
		{nested(20_000), "base64"},
		{"[" + strings.Repeat("[],", maxDepth+1) + "[]]", "data"},
		{` 1`, "base64"}, {"1\n", "base64"}, {"\t{}", "base64"}, {" ", "base64"},
		{"\"\uFFFE\"", "base64"}, {"\"\uFFFF\"", "base64"},
		{"\"\xff\"", "base64"}, {"\"\xed\xa0\x80\"", "base64"}, {"\"\xef\xbf\"", "base64"},
		{"1,2", "base64"}, {"1}", "base64"}, {`{"a":1},{"b":2}`, "base64"}, {"//", "base64"}, {"\"a\x00\"", "base64"},
		{"hello", "base64"}, {"\x00", "base64"}, {"NaN", "base64"}, {"01", "base64"},
	}
	for _, row := range rows {
		c := bare()
		c.Events[0].Data = row.data
		body, err := encode(c)
		if err != nil {
			t.Fatal(err)
		}
		var m struct{ Events []map[string]json.RawMessage }
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatalf("data %.40q: %v", row.data, err)
		}
		delete(m.Events[0], "type")
		got := ""
		for member := range m.Events[0] {
			got += member
		}
		if got != row.want {
			t.Errorf("data %.40q is written as %q, not %q", row.data, got, row.want)
		}
		back, err := roundTrip(c)
		if err != nil {
			t.Errorf("data %.40q: %v", row.data, err)
		} else if !same(back, c) {
			t.Errorf("data %.40q came back as %.40q", row.data, back.Events[0].Data)
		}
	}
}

func TestMessageLeavesOut(t *testing.T) {
	c := bare()
	c.State, c.Replaces, c.Status = &es.Snapshot{Schema: "1", Data: "secret"}, "01J9ZQ3M8W", es.Pending
	c.Done = []es.Done{{Command: "secret"}}
	c.Time = moment.In(time.FixedZone("somewhere", 5*3600+1800))
	body, err := encode(c)
	if err != nil {
		t.Fatal(err)
	}
	want, err := encode(bare())
	if err != nil {
		t.Fatal(err)
	}
	if body != want {
		t.Errorf("got  %s\nwant %s", body, want)
	}
}

// anyCommit draws commits of every form that is valid.
func anyCommit() *rapid.Generator[es.Commit] {
	runes := func(control bool) *rapid.Generator[rune] {
		odd := []rune{'"', '\\', '/', '<', '&', 0xFFFD, 0xFFFE, 0xFFFF, 0xD7FF, 0xE000, 0x10000, 0x1FFFE, 0x10FFFF, 0x2028, ' '}
		if control {
			odd = append(odd, 0, '\n', '\t', '\r', 0x1f, 0x7f, 0x85)
		}
		return rapid.OneOf(rapid.SampledFrom(odd), rapid.RuneFrom([]rune("abcXYZ019-_.:#üé日🎈")))
	}
	name := func(least, most int) *rapid.Generator[string] {
		return rapid.StringOfN(runes(false), least, most, most)
	}
	value := rapid.Custom(func(t *rapid.T) any {
		return rapid.OneOf(
			rapid.Map(rapid.StringOf(runes(true)), func(s string) any { return s }),
			rapid.Map(rapid.SliceOf(rapid.Float64Range(-1e9, 1e9)), func(n []float64) any { return n }),
			rapid.Map(rapid.MapOf(name(0, 9), rapid.Bool()), func(m map[string]bool) any { return m }),
		).Draw(t, "value")
	})
	data := rapid.OneOf(
		rapid.SliceOf(rapid.Byte()),
		rapid.Map(rapid.StringOf(runes(true)), func(s string) []byte { return []byte(s) }),
		rapid.Map(rapid.StringOf(rapid.SampledFrom([]rune("{}[]\",:\\ 01u\n"))), func(s string) []byte { return []byte(s) }),
		rapid.Map(value, func(v any) []byte { b, _ := json.Marshal(v); return b }),
		rapid.Map(value, func(v any) []byte { b, _ := json.MarshalIndent(v, "", "\t"); return b }),
	)
	event := rapid.Custom(func(t *rapid.T) es.Event {
		return es.Event{Type: name(1, es.MaxName).Draw(t, "type"), Data: string(data.Draw(t, "data"))}
	})
	return rapid.Custom(func(t *rapid.T) es.Commit {
		category := name(1, es.MaxCategory).Filter(func(s string) bool { return !strings.Contains(s, "/") })
		years := rapid.Int64Range(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix())
		c := es.Commit{
			Stream:  es.StreamID{Category: category.Draw(t, "category"), ID: name(1, es.MaxID).Draw(t, "ID of stream")},
			Version: rapid.Uint64Range(1, math.MaxUint64-7).Draw(t, "version"),
			ID:      name(1, es.MaxName).Draw(t, "ID"),
			Command: name(0, es.MaxName).Draw(t, "command"),
			Time:    time.Unix(years.Draw(t, "second"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanosecond")).UTC(),
			Meta:    rapid.MapOfN(name(1, 20), rapid.StringOfN(runes(true), -1, -1, 80), -1, es.MaxMeta).Draw(t, "meta"),
			Events:  rapid.SliceOfN(event, 1, 8).Draw(t, "events"),
			Status:  es.Settled,
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("a commit was drawn that is not valid: %v", err)
		}
		return c
	})
}

func TestEveryCommitComesThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyCommit().Draw(t, "commit")
		got, err := roundTrip(want)
		if err != nil {
			t.Fatal(err)
		}
		if !same(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	})
}

func TestEncodeErrors(t *testing.T) {
	for name, change := range map[string]func(*es.Commit){
		"no events":      func(c *es.Commit) { c.Events = nil },
		"no stream":      func(c *es.Commit) { c.Stream = es.StreamID{} },
		"year 10000":     func(c *es.Commit) { c.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"year -1":        func(c *es.Commit) { c.Time = time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC) },
		"year 0 in zone": func(c *es.Commit) { c.Time = time.Date(0, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600)) },
	} {
		c := bare()
		change(&c)
		if body, err := encode(c); !errors.Is(err, es.ErrInvalid) || body != "" {
			t.Errorf("%s: %q, %v", name, body, err)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	good, err := encode(bare())
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, new string) string {
		if strings.Count(good, old) != 1 {
			t.Fatalf("%q is not once in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	for _, row := range []struct{ body, says string }{
		{"", "JSON"}, {"null", "no time"}, {"[]", "array"}, {"{}", "no time"}, {"hello", "invalid character"},
		{good + good, "after top-level value"}, {good[:len(good)-1], "unexpected end"},
		{change(`"time":"1996-02-29T23:59:59.123456789Z",`, ""), "no time"},
		{change(`"1996-02-29T23:59:59.123456789Z"`, "null"), "no time"},
		{change(`1996-02-29`, "1997-02-29"), "day out of range"},
		{change(`1996-02-29T23:59:59.123456789Z`, "0000-01-01T00:00:00+01:00"), "year"},
		{change(`"category":"org"`, `"category":"org/a"`), "slash"},
		{change(`"category":"org",`, ""), "category is empty"},
		{change(`"id":"42"`, `"id":"4\u0000"`), "control character"},
		{change(`{"category":"org","id":"42"}`, `"org/42"`), "stream"},
		{change(`"version":1`, `"version":0`), "version is 0"},
		{change(`"version":1`, `"version":-1`), "version"},
		{change(`"version":1`, `"version":18446744073709551616`), "version"},
		{change(`"id":"01J9ZQ3M8X",`, ""), "commit ID is empty"},
		{change(`"type":"org.created",`, ""), "event type is empty"},
		{change(`,"events":[{"type":"org.created","data":{"name":"Acme"}}]`, ""), "0 events"},
		{change(`"data":{"name":"Acme"}`, `"data":1,"base64":""`), "data twice"},
		{change(`"data":{"name":"Acme"}`, `"base64":"?"`), "base64"},
		{change(`"data":{"name":"Acme"}`, `"base64":7`), "base64"},
	} {
		c, err := decode(row.body)
		if !errors.Is(err, es.ErrInvalid) || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: the error is %v, and should say %q", row.body, err, row.says)
		}
		if !reflect.DeepEqual(c, es.Commit{}) {
			t.Errorf("%s: there is a commit beside the error: %+v", row.body, c)
		}
	}
}

// What a later version adds does not disturb.
func TestDecodeIgnoresUnknown(t *testing.T) {
	body, err := encode(full())
	if err != nil {
		t.Fatal(err)
	}
	body = strings.Replace(body, `{"stream":{`, `{"new":[{"a":null}],"stream":{"tenant":"a",`, 1)
	body = strings.Replace(body, `{"type":`, `{"schema":2,"type":`, 1)
	if c, err := decode(body); err != nil || !same(c, full()) {
		t.Errorf("got %+v, %v", c, err)
	}
}

// Whatever comes, decode gives an error, or a commit that can be sent on and stays the same.
func FuzzDecode(f *testing.F) {
	for _, c := range []es.Commit{bare(), full()} {
		body, err := encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add(`{"stream":{"category":"a","id":"b"},"version":1,"id":"c","time":"2026-01-01T00:00:00+01:00","events":[{"type":"d","data":1}],"EVENTS":[{"type":"e"}]}`)
	f.Add(`{"stream":{"category":"a","id":"b"},"version":1,"id":"c","time":"2026-01-01T00:00:00Z","meta":null,"events":[{"type":"d","base64":null,"data":null}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		c, err := decode(body)
		if err != nil {
			if !errors.Is(err, es.ErrInvalid) {
				t.Errorf("the error does not wrap es.ErrInvalid: %v", err)
			}
			return
		}
		if err := c.Validate(); err != nil || c.Status != es.Settled {
			t.Errorf("decoded as %v: %v", c.Status, err)
		}
		back, err := roundTrip(c)
		if err != nil || !same(back, c) {
			t.Errorf("got  %+v, %v\nwant %+v", back, err, c)
		}
	})
}

func FuzzData(f *testing.F) {
	for _, e := range full().Events {
		f.Add([]byte(e.Data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := bare()
		c.Events[0].Data = string(data)
		if back, err := roundTrip(c); err != nil || !same(back, c) {
			t.Errorf("got %+v, %v", back, err)
		}
	})
}
