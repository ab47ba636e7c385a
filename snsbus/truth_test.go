package snsbus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/smithy-go"

	"github.com/leftfold/leftfold/es"
)

// patient is a time that is enough on a machine with much else to do.
const patient = 20 * time.Second

// proof is what an attempt shows to somebody who sees no more than its answer.
type proof int

const (
	published proof = iota
	final           // certainly not published, and never will be
	passing         // certainly not published, but may be next time
	open            // nobody knows
)

// act is what happens to one attempt.
type act struct {
	name    string
	shows   proof
	accepts bool // the truth: the topic has taken the message

	credentials error
	dial        func(ctx context.Context, network, address string) (net.Conn, error)
	answer      http.HandlerFunc
}

const goodAnswer = `<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>94f20ce6-13c5-43a0-9a9e-ca52d816e90b</MessageId>` +
	`</PublishResult><ResponseMetadata><RequestId>f187a3c1</RequestId></ResponseMetadata></PublishResponse>`

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func failure(status int, code string) http.HandlerFunc {
	return answer(status, `<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type><Code>`+code+
		`</Code><Message>canned</Message></Error><RequestId>f187a3c1</RequestId></ErrorResponse>`)
}

// reset breaks the connection, with what was not read in it.
func reset(w http.ResponseWriter, _ *http.Request) {
	h, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler) // HTTP/2
	}
	c, _, err := h.Hijack()
	if err != nil {
		panic(err)
	}
	_ = c.(*tls.Conn).NetConn().(*net.TCPConn).SetLinger(0)
	_ = c.(*tls.Conn).NetConn().Close()
}

func read(then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		then(w, r)
	}
}

// hang gives no answer for as long as somebody waits, which is not long.
func hang(_ http.ResponseWriter, r *http.Request) {
	timeOut(r.Context())
	<-r.Context().Done()
}

// broken writes these bytes in place of an answer and closes the connection.
func broken(text string) http.HandlerFunc {
	return read(func(w http.ResponseWriter, r *http.Request) {
		h, ok := w.(http.Hijacker)
		if !ok {
			_, _ = io.WriteString(w, "<")
			panic(http.ErrAbortHandler)
		}
		c, _, err := h.Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(c, text)
		_ = c.Close()
	})
}

var errNoKeys = errors.New("no keys")

func fails(err error) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
}

// instead connects to a listener that does something else than TLS.
func instead(serve func(net.Conn)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go serve(server)
		return client, nil
	}
}

