package dynamostore

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/leftfold/leftfold/es"
)

var update = flag.Bool("update", false, "write the golden files anew")

var moment = time.Date(1996, time.February, 29, 23, 59, 59, 123456789, time.UTC)

// full returns a pending commit with everything in it.
func full(stream es.StreamID, version uint64) es.Commit {
	return es.Commit{
		Stream: stream, Version: version, ID: "01J9ZQ3M8Y", Replaces: "01J9ZQ3M8X", Command: "create/\"ü\" 🎈", Time: moment,
		Meta: map[string]string{"actor": "søren", "empty": "", "trace": "a\n\x00b", "κλειδί": "日本語"},
		Events: []es.Event{
			{Type: "org.created", Data: `{"name":"Grüße <&>"}`},
			{Type: "test.empty"},
			{Type: "test.binary", Data: "\x00\x01\xff\""},
		},
		State: &es.Snapshot{Schema: "1", Data: `{"name":"Grüße"}`},
		Done: []es.Done{
			{Command: "first ✓", Fingerprint: 1<<64 - 1, Version: 1<<64 - 1, Time: moment.Add(-time.Nanosecond)},
			{Command: "", Fingerprint: 0, Version: 0, Time: time.Unix(0, 0).UTC()},
		},
	}
}

// shapes returns commits that differ in what their items consist of.
func shapes() map[string]es.Commit {
	stream := es.StreamID{Category: "org", ID: "42/ü"}
	bare := func(version uint64) es.Commit {
		return es.Commit{Stream: stream, Version: version, ID: "01J9ZQ3M8Y", Time: moment, Events: []es.Event{{Type: "org.created", Data: "{}"}}}
	}
	with := func(version uint64, change func(*es.Commit)) es.Commit {
		c := bare(version)
		change(&c)
		return c
	}
	return map[string]es.Commit{
		"full": full(stream, 17),
		"text": with(17, func(c *es.Commit) {
			*c = full(stream, 17)
			c.Events, c.Meta["trace"] = c.Events[:2], "a\nb"
		}),
		"bare":           bare(1),
		"largest number": bare(1<<64 - 1),
		"number 120":     bare(120),
		"number 1234500": bare(1234500),
		"number 1000":    bare(1000),
		"no time":        with(2, func(c *es.Commit) { c.Time = time.Time{} }),
		"last time":      with(2, func(c *es.Commit) { c.Time = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC) }),
		"empty state":    with(2, func(c *es.Commit) { c.State = &es.Snapshot{} }),
		"binary state":   with(2, func(c *es.Commit) { c.State = &es.Snapshot{Schema: "1", Data: "\xff\x00"} }),
		"most events":    with(2, func(c *es.Commit) { c.Events = slices.Repeat(c.Events, 50) }),
		"types in turn": with(2, func(c *es.Commit) {
			a, b, empty := c.Events[0], es.Event{Type: "b", Data: `"b"`}, es.Event{Type: "b"}
			c.Events = []es.Event{a, a, b, empty, empty, b, a}
		}),
		"claimed": with(3, func(c *es.Commit) { c.Status = es.Claimed }),
		"settled": with(3, func(c *es.Commit) { c.Status = es.Settled }),
	}
}

func marker() es.Commit {
	return es.Commit{Stream: es.StreamID{Category: "org", ID: "42"}, Version: 3, ID: "01J9ZQ3M8Y", Status: es.Revoked}
}

func TestItem(t *testing.T) {
	commits := shapes()
	commits["marker"] = marker()
	for name, want := range commits {
		t.Run(name, func(t *testing.T) {
			got, err := decode(encode(want, "3"))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			if it := encode(want, ""); want.Status != es.Revoked && sizeOf(want, "") != measured(it) {
				t.Errorf("size is %d, not %d", sizeOf(want, ""), measured(it))
			}
		})
	}
}

// measured is the size of an item by the rules of DynamoDB, of what is there.
func measured(it item) int {
	size := 0
	for name, v := range it {
		size += len(name) + measuredValue(v)
	}
	return size
}

func measuredValue(v types.AttributeValue) int {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return len(v.Value)
	case *types.AttributeValueMemberB:
		return len(v.Value)
	case *types.AttributeValueMemberN:
		digits := v.Value
		if len(digits)%2 == 1 {
			digits = "0" + digits
		}
		for strings.HasSuffix(digits, "00") {
			digits = strings.TrimSuffix(digits, "00")
		}
		return len(digits)/2 + 1
	case *types.AttributeValueMemberL: // of a layout that was rejected, as the next
		size := 3
		for _, e := range v.Value {
			size += 1 + measuredValue(e)
		}
		return size
	case *types.AttributeValueMemberM:
		return 3 + len(v.Value) + measured(v.Value)
	}
	panic("unknown type of attribute")
}

