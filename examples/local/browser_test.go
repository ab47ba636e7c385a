package main

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/matryer/is"
)

// One visit to the console, as a person has it: everything that is asserted is read in the page.
func TestConsole(t *testing.T) {
	base, _, stop := start(t, noEnv)
	b := openBrowser(t)
	b.screen(1600, 1000, "light")
	b.open(base + "/")
	b.sees("check", "Equal")

	for _, part := range []struct {
		name string
		test func(*browser, string)
	}{
		{"act", visitAct},
		{"streams", visitStreams},
		{"time travel", visitTravel},
		{"views", visitViews},
		{"broker", visitBroker},
		{"writer", visitWriter},
		{"race", visitRace},
		{"projection", visitProjection},
		{"relay", visitRelay},
		{"two hundred commands", visitLoad},
		{"screens", visitScreens},
		{"keyboard", visitKeyboard},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.test(&browser{t, b.ctx}, base) }) {
			return // the page is not as the next one expects it
		}
	}

	// Another process takes the place of the one that the page knows.
	stop()
	b.misses("connection", "live")
	b.reloads(func() { start(t, noEnv, "-addr", strings.TrimPrefix(base, "http://")) })
	b.sees("connection", "live")
	b.sees("streams", "No commit yet.")
	b.sees("check", "0 events in 0 streams")
}

// visitor is whose address must not be seen.
const visitor = "zoe@visitors.example"

func visitAct(b *browser, _ string) {
	b.write("act", "Address", "no address")
	b.press("act", "Request a code")
	b.sees("act", "Request a code 422 Unprocessable Entity to ")

	b.write("act", "Address", visitor)
	b.press("act", "Request a code")
	b.sees("act", `Request a code 202 Accepted ETag "1", version 1`)
	b.sees("act", "Your code is ")
	b.sees("act", "by email to "+visitor)
	b.press("act", "Verify") // the code is filled in
	b.sees("act", "Verify the code 200 OK")
	b.sees("act", "You have a token. Your org is org/")
	b.press("act", "Create")
	b.sees("act", `Create the org 201 Created ETag "1", version 1`)
	b.write("act", "Location", "Paris")
	b.click("If-Match", `//label[contains(., "If-Match")]/input`)
	b.press("act", "Update")
	b.sees("act", `Update the org 200 OK ETag "2", version 2`)
	b.sees("check", "Equal")
	b.sees("check", "5 stored = 5 published = 5 in the views")
	b.sees("check", "5 events in 2 streams")

	// Who does not see the page hears the same.
	b.hears("act", `Update the org: 200 OK, ETag "2", version 2`)
	b.hears("streams", "org.updated, version 2 of org/")
	b.hears("check", "Equal Every event that is stored was published, in order, and is in its view.")
}

func visitStreams(b *browser, _ string) {
	for _, commit := range []string{
		"settled org.updated org/", "settled org.created org/", "settled otp.verified otp/", "settled otp.sent otp/", "settled otp.requested otp/",
	} {
		b.sees("streams", commit)
	}
	b.passes("stored by a command", "published", "settled")
	b.sees("streams", "the caller is told 201 Created")
	b.passes("stored by the event handler", "published", "settled")
	// Command and metadata: what caused the commit of the event handler.
	b.click("the commit", `//article[starts-with(@aria-label, "otp.sent")]//summary`)
	b.sees("streams", "otp-sender:")
	b.sees("streams", "causation")

	b.write("streams", "Find a stream", "org/")
	b.sees("streams", "1 stream found")
	b.misses("streams", "otp.requested")
	b.write("streams", "Find a stream", "nothing/")
	b.sees("streams", "0 streams found No commit of such a stream lately.")
	in(b, "clear", chromedp.SendKeys(field("streams", "Find a stream"), strings.Repeat(kb.Backspace, len("nothing/"))))
	b.sees("streams", "otp.requested")
}