// acts are those that any attempt may meet.
func acts() []act {
	return []act{
		{name: "published", shows: published, accepts: true, answer: answer(200, goodAnswer)},
		{name: "published, in more than it has to be", shows: published, accepts: true, answer: answer(200, "<?xml version=\"1.0\"?>\n"+strings.Replace(goodAnswer, "<PublishResult>", "<PublishResult><SequenceNumber>10000000000000003000</SequenceNumber><New/>", 1))},

		{name: "an unmodelled code", shows: final, answer: failure(400, "SomethingNew")},
		{name: "an expired token", shows: final, answer: failure(403, "ExpiredToken")},
		{name: "400 without a code", shows: final, answer: answer(400, "<ErrorResponse/>")},
		{name: "400 that is no XML", shows: final, answer: answer(400, "{\"oops\":")},
		{name: "401 without a body", shows: final, answer: answer(401, "")},
		{name: "413 by a proxy", shows: final, answer: answer(413, "<html>too large</html>")},
		{name: "422 cut off", shows: final, answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			failure(422, "InvalidParameter")(w, r)
		}},
		{name: "a code of throttling that is none", shows: final, answer: failure(400, "UnThrottled")},
		{name: "499", shows: final, answer: answer(499, "")},

		{name: "429 by a proxy", shows: passing, answer: answer(429, "<html>slow down</html>")},
		{name: "Throttling", shows: passing, answer: failure(400, "Throttling")},
		{name: "ThrottlingException", shows: passing, answer: failure(400, "ThrottlingException")},
		{name: "ThrottledException", shows: passing, answer: failure(429, "ThrottledException")},
		{name: "KMSThrottlingException", shows: passing, answer: failure(400, "KMSThrottlingException")},
		{name: "RequestThrottled", shows: passing, answer: failure(403, "RequestThrottled")},
		{name: "the clock is wrong", shows: passing, answer: failure(403, "SignatureDoesNotMatch")},
		{name: "no credentials", shows: passing, credentials: errNoKeys},
		{name: "nobody listens", shows: passing, dial: fails(errors.New("connection refused"))},
		{name: "no such host", shows: passing, dial: fails(&net.DNSError{Err: "no such host", Name: "sns.example", IsNotFound: true})},
		{name: "no name server", shows: passing, dial: fails(&net.DNSError{Err: "i/o timeout", Name: "sns.example", IsTimeout: true})},
		{name: "closed before TLS", shows: passing, dial: instead(func(c net.Conn) { _ = c.Close() })},
		{name: "closed within TLS", shows: passing, dial: instead(func(c net.Conn) { _, _ = c.Read(make([]byte, 9)); _ = c.Close() })},
		{name: "no TLS", shows: passing, dial: instead(func(c net.Conn) {
			go func() { _, _ = io.Copy(io.Discard, c) }()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			_ = c.Close()
		})},
		{name: "a certificate of nobody", shows: passing, dial: instead(func(c net.Conn) {
			s := tls.Server(c, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none") }})
			_ = s.Handshake()
			_ = s.Close()
		})},
		{name: "nobody answers the dial", shows: passing, dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			timeOut(ctx)
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
		}},
		{name: "nobody answers within TLS", shows: passing, dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() { _, _ = server.Read(make([]byte, 9)); timeOut(ctx); _, _ = io.Copy(io.Discard, server) }()
			return client, nil
		}},

		{name: "500 without effect", shows: open, answer: failure(500, "InternalFailure")},
		{name: "500 after the effect", shows: open, accepts: true, answer: failure(500, "InternalError")},
		{name: "503", shows: open, answer: failure(503, "ServiceUnavailable")},
		{name: "503 that calls itself throttling", shows: open, accepts: true, answer: failure(503, "Throttling")},
		{name: "502 by a proxy", shows: open, accepts: true, answer: answer(502, "<html>")},
		{name: "504 after the effect", shows: open, accepts: true, answer: answer(504, "")},
		{name: "408", shows: open, answer: failure(408, "RequestTimeout")},
		{name: "408 after the effect", shows: open, accepts: true, answer: failure(408, "RequestTimeout")},
		{name: "an error code with 200", shows: open, accepts: true, answer: failure(200, "InvalidParameter")},
		{name: "an error code with 300", shows: open, answer: failure(300, "InvalidParameter")},
		{name: "301 to nowhere", shows: open, answer: answer(301, "")},
		{name: "304 after the effect", shows: open, accepts: true, answer: answer(304, "")},
		{name: "307 to where nobody listens", shows: open, accepts: true, answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://127.0.0.1:1/")
			answer(307, "")(w, r)
		}},
		{name: "a status that is none", shows: open, accepts: true, answer: answer(600, "")},
		{name: "reset before the request is read", shows: open, answer: reset},
		{name: "reset without effect", shows: open, answer: read(reset)},
		{name: "reset after the effect", shows: open, accepts: true, answer: read(reset)},
		{name: "closed after the effect", shows: open, accepts: true, answer: broken("")},
		{name: "half a status line", shows: open, accepts: true, answer: broken("HTTP/1.1 40")},
		{name: "half a header", shows: open, accepts: true, answer: broken("HTTP/1.1 400 Bad Request\r\nContent-Le")},
		{name: "no HTTP", shows: open, accepts: true, answer: broken("SSH-2.0-OpenSSH_9.6\r\n")},
		{name: "headers without a body", shows: open, accepts: true, answer: broken("HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n")},
		{name: "half a body", shows: open, accepts: true, answer: broken("HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n" + goodAnswer[:120])},
		{name: "a length that is too short", shows: open, accepts: true, answer: broken("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + goodAnswer)},
		{name: "a length that is none", shows: open, accepts: true, answer: broken("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + goodAnswer)},
		{name: "200 without a body", shows: open, accepts: true, answer: answer(200, "")},
		{name: "200 without a body or an effect", shows: open, answer: answer(200, "")},
		{name: "200 without a message ID", shows: open, answer: answer(200, "<PublishResponse><PublishResult></PublishResult></PublishResponse>")},
		{name: "200 with an empty message ID", shows: open, accepts: true, answer: answer(200, "<PublishResponse><PublishResult><MessageId></MessageId></PublishResult></PublishResponse>")},
		{name: "200 without a result", shows: open, accepts: true, answer: answer(200, "<PublishResponse/>")},
		{name: "200 in another language", shows: open, accepts: true, answer: answer(200, "{\"MessageId\":\"1\"}")},
		{name: "200 by a proxy", shows: open, answer: answer(200, "<html><body>Log in</body></html>")},
		{name: "200 cut off", shows: open, accepts: true, answer: answer(200, goodAnswer[:100])},
		{name: "204", shows: open, answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }},
		{name: "no answer, without effect", shows: open, answer: read(hang)},
		{name: "no answer after the effect", shows: open, accepts: true, answer: read(hang)},
		{name: "half an answer, and then none", shows: open, accepts: true, answer: read(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, goodAnswer[:100])
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		})},
	}
}

