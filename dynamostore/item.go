package dynamostore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/leftfold/leftfold/es"
)

// What DynamoDB says about sizes, in bytes: an item has the names and the values of its
// attributes.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
const (
	unit    = 1 << 10   // of a write
	maxItem = 400 << 10 // names included
	nest    = 3         // of a list or a map, besides
	element = 1         // of each of its elements, besides
)

type item = map[string]types.AttributeValue

// encode returns the item of a commit. The package's documentation has the layout.
func encode(c es.Commit, shard string) item {
	it := keyOf(c.Stream, c.Version)
	it["i"], it["st"] = text(c.ID), text(c.Status.String())
	if c.Status == es.Revoked {
		return it
	}
	it["t"] = text(formatTime(c.Time))
	optional := func(name, value string) {
		if value != "" {
			it[name] = text(value)
		}
	}
	optional("p", shard)
	optional("r", c.Replaces)
	optional("n", c.Command)
	if len(c.Meta) > 0 {
		meta := make(item, len(c.Meta))
		for k, v := range c.Meta {
			meta[k] = text(v)
		}
		it["m"] = &types.AttributeValueMemberM{Value: meta}
	}
	events := make([]types.AttributeValue, 0, 2*len(c.Events))
	for _, e := range c.Events {
		events = append(events, text(e.Type), data(e.Data))
	}
	it["e"] = &types.AttributeValueMemberL{Value: events}
	if c.State != nil {
		it["y"], it["z"] = text(c.State.Schema), data(c.State.Data)
	}
	if len(c.Done) > 0 {
		it["d"] = &types.AttributeValueMemberB{Value: encodeDone(c.Done)}
	}
	return it
}

// sizeOf returns the size of the item that encode returns for a commit that is not
// revoked.
func sizeOf(c es.Commit, shard string) int {
	size := len("s") + len(c.Stream.Category) + len("/") + len(c.Stream.ID) +
		len("v") + sizeOfNumber(c.Version) + len("i") + len(c.ID) + len("st") + len(c.Status.String()) +
		len("t") + len(timeFormat) + len("e") + nest
	for _, e := range c.Events {
		size += element + len(e.Type) + element + len(e.Data)
	}
	for _, optional := range []string{shard, c.Replaces, c.Command} {
		if optional != "" {
			size += len("p") + len(optional)
		}
	}
	if len(c.Meta) > 0 {
		size += len("m") + nest
		for k, v := range c.Meta {
			size += element + len(k) + len(v)
		}
	}
	if c.State != nil {
		size += len("y") + len(c.State.Schema) + len("z") + len(c.State.Data)
	}
	if len(c.Done) > 0 {
		size += len("d") + len(encodeDone(c.Done))
	}
	return size
}

// sizeOfNumber returns a byte for each two digits, trailing zeros left out, and one.
func sizeOfNumber(n uint64) int {
	for n > 0 && n%100 == 0 {
		n /= 100
	}
	size := 1
	for ; n > 0; n /= 100 {
		size++
	}
	return size
}

// data returns a value that comes back as the same bytes, text if it can be read in a
// console.
func data(b []byte) types.AttributeValue {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n <= 1 || r < ' ' && r != '\t' && r != '\n' && r != '\r' {
			return &types.AttributeValueMemberB{Value: b}
		}
		i += n
	}
	return text(string(b))
}

// timeFormat has a fixed width, so that times are sorted as texts.
const timeFormat = "2006-01-02T15:04:05.000000000Z"

// formatTime cuts off what is outside of the years 0 to 9999.
func formatTime(t time.Time) string {
	t = t.UTC()
	switch year := t.Year(); {
	case year < 0:
		t = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	case year > 9999:
		t = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
	}
	return t.Format(timeFormat)
}

// encodeDone packs the named commands: each has the version, the fingerprint, seconds and
// nanoseconds of its time, and its name with the length in front.
func encodeDone(done []es.Done) []byte {
	size := 0
	for _, d := range done {
		size += 3*binary.MaxVarintLen64 + 8 + len(d.Command)
	}
	b := make([]byte, 0, size)
	for _, d := range done {
		b = binary.AppendUvarint(b, d.Version)
		b = binary.BigEndian.AppendUint64(b, d.Fingerprint)
		b = binary.AppendVarint(b, d.Time.Unix())
		b = binary.AppendUvarint(b, uint64(d.Time.Nanosecond()))
		b = binary.AppendUvarint(b, uint64(len(d.Command)))
		b = append(b, d.Command...)
	}
	return b
}

var errDone = errors.New("the named commands are cut off or damaged")

func decodeDone(b []byte) (done []es.Done, err error) {
	uvarint := func() uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			err = errDone
			return 0
		}
		b = b[size:]
		return n
	}
	for len(b) > 0 {
		var d es.Done
		d.Version = uvarint()
		if err != nil || len(b) < 8 {
			return nil, errDone
		}
		d.Fingerprint, b = binary.BigEndian.Uint64(b), b[8:]
		seconds, size := binary.Varint(b)
		if size <= 0 {
			return nil, errDone
		}
		b = b[size:]
		nanos, length := uvarint(), uvarint()
		if err != nil || nanos > 999_999_999 || length > uint64(len(b)) {
			return nil, errDone
		}
		d.Time = time.Unix(seconds, int64(nanos)).UTC()
		d.Command, b = string(b[:length]), b[length:]
		done = append(done, d)
	}
	return done, nil
}