func visitTravel(b *browser, _ string) {
	slider := field("travel", "Version")
	b.sees("travel", "Version 2 of 2")
	b.sees("travel", "org.updated")
	b.sees("travel", `profile.location changed "Berlin" "Paris"`)
	b.marks("case Updated: s.Profile = e.Profile")
	in(b, "back", chromedp.SendKeys(slider, kb.ArrowLeft))
	b.sees("travel", "Version 1 of 2")
	b.sees("travel", "state 1 = Fold(state 0, org.created)")
	b.sees("travel", `exists changed false true`)
	b.marks("case Created: s = State{Exists: true, Profile: e.Profile}")
	is.New(b.t).Equal(in(b, "aria", chromedp.AttributeValue(slider, "aria-valuetext")).Value, "Version 1 of 2, org.created")
	in(b, "back", chromedp.SendKeys(slider, kb.ArrowLeft))
	b.sees("travel", "Before the first event")
	b.click("forward", `//button[@aria-label="One version forward"]`)
	b.sees("travel", "Version 1 of 2")

	// The other domain, by its stream's button.
	b.click("the stream", `//article[starts-with(@aria-label, "otp.verified")]//button`)
	b.sees("travel", "Version 3 of 3")
	b.sees("travel", "code.used changed false true")
	b.marks("case Verified: s.Code.Used = s.Code.Used || e.Request == s.Code.Request")

	// Of the address and the code there is nothing but the message, and the form that the code is filled into.
	in(b, "back", chromedp.SendKeys(slider, kb.Home))
	b.click("forward", `//button[@aria-label="One version forward"]`)
	b.sees("travel", "state 1 = Fold(state 0, otp.requested)")
	b.sees("travel", `"sealed"`)
	is := is.New(b.t)
	is.Equal(b.places(visitor), []string{"act footer"})
	code := in(b, "code", chromedp.Value(field("act", "Code")))
	is.Equal(len(code), 6)
	is.Equal(b.places(code), []string{"act p", "act input"})
}

func visitViews(b *browser, base string) {
	b.sees("views", "version 2 of 2")
	b.sees("views", "up to date")
	b.sees("views", `"location": "Paris"`)
	b.sees("views", "Nobody waits.")

	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil { // as a client does that still waits
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/orgs/nobody", nil)
			if err != nil {
				b.t.Error(err)
				return
			}
			req.Header.Set("Prefer", "wait=5")
			if res, err := http.DefaultClient.Do(req); err == nil {
				_ = res.Body.Close()
			}
		}
	})
	b.sees("views", "GET orgs/nobody waits for a version after none")
	cancel()
	wg.Wait()
	b.sees("views", "Nobody waits.")
}

const broker, writer, race, projection, relaying = "The broker", "The process that runs a command", "Two writers on one stream", "The projection", "The relay"

func visitBroker(b *browser, _ string) {
	b.sees("break", "Everything works.")
	b.choose(broker, "refuses every message")
	b.sees("break", "What to expect. The caller is told 503, and nothing has happened")
	b.press("break", "Send a command")
	b.sees("break", "Move to Lisbon 1: the caller is told 503 Service Unavailable")
	b.sees("streams", "revoked org.updated")
	b.passes("stored by a command", "refused by the broker", "revoked", "the caller is told 503 Service Unavailable")
	b.sees("check", "1 revoked")
	b.sees("check", "Equal")

	b.choose(broker, "is slow")
	b.press("break", "Send again with the same Idempotency-Key")
	b.sees("break", `Move to Lisbon 1, sent again: the caller is told 200 OK ETag "3", version 3`)

	b.choose(relaying, "is paused") // it could be faster than what the page is asked for
	b.choose(broker, "times out, and got nothing")
	b.press("break", "Send a command")
	b.sees("break", `Move to Oslo 2: the caller is told 202 Accepted ETag "4", version 4`)
	b.sees("check", "Not equal yet")
	b.sees("check", "≠")
	b.sees("views", "behind by 1 version")
	b.passes("no answer from the broker", "the caller is told 202 Accepted")
	b.shoot("broken")
	b.mend()
	b.sees("streams", "settled by the relay")

	b.choose(relaying, "is paused")
	b.choose(broker, "times out, but got it")
	b.press("break", "Send a command")
	b.sees("break", `Move to Vienna 3: the caller is told 202 Accepted ETag "5", version 5`)
	b.sees("views", "version 5 of 5")
	b.sees("check", "1 commit not settled")
	b.mend()
	b.sees("check", "0 commits not settled")
}

