package es

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"sync"
)

// Codec turns the events of an aggregate into stored events and back. [JSON]
// makes one from a table, and [NewCodec] one for any other encoding.
//
// A codec is safe for concurrent use and knows a fixed set of types. An event
// outside of it is an error that wraps [ErrUnknownEvent], never skipped.
type Codec[E any] interface {
	// Encode returns the event under its stored name.
	Encode(e E) (Event, error)

	// Decode appends what a stored event means today: mostly one event, after
	// an [Upcast] any number.
	Decode(dst []E, e Event) ([]E, error)

	// Types returns the names that Encode can give, sorted.
	Types() []string
}

// Upcast reads events that were stored under a name that is no longer in use.
// See [Rename] for the commonest.
type Upcast struct {
	// Type is the old name. It must not be in the codec's table: an event that
	// changes its form gets a new name.
	Type string

	// To returns what stands for the old event now: one event, several, or
	// none. Their names are in the table, or upcast in turn. The data is a copy.
	To func(data []byte) ([]Event, error)
}

// Rename returns the upcast for an event that has a new name and the same form.
func Rename(from, to string) Upcast {
	return Upcast{Type: from, To: func(data []byte) ([]Event, error) {
		return []Event{{Type: to, Data: string(data)}}, nil
	}}
}

// maxUpcasts bounds how often one stored event is upcast in turn, so that two
// upcasts that name each other are an error and not an endless loop.
const maxUpcasts = 100

// JSON returns a codec that encodes events with encoding/json. The table has a
// value of each event's Go type under the name that the event is stored by; the
// value itself does not matter. Decoding gives events of just these types,
// pointers where the table has pointers, which saves a copy of each.
//
//	es.JSON(map[string]Event{
//		"org.created": Created{},
//		"org.updated": Updated{},
//	}, es.Rename("company.created", "org.created"))
//
// JSON panics if the table is broken: empty, with an empty name, a nil value,
// one Go type under two names, or a name that is also upcast.
func JSON[E any](types map[string]E, upcasts ...Upcast) Codec[E] {
	writers := sync.Pool{New: func() any { return newJSONWriter() }}
	marshal := func(event any) (string, error) {
		w := writers.Get().(*jsonWriter)
		data, err := w.marshal(event)
		writers.Put(w) // not after a panic
		return data, err
	}
	return newTable("es.JSON", marshal, newJSONReader, types, upcasts)
}

// NewCodec is [JSON] for any other encoding, or another library for the same one.
// Marshal is given an event, and unmarshal a pointer to the zero value of its Go type, or
// what the table has where that is a pointer. Both are safe for concurrent use; unmarshal keeps
// no reference to the data or to the pointer, for both are used again: TestAggregate of
// package estest finds one that does.
func NewCodec[E any](marshal func(any) ([]byte, error), unmarshal func([]byte, any) error, types map[string]E, upcasts ...Upcast) Codec[E] {
	if marshal == nil || unmarshal == nil {
		panic("es.NewCodec: it needs two functions")
	}
	encode := func(event any) (string, error) {
		data, err := marshal(event)
		return string(data), err
	}
	return newTable("es.NewCodec", encode, func() unmarshaler { return new(scratch).bytes(unmarshal) }, types, upcasts)
}

// table is a codec by a table of Go types.
type table[E any] struct {
	marshal func(any) (string, error)
	types   []*eventType // by name
	upcasts map[string]func([]byte) ([]Event, error)
}

func newTable[E any](caller string, marshal func(any) (string, error), newUnmarshaler func() unmarshaler, types map[string]E, upcasts []Upcast) *table[E] {
	c := &table[E]{
		marshal: marshal,
		upcasts: make(map[string]func([]byte) ([]Event, error), len(upcasts)),
	}
	if len(types) == 0 {
		panic(caller + ": the table of event types is empty")
	}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		t := reflect.TypeOf(types[name])
		if t == nil {
			panic(fmt.Sprintf("%s: event type %q has a nil value in the table", caller, name))
		}
		if err := validateName("event type", name, MaxName); err != nil {
			panic(fmt.Sprintf("%s: %v", caller, err))
		}
		if other := c.of(t); other != nil {
			panic(fmt.Sprintf("%s: %s is in the table as %q and as %q", caller, t, other.name, name))
		}
		c.types = append(c.types, newEventType(name, t, newUnmarshaler))
	}
	for _, u := range upcasts {
		if c.named(u.Type) != nil || u.Type == "" || u.To == nil || c.upcasts[u.Type] != nil {
			panic(fmt.Sprintf("%s: upcast of %q: the name must be set, not be in the table, and have one function", caller, u.Type))
		}
		c.upcasts[u.Type] = u.To
	}
	return c
}

// named returns the type that is stored by a name, nil if there is none. An aggregate has few types, and to
// compare with each takes less than to hash.
func (c *table[E]) named(name string) *eventType {
	for _, t := range c.types {
		if t.name == name {
			return t
		}
	}
	return nil
}

// of is the same for a Go type.
func (c *table[E]) of(goType reflect.Type) *eventType {
	for _, t := range c.types {
		if t.goType == goType {
			return t
		}
	}
	return nil
}

func (c *table[E]) Types() []string {
	names := make([]string, len(c.types))
	for i, t := range c.types {
		names[i] = t.name
	}
	return names
}

