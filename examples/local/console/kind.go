package console

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/leftfold/leftfold/es"
)

// Kind is one kind of stream: an aggregate, its views, and how its fold reads in Go.
type Kind struct {
	category string
	fold     string
	history  func(ctx context.Context, store es.Store, id string) (history, error)
	view     func(ctx context.Context, stream es.StreamID) (version uint64, document any, err error)
}

// Of returns the kind of an aggregate whose streams are projected to views. Fold is the
// source of the aggregate's fold, for people.
func Of[S, E, V any](a *es.Aggregate[S, E], views es.Views[V], fold string) Kind {
	return Kind{
		category: a.Category,
		fold:     fold,
		history: func(ctx context.Context, store es.Store, id string) (history, error) {
			return historyOf(ctx, store, a, id)
		},
		view: func(ctx context.Context, stream es.StreamID) (uint64, any, error) {
			v, err := views.Get(ctx, stream)
			return v.Version, v.Value, err
		},
	}
}

// maxHistory is how many events of a stream the page travels through: the newest.
const maxHistory = 500

// history is a stream as the page travels through it: a state, and what happened to it.
type history struct {
	Stream string  `json:"stream"`
	Fold   string  `json:"fold"`
	From   uint64  `json:"from"`  // the version of the first state
	State  any     `json:"state"` // at that version
	Steps  []moved `json:"steps"`
}

// moved is an event, and the state after it.
type moved struct {
	Version uint64            `json:"version"`
	Type    string            `json:"type"`
	Go      string            `json:"go"` // the name of the Go type, without its package
	Time    time.Time         `json:"time"`
	Commit  string            `json:"commit"`
	Meta    map[string]string `json:"meta,omitempty"`
	Data    any               `json:"data"`
	State   any               `json:"state"`
}

func historyOf[S, E any](ctx context.Context, store es.Store, a *es.Aggregate[S, E], id string) (history, error) {
	var zero S
	h := history{State: zero, Steps: []moved{}}
	for step, err := range es.History(ctx, &es.Journal{Store: store}, a, id) {
		if err != nil {
			return h, err
		}
		name := fmt.Sprintf("%T", step.Event)
		h.Steps = append(h.Steps, moved{
			Version: step.Version, Type: step.Type, Go: name[strings.LastIndexByte(name, '.')+1:],
			Time: step.Time, Commit: step.Commit, Meta: step.Meta, Data: step.Event, State: step.State,
		})
		if len(h.Steps) == 2*maxHistory { // halved, and not moved with each event
			h.cut()
		}
	}
	h.cut()
	return h, nil
}

// cut leaves the newest events.
func (h *history) cut() {
	if n := len(h.Steps) - maxHistory; n > 0 {
		h.From, h.State = h.Steps[n-1].Version, h.Steps[n-1].State
		h.Steps = append([]moved{}, h.Steps[n:]...)
	}
}