// The second time, the command is recognised: one version more, not two.
func visitWriter(b *browser, _ string) {
	b.choose(relaying, "is paused")
	b.choose(writer, "dies right after it has stored the events")
	b.press("break", "Send a command")
	b.sees("break", "Move to Tallinn 4: the caller is told No answer: the connection broke")
	b.sees("streams", "pending org.updated")
	b.passes("stored by a command", "the caller is told nothing, the connection broke")
	b.choose(writer, "lives")
	b.press("break", "Send again with the same Idempotency-Key")
	b.sees("break", `Move to Tallinn 4, sent again: the caller is told 200 OK ETag "6", version 6`)
	b.passes("claimed by the next command", "published by the next command", "settled by the next command")
	b.mend()
}

func visitRace(b *browser, _ string) {
	b.choose(race, "store at the same moment")
	b.press("break", "Send two at once")
	b.sees("act", `200 OK ETag "7", version 7`)
	b.sees("act", `200 OK ETag "8", version 8`)
	b.sees("streams", "not stored: the version is taken")
	b.press("break", "Send two with If-Match")
	b.sees("break", `the caller is told 200 OK ETag "9", version 9`)
	b.sees("break", "the caller is told 412 Precondition Failed")
	b.mend()
}

func visitProjection(b *browser, _ string) {
	for i, position := range []string{"fails", "is paused"} {
		b.choose(projection, position)
		b.press("break", "Send a command")
		version := 10 + i
		b.sees("break", fmt.Sprintf(`200 OK ETag "%d", version %d`, version, version))
		b.sees("views", fmt.Sprintf("version %d of %d", version-1, version))
		b.sees("views", "behind by 1 version, for ")
		b.sees("check", "Not equal yet")
		if position == "fails" {
			b.sees("streams", "the projection failed")
		}
		b.mend()
		b.sees("views", fmt.Sprintf("version %d of %d", version, version))
	}
}

func visitRelay(b *browser, _ string) {
	b.choose(relaying, "is paused")
	b.choose(broker, "times out, and got nothing")
	b.press("break", "Send a command")
	b.sees("break", `202 Accepted ETag "12", version 12`)
	b.choose(broker, "works")
	b.press("break", "Send a command")
	b.sees("break", `200 OK ETag "13", version 13`)
	b.passes("no answer from the broker", "the caller is told 202 Accepted", "claimed by the next command")
	b.mend()
}

// What others do moves nothing that a pointer is on, wherever the page is scrolled to.
func visitLoad(b *browser, _ string) {
	in(b, "scroll", chromedp.Evaluate[chromedp.Void](`document.querySelectorAll('html, section').forEach((e) => e.scrollTo(0, 1e6))`))
	moves := b.watches("#check, #act, #break, #travel")
	b.press("check", "200 commands")
	b.sees("check", "200 of 200 accepted in ")
	b.sees("check", "Equal")
	b.sees("check", "42 streams")
	b.misses("check", "≠")
	is.New(b.t).Equal(moves(), []string{})
}

// screens are the sizes and schemes that the page is judged in.
var screens = []struct {
	name          string
	width, height int64
	scheme        string
}{
	{"wide-light", 1600, 1000, "light"},
	{"wide-dark", 1600, 1000, "dark"},
	{"narrow-light", 360, 740, "light"},
	{"narrow-dark", 360, 740, "dark"},
}

