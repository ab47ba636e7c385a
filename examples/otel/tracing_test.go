package tracing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/examples/org"
	tracing "github.com/leftfold/leftfold/examples/otel"
	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

// What is wrapped keeps its contract.
func TestContracts(t *testing.T) {
	tracer := noop.NewTracerProvider().Tracer("")
	t.Run("Store", func(t *testing.T) {
		estest.TestStore(t, func(*testing.T) es.Store { return tracing.Store{Store: new(memory.Store), Tracer: tracer} })
	})
	t.Run("Publisher", func(t *testing.T) {
		estest.TestPublisher(t, func(t *testing.T, deliver func(context.Context, es.Commit) error) es.Publisher {
			bus := new(memory.Bus)
			bus.Subscribe("test", tracing.Handle(tracer, "test", deliver))
			t.Cleanup(func() { _ = bus.Close(context.WithoutCancel(t.Context())) })
			return tracing.Publisher{Bus: bus, Tracer: tracer}
		})
	})
	t.Run("Views", func(t *testing.T) {
		estest.TestViews(t, func(*testing.T) es.Views[estest.Document] {
			return tracing.Views[estest.Document]{Views: new(memory.Views[estest.Document]), Tracer: tracer}
		})
	})
}

// system is the reference service with a span at every place that can have one.
type system struct {
	*service.Service
	bus    memory.Bus
	api    http.Handler
	spans  *tracetest.InMemoryExporter
	logs   lines
	codes  chan service.Message
	broken error // what the code's way ends with
}

func (s *system) Send(_ context.Context, m service.Message) error {
	s.codes <- m
	return s.broken
}

// lines is a buffer for concurrent use.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func start(t *testing.T) *system {
	t.Helper()
	key := []byte("the key of everything in this test")
	codes, err := otp.NewCodes(key)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := service.NewTokens(key, "https://leftfold.example", 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &system{spans: tracetest.NewInMemoryExporter(), codes: make(chan service.Message, 10)}
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(s.spans)).Tracer("test")
	logger := slog.New(tracing.Log{Handler: slog.NewJSONHandler(&s.logs, &slog.HandlerOptions{Level: slog.LevelDebug})})
	s.bus.Logger = logger
	s.Service = &service.Service{
		Journal: &es.Journal{
			Store:     tracing.Store{Store: new(memory.Store), Tracer: tracer},
			Publisher: tracing.Publisher{Bus: &s.bus, Tracer: tracer}, Logger: logger,
		},
		OrgViews: tracing.Views[org.View]{Views: new(memory.Views[org.View]), Tracer: tracer},
		OTPViews: tracing.Views[otp.View]{Views: new(memory.Views[otp.View]), Tracer: tracer},
		Answers:  tracing.Views[service.Answer]{Views: new(memory.Views[service.Answer]), Tracer: tracer},
		Codes:    codes, Tokens: tokens, Sender: s, Logger: logger,
	}
	s.bus.Subscribe("all", tracing.Handle(tracer, "handle", s.Handle))
	s.api = tracing.HTTP(tracer, s.Handler())
	return s
}

func (s *system) ask(t *testing.T, want int, method, path string, body any, header ...string) (answer map[string]any) {
	t.Helper()
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(data)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, path, in)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, r)
	if w.Code != want {
		t.Errorf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, want)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Errorf("%s %s: %s", method, path, w.Body)
	}
	return answer
}

