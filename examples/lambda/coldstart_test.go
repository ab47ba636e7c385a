package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkColdStart starts the function, beside a function that does nothing, one that has the
// same clients and does nothing with them, and one that makes one call with each of them, as the
// function does; in turns, one operation is one start of each. It prints the median times from the
// start of the process until it asks for its first event (next), and until it has answered it, with
// the sizes of the program here and of its package for arm64.
//
// The calls are answered at once, by this process and without TLS: it shows what the program
// costs, and not what the network does.
func BenchmarkColdStart(b *testing.B) {
	programs := []struct {
		name, pkg, env, binary string
		next, answer           []time.Duration
		size, zipped           int64
	}{
		{name: "hello", pkg: "./testdata/hello"},
		{name: "clients", pkg: "./testdata/clients"},
		{name: "clients, warm", pkg: "./testdata/clients", env: "WARM=1"},
		{name: "function", pkg: "."},
	}
	for i := range programs {
		p := &programs[i]
		p.binary = filepath.Join(b.TempDir(), "bootstrap")
		compile(b, p.binary, p.pkg, "GOOS=linux", "GOARCH=arm64")
		p.zipped = zipped(b, p.binary)
		compile(b, p.binary, p.pkg)
		p.size = sizeOf(b, p.binary)
	}
	for b.Loop() {
		for i := range programs {
			p := &programs[i]
			next, answer := start(b, p.binary, p.env)
			p.next, p.answer = append(p.next, next), append(p.answer, answer)
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-14s %10s %10s %12s %12s\n", "program", "next", "answer", "binary", "zip, arm64")
	for _, p := range programs {
		fmt.Fprintf(&table, "%-14s %7.1f ms %7.1f ms %9.2f MB %9.2f MB\n", p.name,
			median(p.next).Seconds()*1e3, median(p.answer).Seconds()*1e3, float64(p.size)/1e6, float64(p.zipped)/1e6)
	}
	b.Logf("medians of %d starts\n%s", len(programs[0].next), &table)
	last := len(programs) - 1
	for i, unit := range []string{"x-hello", "x-clients", "x-warm"} {
		b.ReportMetric(median(programs[last].next).Seconds()/median(programs[i].next).Seconds(), unit)
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// compile builds a program as make package does.
func compile(b *testing.B, binary, pkg string, env ...string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc",
		"-ldflags", "-s -w -buildid=", "-o", binary, pkg)
	cmd.Env = append(os.Environ(), append(env, "CGO_ENABLED=0")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
}

// zipped returns the size of a program in an archive, as make package makes it.
func zipped(b *testing.B, binary string) int64 {
	b.Helper()
	archive := binary + ".zip"
	if out, err := exec.CommandContext(b.Context(), "go", "run", "../../internal/zip", archive, binary).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return sizeOf(b, archive)
}

func sizeOf(b *testing.B, name string) int64 {
	b.Helper()
	info, err := os.Stat(name)
	if err != nil {
		b.Fatal(err)
	}
	return info.Size()
}

// runtimeAPI is the Lambda Runtime API for one process that answers one event, and stands for
// DynamoDB and SNS as well.
//
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type runtimeAPI struct {
	event          []byte
	next, answered chan time.Time
}

func (a *runtimeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	const path = "/2018-06-01/runtime/invocation/"
	switch {
	case r.URL.Path == path+"next":
		select {
		case a.next <- now:
		case <-r.Context().Done(): // there is one event
			return
		}
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", "1")
		w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(now.Add(time.Minute).UnixMilli()))
		_, _ = w.Write(a.event)
	case r.URL.Path == path+"1/response":
		w.WriteHeader(http.StatusAccepted)
		a.answered <- now
	case strings.HasPrefix(r.Header.Get("X-Amz-Target"), "DynamoDB_"):
		w.Header().Set("X-Amz-Crc32", "2745614147") // which the SDK checks
		_, _ = io.WriteString(w, "{}")
	default: // SNS
		_, _ = io.WriteString(w, "<GetTopicAttributesResponse><GetTopicAttributesResult/></GetTopicAttributesResponse>")
	}
}

// start starts a process, and ends it when it has answered.
func start(b *testing.B, binary, env string) (next, answer time.Duration) {
	b.Helper()
	api := runtimeAPI{event: recorded(b, "http-api"), next: make(chan time.Time, 1), answered: make(chan time.Time, 1)}
	server := httptest.NewServer(&api)
	defer server.Close()
	cmd := exec.CommandContext(b.Context(), binary)
	cmd.Env = append(deployed(), env, "AWS_LAMBDA_RUNTIME_API="+server.Listener.Addr().String(), "AWS_ENDPOINT_URL="+server.URL)
	var logs bytes.Buffer
	cmd.Stderr = &logs
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if logs.Len() > 0 {
			b.Fatalf("it did not start well:\n%s", &logs)
		}
	}()
	select {
	case at := <-api.answered:
		return (<-api.next).Sub(begin), at.Sub(begin)
	case <-time.After(time.Minute):
		b.Fatal("it did not answer")
		return 0, 0
	}
}

// deployed is the environment of a function that is deployed well.
func deployed() []string {
	key := strings.Repeat("k", 43) + "="
	return []string{
		"AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true",
		"EVENT_TABLE=events", "VIEW_TABLE=views", "TOPIC_ARN=arn:aws:sns:eu-central-1:123456789012:leftfold.fifo",
		"OTP_KEY=" + key, "TOKEN_KEY=" + key, "PUBLIC_URL=https://leftfold.example", "SENDER=log",
	}
}