// Nothing is cut off or out of reach on any screen, and axe-core finds nothing serious.
func visitScreens(b *browser, _ string) {
	is := is.New(b.t)
	axe := script(b.t, "AXE_CORE")
	b.choose(broker, "times out, and got nothing") // with every colour that there is
	b.press("break", "Send a command")
	b.sees("streams", "claimed by the relay")
	for _, s := range screens {
		b.screen(s.width, s.height, s.scheme)
		is.Equal(in(b, "width", chromedp.Evaluate[int64](`document.documentElement.scrollWidth`)), s.width)
		b.shoot(s.name)
		if axe == "" {
			continue
		}
		in(b, "axe", chromedp.Evaluate[chromedp.Void](axe))
		for _, violation := range in(b, "axe", chromedp.Evaluate[[]string](`axe.run().then(({ violations }) => violations.map(
			(v) => v.impact + ' ' + v.id + ': ' + v.help + ' ' + v.nodes.map((n) => n.html.slice(0, 120)).join(' | ')))`, chromedp.EvalAwaitPromise)) {
			if strings.HasPrefix(violation, "serious") || strings.HasPrefix(violation, "critical") {
				b.t.Errorf("%s: %s", s.name, violation)
			} else {
				b.t.Logf("%s: %s", s.name, violation)
			}
		}
	}
	b.mend()
}

// script returns the source of what internal/engines/run has installed, and named in a variable: axe-core, or
// mermaid. Without it there is none, but not in CI.
func script(t *testing.T, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		missing := "no script: set " + variable + ", or run make test"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Log(missing)
		return ""
	}
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(src)
}

// Every diagram of the documentation can be drawn. It is here because the browser is.
func TestDiagrams(t *testing.T) {
	mermaid := script(t, "MERMAID")
	if mermaid == "" {
		t.SkipNow()
	}
	const root = "../.."
	drawn := 0
	b := openBrowser(t)
	b.open("about:blank")
	in(b, "mermaid", chromedp.Evaluate[chromedp.Void](mermaid))
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".md"):
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		for i, block := range strings.Split(string(text), "\n```mermaid\n")[1:] {
			source, _, _ := strings.Cut(block, "\n```")
			wrong := in(b, path, chromedp.Evaluate[string](fmt.Sprintf(`mermaid.render('diagram', %q).then(
				({ svg }) => (svg.startsWith('<svg') ? '' : 'no picture'), (e) => String(e))`, source), chromedp.EvalAwaitPromise))
			if wrong != "" {
				t.Errorf("diagram %d of %s: %s", i+1, path, wrong)
			}
			drawn++
		}
		return err
	})
	if err != nil || drawn < 8 {
		t.Errorf("%d diagrams drawn: %v", drawn, err)
	}
}

// Whoever has no mouse gets everywhere, and sees where that is.
func visitKeyboard(b *browser, base string) {
	is := is.New(b.t)
	b.screen(1600, 1000, "light")
	b.open(base + "/")
	b.sees("check", "Equal")
	focused := func(property string) string {
		return in(b, "focus", chromedp.Evaluate[string](`String(`+property+`)`))
	}
	in(b, "tab", chromedp.KeyEvent(kb.Tab))
	is.Equal(focused(`document.activeElement.innerText`), "Skip to the console")
	in(b, "enter", chromedp.KeyEvent(kb.Enter))
	is.Equal(focused(`document.activeElement.id`), "main")
	in(b, "tab", chromedp.KeyEvent(kb.Tab))
	is.Equal(focused(`document.activeElement.innerText`), "Do all four steps for me")
	is.Equal(focused(`getComputedStyle(document.activeElement).outlineStyle`), "solid")
	in(b, "enter", chromedp.KeyEvent(kb.Enter))
	b.sees("act", `Create the org 201 Created ETag "1", version 1`)
}
