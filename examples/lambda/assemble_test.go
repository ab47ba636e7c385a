package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// env sets the environment of a function that is deployed well, with its endpoint.
func env(t *testing.T, endpoint string) func(string) string {
	vars := make(map[string]string)
	for _, v := range deployed() {
		name, value, _ := strings.Cut(v, "=")
		vars[name] = value
		t.Setenv(name, value) // the SDK reads its own
	}
	t.Setenv("AWS_ENDPOINT_URL_DYNAMODB", endpoint)
	t.Setenv("AWS_ENDPOINT_URL_SNS", endpoint)
	return func(name string) string { return vars[name] }
}

// Each client makes one call while the function starts: about a table's view and about the topic.
func TestWarm(t *testing.T) {
	var mu sync.Mutex
	var calls []string
	cloud := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, r.Header.Get("X-Amz-Target")+" "+string(body))
		(&runtimeAPI{}).ServeHTTP(w, r)
	}))
	defer cloud.Close()
	var logs bytes.Buffer
	if _, err := assemble(t.Context(), env(t, cloud.URL), &logs); err != nil {
		t.Fatal(err)
	}
	if len(calls) != 2 {
		t.Fatalf("%d calls: %q", len(calls), calls)
	}
	all := strings.Join(calls, "\n")
	for _, want := range []string{"DynamoDB_20120810.GetItem", `"TableName":"views"`, "GetTopicAttributes", "leftfold.fifo"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in %s", want, all)
		}
	}
	if logs.Len() > 0 {
		t.Errorf("logs: %s", &logs)
	}
}

// A client that cannot be warmed is logged, and nothing more: the function starts.
func TestWarmFails(t *testing.T) {
	cloud := httptest.NewServer(http.NotFoundHandler())
	cloud.Close()
	var logs bytes.Buffer
	f, err := assemble(t.Context(), env(t, cloud.URL), &logs)
	if err != nil || f == nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"client":"dynamodb"`, `"client":"sns"`, `"level":"WARN"`} {
		if !strings.Contains(logs.String(), want) {
			t.Errorf("no %s in the logs:\n%s", want, &logs)
		}
	}
}

// Clients are warmed at the same time, and have two seconds for it.
func TestWarmWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		hang := func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		warm(t.Context(), slog.New(slog.DiscardHandler), map[string]func(context.Context) error{"a": hang, "b": hang})
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("it took %v", took)
		}
		// Each of these waits for the other.
		var logs bytes.Buffer
		meet := make(chan struct{})
		call := func(ctx context.Context) error {
			select {
			case meet <- struct{}{}:
			case <-meet:
			case <-ctx.Done():
				return ctx.Err()
			}
			return nil
		}
		warm(t.Context(), slog.New(slog.NewJSONHandler(&logs, nil)), map[string]func(context.Context) error{"a": call, "b": call})
		if logs.Len() > 0 {
			t.Errorf("one after the other: %s", &logs)
		}
	})
}

func TestSenders(t *testing.T) {
	cloud := httptest.NewServer(&runtimeAPI{})
	defer cloud.Close()
	getenv := env(t, cloud.URL)
	for _, sender := range []string{"log", "sns", "smtp://user:password@mail.example?from=codes@example.com"} {
		if _, err := assemble(t.Context(), func(name string) string {
			if name == "SENDER" {
				return sender
			}
			return getenv(name)
		}, io.Discard); err != nil {
			t.Errorf("%s: %v", sender, err)
		}
	}
}
