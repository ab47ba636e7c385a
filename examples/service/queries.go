package service

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
)

// getOrg is GET /orgs/{id}.
func (s *Service) getOrg(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	stream := orgStream(id)
	if stream.Validate() != nil {
		return notFound("There is no org with this ID.")
	}
	// Anybody may keep it, and has to ask whether it is still true.
	w.Header().Set("Cache-Control", "no-cache")
	return query(w, r, func(ctx context.Context) (any, uint64, error) {
		view, err := s.OrgViews.Get(ctx, stream)
		return document(id, view.Value.Profile, view.Version), view.Version, err
	})
}

// getCode is GET /otp/{challenge}. Whoever has the challenge may ask.
func (s *Service) getCode(w http.ResponseWriter, r *http.Request) error {
	challenge := r.PathValue("challenge")
	id, request, ok := s.Codes.Locate(challenge)
	if !ok {
		return notFound("There is nothing at this path yet.")
	}
	stream := es.StreamID{Category: otp.Aggregate.Category, ID: id}
	w.Header().Set("Cache-Control", "no-store")
	type document struct {
		Challenge string     `json:"challenge"`
		Status    otp.Status `json:"status"`
		ExpiresAt time.Time  `json:"expires_at"`
		Version   uint64     `json:"version"`
	}
	return query(w, r, func(ctx context.Context) (any, uint64, error) {
		view, err := s.OTPViews.Get(ctx, stream)
		found, ok := view.Value.Find(request)
		if err != nil || !ok {
			return nil, 0, err
		}
		return document{challenge, found.Status, found.ExpiresAt, view.Version}, view.Version, nil
	})
}

// query answers with a view: 200 if it is newer than what the client knows by its
// If-None-Match, 304 if it is not, 404 if there is none; at once, or as late as the
// client prefers.
//
// A view that is older than what the client knows is 304 as well: a client
// that waits for version 3 by the tag "2" must not be told of version 1.
func query(w http.ResponseWriter, r *http.Request, get func(context.Context) (any, uint64, error)) error {
	condition, err := readCondition(r, "If-None-Match")
	if err != nil {
		return err
	}
	doc, version, err := await(w, r, condition.known(), get)
	switch {
	case err != nil:
		return err
	case version == 0:
		return notFound("There is nothing at this path yet.")
	}
	w.Header().Set("ETag", etag(version))
	if version <= condition.known() {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return writeJSON(w, http.StatusOK, doc)
}

// getHistory is GET /orgs/{id}/history, with ?version=n or without.
func (s *Service) getHistory(w http.ResponseWriter, r *http.Request) error {
	id, err := s.owner(r)
	if err != nil {
		return err
	}
	var at uint64 // 0: all versions
	if values, ok := r.URL.Query()["version"]; ok {
		at, err = strconv.ParseUint(values[0], 10, 64)
		if err != nil || at == 0 || len(values) > 1 {
			return malformed("version must be one whole number from 1.")
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	type entry struct {
		Version uint64      `json:"version"`
		Type    string      `json:"type"`
		Time    time.Time   `json:"time"`
		Data    org.Event   `json:"data"`
		State   org.Profile `json:"state"`
	}
	var events []entry
	for step, err := range es.History(r.Context(), s.Journal, &org.Aggregate, id) {
		if err != nil {
			return err
		}
		if step.Version == at {
			return writeJSON(w, http.StatusOK, struct {
				Version uint64      `json:"version"`
				State   org.Profile `json:"state"`
			}{at, step.State.Profile})
		}
		if at == 0 {
			events = append(events, entry{step.Version, step.Type, step.Time, step.Event, step.State.Profile})
		}
	}
	switch {
	case at > 0:
		return notFound("The org has not reached this version.")
	case len(events) == 0:
		return notFound("This org was never created. Create it with POST /orgs.")
	}
	return writeJSON(w, http.StatusOK, map[string][]entry{"events": events})
}
