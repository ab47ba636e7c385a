package org_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matryer/is"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/examples/org"
)

func profile(t *testing.T, name string) org.Profile {
	t.Helper()
	p, err := org.NewProfile(name, "Berlin", "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAggregate(t *testing.T) {
	estest.TestAggregate(t, &org.Aggregate, []org.Event{
		org.Created{Profile: profile(t, "Acme")},
		org.Updated{Profile: profile(t, "Acme & Sons")},
		org.Updated{Profile: profile(t, "Acme")},
	})
}

func TestDecisions(t *testing.T) {
	acme, sons := profile(t, "Acme"), profile(t, "Acme & Sons")
	estest.TestDecisions(t, &org.Aggregate, []estest.Case[org.State, org.Event]{
		{Name: "create", When: org.Create(acme), Then: []org.Event{org.Created{Profile: acme}}},
		{Name: "create what exists", Given: []org.Event{org.Created{Profile: acme}}, When: org.Create(sons), Err: org.ErrExists},
		{Name: "update", Given: []org.Event{org.Created{Profile: acme}}, When: org.Update(sons), Then: []org.Event{org.Updated{Profile: sons}}},
		{Name: "update what does not exist", When: org.Update(acme), Err: org.ErrNotFound},
		{Name: "update without a change", Given: []org.Event{org.Created{Profile: acme}}, When: org.Update(acme)},
		{
			Name:  "update back to what it was",
			Given: []org.Event{org.Created{Profile: acme}, org.Updated{Profile: sons}},
			When:  org.Update(acme), Then: []org.Event{org.Updated{Profile: acme}},
		},
		{
			Name:  "update without a change to the last update",
			Given: []org.Event{org.Created{Profile: acme}, org.Updated{Profile: sons}},
			When:  org.Update(sons),
		},
	})
}

// What is stored is history: its form must not change by accident.
func TestStoredForm(t *testing.T) {
	is := is.New(t)
	p, err := org.NewProfile("Acme", "Berlin", `says "hi"`)
	is.NoErr(err)
	for name, e := range map[string]org.Event{"org.created": org.Created{Profile: p}, "org.updated": org.Updated{Profile: p}} {
		stored, err := org.Aggregate.Events.Encode(e)
		is.NoErr(err)
		is.Equal(stored.Type, name)
		is.Equal(stored.Data, `{"name":"Acme","location":"Berlin","description":"says \"hi\""}`)
	}
	is.Equal(org.Aggregate.Events.Types(), []string{"org.created", "org.updated"})

	// The rules of today do not judge the past.
	events, err := org.Aggregate.Events.Decode(nil, es.Event{Type: "org.created", Data: `{"name":" ","location":"x\ny"}`})
	is.NoErr(err)
	created, ok := events[0].(org.Created)
	is.True(ok)
	is.Equal(created.Name.String(), " ")
	is.Equal(created.Location.String(), "x\ny")
}

func TestTexts(t *testing.T) {
	const combined = "e\u0301" // one letter, two characters
	for _, tt := range []struct {
		name, in, want, problem string
	}{
		{"plain", "Acme", "Acme", ""},
		{"inner spaces stay", "A  B", "A  B", ""},
		{"trimmed", " \t\r\n Acme \n", "Acme", ""},
		{"NBSP and other white space is trimmed", "\u00a0\u2003Acme\u3000\u0085", "Acme", ""},
		{"inner NBSP stays", "A\u00a0B", "A\u00a0B", ""},
		{"zero-width joiner is no white space", "\u200dA", "\u200dA", ""},
		{"the limit", strings.Repeat("x", 120), strings.Repeat("x", 120), ""},
		{"the limit counts after trimming", " " + strings.Repeat("x", 120) + " ", strings.Repeat("x", 120), ""},
		{"one too many", strings.Repeat("x", 121), "", "has 121 characters, at most 120 are allowed"},
		{"characters and not bytes", strings.Repeat("語", 120), strings.Repeat("語", 120), ""},
		{"beyond the basic plane", strings.Repeat("🏢", 120), strings.Repeat("🏢", 120), ""},
		{"combining characters count", strings.Repeat(combined, 60), strings.Repeat(combined, 60), ""},
		{"combining characters count, one too many", strings.Repeat(combined, 60) + "x", "", "has 121 characters, at most 120 are allowed"},
		{"empty", "", "", "is empty"},
		{"only white space", " \u00a0\n", "", "is empty"},
		{"line feed", "A\nB", "", "contains a control character"},
		{"NUL", "\x00", "", "contains a control character"},
		{"DEL", "A\x7f", "", "contains a control character"},
		{"C1", "A\u009bB", "", "contains a control character"},
		{"invalid UTF-8", "A\xffB", "", "is not valid UTF-8"},
		{"invalid UTF-8 at the end", "A\xc3", "", "is not valid UTF-8"},
		{"a surrogate", "A\xed\xa0\x80", "", "is not valid UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			n, err := org.NewName(tt.in)
			is.Equal(n.String(), tt.want)
			if tt.problem == "" {
				is.NoErr(err)
				return
			}
			e, ok := errors.AsType[*org.FieldError](err)
			is.True(ok)
			is.Equal(*e, org.FieldError{Field: "name", Problem: tt.problem})
		})
	}
}

func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		field       string
		least, most int
		make        func(string) (interface{ String() string }, error)
	}{
		{"name", 1, 120, func(s string) (interface{ String() string }, error) { return org.NewName(s) }},
		{"location", 1, 150, func(s string) (interface{ String() string }, error) { return org.NewLocation(s) }},
		{"description", 0, 1200, func(s string) (interface{ String() string }, error) { return org.NewDescription(s) }},
	} {
		for _, n := range []int{0, 1, tt.most, tt.most + 1} {
			in := strings.Repeat("ü", n)
			v, err := tt.make(in)
			if valid := n >= tt.least && n <= tt.most; valid != (err == nil) {
				t.Errorf("%s of %d characters: %v", tt.field, n, err)
			} else if valid && v.String() != in {
				t.Errorf("%s of %d characters became %d", tt.field, n, utf8.RuneCountInString(v.String()))
			}
			if e, ok := errors.AsType[*org.FieldError](err); err != nil && (!ok || e.Field != tt.field) {
				t.Errorf("%s: %#v", tt.field, err)
			}
		}
	}
}

func TestProfileSaysAllProblems(t *testing.T) {
	is := is.New(t)
	_, err := org.NewProfile("", "a\nb", strings.Repeat("x", 1201))
	var fields []string
	for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
		e, ok := errors.AsType[*org.FieldError](err)
		is.True(ok)
		fields = append(fields, e.Field)
	}
	is.Equal(fields, []string{"name", "location", "description"})
}

// The view and the state are folds of the same events, and may not disagree.
func TestViewAgreesWithState(t *testing.T) {
	is := is.New(t)
	var s org.State
	var v org.View
	for _, e := range []org.Event{
		org.Created{Profile: profile(t, "A")}, org.Updated{Profile: profile(t, "B")}, org.Updated{Profile: profile(t, "C")},
	} {
		s, v = org.Fold(s, e), org.FoldView(v, e)
		is.Equal(s.Profile, v.Profile)
	}
	is.Equal(v.Profile.Name.String(), "C")

	data, err := json.Marshal(v)
	is.NoErr(err)
	var back org.View
	is.NoErr(json.Unmarshal(data, &back))
	is.Equal(back, v)
}
