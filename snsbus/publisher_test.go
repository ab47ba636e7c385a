package snsbus

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"pgregory.net/rapid"

	"github.com/leftfold/leftfold/es"
)

// attribute is one of a message.
type attribute struct{ kind, value string }

// recorder is a topic that keeps the last request, as it came.
type recorder struct{ url.Values }

func (r *recorder) attributes() map[string]attribute {
	all := map[string]attribute{}
	for i := 1; ; i++ {
		entry := "MessageAttributes.entry." + strconv.Itoa(i)
		if !r.Has(entry + ".Name") {
			return all
		}
		all[r.Get(entry+".Name")] = attribute{r.Get(entry + ".Value.DataType"), r.Get(entry + ".Value.StringValue")}
	}
}

// size is that of the message, by the rules of SNS, of what came.
func (r *recorder) size() int {
	size := len(r.Get("Message"))
	for name, a := range r.attributes() {
		size += len(name) + len(a.kind) + len(a.value)
	}
	return size
}

// recording returns a client of a topic that takes everything.
func recording(t *testing.T) (*sns.Client, *recorder) {
	r := new(recorder)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := req.ParseForm(); err != nil {
			t.Error(err)
		}
		r.Values = req.PostForm
		_, _ = io.WriteString(w, goodAnswer)
	}))
	t.Cleanup(server.Close)
	return newSNS(server.URL), r
}

func newSNS(endpoint string) *sns.Client {
	return sns.New(sns.Options{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: dummy})
}

