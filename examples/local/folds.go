package main

// The folds, as the console shows them. A test keeps them the same as those that run.
const (
	orgFold = `func Fold(s State, e Event) State {
	switch e := e.(type) {
	case Created:
		s = State{Exists: true, Profile: e.Profile}
	case Updated:
		s.Profile = e.Profile
	}
	return s
}
`

	otpFold = `func Fold(s State, e Event) State {
	s.Version++
	switch e := e.(type) {
	case Requested:
		copy(s.Times[:], s.Times[1:])
		s.Times[MaxRequests-1] = e.At
		s.Code = Code{Request: s.Version, ExpiresAt: e.ExpiresAt}
	case Sent:
		s.Code.Reported = s.Code.Reported || e.Request == s.Code.Request
	case SendFailed:
		s.Code.Reported = s.Code.Reported || e.Request == s.Code.Request
	case Rejected:
		if e.Request == s.Code.Request {
			s.Code.Attempts++
		}
	case Verified:
		s.Code.Used = s.Code.Used || e.Request == s.Code.Request
	}
	return s
}
`
)
