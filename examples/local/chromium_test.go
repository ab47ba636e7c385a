package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// patience is how long a slow machine may take for anything that appears in the page.
const patience = time.Minute

// browser is a tab of a headless Chromium, used as a person does: by what is written there.
type browser struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp has its browser in there
}

// openBrowser starts a Chromium that ends with the test. Where there is none, the test is
// skipped, but not in CI. What the page complains about in its console fails the test.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		const missing = "no Chromium: install it (Debian: apt-get install chromium)"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	// For root there is no sandbox, which the library knows.
	ctx, stop := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(patience))...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(ctx)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var complaints []string
	messages := chromedp.Console(ctx)
	wg.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			// That an answer is a 503, or does not come, is what some tests are about.
			if m.Source != "network" && (m.IsException() || m.Type == "error" || m.Type == "warning") {
				complaints = append(complaints, m.String())
			}
		}
	})
	t.Cleanup(func() {
		closeTab()
		wg.Wait()
		if len(complaints) > 0 {
			t.Errorf("the browser complains:\n%s", strings.Join(complaints, "\n"))
		}
	})
	return &browser{t, ctx}
}

// in runs an action in the page, and fails the test with what the page looks like if it
// takes too long.
func in[T any](b *browser, what string, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		again, cancel := context.WithTimeout(b.ctx, patience)
		defer cancel()
		text, lost := chromedp.Run(again, chromedp.Evaluate[string](`document.body.innerText`))
		b.t.Fatalf("%s: %v\nthe page says:\n%s", what, errors.Join(err, lost), text)
	}
	return v
}

// open goes to a page.
func (b *browser) open(url string) {
	b.t.Helper()
	in(b, "open "+url, chromedp.Navigate(url))
}

// sees waits until a section says something.
func (b *browser) sees(section, text string) {
	b.t.Helper()
	in(b, fmt.Sprintf("%s should say %q", section, text), chromedp.Poll[bool](
		fmt.Sprintf(`document.getElementById(%q)?.innerText.replace(/\s+/g, ' ').includes(%q)`, section, text), chromedp.WithPollingTimeout(0)))
}

// misses waits until a section does not say something, or no longer.
func (b *browser) misses(section, text string) {
	b.t.Helper()
	in(b, fmt.Sprintf("%s should not say %q", section, text), chromedp.Poll[bool](
		fmt.Sprintf(`!document.getElementById(%q).innerText.replace(/\s+/g, ' ').includes(%q)`, section, text), chromedp.WithPollingTimeout(0)))
}

// passes waits until a commit has taken these steps in this order. Others may be between them: its view follows while
// its author settles it.
func (b *browser) passes(steps ...string) {
	b.t.Helper()
	list, err := json.Marshal(steps)
	if err != nil {
		b.t.Fatal(err)
	}
	in(b, fmt.Sprintf("a commit should pass %q", steps), chromedp.Poll[bool](fmt.Sprintf(`[...document.querySelectorAll('.steps')].some((list) => {
		const steps = %s;
		for (const e of list.children) if (e.innerText === steps[0]) steps.shift();
		return steps.length === 0;
	})`, list), chromedp.WithPollingTimeout(0)))
}

// reloads does something, and waits until the page has loaded itself anew.
func (b *browser) reloads(do func()) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	loads := chromedp.Events(ctx, page.LoadEventFired)
	do()
	for _, err := range loads {
		if err != nil {
			b.t.Fatalf("the page should have loaded itself anew: %v", err)
		}
		return
	}
}

// hears waits until something is said by a live region of a section.
func (b *browser) hears(section, text string) {
	b.t.Helper()
	in(b, fmt.Sprintf("%s should tell %q", section, text), chromedp.Poll[bool](
		fmt.Sprintf(`[...document.querySelectorAll('#%s [role=status]')].some((e) => e.textContent.replace(/\s+/g, ' ').includes(%q))`, section, text),
		chromedp.WithPollingTimeout(0)))
}

// marks waits until the fold's source is marked where it says something, and nowhere else.
func (b *browser) marks(text string) {
	b.t.Helper()
	in(b, fmt.Sprintf("the fold should be marked at %q", text), chromedp.Poll[bool](
		fmt.Sprintf(`[...document.querySelectorAll('.fold mark')].map((e) => e.textContent).join(' ').replace(/\s+/g, ' ').trim() === %q`, text),
		chromedp.WithPollingTimeout(0)))
}

// places returns where in the page a text is, seen or not: a section and an element each. Times may
// have it by chance.
func (b *browser) places(text string) []string {
	b.t.Helper()
	return in(b, "places of a text", chromedp.Evaluate[[]string](fmt.Sprintf(`[...document.querySelectorAll('*')].filter((e) => [
			...[...e.childNodes].filter((n) => n.nodeType === Node.TEXT_NODE).map((n) => n.data), ...[...e.attributes].map((a) => a.value),
		].some((s) => s.replace(/\.\d+Z/g, '').includes(%q))).map((e) => (e.closest('section')?.id ?? 'page') + ' ' + e.localName)`, text)))
}

