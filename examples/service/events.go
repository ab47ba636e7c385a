package service

import (
	"context"
	"errors"
	"log/slog"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
)

// senderName names the reactor in the commands that it executes. It is history.
const senderName = "otp-sender"

// Handle is the subscriber for everything: [Service.Project], then [Service.React].
// After an error the commit has to be delivered again.
func (s *Service) Handle(ctx context.Context, c es.Commit) error {
	// Both, always: a view that cannot be written must not keep a code back.
	return errors.Join(s.Project(ctx, c), s.React(ctx, c))
}

// Project is the subscriber that brings the views up to date.
func (s *Service) Project(ctx context.Context, c es.Commit) error {
	orgs, otps := s.Projections()
	return errors.Join(orgs.Handle(ctx, c), otps.Handle(ctx, c))
}

// Projections returns the projections behind [Service.Project], for a rebuild.
func (s *Service) Projections() (*es.Projection[org.View, org.Event], *es.Projection[otp.View, otp.Event]) {
	return &es.Projection[org.View, org.Event]{
			Category: org.Aggregate.Category, Events: org.Aggregate.Events, Fold: org.FoldView,
			Views: s.OrgViews, Store: s.Journal.Store, Logger: s.Logger,
		}, &es.Projection[otp.View, otp.Event]{
			Category: otp.Aggregate.Category, Events: otp.Aggregate.Events, Fold: otp.FoldView,
			Views: s.OTPViews, Store: s.Journal.Store, Logger: s.Logger,
		}
}

// React is the subscriber that sends codes.
func (s *Service) React(ctx context.Context, c es.Commit) error {
	r := es.Reactor[otp.Event]{
		Name: senderName, Category: otp.Aggregate.Category, Events: otp.Aggregate.Events, React: s.send, Logger: s.Logger,
	}
	return r.Handle(ctx, c)
}

// send turns a requested code into a message, and then reports on the stream
// whether it was sent; it was not if the address cannot be opened. The message may be sent twice if the report fails and the
// event comes again; it is the same code both times.
func (s *Service) send(ctx context.Context, e es.Recorded[otp.Event], command string) error {
	requested, ok := e.Event.(otp.Requested)
	if !ok {
		return nil
	}
	id := e.Stream.ID
	state, _, err := es.Load(ctx, s.Journal, &otp.Aggregate, id)
	if err != nil {
		return err
	}
	if !state.ToSend(e.Version, requested, s.now()) {
		return nil
	}
	report := otp.ReportSent(e.Version)
	if to, ok := s.Codes.Open(id, requested.Sealed); ok {
		err = s.Sender.Send(ctx, newMessage(to, requested.At, s.Codes.Code(id, e.Version), command))
	} else {
		// No attempt will do better, and a code of another key is dead as well.
		err = &SendError{otp.Unreadable, "the address was not sealed with this key"}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // shutting down: it comes again
	case err != nil:
		reason, detail := reasonOf(err)
		report = otp.ReportFailure(e.Version, reason)
		if s.Logger != nil {
			s.Logger.LogAttrs(ctx, slog.LevelWarn, "code not sent", slog.String("stream", e.Stream.String()),
				slog.Uint64("version", e.Version), slog.String("reason", string(reason)), slog.String("detail", detail))
		}
	}
	_, err = es.Execute(ctx, s.Journal, &otp.Aggregate, id, report, es.Named(command, nil))
	return err
}
