package tracing_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
	tracing "github.com/leftfold/leftfold/examples/otel"
)

type Deposited struct{ Amount int }

var account = es.Aggregate[int, Deposited]{
	Category: "account",
	Fold:     func(balance int, e Deposited) int { return balance + e.Amount },
	Events:   es.JSON(map[string]Deposited{"account.deposited": {}}),
}

type Thanked struct{}

var letter = es.Aggregate[int, Thanked]{
	Category: "letter",
	Fold:     func(letters int, _ Thanked) int { return letters + 1 },
	Events:   es.JSON(map[string]Thanked{"letter.thanked": {}}),
}

// A command deposits, a projection shows the balance, and an event handler writes a letter: all
// of it is one trace.
func Example() {
	exporter := tracetest.NewInMemoryExporter()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)).Tracer("example")

	var bus memory.Bus
	store := tracing.Store{Store: new(memory.Store), Tracer: tracer}
	journal := &es.Journal{Store: store, Publisher: tracing.Publisher{Bus: &bus, Tracer: tracer}}
	balances := es.Projection[int, Deposited]{
		Category: account.Category, Fold: account.Fold, Events: account.Events,
		Views: tracing.Views[int]{Views: new(memory.Views[int]), Tracer: tracer}, Store: store,
	}
	letters := es.Reactor[Deposited]{
		Name: "letters", Category: account.Category, Events: account.Events,
		React: func(ctx context.Context, e es.Recorded[Deposited], command string) error {
			_, err := es.Execute(ctx, journal, &letter, e.Stream.ID, func(int) ([]Thanked, error) { return []Thanked{{}}, nil }, es.Named(command, nil))
			return err
		},
	}
	bus.Subscribe("all", tracing.Handle(tracer, "handle", func(ctx context.Context, c es.Commit) error {
		return errors.Join(balances.Handle(ctx, c), letters.Handle(ctx, c))
	}))

	ctx, span := tracing.Start(context.Background(), tracer, "deposit")
	result, err := es.Execute(ctx, journal, &account, "42", func(int) ([]Deposited, error) { return []Deposited{{100}}, nil })
	span.End()
	fmt.Println(result.Version, err, bus.Close(context.Background()))

	show(os.Stdout, exporter.GetSpans(), trace.SpanID{}, 0)
	// Output:
	// 1 <nil> <nil>
	// deposit
	//   load account/42
	//   append account/42@1
	//   publish account/42@1
	//   settle account/42@1
	//   handle account/42@1
	//     get view account/42
	//     put view account/42
	//     load letter/42
	//     append letter/42@1
	//     publish letter/42@1
	//     settle letter/42@1
	//     handle letter/42@1
}

// show prints the spans below one, in the order in which they began. What subscribers did comes
// last: they are not waited for.
func show(w io.Writer, spans tracetest.SpanStubs, below trace.SpanID, depth int) {
	var children []tracetest.SpanStub
	for _, s := range spans {
		if s.Parent.SpanID() == below {
			children = append(children, s)
		}
	}
	slices.SortFunc(children, func(a, b tracetest.SpanStub) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.StartTime.Compare(b.StartTime))
	})
	for _, s := range children {
		line := s.Name
		if stream := value(s, "stream"); stream != "" {
			line += " " + stream
		}
		if version := value(s, "version"); version != "" {
			line += "@" + version
		}
		fmt.Fprintln(w, strings.Repeat("  ", depth)+line)
		show(w, spans, s.SpanContext.SpanID(), depth+1)
	}
}

func rank(s tracetest.SpanStub) int {
	if s.SpanKind == trace.SpanKindConsumer {
		return 1
	}
	return 0
}

func value(s tracetest.SpanStub, key attribute.Key) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}
