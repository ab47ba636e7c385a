package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
)

// recorded returns a payload of testdata.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	payload, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// parts is a function whose parts only say that they were asked.
type parts struct {
	function
	asked []string
}

func newParts() *parts {
	var p parts
	p.function = function{
		api: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.asked = append(p.asked, r.Method+" "+r.URL.Path+" "+r.RemoteAddr)
			w.WriteHeader(http.StatusTeapot)
		}),
		queue: func(_ context.Context, e events.SQSEvent) (events.SQSEventResponse, error) {
			p.asked = append(p.asked, "queue")
			var res events.SQSEventResponse
			for _, r := range e.Records {
				res.BatchItemFailures = append(res.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: r.MessageId})
			}
			return res, nil
		},
		relay: func(context.Context) (int, error) {
			p.asked = append(p.asked, "relay")
			return 7, nil
		},
	}
	return &p
}

// Each kind of event goes to its part, and gets an answer that its sender understands.
func TestKinds(t *testing.T) {
	for _, row := range []struct{ name, asked, answer string }{
		{"http-api", "POST /orgs 203.0.113.9", `"statusCode":418`},
		{"http-api-stage", "GET /orgs/42 203.0.113.9", `"statusCode":418`},
		{"function-url", "GET /orgs/a b 203.0.113.9", `"statusCode":418`},
		{"rest-api", "PUT /orgs/42 203.0.113.9", `"statusCode":418`},
		{"sqs", "queue", `{"batchItemFailures":[{"itemIdentifier":"059f36b4-87a3-44ab-83d2-661975830a7d"},{"itemIdentifier":"2e1424d4-f796-459a-8184-9c92662be6da"}]}`},
		{"schedule", "relay", "null"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newParts()
			out, err := p.Invoke(t.Context(), recorded(t, row.name))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(p.asked, ", "); got != row.asked {
				t.Errorf("asked %q, want %q", got, row.asked)
			}
			if !strings.Contains(string(out), row.answer) {
				t.Errorf("answer %s, want %s", out, row.answer)
			}
		})
	}
}

// What is not known is an error, and no part is asked: some other answer could pass for success.
func TestUnknownKinds(t *testing.T) {
	unknown := map[string]string{
		"null": "null", "nothing": "", "an array": "[]", "a number": "1", "a text": `"x"`, "true": "true", "half": `{"Records":[`,
		"two documents": `{"source":"aws.events","detail-type":"Scheduled Event"}{}`,
		"an object":     "{}", "no records": `{"Records":[]}`, "null records": `{"Records":null}`, "a null record": `{"Records":[null]}`,
		"records without a source": `{"Records":[{"body":"{}"}]}`, "records that are none": `{"Records":{"eventSource":"aws:sqs"}}`,
		"a queue of another source": `{"Records":[{"eventSource":"aws:sqs2"}]}`,
		"records of two sources":    `{"Records":[{"eventSource":"aws:sqs"},{"eventSource":"aws:sns"}]}`,
		"records of two sources 2":  `{"Records":[{"eventSource":"aws:s3"},{"eventSource":"aws:sqs"}]}`,
		"version 2.0 alone":         `{"version":"2.0"}`, "version 1.0": `{"version":"1.0","requestContext":{"http":{}}}`,
		"http alone":                `{"requestContext":{"http":{"method":"GET","path":"/"}}}`,
		"ALB":                       `{"httpMethod":"GET","path":"/","requestContext":{"elb":{"targetGroupArn":"arn"}}}`,
		"HTTP API of format 1.0":    `{"version":"1.0","httpMethod":"GET","path":"/","requestContext":{"resourceId":null,"httpMethod":"GET"}}`,
		"REST API without a method": `{"path":"/","requestContext":{"resourceId":"x"}}`,
		"another event of a bus":    `{"source":"aws.ec2","detail-type":"Scheduled Event"}`,
		"another type on a bus":     `{"source":"aws.events","detail-type":"EC2 Instance State-change Notification"}`,
		"version 2.0 without http":  `{"version":"2.0","rawPath":"/","requestContext":{"stage":"prod"}}`,
		"a request with a source":   `{"httpMethod":"GET","source":"aws.events","requestContext":{"resourceId":"x"}}`,
		"another with a source":     `{"version":"2.0","source":"aws.events","requestContext":{"http":{}}}`,
		"both requests":             `{"version":"2.0","httpMethod":"GET","requestContext":{"http":{},"resourceId":"x"}}`,
	}
	for _, name := range []string{"sns", "s3", "dynamodb", "kinesis", "websocket", "scheduler"} {
		unknown[name] = string(recorded(t, "unknown-"+name))
	}
	// Each two kinds in one.
	for _, a := range []string{"http-api", "rest-api", "sqs", "schedule"} {
		for _, b := range []string{"function-url", "rest-api", "sqs", "schedule"} {
			if a != b && (a != "http-api" || b != "function-url") {
				unknown[a+" and "+b] = string(mix(t, recorded(t, a), recorded(t, b)))
			}
		}
	}
	for name, payload := range unknown {
		t.Run(name, func(t *testing.T) {
			p := newParts()
			out, err := p.Invoke(t.Context(), []byte(payload))
			if !errors.Is(err, errUnknown) || out != nil {
				t.Errorf("%s, %v", out, err)
			}
			if len(p.asked) > 0 {
				t.Errorf("asked %q", p.asked)
			}
			if err != nil && len(payload) > 100 && strings.Contains(err.Error(), payload[:50]) {
				t.Errorf("the error repeats the payload: %v", err)
			}
		})
	}
}