// modelled is every error in the SDK's model of SNS, by the code on the wire, with the
// status that the API reference gives, and what it shows.
// https://docs.aws.amazon.com/sns/latest/api/API_Operations.html
var modelled = map[string]struct {
	status int
	shows  proof
}{
	"AuthorizationError":           {403, final},
	"BatchEntryIdsNotDistinct":     {400, final},
	"BatchRequestTooLong":          {400, final},
	"ConcurrentAccess":             {400, final},
	"EmptyBatchRequest":            {400, final},
	"EndpointDisabled":             {400, final},
	"FilterPolicyLimitExceeded":    {403, final},
	"InternalError":                {500, open},
	"InvalidBatchEntryId":          {400, final},
	"InvalidParameter":             {400, final},
	"InvalidSecurity":              {403, final},
	"InvalidState":                 {400, final},
	"KMSAccessDenied":              {400, final},
	"KMSDisabled":                  {400, final},
	"KMSInvalidState":              {400, final},
	"KMSNotFound":                  {400, final},
	"KMSOptInRequired":             {403, final},
	"KMSThrottling":                {400, passing},
	"NotFound":                     {404, final},
	"OptedOut":                     {400, final},
	"ParameterValueInvalid":        {400, final},
	"PlatformApplicationDisabled":  {400, final},
	"ReplayLimitExceeded":          {403, final},
	"ResourceNotFound":             {404, final},
	"StaleTag":                     {400, final},
	"SubscriptionLimitExceeded":    {403, final},
	"TagLimitExceeded":             {400, final},
	"TagPolicy":                    {400, final},
	"Throttled":                    {429, passing},
	"TooManyEntriesInBatchRequest": {400, final},
	"TopicLimitExceeded":           {403, final},
	"UserError":                    {400, final},
	"ValidationException":          {400, final},
	"VerificationException":        {400, final},
}

// The table has every error that the SDK knows, and no other: a new version of the SDK
// that has a new one makes somebody decide what it shows.
func TestEveryModelledErrorIsInTheTable(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/sns").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(out)), "types", "errors.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	types, codes, servers := map[string]bool{}, map[string]string{}, map[string]bool{}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if s, ok := s.(*ast.TypeSpec); ok {
					types[s.Name.Name] = true
				}
			}
		case *ast.FuncDecl:
			receiver := d.Recv.List[0].Type.(*ast.StarExpr).X.(*ast.Ident).Name
			ast.Inspect(d.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					if code, err := strconv.Unquote(n.Value); err == nil && d.Name.Name == "ErrorCode" {
						codes[receiver] = code
					}
				case *ast.SelectorExpr:
					servers[receiver] = servers[receiver] || n.Sel.Name == "FaultServer"
				}
				return true
			})
		}
	}
	if len(types) < 30 || len(types) != len(codes) {
		t.Fatalf("%d types of errors with %d codes: the source is not understood", len(types), len(codes))
	}
	known := map[string]bool{}
	for name, code := range codes {
		known[code] = true
		row, ok := modelled[code]
		switch {
		case !ok:
			t.Errorf("the table has no %q, which is %s", code, name)
		case servers[name] != (row.status >= 500) || servers[name] != (row.shows == open):
			t.Errorf("%s is a fault of the server: %v, but the table says otherwise", name, servers[name])
		}
	}
	for code := range modelled {
		if !known[code] {
			t.Errorf("the SDK has no error %q", code)
		}
	}
}

