package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

func noEnv(string) string { return "" }

// serve runs the server on a free port until the test ends, and returns what it printed.
func serve(t *testing.T) (base, printed string) {
	t.Helper()
	base, printed, _ = start(t, noEnv)
	return base, printed
}

// start is serve with an environment, and with a way to stop.
func start(t *testing.T, getenv func(string) string, args ...string) (base, printed string, stop func()) {
	t.Helper()
	return startLogging(t, t.Output(), getenv, args...)
}

// startLogging is start, with the log written to a place of the test's.
func startLogging(t *testing.T, logs io.Writer, getenv func(string) string, args ...string) (base, printed string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		err := run(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), getenv, w, logs)
		if err != nil {
			t.Errorf("the server ended with %v", err)
		}
		_ = w.CloseWithError(err)
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	out := make([]byte, 1<<16)
	n, err := r.Read(out) // it prints in one go
	if err != nil {
		t.Fatal(err)
	}
	printed = string(out[:n])
	base = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`).FindString(printed)
	if base == "" {
		t.Fatalf("it does not say where it listens:\n%s", printed)
	}
	return base, printed, stop
}

// On DynamoDB everything is there again after a restart, and nothing more than a
// restart is needed to finish what was left.
func TestDynamoDB(t *testing.T) {
	endpoint := os.Getenv("AWS_ENDPOINT_URL_DYNAMODB")
	if endpoint == "" {
		const missing = "no DynamoDB: set AWS_ENDPOINT_URL_DYNAMODB, or run make test"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	suffix := strings.ToLower(rand.Text())
	env := map[string]string{
		"EVENT_TABLE": "events-" + suffix, "VIEW_TABLE": "views-" + suffix,
		"OTP_KEY":   base64.StdEncoding.EncodeToString(make([]byte, otp.MinKey)),
		"TOKEN_KEY": base64.StdEncoding.EncodeToString(make([]byte, otp.MinKey)),
	}
	getenv := func(name string) string { return env[name] }
	var id, token string
	for restart := range 3 {
		base, printed, stop := start(t, getenv, "-dynamodb", endpoint)
		if !strings.Contains(printed, "in DynamoDB at "+endpoint) {
			t.Fatalf("it does not say where things are kept:\n%s", printed)
		}
		if restart == 0 {
			_, script, _ := strings.Cut(printed, "# A walk-through")
			sh := exec.CommandContext(t.Context(), "sh")
			sh.Stdin = strings.NewReader("# A walk-through" + script + "\necho id=$id token=$token")
			out, err := sh.Output()
			if err != nil {
				t.Fatal(err)
			}
			_, last, _ := strings.Cut(string(out), "\nid=")
			id, token, _ = strings.Cut(strings.TrimSpace(last), " token=")
		}
		for path, want := range map[string]string{
			"/orgs/" + id:              `"location":"Paris","description":"We moved.","version":2}`,
			"/orgs/" + id + "/history": `{"version":2,"type":"org.updated"`,
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || !strings.Contains(string(body), want) {
				t.Errorf("restart %d: %s: %s, %v", restart, path, body, err)
			}
		}
		stop()
	}
	// The tables are of another program: nothing is started on them.
	err := run(t.Context(), []string{"-addr", "127.0.0.1:0", "-dynamodb", endpoint}, func(name string) string {
		if name == "EVENT_TABLE" {
			return env["VIEW_TABLE"]
		}
		return env[name]
	}, io.Discard, io.Discard)
	if !errors.Is(err, es.ErrInvalid) || !strings.Contains(err.Error(), env["VIEW_TABLE"]) {
		t.Errorf("on tables with other keys: %v", err)
	}
}

// What is printed works as it is printed.
func TestWalkthrough(t *testing.T) {
	_, printed := serve(t)
	_, script, ok := strings.Cut(printed, "# A walk-through")
	if !ok {
		t.Fatalf("no walk-through:\n%s", printed)
	}
	if n := strings.Count(script, "curl "); n < 9 {
		t.Errorf("%d curl lines", n)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatalf("this test needs curl: %v", err)
	}
	sh := exec.CommandContext(t.Context(), "sh")
	sh.Stdin = strings.NewReader("# A walk-through" + script)
	out, err := sh.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rest := string(out)
	for _, want := range []string{
		`"challenge":"`, `"version":1}`, // a code is requested
		`"status":"sent"`,         // it is sent
		`"token":"`, `"subject":`, // it is traded for a token
		`"name":"Acme","location":"Berlin","description":"","version":1}`, // the org is created
		`HTTP/1.1 200 OK`, `Etag: "1"`, `"location":"Berlin","description":"","version":1}`, // and read
		`"location":"Paris","description":"We moved.","version":2}`,                         // and updated
		`"location":"Paris","description":"We moved.","version":2}`,                         // and read again
		`{"events":[{"version":1,"type":"org.created"`, `{"version":2,"type":"org.updated"`, // its history
		`{"version":1,"state":{"name":"Acme","location":"Berlin","description":""}}`, // and its past
	} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("%s is missing in:\n%s\nall:\n%s", want, rest, out)
		}
		rest = after
	}
	if strings.Contains(string(out), "problems/") {
		t.Errorf("something was refused:\n%s", out)
	}
}

