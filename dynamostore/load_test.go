package dynamostore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/leftfold/leftfold/es"
)

var long = es.StreamID{Category: "org", ID: "1"}

// slots is a page with commits of the given versions and statuses: "3+2 pending" is one
// of 2 events. A "..." at the end says that there are more pages.
func slots(t *testing.T, words ...string) answer {
	t.Helper()
	page := map[string]any{"Items": []any{}}
	var items []any
	for _, w := range words {
		if w == "..." {
			page["LastEvaluatedKey"] = map[string]any{"s": map[string]string{"S": "org/1"}, "v": map[string]string{"N": "1"}}
			continue
		}
		c := es.Commit{Stream: long}
		var n int
		var st string
		if _, err := fmt.Sscanf(w, "%d+%d %s", &c.Version, &n, &st); err != nil {
			t.Fatal(w, err)
		}
		c.ID = fmt.Sprint("id", c.Version)
		c.Status = map[string]es.Status{"pending": es.Pending, "claimed": es.Claimed, "settled": es.Settled, "revoked": es.Revoked}[st]
		for range n {
			c.Events = append(c.Events, es.Event{Type: "e"})
		}
		items = append(items, json.RawMessage(dump(t, encode(c, ""))))
	}
	if items != nil {
		page["Items"] = items
	}
	body, err := json.Marshal(page)
	if err != nil {
		t.Fatal(err)
	}
	return status(200, string(body))
}

// after checks that the query starts behind a version.
func after(t *testing.T, version int, then answer) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(body), fmt.Sprintf(`":after":{"N":"%d"}`, version)) {
			t.Errorf("the query is %s, not behind %d", body, version)
		}
		then(w, r)
	}
}

func words(commits iter.Seq2[es.Commit, error]) (words []string) {
	for c, err := range commits {
		if gap, ok := errors.AsType[*es.GapError](err); ok {
			words = append(words, fmt.Sprintf("gap %d %d", gap.Want, gap.Have))
		} else if err != nil {
			words = append(words, "error")
		} else {
			words = append(words, fmt.Sprintf("%d+%d %v", c.Version, len(c.Events), c.Status))
		}
	}
	return words
}

// A query is no snapshot. What it shows that cannot have been at any time is read again;
// what is still there then is damage.
func TestLoadWhileOthersWrite(t *testing.T) {
	page := func(words ...string) answer { return slots(t, words...) }
	for name, row := range map[string]struct {
		answers []answer
		want    []string
	}{
		"a pending commit at the end of a page is the newest": {
			[]answer{page("1+2 settled", "3+1 pending", "..."), page()},
			[]string{"1+2 settled", "3+1 pending"},
		},
		"a pending commit at the end of a page was settled since": {
			[]answer{page("1+2 settled", "3+1 pending", "..."), page("4+1 settled"), after(t, 1, page("3+1 settled", "4+1 settled"))},
			[]string{"1+2 settled", "3+1 settled", "4+1 settled"},
		},
		"a pending commit at the end of a page was replaced since": {
			[]answer{page("1+2 settled", "3+2 pending", "..."), page("4+1 pending"), after(t, 1, page("3+1 settled", "4+1 pending"))},
			[]string{"1+2 settled", "3+1 settled", "4+1 pending"},
		},
		"a marker in a page was replaced since": {
			[]answer{page("1+2 settled", "3+0 revoked", "4+1 settled"), after(t, 1, page("3+1 settled", "4+1 settled"))},
			[]string{"1+2 settled", "3+1 settled", "4+1 settled"},
		},
		"a slot was passed before it was taken": {
			[]answer{page("1+2 settled", "4+1 settled"), after(t, 1, page("3+1 settled", "4+1 settled"))},
			[]string{"1+2 settled", "3+1 settled", "4+1 settled"},
		},
		"two slots of one stream, one after the other": {
			[]answer{page("1+1 pending", "2+1 pending"), after(t, 0, page("1+1 settled", "2+1 pending", "3+1 pending")), after(t, 1, page("2+1 settled", "3+1 pending"))},
			[]string{"1+1 settled", "2+1 settled", "3+1 pending"},
		},
		"a claimed commit may have others behind it": {
			[]answer{page("1+2 settled", "3+1 claimed", "..."), page("4+1 settled")},
			[]string{"1+2 settled", "3+1 claimed", "4+1 settled"},
		},
		"a hole": {
			[]answer{page("1+2 settled", "4+1 settled", "5+1 settled"), after(t, 1, page("4+1 settled", "5+1 settled"))},
			[]string{"1+2 settled", "gap 3 4"},
		},
		"a hole at the beginning": {
			[]answer{page("2+1 settled"), after(t, 0, page("2+1 settled"))},
			[]string{"gap 1 2"},
		},
		"a commit inside of another": {
			[]answer{page("1+3 settled", "2+1 settled"), after(t, 1, page("2+1 settled"))},
			[]string{"1+3 settled", "gap 4 2"},
		},
		"a marker with something behind it": {
			[]answer{page("1+2 settled", "3+0 revoked", "4+1 settled"), after(t, 1, page("3+0 revoked", "4+1 settled"))},
			[]string{"1+2 settled", "3+0 revoked", "gap 3 4"},
		},
		"a pending commit with something behind it": {
			[]answer{page("1+1 pending", "2+1 settled"), after(t, 0, page("1+1 pending", "2+1 settled"))},
			[]string{"1+1 pending", "2+1 settled"},
		},
		"a later page fails": {
			[]answer{page("1+2 settled", "3+1 settled", "..."), invalid},
			[]string{"1+2 settled", "3+1 settled", "error"},
		},
		"empty pages": {
			[]answer{page("..."), page("..."), page("1+1 settled", "..."), page()},
			[]string{"1+1 settled"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			client, n := server(t, row.answers...)
			got := words(New(client, "events", &Options{Timeout: patient}).Load(t.Context(), long, 0))
			if !slices.Equal(got, row.want) || int(n.Load()) != len(row.answers) {
				t.Errorf("%d requests, and\ngot  %q\nwant %q", n.Load(), got, row.want)
			}
		})
	}
}

