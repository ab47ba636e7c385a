package dynamostore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/leftfold/leftfold/es"
)

// answer is what a server does with one request.
type answer func(w http.ResponseWriter, r *http.Request)

func status(code int, body string) answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func exception(name string) answer {
	return status(400, `{"__type":"com.amazonaws.dynamodb.v20120810#`+name+`","message":"canned"}`)
}

// holding is the answer to a failed condition, with what is in the slot.
func holding(id, st string) answer {
	return status(400, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"canned","Item":{
		"s":{"S":"org/1"},"v":{"N":"1"},"i":{"S":"`+id+`"},"st":{"S":"`+st+`"},"t":{"S":"2026-01-01T00:00:00.000000000Z"},"c":{"S":"1e1:e"}}}`)
}

// reset breaks the connection.
func reset(w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// hang answers nothing for as long as somebody waits.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// cut says less than it promises.
func cut(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "100")
	status(200, "{")(w, r)
}

// server gives the answers in turn, and no others.
func server(t *testing.T, answers ...answer) (*dynamodb.Client, *atomic.Int32) {
	t.Helper()
	n := new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i := int(n.Add(1)); i <= len(answers) {
			answers[i-1](w, r)
		} else {
			t.Errorf("there was a request more than %d", len(answers))
		}
	}))
	t.Cleanup(s.Close)
	// A client with retries of its own, which must not be used.
	return newClient(s.URL, func(o *dynamodb.Options) { o.RetryMaxAttempts = 7 }), n
}

var (
	ok        = status(200, "{}")
	slowDown  = exception("ProvisionedThroughputExceededException")
	busy      = exception("TransactionConflictException")
	invalid   = exception("ValidationException")
	mine      = holding("mine", "pending")
	claimedBy = func(id string) answer { return holding(id, "claimed") }
	settledBy = func(id string) answer { return holding(id, "settled") }
	revokedBy = func(id string) answer { return holding(id, "revoked") }
	empty     = exception("ConditionalCheckFailedException")
	internal  = status(500, `{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"canned"}`)
	gibberish = status(200, "<html>")
)

// verdicts on a write, in words.
func said(err error) string {
	if err == nil {
		return "done"
	}
	var words []string
	for _, s := range []struct {
		target error
		word   string
	}{{es.ErrConflict, "conflict"}, {es.ErrRefused, "refused"}, {ErrThrottled, "throttled"}, {ErrNoTable, "no table"}, {es.ErrInvalid, "invalid"}} {
		if errors.Is(err, s.target) {
			words = append(words, s.word)
		}
	}
	if !errors.Is(err, es.ErrConflict) && !errors.Is(err, es.ErrRefused) {
		words = append([]string{"unknown"}, words...)
	}
	return strings.Join(words, " ")
}

func TestWhatWritesSay(t *testing.T) {
	type a = []answer
	rows := []struct {
		name    string
		op      string
		answers a
		want    string
	}{
		{"taken", "append", a{ok}, "done"},
		{"taken by another", "append", a{holding("other", "settled")}, "conflict"},
		{"taken by its marker", "append", a{revokedBy("mine")}, "conflict"},
		{"taken by itself", "append", a{mine}, "done"},
		{"taken by itself, and settled since", "append", a{settledBy("mine")}, "done"},
		{"taken, and nobody says by what", "append", a{empty}, "unknown"},
		{"taken by what cannot be read", "append", a{holding("mine", "gone")}, "unknown"},
		{"throttled", "append", a{slowDown, slowDown, slowDown}, "refused throttled"},
		{"throttled by the other name", "append", a{exception("ThrottlingException"), exception("RequestLimitExceeded"), slowDown}, "refused throttled"},
		{"throttled, then taken", "append", a{slowDown, ok}, "done"},
		{"in the way of a transaction", "append", a{busy, busy, busy}, "refused"},
		{"in the way of a transaction, then taken", "append", a{busy, ok}, "done"},
		{"in the way of another region", "append", a{exception("ReplicatedWriteConflictException"), ok}, "done"},
		{"with the clock wrong", "append", a{exception("InvalidSignatureException"), ok}, "done"},
		{"invalid", "append", a{invalid}, "refused"},
		{"forbidden", "append", a{exception("AccessDeniedException")}, "refused"},
		{"without a table", "append", a{exception("ResourceNotFoundException")}, "refused no table"},
		{"4xx that cannot be read", "append", a{status(413, "<html>")}, "refused"},
		{"a time-out by the server", "append", a{status(408, "{}"), status(408, "{}"), status(408, "{}")}, "unknown"},
		{"500", "append", a{internal, internal, internal}, "unknown"},
		{"503", "append", a{status(503, ""), status(503, ""), status(503, "")}, "unknown"},
		{"reset", "append", a{reset, reset, reset}, "unknown"},
		{"no answer", "append", a{hang, hang, hang}, "unknown"},
		{"gibberish", "append", a{gibberish, gibberish, gibberish}, "unknown"},
		{"cut off", "append", a{cut, cut, cut}, "unknown"},
		{"500, then taken", "append", a{internal, ok}, "done"},
		{"500, then taken by itself", "append", a{internal, mine}, "done"},
		{"reset, then taken by itself", "append", a{reset, mine}, "done"},
		{"no answer, then taken by itself", "append", a{hang, mine}, "done"},
		{"gibberish, then taken by itself", "append", a{gibberish, mine}, "done"},
		{"500, then taken by another", "append", a{internal, holding("other", "pending")}, "conflict"},
		{"no answer, then taken by another", "append", a{hang, holding("other", "settled")}, "conflict"},
		{"500, then throttled", "append", a{internal, slowDown, slowDown}, "unknown throttled"},
		{"throttled, then 500", "append", a{slowDown, slowDown, internal}, "unknown"},
		{"throttled, 500, throttled", "append", a{slowDown, internal, slowDown}, "unknown throttled"},
		{"reset, then invalid", "append", a{reset, invalid}, "unknown"},
		{"reset, then without a table", "append", a{reset, exception("ResourceNotFoundException")}, "unknown no table"},
		{"no answer, then a transaction", "append", a{hang, busy, busy}, "unknown"},

		{"taken", "replace", a{ok}, "done"},
		{"never used", "replace", a{empty}, "conflict"},
		{"the marker of another", "replace", a{revokedBy("other")}, "conflict"},
		{"reset, then taken by itself", "replace", a{reset, mine}, "done"},

		{"claimed", "claim", a{ok}, "done"},
		{"claimed before", "claim", a{claimedBy("mine")}, "done"},
		{"settled", "claim", a{settledBy("mine")}, "conflict"},
		{"revoked", "claim", a{revokedBy("mine")}, "conflict"},
		{"another is there", "claim", a{claimedBy("other")}, "conflict"},
		{"nothing is there", "claim", a{empty}, "conflict"},
		{"no answer, then claimed before", "claim", a{hang, claimedBy("mine")}, "done"},
		{"no answer, then throttled", "claim", a{hang, slowDown, slowDown}, "unknown throttled"},

		{"settled", "settle", a{ok}, "done"},
		{"settled before", "settle", a{settledBy("mine")}, "done"},
		{"revoked", "settle", a{revokedBy("mine")}, "conflict"},
		{"another is there", "settle", a{settledBy("other")}, "conflict"},
		{"nothing is there", "settle", a{empty}, "conflict"},
		{"reset, then settled before", "settle", a{reset, settledBy("mine")}, "done"},

		{"revoked", "revoke", a{ok}, "done"},
		{"revoked before", "revoke", a{revokedBy("mine")}, "done"},
		{"another is there", "revoke", a{settledBy("other")}, "done"},
		{"the marker of another is there", "revoke", a{revokedBy("other")}, "done"},
		{"claimed", "revoke", a{claimedBy("mine")}, "conflict"},
		{"settled", "revoke", a{settledBy("mine")}, "conflict"},
		{"nothing is there", "revoke", a{empty}, "refused"},
		{"no answer, then nothing is there", "revoke", a{hang, empty}, "unknown"},
		{"no answer, then revoked before", "revoke", a{hang, revokedBy("mine")}, "done"},
		{"no answer, then claimed", "revoke", a{hang, claimedBy("mine")}, "conflict"},
	}
	c := es.Commit{Stream: es.StreamID{Category: "org", ID: "1"}, Version: 1, ID: "mine", Events: []es.Event{{Type: "e"}}}
	for _, row := range rows {
		t.Run(row.op+" "+row.name, func(t *testing.T) {
			t.Parallel()
			client, n := server(t, row.answers...)
			s := New(client, "events", &Options{Timeout: attemptTime(row.answers)})
			c := c
			write := map[string]func(context.Context, es.Commit) error{
				"append": s.Append, "replace": s.Append, "claim": s.Claim, "settle": s.Settle, "revoke": s.Revoke,
			}[row.op]
			if row.op == "replace" {
				c.Replaces = "other than mine"
			}
			err := write(t.Context(), c)
			if got := said(err); got != row.want {
				t.Errorf("said %q, not %q: %v", got, row.want, err)
			}
			if got := int(n.Load()); got != len(row.answers) {
				t.Errorf("%d attempts, not %d", got, len(row.answers))
			}
		})
	}
}

// attemptTime is short where a server does not answer, and else long.
func attemptTime(answers []answer) time.Duration {
	for _, a := range answers {
		if fmt.Sprintf("%p", a) == fmt.Sprintf("%p", answer(hang)) {
			return 300 * time.Millisecond
		}
	}
	return patient
}

func TestWhatPutsSay(t *testing.T) {
	var writer []byte // of the last request
	remember := func(then answer) answer {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, rest, _ := bytes.Cut(body, []byte(`"w":`))
			writer, _, _ = bytes.Cut(rest, []byte("}"))
			then(w, r)
		}
	}
	own := func(w http.ResponseWriter, r *http.Request) {
		status(400, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","Item":{"v":{"N":"1"},"w":`+string(writer)+`}}}`)(w, r)
	}
	other := status(400, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","Item":{"v":{"N":"1"},"d":{"S":"1"},"w":{"B":"AAAA"}}}`)
	for _, row := range []struct {
		name    string
		answers []answer
		want    string
	}{
		{"taken", []answer{ok}, "done"},
		{"another is there", []answer{other}, "conflict"},
		{"none is there", []answer{empty}, "conflict"},
		{"reset, then its own is there", []answer{remember(reset), own}, "done"},
		{"500, then its own is there", []answer{remember(internal), own}, "done"},
		{"reset, then another is there", []answer{reset, other}, "conflict"},
		{"throttled", []answer{slowDown, slowDown, slowDown}, "refused throttled"},
		{"reset, then throttled", []answer{reset, slowDown, slowDown}, "unknown throttled"},
		{"gibberish", []answer{gibberish, gibberish, gibberish}, "unknown"},
	} {
		t.Run(row.name, func(t *testing.T) {
			client, n := server(t, row.answers...)
			v := NewViews[int](client, "views", "numbers", &ViewOptions{Timeout: patient})
			err := v.Put(t.Context(), es.StreamID{Category: "org", ID: "1"}, es.View[int]{Version: 1, Value: 1}, 0)
			if got := said(err); got != row.want {
				t.Errorf("said %q, not %q: %v", got, row.want, err)
			}
			if got := int(n.Load()); got != len(row.answers) {
				t.Errorf("%d attempts, not %d", got, len(row.answers))
			}
		})
	}
}