// The console is there, and nobody is told of one that is not.
func TestConsoleLine(t *testing.T) {
	is := is.New(t)
	base, printed := serve(t)
	where := regexp.MustCompile(`(?m)^Console: (http://localhost:[0-9]+/)$`).FindStringSubmatch(printed)
	is.True(len(where) > 0)
	is.True(strings.HasSuffix(where[1], base[strings.LastIndex(base, ":"):]+"/"))
	res, err := http.Get(base + "/")
	is.NoErr(err)
	is.NoErr(res.Body.Close())
	is.Equal(res.Header.Get("Content-Type"), "text/html; charset=utf-8")

	for addr, want := range map[string]string{"127.0.0.1:0": "Console: ", "[::1]:0": "Console: ", "0.0.0.0:0": ""} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue // a machine without IPv6
		}
		line := consoleLine(l)
		is.NoErr(l.Close())
		is.True(strings.HasPrefix(line, want) && (line == "") == (want == ""))
	}
}

// Neither a page that is open, nor a projection that somebody has paused, keeps the server from ending well.
func TestEndsWithConsoleOpen(t *testing.T) {
	is := is.New(t)
	base, _, stop := start(t, noEnv)
	feed, err := http.Get(base + "/console/feed")
	is.NoErr(err)
	defer feed.Body.Close()
	for _, post := range [][2]string{
		{"/console/switches", `{"switch":"views","to":"paused"}`},
		{"/otp", `{"channel":"email","to":"jane@example.com"}`},
	} {
		res, err := http.Post(base+post[0], "application/json", strings.NewReader(post[1]))
		is.NoErr(err)
		is.NoErr(res.Body.Close())
		is.True(res.StatusCode < 300)
	}
	begin := time.Now()
	stop()
	is.True(time.Since(begin) < stopWithin)
	_, err = io.Copy(io.Discard, feed.Body)
	is.NoErr(err) // it ended, and did not break
}