func TestLoadBackFindsHoles(t *testing.T) {
	page := func(words ...string) answer { return slots(t, words...) }
	for name, row := range map[string]struct {
		answers []answer
		want    []string
	}{
		"none":                {[]answer{page("3+1 pending", "..."), page("1+2 settled")}, []string{"3+1 pending", "1+2 settled"}},
		"a marker":            {[]answer{page("3+0 revoked", "1+2 settled")}, []string{"3+0 revoked", "1+2 settled"}},
		"a hole":              {[]answer{page("4+1 settled", "1+2 settled")}, []string{"4+1 settled", "gap 3 2"}},
		"a missing beginning": {[]answer{page("4+1 settled", "3+1 settled", "..."), page()}, []string{"4+1 settled", "3+1 settled", "gap 2 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			client, n := server(t, row.answers...)
			got := words(New(client, "events", &Options{Timeout: patient}).LoadBack(t.Context(), long, 0))
			if !slices.Equal(got, row.want) || int(n.Load()) != len(row.answers) {
				t.Errorf("%d requests, and\ngot  %q\nwant %q", n.Load(), got, row.want)
			}
		})
	}
}

func TestWithoutIndex(t *testing.T) {
	client := live(t)
	table := newTable(t, client)
	s := New(client, table, &Options{Timeout: patient, NoIndex: true})
	c := es.Commit{Stream: long, Version: 1, ID: "a", Events: []es.Event{{Type: "e"}}}
	if err := s.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, err := range s.Pending(t.Context(), time.Now()) {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("pending: %v", err)
		}
	}
	for c, err := range New(client, table, &Options{Timeout: patient}).Pending(t.Context(), time.Now()) {
		t.Errorf("it is in the index: %v, %v", c, err)
	}
	if err := s.Settle(t.Context(), c); err != nil {
		t.Error(err)
	}
}

