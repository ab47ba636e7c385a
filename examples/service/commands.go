package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
)

// requestCode is POST /otp.
func (s *Service) requestCode(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "channel", "to")
	if err != nil {
		return err
	}
	to, err := otp.NewAddress(otp.Channel(f.values["channel"]), f.values["to"])
	if err := f.check(err); err != nil {
		return err
	}
	key, err := s.readKey(r, f)
	if err != nil {
		return err
	}
	id := s.Codes.StreamID(to)
	res, event, err := s.executeOTP(r.Context(), id, otp.Request(s.Codes, to, s.now()), key)
	if err != nil {
		return err
	}
	requested, ok := event.(otp.Requested)
	if !ok {
		return fmt.Errorf("event %d of %s is %T, not a request", res.Version, res.Stream, event)
	}
	// Always 202: the code is still to be sent.
	return answer(w, http.StatusAccepted, res, struct {
		Challenge string    `json:"challenge"`
		ExpiresAt time.Time `json:"expires_at"`
		Version   uint64    `json:"version"`
	}{s.Codes.Challenge(id, res.Version), requested.ExpiresAt, res.Version})
}

// verifyCode is POST /otp/verify.
func (s *Service) verifyCode(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "to", "challenge", "code")
	if err != nil {
		return err
	}
	f.require("to", "challenge", "code")
	if err := f.check(nil); err != nil {
		return err
	}
	key, err := s.readKey(r, f)
	if err != nil {
		return err
	}
	to, err := otp.ParseAddress(f.values["to"])
	if err != nil {
		return otp.ErrDenied // an address that cannot be is unknown like any other
	}
	id := s.Codes.StreamID(to)
	res, event, err := s.executeOTP(r.Context(), id, otp.Verify(s.Codes, id, f.values["challenge"], f.values["code"], s.now()), key)
	if err != nil {
		return err
	}
	// Only here, with the attempt stored, is the answer told.
	if _, ok := event.(otp.Verified); !ok {
		return otp.ErrDenied
	}
	subject := s.Codes.Subject(to)
	token, expires, err := s.Tokens.issue(subject, res.Time, res.Version)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, res, struct {
		Token     string    `json:"token"`
		Type      string    `json:"token_type"`
		ExpiresAt time.Time `json:"expires_at"`
		Subject   string    `json:"subject"`
		Version   uint64    `json:"version"`
	}{token, "Bearer", expires, subject, res.Version})
}

// executeOTP runs a decision of one event and returns that event. For a command that was
// repeated this is the event of the first time, whatever would be decided now; it is read
// from the history, which costs what the stream costs to read, and is rare.
func (s *Service) executeOTP(ctx context.Context, id string, decide func(otp.State) ([]otp.Event, error), k *idempotencyKey) (es.Result, otp.Event, error) {
	var decided []otp.Event
	res, err := s.once(ctx, es.StreamID{Category: otp.Aggregate.Category, ID: id}, k, func(options ...es.Option) (es.Result, error) {
		return es.Execute(ctx, s.Journal, &otp.Aggregate, id, func(state otp.State) (_ []otp.Event, err error) {
			decided, err = decide(state)
			return decided, err
		}, options...)
	})
	switch {
	case err != nil:
		return res, nil, err
	case !res.Repeated:
		return res, decided[0], nil
	}
	for step, err := range es.History(ctx, s.Journal, &otp.Aggregate, id) {
		if err != nil {
			return res, nil, err
		}
		if step.Version == res.Version {
			return res, step.Event, nil
		}
	}
	return res, nil, fmt.Errorf("a repeated command of %s has no event at version %d", res.Stream, res.Version)
}

// createOrg is POST /orgs. The org's ID is the token's subject: one org for each.
func (s *Service) createOrg(w http.ResponseWriter, r *http.Request) error {
	id, err := s.Tokens.subject(r, s.now())
	if err != nil {
		return err
	}
	profile, key, err := s.readProfile(w, r)
	if err != nil {
		return err
	}
	res, err := s.once(r.Context(), orgStream(id), key, func(options ...es.Option) (es.Result, error) {
		return es.Execute(r.Context(), s.Journal, &org.Aggregate, id, org.Create(profile), options...)
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/orgs/"+id)
	return answer(w, http.StatusCreated, res, document(id, profile, res.Version))
}

// updateOrg is PUT /orgs/{id}.
func (s *Service) updateOrg(w http.ResponseWriter, r *http.Request) error {
	id, err := s.owner(r)
	if err != nil {
		return err
	}
	profile, key, err := s.readProfile(w, r)
	if err != nil {
		return err
	}
	match, err := readCondition(r, "If-Match")
	if err != nil {
		return err
	}
	res, err := s.once(r.Context(), orgStream(id), key, func(options ...es.Option) (es.Result, error) {
		return match.execute(func(precondition ...es.Option) (es.Result, error) {
			return es.Execute(r.Context(), s.Journal, &org.Aggregate, id, org.Update(profile), append(precondition, options...)...)
		})
	})
	if e, ok := errors.AsType[*es.VersionError](err); ok && e.Have == 0 {
		return org.ErrNotFound
	}
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, res, document(id, profile, res.Version))
}

func orgStream(id string) es.StreamID {
	return es.StreamID{Category: org.Aggregate.Category, ID: id}
}

// owner returns the ID in the path if it is the token's subject.
func (s *Service) owner(r *http.Request) (string, error) {
	subject, err := s.Tokens.subject(r, s.now())
	if err != nil {
		return "", err
	}
	if r.PathValue("id") != subject {
		return "", newProblem(http.StatusForbidden, "forbidden", "Forbidden", "The token is not that of this org's owner.")
	}
	return subject, nil
}

func (s *Service) readProfile(w http.ResponseWriter, r *http.Request) (org.Profile, *idempotencyKey, error) {
	f, err := readForm(w, r, "name", "location", "description")
	if err != nil {
		return org.Profile{}, nil, err
	}
	profile, err := org.NewProfile(f.values["name"], f.values["location"], f.values["description"])
	if err := f.check(err); err != nil {
		return org.Profile{}, nil, err
	}
	key, err := s.readKey(r, f)
	return profile, key, err
}

// answer is that of a command which was accepted: with the version that it led to as the
// ETag, and with 202 in place of the status while its publication is not confirmed.
func answer(w http.ResponseWriter, status int, res es.Result, body any) error {
	if res.Status == es.Pending {
		status = http.StatusAccepted
	}
	w.Header().Set("ETag", etag(res.Version))
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, status, body)
}

// orgDocument is an org as clients see it.
type orgDocument struct {
	ID string `json:"id"`
	org.Profile
	Version uint64 `json:"version"`
}

func document(id string, p org.Profile, version uint64) orgDocument {
	return orgDocument{ID: id, Profile: p, Version: version}
}
