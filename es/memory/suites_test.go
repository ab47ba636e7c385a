package memory_test

import (
	"testing"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/es/memory"
)

func TestStore(t *testing.T) {
	estest.TestStore(t, func(*testing.T) es.Store { return new(memory.Store) })
}
