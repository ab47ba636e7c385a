package main_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/leftfold/leftfold/dynamostore"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
)

var (
	otpKey   = []byte("the key of the codes in all tests")
	tokenKey = []byte("the key of the tokens in all tests")
)

const (
	publicURL = "https://leftfold.example"
	patient   = 20 * time.Second // the engines share the machine with what tests them
)

// engines are clients of the real ones, past all faults.
type engines struct {
	dynamodb *dynamodb.Client
	sns      *sns.Client
	sqs      *sqs.Client
	urls     map[string]string
}

func live(t *testing.T) engines {
	t.Helper()
	urls := make(map[string]string)
	for _, service := range []string{"dynamodb", "sns", "sqs"} {
		variable := "AWS_ENDPOINT_URL_" + strings.ToUpper(service)
		if urls[service] = os.Getenv(variable); urls[service] == "" {
			missing := "no engine: set " + variable + ", or run make test"
			if os.Getenv("CI") == "true" {
				t.Fatal(missing)
			}
			t.Skip(missing)
		}
	}
	config := aws.Config{Region: "us-east-1", Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
	})}
	return engines{
		dynamodb.NewFromConfig(config, func(o *dynamodb.Options) { o.BaseEndpoint = aws.String(urls["dynamodb"]) }),
		sns.NewFromConfig(config, func(o *sns.Options) { o.BaseEndpoint = aws.String(urls["sns"]) }),
		sqs.NewFromConfig(config, func(o *sqs.Options) { o.BaseEndpoint = aws.String(urls["sqs"]) }),
		urls,
	}
}

// system is the function with tables, topic, queues and mailbox of its own. A second queue, which
// nobody consumes, keeps what was published.
type system struct {
	engines
	*function
	t       *testing.T
	mapping *mapping
	mail    *mailbox
	codes   otp.Codes
	store   *dynamostore.Store
	orgs    *dynamostore.Views[org.View]
	otps    *dynamostore.Views[otp.View]
	audit   string // the URL of the queue
	dlq     string // likewise

	mu   sync.Mutex
	told []answer
}

// note keeps what a client was told. It fills in what the response says.
func (s *system) note(res response, a answer) answer {
	a.said = strings.TrimSpace(fmt.Sprint(res.status, " ", res.problem()))
	a.outcome, a.version = outcomeOf(res.status, res.problem()), uint64(res.number("version"))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, a)
	return a
}

type settings struct {
	visibility int // of the queue, in seconds; 0 means 1
	most       int // deliveries of a message; 0 means 100
	timeout    time.Duration
	gate       chan struct{}
	log        string // LOG_LEVEL; "" means debug
}

