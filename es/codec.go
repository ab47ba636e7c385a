package es

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"sync"
)

// Codec turns the events of an aggregate into stored events and back. [JSON]
// makes one from a table; any other encoding can take its place.
//
// A codec is safe for concurrent use and knows a fixed set of types. An event
// outside of it is an error that wraps [ErrUnknownEvent], never skipped.
type Codec[E any] interface {
	// Encode returns the event under its stored name, in memory of its own.
	Encode(e E) (Event, error)

	// Decode appends what a stored event means today: mostly one event, after
	// an [Upcast] any number. It keeps no reference to the data.
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
	// none. Their names are in the table, or upcast in turn.
	To func(data []byte) ([]Event, error)
}

// Rename returns the upcast for an event that has a new name and the same form.
func Rename(from, to string) Upcast {
	return Upcast{Type: from, To: func(data []byte) ([]Event, error) {
		return []Event{{Type: to, Data: data}}, nil
	}}
}

// maxUpcasts bounds how often one stored event is upcast in turn, so that two
// upcasts that name each other are an error and not an endless loop.
const maxUpcasts = 100

// JSON returns a codec that encodes events with encoding/json. The table has a
// value of each event's Go type under the name that the event is stored by; the
// value itself does not matter. Decoding gives events of just these types,
// pointers where the table has pointers.
//
//	es.JSON(map[string]Event{
//		"org.created": Created{},
//		"org.updated": Updated{},
//	}, es.Rename("company.created", "org.created"))
//
// JSON panics if the table is broken: empty, with an empty name, a nil value,
// one Go type under two names, or a name that is also upcast.
func JSON[E any](types map[string]E, upcasts ...Upcast) Codec[E] {
	c := &jsonCodec[E]{
		types:   make(map[string]*jsonType, len(types)),
		names:   make(map[reflect.Type]string, len(types)),
		upcasts: make(map[string]func([]byte) ([]Event, error), len(upcasts)),
	}
	if len(types) == 0 {
		panic("es.JSON: the table of event types is empty")
	}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		t := reflect.TypeOf(types[name])
		if t == nil {
			panic(fmt.Sprintf("es.JSON: event type %q has a nil value in the table", name))
		}
		if err := validateName("event type", name, MaxName); err != nil {
			panic(fmt.Sprintf("es.JSON: %v", err))
		}
		if other, ok := c.names[t]; ok {
			panic(fmt.Sprintf("es.JSON: %s is in the table as %q and as %q", t, other, name))
		}
		c.types[name], c.names[t] = newJSONType(t), name
	}
	for _, u := range upcasts {
		if _, ok := c.types[u.Type]; ok || u.Type == "" || u.To == nil || c.upcasts[u.Type] != nil {
			panic(fmt.Sprintf("es.JSON: upcast of %q: the name must be set, not be in the table, and have one function", u.Type))
		}
		c.upcasts[u.Type] = u.To
	}
	return c
}

type jsonCodec[E any] struct {
	types   map[string]*jsonType
	names   map[reflect.Type]string
	upcasts map[string]func([]byte) ([]Event, error)
}

// jsonType decodes into one Go type.
type jsonType struct {
	elem    reflect.Type // what JSON is decoded into
	pointer bool         // whether the event is a pointer to it
	readers sync.Pool    // of *jsonReader
}

func newJSONType(t reflect.Type) *jsonType {
	jt := &jsonType{elem: t}
	if t.Kind() == reflect.Pointer {
		jt.elem, jt.pointer = t.Elem(), true
	}
	jt.readers.New = func() any { return newJSONReader(jt.elem) }
	return jt
}

func (jt *jsonType) decode(data []byte) (any, error) {
	r := jt.readers.Get().(*jsonReader)
	if jt.pointer {
		r.point(reflect.New(jt.elem))
	}
	if !r.read(data) {
		// The decoder is of no use any more, and this says what is wrong.
		r = newJSONReader(jt.elem)
		if err := json.Unmarshal(data, r.into); err != nil {
			return nil, err
		}
	}
	defer jt.readers.Put(r)
	if jt.pointer {
		return r.into, nil
	}
	// The interface has a copy of its own, so the next event can be decoded into the same place.
	defer r.value.SetZero()
	return r.value.Interface(), nil
}

// maxReused is up to how many bytes a json.Decoder that is used again takes less time than json.Unmarshal.
const maxReused = 256

// jsonReader decodes one value after the other with the same [json.Decoder]. That saves what
// json.Unmarshal makes anew for each: half of the allocations, and a third of the
// time where values are small.
type jsonReader struct {
	decoder *json.Decoder
	data    []byte        // what of it the decoder has not read yet
	into    any           // a pointer
	value   reflect.Value // what it points to
}

func newJSONReader(t reflect.Type) *jsonReader {
	r := new(jsonReader)
	r.point(reflect.New(t))
	r.decoder = json.NewDecoder(r)
	return r
}

func (r *jsonReader) point(to reflect.Value) { r.into, r.value = to.Interface(), to.Elem() }

// read decodes data, and reports false if it is not one value that fits, with no space behind it.
// Then the reader must not be used again.
func (r *jsonReader) read(data []byte) bool {
	if len(data) > maxReused {
		return json.Unmarshal(data, r.into) == nil
	}
	start := r.decoder.InputOffset()
	r.data = data
	err := r.decoder.Decode(r.into)
	r.data = nil
	return err == nil && r.decoder.InputOffset()-start == int64(len(data))
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

func (c *jsonCodec[E]) Types() []string { return slices.Sorted(maps.Keys(c.types)) }

func (c *jsonCodec[E]) Encode(e E) (Event, error) {
	t := reflect.TypeOf(e)
	name, ok := c.names[t]
	if !ok {
		return Event{}, fmt.Errorf("%w: %T is not in the codec's table", ErrUnknownEvent, e)
	}
	if v := reflect.ValueOf(e); v.Kind() == reflect.Pointer && v.IsNil() {
		return Event{}, fmt.Errorf("%w: the event is a nil %T", ErrInvalid, e)
	}
	data, err := json.Marshal(e)
	if err != nil {
		return Event{}, err
	}
	return Event{Type: name, Data: data}, nil
}

func (c *jsonCodec[E]) Decode(dst []E, e Event) ([]E, error) { return c.decode(dst, e, 0) }

func (c *jsonCodec[E]) decode(dst []E, e Event, depth int) ([]E, error) {
	if t, ok := c.types[e.Type]; ok {
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
	events, err := upcast(e.Data)
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
