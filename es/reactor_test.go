package es_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/leftfold/leftfold/es"
)

func TestReactor(t *testing.T) {
	tap := newTap()
	j := tap.journal()
	var seen []string
	echo := es.Reactor[Counted]{
		Name: "echo", Category: "counter", Events: counter.Events,
		React: func(ctx context.Context, e es.Recorded[Counted], command string) error {
			seen = append(seen, fmt.Sprintf("%s@%d %s", e.Stream, e.Version, e.Event.By))
			_, err := es.Execute(ctx, j, &counter, "echo", count(e.Event.By), es.Named(command, nil))
			return err
		},
	}
	ctx := es.WithMeta(t.Context(), meta("actor", "ada"))
	if _, err := es.Execute(ctx, j, &counter, "1", count("a", "b")); err != nil {
		t.Fatal(err)
	}
	cause := tap.published[0]
	for range 3 {
		if err := echo.Handle(t.Context(), cause); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(seen[:2], ", "); got != "counter/1@1 a, counter/1@2 b" || len(seen) != 6 {
		t.Errorf("seen %v", seen)
	}
	echoed := es.StreamID{Category: "counter", ID: "echo"}
	all := slots(t, tap.Store, echoed)
	if len(all) != 2 {
		t.Fatalf("three deliveries caused %d commits", len(all))
	}
	for _, c := range all {
		if c.Meta[es.MetaCorrelation] != cause.ID || c.Meta[es.MetaCausation] != cause.ID {
			t.Errorf("metadata %v", c.Meta)
		}
	}
	// What the effects cause in turn has the same correlation.
	if err := echo.Handle(t.Context(), all[0]); err != nil {
		t.Fatal(err)
	}
	all = slots(t, tap.Store, echoed)
	if c := all[2]; c.Meta[es.MetaCorrelation] != cause.ID || c.Meta[es.MetaCausation] != all[0].ID {
		t.Errorf("metadata %v", c.Meta)
	}
}

func TestReactorErrors(t *testing.T) {
	boom := errors.New("boom")
	var seen []string
	r := es.Reactor[TaskEvent]{
		Name: "r", Category: "tasks",
		Events: newCodec(es.Upcast{Type: "two", To: func([]byte) ([]es.Event, error) {
			return []es.Event{{Type: "task.added", Data: `{"Title":"x"}`}, {Type: "task.added", Data: `{"Title":"y"}`}}, nil
		}}),
		React: func(_ context.Context, e es.Recorded[TaskEvent], command string) error {
			seen = append(seen, command)
			if e.Event == (Added{"fails"}) {
				return boom
			}
			return nil
		},
	}
	commit := func(events ...es.Event) es.Commit {
		return es.Commit{Stream: es.StreamID{Category: "tasks", ID: "1"}, Version: 1, ID: "c", Events: events}
	}
	good, bad := es.Event{Type: "task.added", Data: `{}`}, es.Event{Type: "task.added", Data: `{"Title":"fails"}`}
	if err := r.Handle(t.Context(), commit(good, bad, good)); !errors.Is(err, boom) || !strings.Contains(err.Error(), "tasks/1@2") || len(seen) != 2 {
		t.Errorf("%v after %v", err, seen)
	}
	if err := r.Handle(t.Context(), commit(es.Event{Type: "strange"})); !errors.Is(err, es.ErrUnknownEvent) {
		t.Errorf("%v", err)
	}
	if err := r.Handle(t.Context(), commit()); !errors.Is(err, es.ErrInvalid) {
		t.Errorf("malformed: %v", err)
	}
	seen = nil
	if err := r.Handle(t.Context(), commit(es.Event{Type: "two"}, good)); err != nil || strings.Join(seen, " ") != "r:c:0 r:c:0.1 r:c:1" {
		t.Errorf("commands %v, %v", seen, err)
	}
	other := commit(good)
	other.Stream.Category = "other"
	if err := r.Handle(t.Context(), other); err != nil || len(seen) != 3 {
		t.Errorf("of another category: %v", err)
	}
}
