package dynamostore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
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
)

type item = map[string]types.AttributeValue

// format is what the first byte of attribute c says of how an item is laid out: see the
// package's documentation. Whoever changes the layout takes the next, and reads both.
const format = '1'

// encode returns the item of a commit. The package's documentation has the layout.
func encode(c es.Commit, shard string) item {
	it := keyOf(c.Stream, c.Version)
	it["i"] = text(c.ID)
	if c.Status != es.Settled {
		it["st"] = text(c.Status.String())
	}
	if c.Status == es.Revoked {
		return it
	}
	it["t"], it["c"] = text(formatTime(c.Time)), data(pack(&c))
	if shard != "" {
		it["p"] = text(shard)
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
		len("v") + sizeOfNumber(c.Version) + len("i") + len(c.ID) + len("t") + len(timeFormat) + len("c") + sizeOfPack(&c)
	if c.Status != es.Settled {
		size += len("st") + len(c.Status.String())
	}
	if shard != "" {
		size += len("p") + len(shard)
	}
	if len(c.Done) > 0 {
		size += len("d") + len(encodeDone(c.Done))
	}
	return size
}

// pack returns what a commit brings, as one piece of text if all of it is text: records
// of a letter, one length or two, and what is so long.
func pack(c *es.Commit) []byte {
	b := append(make([]byte, 0, sizeOfPack(c)), format)
	for i := range c.Events {
		if again(c.Events, i) {
			b = appendRecord(b, 'a', c.Events[i].Data, "")
		} else {
			b = appendRecord(b, 'e', c.Events[i].Type, c.Events[i].Data)
		}
	}
	if c.State != nil {
		b = appendRecord(b, 'y', c.State.Schema, c.State.Data)
	}
	if c.Replaces != "" {
		b = appendRecord(b, 'r', c.Replaces, "")
	}
	if c.Command != "" {
		b = appendRecord(b, 'n', c.Command, "")
	}
	if len(c.Meta) > 0 {
		for _, k := range slices.Sorted(maps.Keys(c.Meta)) {
			b = appendRecord(b, 'm', k, c.Meta[k])
		}
	}
	return b
}

func sizeOfPack(c *es.Commit) int {
	size := 1
	for i := range c.Events {
		if again(c.Events, i) {
			size += sizeOfRecord(len(c.Events[i].Data), 0)
		} else {
			size += sizeOfRecord(len(c.Events[i].Type), len(c.Events[i].Data))
		}
	}
	if c.State != nil {
		size += sizeOfRecord(len(c.State.Schema), len(c.State.Data))
	}
	for _, optional := range []string{c.Replaces, c.Command} {
		if optional != "" {
			size += sizeOfRecord(len(optional), 0)
		}
	}
	for k, v := range c.Meta {
		size += sizeOfRecord(len(k), len(v))
	}
	return size
}

// again reports whether an event has the type of the one before.
func again(events []es.Event, i int) bool { return i > 0 && events[i].Type == events[i-1].Type }

func appendRecord[T, U string | []byte](b []byte, letter byte, first T, second U) []byte {
	b = strconv.AppendInt(append(b, letter), int64(len(first)), 10)
	if len(second) > 0 {
		b = strconv.AppendInt(append(b, ','), int64(len(second)), 10)
	}
	return append(append(append(b, ':'), first...), second...)
}

func sizeOfRecord(first, second int) int {
	size := len("e") + digits(first) + len(":") + first + second
	if second > 0 {
		size += len(",") + digits(second)
	}
	return size
}

func digits(n int) int {
	size := 1
	for ; n > 9; n /= 10 {
		size++
	}
	return size
}

// record is what appendRecord wrote.
type record struct {
	letter        byte
	first, second string
}

// cutRecord returns the record at the beginning, and what is behind it.
func cutRecord(s string) (r record, rest string, ok bool) {
	r.letter, s = s[0], s[1:]
	first, s, ok := cutLength(s)
	second := 0
	if ok && s != "" && s[0] == ',' {
		second, s, ok = cutLength(s[1:])
	}
	if !ok || s == "" || s[0] != ':' || first+second > len(s)-1 {
		return r, "", false
	}
	s = s[1:]
	r.first, r.second = s[:first], s[first:first+second]
	return r, s[first+second:], true
}

func cutLength(s string) (n int, rest string, ok bool) {
	i := 0
	for ; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		if n = 10*n + int(s[i]-'0'); n > maxItem {
			return 0, "", false
		}
	}
	return n, s[i:], i > 0
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

// parseTime is the reverse of formatTime, and much quicker than time.Parse.
func parseTime(s string) (t time.Time, ok bool) {
	if len(s) != len(timeFormat) || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[19] != '.' || s[29] != 'Z' {
		return t, false
	}
	ok = true
	number := func(from, to int) (n int) {
		for _, c := range []byte(s[from:to]) {
			ok = ok && '0' <= c && c <= '9'
			n = 10*n + int(c-'0')
		}
		return n
	}
	year, month, day := number(0, 4), number(5, 7), number(8, 10)
	hour, minute, second, nanos := number(11, 13), number(14, 16), number(17, 19), number(20, 29)
	t = time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	// What there is not, such as the 30th of February, would become another day.
	return t, ok && 1 <= month && month <= 12 && t.Day() == day && hour < 24 && minute < 60 && second < 60
}

// decode returns the commit of an item. Its error names the attribute that is wrong.
func decode(it item) (es.Commit, error) { return new(decoder).commit(it) }

// decodeKey returns the slot of an item that was read in part.
func decodeKey(it item) (slot, error) {
	d := decoder{it: it}
	return slot{stream: d.streamID(), version: d.version()}, d.err
}

// decodeSlot returns an entry of the index.
func decodeSlot(it item) (slot, error) {
	d := decoder{it: it}
	return slot{stream: d.streamID(), version: d.version(), time: d.text("t")}, d.err
}

// decoder decodes the items of one query. It keeps the first error of an item.
//
// What commits say is in the items, for strings cannot be changed. Their events are cut from
// larger slices, so that in a long sequence they do not cost an allocation each, and nobody
// can reach those of another commit.
type decoder struct {
	stream es.StreamID // of all items, which then need not say it
	events events

	it  item
	err error
}

// commit returns the commit of an item. Its error names the attribute that is wrong.
func (d *decoder) commit(it item) (c es.Commit, err error) {
	d.it, d.err = it, nil
	c.Stream = d.stream
	if c.Stream == (es.StreamID{}) {
		c.Stream = d.streamID()
	}
	c.Version = d.version()
	c.ID, c.Status = d.text("i"), d.status("st")
	if c.Status != es.Revoked && d.err == nil {
		c.Time = d.time("t")
		d.unpack("c", &c)
		c.Done = d.done("d")
	}
	if d.err != nil {
		return es.Commit{}, fmt.Errorf("item %s@%d: %w", c.Stream, c.Version, d.err)
	}
	return c, nil
}

// unpack is the reverse of pack.
func (d *decoder) unpack(name string, c *es.Commit) {
	var packed string
	switch v := d.it[name].(type) {
	case *types.AttributeValueMemberS:
		packed = v.Value
	case *types.AttributeValueMemberB:
		packed = string(v.Value)
	}
	if packed == "" {
		d.fail(name, "is missing, or is neither string nor binary")
		return
	}
	if packed[0] != format {
		d.fail(name, "has the format %.1q, which only a newer release may know", packed)
		return
	}
	events := 0
	for rest := packed[1:]; rest != ""; {
		var r record
		var ok bool
		if r, rest, ok = cutRecord(rest); !ok {
			d.fail(name, "is cut off or damaged %d bytes before its end", len(packed)-len(rest))
			return
		}
		if r.letter == 'e' || r.letter == 'a' {
			events++
		}
	}
	if events == 0 {
		d.fail(name, "has no events")
		return
	}
	c.Events = d.events.cut(events)[:0]
	event := "" // the type of the last
	for rest := packed[1:]; rest != ""; {
		var r record
		r, rest, _ = cutRecord(rest)
		switch r.letter {
		case 'e':
			event = r.first
			c.Events = append(c.Events, es.Event{Type: event, Data: r.second})
		case 'a':
			if len(c.Events) == 0 {
				d.fail(name, "has an event without a type")
				return
			}
			c.Events = append(c.Events, es.Event{Type: event, Data: r.first})
		case 'y':
			c.State = &es.Snapshot{Schema: r.first, Data: r.second}
		case 'r':
			c.Replaces = r.first
		case 'n':
			c.Command = r.first
		case 'm':
			if c.Meta == nil {
				c.Meta = make(map[string]string)
			}
			c.Meta[r.first] = r.second
		default:
			d.fail(name, "has a record %q, which only a newer release may know", r.letter)
			return
		}
	}
}

// maxEvents is how many events are made at once at most: what is kept of a sequence keeps so
// many of them alive.
const maxEvents = 100

// events cuts slices from larger ones. The first has just the length that is asked for, and
// each twice that of the one before.
type events struct {
	free []es.Event
	size int
}

func (e *events) cut(n int) []es.Event {
	if n > len(e.free) {
		e.size = max(n, min(2*e.size, maxEvents))
		e.free = make([]es.Event, e.size)
	}
	to := e.free[:n:n]
	e.free = e.free[n:]
	return to
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

func (d *decoder) streamID() es.StreamID {
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
	if !d.has(name) {
		return es.Settled
	}
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
	word := d.text(name)
	t, ok := parseTime(word)
	if !ok {
		d.fail(name, "is no time: %.40q", word)
	}
	return t
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