// The console shows what is stored and what callers are told, and nothing that lets anybody in or says who it is: codes and
// tokens are in the outbox and in the answer alone, addresses in the outbox. So it is with the log, at its most talkative.
func TestConsoleShowsNoSecret(t *testing.T) {
	is := is.New(t)
	logs, err := os.Create(filepath.Join(t.TempDir(), "log"))
	is.NoErr(err)
	defer logs.Close()
	base, printed, stop := startLogging(t, logs, func(name string) string { return map[string]string{"LOG_LEVEL": "debug"}[name] })
	do := func(method, path, body string, header ...string) map[string]any {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		is.NoErr(err)
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		is.NoErr(err)
		defer res.Body.Close()
		var answer map[string]any
		is.NoErr(json.NewDecoder(res.Body).Decode(&answer))
		is.True(res.StatusCode < 300)
		return answer
	}
	challenge := do("POST", "/otp", `{"channel":"email","to":"Zoe@visitors.example"}`)["challenge"].(string)
	do("GET", "/otp/"+challenge, "", "Prefer", "wait=5", "If-None-Match", `"1"`)
	sent := do("GET", "/dev/outbox?to=zoe@visitors.example", "")["messages"].([]any)[0].(map[string]any)
	code := sent["code"].(string)
	is.Equal(sent["to"], "zoe@visitors.example") // where a message is read
	granted := do("POST", "/otp/verify", fmt.Sprintf(`{"to":"zoe@visitors.example","challenge":%q,"code":%q}`, challenge, code), "Idempotency-Key", "key-Qx7")
	token, subject := granted["token"].(string), granted["subject"].(string)
	do("POST", "/orgs", `{"name":"Acme","location":"Berlin"}`, "Authorization", "Bearer "+token, "Idempotency-Key", "key-Qx8")
	do("GET", "/orgs/"+subject, "", "Prefer", "wait=5")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", base+"/console/feed", nil)
	is.NoErr(err)
	res, err := http.DefaultClient.Do(req)
	is.NoErr(err)
	defer res.Body.Close()
	seen := ""
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		// All that has happened comes first, and the org is the last of it.
		if seen += lines.Text() + "\n"; strings.Contains(seen, "org.created") && strings.Contains(seen, "Berlin") {
			break
		}
	}
	streams, err := http.Get(base + "/console/streams")
	is.NoErr(err)
	defer streams.Body.Close()
	list, err := io.ReadAll(streams.Body)
	is.NoErr(err)
	seen += string(list)
	for _, path := range regexp.MustCompile(`(otp|org)/[a-z0-9]+`).FindAllString(seen, -1) {
		history, err := http.Get(base + "/console/history?stream=" + path)
		is.NoErr(err)
		body, err := io.ReadAll(history.Body)
		is.NoErr(err)
		is.NoErr(history.Body.Close())
		seen += string(body)
	}
	is.True(strings.Contains(seen, "otp.verified"))
	for _, quoted := range regexp.MustCompile(`"[A-Za-z0-9+/]+=*"`).FindAllString(seen, -1) { // JSON has bytes in base64
		if decoded, err := base64.StdEncoding.DecodeString(strings.Trim(quoted, `"`)); err == nil {
			seen += string(decoded) + "\n"
		}
	}
	stop()
	logged, err := os.ReadFile(logs.Name())
	is.NoErr(err)
	is.True(strings.Count(string(logged), "outcome=accepted") >= 4)
	// Times have fractions of a second, in which a code could stand by chance.
	seen = regexp.MustCompile(`T\d\d:\d\d:\d\d\.\d+Z`).ReplaceAllString(seen, "")
	written := printed + string(logged)
	for what, secret := range map[string]string{
		"the code": `"` + code, "the code in a text": " " + code, "the code as a value": "=" + code, "the token": token, "its signature": token[strings.LastIndex(token, "."):],
		"the challenge": challenge, "a key": "key-Qx", "an Authorization": "Bearer",
		"an address": "oe@", "a part of an address": "visitors.example",
	} {
		if strings.Contains(seen, secret) {
			t.Errorf("the console shows %s", what)
		}
		if what != "an Authorization" && strings.Contains(written, secret) { // which the walk-through has as a word
			t.Errorf("the log has %s", what)
		}
	}
}

// What the console shows as the folds are those that run.
func TestFolds(t *testing.T) {
	for file, fold := range map[string]string{"../org/org.go": orgFold, "../otp/otp.go": otpFold} {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(fold, "func Fold(") || !strings.Contains(string(src), "\n"+fold) {
			t.Errorf("folds.go does not have the fold of %s", file)
		}
	}
}

