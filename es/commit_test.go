package es_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/leftfold/leftfold/es"
)

func TestStreamID(t *testing.T) {
	for _, good := range []es.StreamID{
		{Category: "org", ID: "42"}, {Category: "org", ID: "a/b/c"}, {Category: "größe", ID: "日本 語"},
		{Category: strings.Repeat("c", es.MaxCategory), ID: strings.Repeat("i", es.MaxID)},
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for _, bad := range []struct {
		stream es.StreamID
		says   string
	}{
		{es.StreamID{}, "category is empty"},
		{es.StreamID{Category: "org"}, "ID is empty"},
		{es.StreamID{Category: "a/b", ID: "1"}, "category contains a slash"},
		{es.StreamID{Category: strings.Repeat("c", es.MaxCategory+1), ID: "1"}, "category has 65 bytes"},
		{es.StreamID{Category: "org", ID: strings.Repeat("i", es.MaxID+1)}, "ID has 257 bytes"},
		{es.StreamID{Category: "org", ID: "\xff"}, "ID is not UTF-8"},
		{es.StreamID{Category: "org", ID: "a\u0085b"}, "ID contains a control character"},
	} {
		if err := bad.stream.Validate(); !errors.Is(err, es.ErrInvalid) || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%v: %v, want %q", bad.stream, err, bad.says)
		}
	}
}

func TestCommitValidate(t *testing.T) {
	good := func() es.Commit { return raw(1, "id", "a", "b") }
	if err := good().Validate(); err != nil {
		t.Error(err)
	}
	for says, spoil := range map[string]func(*es.Commit){
		"ID is empty":                                   func(c *es.Commit) { c.Stream.ID = "" },
		"version is 0":                                  func(c *es.Commit) { c.Version = 0 },
		"the version of its last event is above":        func(c *es.Commit) { c.Version = math.MaxUint64 },
		"commit ID is empty":                            func(c *es.Commit) { c.ID = "" },
		"commit ID has 129 bytes":                       func(c *es.Commit) { c.ID = strings.Repeat("x", 129) },
		"command name has 129 bytes":                    func(c *es.Commit) { c.Command = strings.Repeat("x", 129) },
		"0 events":                                      func(c *es.Commit) { c.Events = nil },
		"1001 events":                                   func(c *es.Commit) { c.Events = make([]es.Event, 1001) },
		"event 2: invalid: event type is empty":         func(c *es.Commit) { c.Events[1].Type = "" },
		"33 metadata entries":                           func(c *es.Commit) { c.Meta = map[string]string{}; fillMeta(c.Meta, 33) },
		`metadata "k" is not UTF-8`:                     func(c *es.Commit) { c.Meta = meta("k", "\xff") },
		"it replaces a commit of its own ID":            func(c *es.Commit) { c.Replaces = c.ID },
		"metadata key is empty":                         func(c *es.Commit) { c.Meta = meta("", "v") },
		`metadata "k" has 1025 bytes, at most 1024 are`: func(c *es.Commit) { c.Meta = meta("k", strings.Repeat("x", 1025)) },
	} {
		c := good()
		spoil(&c)
		if err := c.Validate(); !errors.Is(err, es.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

func fillMeta(m map[string]string, n int) {
	for i := range n {
		m[strings.Repeat("k", i+1)] = ""
	}
}

func TestStatusString(t *testing.T) {
	for s, want := range map[es.Status]string{es.Pending: "pending", es.Claimed: "claimed", es.Settled: "settled", es.Revoked: "revoked", 9: "status(9)"} {
		if s.String() != want {
			t.Errorf("%d is %q", s, s)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	cause := errors.New("cause")
	for want, err := range map[string]error{
		"outcome unknown of commit c at counter/1@2: cause":                  &es.UnknownError{Stream: theStream, Version: 2, ID: "c", Err: cause},
		"stream counter/1 is blocked by commit c at version 2: cause":        &es.BlockedError{Stream: theStream, Version: 2, ID: "c", Err: cause},
		"stream counter/1 is at version 3, not at 2":                         &es.VersionError{Stream: theStream, Want: 2, Have: 3},
		"stream counter/1 has a gap: it ends before version 2":               &es.GapError{Stream: theStream, Want: 2},
		"stream counter/1 has a gap: version 2 should come next, and 4 came": &es.GapError{Stream: theStream, Want: 2, Have: 4},
		`event "counted" at counter/1@2: cause`:                              &es.EventError{Stream: theStream, Version: 2, Type: "counted", Err: cause},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
