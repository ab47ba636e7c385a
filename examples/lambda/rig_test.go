package main_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// programs are what is tested, built as they are deployed, but for this machine.
type programs struct {
	checked string        // with the race detector, if the test has it
	plain   string        // without it: it starts five times as fast
	turns   chan struct{} // limits the cases that run at once
	starts  chan struct{} // limits the environments that start at once
}

func build(t *testing.T) programs {
	t.Helper()
	p := programs{plain: buildProgram(t), turns: make(chan struct{}, 16), starts: make(chan struct{}, 4)}
	p.checked = p.plain
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		p.checked = filepath.Join(t.TempDir(), "bootstrap")
		if err := goBuild(p.checked, "-race"); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// buildProgram returns the program, which is built once for all tests.
func buildProgram(t *testing.T) string {
	t.Helper()
	if err := built(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, "bootstrap")
}

var (
	folder string
	built  = sync.OnceValue(func() error { return goBuild(filepath.Join(folder, "bootstrap")) })
)

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "bootstrap"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

func goBuild(program string, flags ...string) error {
	args := append([]string{"build", "-tags", "lambda.norpc", "-o", program}, flags...)
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		return fmt.Errorf("go %v: %w\n%s", args, err, out)
	}
	return nil
}

// function is the part of Lambda that runs a function: the program, in as many
// environments as there are invocations at a time. Between the program and the engines
// stands a proxy, which counts the calls that invocations make, and may break them.
type function struct {
	program string
	env     []string
	timeout time.Duration                // of an invocation
	engines map[string]string            // URLs, by the name of the service
	plan    func(n int, op string) fault // for the n-th call, from 1; nil: no fault
	gate    chan struct{}                // limits the environments that start at once; nil: no limit
	client  *http.Client                 // of the proxy; nil: http.DefaultClient

	mu    sync.Mutex
	idle  []*environment
	all   []*environment
	calls []string // of the invocations, such as "PutItem"
	hits  int      // calls that met a fault
	way   int      // calls of invocations that are not over, or still to reach their engine
	logs  bytes.Buffer
}

// What Lambda says of an invocation that gave no response. The effects of the function
// may be there.
var (
	errFunction = errors.New("function error")
	errDied     = errors.New("runtime exited")
	errTimedOut = errors.New("task timed out")
)

// stop ends all environments.
func (f *function) stop() {
	f.mu.Lock()
	all := f.all
	f.all, f.idle = nil, nil
	f.mu.Unlock()
	for _, e := range all {
		e.kill()
	}
	for _, e := range all {
		<-e.dead
		e.server.Close()
	}
}

// Write keeps what the program logs.
func (f *function) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logs.Write(p)
}

func (f *function) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logs.String()
}

// made returns the calls that the invocations made, and how many met a fault.
func (f *function) made() (calls []string, hits int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append(calls, f.calls...), f.hits
}

// setPlan changes the plan, and begins to count anew.
func (f *function) setPlan(plan func(int, string) fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan, f.calls, f.hits = plan, nil, 0
}

// invoke runs the function once, and returns its response. Its client going away does
// not stop a function.
func (f *function) invoke(payload []byte) ([]byte, error) {
	e, err := f.take()
	if err != nil {
		return nil, err
	}
	i := &invocation{id: rand.Text(), payload: payload, end: time.Now().Add(f.timeout), result: make(chan result, 1)}
	timer := time.NewTimer(f.timeout)
	defer timer.Stop()
	e.current.put(i)
	e.work <- i
	select {
	case r := <-i.result:
		f.mu.Lock()
		f.idle = append(f.idle, e)
		f.mu.Unlock()
		return r.payload, r.err
	case <-e.dead:
		return nil, fmt.Errorf("%w: %w", errDied, e.exit)
	case <-timer.C:
		e.kill()
		<-e.dead
		return nil, errTimedOut
	}
}

