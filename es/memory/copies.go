package memory

import (
	"maps"

	"github.com/leftfold/leftfold/es"
)

// copies makes the copies that a sequence gives out. They share no memory with the store,
// and none that anybody could reach with each other; but those of a long sequence are cut
// from pieces of up to 16 KiB, so that they cost a copy and not an allocation each.
type copies struct {
	data   pieces[byte]
	events pieces[es.Event]
}

func (k *copies) of(c *es.Commit) es.Commit {
	out := *c
	out.Meta = maps.Clone(c.Meta)
	out.Events = k.events.cut(c.Events, 16<<10/40)
	for i := range out.Events {
		e := &out.Events[i]
		e.Data = k.data.cut(e.Data, 16<<10)
	}
	if c.State != nil {
		out.State = &es.Snapshot{Schema: c.State.Schema, Data: k.data.cut(c.State.Data, 16<<10)}
	}
	if c.Done != nil {
		out.Done = append([]es.Done{}, c.Done...)
	}
	return out
}

// pieces cuts copies of slices from larger ones. The first has just the length that is asked for,
// and each twice that of the one before.
type pieces[T any] struct {
	free []T
	size int
}

func (p *pieces[T]) cut(from []T, limit int) []T {
	n := len(from)
	if n == 0 {
		return from[:0:0]
	}
	if n > len(p.free) {
		p.size = max(n, min(2*p.size, limit))
		p.free = make([]T, p.size)
	}
	to := p.free[:n:n]
	p.free = p.free[n:]
	copy(to, from)
	return to
}