func allActs() []act {
	all := acts()
	for _, code := range slices.Sorted(maps.Keys(modelled)) {
		all = append(all, act{name: code, shows: modelled[code].shows, answer: failure(modelled[code].status, code)})
	}
	return all
}

func named(name string) act {
	all := allActs()
	i := slices.IndexFunc(all, func(a act) bool { return a.name == name })
	if i < 0 {
		panic("no act is called " + name)
	}
	return all[i]
}

// stage plays acts, one an attempt, and knows the truth.
type stage struct {
	acts     []act
	attempt  atomic.Int32 // from 1
	accepted atomic.Int32
	sdk      *sns.Client
	close    func()

	mu  sync.Mutex
	end func() // ends the time for the attempt; that of all, if there is one from the beginning
}

// Publish is that of the SDK, in a context that an act can end. No test waits for a
// real time-out, which might come too early on a slow machine.
func (s *stage) Publish(ctx context.Context, in *sns.PublishInput, o ...func(*sns.Options)) (*sns.PublishOutput, error) {
	ctx, cancel := context.WithCancel(context.WithValue(ctx, stageKey{}, s))
	defer cancel()
	s.mu.Lock()
	if s.end == nil {
		s.end = cancel
		defer func() { s.mu.Lock(); defer s.mu.Unlock(); s.end = nil }()
	}
	s.mu.Unlock()
	return s.sdk.Publish(ctx, in, o...)
}

type stageKey struct{}

// timeOut ends the time for the attempt that a context belongs to, on either side.
func timeOut(ctx context.Context) {
	s := ctx.Value(stageKey{}).(*stage)
	s.mu.Lock()
	end := s.end
	s.mu.Unlock()
	if end != nil {
		end()
	}
}

func newStage(http2 bool, acts ...act) *stage {
	s := &stage{acts: acts}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := s.act()
		if a.answer == nil {
			panic(http.ErrAbortHandler)
		}
		if http2 != (r.ProtoMajor == 2) {
			a = act{answer: answer(505, "")}
		}
		if a.accepts {
			s.accepted.Add(1)
		}
		a.answer(w, r)
	}))
	server.EnableHTTP2 = http2
	server.Config.BaseContext = func(net.Listener) context.Context { return context.WithValue(context.Background(), stageKey{}, s) }
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	roots := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	transport := awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) {
		tr.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		tr.DisableKeepAlives = true // each attempt connects
		dial := tr.DialContext
		tr.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if a := s.act(); a.dial != nil {
				return a.dial(ctx, network, address)
			}
			return dial(ctx, network, address)
		}
	})
	s.close = func() { server.CloseClientConnections(); server.Close() }
	s.sdk = sns.New(sns.Options{
		Region: "us-east-1", BaseEndpoint: &server.URL, HTTPClient: transport,
		RetryMaxAttempts: 7, // retries of its own, which must not be used
		// The SDK asks once an attempt, its own retries included.
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			s.attempt.Add(1)
			return aws.Credentials{AccessKeyID: "dummy", SecretAccessKey: "dummy", CanExpire: true}, s.act().credentials
		}),
	})
	return s
}

// act returns the current one; after the last one, it stays with that.
func (s *stage) act() act { return s.acts[min(max(int(s.attempt.Load()), 1), len(s.acts))-1] }

const fifoTopic = "arn:aws:sns:us-east-1:123456789012:commits.fifo"

// publishing publishes a commit: it is the publisher, or a broken one.
type publishing func(context.Context, Client, *Options) error

func ours(ctx context.Context, client Client, o *Options) error {
	return New(client, fifoTopic, o).Publish(ctx, bare())
}