// Each commit of a request, its views and the commits of its event handler are in the trace of
// that request, and so is every log line; no span has what nobody is to read.
func TestTheReferenceServiceInSpans(t *testing.T) {
	s := start(t)
	const address, name, key, junk, foreign = "jane@example.com", "Zebulon Ltd", "key-Qx7-", "junk-Vw9", "vendor=theirs"
	profile := map[string]string{"name": name, "location": "Ouagadougou", "description": "We sell yaks."}
	s.broken = &service.SendError{Reason: otp.Refused, Detail: "mailbox unknown"}
	s.ask(t, 202, "POST", "/otp", map[string]string{"channel": "email", "to": address}, "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate", foreign)
	<-s.codes
	challenge, _ := s.ask(t, 202, "POST", "/otp", map[string]string{"channel": "email", "to": address}, "Idempotency-Key", key+"1")["challenge"].(string)
	code := (<-s.codes).Code
	s.ask(t, 401, "POST", "/otp/verify", map[string]string{"to": address, "challenge": challenge, "code": junk})
	verified := s.ask(t, 200, "POST", "/otp/verify", map[string]string{"to": address, "challenge": challenge, "code": code})
	token, _ := verified["token"].(string)
	id, _ := verified["subject"].(string)
	s.ask(t, 401, "POST", "/orgs", profile, "Authorization", "Bearer "+junk)
	s.ask(t, 201, "POST", "/orgs", profile, "Authorization", "Bearer "+token)
	s.ask(t, 409, "POST", "/orgs", profile, "Authorization", "Bearer "+token)
	s.ask(t, 422, "PUT", "/orgs/"+id, map[string]string{"name": strings.Repeat(junk, 50)}, "Authorization", "Bearer "+token)
	s.ask(t, 200, "GET", "/orgs/"+id, nil, "Prefer", "wait=5")
	s.ask(t, 200, "GET", "/orgs/"+id+"/history", nil, "Authorization", "Bearer "+token)
	s.ask(t, 200, "GET", "/otp/"+challenge, nil)
	s.ask(t, 404, "GET", "/otp/"+challenge+junk, nil)
	s.ask(t, 404, "GET", "/"+junk+"?q="+junk, nil)
	if err := s.bus.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.ask(t, 503, "PUT", "/orgs/"+id, map[string]string{"name": name + "2", "location": "Bobo", "description": ""}, "Authorization", "Bearer "+token)

	var shown strings.Builder
	traces := make(map[trace.TraceID]map[string]bool)
	for _, span := range s.spans.GetSpans() {
		if span.Parent.IsValid() == (span.SpanKind == trace.SpanKindServer) {
			t.Errorf("%s has a parent: %v", span.Name, span.Parent.IsValid())
		}
		fmt.Fprintln(&shown, span.Name, span.SpanContext.TraceState(), span.Attributes, span.Events, span.Status)
		if traces[span.SpanContext.TraceID()] == nil {
			traces[span.SpanContext.TraceID()] = make(map[string]bool)
		}
		traces[span.SpanContext.TraceID()][span.Name] = true
	}
	whole := 0
	for _, names := range traces {
		if names["POST /otp"] {
			if !names["append"] || !names["publish"] || !names["handle"] || !names["put view"] || !names["settle"] {
				t.Errorf("a trace is not whole: %v", names)
			}
			whole++
		}
	}
	if whole != 2 {
		t.Errorf("there are %d traces of requested codes, not 2", whole)
	}
	store, stored := s.Journal.Store.(es.Lister), strings.Builder{}
	for stream, err := range store.Streams(t.Context(), 0, 1, es.StreamID{}) {
		if err != nil {
			t.Fatal(err)
		}
		for c, err := range s.Journal.Store.Load(t.Context(), stream, 0) {
			if err != nil || c.Status != es.Revoked && c.Meta["traceparent"] == "" {
				t.Errorf("%s@%d has no trace: %v, %v", stream, c.Version, c.Meta, err)
			}
			fmt.Fprintln(&stored, c.Meta)
			if stream.Category == otp.Aggregate.Category {
				fmt.Fprintf(&stored, "%s\n", c.Events)
			}
		}
	}
	logs := strings.Split(strings.TrimSpace(s.logs.buf.String()), "\n")
	if len(logs) < 10 {
		t.Errorf("only %d lines are logged", len(logs))
	}
	for _, line := range logs {
		if !strings.Contains(line, `"trace_id":"`) && !strings.Contains(line, `"msg":"delivery failed"`) {
			t.Errorf("no trace in %s", line)
		}
	}
	mac := challenge[strings.LastIndex(challenge, "-")+1:]
	for _, secret := range []string{address, "jane", name, "Ouagadougou", "yaks", "Bobo", key, junk, code, mac, token, "Bearer", foreign} {
		for where, text := range map[string]string{"a span": shown.String(), "the logs": s.logs.buf.String(), "metadata or an event of a code": stored.String()} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in %s", secret, where)
			}
		}
	}
}

// A commit that its author left unfinished, and somebody else publishes, leads to its command.
func TestTraceSurvivesACrash(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)).Tracer("test")
	var bus memory.Bus
	store := new(memory.Store)
	bus.Subscribe("all", tracing.Handle(tracer, "handle", func(context.Context, es.Commit) error { return nil }))

	ctx, span := tracing.Start(t.Context(), tracer, "deposit")
	died := &es.Journal{Store: store, Publisher: silent{}}
	if _, err := es.Execute(ctx, died, &account, "42", func(int) ([]Deposited, error) { return []Deposited{{1}}, nil }); err != nil {
		t.Fatal(err)
	}
	span.End()
	relay := &es.Journal{Store: store, Publisher: &bus, Grace: -1}
	if n, err := relay.Relay(t.Context()); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := bus.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := exporter.GetSpans()
	if len(spans) != 2 || spans[1].Name != "handle" || spans[1].Parent.SpanID() != span.SpanContext().SpanID() {
		t.Errorf("spans: %v", spans)
	}
}

// silent is a broker that never answers.
type silent struct{}

func (silent) Publish(context.Context, es.Commit) error { return errors.New("time-out") }
