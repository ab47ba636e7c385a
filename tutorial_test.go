//go:build unix

package leftfold_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestTutorial does what docs/tutorial.md says, from an empty folder to the last line, and
// compares what is printed. It changes two things: the library comes from this checkout and
// what it needs from the module cache, so that no network is asked; and the port is a free one.
func TestTutorial(t *testing.T) {
	t.Parallel() // it mostly waits for the go command
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	text, err := os.ReadFile("docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	steps, err := stepsOf(strings.ReplaceAll(string(text), "8080", freePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t)
	for _, s := range steps {
		if err := r.follow(s); err != nil {
			t.Fatalf("docs/tutorial.md:%d: %v", s.line, err)
		}
	}
	if r.files < 20 || r.commands < 13 || r.outputs < 12 {
		t.Errorf("there were %d files, %d blocks of commands and %d outputs, so the pattern must be wrong", r.files, r.commands, r.outputs)
	}
}

// step is a fenced block of the tutorial, or a mark without one.
type step struct {
	line     int    // of the fence
	language string // go, sh, diff, text; empty for a mark alone
	file     string // that it is about: what was named in bold before it
	mark     string // the comment before it
	body     string
	output   *step // of a block of commands; nil: not compared
}

// stepsOf reads the blocks of a page, in order.
func stepsOf(page string) (steps []*step, err error) {
	var (
		file, mark string
		open       *step
		body       strings.Builder
		fileName   = regexp.MustCompile("^\\*\\*`([^`]+)`\\*\\*$")
		comment    = regexp.MustCompile(`^<!-- (.*) -->$`)
	)
	n := 0
	for line := range strings.Lines(page) {
		n++
		line = strings.TrimSuffix(line, "\n")
		switch language, fence := strings.CutPrefix(line, "```"); {
		case open != nil && fence:
			open.body = body.String()
			if last := len(steps) - 1; open.language == "text" {
				if last < 0 || steps[last].language != "sh" || steps[last].output != nil {
					return nil, fmt.Errorf("line %d: an output without a command", n)
				}
				steps[last].output = open
			} else {
				steps = append(steps, open)
			}
			open = nil
			body.Reset()
		case open != nil:
			body.WriteString(line + "\n")
		case fence:
			open = &step{line: n, language: language, file: file, mark: mark}
			mark = ""
		case fileName.MatchString(line):
			file = fileName.FindStringSubmatch(line)[1]
		case comment.MatchString(line):
			if mark = comment.FindStringSubmatch(line)[1]; mark == "stop" {
				steps = append(steps, &step{line: n, mark: mark})
				mark = ""
			}
		case line != "" && !strings.HasPrefix(line, "**`"):
			file = "" // prose: a name counts for what comes right behind it
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the block has no end", open.line)
	}
	return steps, nil
}

// reader is somebody who follows the tutorial.
type reader struct {
	t    *testing.T
	root string // where it began
	dir  string // where the shell is now
	env  []string

	running *exec.Cmd // in the background
	printed *syncBuffer

	files, commands, outputs int
}

func newReader(t *testing.T) *reader {
	root := t.TempDir()
	r := &reader{t: t, root: root, dir: root, env: append(os.Environ(),
		"GOFLAGS=", "GOWORK=off", "GOPROXY=off", "GOSUMDB=off", "GOTOOLCHAIN=local", "PWD=", "CURL_HOME="+root,
		"NO_PROXY=*", "no_proxy=*")}
	t.Cleanup(r.stop)
	return r
}

// follow does what a block says.
func (r *reader) follow(s *step) error {
	switch {
	case s.mark == "stop":
		r.stop()
		return nil
	case s.mark == "only its syntax is checked":
		return r.sh(s, "-n")
	case s.mark == "in the background":
		return r.start(s)
	case s.mark != "":
		return fmt.Errorf("nobody knows the mark %q", s.mark)
	}
	switch s.language {
	case "sh":
		r.commands++
		return r.sh(s)
	case "go", "diff":
		if s.file == "" {
			return errors.New("the block has no file name before it")
		}
		r.files++
		return r.write(s)
	}
	return fmt.Errorf("a block in %q", s.language)
}

// write makes a file anew, or changes it as a diff says: what is old has to be there once.
func (r *reader) write(s *step) error {
	name := filepath.Join(r.dir, filepath.FromSlash(s.file))
	content := []byte(s.body)
	if s.language == "diff" {
		old, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var from, to strings.Builder
		for line := range strings.Lines(s.body) {
			if line[0] != '+' {
				from.WriteString(line[1:])
			}
			if line[0] != '-' {
				to.WriteString(line[1:])
			}
		}
		if n := strings.Count(string(old), from.String()); n != 1 {
			return fmt.Errorf("%s has %d times\n%s", s.file, n, &from)
		}
		content = []byte(strings.Replace(string(old), from.String(), to.String(), 1))
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, content, 0o600)
}

// sh runs a block of commands, and compares what it prints.
func (r *reader) sh(s *step, options ...string) error {
	script := s.body + "\n" + `pwd >"$WHERE"`
	if strings.Contains(s.body, "go mod init") {
		// This is where the tutorial's reader gets the library from the network.
		checkout, err := os.Getwd()
		if err != nil {
			return err
		}
		init := regexp.MustCompile(`(?m)^go mod init .*$`)
		script = init.ReplaceAllString(script, "$0\ngo mod edit -replace="+module+"='"+checkout+"'")
	}
	where := filepath.Join(r.root, ".where")
	cmd := exec.CommandContext(r.t.Context(), "sh", append(options, "-e", "-c", script)...)
	cmd.Dir, cmd.Env = r.dir, append(r.env, "WHERE="+where)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	r.t.Logf("%5.1f s: line %d: %s", time.Since(began).Seconds(), s.line, strings.ReplaceAll(strings.TrimSpace(s.body), "\n", "\n\t\t"))
	if err != nil {
		return fmt.Errorf("%w\n%s%s", err, &stdout, &stderr)
	}
	if len(options) > 0 {
		return nil
	}
	dir, err := os.ReadFile(where)
	if err != nil {
		return err
	}
	r.dir = strings.TrimSpace(string(dir))
	if s.output == nil {
		return nil
	}
	r.outputs++
	if got, want := plain(stdout.String()), plain(s.output.body); got != want {
		return fmt.Errorf("it prints\n%s%s\nand not\n%s", got, &stderr, want)
	}
	return nil
}

// start runs a command in the background and waits until it has printed what it should.
func (r *reader) start(s *step) error {
	if r.running != nil || s.output == nil {
		return errors.New("something runs already, or nobody knows when this does")
	}
	r.printed = &syncBuffer{grown: make(chan struct{}, 1)}
	r.running = exec.CommandContext(r.t.Context(), "sh", "-e", "-c", s.body)
	r.running.Dir, r.running.Env = r.dir, r.env
	r.running.Stdout, r.running.Stderr = r.printed, r.printed
	// A group of its own: go run has a child, which has to end with it.
	r.running.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.running.Start(); err != nil {
		r.running = nil
		return err
	}
	late := time.After(2 * time.Minute)
	for plain(r.printed.String()) != plain(s.output.body) {
		select {
		case <-r.printed.grown:
		case <-late:
			return fmt.Errorf("it has printed\n%s\nand not\n%s", r.printed, s.output.body)
		}
	}
	r.outputs++
	return nil
}

// stop ends what runs in the background, and everything that it has started.
func (r *reader) stop() {
	if r.running == nil {
		return
	}
	_ = syscall.Kill(-r.running.Process.Pid, syscall.SIGKILL)
	_ = r.running.Wait()
	if r.t.Failed() {
		r.t.Logf("in the background:\n%s", r.printed)
	}
	r.running = nil
}

// plain is an output without what differs each time: dates, durations, and white space at the end.
func plain(s string) string {
	for _, p := range []struct{ pattern, is string }{
		{`\d{4}-\d\d-\d\d`, "DATE"},
		{`\t(\d+\.\d+s|\(cached\))`, "\tTIME"},
		{`[ \t]+(\n|$)`, "$1"},
	} {
		s = regexp.MustCompile(p.pattern).ReplaceAllString(s, p.is)
	}
	return strings.TrimSpace(s) + "\n"
}

// syncBuffer is written by a process while others look at it.
type syncBuffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{} // has room for one
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.grown <- struct{}{}:
	default:
	}
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