// play lets a publisher meet these acts and returns what was wrong about what it said.
func play(ctx context.Context, http2 bool, publish publishing, acts ...act) error {
	s := newStage(http2, acts...)
	defer s.close()
	o := &Options{Timeout: patient, Attempts: len(acts)}
	err := publish(ctx, s, o)
	made, accepted, refused := int(s.attempt.Load()), s.accepted.Load() > 0, errors.Is(err, es.ErrRefused)
	said := fmt.Sprintf("after %d attempts and with the message accepted %d times: %v", made, s.accepted.Load(), err)
	// Against the truth.
	switch {
	case err == nil && !accepted:
		return fmt.Errorf("it said that it is published, %s", said)
	case refused && accepted:
		return fmt.Errorf("it said that it is refused, %s", said)
	}
	// Against what could be known.
	wantMade, want := 0, final
	for _, a := range acts {
		wantMade++
		if a.shows == published || a.shows == open {
			want = a.shows
		}
		if a.shows == published || a.shows == final {
			break
		}
	}
	switch {
	case made != wantMade:
		return fmt.Errorf("there should have been %d attempts, %s", wantMade, said)
	case want == published && err != nil, want != published && err == nil:
		return fmt.Errorf("published is wrong, %s", said)
	case want == final && !refused, want == open && refused:
		return fmt.Errorf("refused is wrong, %s", said)
	}
	if err == nil {
		return nil
	}
	_, operation := errors.AsType[*smithy.OperationError](err)
	switch last := acts[made-1]; {
	case !operation && !errors.Is(err, errNoID):
		return fmt.Errorf("the SDK's error is not in the chain, %s", said)
	case last.credentials != nil && !errors.Is(err, last.credentials):
		return fmt.Errorf("the reason is not in the chain, %s", said)
	}
	return nil
}

// playAll plays every sequence of acts and returns what was wrong, and how many there were.
func playAll(ctx context.Context, publish publishing, http2 bool, sequences [][]act) (wrong []error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	turns := make(chan struct{}, 32)
	for _, acts := range sequences {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			if err := play(ctx, http2, publish, acts...); err != nil {
				var names []string
				for _, a := range acts {
					names = append(names, a.name)
				}
				mu.Lock()
				defer mu.Unlock()
				wrong = append(wrong, fmt.Errorf("%s: %w", strings.Join(names, " | "), err))
			}
		})
	}
	wg.Wait()
	return wrong
}

func singles() (sequences [][]act) {
	for _, a := range allActs() {
		sequences = append(sequences, []act{a})
	}
	return sequences
}

// pairsAndTriples returns each act before and behind each of those that stand for their
// kind, and all triples of these.
func pairsAndTriples() (sequences [][]act) {
	kinds := []act{named("published"), named("AuthorizationError"), named("Throttled"), named("reset after the effect"), named("nobody listens"), named("500 without effect")}
	for _, a := range allActs() {
		for _, b := range kinds[:4] {
			sequences = append(sequences, []act{a, b}, []act{b, a})
		}
	}
	for _, a := range kinds {
		for _, b := range kinds {
			for _, c := range kinds {
				sequences = append(sequences, []act{a, b, c})
			}
		}
	}
	// What cannot be followed by anything adds nothing.
	return slices.DeleteFunc(sequences, func(acts []act) bool {
		return acts[0].shows == published || acts[0].shows == final || len(acts) == 3 && acts[1].shows < passing
	})
}

func TestWhatPublishesSay(t *testing.T) {
	for name, run := range map[string]struct {
		http2     bool
		sequences [][]act
	}{
		"one attempt":             {false, singles()},
		"one attempt over HTTP/2": {true, singles()},
		"several attempts":        {false, pairsAndTriples()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, err := range playAll(t.Context(), ours, run.http2, run.sequences) {
				t.Error(err)
			}
			t.Logf("%d sequences", len(run.sequences))
		})
	}
}