func TestOutbox(t *testing.T) {
	is := is.New(t)
	base, _ := serve(t)
	get := func(path string) (int, string) {
		t.Helper()
		res, err := http.Get(base + path)
		is.NoErr(err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		is.NoErr(err)
		return res.StatusCode, string(body)
	}
	status, body := get("/dev/outbox?to=nobody@example.com")
	is.Equal(status, 200)
	is.Equal(body, "{\"messages\":[]}\n")

	res, err := http.Post(base+"/otp", "application/json", strings.NewReader(`{"channel":"sms","to":"+49 151 12345678"}`))
	is.NoErr(err)
	var answer struct{ Challenge string }
	is.NoErr(json.NewDecoder(res.Body).Decode(&answer))
	is.NoErr(res.Body.Close())
	req, err := http.NewRequestWithContext(t.Context(), "GET", base+"/otp/"+answer.Challenge, nil)
	is.NoErr(err)
	req.Header.Set("Prefer", "wait=5")
	req.Header.Set("If-None-Match", `"1"`)
	res, err = http.DefaultClient.Do(req)
	is.NoErr(err)
	is.NoErr(res.Body.Close())
	is.Equal(res.StatusCode, 200)

	_, body = get("/dev/outbox?to=%2B49%20(151)%2012345678")
	var box struct {
		Messages []struct {
			To, Channel, Text, Code string
			At                      time.Time
		}
	}
	is.NoErr(json.Unmarshal([]byte(body), &box))
	is.Equal(len(box.Messages), 1)
	m := box.Messages[0]
	is.Equal(m.To, "+4915112345678")
	is.Equal(m.Channel, "sms")
	is.Equal(len(m.Code), 6)
	is.True(strings.Contains(m.Text, m.Code))
	is.True(time.Since(m.At) < time.Minute)

	for path, want := range map[string]int{"/healthz": 200, "/": 200, "/console": 404, "/dev": 404, "/dev/outbox/": 404, "//orgs": 404} {
		status, _ := get(path)
		is.Equal(status, want)
	}
	res, err = http.Post(base+"/dev/outbox", "", nil)
	is.NoErr(err)
	is.NoErr(res.Body.Close())
	is.Equal(res.StatusCode, 404)
}

func TestOutboxIsBounded(t *testing.T) {
	is := is.New(t)
	var o outbox
	for range maxKept + 10 {
		is.NoErr(o.Send(t.Context(), service.Message{To: "x", Channel: otp.Email}))
	}
	is.Equal(len(o.messages), maxKept)
}

func TestRefusesToStart(t *testing.T) {
	is := is.New(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	defer taken.Close()
	err = run(t.Context(), []string{"-addr", taken.Addr().String()}, noEnv, io.Discard, io.Discard)
	is.True(errors.Is(err, syscall.EADDRINUSE))
	is.True(strings.Contains(err.Error(), taken.Addr().String()))

	err = run(t.Context(), []string{"-port", "1"}, noEnv, io.Discard, io.Discard)
	is.True(err != nil)
	err = run(t.Context(), nil, func(name string) string { return map[string]string{"LOG_LEVEL": "loud"}[name] }, io.Discard, io.Discard)
	is.True(err != nil && strings.Contains(err.Error(), "LOG_LEVEL"))
}

// The binary: it starts quickly, and ends well on a signal, with a request running.
func TestBinary(t *testing.T) {
	is := is.New(t)
	bin := filepath.Join(t.TempDir(), "local")
	out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd := exec.CommandContext(t.Context(), bin, "-addr", "127.0.0.1:0", "-dynamodb", "")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		is.NoErr(err)
		is.NoErr(cmd.Start())
		printed := make([]byte, 1<<16)
		n, err := stdout.Read(printed)
		is.NoErr(err)
		addr := regexp.MustCompile(`127\.0\.0\.1:[0-9]+`).FindString(string(printed[:n]))

		// A command that runs when the signal comes is finished: its body is asked for, which
		// shows that it runs, and is sent after the signal.
		conn, err := net.Dial("tcp", addr)
		is.NoErr(err)
		const body = `{"channel":"email","to":"jane@example.com"}`
		_, err = fmt.Fprintf(conn, "POST /otp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
		is.NoErr(err)
		answer := bufio.NewReader(conn)
		line, err := answer.ReadString('\n')
		is.NoErr(err)
		is.True(strings.Contains(line, "100 Continue"))
		_, err = answer.ReadString('\n')
		is.NoErr(err)
		begin := time.Now()
		is.NoErr(cmd.Process.Signal(sig))
		for { // until nobody listens any more
			probe, err := net.Dial("tcp", addr)
			if err != nil {
				break
			}
			_ = probe.Close()
		}
		_, err = io.WriteString(conn, body)
		is.NoErr(err)
		line, err = answer.ReadString('\n')
		is.NoErr(err)
		is.True(strings.Contains(line, "202 Accepted"))
		_ = conn.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v\n%s", sig, err, stderr.String())
		}
		is.True(time.Since(begin) < stopWithin)
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	defer taken.Close()
	out, err = exec.Command(bin, "-addr", taken.Addr().String()).CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	is.True(ok)
	is.Equal(exit.ExitCode(), 1)
	is.True(strings.Contains(string(out), "address already in use"))
}
