package main_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
)

// history is everything that is known when all is over: what was stored, what was
// published, what is read, and what clients were told.
type history struct {
	stored    map[es.StreamID][]es.Commit // every slot, by version
	published []delivery                  // as it came
	views     map[es.StreamID]document
	told      []answer
}

// delivery is a message, by what the broker knows of it.
type delivery struct{ group, id string }

// document is a view, encoded.
type document struct {
	version uint64
	value   string
}

// answer is what a client was told of a command.
type answer struct {
	what    string // for people
	key     string // its Idempotency-Key; if it had none, the description in its event, which no other command has
	outcome outcome
	version uint64      // if accepted
	guess   bool        // a wrong one at a code, which is stored and denied
	stream  es.StreamID // for people, as is what was said
	said    string
}

// violation is something in which store, broker, views and answers do not agree.
type violation struct {
	stream es.StreamID // zero: none in particular
	text   string
}

type outcome string

const (
	accepted outcome = "accepted" // stored, and published sooner or later
	denied   outcome = "denied"   // not stored, and it never will be
	open     outcome = "open"     // one or the other
)

// outcomeOf says what an answer promises, by http-api: see package service.
func outcomeOf(status int, problem string) outcome {
	switch {
	case status >= 200 && status < 300:
		return accepted
	case status >= 400 && status < 500, status == 503 && (problem == "unavailable" || problem == "timeout"):
		return denied
	}
	return open // outcome unknown, or no answer of the function's at all
}

// commandName returns the name under which the service stores a command with this key.
func commandName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "http:" + hex.EncodeToString(sum[:16])
}

// check returns all violations as one error.
func (h history) check() error {
	var errs []error
	for _, v := range h.violations() {
		errs = append(errs, errors.New(v.text))
	}
	return errors.Join(errs...)
}

// effects returns the versions that commands led to, by their names.
func (h history) effects() map[string][]uint64 {
	effects := make(map[string][]uint64)
	for _, slots := range h.stored {
		for _, c := range slots {
			if c.Status == es.Revoked {
				continue
			}
			name := c.Command
			if name == "" {
				var event struct{ Description string }
				_ = json.Unmarshal([]byte(c.Events[0].Data), &event) // it may have none
				name = commandName(event.Description)
			}
			effects[name] = append(effects[name], c.Last())
		}
	}
	return effects
}

// tell returns all that is known of a stream, for people.
func (h history) tell(stream es.StreamID) string {
	var b strings.Builder
	versions := make(map[string]uint64)
	for _, c := range h.stored[stream] {
		fmt.Fprintf(&b, "\n\t%s@%d %v, ID %s, command %q", stream, c.Version, c.Status, c.ID, c.Command)
		for _, e := range c.Events {
			fmt.Fprintf(&b, ", %s %s", e.Type, e.Data)
		}
		versions[c.ID] = c.Version
	}
	b.WriteString("\n\tpublished:")
	for _, d := range h.published {
		if v, ok := versions[d.id]; ok {
			fmt.Fprintf(&b, " %d", v)
		}
	}
	fmt.Fprintf(&b, "\n\tview: %+v", h.views[stream])
	for _, a := range h.told {
		if a.stream == stream {
			fmt.Fprintf(&b, "\n\ttold: %s, key %s, command %q: %s, %s, version %d", a.what, a.key, commandName(a.key), a.outcome, a.said, a.version)
		}
	}
	return b.String()
}

