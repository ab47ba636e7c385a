package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
)

func TestRebuild(t *testing.T) {
	w := populated(t)
	put(t, w, 3, "Other")
	w.commit(t, "org/6", 1, "c1", es.Settled, org.Created{Profile: profile(t, "Not in a view")})
	w.commit(t, "org/7", 1, "new", es.Pending, org.Created{Profile: profile(t, "Not yet")})
	w.golden(t, "rebuild", "rebuild org/2", "verify --parallel 1", "rebuild org/1", "verify --parallel 1", "rebuild --category otp", "rebuild", "verify",
		"rebuild org/99", "rebuild org/6 otp/jane --parallel 1")
}

// A rebuild that was interrupted goes on from where it was.
func TestRebuildResumes(t *testing.T) {
	is := is.New(t)
	w := populated(t)
	for i := range 20 {
		w.commit(t, fmt.Sprint("org/x", i), 1, "c1", es.Settled, org.Created{Profile: profile(t, "Many")})
	}
	file := filepath.Join(t.TempDir(), "place.json")
	w.unread = map[string]error{"org/x5": errors.New("the line is dead")}
	code, stdout, stderr := w.esctl(t, "rebuild", "--resume", file, "--parallel", "3")
	is.Equal(code, exitFailed)
	is.Equal(stdout, "")
	is.True(strings.Contains(stderr, "the line is dead"))
	is.True(strings.Contains(stderr, "what is done is kept in "+file)) // it says how to go on

	// What is done already is not looked at again.
	var kept place
	data, err := os.ReadFile(file)
	is.NoErr(err)
	is.NoErr(json.Unmarshal(data, &kept))
	is.Equal(kept.Shards, 3)
	done := kept.Parts[0].Streams
	is.True(done > 0 && done < 23)
	w.unread = map[string]error{}
	for _, after := range kept.Parts[0].After {
		if after != "" && strings.HasPrefix(after, "org/") {
			w.unread[after] = errors.New("it was read again")
		}
	}
	is.True(len(w.unread) > 0)
	code, stdout, stderr = w.esctl(t, "rebuild", "--resume", file)
	is.Equal(stderr, "")
	is.Equal(code, 0)
	is.Equal(stdout, fmt.Sprintf("org: 23 streams rebuilt from 25 events, %d streams before the interruption\notp: 1 stream rebuilt from 2 events\n", done))
	_, err = os.Stat(file)
	is.True(errors.Is(err, os.ErrNotExist)) // it is done
	left, err := os.ReadDir(filepath.Dir(file))
	is.NoErr(err)
	is.Equal(len(left), 0)
	w.unread = nil
	code, _, _ = w.esctl(t, "verify")
	is.Equal(code, 0)
}

