package main_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// The program as it is deployed, on real engines. Each part has systems of its own.
func TestBootstrap(t *testing.T) {
	live(t)
	t.Parallel()
	p := build(t)
	t.Run("API", func(t *testing.T) { testAPI(t, p) })
	t.Run("latency", func(t *testing.T) { testLatency(t, p) })
	var wg sync.WaitGroup // and not t.Parallel: what they do is mostly waiting
	for name, test := range map[string]func(*testing.T, programs){
		"faults": testFaults, "losses": testLosses, "timeouts": testTimeouts, "poison": testPoison,
		"order, packed": func(t *testing.T, p programs) { testOrder(t, p, true) },
		"order, direct": func(t *testing.T, p programs) { testOrder(t, p, false) },
	} {
		wg.Go(func() { t.Run(name, func(t *testing.T) { test(t, p) }) })
	}
	wg.Wait()
}

// Whatever is missing is said at once, and the program ends before it asks for an event.
func TestMissingVariables(t *testing.T) {
	bin := buildProgram(t)
	run := func(env ...string) (string, int) {
		t.Helper()
		asked := make(chan struct{}, 1)
		api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			select {
			case asked <- struct{}{}:
			default:
			}
		}))
		defer api.Close()
		cmd := exec.CommandContext(t.Context(), bin)
		cmd.Env = append(env, "AWS_LAMBDA_RUNTIME_API="+api.Listener.Addr().String())
		out, err := cmd.CombinedOutput()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			t.Fatalf("it ended with %v\n%s", err, out)
		}
		if len(asked) > 0 {
			t.Error("it asked for an event")
		}
		return string(out), exit.ExitCode()
	}

	out, code := run()
	if code != 1 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	for _, name := range []string{"EVENT_TABLE", "VIEW_TABLE", "TOPIC_ARN", "OTP_KEY", "TOKEN_KEY", "PUBLIC_URL", "SENDER", "AWS_REGION"} {
		if !strings.Contains(out, name+": is not set") {
			t.Errorf("%s is not named:\n%s", name, out)
		}
	}
	if strings.Contains(out, "LOG_LEVEL") {
		t.Errorf("LOG_LEVEL need not be set:\n%s", out)
	}

	const secret = "not-a-key"
	out, code = run("EVENT_TABLE=events", "VIEW_TABLE=v!", "TOPIC_ARN=arn:aws:sns:eu-central-1:123456789012:standard", "OTP_KEY="+secret,
		"TOKEN_KEY=c2hvcnQ=", "PUBLIC_URL=leftfold.example", "SENDER=pigeon", "LOG_LEVEL=loud", "AWS_REGION=eu-central-1")
	for _, name := range []string{"VIEW_TABLE", "TOPIC_ARN", "OTP_KEY", "TOKEN_KEY", "PUBLIC_URL", "SENDER", "LOG_LEVEL"} {
		if !strings.Contains(out, name+": ") {
			t.Errorf("%s is not named:\n%s", name, out)
		}
	}
	if code != 1 || strings.Contains(out, "EVENT_TABLE") || strings.Contains(out, "AWS_REGION") || strings.Contains(out, secret) {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