// take returns an environment that waits for work.
func (f *function) take() (*environment, error) {
	for {
		f.mu.Lock()
		n := len(f.idle)
		if n == 0 {
			f.mu.Unlock()
			return f.start()
		}
		e := f.idle[n-1]
		f.idle = f.idle[:n-1]
		f.mu.Unlock()
		if !e.ended() {
			return e, nil
		}
	}
}

// start makes an environment, and returns when its program asks for work.
func (f *function) start() (*environment, error) {
	if f.gate != nil {
		f.gate <- struct{}{}
		defer func() { <-f.gate }()
	}
	e, err := f.launch()
	if err != nil {
		return nil, err
	}
	select {
	case <-e.ready:
		return e, nil
	case <-e.dead:
		return nil, fmt.Errorf("%w before it was ready: %w\n%s", errDied, e.exit, f)
	}
}

func (f *function) launch(args ...string) (*environment, error) {
	e := &environment{function: f, work: make(chan *invocation, 1), ready: make(chan struct{}), dead: make(chan struct{})}
	e.server = httptest.NewServer(e)
	e.cmd = exec.Command(f.program, args...)
	e.cmd.Stdout, e.cmd.Stderr = f, f
	e.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(e.server.URL, "http://"),
		"AWS_ENDPOINT_URL_DYNAMODB=" + e.server.URL, "AWS_ENDPOINT_URL_SNS=" + e.server.URL,
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_LAMBDA_FUNCTION_NAME=leftfold", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
		"_HANDLER=bootstrap", "LAMBDA_TASK_ROOT=" + filepath.Dir(f.program),
	}, f.env...)
	if err := e.cmd.Start(); err != nil {
		e.server.Close()
		return nil, err
	}
	go func() {
		if e.exit = e.cmd.Wait(); e.exit == nil {
			e.exit = errors.New("exit status 0")
		}
		close(e.dead)
	}()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, e)
	return e, nil
}

// environment is one process, with the API of its runtime (see "Using the Lambda runtime
// API for custom runtimes" in AWS's documentation) and its way to the engines.
type environment struct {
	function *function
	cmd      *exec.Cmd
	server   *httptest.Server
	current  slot
	work     chan *invocation
	ready    chan struct{} // closed when it asks for work the first time
	once     sync.Once
	dead     chan struct{} // closed when it has ended
	exit     error         // then: why
}

type invocation struct {
	id      string
	payload []byte
	end     time.Time
	result  chan result
}

type result struct {
	payload []byte
	err     error
}

// slot holds the invocation that an environment is at work on.
type slot struct {
	mu sync.Mutex
	i  *invocation
}

func (s *slot) put(i *invocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.i = i
}

func (s *slot) get() *invocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.i
}

func (e *environment) kill() { _ = e.cmd.Process.Kill() }

func (e *environment) ended() bool {
	select {
	case <-e.dead:
		return true
	default:
		return false
	}
}

// ServeHTTP is both the API and the proxy.
func (e *environment) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/2018-06-01/runtime/")
	if !ok {
		e.call(w, r, body)
		return
	}
	i := e.current.get()
	switch id, action, _ := strings.Cut(strings.TrimPrefix(path, "invocation/"), "/"); {
	case r.Method == http.MethodGet && path == "invocation/next":
		e.once.Do(func() { close(e.ready) })
		select {
		case <-r.Context().Done():
		case i := <-e.work:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", i.id)
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(i.end.UnixMilli(), 10))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:leftfold")
			w.Header().Set("Lambda-Runtime-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0")
			_, _ = w.Write(i.payload)
		}
	case r.Method == http.MethodPost && i != nil && id == i.id && action == "response":
		e.current.put(nil)
		w.WriteHeader(http.StatusAccepted)
		i.result <- result{payload: body}
	case r.Method == http.MethodPost && i != nil && id == i.id && action == "error":
		e.current.put(nil)
		w.WriteHeader(http.StatusAccepted)
		i.result <- result{err: fmt.Errorf("%w: %s", errFunction, body)}
	case r.Method == http.MethodPost && path == "init/error":
		w.WriteHeader(http.StatusAccepted)
	default:
		http.Error(w, `{"errorMessage":"no such invocation","errorType":"InvalidRequestID"}`, http.StatusBadRequest)
	}
}

