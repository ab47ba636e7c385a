package memory

import (
	"bytes"
	"maps"
	"slices"

	"github.com/leftfold/leftfold/es"
)

// clone returns a copy of a commit that shares no memory with it, as a database
// would give it back: with its times in UTC, which also drops a monotonic reading.
func clone(c es.Commit) es.Commit {
	c.Time = c.Time.UTC()
	c.Meta = maps.Clone(c.Meta)
	c.Events = slices.Clone(c.Events)
	for i := range c.Events {
		c.Events[i].Data = bytes.Clone(c.Events[i].Data)
	}
	if c.State != nil {
		c.State = &es.Snapshot{Schema: c.State.Schema, Data: bytes.Clone(c.State.Data)}
	}
	c.Done = slices.Clone(c.Done)
	for i := range c.Done {
		c.Done[i].Time = c.Done[i].Time.UTC()
	}
	return c
}
