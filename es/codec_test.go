package es_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/leftfold/leftfold/es"
)

type Nested struct {
	Tags []string
	More map[string]int
}

func (Nested) taskEvent() {}

type Pointed struct{ N int }

func (*Pointed) taskEvent() {}

func newCodec(upcasts ...es.Upcast) es.Codec[TaskEvent] {
	return es.JSON(map[string]TaskEvent{
		"task.added": Added{}, "task.nested": Nested{}, "task.pointed": &Pointed{},
	}, upcasts...)
}

// codecs are two of one table: what holds for one library holds for any.
func codecs() map[string]es.Codec[TaskEvent] {
	types := map[string]TaskEvent{"task.added": Added{}, "task.nested": Nested{}, "task.pointed": &Pointed{}}
	return map[string]es.Codec[TaskEvent]{"JSON": es.JSON(types), "NewCodec": es.NewCodec(json.Marshal, json.Unmarshal, types)}
}

func TestJSONRoundTrip(t *testing.T) {
	for name, codec := range codecs() {
		t.Run(name, func(t *testing.T) {
			for _, e := range []TaskEvent{
				Added{"read"}, Added{}, Nested{[]string{"a", "b"}, map[string]int{"x": 1}}, Nested{}, &Pointed{7},
			} {
				stored, err := codec.Encode(e)
				if err != nil {
					t.Fatal(err)
				}
				got, err := codec.Decode(nil, stored)
				if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], e) {
					t.Errorf("%#v came back as %#v, %v", e, got, err)
				}
			}
			if got := strings.Join(codec.Types(), " "); got != "task.added task.nested task.pointed" {
				t.Errorf("types: %s", got)
			}
		})
	}
}

// codecOf makes a codec: es.JSON, or one with a bug.
type codecOf func(map[string]TaskEvent, ...es.Upcast) es.Codec[TaskEvent]

// brokenCodec is a codec in which methods may be replaced.
type brokenCodec struct {
	es.Codec[TaskEvent]
	encode func(TaskEvent) (es.Event, error)
	decode func([]TaskEvent, es.Event) ([]TaskEvent, error)
}

func (c brokenCodec) Encode(e TaskEvent) (es.Event, error) {
	if c.encode != nil {
		return c.encode(e)
	}
	return c.Codec.Encode(e)
}

func (c brokenCodec) Decode(dst []TaskEvent, e es.Event) ([]TaskEvent, error) {
	if c.decode != nil {
		return c.decode(dst, e)
	}
	return c.Codec.Decode(dst, e)
}

// Events are stored under the names of the codec's own table, whatever Go calls their
// types, and whatever other codecs there are.
func TestJSONNames(t *testing.T) {
	registry := map[string]TaskEvent{}
	prove(t, namesOfTable, es.JSON[TaskEvent], []mutant[codecOf]{
		{"events are named after their Go types", func(table map[string]TaskEvent, _ ...es.Upcast) es.Codec[TaskEvent] {
			named := map[string]TaskEvent{}
			for _, e := range table {
				named[fmt.Sprintf("%T", e)] = e
			}
			return es.JSON(named)
		}},
		{"all codecs share one registry", func(table map[string]TaskEvent, _ ...es.Upcast) es.Codec[TaskEvent] {
			maps.Copy(registry, table)
			return brokenCodec{
				Codec:  es.JSON(table),
				encode: func(e TaskEvent) (es.Event, error) { return es.JSON(registry).Encode(e) },
				decode: func(dst []TaskEvent, e es.Event) ([]TaskEvent, error) { return es.JSON(registry).Decode(dst, e) },
			}
		}},
	})
}

