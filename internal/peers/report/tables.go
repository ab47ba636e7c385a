package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/leftfold/leftfold/internal/peers"
)

// table is a table of the documentation, by the name of its place there.
type table struct {
	name, title string
	text        func(*results) string
}

var tables = []table{
	{"machine", "Measured on", machine},
	{"time", "Time, in multiples of the loop", timeTable},
	{"allocations", "Allocations", allocTable},
	{"parallel", "Speed-up on two processors", parallelTable},
	{"kept", "Bytes kept an event", keptTable},
	{"command", "Time of a command, by the length of its stream", commandTable},
	{"codecs", "JSON libraries", codecTable},
	{"goals", "Goals", goalTable},
}

func machine(r *results) string {
	what := "the clock's time"
	if r.time == cpu {
		what = "processor time, garbage collection included, because others used the machine"
	}
	text := fmt.Sprintf("Measured with %s, by %s. Medians of %d to %d measurements", r.from, what, r.least, r.most)
	if spread := r.spread(r.time); spread > 0 {
		text += fmt.Sprintf("; half of their intervals of 95 %% are narrower than ±%.0f %%", 100*spread)
	}
	return text + ".\n"
}

// markdown is a table in the making.
type markdown struct{ rows [][]string }

func (m *markdown) add(cells ...string) { m.rows = append(m.rows, cells) }

func (m *markdown) String() string {
	var b strings.Builder
	for i, row := range m.rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString("|---" + strings.Repeat("|---", len(row)-1) + "|\n")
		}
	}
	return b.String()
}

func number(x float64) string {
	switch {
	case math.Abs(x) < 0.095:
		return fmt.Sprintf("%.2g", x)
	case math.Abs(x) < 9.95:
		return fmt.Sprintf("%.2f", x)
	case math.Abs(x) < 99.5:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.0f", x)
}

func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d.Nanoseconds())
	case d < time.Millisecond:
		return number(seconds*1e6) + " µs"
	case d < time.Second:
		return number(seconds*1e3) + " ms"
	}
	return number(seconds) + " s"
}

// none is what could not be measured.
const none = "–"

func header() []string {
	cells := []string{""}
	for _, lib := range peers.Libraries {
		cells = append(cells, lib.Name)
	}
	return cells
}

func timeTable(r *results) string {
	var m markdown
	m.add(header()...)
	keeps := []string{"keeps"}
	for _, lib := range peers.Libraries {
		keeps = append(keeps, lib.Keeps)
	}
	m.add(keeps...)
	for _, row := range []struct{ what, name string }{
		{"replay, 10 org events", "Replay/of=org/events=10"},
		{"replay, 1 000 org events", "Replay/of=org/events=1000"},
		{"replay, 100 000 org events", "Replay/of=org/events=100000"},
		{"replay, 10 account events", "Replay/of=account/events=10"},
		{"replay, 1 000 account events", "Replay/of=account/events=1000"},
		{"replay, 100 000 account events", "Replay/of=account/events=100000"},
		{"create an org and append", "Create/of=org"},
		{"create an account and append", "Create/of=account"},
		{"command on 1 000 org events", "Command/of=org/events=1000"},
		{"command on 1 000 account events", "Command/of=account/events=1000"},
	} {
		cells := []string{row.what}
		for i, lib := range peers.Libraries {
			cell := none
			if x, ok := r.ratio(row.name+"/lib="+lib.Name, row.name+"/lib=loop", r.time); ok {
				if cell = number(x); i == 0 {
					limit, _ := r.median(row.name+"/lib=loop", r.time)
					cell = "1 = " + duration(limit)
				}
			}
			cells = append(cells, cell)
		}
		m.add(cells...)
	}
	return m.String()
}

