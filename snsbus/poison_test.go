package snsbus

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/leftfold/leftfold/es"
)

// Poison of every kind, in batches with good messages: none of it brings a batch down,
// none is lost, and none harms a group that it is not in.
func TestPoison(t *testing.T) {
	const messages = 1000
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))

	kinds := make(map[string]int)
	for n := 0; n < messages; {
		p := newPoison(r)
		p.check(t)
		n += len(p.poisoned)
		for _, kind := range p.poisoned {
			kinds[kind]++
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(poisons)) {
		if kinds[kind] == 0 {
			t.Errorf("there was no poison of the kind %q", kind)
		}
	}
	t.Log(kinds)
}

// poisonBatch is a batch of good groups and of poisoned ones.
type poisonBatch struct {
	event    events.SQSEvent
	poisoned map[int]string // the kind, by index in the batch
}

// newPoison returns a batch of 10 messages of up to 4 groups, one of which is good.
func newPoison(r *rand.Rand) poisonBatch {
	p := poisonBatch{poisoned: make(map[int]string)}
	names := slices.Sorted(maps.Keys(poisons))
	versions := make(map[string]uint64)
	var commits []es.Commit
	for range 10 {
		id := string(rune('a' + r.IntN(4)))
		versions[id]++
		c := consumerCommit(id, versions[id])
		if r.IntN(2) == 0 {
			c.Meta, c.Command = map[string]string{"actor": "søren"}, "create"
			c.Events = append(c.Events, es.Event{Type: "test.binary", Data: "\x00\xff"}, es.Event{Type: "test.empty"})
		}
		commits = append(commits, c)
	}
	p.event = batch(commits...)
	for i := range p.event.Records {
		m := &p.event.Records[i]
		if r.IntN(2) == 0 {
			m.Body = enveloped(m.Body)
		}
		if r.IntN(10) == 0 {
			delete(m.Attributes, "MessageGroupId")
		}
		// Stream a is never poisoned.
		if id := commits[i].Stream.ID; id != "a" && r.IntN(2) == 0 {
			kind := names[r.IntN(len(names))]
			m.Body = poisons[kind](r, m.Body)
			p.poisoned[i] = kind
		}
	}
	return p
}

// check gives the batch to a consumer whose handler takes everything, and looks after
// each message.
func (p poisonBatch) check(t *testing.T) {
	t.Helper()
	var (
		mu     sync.Mutex
		taken  = make(map[string]int)
		logged records
	)
	c := &Consumer{Logger: slog.New(&logged), Handle: func(_ context.Context, c es.Commit) error {
		if err := c.Validate(); err != nil {
			t.Errorf("the handler gets %v: %v", c, err)
		}
		if c.Last() < c.Version || c.Status != es.Settled {
			t.Errorf("the handler gets %v", c)
		}
		mu.Lock()
		defer mu.Unlock()
		taken[fmt.Sprint(c)]++
		return nil
	}}
	got, err := c.HandleSQS(t.Context(), p.event)
	if err != nil {
		t.Errorf("the event is an error: %v", err)
	}
	back := make(map[string]bool)
	last := -1
	for _, f := range got.BatchItemFailures {
		i := slices.IndexFunc(p.event.Records, func(m events.SQSMessage) bool { return m.MessageId == f.ItemIdentifier })
		if i <= last {
			t.Errorf("%q is returned out of order, twice, or was never there", f.ItemIdentifier)
		}
		last = i
		back[f.ItemIdentifier] = true
	}
	stopped := make(map[group]bool)
	for i, m := range p.event.Records {
		commit, malformed := unwrap(m.Body)
		kind, poisoned := p.poisoned[i]
		if malformed != nil && !poisoned {
			t.Fatalf("message %d was to be good: %v", i, malformed)
		}
		if malformed == nil && slices.Contains(deadly, kind) {
			t.Errorf("message %d (%s, %.200q) is understood as %v", i, kind, m.Body, commit)
		}
		g := (&delivery{SQSMessage: &p.event.Records[i], commit: commit, malformed: malformed}).group(i)
		stopped[g] = stopped[g] || malformed != nil
		switch key := fmt.Sprint(commit); {
		case stopped[g] != back[m.MessageId]:
			t.Errorf("message %d (%s, %.200q): returned is %v, and should be %v", i, kind, m.Body, back[m.MessageId], stopped[g])
		case malformed == nil && !stopped[g] && taken[key] == 0:
			t.Errorf("message %d (%s, %.200q) was lost", i, kind, m.Body)
		case malformed == nil && !stopped[g]:
			taken[key]--
		}
	}
	for key, n := range taken {
		if n != 0 {
			t.Errorf("the handler got this %d times too often: %s", n, key)
		}
	}
	n := 0
	for _, is := range stopped {
		if is {
			n++
		}
	}
	if len(logged.all) != n {
		t.Errorf("%d groups were stopped, and %d records were logged", n, len(logged.all))
	}
}

