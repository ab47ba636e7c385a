package memory

import (
	"encoding/binary"
	"sort"
	"strings"
	"time"

	"github.com/leftfold/leftfold/es"
)

// history is the settled commits of a stream, encoded one behind the other in chunks, as a
// database would keep them: that takes a fraction of the memory that commits take, and
// is quicker to read. What is in a chunk is never changed, so a copy of a history
// stays what it was, and to read it takes no lock.
type history struct {
	full []chunk // the older ones
	last chunk
	next uint64 // what behind returns; 0 if there is no commit
}

type chunk struct {
	first uint64 // the version of its first commit
	body  string
}

// chunkSize is how large a chunk becomes, in bytes, unless a single commit is larger.
const chunkSize = 8 << 10

// What a commit has beside an ID, a time and events. Most have none of it.
const (
	hasReplaces = 1 << iota
	hasCommand
	hasMeta
	hasDone
	hasState
)

// lengthSize is the size of the length behind each commit, by which a reader goes back.
const lengthSize = 4

// behind returns the version that the next commit gets.
func (h *history) behind() uint64 { return max(1, h.next) }

// add encodes a commit behind the others. The builder belongs to the last chunk. Times are in UTC when they are read,
// and without a monotonic reading.
func (h *history) add(room *strings.Builder, c *es.Commit) {
	var scratch [512]byte
	b := encode(scratch[:0], c)
	b = binary.BigEndian.AppendUint32(b, uint32(len(b)))
	if h.last.body != "" && len(h.last.body)+len(b) > chunkSize {
		// A clone has no room left.
		h.full = append(h.full, chunk{h.last.first, strings.Clone(h.last.body)})
		h.last = chunk{}
		room.Reset()
	}
	if h.last.body == "" {
		h.last.first = c.Version
	}
	room.Write(b)
	h.last.body = room.String()
	h.next = c.Last() + 1
}

func encode(b []byte, c *es.Commit) []byte {
	var has byte
	if c.Replaces != "" {
		has |= hasReplaces
	}
	if c.Command != "" {
		has |= hasCommand
	}
	if len(c.Meta) > 0 {
		has |= hasMeta
	}
	if len(c.Done) > 0 {
		has |= hasDone
	}
	if c.State != nil {
		has |= hasState
	}
	b = binary.AppendUvarint(b, uint64(len(c.Events)))
	b = append(b, has)
	b = putBytes(b, c.ID)
	b = putTime(b, c.Time)
	for i := range c.Events {
		b = putBytes(b, c.Events[i].Type)
		b = putBytes(b, c.Events[i].Data)
	}
	if has&hasReplaces != 0 {
		b = putBytes(b, c.Replaces)
	}
	if has&hasCommand != 0 {
		b = putBytes(b, c.Command)
	}
	if has&hasMeta != 0 {
		b = binary.AppendUvarint(b, uint64(len(c.Meta)))
		for k, v := range c.Meta {
			b = putBytes(putBytes(b, k), v)
		}
	}
	if has&hasDone != 0 {
		b = binary.AppendUvarint(b, uint64(len(c.Done)))
		for i := range c.Done {
			d := &c.Done[i]
			b = putBytes(b, d.Command)
			b = binary.BigEndian.AppendUint64(b, d.Fingerprint)
			b = binary.AppendUvarint(b, d.Version)
			b = putTime(b, d.Time)
		}
	}
	if has&hasState != 0 {
		b = putBytes(b, c.State.Schema)
		b = putBytes(b, c.State.Data)
	}
	return b
}

func putBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func putTime(b []byte, t time.Time) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.Unix()))
	return binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))
}

// reader goes through a history. What the commits that it makes say is in the chunks, for strings cannot be changed. Their
// events are cut from larger slices, so that in a long sequence they do not cost an allocation each, and
// nobody can reach those of another commit.
type reader struct {
	history
	stream es.StreamID

	chunk, at int    // it is before the commit at this place in this chunk, or behind all of them,
	version   uint64 // which is the version of that commit, or would be

	left   string // of the chunk
	events events
}