func namesOfTable(_ *testing.T, codec codecOf) error {
	added, finished := TaskEvent(Added{"a"}), TaskEvent(Finished{"a"})
	type Finished struct{ Added } // of another package
	type Renamed struct{ Added }  // what Added is called one day
	other := TaskEvent(Finished{Added{"b"}})

	var wrong []error
	c := codec(map[string]TaskEvent{"task.added": added, "task.finished": finished, "other.finished": other})
	comesBack := func(what string, to es.Codec[TaskEvent], e, want TaskEvent) {
		stored, err := c.Encode(e)
		if err == nil {
			var got []TaskEvent
			if got, err = to.Decode(nil, stored); err == nil && len(got) == 1 && got[0] == want {
				return
			}
			err = fmt.Errorf("it is stored as %q and comes back as %#v, %v", stored.Type, got, err)
		}
		wrong = append(wrong, fmt.Errorf("%s: %#v: %w", what, e, err))
	}
	for _, e := range []TaskEvent{added, finished, other} {
		comesBack("two packages have types of one name", c, e, e)
	}
	comesBack("the type is renamed", codec(map[string]TaskEvent{"task.added": Renamed{}}), added, Renamed{Added{"a"}})
	comesBack("there is another codec", c, added, added)
	return errors.Join(wrong...)
}

// Raw is any value of JSON.
type Raw struct{ Value any }

func (Raw) taskEvent() {}

// It encodes as json.Marshal does, whatever it encoded before.
func TestJSONEncodesAsMarshal(t *testing.T) {
	codec := es.JSON(map[string]TaskEvent{"task.raw": Raw{}})
	for _, value := range []any{
		"<&>\u2028\xff", strings.Repeat("long", 50_000), json.RawMessage(" {\n\"a\" : [ ] } "), nil, "line\n",
		json.RawMessage("{"), func() {}, "after an error", math.Inf(1), map[string]any{"b": 1, "a": []int(nil)}, 1e21,
	} {
		got, err := codec.Encode(Raw{value})
		data, want := json.Marshal(Raw{value})
		if got.Data != string(data) || fmt.Sprint(err) != fmt.Sprint(want) {
			t.Errorf("%.40v: %.80q, %v, not %.80q, %v", value, got.Data, err, data, want)
		}
	}
}

// What is decoded into is used again: nothing of one event may show in the next.
func TestJSONDecodesAfresh(t *testing.T) {
	for name, codec := range codecs() {
		t.Run(name, func(t *testing.T) {
			first, err := codec.Decode(nil, es.Event{Type: "task.nested", Data: `{"Tags":["a","b"],"More":{"x":1}}`})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := codec.Decode(nil, es.Event{Type: "task.nested", Data: `{"Tags":["z"],"More":{"y":`}); err == nil {
				t.Fatal("broken JSON was decoded")
			}
			second, err := codec.Decode(nil, es.Event{Type: "task.nested", Data: `{}`})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(second[0], Nested{}) {
				t.Errorf("an empty event has parts of others: %#v", second[0])
			}
			if want := (Nested{[]string{"a", "b"}, map[string]int{"x": 1}}); !reflect.DeepEqual(first[0], want) {
				t.Errorf("a later decode changed an event: %#v", first[0])
			}
		})
	}
}