// Reads are sent again, whatever happened, and say why they failed.
func TestReadsAreSentAgain(t *testing.T) {
	page := status(200, `{"Count":1,"Items":[{"s":{"S":"org/1"},"v":{"N":"1"},"i":{"S":"a"},"st":{"S":"settled"},"t":{"S":"2026-01-01T00:00:00.000000000Z"},"c":{"S":"1e1:e"}}]}`)
	for _, row := range []struct {
		name    string
		answers []answer
		want    string
	}{
		{"500", []answer{internal, reset, page}, "1"},
		{"no answer", []answer{hang, page}, "1"},
		{"throttled", []answer{slowDown, page}, "1"},
		{"cut off", []answer{cut, gibberish, page}, "1"},
		{"always throttled", []answer{slowDown, slowDown, slowDown}, "unknown throttled"},
		{"no table", []answer{exception("ResourceNotFoundException")}, "unknown no table"},
		{"invalid", []answer{invalid}, "unknown"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			client, n := server(t, row.answers...)
			s := New(client, "events", &Options{Timeout: attemptTime(row.answers)})
			got := ""
			for c, err := range s.Load(t.Context(), es.StreamID{Category: "org", ID: "1"}, 0) {
				if got = fmt.Sprint(c.Version); err != nil {
					got = said(err)
				}
			}
			if got != row.want {
				t.Errorf("got %q, not %q", got, row.want)
			}
			if got := int(n.Load()); got != len(row.answers) {
				t.Errorf("%d attempts, not %d", got, len(row.answers))
			}
		})
	}
}