// from goes to the first commit behind a version.
func (r *reader) from(after uint64) {
	chunks := len(r.full)
	if r.last.body != "" {
		chunks++
	}
	r.chunk, r.at = sort.Search(chunks, func(i int) bool { return r.get(i).first > after }), 0
	if r.chunk == chunks {
		r.end()
	} else {
		r.version = r.get(r.chunk).first
	}
	for {
		here := *r
		if !r.back() || r.version <= after {
			*r = here
			return
		}
	}
}

// end goes behind the newest commit.
func (r *reader) end() { r.chunk, r.at, r.version = len(r.full), len(r.last.body), r.behind() }

// get returns a chunk by its number.
func (r *reader) get(i int) *chunk {
	if i == len(r.full) {
		return &r.last
	}
	return &r.full[i]
}

// back goes to the commit before, and reports false if there is none.
func (r *reader) back() bool {
	if r.at == 0 {
		if r.chunk == 0 {
			return false
		}
		r.chunk--
		r.at = len(r.get(r.chunk).body)
	}
	body := r.get(r.chunk).body
	r.at -= lengthSize
	r.at -= int(binary.BigEndian.Uint32([]byte(body[r.at:][:lengthSize])))
	r.left = body[r.at:]
	r.version -= r.number()
	return true
}

// forward makes c the commit that comes, and goes behind it; false if there is none.
func (r *reader) forward(c *es.Commit) bool {
	if r.at == len(r.get(r.chunk).body) {
		if r.chunk == len(r.full) {
			return false
		}
		r.chunk, r.at = r.chunk+1, 0
	}
	r.commit(c)
	r.at = len(r.get(r.chunk).body) - len(r.left) + lengthSize
	r.version = c.Version + uint64(len(c.Events))
	return true
}

// commit makes c the commit that the reader is before.
func (r *reader) commit(c *es.Commit) {
	r.left = r.get(r.chunk).body[r.at:]
	events := int(r.number())
	has := r.byte()
	*c = es.Commit{Stream: r.stream, Version: r.version, Status: es.Settled, ID: r.text(), Time: r.time()}
	c.Events = r.events.cut(events)
	for i := range c.Events {
		c.Events[i] = es.Event{Type: r.text(), Data: r.text()}
	}
	if has == 0 {
		return
	}
	if has&hasReplaces != 0 {
		c.Replaces = r.text()
	}
	if has&hasCommand != 0 {
		c.Command = r.text()
	}
	if has&hasMeta != 0 {
		n := r.number()
		c.Meta = make(map[string]string, n)
		for range n {
			key := r.text()
			c.Meta[key] = r.text()
		}
	}
	if has&hasDone != 0 {
		c.Done = make([]es.Done, r.number())
		for i := range c.Done {
			c.Done[i] = es.Done{Command: r.text(), Fingerprint: binary.BigEndian.Uint64([]byte(r.cut(8))), Version: r.number(), Time: r.time()}
		}
	}
	if has&hasState != 0 {
		c.State = &es.Snapshot{Schema: r.text(), Data: r.text()}
	}
}

func (r *reader) byte() byte {
	b := r.left[0]
	r.left = r.left[1:]
	return b
}

// number reads what binary.AppendUvarint wrote.
func (r *reader) number() uint64 {
	if n := r.left[0]; n < 0x80 {
		r.left = r.left[1:]
		return uint64(n)
	}
	return r.large()
}

func (r *reader) large() (n uint64) {
	for shift := 0; ; shift += 7 {
		b := r.byte()
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
}

// cut goes on by so many bytes, and returns them.
func (r *reader) cut(n int) string {
	s := r.left[:n]
	r.left = r.left[n:]
	return s
}

// text returns a part of the chunk: a string cannot be changed, so it may be shared.
func (r *reader) text() string { return r.cut(int(r.number())) }

func (r *reader) time() time.Time {
	b := []byte(r.cut(12))
	return time.Unix(int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint32(b[8:]))).UTC()
}

// maxEvents is how many events are made at once at most: what is kept of a sequence keeps so many of them alive.
const maxEvents = 100

// events cuts slices from larger ones. The first has just the length that is asked for, and each twice
// that of the one before.
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