// press presses the button of a section.
func (b *browser) press(section, name string) {
	b.t.Helper()
	b.click(fmt.Sprintf("%q in %s", name, section), fmt.Sprintf(`//section[@id=%q]//button[normalize-space(.)=%q]`, section, name))
}

// click presses what an XPath finds, once that is enabled and a pointer would reach it: nothing lies on it. It is
// pressed by its key then, since nobody aims at a place that the element may have left.
func (b *browser) click(what, xpath string) {
	b.t.Helper()
	in(b, what+" should be in reach", chromedp.Poll[bool](fmt.Sprintf(`(() => {
		const e = document.evaluate(%q, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE).singleNodeValue;
		if (!e || e.disabled) return false;
		const { x, y, width, height } = e.getBoundingClientRect();
		if (!e.contains(document.elementFromPoint(x + width / 2, y + height / 2))) {
			e.scrollIntoView({ block: 'center' });
			return false;
		}
		e.focus({ preventScroll: true });
		return document.activeElement === e;
	})()`, xpath), chromedp.WithPollingTimeout(0)))
	in(b, "press "+what, chromedp.KeyEvent(" "))
}

// watches notes each move of the buttons and fields of some sections that are in the page now, until the function
// that it returns is called: that returns the moves.
func (b *browser) watches(sections string) (moves func() []string) {
	b.t.Helper()
	in(b, "watch", chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`(() => {
		const place = (e) => { const { left, top } = e.getBoundingClientRect(); return Math.round(left) + ',' + Math.round(top); };
		const places = new Map([...document.querySelectorAll(%q)].flatMap((s) => [...s.querySelectorAll('button, input, select')]).map((e) => [e, place(e)]));
		const moves = [];
		let over = false;
		const look = () => {
			for (const [e, was] of places) {
				if (!e.isConnected || place(e) === was) continue;
				moves.push((e.ariaLabel || e.innerText || e.name) + ' from ' + was + ' to ' + place(e));
				places.set(e, place(e));
			}
			if (!over) requestAnimationFrame(look);
		};
		look();
		window.watched = () => { over = true; look(); return moves; };
	})()`, sections)))
	return func() []string {
		b.t.Helper()
		return in(b, "watched", chromedp.Evaluate[[]string](`watched()`))
	}
}

// field is a form field, by its label.
func field(section, label string) string {
	return fmt.Sprintf(`//section[@id=%q]//label[starts-with(normalize-space(.), %q)]/*[self::input or self::select]`, section, label)
}

// write replaces what is in a field.
func (b *browser) write(section, label, text string) {
	b.t.Helper()
	in(b, fmt.Sprintf("write %q into %q", text, label), chromedp.Steps(
		chromedp.Focus(field(section, label)), chromedp.Evaluate[chromedp.Void](`document.activeElement.select()`), chromedp.KeyEvent(text)))
}

// choose puts a switch into a position, and waits until the page says so.
func (b *browser) choose(title, label string) {
	b.t.Helper()
	position := in(b, fmt.Sprintf("choose %q of %q", label, title), chromedp.Evaluate[int](fmt.Sprintf(`(() => {
		const e = document.evaluate(%q, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE).singleNodeValue;
		const position = [...e.options].findIndex((o) => o.label === %q);
		e.selectedIndex = position;
		e.dispatchEvent(new Event('change', { bubbles: true }));
		return position;
	})()`, field("break", title), label)))
	switch {
	case position < 0:
		b.t.Fatalf("%q has no position %q", title, label)
	case position > 0:
		b.sees("break", strings.ToLower(title)+" "+label)
	default:
		b.misses("break", strings.ToLower(title)) // what works is not spoken of
	}
}

// mend puts everything right, and waits until it is.
func (b *browser) mend() {
	b.t.Helper()
	b.press("break", "Mend everything")
	b.sees("break", "Everything works.")
	b.sees("check", "Equal")
}

// screen sets the size of the window, and whether it is night.
func (b *browser) screen(width, height int64, scheme string) {
	b.t.Helper()
	in(b, "screen", chromedp.Steps(
		chromedp.EmulateViewport(width, height),
		chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
			_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}, //nolint:misspell // as CSS spells it
			})
			return err
		})))
}

// shoot writes a picture of the whole page into the folder SCREENSHOTS, if that is set.
func (b *browser) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	in(b, "scroll", chromedp.Evaluate[chromedp.Void](`scrollTo(0, 0)`))
	if err := os.WriteFile(dir+"/"+name+".png", in(b, name, chromedp.FullScreenshot(100)), 0o600); err != nil {
		b.t.Fatal(err)
	}
}
