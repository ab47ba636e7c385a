package peers

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The names of the benchmarks are read by the report: parts with a key and a value,
// and the library last.

// sizes are how long streams are; -short leaves the longest out.
func sizes(b *testing.B) []int {
	b.Helper()
	if testing.Short() {
		return []int{10, 1000}
	}
	return []int{10, 1000, 100_000}
}

// BenchmarkReplay is the left fold of a stream: from stored events to the state.
func BenchmarkReplay(b *testing.B) {
	for _, n := range sizes(b) {
		for _, lib := range Libraries {
			b.Run(fmt.Sprintf("of=org/events=%d/lib=%s", n, lib.Name), func(b *testing.B) { replay(b, lib.Org, n) })
		}
		for _, lib := range Libraries {
			b.Run(fmt.Sprintf("of=account/events=%d/lib=%s", n, lib.Name), func(b *testing.B) { replay(b, lib.Account, n) })
		}
	}
}

func replay[S any](b *testing.B, open func() (Store[S], error), n int) {
	store, stream := filled(b, open, 0, 1, n), id(0)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.ReportAllocs()
	cpu := startCPU()
	for b.Loop() {
		if _, err := store.Replay(b.Context(), stream); err != nil {
			b.Fatal(err)
		}
	}
	cpu.report(b)
	runtime.ReadMemStats(&after)
	events := float64(b.N) * float64(n)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/events, "ns/event")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/events, "allocs/event")
}

// cpu measures the processor's time in place of the clock's: all of the process,
// the collector too. Where others use the machine as well, it is the better measure.
type cpu struct {
	used    time.Duration
	started time.Duration
}

func startCPU() *cpu { return &cpu{started: cpuTime()} }

func (c *cpu) pause()  { c.used += cpuTime() - c.started }
func (c *cpu) resume() { c.started = cpuTime() }