func allocTable(r *results) string {
	var m markdown
	m.add(header()...)
	for _, row := range []struct{ what, name, unit string }{
		{"an event, replay of 1 000 org events", "Replay/of=org/events=1000", each},
		{"an event, replay of 1 000 account events", "Replay/of=account/events=1000", each},
		{"create an org and append", "Create/of=org", allocs},
		{"create an account and append", "Create/of=account", allocs},
	} {
		m.add(r.row(row.what, func(lib string) (float64, bool) {
			x, ok := r.median(row.name+"/lib="+lib, row.unit)
			return math.Round(10*x) / 10, ok
		}, func(x float64) string { return fmt.Sprint(x) })...)
	}
	return m.String()
}

// row is one figure of each library.
func (r *results) row(what string, value func(lib string) (float64, bool), format func(float64) string) []string {
	cells := []string{what}
	for _, lib := range peers.Libraries {
		cell := none
		if x, ok := value(lib.Name); ok {
			cell = format(x)
		}
		cells = append(cells, cell)
	}
	return cells
}

// speedUp is by the clock: processor time tells nothing of it, and neither does the
// clock where others use the machine.
func (r *results) speedUp(lib string) (float64, bool) {
	if r.time == cpu {
		return 0, false
	}
	return r.ratio("Parallel/of=org/lib="+lib, "Parallel/of=org/lib="+lib+"/procs=2", clock)
}

func parallelTable(r *results) string {
	var m markdown
	m.add(header()...)
	m.add(r.row("commands on own streams, 2 processors against 1", r.speedUp, number)...)
	if r.time == cpu {
		return m.String() + "\n" + none + ": it takes a machine that nobody else uses.\n"
	}
	return m.String()
}

func keptTable(r *results) string {
	var m markdown
	m.add(header()...)
	for _, row := range []struct{ what, name string }{
		{"org, an event a command", "Kept/of=org/each=1"},
		{"org, 8 events a command", "Kept/of=org/each=8"},
		{"account, an event a command", "Kept/of=account/each=1"},
		{"account, 8 events a command", "Kept/of=account/each=8"},
	} {
		m.add(r.row(row.what, func(lib string) (float64, bool) { return r.median(row.name+"/lib="+lib, kept) },
			func(x float64) string { return fmt.Sprintf("%.0f", x) })...)
	}
	return m.String()
}

// lengths are those of the streams that commands are measured on.
var lengths = []int{10, 100, 1000, 10_000, 100_000}

// commanded are the names of all that commands are measured for.
func commanded() []string {
	var names []string
	for _, libs := range [][]peers.Library{peers.Strategies, peers.Libraries} {
		for _, lib := range libs {
			names = append(names, lib.Name)
		}
	}
	return names
}

func commandName(lib string, n int) string {
	return fmt.Sprintf("Command/of=org/events=%d/lib=%s", n, lib)
}

func commandTable(r *results) string {
	var m markdown
	m.add("org events in the stream", "10", "100", "1 000", "10 000", "100 000")
	for _, name := range commanded() {
		cells := []string{name}
		for _, n := range lengths {
			cell := none
			if x, ok := r.median(commandName(name, n), r.time); ok {
				cell = duration(x)
			}
			cells = append(cells, cell)
		}
		m.add(cells...)
	}
	return m.String()
}

// jsonLibraries are those of the codecs, by the names that are shown.
var jsonLibraries = []string{"encoding/json", "encoding/json/v2", "go-json-experiment/json", "goccy/go-json", "segmentio/encoding/json"}

// codecName is how the benchmarks call the codec with a library.
func codecName(library, by string) string {
	return "Codec/codec=" + strings.ReplaceAll(library, "/", ".") + "/by=" + by
}

func codecTable(r *results) string {
	var m markdown
	m.add("JSON library", "alone, an event", "codec", "codec, of pointers", "replay", "alone, with an envelope")
	for _, name := range jsonLibraries {
		cells := []string{name, none, none, none, none, none}
		if x, ok := r.median(codecName(name, "bare"), r.time); ok {
			cells[1] = duration(x / 1000)
		}
		for i, by := range []string{"codec", "pointers", "leftfold", "envelope"} {
			if x, ok := r.ratio(codecName(name, by), codecName(name, "bare"), r.time); ok {
				cells[2+i] = number(x) + " times"
			}
		}
		m.add(cells...)
	}
	return m.String()
}