// decode returns the commit of an item. Its error names the attribute that is wrong.
func decode(it item) (c es.Commit, err error) {
	d := decoder{it: it}
	c.Stream, c.Version = d.stream(), d.version()
	c.ID, c.Status = d.text("i"), d.status("st")
	if c.Status != es.Revoked && d.err == nil {
		c.Time = d.time("t")
		c.Replaces, c.Command = d.optional("r"), d.optional("n")
		c.Meta = d.meta("m")
		c.Events = d.events("e")
		if d.has("y") {
			c.State = &es.Snapshot{Schema: d.text("y"), Data: d.data("z", it["z"])}
		}
		c.Done = d.done("d")
	}
	if d.err != nil {
		return es.Commit{}, fmt.Errorf("item %s@%d: %w", c.Stream, c.Version, d.err)
	}
	return c, nil
}

// decodeKey returns the slot of an item that was read in part.
func decodeKey(it item) (slot, error) {
	d := decoder{it: it}
	return slot{stream: d.stream(), version: d.version()}, d.err
}

// decodeSlot returns an entry of the index.
func decodeSlot(it item) (slot, error) {
	d := decoder{it: it}
	return slot{stream: d.stream(), version: d.version(), time: d.text("t")}, d.err
}

// decoder keeps the first error.
type decoder struct {
	it  item
	err error
}

func (d *decoder) fail(name, format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("attribute %q "+format, append([]any{name}, args...)...)
	}
}

func (d *decoder) has(name string) bool { return d.it[name] != nil }

func (d *decoder) text(name string) string {
	v, ok := d.it[name].(*types.AttributeValueMemberS)
	if !ok {
		d.fail(name, "is missing or no string")
		return ""
	}
	return v.Value
}

func (d *decoder) optional(name string) string {
	if !d.has(name) {
		return ""
	}
	return d.text(name)
}

func (d *decoder) stream() es.StreamID {
	category, id, ok := strings.Cut(d.text("s"), "/")
	if !ok {
		d.fail("s", "is no stream: it has no slash")
	}
	return es.StreamID{Category: category, ID: id}
}

func (d *decoder) version() uint64 {
	v, ok := d.it["v"].(*types.AttributeValueMemberN)
	if !ok {
		d.fail("v", "is missing or no number")
		return 0
	}
	n, err := strconv.ParseUint(v.Value, 10, 64)
	if err != nil {
		d.fail("v", "is no version: %w", err)
	}
	return n
}

func (d *decoder) status(name string) es.Status {
	word := d.text(name)
	for s := es.Pending; s <= es.Revoked; s++ {
		if word == s.String() {
			return s
		}
	}
	d.fail(name, "is no status: %.40q", word)
	return 0
}

func (d *decoder) time(name string) time.Time {
	t, err := time.Parse(timeFormat, d.text(name))
	if err != nil {
		d.fail(name, "is no time: %w", err)
	}
	return t
}

func (d *decoder) meta(name string) map[string]string {
	if !d.has(name) {
		return nil
	}
	values, ok := d.it[name].(*types.AttributeValueMemberM)
	if !ok {
		d.fail(name, "is no map")
		return nil
	}
	meta := make(map[string]string, len(values.Value))
	for k, v := range values.Value {
		s, ok := v.(*types.AttributeValueMemberS)
		if !ok {
			d.fail(name, "has a %.40q that is no string", k)
			return nil
		}
		meta[k] = s.Value
	}
	return meta
}

func (d *decoder) events(name string) []es.Event {
	values, ok := d.it[name].(*types.AttributeValueMemberL)
	if !ok || len(values.Value) == 0 || len(values.Value)%2 != 0 {
		d.fail(name, "is missing or no list of types and data")
		return nil
	}
	events := make([]es.Event, len(values.Value)/2)
	for i := range events {
		t, ok := values.Value[2*i].(*types.AttributeValueMemberS)
		if !ok {
			d.fail(name, "has no type for event %d", i+1)
			return nil
		}
		events[i] = es.Event{Type: t.Value, Data: d.data(name, values.Value[2*i+1])}
	}
	return events
}

func (d *decoder) data(name string, v types.AttributeValue) []byte {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return []byte(v.Value)
	case *types.AttributeValueMemberB:
		return v.Value
	}
	d.fail(name, "has data that is neither string nor binary")
	return nil
}

func (d *decoder) done(name string) []es.Done {
	if !d.has(name) {
		return nil
	}
	v, ok := d.it[name].(*types.AttributeValueMemberB)
	if !ok {
		d.fail(name, "is not binary")
		return nil
	}
	done, err := decodeDone(v.Value)
	if err != nil {
		d.fail(name, "is wrong: %w", err)
	}
	return done
}