// The shards are merged, and an index that lags is not believed.
func TestPendingOverShards(t *testing.T) {
	client := live(t)
	s := New(client, newTable(t, client), &Options{Timeout: patient, Shards: 3})
	start := time.Now().UTC()
	var want []string
	for i := range 40 {
		c := es.Commit{
			Stream: es.StreamID{Category: "org", ID: fmt.Sprint(i)}, Version: 1, ID: "a", Time: start.Add(time.Duration(i*7%40) * time.Nanosecond),
			Events: []es.Event{{Type: "e"}},
		}
		if err := s.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 40 {
		want = append(want, fmt.Sprint(i*23%40)) // 23 is the inverse of 7
	}
	var got []string
	for c, err := range s.Pending(t.Context(), start.Add(time.Hour)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c.Stream.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// What the index says late is left out: the slot decides.
func TestPendingLags(t *testing.T) {
	entry := func(id string) string {
		return `{"s":{"S":"org/` + id + `"},"v":{"N":"1"},"p":{"S":"0"},"t":{"S":"2026-01-01T00:00:00.000000000Z"}}`
	}
	slot := func(st, when string) answer {
		return status(200, `{"Item":{"s":{"S":"org/1"},"v":{"N":"1"},"i":{"S":"a"},"st":{"S":"`+st+`"},"t":{"S":"`+when+`-01-01T00:00:00.000000000Z"},"c":{"S":"1e1:e"}}}`)
	}
	client, _ := server(t,
		status(200, `{"Items":[`+entry("1")+`,`+entry("2")+`],"LastEvaluatedKey":`+entry("2")+`}`),
		slot("settled", "2026"), slot("revoked", "2026"),
		status(200, `{"Items":[`+entry("3")+`,`+entry("4")+`,`+entry("5")+`,`+entry("6")+`]}`),
		slot("pending", "2029"), slot("pending", "2026"), status(200, `{}`), slot("claimed", "2026"),
	)
	s := New(client, "events", &Options{Timeout: patient, Shards: 1})
	got := words(s.Pending(t.Context(), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)))
	if want := []string{"1+1 pending", "1+1 claimed"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStreamsFollowsPages(t *testing.T) {
	slot := func(id, version string) string { return `{"s":{"S":"org/` + id + `"},"v":{"N":"` + version + `"}}` }
	stream := func(id string) string { return slot(id, "1") }
	behind := func(id string, then answer) answer {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if !strings.Contains(string(body), `"ExclusiveStartKey"`) || !strings.Contains(string(body), `"org/`+id+`"`) {
				t.Errorf("the scan is %s, not behind %s", body, id)
			}
			then(w, r)
		}
	}
	client, n := server(t,
		behind("0", status(200, `{"Items":[`+slot("0", "2")+`,`+stream("1")+`,`+slot("1", "2")+`,`+stream("2/3")+`],"LastEvaluatedKey":`+stream("4")+`}`)),
		behind("4", status(200, `{"Items":[],"LastEvaluatedKey":`+stream("5")+`}`)),
		behind("5", status(200, `{"Items":[`+slot("2/3", "2")+`,`+stream("6")+`]}`)),
	)
	s := New(client, "events", &Options{Timeout: patient})
	var got []string
	for stream, err := range s.Streams(t.Context(), 1, 3, es.StreamID{Category: "org", ID: "0"}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, stream.ID)
	}
	if want := []string{"1", "2/3", "6"}; !slices.Equal(got, want) || n.Load() != 3 {
		t.Errorf("%d requests, %q, not %q", n.Load(), got, want)
	}
	for _, shards := range [][2]int{{-1, 1}, {1, 1}, {0, 0}, {0, maxSegments + 1}} {
		for stream, err := range s.Streams(t.Context(), shards[0], shards[1], es.StreamID{}) {
			if !errors.Is(err, es.ErrInvalid) {
				t.Errorf("shard %d of %d: %v, %v", shards[0], shards[1], stream, err)
			}
		}
	}
}

// A stream that lost its beginning has commits all the same, and whoever lists streams must come upon it.
func TestStreamsWithoutBeginning(t *testing.T) {
	client := live(t)
	table := newTable(t, client)
	s := healthy(client, table)
	for _, id := range []string{"lost", "marked", "whole"} {
		for version := range uint64(3) {
			c := es.Commit{
				Stream: es.StreamID{Category: "org", ID: id}, Version: version + 1, ID: "a", Status: es.Settled, Events: []es.Event{{Type: "e"}},
			}
			if err := s.Append(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &table, Key: keyOf(es.StreamID{Category: "org", ID: "lost"}, 1)}); err != nil {
		t.Fatal(err)
	}
	marker := encode(es.Commit{Stream: es.StreamID{Category: "org", ID: "marked"}, Version: 1, ID: "a", Status: es.Revoked}, "")
	if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: marker}); err != nil {
		t.Fatal(err)
	}
	list := func(shards int, behind func(es.StreamID) es.StreamID) (got []string) {
		for shard := range shards {
			for after := (es.StreamID{}); ; {
				from := len(got)
				for stream, err := range s.Streams(t.Context(), shard, shards, after) {
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, stream.ID)
					if after = behind(stream); after == stream {
						break
					}
				}
				if len(got) == from || after == (es.StreamID{}) {
					break
				}
			}
		}
		slices.Sort(got)
		return got
	}
	want := []string{"lost", "marked", "whole"}
	for _, shards := range []int{1, 3} {
		if got := list(shards, func(es.StreamID) es.StreamID { return es.StreamID{} }); !slices.Equal(got, want) {
			t.Errorf("%d shards: %q, not %q", shards, got, want)
		}
		if got := list(shards, func(s es.StreamID) es.StreamID { return s }); !slices.Equal(got, want) {
			t.Errorf("%d shards, one stream at a time: %q, not %q", shards, got, want)
		}
	}
}