// Publishers as they are often written say what is not true, and are found out.
func TestUntruePublishers(t *testing.T) {
	send := func(ctx context.Context, client Client, o *Options, options ...func(*sns.Options)) (*sns.PublishOutput, error) {
		in, err := New(client, fifoTopic, o).input(bare())
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, o.Timeout)
		defer cancel()
		return client.Publish(ctx, in, options...)
	}
	once := func(o *sns.Options) { o.Retryer = aws.NopRetryer{} }
	status := func(err error) int {
		if answer, ok := errors.AsType[*awshttp.ResponseError](err); ok {
			return answer.HTTPStatusCode()
		}
		return 0
	}
	refused := func(err error) error { return fmt.Errorf("%w: %w", es.ErrRefused, err) }
	// repeated makes attempts of its own, and judges the last one by itself.
	repeated := func(refuses func(error) bool) publishing {
		return func(ctx context.Context, client Client, o *Options) (err error) {
			for range o.Attempts {
				if _, err = send(ctx, client, o, once); err == nil {
					return nil
				}
			}
			if refuses(err) {
				return refused(err)
			}
			return err
		}
	}
	for _, m := range []struct {
		bug       string
		publish   publishing
		sequences [][]act
	}{
		{"any error is a refusal", repeated(func(error) bool { return true }), singles()},
		{"any answer with an error is a refusal", repeated(func(err error) bool { return status(err) >= 300 }), singles()},
		{"408 is a refusal", repeated(func(err error) bool { return status(err) >= 400 && status(err) < 500 }), [][]act{{named("408 after the effect")}}},
		{"a code of throttling is a refusal", repeated(func(err error) bool {
			answer, ok := errors.AsType[smithy.APIError](err)
			return ok && strings.HasPrefix(answer.ErrorCode(), "Thrott")
		}), [][]act{{named("503 that calls itself throttling")}}},
		{"a fault of the sender is a refusal", repeated(func(err error) bool {
			answer, ok := errors.AsType[smithy.APIError](err)
			return ok && answer.ErrorFault() != smithy.FaultServer
		}), singles()},
		{"200 without an ID is success", repeated(func(error) bool { return false }), [][]act{{named("200 without a body or an effect")}}},
		{"the last attempt decides", repeated(func(err error) bool { s := status(err); return s >= 400 && s < 500 && s != 408 }),
			[][]act{{named("reset after the effect"), named("AuthorizationError")}}},
		{"the SDK repeats", func(ctx context.Context, client Client, o *Options) error {
			_, err := send(ctx, client, o, func(so *sns.Options) { so.RetryMaxAttempts = o.Attempts })
			if s := status(err); s >= 400 && s < 500 && s != 408 {
				return refused(err)
			}
			return err
		}, [][]act{{named("reset after the effect"), named("AuthorizationError")}, {named("500 after the effect"), named("InvalidParameter")}}},
	} {
		t.Run(m.bug, func(t *testing.T) {
			t.Parallel()
			wrong := playAll(t.Context(), m.publish, false, m.sequences)
			if !slices.ContainsFunc(wrong, func(err error) bool { return strings.Contains(err.Error(), "it said that it is") }) {
				t.Errorf("it was not found out, of %d sequences; but: %v", len(m.sequences), wrong)
			}
		})
	}
}

// A context that has ended, or ends at some point of an attempt.
func TestContextEnds(t *testing.T) {
	for _, row := range []struct {
		name    string
		act     act
		begun   int32 // attempts
		refused bool
		says    bool // that the context has ended
	}{
		{"before", named("published"), 0, true, true},
		{"while credentials are asked for", act{credentials: errNoKeys}, 1, true, false},
		{"while it connects", named("nobody answers the dial"), 1, true, true},
		{"within TLS", named("nobody answers within TLS"), 1, true, true},
		{"while the answer is awaited", named("no answer, without effect"), 1, false, true},
		{"while the answer is awaited, after the effect", named("no answer after the effect"), 1, false, true},
		{"within the answer", named("half an answer, and then none"), 1, false, true},
		{"behind a refusal that may pass", named("Throttled"), 1, true, false},
		{"behind what nobody knows", named("500 after the effect"), 1, false, false},
	} {
		for how, begin := range map[string]func(context.Context) (context.Context, func()){
			"cancelled": func(ctx context.Context) (context.Context, func()) {
				ctx, cancel := context.WithCancel(ctx)
				return ctx, cancel
			},
			"deadline": newDeadline,
		} {
			t.Run(row.name+", "+how, func(t *testing.T) {
				t.Parallel()
				ctx, end := begin(t.Context())
				s := newStage(false, row.act)
				defer s.close()
				s.end = end
				var client Client = s
				switch {
				case row.begun == 0:
					end()
				case !row.says:
					client = endsBehind{s, end}
				}
				err := New(client, fifoTopic, &Options{Timeout: patient}).Publish(ctx, bare())
				if err == nil || errors.Is(err, es.ErrRefused) != row.refused {
					t.Errorf("refused should be %v: %v", row.refused, err)
				}
				if made := s.attempt.Load(); made != row.begun {
					t.Errorf("%d attempts, not %d", made, row.begun)
				}
				if row.says && !errors.Is(err, ctx.Err()) {
					t.Errorf("the error does not wrap that of the context, %v: %v", ctx.Err(), err)
				}
			})
		}
	}
}

