// Package org is the domain of company profiles: a name, a location and a
// description that their owner creates once and then updates.
//
//	profile, err := org.NewProfile("Acme", "Berlin", "")
//	...
//	result, err := es.Execute(ctx, journal, &org.Aggregate, id, org.Create(profile))
//
// Everything here is a pure function or a value: no I/O, no clock, no random
// values. The file is in the order in which one reads a domain: events, fold,
// decisions, and the one value that ties them together.
package org

import (
	"errors"

	"github.com/leftfold/leftfold/es"
)

// Event is what can happen to an org: [Created] or [Updated].
type Event interface{ event() }

// Created: the org exists from now on.
type Created struct{ Profile }

// Updated: the org has this profile from now on. It carries all of it, so that the
// latest event says what the org is.
type Updated struct{ Profile }

func (Created) event() {}
func (Updated) event() {}

// State is what a decision knows of an org. The zero State is that of an org
// which does not exist.
type State struct {
	Exists  bool    `json:"exists"`
	Profile Profile `json:"profile"`
}

// Fold returns the state after an event.
func Fold(s State, e Event) State {
	switch e := e.(type) {
	case Created:
		s = State{Exists: true, Profile: e.Profile}
	case Updated:
		s.Profile = e.Profile
	}
	return s
}

// What the decisions refuse.
var (
	// ErrExists: the org was created before.
	ErrExists = errors.New("org exists already")
	// ErrNotFound: the org was never created.
	ErrNotFound = errors.New("org does not exist")
)

// Create decides that an org begins to exist, or returns [ErrExists].
func Create(p Profile) func(State) ([]Event, error) {
	return func(s State) ([]Event, error) {
		if s.Exists {
			return nil, ErrExists
		}
		return []Event{Created{p}}, nil
	}
}

// Update decides that an org gets another profile, or returns [ErrNotFound]. If
// the org has that profile already, nothing happens: no events.
func Update(p Profile) func(State) ([]Event, error) {
	return func(s State) ([]Event, error) {
		switch {
		case !s.Exists:
			return nil, ErrNotFound
		case s.Profile == p:
			return nil, nil
		}
		return []Event{Updated{p}}, nil
	}
}

// Aggregate ties the functions together for [es.Execute], [es.Load] and [es.History].
var Aggregate = es.Aggregate[State, Event]{
	Category: "org",
	Fold:     Fold,
	Events: es.JSON(map[string]Event{
		"org.created": Created{},
		"org.updated": Updated{},
	}),
	Snapshots: es.Snapshots[State]{Schema: "org/1"},
}