// A place is not gone on from where it does not fit.
func TestRebuildElsewhere(t *testing.T) {
	w := populated(t)
	file := filepath.Join(t.TempDir(), "place.json")
	w.unread = map[string]error{"otp/jane": errors.New("the line is dead")}
	if code, _, stderr := w.esctl(t, "rebuild", "--resume", file); code != exitFailed {
		t.Fatal(stderr)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		old, new string // in the file
		args     []string
		code     int
		says     string
	}{
		{`"tables of a test"`, ``, []string{"--parallel", "2"}, exitUsage, "with --parallel 4"},
		{``, ``, []string{"--category", "otp"}, exitUsage, "other categories"},
		{`the tables of a test`, `the tables of the poor`, nil, exitUsage, "of a rebuild of the tables of the poor"},
		{`"program":"`, `"program":"f`, nil, exitUsage, "another build"},
		{`"category":"org"`, `"category":"crm"`, nil, exitUsage, "other categories"},
		{`"after":["`, `"after":["","`, nil, exitFailed, "is damaged"},
		{`"after":["`, `"after":["/`, nil, exitFailed, "is damaged"},
		{`{`, `[`, nil, exitFailed, "is not the place"},
	} {
		if err := os.WriteFile(file, []byte(strings.Replace(string(good), c.old, c.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := w.esctl(t, append([]string{"rebuild", "--resume", file}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%s for %s, %q: exit code %d, %s", c.new, c.old, c.args, code, stderr)
		}
	}
	w.unread = nil
	if code, _, stderr := w.esctl(t, "rebuild", "--resume", filepath.Join(file, "no", "folder")); code != exitFailed || stderr == "" {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// One stream that cannot be read need not stop all.
func TestRebuildSkips(t *testing.T) {
	is := is.New(t)
	w := populated(t)
	w.commit(t, "org/1", 4, "c9", es.Settled, org.Updated{Profile: profile(t, "Acme")})
	w.lost = map[string]uint64{"org/1": 2}
	w.commit(t, "org/30", 1, "c1", es.Settled, es.Event{Type: "org.merged"})
	code, _, stderr := w.esctl(t, "rebuild", "--parallel", "1")
	is.Equal(code, exitFailed)
	is.True(strings.Contains(stderr, "--skip org/1 leaves it out"))
	code, _, stderr = w.esctl(t, "rebuild", "--parallel", "1", "--skip", "org/1")
	is.Equal(code, exitFailed)
	is.True(strings.Contains(stderr, "--skip org/30 leaves it out"))
	code, stdout, _ := w.esctl(t, "rebuild", "--skip", "org/1", "--skip", "org/30")
	is.Equal(code, 0)
	is.Equal(stdout, "org: 2 streams rebuilt from 2 events\notp: 1 stream rebuilt from 2 events\n")
}

// What is left of a rebuild is counted by as few scans as can be.
func TestRebuildCounts(t *testing.T) {
	is := is.New(t)
	w := populated(t)
	var scans, added int
	r := rebuilding{store: w, pace: pace{parallel: 1}, list: listing{streams: func(ctx context.Context, shard, shards int, after es.StreamID) iter.Seq2[es.StreamID, error] {
		scans++
		return w.Streams(ctx, shard, shards, after)
	}}}
	all := newSystem(w, w, &w.orgs, &w.otps, nil).categories
	var err error
	r.place, err = openPlace("", "", 1, false, all)
	is.NoErr(err)
	is.NoErr(r.count(t.Context(), all, func() { added++ }))
	is.Equal(scans, 1)
	is.Equal(added, 4)
	r.place.Parts[0].after[0] = mustStream(t, "org/2")
	is.NoErr(r.count(t.Context(), all, func() { added++ }))
	is.Equal(scans, 3)
	is.Equal(added, 4+2)
	r.place.Parts[0].Done = true
	is.NoErr(r.count(t.Context(), all, func() { added++ }))
	is.Equal(scans, 4)
	is.Equal(added, 4+2+1)
}

// An interrupted command says so, and a rebuild keeps its place.
func TestInterrupted(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	w := populated(t)
	w.interrupt = cancel
	file := filepath.Join(t.TempDir(), "place.json")
	code, stdout, stderr := w.run(ctx, "rebuild", "--parallel", "1", "--resume", file)
	is.Equal(code, exitFailed)
	is.Equal(stdout, "")
	is.True(strings.HasPrefix(stderr, "esctl: interrupted: "))
	is.True(strings.Contains(stderr, "the same command goes on from there"))
	w.interrupt = nil
	code, _, _ = w.esctl(t, "rebuild", "--resume", file)
	is.Equal(code, 0)
}

// So many streams a second, and no more; other categories wait for nothing.
func TestRate(t *testing.T) {
	for _, args := range []string{"rebuild --category org --rate 2", "verify --rate 2 org/1 org/2 org/20"} {
		synctest.Test(t, func(t *testing.T) {
			w := populated(t)
			start := time.Now()
			if code, _, stderr := w.esctl(t, words(args)...); code != 0 {
				t.Fatal(stderr)
			}
			if took := time.Since(start); took != time.Second {
				t.Errorf("%s: 3 streams, 2 a second, took %v", args, took)
			}
		})
	}
}

// Progress is drawn on a terminal, with rate and time left, and nowhere else.
func TestProgress(t *testing.T) {
	for _, args := range []string{"rebuild --rate 2", "rebuild --rate 2 --no-count", "verify --rate 2"} {
		synctest.Test(t, func(t *testing.T) {
			w := populated(t)
			for i := range 6 {
				w.commit(t, fmt.Sprint("org/x", i), 1, "new", es.Settled, org.Created{Profile: profile(t, "Many")})
			}
			_, quiet, nothing := w.esctl(t, words(args)...)
			if nothing != "" {
				t.Errorf("%s: no terminal, and yet %q", args, nothing)
			}
			w.terminal = true
			code, stdout, drawn := w.esctl(t, words(args)...)
			if code != 0 || stdout != quiet {
				t.Errorf("%s: exit code %d, %q, not %q", args, code, stdout, quiet)
			}
			wants := []string{"counting", "/10", "streams/", "[2s:"}
			if strings.Contains(args, "--no-count") {
				wants = []string{"rebuilding", "streams/"}
			}
			for _, want := range wants {
				if !strings.Contains(drawn, want) {
					t.Errorf("%s: there is no %q in %q", args, want, drawn)
				}
			}
			if strings.Contains(drawn, "counting") != slices.Contains(wants, "counting") {
				t.Errorf("%s: %q", args, drawn)
			}
			if last := drawn[strings.LastIndex(drawn, "\r")+1:]; strings.TrimSpace(last) != "" {
				t.Errorf("%s: %q is left on the terminal", args, last)
			}
		})
	}
}