// The form of the items is history: it does not change by accident.
func TestGolden(t *testing.T) {
	commits := shapes()
	for name, c := range map[string]es.Commit{
		"full": commits["full"], "text": commits["text"], "bare": commits["bare"], "settled": commits["settled"], "marker": marker(),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".json")
			got := dump(t, encode(c, "3"))
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			back, err := decode(parse(t, want))
			if err != nil || !reflect.DeepEqual(back, c) {
				t.Errorf("read back as %+v, %v", back, err)
			}
		})
	}
}

// dump returns an item in the JSON of DynamoDB.
func dump(t *testing.T, it item) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	if err := e.Encode(plain(&types.AttributeValueMemberM{Value: it})["M"]); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func plain(v types.AttributeValue) map[string]any {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return map[string]any{"S": v.Value}
	case *types.AttributeValueMemberB:
		return map[string]any{"B": base64.StdEncoding.EncodeToString(v.Value)}
	case *types.AttributeValueMemberN:
		return map[string]any{"N": v.Value}
	case *types.AttributeValueMemberL:
		list := make([]any, len(v.Value))
		for i, e := range v.Value {
			list[i] = plain(e)
		}
		return map[string]any{"L": list}
	case *types.AttributeValueMemberM:
		m := make(map[string]any)
		for k, e := range v.Value {
			m[k] = plain(e)
		}
		return map[string]any{"M": m}
	}
	panic("unknown type of attribute")
}

func parse(t *testing.T, text []byte) item {
	t.Helper()
	var m map[string]map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	it := make(item)
	for k, v := range m {
		it[k] = parseValue(t, v)
	}
	return it
}

func parseValue(t *testing.T, v map[string]any) types.AttributeValue {
	t.Helper()
	for kind, v := range v {
		switch kind {
		case "S":
			return &types.AttributeValueMemberS{Value: v.(string)}
		case "N":
			return &types.AttributeValueMemberN{Value: v.(string)}
		case "B":
			b, err := base64.StdEncoding.DecodeString(v.(string))
			if err != nil {
				t.Fatal(err)
			}
			return &types.AttributeValueMemberB{Value: b}
		}
	}
	t.Fatalf("unknown value %v", v)
	return nil
}

func TestDecodeErrors(t *testing.T) {
	binary := func(b ...byte) types.AttributeValue { return &types.AttributeValueMemberB{Value: b} }
	goodDone := encodeDone(full(es.StreamID{}, 1).Done)
	for _, row := range []struct {
		attribute string
		what      string
		value     types.AttributeValue
	}{
		{"s", "missing", nil},
		{"s", "a number", number(1)},
		{"s", "without a slash", text("org")},
		{"v", "missing", nil},
		{"v", "text", text("1")},
		{"v", "negative", &types.AttributeValueMemberN{Value: "-1"}},
		{"v", "too large", &types.AttributeValueMemberN{Value: "18446744073709551616"}},
		{"v", "a fraction", &types.AttributeValueMemberN{Value: "1.5"}},
		{"i", "missing", nil},
		{"i", "binary", binary('a')},
		{"st", "a number", number(1)},
		{"st", "unknown", text("done")},
		{"t", "missing", nil},
		{"t", "cut off", text("1996-02-29")},
		{"t", "a number", number(1)},
		{"t", "in another zone", text("1996-02-29T23:59:59.123456789+")},
		{"t", "without a number", text("1996-02-29T23:59:59.12345678xZ")},
		{"t", "with a sign", text("1996-02-29T23:59:59.+23456789Z")},
		{"t", "on no day", text("1995-02-29T23:59:59.123456789Z")},
		{"t", "in no month", text("1995-13-01T23:59:59.123456789Z")},
		{"t", "in no hour", text("1995-12-31T24:00:00.000000000Z")},
		{"t", "in no minute", text("1995-12-31T23:60:00.000000000Z")},
		{"t", "in a leap second", text("1995-12-31T23:59:60.000000000Z")},
		{"c", "missing", nil},
		{"c", "a number", number(1)},
		{"c", "empty", text("")},
		{"c", "of a later format", text("2e1,2:e{}")},
		{"c", "a list, as before there were formats", &types.AttributeValueMemberL{Value: []types.AttributeValue{text("e"), text("{}")}}},
		{"c", "without events", text("1y1,2:1{}")},
		{"c", "nothing but the format", text("1")},
		{"c", "with another event before the first", text("1y1:sa2:{}e1,2:e{}")},
		{"c", "cut off in data", text("1e1,2:e{")},
		{"c", "cut off before data", text("1e1,2:")},
		{"c", "cut off before a colon", text("1e1,2")},
		{"c", "cut off before a length", text("1e1,2:e{}e")},
		{"c", "cut off behind a comma", text("1e1,")},
		{"c", "without a length", text("1e,2:{}")},
		{"c", "with a sign", text("1e1,+2:e{}")},
		{"c", "with something behind", text("1e1,2:e{}}")},
		{"c", "with an unknown record", text("1e1,2:e{}q1,2:q{}")},
		{"c", "with a length that is too large", text("1e1,99999999999999999999:e{}")},
		{"c", "with lengths that are too large together", binary([]byte("1e1,2:e{}m409600,409600:")...)},
		{"d", "text", text("a")},
		{"d", "cut off", binary(goodDone[:len(goodDone)-1]...)},
		{"d", "with something behind", binary(append(slices.Clone(goodDone), 1)...)},
		{"d", "with too many nanoseconds", binary(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x94, 0xeb, 0xdc, 0x03, 0)},
		{"d", "with an endless number", binary(bytes.Repeat([]byte{0xff}, 20)...)},
	} {
		it := encode(full(es.StreamID{Category: "org", ID: "42"}, 1), "")
		if row.value == nil {
			delete(it, row.attribute)
		} else {
			it[row.attribute] = row.value
		}
		if c, err := decode(it); err == nil || !strings.Contains(err.Error(), `attribute "`+row.attribute+`"`) || !reflect.DeepEqual(c, es.Commit{}) {
			t.Errorf("%q %s: %+v, %v", row.attribute, row.what, c, err)
		}
	}
}