// violations returns everything in which store, broker, views and answers do not agree.
func (h history) violations() (found []violation) {
	wrong := func(stream es.StreamID, format string, args ...any) {
		found = append(found, violation{stream, fmt.Sprintf(format, args...)})
	}

	commits := make(map[string]es.Commit) // those that are there, by ID
	for stream, slots := range h.stored {
		next := uint64(1)
		for _, c := range slots {
			switch {
			case c.Status == es.Revoked:
				continue
			case c.Status != es.Settled:
				wrong(stream, "%s@%d is %v", stream, c.Version, c.Status)
			}
			if c.Version != next {
				wrong(stream, "%s: version %d follows %d", stream, c.Version, next-1)
			}
			next = c.Last() + 1
			if _, ok := commits[c.ID]; ok {
				wrong(stream, "%s@%d: the ID %s is there twice", stream, c.Version, c.ID)
			}
			commits[c.ID] = c
		}
	}

	groups, sent := make(map[string]es.StreamID), make(map[string]bool)
	reached := make(map[es.StreamID]uint64)
	for _, d := range h.published {
		c, ok := commits[d.id]
		if !ok {
			wrong(es.StreamID{}, "published, but not stored: %s of group %s", d.id, d.group)
			continue
		}
		if other, ok := groups[d.group]; ok && other != c.Stream {
			wrong(c.Stream, "%s and %s share the group %s", c.Stream, other, d.group)
		}
		groups[d.group] = c.Stream
		if sent[d.id] {
			continue
		}
		sent[d.id] = true
		if c.Version <= reached[c.Stream] {
			wrong(c.Stream, "%s@%d was published after version %d", c.Stream, c.Version, reached[c.Stream])
		}
		reached[c.Stream] = c.Version
	}
	if len(groups) != len(reached) {
		wrong(es.StreamID{}, "%d groups for %d streams", len(groups), len(reached))
	}
	for id, c := range commits {
		if !sent[id] {
			wrong(c.Stream, "stored, but not published: %s@%d, which is %v", c.Stream, c.Version, c.Status)
		}
	}

	for stream, slots := range h.stored {
		want, err := fold(stream, slots)
		if err != nil {
			wrong(stream, "%s: %v", stream, err)
		}
		if got := h.views[stream]; got != want {
			wrong(stream, "the view of %s is\n%d %s, and should be\n%d %s", stream, got.version, got.value, want.version, want.value)
		}
	}

	// That it was stored is never taken back. A denial is of one request: what an earlier one with the same
	// key came to stays open.
	effects := h.effects()
	opened := make(map[string]bool)
	for _, a := range h.told {
		if a.outcome == open {
			opened[a.key] = true
		}
		at := effects[commandName(a.key)]
		switch {
		case len(at) > 1:
			wrong(a.stream, "%s took effect at %v", a.what, at)
		case a.outcome == accepted && (len(at) != 1 || at[0] != a.version):
			wrong(a.stream, "%s was accepted as version %d, and took effect at %v", a.what, a.version, at)
		case a.outcome == denied && len(at) > 0 && !a.guess && !opened[a.key]:
			wrong(a.stream, "%s was denied, and took effect at %v", a.what, at)
		}
	}
	return found
}

// fold returns the view that a stream should have.
func fold(stream es.StreamID, slots []es.Commit) (document, error) {
	if stream.Category == org.Aggregate.Category {
		return foldInto(org.FoldView, org.Aggregate.Events, slots)
	}
	return foldInto(otp.FoldView, otp.Aggregate.Events, slots)
}

func foldInto[V, E any](next func(V, E) V, codec es.Codec[E], slots []es.Commit) (d document, err error) {
	var v V
	for _, c := range slots {
		if c.Status == es.Revoked {
			continue
		}
		for _, stored := range c.Events {
			events, err := codec.Decode(nil, stored)
			if err != nil {
				return d, err
			}
			for _, e := range events {
				v = next(v, e)
			}
		}
		d.version = c.Last()
	}
	if d.version == 0 {
		return d, nil
	}
	return encode(es.View[V]{Version: d.version, Value: v}, nil)
}

func encode[V any](v es.View[V], err error) (document, error) {
	if err != nil || v.Version == 0 {
		return document{}, err
	}
	value, err := json.Marshal(v.Value)
	return document{v.Version, string(value)}, err
}

