package es

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// The records of this package are listed in docs/operations.md, with levels and
// keys. Metrics and alarms are made from them, so their names do not change. None
// has event data, state, metadata or the name of a command; an error is logged as it
// came, with what a store, a broker or a decoder put into it.

// note logs what became of a commit, or costs nothing.
func note(ctx context.Context, l *slog.Logger, level slog.Level, msg string, c *Commit, attrs ...slog.Attr) {
	if l == nil || !l.Enabled(ctx, level) {
		return
	}
	l.LogAttrs(ctx, level, msg, append([]slog.Attr{
		slog.String("stream", c.Stream.String()),
		slog.Uint64("version", c.Version),
		slog.String("commit", c.ID),
	}, attrs...)...)
}

// millis is a duration in a unit that metrics can be made of.
func millis(d time.Duration) slog.Attr { return slog.Float64("ms", float64(d.Microseconds())/1000) }

// noteCommit logs how a new commit ended: what commit returned, and why it is not
// known to be published.
func (j *Journal) noteCommit(ctx context.Context, c *Commit, attempt int, took time.Duration, status Status, doubt, err error) {
	_, unknown := errors.AsType[*UnknownError](err)
	level, outcome := slog.LevelDebug, "accepted"
	switch {
	case unknown:
		level, outcome = slog.LevelError, "unknown"
	case errors.Is(err, ErrConflict):
		outcome = "conflict"
	case err != nil:
		level, outcome = slog.LevelWarn, "refused"
	case status == Pending:
		level, outcome, err = slog.LevelWarn, "pending", doubt
	}
	if !j.Logger.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("outcome", outcome), slog.Int("attempt", attempt), slog.Int("events", len(c.Events)), millis(took)}
	if m, ok := j.Store.(Metered); ok {
		attrs = append(attrs, slog.Int("units", m.Units(*c)))
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	note(ctx, j.Logger, level, "commit", c, attrs...)
}
