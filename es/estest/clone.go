package estest

import (
	"bytes"
	"maps"
	"slices"

	"github.com/leftfold/leftfold/es"
)

// clone returns a copy of a commit that shares no memory with it.
func clone(c es.Commit) es.Commit {
	c.Meta = maps.Clone(c.Meta)
	c.Events = slices.Clone(c.Events)
	for i := range c.Events {
		c.Events[i].Data = bytes.Clone(c.Events[i].Data)
	}
	if c.State != nil {
		c.State = &es.Snapshot{Schema: c.State.Schema, Data: bytes.Clone(c.State.Data)}
	}
	c.Done = slices.Clone(c.Done)
	return c
}