// history reads everything. The messages of the audit queue are read once.
func (s *system) history() (h history, err error) {
	ctx := s.t.Context()
	if h.stored, err = s.stored(ctx); err != nil {
		return h, err
	}
	if h.published, err = s.drainAudit(ctx); err != nil {
		return h, err
	}
	h.views = make(map[es.StreamID]document)
	for stream := range h.stored {
		if h.views[stream], err = s.view(ctx, stream); err != nil {
			return h, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h.told = slices.Clone(s.told)
	return h, nil
}

func (s *system) stored(ctx context.Context) (map[es.StreamID][]es.Commit, error) {
	found := make(map[es.StreamID][]es.Commit)
	for stream, err := range s.store.Streams(ctx, 0, 1, es.StreamID{}) {
		if err != nil {
			return nil, err
		}
		for c, err := range s.store.Load(ctx, stream, 0) {
			if err != nil {
				return nil, err
			}
			found[stream] = append(found[stream], c)
		}
	}
	return found, nil
}

func (s *system) view(ctx context.Context, stream es.StreamID) (document, error) {
	if stream.Category == org.Aggregate.Category {
		return encode(s.orgs.Get(ctx, stream))
	}
	return encode(s.otps.Get(ctx, stream))
}

func (s *system) drainAudit(ctx context.Context) ([]delivery, error) {
	var found []delivery
	all := &mapping{client: s.sqs, queue: s.audit, packed: true}
	for end := time.Now().Add(patient); ; {
		if err := all.drain(ctx, 0); err != nil {
			return nil, err
		}
		left, err := s.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &s.audit, AttributeNames: []types.QueueAttributeName{
			types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
		}})
		if err != nil {
			return nil, err
		}
		empty := true
		for _, n := range left.Attributes {
			empty = empty && n == "0"
		}
		if empty {
			break
		}
		// An answer was lost on its way: what was in it comes again.
		if time.Now().After(end) {
			return nil, fmt.Errorf("the audit queue does not get empty: %v", left.Attributes)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
	for group, g := range all.groups {
		for _, msg := range g.messages {
			found = append(found, delivery{group, msg.Attributes[string(types.MessageSystemAttributeNameMessageDeduplicationId)]})
		}
	}
	return found, nil
}

// settle finishes what crashed, by the schedule and by a mapping that is not running
// otherwise, until every view is as new as its stream.
func (s *system) settle() error {
	ctx := s.t.Context()
	end := time.Now().Add(patient)
	for {
		// What the relay could not do now it does the next time.
		relayed := s.schedule()
		for {
			n, err := s.mapping.step(ctx, 0)
			if err != nil {
				return err
			}
			if n == 0 && s.mapping.waiting() == 0 || time.Now().After(end) {
				break
			}
		}
		behind, err := s.behind(ctx)
		if err != nil {
			return err
		}
		switch {
		case len(behind) == 0 && relayed == nil:
			return nil
		case time.Now().After(end):
			return errors.Join(fmt.Errorf("not settled: %q", behind), relayed)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// behind returns what is unfinished: commits that are not settled, and views that are not at
// the end of their streams.
func (s *system) behind(ctx context.Context) (found []string, err error) {
	stored, err := s.stored(ctx)
	if err != nil {
		return nil, err
	}
	for stream, slots := range stored {
		var last uint64
		for _, c := range slots {
			if c.Status == es.Revoked {
				continue
			}
			if last = c.Last(); c.Status != es.Settled {
				found = append(found, fmt.Sprintf("%s@%d is %v", stream, c.Version, c.Status))
			}
		}
		view, err := s.view(ctx, stream)
		if err != nil {
			return nil, err
		}
		if view.version != last {
			found = append(found, fmt.Sprintf("the view of %s is at %d of %d", stream, view.version, last))
		}
	}
	return found, nil
}

// The oracle itself: it finds each lie in a history, and none in a true one.
func TestOracle(t *testing.T) {
	acme, code := es.StreamID{Category: "org", ID: "acme"}, es.StreamID{Category: "otp", ID: "jane"}
	event := func(e es.Event, err error) []es.Event {
		if err != nil {
			t.Fatal(err)
		}
		return []es.Event{e}
	}
	forge := func() *history {
		p, err := org.NewProfile("Acme", "Berlin", "")
		if err != nil {
			t.Fatal(err)
		}
		h := &history{
			stored: map[es.StreamID][]es.Commit{
				acme: {
					{Stream: acme, Version: 1, ID: "a1", Command: commandName("create"), Status: es.Settled, Events: event(org.Aggregate.Events.Encode(org.Created{Profile: p}))},
					{Stream: acme, Version: 2, ID: "a2", Command: commandName("update"), Status: es.Settled, Events: event(org.Aggregate.Events.Encode(org.Updated{Profile: p}))},
					{Stream: acme, Version: 3, ID: "a3", Command: commandName("undone"), Status: es.Revoked},
				},
				code: {
					{Stream: code, Version: 1, ID: "c1", Command: commandName("code"), Status: es.Settled, Events: event(otp.Aggregate.Events.Encode(otp.Requested{Channel: otp.Email}))},
				},
			},
			published: []delivery{{"g", "a1"}, {"h", "c1"}, {"g", "a2"}, {"g", "a1"}, {"h", "c1"}}, // two came again
			views:     map[es.StreamID]document{},
			told: []answer{
				{what: "create", key: "create", outcome: open, version: 0}, {what: "create", key: "create", outcome: accepted, version: 1}, {what: "code", key: "code", outcome: open, version: 0}, {what: "lost", key: "lost", outcome: open, version: 0}, {what: "undone", key: "undone", outcome: denied, version: 0},
			},
		}
		for stream, slots := range h.stored {
			var err error
			if h.views[stream], err = fold(stream, slots); err != nil {
				t.Fatal(err)
			}
		}
		return h
	}
	if err := forge().check(); err != nil {
		t.Errorf("a true history: %v", err)
	}
	if got := forge().views[acme]; got.version != 2 || !strings.Contains(got.value, "Acme") {
		t.Errorf("the view is %+v", got)
	}
	for lie, tell := range map[string]func(*history){
		"stored, but not published: org/acme@2":                 func(h *history) { h.published = h.published[:2] },
		"published, but not stored: x":                          func(h *history) { h.published = append(h.published, delivery{"g", "x"}) },
		"published, but not stored: a3":                         func(h *history) { h.published = append(h.published, delivery{"g", "a3"}) },
		"org/acme@1 was published after version 2":              func(h *history) { h.published[0].id, h.published[2].id = "a2", "a1" },
		"org/acme and otp/jane share the group g":               func(h *history) { h.published[1].group = "g" },
		"3 groups for 2 streams":                                func(h *history) { h.published[2].group = "i" },
		"org/acme@2 is pending":                                 func(h *history) { h.stored[acme][1].Status = es.Pending },
		"org/acme@2 is claimed":                                 func(h *history) { h.stored[acme][1].Status = es.Claimed },
		"org/acme: version 2 follows 0":                         func(h *history) { h.stored[acme] = h.stored[acme][1:] },
		"org/acme: version 1 follows 1":                         func(h *history) { h.stored[acme][1].Version = 1 },
		"the ID a1 is there twice":                              func(h *history) { h.stored[acme][1].ID = "a1" },
		"the view of otp/jane is\n0":                            func(h *history) { delete(h.views, code) },
		"the view of org/acme is\n1":                            func(h *history) { h.views[acme] = document{1, h.views[acme].value} },
		"the view of org/acme is\n3":                            func(h *history) { h.views[acme] = document{3, h.views[acme].value} },
		"the view of org/acme is\n2 {}":                         func(h *history) { h.views[acme] = document{2, "{}"} },
		"create took effect at [1 2]":                           func(h *history) { h.stored[acme][1].Command = commandName("create") },
		"create was accepted as version 2, and took effect at":  func(h *history) { h.told[1].version = 2 },
		"lost was accepted as version 1, and took effect at []": func(h *history) { h.told[3].outcome, h.told[3].version = accepted, 1 },
		"code was denied, and took effect at [1]":               func(h *history) { h.told[2].outcome = denied },
	} {
		h := forge()
		tell(h)
		if err := h.check(); err == nil || !strings.Contains(err.Error(), lie) {
			t.Errorf("want %q, got: %v", lie, err)
		}
	}

	for _, tt := range []struct {
		status  int
		problem string
		want    outcome
	}{
		{200, "", accepted}, {201, "", accepted}, {202, "", accepted},
		{401, "code-denied", denied}, {409, "conflict", denied}, {429, "too-many-codes", denied}, {503, "unavailable", denied}, {503, "timeout", denied},
		{503, "outcome-unknown", open}, {500, "internal", open}, {502, "", open}, {503, "", open}, {504, "", open},
	} {
		if got := outcomeOf(tt.status, tt.problem); got != tt.want {
			t.Errorf("%d %s is %s", tt.status, tt.problem, got)
		}
	}
}
