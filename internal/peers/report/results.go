package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchmath"
)

// results are what was measured, by the name of the benchmark with its keys, as in
// "Replay/of=org/events=1000/lib=loop", and by unit.
type results struct {
	samples map[string]map[string][]float64
	time    string // the unit of time
	from    string // on what and when, in words
	least   int    // how often things were measured
	most    int
}

// Units, as benchfmt tidies them.
const (
	clock  = "sec/op"
	cpu    = "cpu-sec/op"
	allocs = "allocs/op"
	each   = "allocs/event"
	kept   = "B-kept/event"
)

func read(in io.Reader, file string, byCPU bool) (*results, error) {
	r := &results{samples: make(map[string]map[string][]float64), time: clock}
	if byCPU {
		r.time = cpu
	}
	reader := benchfmt.NewReader(in, file)
	for reader.Scan() {
		res, ok := reader.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		name := string(res.Name)
		// The processors are a suffix, and none where there is one.
		if i := strings.LastIndexByte(name, '-'); i > strings.LastIndexByte(name, '=') && strings.Trim(name[i+1:], "0123456789") == "" {
			if name = name[:i]; strings.HasPrefix(name, "Parallel") {
				name += "/procs=" + string(res.Name)[i+1:]
			}
		}
		if r.samples[name] == nil {
			r.samples[name] = make(map[string][]float64)
		}
		for _, v := range res.Values {
			r.samples[name][v.Unit] = append(r.samples[name][v.Unit], v.Value)
		}
		r.from = fmt.Sprintf("%s, %s/%s, %s processors (%s), %s", res.GetConfig("go"), res.GetConfig("goos"), res.GetConfig("goarch"),
			res.GetConfig("processors"), strings.TrimSpace(res.GetConfig("cpu")), res.GetConfig("date"))
	}
	for _, units := range r.samples {
		for _, values := range units {
			r.most = max(r.most, len(values))
			if r.least == 0 || len(values) < r.least {
				r.least = len(values)
			}
		}
	}
	return r, reader.Err()
}

// median returns the median of a measurement, false if there is none.
func (r *results) median(name, unit string) (float64, bool) {
	values := r.samples[name][unit]
	if len(values) == 0 {
		return 0, false
	}
	return summary(values).Center, true
}

// summary has the median and its interval. It leaves the values as they are.
func summary(values []float64) benchmath.Summary {
	return benchmath.AssumeNothing.Summary(benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds), 0.95)
}

// spread returns how far the medians' intervals of 95 % reach, as the median of all
// measurements, or 0 if there were too few rounds for such intervals.
func (r *results) spread(unit string) float64 {
	var all []float64
	for _, units := range r.samples {
		if len(units[unit]) == 0 {
			continue
		}
		s := summary(units[unit])
		if width := max(s.Hi-s.Center, s.Center-s.Lo) / s.Center; !math.IsNaN(width) && !math.IsInf(width, 0) {
			all = append(all, width)
		}
	}
	if len(all) == 0 {
		return 0
	}
	return summary(all).Center
}

// ratio returns how much larger a is than b: the median of what it is in each round, since a machine that others use
// is faster in one round than in another. Where they were not measured equally often, it is that of their medians.
func (r *results) ratio(a, b, unit string) (float64, bool) {
	x, ok := r.median(a, unit)
	y, ok2 := r.median(b, unit)
	if !ok || !ok2 || y == 0 {
		return 0, false
	}
	all, by := r.samples[a][unit], r.samples[b][unit]
	if len(all) != len(by) {
		return x / y, true
	}
	ratios := make([]float64, len(all))
	for i := range all {
		ratios[i] = all[i] / by[i]
	}
	return summary(ratios).Center, true
}
