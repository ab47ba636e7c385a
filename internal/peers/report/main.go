// Command report measures and writes docs/performance.md. It is run by make
// bench-peers, in internal/peers:
//
//	go run ./report            # measure, and print the tables
//	go run ./report -write     # and put them, and the plot, into the documentation
//	go run ./report -in ../../dist/peers.txt   # what was measured before
//
// It measures in rounds over all libraries, so that whatever else the machine does
// meets all alike, and says medians; what takes little time several times in each. What it measured stays in dist/peers.txt, in the
// form that benchstat reads.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// Where things are, from internal/peers.
const (
	rawFile  = "../../dist/peers.txt"
	docFile  = "../../docs/performance.md"
	plotFile = "../../docs/img/command.svg"
)

func main() {
	var m measuring
	in := flag.String("in", "", "read this `file` and measure nothing")
	write := flag.Bool("write", false, "put the tables and the plot into the documentation")
	cpu := flag.Bool("cpu", false, "count processor time in place of the clock's: for a machine that others use too")
	flag.StringVar(&m.bench, "bench", ".", "measure only what this `pattern` matches")
	flag.DurationVar(&m.time, "time", 200*time.Millisecond, "measure each for so long in a round")
	flag.IntVar(&m.rounds, "rounds", 6, "how many rounds")
	flag.Parse()
	if err := run(m, *in, *write, *cpu); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(m measuring, in string, write, cpu bool) error {
	if in == "" {
		in = rawFile
		if err := m.run(in); err != nil {
			return err
		}
	}
	raw, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	r, err := read(bytes.NewReader(raw), in, cpu)
	if err != nil {
		return err
	}
	if !write {
		for _, t := range tables {
			fmt.Printf("%s\n\n%s\n", t.title, t.text(r))
		}
		return nil
	}
	doc, err := os.ReadFile(docFile)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if doc, err = replace(doc, t.name, t.text(r)); err != nil {
			return err
		}
	}
	if err := svg(r, plotFile); err != nil {
		return err
	}
	return os.WriteFile(docFile, doc, 0o644)
}

// replace puts the text between the markers of that name.
func replace(doc []byte, name, text string) ([]byte, error) {
	begin, end := []byte("<!-- begin "+name+" -->\n"), []byte("<!-- end "+name+" -->\n")
	i, k := bytes.Index(doc, begin), bytes.Index(doc, end)
	if i < 0 || k < i {
		return nil, fmt.Errorf("%s has no place for the table %q", docFile, name)
	}
	return bytes.Join([][]byte{doc[:i+len(begin)], doc[k:]}, []byte(text)), nil
}

// measuring says what to measure.
type measuring struct {
	bench  string
	time   time.Duration
	rounds int
}

// run measures, and writes what the benchmarks print to a file.
func (m measuring) run(file string) (err error) {
	dir, err := os.MkdirTemp("", "peers")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	v1, v2 := filepath.Join(dir, "v1"), filepath.Join(dir, "v2")
	if err := build(v1); err != nil {
		return err
	}
	if err := build(v2, "GOEXPERIMENT=jsonv2"); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	fmt.Fprintf(out, "go: %s\nprocessors: %d\ndate: %s\n", runtime.Version(), runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly))
	// What needs little before it can be measured is measured more often, and each time for less long: those that are compared are
	// then closer together, and a machine that others use is the same for both.
	again := []string{
		v1, "-test.skip=^Benchmark(Command|Parallel|Kept)$|^BenchmarkReplay$/^of=/^events=100000$", "-test.benchtime=" + (m.time / 4).String(),
	}
	for round := range m.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, m.rounds)
		for _, args := range [][]string{
			{v1, "-test.skip=^(BenchmarkParallel|BenchmarkKept)$", "-test.benchtime=" + m.time.String()},
			{v1, "-test.skip=^Benchmark(Replay|Create|Command|Codec|Kept)$", "-test.benchtime=" + m.time.String(), "-test.cpu=1,2"},
			{v1, "-test.skip=^Benchmark(Replay|Create|Command|Codec|Parallel)$", "-test.benchtime=1x"},
			// Of this one only v2 itself: its encoding/json is another.
			{v2, "-test.skip=^Benchmark(Replay|Create|Command|Kept|Parallel)$|^BenchmarkCodec$/^codec=(encoding.json|[^e].*)$", "-test.benchtime=" + m.time.String()},
			again, again, again, again,
		} {
			cmd := exec.Command(args[0], append([]string{"-test.run=^$", "-test.bench=" + m.bench}, args[1:]...)...)
			cmd.Stdout, cmd.Stderr = io.MultiWriter(out, os.Stderr), os.Stderr
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%v: %w", cmd.Args[1:], err)
			}
		}
	}
	return nil
}

func build(file string, env ...string) error {
	cmd := exec.Command("go", "test", "-c", "-o", file, ".")
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return nil
}