func (c *table[E]) Encode(e E) (Event, error) {
	t := c.of(reflect.TypeOf(e))
	if t == nil {
		return Event{}, fmt.Errorf("%w: %T is not in the codec's table", ErrUnknownEvent, e)
	}
	if t.pointer && reflect.ValueOf(e).IsNil() {
		return Event{}, fmt.Errorf("%w: the event is a nil %T", ErrInvalid, e)
	}
	data, err := c.marshal(e)
	if err != nil {
		return Event{}, err
	}
	return Event{Type: t.name, Data: data}, nil
}

func (c *table[E]) Decode(dst []E, e Event) ([]E, error) { return c.decode(dst, e, 0) }

func (c *table[E]) decode(dst []E, e Event, depth int) ([]E, error) {
	if t := c.named(e.Type); t != nil {
		v, err := t.decode(e.Data)
		if err != nil {
			return dst, err
		}
		return append(dst, v.(E)), nil
	}
	upcast, ok := c.upcasts[e.Type]
	if !ok {
		return dst, fmt.Errorf("%w: %q is not in the codec's table", ErrUnknownEvent, e.Type)
	}
	if depth == maxUpcasts {
		return dst, fmt.Errorf("%w: upcast %d times and still not in the codec's table", ErrUnknownEvent, depth)
	}
	events, err := upcast([]byte(e.Data))
	if err != nil {
		return dst, fmt.Errorf("upcast of %q: %w", e.Type, err)
	}
	for _, e := range events {
		if dst, err = c.decode(dst, e, depth+1); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// unmarshaler decodes into what a pointer points to. It is used for one event at a time.
type unmarshaler func(data string, into any) error

// maxKept is up to how many bytes the memory for an event's data is used again.
const maxKept = 64 << 10

// scratch is memory for data as bytes.
type scratch []byte

// bytes makes of a function that takes bytes one that takes a string.
func (s *scratch) bytes(unmarshal func([]byte, any) error) unmarshaler {
	return func(data string, into any) error {
		*s = append((*s)[:0], data...)
		err := unmarshal(*s, into)
		if cap(*s) > maxKept {
			*s = nil
		}
		return err
	}
}

// eventType decodes into one Go type.
type eventType struct {
	name    string
	goType  reflect.Type
	elem    reflect.Type // what is decoded into
	pointer bool         // whether the event is a pointer to it
	places  sync.Pool    // of *place
}

// place is what one event is decoded with at a time.
type place struct {
	unmarshal unmarshaler
	into      any           // a pointer; the interface that is made of an event has a copy, so the next one can be decoded into the same place
	value     reflect.Value // what it points to
}

func newEventType(name string, t reflect.Type, newUnmarshaler func() unmarshaler) *eventType {
	et := &eventType{name: name, goType: t, elem: t}
	if t.Kind() == reflect.Pointer {
		et.elem, et.pointer = t.Elem(), true
	}
	et.places.New = func() any {
		p := &place{unmarshal: newUnmarshaler()}
		if !et.pointer {
			v := reflect.New(et.elem)
			p.into, p.value = v.Interface(), v.Elem()
		}
		return p
	}
	return et
}

func (et *eventType) decode(data string) (event any, err error) {
	p := et.places.Get().(*place)
	if et.pointer {
		event = reflect.New(et.elem).Interface()
		err = p.unmarshal(data, event)
	} else {
		if err = p.unmarshal(data, p.into); err == nil {
			event = p.value.Interface()
		}
		p.value.SetZero()
	}
	et.places.Put(p) // not after a panic
	return event, err
}

// jsonWriter does what json.Marshal does, with one copy less of what comes out.
type jsonWriter struct {
	buf     bytes.Buffer
	encoder *json.Encoder
}

func newJSONWriter() *jsonWriter {
	w := new(jsonWriter)
	w.encoder = json.NewEncoder(&w.buf)
	return w
}

func (w *jsonWriter) marshal(v any) (string, error) {
	w.buf.Reset()
	if w.buf.Cap() > maxKept {
		w.buf = bytes.Buffer{}
	}
	if err := w.encoder.Encode(v); err != nil {
		return "", err
	}
	line := w.buf.Bytes()
	return string(line[:len(line)-len("\n")]), nil
}

// jsonReader decodes one value after the other with the same [json.Decoder]. That saves what
// json.Unmarshal makes anew for each: half of the allocations, and a third of the
// time where values are small.
type jsonReader struct {
	decoder *json.Decoder
	data    string // what the decoder has not read yet
	long    unmarshaler
}

func newJSONReader() unmarshaler {
	r := &jsonReader{long: new(scratch).bytes(json.Unmarshal)}
	r.decoder = json.NewDecoder(r)
	return r.unmarshal
}

func (r *jsonReader) unmarshal(data string, into any) error {
	if len(data) > maxReused {
		return r.long(data, into)
	}
	start := r.decoder.InputOffset()
	r.data = data
	err := r.decoder.Decode(into)
	r.data = ""
	if err == nil && r.decoder.InputOffset()-start == int64(len(data)) {
		return nil
	}
	// It is not one value, or has space behind it, or does not fit. Such a decoder cannot go on, and
	// json.Unmarshal says what is wrong.
	r.decoder = json.NewDecoder(r)
	reflect.ValueOf(into).Elem().SetZero()
	return json.Unmarshal([]byte(data), into)
}

// Read is for the decoder.
func (r *jsonReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}