func TestJSONConcurrently(t *testing.T) {
	for name, codec := range codecs() {
		t.Run(name, func(t *testing.T) {
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					for n := range 200 {
						want := Nested{Tags: []string{fmt.Sprint(i, n)}}
						stored, err := codec.Encode(want)
						if err != nil {
							t.Error(err)
							return
						}
						got, err := codec.Decode(nil, stored)
						if err != nil || !reflect.DeepEqual(got[0], want) {
							t.Errorf("%v came back as %v, %v", want, got, err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestJSONErrors(t *testing.T) {
	for name, codec := range codecs() {
		t.Run(name, func(t *testing.T) {
			var null *Pointed
			for _, c := range []struct {
				name string
				err  func() error
				want error
			}{
				{"encode what is not in the table", func() error { _, err := codec.Encode(Finished{}); return err }, es.ErrUnknownEvent},
				{"encode nil", func() error { _, err := codec.Encode(nil); return err }, es.ErrUnknownEvent},
				{"encode a nil pointer", func() error { _, err := codec.Encode(null); return err }, es.ErrInvalid},
				{"decode what is not in the table", func() error { _, err := codec.Decode(nil, es.Event{Type: "x"}); return err }, es.ErrUnknownEvent},
				{"decode a Go type's name", func() error { _, err := codec.Decode(nil, es.Event{Type: "Added", Data: `{}`}); return err }, es.ErrUnknownEvent},
			} {
				if err := c.err(); !errors.Is(err, c.want) {
					t.Errorf("%s: %v", c.name, err)
				}
			}
			for _, data := range []string{"", "{", `{"Title":5}`} {
				if _, err := codec.Decode(nil, es.Event{Type: "task.added", Data: data}); err == nil {
					t.Errorf("%q was decoded", data)
				}
			}
		})
	}
}

func TestJSONPanicsOnABrokenTable(t *testing.T) {
	for name, table := range map[string]func(){
		"empty":           func() { es.JSON(map[string]TaskEvent{}) },
		"nil value":       func() { es.JSON(map[string]TaskEvent{"a": nil}) },
		"empty name":      func() { es.JSON(map[string]TaskEvent{"": Added{}}) },
		"long name":       func() { es.JSON(map[string]TaskEvent{strings.Repeat("x", es.MaxName+1): Added{}}) },
		"type twice":      func() { es.JSON(map[string]TaskEvent{"a": Added{}, "b": Added{}}) },
		"upcast of known": func() { newCodec(es.Rename("task.added", "task.nested")) },
		"upcast twice":    func() { newCodec(es.Rename("old", "task.added"), es.Rename("old", "task.nested")) },
		"upcast unnamed":  func() { newCodec(es.Rename("", "task.added")) },
		"no marshal":      func() { es.NewCodec(nil, json.Unmarshal, map[string]TaskEvent{"a": Added{}}) },
		"no unmarshal":    func() { es.NewCodec(json.Marshal, nil, map[string]TaskEvent{"a": Added{}}) },
		"upcast to what":  func() { newCodec(es.Upcast{Type: "old"}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			table()
		})
	}
}

func TestUpcasts(t *testing.T) {
	boom := errors.New("boom")
	codec := newCodec(
		es.Rename("v1", "v2"), es.Rename("v2", "task.added"),
		es.Rename("a", "b"), es.Rename("b", "a"),
		es.Rename("lost", "nowhere"),
		es.Upcast{Type: "none", To: func([]byte) ([]es.Event, error) { return nil, nil }},
		es.Upcast{Type: "fails", To: func([]byte) ([]es.Event, error) { return nil, boom }},
		es.Upcast{Type: "two", To: func(data []byte) ([]es.Event, error) {
			return []es.Event{{Type: "v1", Data: string(data)}, {Type: "task.pointed", Data: `{"N":2}`}}, nil
		}},
	)
	data := `{"Title":"read"}`
	for name, want := range map[string][]TaskEvent{
		"v1": {Added{"read"}}, "v2": {Added{"read"}}, "none": nil, "two": {Added{"read"}, &Pointed{2}},
	} {
		got, err := codec.Decode(nil, es.Event{Type: name, Data: data})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, want := range map[string]error{"a": es.ErrUnknownEvent, "lost": es.ErrUnknownEvent, "fails": boom} {
		if _, err := codec.Decode(nil, es.Event{Type: name, Data: data}); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// It decodes as json.Unmarshal does, whatever it decoded before.
func FuzzJSONDecode(f *testing.F) {
	codec := newCodec(es.Rename("old", "task.nested"))
	fresh := map[string]func() any{
		"task.added": func() any { return new(Added) }, "task.nested": func() any { return new(Nested) },
		"old": func() any { return new(Nested) }, "task.pointed": func() any { return new(Pointed) },
	}
	for _, data := range []string{
		`{"Title":"a"}{"Title":"b"}`, `{"Title":"a"} `, ` {"Title":"a"}`, `{"Title":"a"`, "", " ", "7", `{"Title":7}`, `{"Title":"\u00e9"}x`,
		`{"Title":"` + strings.Repeat("long", 100) + `"}`, `{"Title":"` + strings.Repeat("long", 100) + `"}}`,
	} {
		f.Add("task.added", []byte(data))
	}
	f.Add("task.added", []byte(`{"Title":"read"}`))
	f.Add("old", []byte(`{"Tags":["a",null],"More":{"":-1}}`))
	f.Add("task.pointed", []byte(`null`))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		events, err := codec.Decode(nil, es.Event{Type: name, Data: string(data)})
		if fresh := fresh[name]; fresh != nil {
			into := fresh()
			want := json.Unmarshal(data, into)
			if fmt.Sprint(err) != fmt.Sprint(want) {
				t.Fatalf("%q: %v, want %v", data, err, want)
			}
			if err == nil {
				got := any(events[0])
				if name != "task.pointed" {
					into = reflect.ValueOf(into).Elem().Interface()
				}
				if !reflect.DeepEqual(got, into) {
					t.Fatalf("%q: %#v, want %#v", data, got, into)
				}
			}
		}
		if err != nil {
			return
		}
		for _, e := range events {
			stored, err := codec.Encode(e)
			if err != nil {
				t.Fatalf("%#v was decoded from %s and cannot be encoded: %v", e, data, err)
			}
			again, err := codec.Decode(nil, stored)
			if err != nil || len(again) != 1 {
				t.Fatalf("%s cannot be decoded: %v", stored.Data, err)
			}
			a, _ := json.Marshal(e)
			b, _ := json.Marshal(again[0])
			if string(a) != string(b) {
				t.Fatalf("%s became %s", a, b)
			}
		}
	})
}

// Whatever is stored under old names: upcasts end, and either all that they say comes out,
// or an error.
func FuzzJSONUpcasts(f *testing.F) {
	// Each line of the data is an event: a name, and after a blank what is in it.
	split := func(data []byte) (events []es.Event, err error) {
		for line := range bytes.Lines(data) {
			name, rest, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
			if events = append(events, es.Event{Type: string(name), Data: string(rest)}); len(events) > 3 {
				return nil, errors.New("too many")
			}
		}
		return events, nil
	}
	codec := newCodec(es.Upcast{Type: "lines", To: split}, es.Rename("old", "lines"), es.Rename("a", "b"), es.Rename("b", "a"), es.Rename("v1", "task.added"))
	for _, seed := range []string{
		"", "task.added {}", "v1 {\"Title\":\"x\"}\ntask.pointed {\"N\":1}", "old v1 {}\n", "a {}", "v1 {}\nnobody {}",
		"old lines old lines v1 {}", "task.nested {\"Tags\":[\"a\"]}\nold task.added 7", "old\nold\nold\nold",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1000 {
			t.Skip()
		}
		before := []TaskEvent{Added{"before"}}
		got, err := codec.Decode(before, es.Event{Type: "lines", Data: string(data)})
		if len(got) == 0 || got[0] != before[0] {
			t.Fatalf("what was there before became %v", got)
		}
		want, werr := upcasted(codec, split, data)
		if (err == nil) != (werr == nil) || err == nil && (len(got) != 1+len(want) || len(want) > 0 && !reflect.DeepEqual(got[1:], want)) {
			t.Fatalf("%q: %v, %v, not %v, %v", data, got[1:], err, want, werr)
		}
	})
}

// upcasted does by itself, one event after the other, what the codec's table of upcasts says.
func upcasted(codec es.Codec[TaskEvent], split func([]byte) ([]es.Event, error), data []byte) (all []TaskEvent, err error) {
	events, err := split(data)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		switch e.Type {
		case "lines", "old":
			inner, err := upcasted(codec, split, []byte(e.Data))
			if err != nil {
				return nil, err
			}
			all = append(all, inner...)
			continue
		case "a", "b":
			return nil, es.ErrUnknownEvent
		case "v1":
			e.Type = "task.added"
		}
		if !slices.Contains(codec.Types(), e.Type) {
			return nil, es.ErrUnknownEvent
		}
		if all, err = codec.Decode(all, e); err != nil {
			return nil, err
		}
	}
	return all, nil
}