// goal is what we want to reach, as a figure that may be computed.
type goal struct {
	what  string
	want  float64
	least bool // whether it is the least and not the most
	have  func(*results) (float64, bool)
}

func toLoop(name string) func(*results) (float64, bool) {
	return func(r *results) (float64, bool) { return r.ratio(name+"/lib=leftfold", name+"/lib=loop", r.time) }
}

func absolute(name, unit string) func(*results) (float64, bool) {
	return func(r *results) (float64, bool) { return r.median(name+"/lib=leftfold", unit) }
}

var goals = []goal{
	{"replay, 1 000 org events, to the loop", 1.05, false, toLoop("Replay/of=org/events=1000")},
	{"the same, with go-json-experiment/json plugged in", 1.05, false, func(r *results) (float64, bool) {
		return r.ratio(codecName("go-json-experiment/json", "leftfold"), "Replay/of=org/events=1000/lib=loop", r.time)
	}},
	{"replay, 1 000 account events, to the loop", 1.15, false, toLoop("Replay/of=account/events=1000")},
	{"replay, 100 000 account events, to the loop", 1.15, false, toLoop("Replay/of=account/events=100000")},
	{"allocations an event, org", 8, false, absolute("Replay/of=org/events=1000", each)},
	{"create an org and append, to the loop", 1.3, false, toLoop("Create/of=org")},
	{"command on 1 000 org events, to the loop", 1.05, false, toLoop("Command/of=org/events=1000")},
	{"speed-up on 2 processors", 1.7, true, func(r *results) (float64, bool) { return r.speedUp("leftfold") }},
	{"bytes kept an event, org", 275, false, absolute("Kept/of=org/each=1", kept)},
	{"bytes kept an event, account", 80, false, absolute("Kept/of=account/each=1", kept)},
	{"command with snapshots on 1 000 org events: times faster than the fastest peer that replays bytes", 50, true, fasterThanPeers},
	{"command with snapshots: 100 000 events to 10", 1.1, false, func(r *results) (float64, bool) {
		return r.ratio(commandName("leftfold+snapshots", 100_000), commandName("leftfold+snapshots", 10), r.time)
	}},
	{"command with the cache: 100 000 events to 10", 1.1, false, func(r *results) (float64, bool) {
		return r.ratio(commandName("leftfold+cache", 100_000), commandName("leftfold+cache", 10), r.time)
	}},
	{"JSON libraries whose codec takes at most 1.1 times what they take alone", 2, true, pluggedIn},
}

// pluggedIn counts the libraries that lose little by a codec, of values or of pointers.
func pluggedIn(r *results) (n float64, measured bool) {
	for _, name := range jsonLibraries {
		for _, by := range []string{"codec", "pointers"} {
			x, ok := r.ratio(codecName(name, by), codecName(name, "bare"), r.time)
			if measured = measured || ok; ok && math.Round(100*x)/100 <= 1.1 {
				n++
				break
			}
		}
	}
	return n, measured
}

func fasterThanPeers(r *results) (float64, bool) {
	best, found := math.Inf(1), false
	for _, lib := range peers.Libraries {
		if lib.Name == "loop" || lib.Name == "leftfold" || lib.Keeps == "references" {
			continue
		}
		if x, ok := r.ratio(commandName(lib.Name, 1000), commandName("leftfold+snapshots", 1000), r.time); ok {
			best, found = min(best, x), true
		}
	}
	return best, found
}

func goalTable(r *results) string {
	var m markdown
	m.add("", "goal", "measured", "")
	for _, g := range goals {
		want, have, met := "at most "+number(g.want), none, ""
		if g.least {
			want = "at least " + number(g.want)
		}
		if x, ok := g.have(r); ok {
			have, met = number(x), "missed"
			// To as many places as are shown.
			if shown := math.Round(100*x) / 100; g.least && shown >= g.want || !g.least && shown <= g.want {
				met = "met"
			}
		}
		m.add(g.what, want, have, met)
	}
	return m.String()
}