func TestRequest(t *testing.T) {
	client, r := recording(t)
	c := full()
	c.Version -= 2
	c.Events = append(c.Events, es.Event{Type: "org.created"}, es.Event{Type: "a \"quoted\" \uFFFE"})
	if err := New(client, fifoTopic, nil).Publish(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	body, err := encode(c)
	if err != nil {
		t.Fatal(err)
	}
	group := r.Get("MessageGroupId")
	r.Del("MessageGroupId")
	got := map[string]string{}
	for name := range r.Values {
		if !strings.HasPrefix(name, "MessageAttributes.") {
			got[name] = r.Get(name)
		}
	}
	want := map[string]string{"Action": "Publish", "Version": "2010-03-31", "TopicArn": fifoTopic, "MessageDeduplicationId": c.ID, "Message": body}
	if !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if group != groupOf(c.Stream) || group == c.Stream.String() {
		t.Errorf("the group is %q", group)
	}
	wantAttributes := map[string]attribute{
		"category": {"String", "org"},
		"types":    {"String.Array", `["a \"quoted\" \ufffe","org.created","test.binary","test.empty","test.null","test.pretty","test.text","test.twice"]`},
		"version":  {"Number", "18446744073709551607"},
	}
	if got := r.attributes(); !maps.Equal(got, wantAttributes) {
		t.Errorf("got  %v\nwant %v", got, wantAttributes)
	}
}

// SNS and SQS take every part of what the check lets through, and its size is what the
// check has counted, to the byte.
func TestCheckKnowsWhatIsSent(t *testing.T) {
	client, r := recording(t)
	p := New(client, fifoTopic, &Options{Timeout: patient})
	passed := 0
	rapid.Check(t, func(t *rapid.T) {
		c := anyCommit().Draw(t, "commit")
		if rapid.Bool().Draw(t, "ID is plain") {
			c.ID = rapid.StringMatching(`[!-~]{1,128}`).Draw(t, "plain ID")
		}
		if err := p.Check(c); err != nil {
			if plain(c.ID) && !strings.ContainsAny(c.Stream.Category, "\uFFFE\uFFFF") {
				t.Fatalf("it is refused: %v", err)
			}
			if !errors.Is(err, es.ErrInvalid) || errors.Is(err, es.ErrRefused) {
				t.Fatal(err)
			}
			if err := p.Publish(t.Context(), c); !errors.Is(err, es.ErrInvalid) || !errors.Is(err, es.ErrRefused) {
				t.Fatalf("checked as invalid, and published all the same: %v", err)
			}
			return
		}
		passed++
		if err := p.Publish(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if id := r.Get("MessageDeduplicationId"); id != c.ID || !plain(id) {
			t.Fatalf("the deduplication ID is %q", id)
		}
		if group := r.Get("MessageGroupId"); !plain(group) {
			t.Fatalf("the group is %q", group)
		}
		if err := legal(r.Get("Message")); err != nil {
			t.Fatal(err)
		}
		for name, a := range r.attributes() {
			if err := legal(a.value); err != nil || a.value == "" {
				t.Fatalf("attribute %q is %q: %v", name, a.value, err)
			}
		}
		var types []string
		if err := json.Unmarshal([]byte(r.attributes()["types"].value), &types); err != nil {
			t.Fatal(err)
		}
		for _, e := range c.Events {
			if !slices.Contains(types, e.Type) {
				t.Fatalf("type %q is not in %q", e.Type, types)
			}
		}
		size := r.size()
		if err := New(client, fifoTopic, &Options{MaxBytes: size}).Check(c); err != nil {
			t.Fatalf("%d bytes were sent: %v", size, err)
		}
		if err := New(client, fifoTopic, &Options{MaxBytes: size - 1}).Check(c); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("%d bytes were sent, and one less was allowed: %v", size, err)
		}
	})
	if passed == 0 {
		t.Error("no commit passed")
	}
}

func TestCheck(t *testing.T) {
	sized := func(n int) es.Commit {
		c := bare()
		c.Events[0].Data = `"` + strings.Repeat("x", n-2) + `"`
		return c
	}
	rest := func() int { // what a message has besides its data
		in, err := New(nil, fifoTopic, nil).input(sized(2))
		if err != nil {
			t.Fatal(err)
		}
		return sizeOf(in) - 2
	}()
	with := func(change func(*es.Commit)) es.Commit { c := bare(); change(&c); return c }
	for name, row := range map[string]struct {
		c    es.Commit
		want error
	}{
		"bare":                            {bare(), nil},
		"the largest":                     {sized(256<<10 - rest), nil},
		"a byte larger":                   {sized(256<<10 - rest + 1), ErrTooLarge},
		"binary":                          {with(func(c *es.Commit) { c.Events[0].Data = strings.Repeat("\x00", 200_000) }), ErrTooLarge},
		"many types":                      {with(func(c *es.Commit) { c.Events = manyTypes() }), ErrTooLarge},
		"the longest ID":                  {with(func(c *es.Commit) { c.ID = strings.Repeat("~", 128) }), nil},
		"an ID that is longer":            {with(func(c *es.Commit) { c.ID = strings.Repeat("~", 129) }), es.ErrInvalid},
		"an ID with a space":              {with(func(c *es.Commit) { c.ID = "a b" }), es.ErrInvalid},
		"an ID that is not ASCII":         {with(func(c *es.Commit) { c.ID = "ü" }), es.ErrInvalid},
		"a category of its own":           {with(func(c *es.Commit) { c.Stream.Category = "ü \"1\"" }), nil},
		"a category with a U+FFFF":        {with(func(c *es.Commit) { c.Stream.Category = "a\uFFFF" }), es.ErrInvalid},
		"an ID of a stream with a U+FFFF": {with(func(c *es.Commit) { c.Stream.ID = "a\uFFFF" }), nil},
		"no events":                       {with(func(c *es.Commit) { c.Events = nil }), es.ErrInvalid},
		"no time":                         {with(func(c *es.Commit) { c.Time = time.Time{} }), nil},
		"year 10 000":                     {with(func(c *es.Commit) { c.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }), es.ErrInvalid},
	} {
		err := New(nil, fifoTopic, nil).Check(row.c)
		if row.want == nil && err != nil || !errors.Is(err, row.want) {
			t.Errorf("%s: the error is %v, not %v", name, err, row.want)
		}
		if row.want == nil {
			continue
		}
		if err := New(nil, fifoTopic, nil).Publish(t.Context(), row.c); !errors.Is(err, es.ErrRefused) || !errors.Is(err, row.want) {
			t.Errorf("%s: published: the error is %v", name, err)
		}
	}
	for _, topic := range []string{"", "arn:aws:sns:us-east-1:123456789012:commits"} {
		if err := New(nil, topic, nil).Check(bare()); !errors.Is(err, es.ErrInvalid) {
			t.Errorf("topic %q: %v", topic, err)
		}
	}
}

// manyTypes returns events that fit into a message but for their types.
func manyTypes() []es.Event {
	var events []es.Event
	for i := range es.MaxEvents {
		events = append(events, es.Event{Type: fmt.Sprintf("%0128d", i)})
	}
	return events
}

// Different streams are in different groups, and each is one that SNS takes.
func TestGroups(t *testing.T) {
	long, streams := strings.Repeat("x", 124), map[string]es.StreamID{}
	for _, row := range []struct {
		stream es.StreamID
		own    bool // its name is its group
	}{
		{es.StreamID{Category: "org", ID: "42"}, true},
		{es.StreamID{Category: "org", ID: "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"}, true},
		{es.StreamID{Category: "org", ID: long}, true},
		{es.StreamID{Category: "org", ID: long + "y"}, false},
		{es.StreamID{Category: "org", ID: long + "z"}, false},
		{es.StreamID{Category: "or", ID: long + "gy"}, false},
		{es.StreamID{Category: "org", ID: "a b"}, false},
		{es.StreamID{Category: "org", ID: "a  b"}, false},
		{es.StreamID{Category: "org", ID: "ü"}, false},
		{es.StreamID{Category: "ü", ID: "1"}, false},
	} {
		group := groupOf(row.stream)
		if other, ok := streams[group]; ok {
			t.Errorf("streams %q and %q are both in group %q", other, row.stream, group)
		}
		streams[group] = row.stream
		if (group == row.stream.String()) != row.own || !plain(group) || !row.own && strings.Contains(group, "/") {
			t.Errorf("stream %q is in group %q", row.stream, group)
		}
		// Whoever calls a stream like the group of another has a group of its own.
		if again := (es.StreamID{Category: "org", ID: group}); groupOf(again) == group {
			t.Errorf("streams %q and %q are both in group %q", row.stream, again, group)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyCommit().Draw(t, "one").Stream, anyCommit().Draw(t, "another").Stream
		if groupOf(a) == groupOf(b) != (a == b) || !plain(groupOf(a)) {
			t.Fatalf("%q and %q are in groups %q and %q", a, b, groupOf(a), groupOf(b))
		}
	})
}

func FuzzGroup(f *testing.F) {
	f.Add("org", "42", "org", "42 ")
	f.Add("org", "a/b", "org/a", "b")
	f.Fuzz(func(t *testing.T, category1, id1, category2, id2 string) {
		a, b := es.StreamID{Category: category1, ID: id1}, es.StreamID{Category: category2, ID: id2}
		if a.Validate() != nil || b.Validate() != nil {
			return
		}
		if groupOf(a) == groupOf(b) != (a == b) || !plain(groupOf(a)) {
			t.Errorf("%q and %q are in groups %q and %q", a, b, groupOf(a), groupOf(b))
		}
	})
}

// plain itself, against the words of the API reference.
func TestPlain(t *testing.T) {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" + "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	for r := rune(0); r < 0x300; r++ {
		if plain(string(r)) != strings.ContainsRune(allowed, r) {
			t.Errorf("%q is allowed: %v", r, plain(string(r)))
		}
	}
	if plain("") || plain("\xff") || plain(strings.Repeat("a", 129)) || !plain(strings.Repeat("a", 128)) {
		t.Error("the length is wrong")
	}
}

// The caller's commit and the memory behind it are read only while Publish runs.
func TestPublisherKeepsNothing(t *testing.T) {
	client, r := recording(t)
	p, c := New(client, fifoTopic, nil), full()
	for range 2 {
		if err := p.Publish(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got, err := decode(r.Get("Message")); err != nil || !same(got, c) {
			t.Errorf("got %+v, %v", got, err)
		}
		c = c.Clone()
		c.Events[0].Data = `{"another":1}`
		c.Meta["actor"], c.Stream.ID, c.ID = "another", "43", aws.ToString(&c.ID)+"2"
	}
}
