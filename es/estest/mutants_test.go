package estest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/leftfold/leftfold/es"
)

// A mutant is an implementation with one bug, and the rule that must find it.
type mutant[T any] struct {
	bug    string
	killer string
	make   func(t *testing.T) T
}

// mustDie runs against every mutant the row that must kill it.
func mustDie[T any](t *testing.T, rows []row[T], mutants []mutant[T]) {
	for _, m := range mutants {
		t.Run(m.bug, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(rows, func(r row[T]) bool { return r.rule == m.killer })
			if i < 0 {
				t.Fatalf("there is no rule %q", m.killer)
			}
			err := checkRow(t, rows[i], m.make)
			if err == nil {
				t.Fatalf("survives %q", m.killer)
			}
			t.Log(err)
		})
	}
}

// allFail demands that an implementation that does nothing keeps no rule.
func allFail[T any](t *testing.T, rows []row[T], nothing func(t *testing.T) T) {
	for _, r := range rows {
		t.Run(r.rule, func(t *testing.T) {
			t.Parallel()
			if checkRow(t, r, nothing) == nil {
				t.Error("an implementation that does nothing keeps this rule")
			}
		})
	}
}

// checkRow runs a row on a clock of its own, so that nothing is waited for.
func checkRow[T any](t *testing.T, r row[T], open func(t *testing.T) T) (err error) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), rowTime)
		defer cancel()
		err = r.check(ctx, open(t))
	})
	return err
}

var errElse = errors.New("something else")

// memo remembers commits by ID.
type memo struct {
	mu      sync.Mutex
	commits map[string]es.Commit
}

func (m *memo) put(c es.Commit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.commits == nil {
		m.commits = make(map[string]es.Commit)
	}
	m.commits[c.ID] = c
}

// get returns the commit of that ID.
func (m *memo) get(id string) (es.Commit, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.commits[id]
	return c, ok
}

// take is get that forgets the commit, and tells only whether it was there.
func (m *memo) take(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.commits[id]
	delete(m.commits, id)
	return ok
}
