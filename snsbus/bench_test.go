package snsbus

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/leftfold/leftfold/es"
)

// canned answers every request at once with the same bytes, so that a benchmark
// measures the client alone.
type canned struct{}

func (canned) Do(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/xml"}},
		Body: io.NopCloser(strings.NewReader(goodAnswer)), ContentLength: int64(len(goodAnswer)), Request: r,
	}, nil
}

// usual returns a commit of one event of 1 KB, with metadata.
func usual() es.Commit {
	c := bare()
	c.Command, c.Meta = "create", map[string]string{"actor": "anna", "trace": "00-4bf92f3577b34da6a3ce929d0e0e4736"}
	c.Events[0].Data = `{"name":"Acme","location":"Berlin","description":"` + strings.Repeat("We make everything. ", 48) + `"}`
	return c
}

// publishes returns a publish of a commit, and the same request of the SDK alone, without
// a network.
func publishes(tb testing.TB) map[string]func() error {
	client := sns.New(sns.Options{Region: "us-east-1", HTTPClient: canned{}, Credentials: dummy})
	ctx, c, p := context.Background(), usual(), New(client, fifoTopic, nil)
	in, err := p.input(c)
	if err != nil {
		tb.Fatal(err)
	}
	return map[string]func() error{
		"publisher": func() error { return p.Publish(ctx, c) },
		"by hand":   func() error { _, err := client.Publish(ctx, in); return err },
	}
}

// Client overhead in time, to be compared with each other.
func BenchmarkPublish(b *testing.B) {
	for name, run := range publishes(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Client overhead in allocations: at most 1.3 times those of the SDK alone.
func TestClientOverhead(t *testing.T) {
	allocations := map[string]float64{}
	for name, run := range publishes(t) {
		allocations[name] = testing.AllocsPerRun(50, func() {
			if err := run(); err != nil {
				t.Fatal(err)
			}
		})
	}
	if got, most := allocations["publisher"], 1.3*allocations["by hand"]; got > most {
		t.Errorf("%.0f allocations, at most %.0f are allowed", got, most)
	}
	t.Logf("%v", allocations)
}

func BenchmarkCheck(b *testing.B) {
	p, c := New(nil, fifoTopic, nil), usual()
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Check(c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	c := usual()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encode(c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	body, err := encode(usual())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(body); err != nil {
			b.Fatal(err)
		}
	}
}
