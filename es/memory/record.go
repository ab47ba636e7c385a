package memory

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/leftfold/leftfold/es"
)

// record is a settled commit as the store keeps it: in one piece of memory, as a database
// would, which takes less of it than a commit does and is quicker to read.
type record struct {
	version uint64
	events  uint64 // how many
	body    string // all else, but for the stream
}

func (r *record) last() uint64 { return r.version + r.events - 1 }

// newRecord encodes a commit. Times are in UTC when they are read, and without a monotonic reading.
func newRecord(c *es.Commit) record {
	var scratch [512]byte
	b := scratch[:0]
	for _, s := range []string{c.ID, c.Replaces, c.Command} {
		b = putBytes(b, s)
	}
	b = putTime(b, c.Time)
	for i := range c.Events {
		b = putBytes(b, c.Events[i].Type)
		b = putBytes(b, c.Events[i].Data)
	}
	b = binary.AppendUvarint(b, uint64(len(c.Meta)))
	for k, v := range c.Meta {
		b = putBytes(putBytes(b, k), v)
	}
	b = binary.AppendUvarint(b, uint64(len(c.Done)))
	for i := range c.Done {
		d := &c.Done[i]
		b = putBytes(b, d.Command)
		b = binary.BigEndian.AppendUint64(b, d.Fingerprint)
		b = binary.AppendUvarint(b, d.Version)
		b = putTime(b, d.Time)
	}
	if c.State != nil {
		b = putBytes(b, c.State.Schema)
		b = putBytes(b, c.State.Data)
	}
	return record{version: c.Version, events: uint64(len(c.Events)), body: string(b)}
}

func putBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func putTime(b []byte, t time.Time) []byte {
	return binary.AppendUvarint(binary.AppendVarint(b, t.Unix()), uint64(t.Nanosecond()))
}

// reader makes commits of the records of one stream. Each shares no memory with the store, and none that
// anybody could reach with the others; but what of them can be changed is cut from larger pieces,
// so that in a long sequence it costs a copy and not an allocation each.
type reader struct {
	stream es.StreamID
	data   pieces[byte]
	events pieces[es.Event]
	left   string // of the body
}

func (r *reader) commit(rec *record) es.Commit {
	r.left = rec.body
	c := es.Commit{
		Stream: r.stream, Version: rec.version, Status: es.Settled,
		ID: r.text(), Replaces: r.text(), Command: r.text(), Time: r.time(),
		Events: r.events.cut(int(rec.events), maxPiece/40),
	}
	for i := range c.Events {
		c.Events[i] = es.Event{Type: r.text(), Data: r.bytes()}
	}
	if n := r.number(); n > 0 {
		c.Meta = make(map[string]string, n)
		for range n {
			key := r.text()
			c.Meta[key] = r.text()
		}
	}
	if n := r.number(); n > 0 {
		c.Done = make([]es.Done, n)
		for i := range c.Done {
			c.Done[i] = es.Done{Command: r.text(), Fingerprint: r.fixed(), Version: r.number(), Time: r.time()}
		}
	}
	if r.left != "" {
		c.State = &es.Snapshot{Schema: r.text(), Data: r.bytes()}
	}
	return c
}

func (r *reader) number() (n uint64) {
	for i, shift := 0, 0; ; i, shift = i+1, shift+7 {
		c := r.left[i]
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			r.left = r.left[i+1:]
			return n
		}
	}
}

func (r *reader) fixed() (n uint64) {
	for i := range 8 {
		n = n<<8 | uint64(r.left[i])
	}
	r.left = r.left[8:]
	return n
}

// text returns a part of the body: a string cannot be changed, so it may be shared.
func (r *reader) text() string {
	n := r.number()
	s := r.left[:n]
	r.left = r.left[n:]
	return s
}

func (r *reader) bytes() []byte {
	s := r.text()
	b := r.data.cut(len(s), maxPiece)
	copy(b, s)
	return b
}

func (r *reader) time() time.Time {
	n := r.number() // as of binary.AppendVarint
	seconds := int64(n>>1) ^ -int64(n&1)
	return time.Unix(seconds, int64(r.number())).UTC()
}

// maxPiece is how large the pieces get, in bytes: what is kept of a sequence keeps so much of it alive.
const maxPiece = 4 << 10

// pieces cuts slices from larger ones. The first has just the length that is asked for, and each twice
// that of the one before.
type pieces[T any] struct {
	free []T
	size int
}

func (p *pieces[T]) cut(n, limit int) []T {
	if n > len(p.free) {
		p.size = max(n, min(2*p.size, limit))
		p.free = make([]T, p.size)
	}
	to := p.free[:n:n]
	p.free = p.free[n:]
	return to
}

// find returns the index of the first record at a version or behind it, and whether it is at it.
func find(records []record, version uint64) (int, bool) {
	return slices.BinarySearchFunc(records, version, func(r record, v uint64) int {
		switch {
		case r.version < v:
			return -1
		case r.version > v:
			return 1
		}
		return 0
	})
}