// fault is what happens to a call on its way to an engine.
type fault string

const (
	killBefore    fault = "killed before"        // the process, before the engine knows
	killAfter     fault = "killed after"         // after the engine has done it, and before the process knows
	frozen        fault = "frozen before"        // the process, until Lambda ends it
	refused       fault = "refused"              // a certain no
	serverError   fault = "500"                  // without effect
	nothingBefore fault = "200 with nothing"     // without effect
	nothingAfter  fault = "200 without its body" // with effect
	lateBefore    fault = "time-out before"      // no answer, no effect
	lateAfter     fault = "time-out after"       // no answer to a call that the engine has done
	resetBefore   fault = "reset before"         // the connection, likewise
	resetAfter    fault = "reset after"
	throttled     fault = "throttled"        // a certain no, for now
	slow          fault = "slow"             // reaches the engine after tardiness, if the caller waits for it or not
	resetDuring   fault = "reset on its way" // reaches the engine after tardiness, which the caller never hears of
)

// tardiness is longer than the first attempt of a publisher waits, and shorter than that of a store.
const tardiness = 300 * time.Millisecond

// operation returns the service that a request is for, and what is asked of it.
func operation(r *http.Request, body []byte) (service, op string) {
	target, op, ok := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	switch {
	case strings.HasPrefix(target, "DynamoDB"):
		return "dynamodb", op
	case ok:
		return "sns", op
	}
	form, _ := url.ParseQuery(string(body)) // what is no form has no action
	return "sns", form.Get("Action")
}

func (f *function) over() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.way--
}

// quiet reports whether no call is on its way.
func (f *function) quiet() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.way == 0
}

// call is the proxy. The calls that a program makes before its first invocation are
// its own affair.
func (e *environment) call(w http.ResponseWriter, r *http.Request, body []byte) {
	f := e.function
	service, op := operation(r, body)
	var meets fault
	if e.current.get() != nil {
		f.mu.Lock()
		f.calls = append(f.calls, op)
		if f.plan != nil {
			meets = f.plan(len(f.calls), op)
		}
		if meets != "" {
			f.hits++
		}
		f.way++
		if meets == resetDuring {
			f.way++
		}
		f.mu.Unlock()
		defer f.over()
	}
	forward := func() *http.Response {
		out, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, f.engines[service]+r.URL.Path, bytes.NewReader(body))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		out.Header = r.Header.Clone()
		out.Header.Del("Accept-Encoding")
		res, err := cmp.Or(f.client, http.DefaultClient).Do(out)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		return res
	}
	forget := func() {
		res := forward()
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	switch meets {
	case killAfter, nothingAfter, lateAfter, resetAfter:
		forget()
	case slow:
		_ = pause(context.WithoutCancel(r.Context()), tardiness)
	case resetDuring:
		go func() {
			defer f.over()
			defer func() { _ = recover() }() // of an engine that is gone
			_ = pause(context.WithoutCancel(r.Context()), tardiness)
			forget()
		}()
	}
	switch meets {
	case killBefore, killAfter:
		e.kill()
		<-e.dead
		panic(http.ErrAbortHandler)
	case frozen:
		_ = e.cmd.Process.Signal(syscall.SIGSTOP)
		<-e.dead
		panic(http.ErrAbortHandler)
	case lateBefore, lateAfter:
		<-r.Context().Done() // until the caller gives up
		panic(http.ErrAbortHandler)
	case resetBefore, resetAfter, resetDuring:
		panic(http.ErrAbortHandler)
	case nothingBefore, nothingAfter:
		w.WriteHeader(http.StatusOK)
	case refused, serverError, throttled:
		status, code := http.StatusForbidden, "AuthorizationError"
		if service == "dynamodb" {
			status, code = http.StatusBadRequest, "AccessDeniedException"
		}
		switch {
		case meets == serverError:
			status, code = http.StatusInternalServerError, "InternalError"
		case meets == throttled && service == "dynamodb":
			code = "ProvisionedThroughputExceededException"
		case meets == throttled:
			status, code = http.StatusTooManyRequests, "Throttled"
		}
		w.WriteHeader(status)
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-amz-json") {
			fmt.Fprintf(w, `{"__type":"%s","message":"by the proxy"}`, code)
		} else {
			fmt.Fprintf(w, `<ErrorResponse><Error><Code>%s</Code><Message>by the proxy</Message></Error></ErrorResponse>`, code)
		}
	default:
		res := forward()
		defer res.Body.Close()
		for k, v := range res.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}
}

