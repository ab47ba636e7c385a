package service

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
)

// Answer is what is kept of a command with an Idempotency-Key that added no event: its
// stream, which remembers the others, knows nothing of it. Without it, a PUT that
// changed nothing would change something when it is repeated after the PUT of
// somebody else.
//
// An answer that asks the client to come again, one with Retry-After, is not kept.
type Answer struct {
	Content []byte `json:"content"` // a digest of the request, as for [es.Named]
	Version uint64 `json:"version"` // of the stream
	Refusal string `json:"refusal"` // empty if the command was accepted
}

// KeepAnswers is how long answers are kept at least: as long as a stream remembers the names
// of its last commands, if the journal is not told otherwise.
const KeepAnswers = 24 * time.Hour

// refusals are the errors that are kept, apart from [es.VersionError].
var refusals = []struct {
	name string
	err  error
}{
	{"denied", otp.ErrDenied},
	{"exists", org.ErrExists},
	{"not-found", org.ErrNotFound},
}

const otherVersion = "other-version"

// once runs a command, under a key or nil. Repeated with the same content it has the result of
// the first time; with other content the error wraps [es.ErrNameReused].
func (s *Service) once(ctx context.Context, stream es.StreamID, k *idempotencyKey, run func(...es.Option) (es.Result, error)) (es.Result, error) {
	if k == nil {
		return run()
	}
	// A digest: stream and key together may be longer than an ID.
	kept := es.StreamID{Category: stream.Category, ID: hex.EncodeToString(s.Codes.Content("answer", stream.String(), k.name))}
	answer, err := s.Answers.Get(ctx, kept)
	if err != nil {
		return es.Result{}, fmt.Errorf("read the answer to a command of %s: %w", stream, err)
	}
	if answer.Version > 0 {
		return answer.Value.result(stream, k)
	}
	res, err := run(es.Named(k.name, k.content))
	first, ok := answerOf(res, err)
	if !ok {
		return res, err
	}
	// Before the client hears of it: what it has heard stays true.
	first.Content = k.content
	failed := s.Answers.Put(ctx, kept, es.View[Answer]{Version: 1, Value: first}, 0)
	if errors.Is(failed, es.ErrConflict) {
		// Sent twice at once, and the other was faster.
		if answer, failed = s.Answers.Get(ctx, kept); failed == nil {
			return answer.Value.result(stream, k)
		}
	}
	if failed != nil {
		return es.Result{}, fmt.Errorf("keep the answer to a command of %s: %w", stream, failed)
	}
	return res, err
}

// answerOf returns what is to be kept of a result, if anything is.
func answerOf(res es.Result, err error) (Answer, bool) {
	if err == nil {
		return Answer{Version: res.Version}, res.Time.IsZero()
	}
	if e, ok := errors.AsType[*es.VersionError](err); ok {
		return Answer{Version: e.Have, Refusal: otherVersion}, true
	}
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return Answer{Refusal: r.name}, true
		}
	}
	return Answer{}, false
}

// result returns what the command came to the first time.
func (a Answer) result(stream es.StreamID, k *idempotencyKey) (es.Result, error) {
	if !slices.Equal(a.Content, k.content) {
		return es.Result{}, fmt.Errorf("a command of %s: %w", stream, es.ErrNameReused)
	}
	switch a.Refusal {
	case "":
		return es.Result{Stream: stream, Version: a.Version, Status: es.Settled, Repeated: true}, nil
	case otherVersion:
		return es.Result{}, &es.VersionError{Stream: stream, Have: a.Version}
	}
	for _, r := range refusals {
		if r.name == a.Refusal {
			return es.Result{}, r.err
		}
	}
	return es.Result{}, fmt.Errorf("a command of %s was refused before for an unknown reason, %q", stream, a.Refusal)
}