// What never left had no effect.
func TestNeverSent(t *testing.T) {
	c := es.Commit{Stream: es.StreamID{Category: "org", ID: "1"}, Version: 1, ID: "mine", Events: []es.Event{{Type: "e"}}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	client, n := server(t)
	noKeys := errors.New("no keys")
	for name, s := range map[string]*Store{
		"nobody listens": New(newClient(closed), "events", nil),
		"no credentials": New(dynamodb.New(client.Options(), func(o *dynamodb.Options) {
			o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, noKeys })
		}), "events", nil),
	} {
		if err := s.Append(t.Context(), c); said(err) != "refused" {
			t.Errorf("%s: %v", name, err)
		} else if name == "no credentials" && !errors.Is(err, noKeys) {
			t.Errorf("the chain of errors is broken: %v", err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := New(client, "events", nil).Append(ended, c); said(err) != "refused" || !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	if n.Load() > 0 {
		t.Errorf("%d requests left", n.Load())
	}
}

// A context that ends while an answer is awaited leaves the outcome open, and ends the call.
func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	client, _ := server(t, func(w http.ResponseWriter, r *http.Request) { cancel(); hang(w, r) })
	c := es.Commit{Stream: es.StreamID{Category: "org", ID: "1"}, Version: 1, ID: "mine", Events: []es.Event{{Type: "e"}}}
	err := New(client, "events", &Options{Timeout: patient}).Append(ctx, c)
	if said(err) != "unknown" || !errors.Is(err, context.Canceled) {
		t.Errorf("said %q: %v", said(err), err)
	}
}

// stranger is a client that is none of the SDK's: nothing is known of what it did.
type stranger struct{ Client }

func (stranger) PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	return nil, errors.New("strange")
}

func TestStrangeClient(t *testing.T) {
	c := es.Commit{Stream: es.StreamID{Category: "org", ID: "1"}, Version: 1, ID: "mine", Events: []es.Event{{Type: "e"}}}
	if err := New(stranger{}, "events", nil).Append(t.Context(), c); said(err) != "unknown" {
		t.Errorf("said %q: %v", said(err), err)
	}
}
