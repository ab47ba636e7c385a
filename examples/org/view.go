package org

// View is an org as it is read: its profile. The org's ID is that of the stream, its
// version that of the view.
type View struct {
	Profile Profile `json:"profile"`
}

// FoldView returns the view after an event, for an [es.Projection].
func FoldView(v View, e Event) View {
	switch e := e.(type) {
	case Created:
		v.Profile = e.Profile
	case Updated:
		v.Profile = e.Profile
	}
	return v
}
