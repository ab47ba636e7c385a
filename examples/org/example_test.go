package org_test

import (
	"errors"
	"fmt"

	"github.com/leftfold/leftfold/examples/org"
)

// A decision is a function of the state; the fold makes the next state of what
// was decided.
func ExampleCreate() {
	profile, err := org.NewProfile("Acme", "Berlin", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	var state org.State
	events, err := org.Create(profile)(state)
	fmt.Printf("%T %v\n", events[0], err)

	for _, e := range events {
		state = org.Fold(state, e)
	}
	_, err = org.Create(profile)(state)
	fmt.Println(err)
	// Output:
	// org.Created <nil>
	// org exists already
}

// Nothing changed, nothing happens.
func ExampleUpdate() {
	profile, _ := org.NewProfile("Acme", "Berlin", "")
	moved, _ := org.NewProfile("Acme", "Paris", "")
	state := org.State{Exists: true, Profile: profile}

	same, _ := org.Update(profile)(state)
	events, _ := org.Update(moved)(state)
	fmt.Println(len(same), len(events), org.Fold(state, events[0]).Profile.Location)
	// Output: 0 1 Paris
}

// All that is wrong is said at once.
func ExampleNewProfile() {
	_, err := org.NewProfile(" ", "Berlin\x00Mitte", "A company.")
	fmt.Println(err)

	field, _ := errors.AsType[*org.FieldError](err)
	fmt.Println(field.Field)
	// Output:
	// name is empty
	// location contains a control character
	// name
}

// The view is another fold of the same events.
func ExampleFoldView() {
	profile, _ := org.NewProfile("Acme", "Berlin", "")
	moved, _ := org.NewProfile("Acme", "Paris", "")
	var view org.View
	for _, e := range []org.Event{org.Created{Profile: profile}, org.Updated{Profile: moved}} {
		view = org.FoldView(view, e)
	}
	fmt.Println(view.Profile.Name, view.Profile.Location)
	// Output: Acme Paris
}