// A marker has nothing but its place, its ID and its status.
func TestMarkerItem(t *testing.T) {
	c := full(es.StreamID{Category: "org", ID: "42"}, 3)
	c.Status = es.Revoked
	if got := slices.Sorted(maps.Keys(encode(c, "3"))); !slices.Equal(got, []string{"i", "s", "st", "v"}) {
		t.Errorf("a marker has %q", got)
	}
}

// Whatever is in a commit comes back, and its size is what was measured.
func FuzzItem(f *testing.F) {
	f.Add("org", "42", uint64(1), "id", "", "", int64(0), "k", "v", "e", []byte("{}"), []byte(nil), true)
	f.Add("a", "/", uint64(100), "id", "old", "name", int64(-1), "", "\x00", "é", []byte{0xff}, []byte("\u2028"), false)
	f.Fuzz(func(t *testing.T, category, id string, version uint64, commit, replaces, command string, nanos int64, k, v, event string, b, state []byte, more bool) {
		if strings.Contains(category, "/") {
			return
		}
		c := es.Commit{
			Stream: es.StreamID{Category: category, ID: id}, Version: version, ID: commit, Replaces: replaces, Command: command,
			Time: time.Unix(0, nanos).UTC(), Meta: map[string]string{k: v},
			Events: []es.Event{{Type: event, Data: string(b)}},
		}
		if more {
			c.Status = es.Settled
			c.State = &es.Snapshot{Schema: event, Data: string(state)}
			c.Done = []es.Done{{Command: command, Fingerprint: version, Version: uint64(nanos), Time: c.Time}, {Time: c.Time}}
		}
		it := encode(c, "")
		got, err := decode(it)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, got, c)
		}
		if sizeOf(c, "") != measured(it) {
			t.Errorf("size is %d, not %d", sizeOf(c, ""), measured(it))
		}
	})
}

// No item makes decode panic, and what it takes is stored as the same again.
func FuzzDecode(f *testing.F) {
	good := encode(full(es.StreamID{Category: "org", ID: "42"}, 1), "3")
	for i, name := range slices.Sorted(maps.Keys(good)) {
		f.Add(name, uint8(i), "text", []byte{1, 2, 3})
	}
	f.Add("d", uint8(1), "", encodeDone(full(es.StreamID{}, 1).Done))
	f.Add("t", uint8(0), "2026-02-30T00:00:00.000000000Z", []byte(nil))
	f.Fuzz(func(t *testing.T, name string, kind uint8, s string, b []byte) {
		it := maps.Clone(good)
		value := []types.AttributeValue{
			text(s), &types.AttributeValueMemberB{Value: b}, &types.AttributeValueMemberN{Value: s}, &types.AttributeValueMemberBOOL{}, nil,
			&types.AttributeValueMemberL{Value: []types.AttributeValue{text(s), &types.AttributeValueMemberB{Value: b}, nil}},
			&types.AttributeValueMemberM{Value: item{s: text(s), "": nil}},
		}
		if it[name] = value[int(kind)%len(value)]; it[name] == nil {
			delete(it, name)
		}
		c, err := decode(it)
		if err != nil {
			if !strings.Contains(err.Error(), `attribute "`) {
				t.Errorf("it does not name the attribute: %v", err)
			}
			return
		}
		again, err := decode(encode(c, ""))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, again, c)
		}
	})
}

// The commits of one query are cut from the same memory, and whoever changes one does not reach another.
func TestCommitsAreApart(t *testing.T) {
	stream := es.StreamID{Category: "org", ID: "42"}
	var d decoder
	var got, want []es.Commit
	for version := range uint64(50) {
		c := full(stream, version+1)
		c.Status = es.Settled
		decoded, err := d.commit(encode(c, ""))
		if err != nil {
			t.Fatal(err)
		}
		got, want = append(got, decoded), append(want, c)
	}
	for i, c := range got {
		if !reflect.DeepEqual(c, want[i]) {
			t.Fatalf("commit %d was changed by whoever changed the one before: %+v", i, c)
		}
		_ = append(c.Events, es.Event{Type: "more"})
		clear(c.Events)
	}
}
