package memory

import "github.com/leftfold/leftfold/es"

// taken returns what is kept of a commit: a copy, with times as they come out of a
// database, in UTC and without a monotonic reading.
func taken(c es.Commit) es.Commit {
	c = c.Clone()
	c.Time = c.Time.UTC()
	for i := range c.Done {
		c.Done[i].Time = c.Done[i].Time.UTC()
	}
	return c
}