// mix returns an object with the members of both.
func mix(t *testing.T, a, b []byte) []byte {
	t.Helper()
	var into map[string]any
	for _, payload := range [][]byte{a, b} {
		var members map[string]any
		if err := json.Unmarshal(payload, &members); err != nil {
			t.Fatal(err)
		}
		merged(&into, members)
	}
	out, err := json.Marshal(into)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func merged(into *map[string]any, from map[string]any) {
	if *into == nil {
		*into = make(map[string]any)
	}
	for k, v := range from {
		inner, ok := (*into)[k].(map[string]any)
		if sub, isMap := v.(map[string]any); ok && isMap {
			merged(&inner, sub)
			continue
		}
		(*into)[k] = v
	}
}

// An error of a part is the invocation's, so that it is counted and, for a queue, comes again.
func TestErrors(t *testing.T) {
	broken := errors.New("broken")
	p := newParts()
	p.queue = func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
		return events.SQSEventResponse{}, broken
	}
	p.relay = func(context.Context) (int, error) { return 3, broken }
	for _, name := range []string{"sqs", "schedule"} {
		if out, err := p.Invoke(t.Context(), recorded(t, name)); !errors.Is(err, broken) || out != nil {
			t.Errorf("%s: %s, %v", name, out, err)
		}
	}
	for _, payload := range []string{
		`{"version":"2.0","requestContext":{"http":{"method":"POST"}},"body":"%","isBase64Encoded":true}`,
		`{"httpMethod":"POST","requestContext":{"resourceId":"x"},"body":"%","isBase64Encoded":true}`,
		`{"version":"2.0","rawPath":7,"requestContext":{"http":{"method":"POST"}}}`,
	} {
		if out, err := p.Invoke(t.Context(), []byte(payload)); err == nil {
			t.Errorf("%s: %s", payload, out)
		}
	}
	if len(p.asked) > 0 {
		t.Errorf("asked %q", p.asked)
	}
}

// Payloads come from a pool: what was answered, or is still to be handled, does not change with
// them.
func TestKeepsNoPayload(t *testing.T) {
	p := newParts()
	var body []byte
	var batch events.SQSEvent
	p.api = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body = make([]byte, r.ContentLength)
		_, _ = r.Body.Read(body)
	})
	p.queue = func(_ context.Context, e events.SQSEvent) (events.SQSEventResponse, error) {
		batch = e
		return events.SQSEventResponse{}, nil
	}
	for _, name := range []string{"http-api", "sqs"} {
		payload := recorded(t, name)
		if _, err := p.Invoke(t.Context(), payload); err != nil {
			t.Fatal(err)
		}
		clear(payload)
	}
	if want := `{"name":"Acme","location":"Berlin"}`; string(body) != want {
		t.Errorf("body %q, want %q", body, want)
	}
	if len(batch.Records) != 2 || strings.Contains(batch.Records[0].Body+batch.Records[0].MessageId, "\x00") {
		t.Errorf("records %+v", batch.Records)
	}
}

// Whatever comes, the function does not panic, and what it takes is of exactly one kind.
func FuzzInvoke(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		f.Add(recorded(f, strings.TrimSuffix(filepath.Base(file), ".json")))
	}
	f.Add([]byte(`{"Records":[{"eventSource":"aws:sqs"},{"eventSource":"aws:sns"}]}`))
	f.Add([]byte(`{"version":"2.0","rawPath":"/%zz","requestContext":{"http":{},"domainName":"x.lambda-url.y"}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		p := newParts()
		out, err := p.Invoke(t.Context(), payload)
		if err != nil {
			if out != nil || len(p.asked) > 0 && !json.Valid(payload) {
				t.Errorf("%s and %v, asked %q", out, err, p.asked)
			}
			return
		}
		if len(p.asked) != 1 {
			t.Fatalf("asked %q", p.asked)
		}
		// Found out another way: the members by name.
		var members map[string]json.RawMessage
		if err := json.Unmarshal(payload, &members); err != nil {
			t.Fatalf("took what is no object: %v", err)
		}
		has := func(name string) bool {
			for k, v := range members {
				if strings.EqualFold(k, name) && string(v) != "null" && string(v) != `""` {
					return true
				}
			}
			return false
		}
		switch p.asked[0] {
		case "queue":
			if !has("Records") || !bytes.Contains(payload, []byte("sqs")) && !bytes.Contains(payload, []byte(`\u`)) {
				t.Error("took what is no batch")
			}
		case "relay":
			if !has("source") || !has("detail-type") || has("Records") {
				t.Error("took what is no schedule")
			}
		default:
			if !has("requestContext") || has("Records") || !has("version") && !has("httpMethod") {
				t.Error("took what is no request")
			}
		}
	})
}