// poisons make of a good body, raw or enveloped, one that may be bad.
var poisons = map[string]func(r *rand.Rand, body string) string{
	"cut":   func(r *rand.Rand, body string) string { return body[:r.IntN(len(body))] },
	"empty": func(*rand.Rand, string) string { return "" },
	"space": func(*rand.Rand, string) string { return " \n\t" },
	"flipped bytes": func(r *rand.Rand, body string) string {
		b := []byte(body)
		for range 1 + r.IntN(5) {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		return string(b)
	},
	"random bytes": func(r *rand.Rand, body string) string {
		b := make([]byte, r.IntN(1000))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return string(b)
	},
	"a piece left out": func(r *rand.Rand, body string) string {
		i, j := r.IntN(len(body)), r.IntN(len(body))
		return body[:min(i, j)] + body[max(i, j):]
	},
	"a piece twice": func(r *rand.Rand, body string) string {
		i, j := r.IntN(len(body)), r.IntN(len(body))
		return body[:max(i, j)] + body[min(i, j):]
	},
	"twice":           func(_ *rand.Rand, body string) string { return body + body },
	"a text of it":    func(_ *rand.Rand, body string) string { b, _ := json.Marshal(body); return string(b) },
	"a list of it":    func(_ *rand.Rand, body string) string { return "[" + body + "]" },
	"enveloped again": func(_ *rand.Rand, body string) string { return enveloped(body) },
	"as it was":       func(_ *rand.Rand, body string) string { return body },
	"deep": func(r *rand.Rand, body string) string {
		n := 1 << r.IntN(18)
		return `{"stream":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "," + body[1:]
	},
	"deep and open": func(r *rand.Rand, _ string) string { return strings.Repeat(`{"events":[`, 1<<r.IntN(16)) },
	"a deep event": func(r *rand.Rand, body string) string {
		n := 1 << r.IntN(16)
		return strings.Replace(body, `{"n":1}`, strings.Repeat(`{"n":`, n)+"1"+strings.Repeat("}", n), 1)
	},
	"another value": func(r *rand.Rand, body string) string {
		return mutate(r, body, func(any) any { return values[r.IntN(len(values))] })
	},
	"another name": func(r *rand.Rand, body string) string {
		return mutate(r, body, func(v any) any {
			m, ok := v.(map[string]any)
			if !ok || len(m) == 0 {
				return v
			}
			names := slices.Sorted(maps.Keys(m))
			name := names[r.IntN(len(names))]
			value := m[name]
			delete(m, name)
			m[strings.ToUpper(name)+"x"[:r.IntN(2)]] = value
			return m
		})
	},
	"version 0":       func(_ *rand.Rand, body string) string { return set(body, "version", 0) },
	"a huge number":   func(r *rand.Rand, body string) string { return set(body, "version", values[r.IntN(6)]) },
	"no events":       func(_ *rand.Rand, body string) string { return set(body, "events", []any{}) },
	"too many events": func(_ *rand.Rand, body string) string { return set(body, "events", make([]any, es.MaxEvents+1)) },
	"no ID":           func(_ *rand.Rand, body string) string { return set(body, "id", "") },
	"a long ID":       func(_ *rand.Rand, body string) string { return set(body, "id", strings.Repeat("x", es.MaxName+1)) },
	"another time":    func(r *rand.Rand, body string) string { return set(body, "time", values[r.IntN(len(values))]) },
	"other JSON": func(r *rand.Rand, _ string) string {
		b, _ := json.Marshal(values[r.IntN(len(values))])
		return string(b)
	},
	"other people's events": func(r *rand.Rand, _ string) string {
		all := slices.Collect(maps.Values(malformed()))
		slices.Sort(all)
		return all[r.IntN(len(all))]
	},
}

// deadly are the kinds of poison of which nothing is understood, ever.
var deadly = []string{
	"cut", "empty", "space", "twice", "a text of it", "a list of it", "deep and open", "version 0", "no events", "too many events", "no ID",
	"a long ID", "other people's events",
}

// values are what a member may be changed to. The first six are numbers, if huge ones.
var values = []any{
	json.Number("18446744073709551615"), json.Number("18446744073709551616"), json.Number("1e400"), json.Number("-1"), json.Number("0.1"),
	json.Number("9" + strings.Repeat("0", 5000)), json.Number("1"), json.Number("0"), nil, true, false, "", "x", "Notification",
	"\x00", "\U0010ffff", "\ufffe", strings.Repeat("long ", 1000), "0000-00-00T00:00:00Z", "9999-12-31T23:59:59.999999999-23:59", "AA==", "A",
	[]any{}, []any{nil}, []any{map[string]any{}}, map[string]any{}, map[string]any{"": ""}, map[string]any{"type": "x", "data": 1, "base64": "AA=="},
}

// mutate changes a value somewhere in a body, and sometimes in the body in an envelope.
func mutate(r *rand.Rand, body string, change func(any) any) string {
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return body
	}
	var walk func(v any) any
	walk = func(v any) any {
		if r.IntN(4) == 0 {
			return change(v)
		}
		switch v := v.(type) {
		case map[string]any:
			if inner, ok := v["Message"].(string); ok && r.IntN(4) > 0 {
				v["Message"] = mutate(r, inner, change)
				return v
			}
			names := slices.Sorted(maps.Keys(v))
			if len(names) > 0 {
				name := names[r.IntN(len(names))]
				v[name] = walk(v[name])
			}
			return v
		case []any:
			if len(v) > 0 {
				i := r.IntN(len(v))
				v[i] = walk(v[i])
			}
			return v
		}
		return change(v)
	}
	b, err := json.Marshal(walk(v))
	if err != nil {
		return body
	}
	return string(b)
}

// set gives a member of a message another value, in its envelope if there is one.
func set(body, member string, value any) string {
	var m map[string]any
	if json.Unmarshal([]byte(body), &m) != nil {
		return body
	}
	if inner, ok := m["Message"].(string); ok {
		m["Message"] = set(inner, member, value)
	} else {
		m[member] = value
	}
	b, err := json.Marshal(m)
	if err != nil {
		return body
	}
	return string(b)
}

// FuzzConsumer gives a consumer a batch with one message of any content, in the group of
// others or apart from them.
func FuzzConsumer(f *testing.F) {
	for _, body := range malformed() {
		f.Add(body, "test-a")
	}
	good := body(consumerCommit("a", 2))
	f.Add(good, "")
	f.Add(enveloped(good), "test-b")
	f.Fuzz(func(t *testing.T, body, group string) {
		p := poisonBatch{event: batch(consumerCommit("a", 1), consumerCommit("b", 1), consumerCommit("a", 2), consumerCommit("a", 3)), poisoned: map[int]string{2: "fuzzed"}}
		p.event.Records[2].Body = body
		p.event.Records[2].Attributes["MessageGroupId"] = group
		p.check(t)
	})
}