// endsBehind ends a context behind the first attempt.
type endsBehind struct {
	Client
	end func()
}

func (e endsBehind) Publish(ctx context.Context, in *sns.PublishInput, o ...func(*sns.Options)) (*sns.PublishOutput, error) {
	defer e.end()
	return e.Client.Publish(ctx, in, o...)
}

// deadline is a context whose deadline passes when it is told to.
type deadline struct {
	value  func(key any) any // that of the parent
	passed chan struct{}
}

func newDeadline(ctx context.Context) (context.Context, func()) {
	d := deadline{ctx.Value, make(chan struct{})}
	return d, sync.OnceFunc(func() { close(d.passed) })
}

func (d deadline) Deadline() (time.Time, bool) { return time.Time{}, false }

func (d deadline) Value(key any) any { return d.value(key) }

func (d deadline) Done() <-chan struct{} { return d.passed }

func (d deadline) Err() error {
	select {
	case <-d.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// A connection that credentials were asked for over is not one that the message left by.
func TestCredentialsOverHTTP(t *testing.T) {
	keys := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer keys.Close()
	s := newStage(false, named("nobody listens"))
	defer s.close()
	s.sdk = sns.New(s.sdk.Options(), func(o *sns.Options) {
		o.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, keys.URL, nil)
			if err != nil {
				return aws.Credentials{}, err
			}
			res, err := http.DefaultClient.Do(r)
			if err == nil {
				err = res.Body.Close()
			}
			return aws.Credentials{AccessKeyID: "dummy", SecretAccessKey: "dummy"}, err
		})
	})
	if err := New(s, fifoTopic, nil).Publish(t.Context(), bare()); !errors.Is(err, es.ErrRefused) {
		t.Errorf("the error is no refusal: %v", err)
	}
}

// stranger is a client that is none of the SDK's: nothing is known of what it did.
type stranger struct {
	out *sns.PublishOutput
	err error
}

func (s stranger) Publish(context.Context, *sns.PublishInput, ...func(*sns.Options)) (*sns.PublishOutput, error) {
	return s.out, s.err
}

func TestStrangeClient(t *testing.T) {
	for _, s := range []stranger{{err: errors.New("strange")}, {}, {out: &sns.PublishOutput{}}} {
		if err := New(s, fifoTopic, nil).Publish(t.Context(), bare()); err == nil || errors.Is(err, es.ErrRefused) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// What a caller acts on is there by name.
func TestReasons(t *testing.T) {
	for name, want := range map[string]error{
		"NotFound": ErrNoTopic, "Throttled": ErrThrottled, "KMSThrottling": ErrThrottled, "429 by a proxy": ErrThrottled, "Throttling": ErrThrottled,
		"503 that calls itself throttling": ErrThrottled, "AuthorizationError": nil, "ResourceNotFound": nil,
	} {
		s := newStage(false, named(name))
		err := New(s, fifoTopic, &Options{Timeout: patient}).Publish(t.Context(), bare())
		s.close()
		for _, reason := range []error{ErrNoTopic, ErrThrottled, ErrTooLarge} {
			if errors.Is(err, reason) != errors.Is(want, reason) {
				t.Errorf("%s: %q is wrong: %v", name, reason, err)
			}
		}
		if strings.Contains(err.Error(), bare().Events[0].Data) {
			t.Errorf("%s: the error quotes an event: %v", name, err)
		}
	}
}

// A publish with the default options ends in the second that a journal has for it.
func TestTimes(t *testing.T) {
	p := New(nil, fifoTopic, nil).policy
	const pauses = (25 + 50) * time.Millisecond
	if longest := p.Timeout*(1<<p.Attempts-1) + pauses; p.Attempts != 3 || longest > time.Second {
		t.Errorf("%d attempts take up to %v", p.Attempts, longest)
	}

	s := newStage(false, act{answer: func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() }})
	defer s.close()
	begun := time.Now()
	err := New(s, fifoTopic, &Options{Timeout: 50 * time.Millisecond, Attempts: 2}).Publish(t.Context(), bare())
	if spent := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || s.attempt.Load() != 2 || spent < (1+2)*50*time.Millisecond {
		t.Errorf("%d attempts in %v: %v", s.attempt.Load(), spent, err)
	}
}