// The rig itself: each fault has the effect that it is named for.
func TestFaults(t *testing.T) {
	arrived := 0
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived++
		_, _ = io.WriteString(w, "done")
	}))
	defer engine.Close()
	for meets, want := range map[fault]struct {
		arrives int
		answer  string
		ends    error // the process
	}{
		"":            {1, "200 done", nil},
		killBefore:    {0, "", errDied},
		killAfter:     {1, "", errDied},
		frozen:        {0, "", errTimedOut},
		refused:       {0, `400 {"__type":"AccessDeniedException","message":"by the proxy"}`, nil},
		serverError:   {0, `500 {"__type":"InternalError","message":"by the proxy"}`, nil},
		nothingBefore: {0, "200 ", nil},
		nothingAfter:  {1, "200 ", nil},
		lateBefore:    {0, "", nil},
		lateAfter:     {1, "", nil},
		resetBefore:   {0, "", nil},
		resetAfter:    {1, "", nil},
		throttled:     {0, `400 {"__type":"ProvisionedThroughputExceededException","message":"by the proxy"}`, nil},
		slow:          {1, "200 done", nil},
		resetDuring:   {1, "", nil},
	} {
		f := &function{program: "sleep", engines: map[string]string{"dynamodb": engine.URL}, timeout: patient}
		if meets == frozen {
			f.timeout = 200 * time.Millisecond
		}
		arrived = 0
		f.setPlan(func(n int, op string) fault {
			if n != 1 || op != "PutItem" {
				t.Errorf("call %d is %q", n, op)
			}
			return meets
		})
		e, err := f.launch("60") // the test asks for work in its place
		if err != nil {
			t.Fatal(err)
		}
		defer f.stop()
		f.idle = []*environment{e}
		send := func(method, path string, within time.Duration) string {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, method, e.server.URL+path, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Amz-Target", "DynamoDB_20120810.PutItem")
			req.Header.Set("Content-Type", "application/x-amz-json-1.0")
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return ""
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body) // none, or what is there
			return fmt.Sprint(res.StatusCode, " ", string(body))
		}

		invoked := make(chan error, 1)
		go func() {
			response, err := f.invoke([]byte("payload"))
			if err == nil && string(response) != "{}" {
				err = fmt.Errorf("the response is %q", response)
			}
			invoked <- err
		}()
		const path = "/2018-06-01/runtime/invocation/"
		if got := send("GET", path+"next", patient); got != "200 payload" {
			t.Errorf("next: %q", got)
		}
		within := patient
		if meets == lateBefore || meets == lateAfter {
			within = 50 * time.Millisecond
		}
		got := send("POST", "/", within)
		for !f.quiet() && pause(t.Context(), time.Millisecond) == nil {
			continue
		}
		if got != want.answer || arrived != want.arrives {
			t.Errorf("%q: %q, %d calls at the engine", meets, got, arrived)
		}
		if want.ends == nil {
			if got := send("POST", path+"unknown/response", patient); !strings.HasPrefix(got, "400") {
				t.Errorf("a response to another invocation: %q", got)
			}
			if got := send("POST", path+e.current.get().id+"/response", patient); got != "202 " {
				t.Errorf("response: %q", got)
			}
		}
		if err := <-invoked; !errors.Is(err, want.ends) {
			t.Errorf("%q: %v", meets, err)
		}
		if calls, hits := f.made(); len(calls) != 1 || (hits > 0) != (meets != "") {
			t.Errorf("%q: %q, %d hits", meets, calls, hits)
		}
	}
}
