// Package tracing shows how a program on leftfold gets OpenTelemetry: one trace from the command
// to its event, its view, and what an event handler made of it. It is meant to be copied.
//
//	var bus memory.Bus
//	store := tracing.Store{Store: new(memory.Store), Tracer: tracer}
//	journal := &es.Journal{Store: store, Publisher: tracing.Publisher{Bus: &bus, Tracer: tracer}}
//	bus.Subscribe("all", tracing.Handle(tracer, "handle", handle))
//
//	ctx, span := tracing.Start(ctx, tracer, "deposit")
//	defer span.End()
//	result, err := es.Execute(ctx, journal, &account, "42", deposit(100))
//
// The library has no hook for that, and needs none. A span around each call of a store, a
// broker or a read database is a wrapper of a small interface, and what carries the trace to
// the other side, by whatever broker, is the metadata of commits: [es.WithMeta]. It is stored
// with them, so that a commit that somebody else publishes an hour later, after a crash, still
// leads back to its command.
//
// It is a module of its own, so that nobody who imports leftfold gets OpenTelemetry.
package tracing

import (
	"context"
	"iter"
	"log/slog"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

// traceContext is that of the W3C. Baggage is left out: it can be anything, and metadata is
// stored for ever.
var traceContext propagation.TraceContext

// Start begins the span of a command, or of anything else that executes commands. Commits that
// are made under the context carry the trace.
func Start(ctx context.Context, t trace.Tracer, name string, o ...trace.SpanStartOption) (context.Context, trace.Span) {
	ctx, span := t.Start(ctx, name, o...)
	meta := propagation.MapCarrier{}
	traceContext.Inject(ctx, meta)
	return es.WithMeta(ctx, meta), span
}

// Handle returns a subscriber whose span belongs to the trace of the command, and so do those of
// the commands that it executes.
func Handle(t trace.Tracer, name string, handle func(context.Context, es.Commit) error) func(context.Context, es.Commit) error {
	return func(ctx context.Context, c es.Commit) error {
		ctx, span := Start(traceContext.Extract(ctx, propagation.MapCarrier(c.Meta)), t, name, place(c), trace.WithSpanKind(trace.SpanKindConsumer))
		defer span.End()
		return note(span, handle(ctx, c))
	}
}

// HTTP returns a handler with a span for each request. Its name is the pattern of the route, and
// not the path, which may hold what nobody is to read. Whatever trace a client names is left
// alone: its state would be stored, and is the client's own text.
func HTTP(t trace.Tracer, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, span := Start(r.Context(), t, r.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithNewRoot())
		defer span.End()
		r = r.WithContext(ctx)
		h.ServeHTTP(w, r)
		span.SetName(r.Method + " " + r.Pattern)
	})
}

// Store has a span around each call. It embeds a store and not the interface [es.Store], so that
// what the store can do besides stays: [es.Lister], and [es.Metered] with *dynamostore.Store.
type Store struct {
	*memory.Store // or *dynamostore.Store
	Tracer        trace.Tracer
}

var _ interface {
	es.Store
	es.Lister
} = Store{}

// Append is that of [es.Store].
func (s Store) Append(ctx context.Context, c es.Commit) error {
	return call(ctx, s.Tracer, "append", c, s.Store.Append)
}

// Claim is that of [es.Store].
func (s Store) Claim(ctx context.Context, c es.Commit) error {
	return call(ctx, s.Tracer, "claim", c, s.Store.Claim)
}

// Settle is that of [es.Store].
func (s Store) Settle(ctx context.Context, c es.Commit) error {
	return call(ctx, s.Tracer, "settle", c, s.Store.Settle)
}

// Revoke is that of [es.Store].
func (s Store) Revoke(ctx context.Context, c es.Commit) error {
	return call(ctx, s.Tracer, "revoke", c, s.Store.Revoke)
}

// Load is that of [es.Store].
func (s Store) Load(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	return s.read(ctx, "load", stream, func(ctx context.Context) iter.Seq2[es.Commit, error] { return s.Store.Load(ctx, stream, after) })
}

// LoadBack is that of [es.Store].
func (s Store) LoadBack(ctx context.Context, stream es.StreamID, hint int) iter.Seq2[es.Commit, error] {
	return s.read(ctx, "load back", stream, func(ctx context.Context) iter.Seq2[es.Commit, error] { return s.Store.LoadBack(ctx, stream, hint) })
}

// read has a span for as long as somebody reads.
func (s Store) read(ctx context.Context, name string, stream es.StreamID, load func(context.Context) iter.Seq2[es.Commit, error]) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		ctx, span := s.Tracer.Start(ctx, name, on(stream))
		defer span.End()
		commits := 0
		defer func() { span.SetAttributes(attribute.Int("commits", commits)) }()
		for c, err := range load(ctx) {
			commits++
			if !yield(c, note(span, err)) {
				return
			}
		}
	}
}

// Publisher has a span around each publish. With SNS it embeds a *snsbus.Publisher: a wrapper
// without its [es.Checker] lets a commit be stored that SNS then refuses for ever.
type Publisher struct {
	*memory.Bus // or *snsbus.Publisher
	Tracer      trace.Tracer
}

// Publish is that of [es.Publisher].
func (p Publisher) Publish(ctx context.Context, c es.Commit) error {
	return call(ctx, p.Tracer, "publish", c, p.Bus.Publish)
}

// Views has a span around each call.
type Views[V any] struct {
	es.Views[V]
	Tracer trace.Tracer
}

// Get is that of [es.Views].
func (v Views[V]) Get(ctx context.Context, stream es.StreamID) (es.View[V], error) {
	ctx, span := v.Tracer.Start(ctx, "get view", on(stream))
	defer span.End()
	view, err := v.Views.Get(ctx, stream)
	return view, note(span, err)
}

// Put is that of [es.Views].
func (v Views[V]) Put(ctx context.Context, stream es.StreamID, view es.View[V], old uint64) error {
	ctx, span := v.Tracer.Start(ctx, "put view", on(stream))
	defer span.End()
	return note(span, v.Views.Put(ctx, stream, view, old))
}

// Log adds the trace to each record, so that a log line leads to its trace.
type Log struct{ slog.Handler }

// Handle is that of [slog.Handler].
func (l Log) Handle(ctx context.Context, r slog.Record) error {
	if s := trace.SpanContextFromContext(ctx); s.IsValid() {
		r.AddAttrs(slog.String("trace_id", s.TraceID().String()), slog.String("span_id", s.SpanID().String()))
	}
	return l.Handler.Handle(ctx, r)
}

// WithAttrs is that of [slog.Handler].
func (l Log) WithAttrs(attrs []slog.Attr) slog.Handler { return Log{l.Handler.WithAttrs(attrs)} }

// WithGroup is that of [slog.Handler].
func (l Log) WithGroup(name string) slog.Handler { return Log{l.Handler.WithGroup(name)} }

// call has a span around a call that is about one commit.
func call(ctx context.Context, t trace.Tracer, name string, c es.Commit, do func(context.Context, es.Commit) error) error {
	ctx, span := t.Start(ctx, name, place(c))
	defer span.End()
	return note(span, do(ctx, c))
}

// note tells a span of an error.
func note(span trace.Span, err error) error {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "")
	}
	return err
}

// The keys are those of the log.

func place(c es.Commit) trace.SpanStartEventOption {
	return trace.WithAttributes(attribute.String("stream", c.Stream.String()), attribute.Int64("version", int64(c.Version)), attribute.String("commit", c.ID))
}

func on(stream es.StreamID) trace.SpanStartEventOption {
	return trace.WithAttributes(attribute.String("stream", stream.String()))
}