func start(t *testing.T, program string, o settings) *system {
	t.Helper()
	e, ctx, name := live(t), t.Context(), rand.Text()
	events, views := "events-"+name, "views-"+name
	if err := dynamostore.CreateTables(ctx, e.dynamodb, events, views); err != nil {
		t.Fatal(err)
	}
	topic, err := e.sns.CreateTopic(ctx, &sns.CreateTopicInput{
		Name: aws.String(name + ".fifo"), Attributes: map[string]string{"FifoTopic": "true", "FifoThroughputScope": "MessageGroup"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &system{
		engines: e, t: t,
		store: dynamostore.New(e.dynamodb, events, &dynamostore.Options{Timeout: patient}),
		orgs:  dynamostore.NewViews[org.View](e.dynamodb, views, "org", &dynamostore.ViewOptions{Timeout: patient}),
		otps:  dynamostore.NewViews[otp.View](e.dynamodb, views, "otp", &dynamostore.ViewOptions{Timeout: patient}),
		mail:  newMailbox(t),
	}
	if s.codes, err = otp.NewCodes(otpKey); err != nil {
		t.Fatal(err)
	}
	var arn string
	s.dlq, arn = s.newQueue(name+"-dlq", nil)
	queue, arn := s.newQueue(name, map[string]string{
		"VisibilityTimeout": fmt.Sprint(cmp.Or(o.visibility, 1)),
		"RedrivePolicy":     fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":"%d"}`, arn, cmp.Or(o.most, 100)),
	})
	s.subscribe(*topic.TopicArn, arn)
	s.audit, arn = s.newQueue(name+"-audit", map[string]string{"VisibilityTimeout": "2"})
	s.subscribe(*topic.TopicArn, arn)

	s.function = &function{
		program: program, engines: e.urls, timeout: cmp.Or(o.timeout, patient), gate: o.gate,
		env: []string{
			"EVENT_TABLE=" + events, "VIEW_TABLE=" + views, "TOPIC_ARN=" + *topic.TopicArn, "PUBLIC_URL=" + publicURL,
			"OTP_KEY=" + base64.StdEncoding.EncodeToString(otpKey), "TOKEN_KEY=" + base64.StdEncoding.EncodeToString(tokenKey),
			"SENDER=smtp://" + s.mail.addr + "?from=codes@example.com", "LOG_LEVEL=" + cmp.Or(o.log, "debug"),
		},
	}
	s.mapping = &mapping{client: e.sqs, queue: queue, invoke: s.invoke, wrong: func(err error) { t.Error(err) }}
	t.Cleanup(func() {
		s.stop()
		s.searchLogs()
		if t.Failed() {
			logged := strings.SplitAfter(s.String(), "\n")
			t.Logf("what the function logged last:\n%s", strings.Join(logged[max(0, len(logged)-100):], ""))
		}
		ctx := context.WithoutCancel(ctx)
		_, err := e.sns.DeleteTopic(ctx, &sns.DeleteTopicInput{TopicArn: topic.TopicArn})
		for _, url := range []string{queue, s.audit, s.dlq} {
			_, e := e.sqs.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &url})
			err = errors.Join(err, e)
		}
		for _, table := range []string{events, views} {
			_, e := e.dynamodb.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: &table})
			err = errors.Join(err, e)
		}
		if err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *system) newQueue(name string, attributes map[string]string) (url, arn string) {
	s.t.Helper()
	all := map[string]string{"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
	for k, v := range attributes {
		all[k] = v
	}
	queue, err := s.sqs.CreateQueue(s.t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(name + ".fifo"), Attributes: all})
	if err != nil {
		s.t.Fatal(err)
	}
	known, err := s.sqs.GetQueueAttributes(s.t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: queue.QueueUrl, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return *queue.QueueUrl, known.Attributes["QueueArn"]
}

func (s *system) subscribe(topic, queue string) {
	s.t.Helper()
	if _, err := s.sns.Subscribe(s.t.Context(), &sns.SubscribeInput{
		TopicArn: &topic, Protocol: aws.String("sqs"), Endpoint: &queue, Attributes: map[string]string{"RawMessageDelivery": "true"},
	}); err != nil {
		s.t.Fatal(err)
	}
}

// consume runs the mapping with so many pollers, until it is stopped or the test ends.
func (s *system) consume(pollers int) (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var wg sync.WaitGroup
	for range pollers {
		wg.Go(func() {
			if err := s.mapping.run(ctx); err != nil {
				s.t.Error(err)
			}
		})
	}
	stop = func() { cancel(); wg.Wait() }
	s.t.Cleanup(stop)
	return stop
}

// searchLogs looks for what must not be in any log line.
func (s *system) searchLogs() {
	s.t.Helper()
	// Fractions of a second could look like a code.
	logged := regexp.MustCompile(`"time":"[^"]*"`).ReplaceAllString(s.String(), "")
	secrets := []string{"Bearer", "eyJ", "Berlin", "@example.com"} // a header, the beginning of each token, a profile, addresses
	for _, key := range [][]byte{otpKey, tokenKey} {
		secrets = append(secrets, string(key), base64.StdEncoding.EncodeToString(key))
	}
	s.mail.mu.Lock()
	defer s.mail.mu.Unlock()
	if len(s.mail.codes) > 0 && !strings.Contains(logged, `"msg":"`) {
		s.t.Errorf("nothing to search: %s", logged)
	}
	for address, codes := range s.mail.codes {
		secrets = append(secrets, address)
		for _, code := range codes {
			if line := regexp.MustCompile(`.*\b` + code + `\b.*`).FindString(logged); line != "" {
				s.t.Errorf("the code %s is in the logs: %s", code, line)
			}
		}
	}
	for _, secret := range secrets {
		if i := strings.Index(logged, secret); i >= 0 {
			s.t.Errorf("%q is in the logs: %s", secret, logged[max(0, i-200):min(len(logged), i+200)])
		}
	}
}

// schedule invokes the function as EventBridge does.
func (s *system) schedule() error {
	_, err := s.invoke([]byte(`{"version":"0","id":"53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa","detail-type":"Scheduled Event","source":"aws.events",` +
		`"account":"000000000000","time":"` + time.Now().UTC().Format(time.RFC3339) + `","region":"us-east-1",` +
		`"resources":["arn:aws:events:us-east-1:000000000000:rule/relay"],"detail":{}}`))
	return err
}

// through returns a client of the function behind a gateway.
func (s *system) through(t *testing.T, k kind) *client {
	server := httptest.NewServer(&gateway{kind: k, invoke: s.invoke, wrong: func(err error) { t.Error(err) }})
	t.Cleanup(server.Close)
	return &client{t, k, server.URL, server.Client()}
}

// client is a user's. It never repeats a request on its own.
type client struct {
	t    *testing.T
	kind kind
	url  string
	http *http.Client
}

type response struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

// send sends a request; a body that is a string goes as it is, and anything else as JSON.
// Headers are pairs; an empty value removes one.
func (c *client) send(method, path string, body any, header ...string) response {
	c.t.Helper()
	var data io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		data = strings.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		data = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, data)
	if err != nil {
		c.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	res, err := c.http.Do(req)
	if err != nil {
		c.t.Errorf("%s %s: %v", method, path, err)
		return response{c.t, 0, http.Header{}, "{}"}
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Errorf("%s %s: %v", method, path, err)
	}
	return response{c.t, res.StatusCode, res.Header, string(all)}
}

func (c *client) get(path string, header ...string) response {
	c.t.Helper()
	return c.send("GET", path, nil, header...)
}

func (c *client) post(path string, body any, header ...string) response {
	c.t.Helper()
	return c.send("POST", path, body, header...)
}

func (c *client) put(path string, body any, header ...string) response {
	c.t.Helper()
	return c.send("PUT", path, body, header...)
}

func (r response) members() map[string]any {
	var m map[string]any
	_ = json.Unmarshal([]byte(r.body), &m) // what is no object has no members
	return m
}

func (r response) text(member string) string {
	v, _ := r.members()[member].(string)
	return v
}

func (r response) number(member string) int {
	v, _ := r.members()[member].(float64)
	return int(v)
}

func (r response) pointers() (found []string) {
	list, _ := r.members()["errors"].([]any)
	for _, e := range list {
		if e, ok := e.(map[string]any); ok {
			found = append(found, fmt.Sprint(e["pointer"]))
		}
	}
	return found
}

// problem returns the end of a problem's type.
func (r response) problem() string { return r.text("type")[strings.LastIndex(r.text("type"), "/")+1:] }

func (r response) wants(status int) response {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

func (r response) refuses(status int, slug string) response {
	r.t.Helper()
	r.wants(status)
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		r.t.Errorf("Content-Type %q", got)
	}
	if r.problem() != slug || r.number("status") != status || r.text("detail") == "" {
		r.t.Errorf("want a problem of type …/%s and status %d: %s", slug, status, r.body)
	}
	return r
}

func etag(version int) string { return fmt.Sprintf(`"%d"`, version) }

func profile(name string) map[string]string {
	return map[string]string{"name": name, "location": "Berlin", "description": "d"}
}

func code(to string) map[string]string { return map[string]string{"channel": "email", "to": to} }

func guess(to, challenge, code string) map[string]string {
	return map[string]string{"to": to, "challenge": challenge, "code": code}
}

// wrong returns a code that is not this one.
func wrong(code string) string { return string('0'+(code[0]-'0'+1)%10) + code[1:] }

// login returns what goes before every request with a token, and the ID of its subject.
func (s *system) login(c *client, to string) (bearer, id string) {
	c.t.Helper()
	challenge, code := s.requestCode(c, to)
	res := c.post("/otp/verify", guess(to, challenge, code)).wants(200)
	return "Bearer " + res.text("token"), res.text("subject")
}

func (s *system) requestCode(c *client, to string) (challenge, secret string) {
	c.t.Helper()
	before := len(s.mail.to(to))
	res := c.post("/otp", code(to)).wants(202)
	challenge = res.text("challenge")
	status := c.get("/otp/"+challenge, "If-None-Match", etag(res.number("version")), "Prefer", "wait=5").wants(200)
	if status.text("status") != "sent" {
		c.t.Fatalf("not sent: %s", status.body)
	}
	return challenge, s.mail.to(to)[before]
}

// mailbox is a mail server that speaks just enough SMTP, and keeps the codes.
type mailbox struct {
	addr  string
	mu    sync.Mutex
	codes map[string][]string
}

// to returns the codes that an address was sent, oldest first.
func (m *mailbox) to(address string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.codes[address]...)
}

func newMailbox(t *testing.T) *mailbox {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mailbox{addr: listener.Addr().String(), codes: make(map[string][]string)}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { m.serve(conn) })
		}
	})
	return m
}

var sentCode = regexp.MustCompile(`Your code is (\d{6})\.`)

func (m *mailbox) serve(conn net.Conn) {
	defer conn.Close()
	reply := func(line string) { fmt.Fprintf(conn, "%s\r\n", line) }
	reply("220 hello")
	var to, secret string
	data := false
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		line := lines.Text()
		switch {
		case data && line == ".":
			data = false
			m.mu.Lock()
			m.codes[to] = append(m.codes[to], secret)
			m.mu.Unlock()
			reply("250 queued")
		case data:
			if found := sentCode.FindStringSubmatch(line); found != nil {
				secret = found[1]
			}
		case line == "DATA":
			data = true
			reply("354 go on")
		case line == "QUIT":
			reply("221 bye")
			return
		default:
			if rest, ok := strings.CutPrefix(line, "RCPT TO:<"); ok {
				to = strings.TrimSuffix(rest, ">")
			}
			reply("250 OK")
		}
	}
}