func (c *cpu) report(b *testing.B) {
	c.pause()
	b.ReportMetric(float64(c.used.Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// filled returns a store with so many streams, from ID 0, of n events each or up to
// seven more, among others of one event. The first has n.
func filled[S any](b *testing.B, open func() (Store[S], error), others, streams, n int) Store[S] {
	b.Helper()
	store, err := open()
	if err != nil {
		b.Fatal(err)
	}
	for i := range others {
		if err := store.Create(b.Context(), id(1_000_000+i)); err != nil {
			b.Fatal(err)
		}
	}
	for i := range streams {
		// Every eighth event may come with a snapshot: none of the streams is special.
		if err := store.Fill(b.Context(), id(i), n+i%8, 1); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	return store
}

// BenchmarkCreate is the first event of a stream: decide, append.
func BenchmarkCreate(b *testing.B) {
	for _, lib := range Libraries {
		b.Run("of=org/lib="+lib.Name, func(b *testing.B) { create(b, lib.Org) })
	}
	for _, lib := range Libraries {
		b.Run("of=account/lib="+lib.Name, func(b *testing.B) { create(b, lib.Account) })
	}
}

// So many streams are created in one store, and then in a new one: what is measured
// must not depend on how long it is measured.
const createdInOne = 10_000

func create[S any](b *testing.B, open func() (Store[S], error)) {
	ids := ids(createdInOne)
	store := filled(b, open, 0, 0, 0)
	i := 0
	b.ReportAllocs()
	cpu := startCPU()
	for b.Loop() {
		if i == len(ids) {
			cpu.pause()
			b.StopTimer()
			store, i = filled(b, open, 0, 0, 0), 0
			b.StartTimer()
			cpu.resume()
		}
		if err := store.Create(b.Context(), ids[i]); err != nil {
			b.Fatal(err)
		}
		i++
	}
	cpu.report(b)
}

func ids(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = id(i)
	}
	return ids
}

// BenchmarkCommand is what a service does all day: load, decide, append, here on a
// stream of so many events among 10 000 other streams.
func BenchmarkCommand(b *testing.B) {
	lengths := []int{10, 100, 1000, 10_000, 100_000}
	if testing.Short() {
		lengths = []int{10, 1000}
	}
	for _, n := range lengths {
		for _, lib := range all() {
			b.Run(fmt.Sprintf("of=org/events=%d/lib=%s", n, lib.Name), func(b *testing.B) { command(b, lib.Org, n) })
		}
	}
	for _, lib := range all() {
		if lib.Account != nil {
			b.Run(fmt.Sprintf("of=account/events=1000/lib=%s", lib.Name), func(b *testing.B) { command(b, lib.Account, 1000) })
		}
	}
}

// command runs commands on streams of n events in turn, and makes new ones before
// they have become longer by more than a tenth.
func command[S any](b *testing.B, open func() (Store[S], error), n int) {
	const events = 16_000
	others, streams := 10_000, max(1, events/n)
	if testing.Short() {
		others, streams = 100, 2
	}
	ids := ids(streams)
	most := streams * max(1, n/10)
	var store Store[S]
	i := 0
	fill := func() {
		store, i = filled(b, open, others, streams, n), 0
		for k, id := range ids { // each has had a command before: a library may remember something of it
			if err := store.Command(b.Context(), id, n+k%8); err != nil {
				b.Fatal(err)
			}
		}
	}
	fill()
	b.ReportAllocs()
	cpu := startCPU()
	for b.Loop() {
		if i == most {
			cpu.pause()
			b.StopTimer()
			fill()
			b.StartTimer()
			cpu.resume()
		}
		k := i % len(ids)
		if err := store.Command(b.Context(), ids[k], n+1+k%8+i/len(ids)); err != nil {
			b.Fatal(err)
		}
		i++
	}
	cpu.report(b)
}

// BenchmarkParallel is commands on streams of one's own, in as many goroutines as
// there are processors: each makes a stream, adds nine events to it, and so on. An
// operation is one event. Run it with -cpu 1,2.
func BenchmarkParallel(b *testing.B) {
	for _, lib := range Libraries {
		b.Run("of=org/lib="+lib.Name, func(b *testing.B) { parallel(b, lib.Org) })
	}
}

func parallel[S any](b *testing.B, open func() (Store[S], error)) {
	store := filled(b, open, 0, 0, 0)
	var goroutine atomic.Uint64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		random := rand.New(rand.NewPCG(goroutine.Add(1), 0))
		var stream string
		for i := 0; pb.Next(); i++ {
			var err error
			if i%10 == 0 {
				stream = id(int(random.Uint64() >> 30))
				err = store.Create(b.Context(), stream)
			} else {
				err = store.Command(b.Context(), stream, i%10)
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkKept is what a store keeps of an event that was stored among so many at
// once. Slices grow in steps, so streams of 64 lengths are filled, 264 to 768. Time
// says nothing here.
func BenchmarkKept(b *testing.B) {
	for _, each := range []int{1, 8} {
		for _, lib := range Libraries {
			b.Run(fmt.Sprintf("of=org/each=%d/lib=%s", each, lib.Name), func(b *testing.B) { kept(b, lib.Org, each) })
		}
		for _, lib := range Libraries {
			b.Run(fmt.Sprintf("of=account/each=%d/lib=%s", each, lib.Name), func(b *testing.B) { kept(b, lib.Account, each) })
		}
	}
}

func kept[S any](b *testing.B, open func() (Store[S], error), each int) {
	ids := ids(64)
	for b.Loop() {
		store, err := open()
		if err != nil {
			b.Fatal(err)
		}
		before, events := heap(), 0
		for i, id := range ids {
			n := 264 + 8*i
			if err := store.Fill(b.Context(), id, n, each); err != nil {
				b.Fatal(err)
			}
			events += n
		}
		b.ReportMetric((heap()-before)/float64(events), "B-kept/event")
		runtime.KeepAlive(store)
	}
}

// heap returns the bytes that are in use.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
