package estest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"iter"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/leftfold/leftfold/es"
)

// Explorer runs several processes on one store and one broker through every order of their
// calls and, within a budget, every fault at each of them. What it runs is the real code: a
// process stops at each call of the store or the publisher until it is its turn.
//
// A fault is one of three. A call is refused. Or it is on its way and nobody knows: its
// answer is lost, and its effect comes at any later step, or never. Or the process crashes
// at the call. A request or an answer that is lost, and a crash after a call, are among these. Reads
// are not late, they fail.
//
// A schedule is not gone through twice from the same state. That is what the store
// holds, what was published, what is on its way, what is left of the budget, and all the answers
// that each process has had; so a process must be a function of its answers. IDs of
// commits are told apart by who made them and when. Times are not part of it, though the clock goes on in
// pauses: the journals of the processes should have a time-out that never comes, such as an hour, and a
// grace period that is over already, such as minus an hour.
//
// Nor are orders gone through that differ in nothing anybody can see. A call that is refused, or
// whose answer is lost, tells its process what it would have told it earlier, and changes nothing for the
// others; so it comes as soon as the process gets there, and only what is on its way comes
// later. Nobody sees that a process has crashed; so crashes come last, and
// what has not come to its end by then is as if it had crashed long ago.
//
// Run has to be called in a bubble of testing/synctest, in which the processes wait without any time
// passing.
type Explorer struct {
	// New returns the store and the publisher that the processes share, new and empty. A
	// publisher that does not deliver everything that it takes has a method
	// Published() []es.Commit that returns what it has delivered, in this order.
	New func() (es.Store, es.Publisher)

	// Processes are what runs. What New returns reaches them disturbed.
	Processes []Process

	// State, if set, returns what the processes share besides the store and what was published:
	// views, for instance. It is compared with that of other schedules.
	State func() string

	// Faults is how many faults there are in a schedule, at most.
	Faults int

	// Check is called at the end of every schedule that came to one, and returns what is wrong.
	Check func(context.Context, *End) error

	// Shortest looks for the shortest schedule that violates something: it tries all
	// that have one step before those of two, and so on. That takes longer.
	Shortest bool

	// Progress, if set, is called now and then.
	Progress func(Explored)
}

// Process is a writer, a relay, or anything else that has a store and a publisher. It
// runs in one goroutine and may be killed at any call, by [runtime.Goexit].
type Process struct {
	Name string
	Run  func(context.Context, es.Store, es.Publisher) error
}

// End is the end of a schedule: every process has returned or crashed.
type End struct {
	Store     es.Store     // as it is, and no longer disturbed
	Publisher es.Publisher // likewise
	Told      []Told       // what the callers were told, by process

	world *world
}

// Published returns what the broker has delivered by now, in this order.
func (e *End) Published() []es.Commit { return e.world.broker.all() }

// Told is what a process has told its caller.
type Told struct {
	Crashed bool  // nothing
	Err     error // what Run returned
}

// Land lets every write that is still on its way take effect.
func (e *End) Land(ctx context.Context) {
	for _, l := range e.world.late {
		_ = l.land(ctx)
	}
	e.world.late = nil
}

// Explored says how much was explored.
type Explored struct {
	Schedules int // that were run, to their end or to a state that was known
	Ends      int // different ones, each of which was checked
	States    int // different ones
	Steps     int // calls that were released, all in all
	Longest   int // steps of the longest schedule
}

// Violation is what [Explorer.Run] found: a schedule, a line a step, and what is wrong at
// the end of it. The schedule depends on nothing else, so that it can be had again.
type Violation struct {
	Schedule []string
	Err      error

	text string // of Err, with what commits are called in the place of their IDs
}

func (v *Violation) Error() string {
	return fmt.Sprintf("%s\nafter %d steps:\n\t%s", v.text, len(v.Schedule), strings.Join(v.Schedule, "\n\t"))
}

// Unwrap returns what [Explorer.Check] returned.
func (v *Violation) Unwrap() error { return v.Err }

// Run explores, and stops at the first violation, which is then the error: a [*Violation].
func (x *Explorer) Run(ctx context.Context) (Explored, error) {
	s := search{Explorer: x, states: map[digest]struct{}{}, ends: map[digest]struct{}{}, work: [][]choice{nil}}
	for len(s.work) > 0 {
		if err := ctx.Err(); err != nil {
			return s.done, err
		}
		path := s.next()
		w := x.begin()
		for _, c := range path {
			w.take(ctx, c)
		}
		path, err := s.follow(ctx, w, path)
		w.crash(ctx)
		s.done.Schedules++
		s.done.Ends = len(s.ends)
		s.done.States = len(s.states)
		s.done.Steps += len(path)
		s.done.Longest = max(s.done.Longest, len(path))
		if err != nil {
			return s.done, &Violation{Schedule: x.describe(ctx, path), Err: err, text: w.plain(err)}
		}
		if x.Progress != nil && s.done.Schedules%10_000 == 0 {
			x.Progress(s.done)
		}
	}
	return s.done, nil
}

// describe runs a schedule again and returns what happens in it.
func (x *Explorer) describe(ctx context.Context, path []choice) []string {
	w := x.begin()
	w.traced = true
	for _, c := range path {
		w.take(ctx, c)
	}
	w.crash(ctx)
	return w.trace
}

type digest [16]byte

// search is what is left to explore, and what is known.
type search struct {
	*Explorer
	states, ends map[digest]struct{}
	work         [][]choice // paths to go, each with all that can follow
	done         Explored
}

func (s *search) next() (path []choice) {
	if s.Shortest {
		path, s.work = s.work[0], s.work[1:]
	} else {
		path, s.work = s.work[len(s.work)-1], s.work[:len(s.work)-1]
	}
	return path
}

func (s *search) later(path []choice, choices []choice) {
	for _, c := range choices {
		s.work = append(s.work, append(slices.Clip(path), c))
	}
}

// follow goes on from the end of a path, by the first choice each time, and leaves the others
// for later. It returns the path that it went.
func (s *search) follow(ctx context.Context, w *world, path []choice) ([]choice, error) {
	for {
		s.later(path, w.disturbances())
		if w.begun < len(w.processes) {
			w.start(ctx)
			continue
		}
		if !isNew(s.states, w.state(ctx, s.State, false)) {
			return path, nil
		}
		choices := w.choices()
		running := w.running()
		if running <= w.faults && isNew(s.ends, w.state(ctx, s.State, true)) {
			s.later(path, choices)
			w.crash(ctx)
			return path, s.Check(ctx, w.end())
		}
		if len(choices) == 0 {
			return path, nil
		}
		if s.Shortest {
			s.later(path, choices)
			return path, nil
		}
		s.later(path, choices[1:])
		path = append(slices.Clip(path), choices[0])
		w.take(ctx, choices[0])
	}
}

func isNew(known map[digest]struct{}, d digest) bool {
	before := len(known)
	known[d] = struct{}{}
	return len(known) > before
}

// choice is one step: a process makes its call, with a fault or without; or a write lands.
type choice struct {
	process int8 // -1: a write lands
	late    int8 // which
	fault   Fault
}

// world is one schedule while it runs. Everything in it belongs to whoever has the turn.
type world struct {
	store     es.Store
	broker    *record
	processes []*process
	back      chan struct{}     // a process gives its turn back
	names     map[string]string // of commits, by ID
	appended  map[string]es.Commit
	contents  map[string]string // of commits, by ID: name and all that does not differ from run to run
	streams   []es.StreamID
	late      []onItsWay
	begun     int      // processes
	arrived   *process // the one that has just come to a call, and may be disturbed there
	faults    int      // left
	traced    bool
	trace     []string
}

type onItsWay struct {
	call Call
	land func(context.Context) error
}

// process is one while it runs.
type process struct {
	*world
	Process
	turn  chan Fault
	call  Call
	read  bool      // what the call is
	gone  bool      // it has returned or crashed
	seen  hash.Hash // of all answers so far
	made  int       // commits
	turns bool      // it is its turn
	told  Told
}

// begin returns a world in which nothing has started.
func (x *Explorer) begin() *world {
	w := &world{back: make(chan struct{}), names: map[string]string{}, appended: map[string]es.Commit{}, contents: map[string]string{}, faults: x.Faults}
	store, publisher := x.New()
	w.store, w.broker = store, &record{Publisher: publisher}
	for _, p := range x.Processes {
		w.processes = append(w.processes, &process{world: w, Process: p, turn: make(chan Fault), seen: sha256.New(), told: Told{Crashed: true}})
	}
	return w
}

// start lets the next process come to its first call.
func (w *world) start(ctx context.Context) {
	p := w.processes[w.begun]
	w.begun++
	go func() {
		defer func() { p.gone = true; w.back <- struct{}{} }()
		err := p.Run(context.WithValue(ctx, processKey{}, p), exploredStore{p}, exploredPublisher{p})
		p.told = Told{Err: err}
	}()
	w.turnEnds(p)
}

// turnEnds waits until a process is at its next call, or gone.
func (w *world) turnEnds(p *process) {
	<-w.back
	w.arrived = p
	if p.gone {
		w.arrived = nil
	}
}

// crash ends what still runs.
func (w *world) crash(ctx context.Context) {
	for i, p := range w.processes[:w.begun] {
		if !p.gone {
			w.take(ctx, choice{process: int8(i), fault: CrashBefore})
		}
	}
}

func (w *world) running() (n int) {
	for _, p := range w.processes {
		if !p.gone {
			n++
		}
	}
	return n
}

// disturbances returns the faults that may meet the process that has just come to a call.
func (w *world) disturbances() []choice {
	if w.arrived == nil || w.faults == 0 {
		return nil
	}
	i := int8(slices.Index(w.processes, w.arrived))
	if w.arrived.read {
		return []choice{{process: i, fault: LoseBefore}}
	}
	return []choice{{process: i, fault: Refuse}, {process: i, fault: late}}
}

// choices returns all that can happen next without a fault.
func (w *world) choices() (all []choice) {
	for i, p := range w.processes {
		if !p.gone {
			all = append(all, choice{process: int8(i)})
		}
	}
	for i := range w.late {
		all = append(all, choice{process: -1, late: int8(i)})
	}
	return all
}

// take makes one step. All processes have started before the first one, but for disturbances of those
// that have.
func (w *world) take(ctx context.Context, c choice) {
	for w.begun < len(w.processes) && (c.fault == None || int(c.process) >= w.begun) {
		w.start(ctx)
	}
	if c.process < 0 {
		l := w.late[c.late]
		w.late = slices.Delete(w.late, int(c.late), int(c.late)+1)
		err := l.land(context.Background())
		w.arrived = nil
		w.tell("%s lands: %s", w.words(l.call), word(err))
		return
	}
	p := w.processes[c.process]
	w.tell("%s: %s", p.Name, w.words(p.call))
	if c.fault != None {
		w.faults--
	}
	at := len(w.trace) - 1
	p.turn <- c.fault
	w.turnEnds(p)
	if w.traced && p.gone && !p.told.Crashed {
		w.trace[at] += "; it returns " + cmp.Or(w.plain(p.told.Err), "success")
	}
}

// tell adds a line to the trace, and more adds to the last one, if there is one.
func (w *world) tell(format string, args ...any) {
	if w.traced {
		w.trace = append(w.trace, fmt.Sprintf(format, args...))
	}
}

func (w *world) more(format string, args ...any) {
	if w.traced {
		w.trace[len(w.trace)-1] += fmt.Sprintf(format, args...)
	}
}

// words returns a call in words that are the same in each run.
func (w *world) words(c Call) string {
	if !w.traced {
		return ""
	}
	s := string(c.Op)
	if c.Stream != (es.StreamID{}) {
		s += " " + c.Stream.String()
	}
	if c.Commit.Version > 0 {
		s += fmt.Sprintf("@%d (%s)", c.Commit.Version, w.name(c.Commit))
	}
	return s
}

// name returns what a commit is called, in every run alike.
func (w *world) name(c es.Commit) string {
	if name, ok := w.names[c.ID]; ok {
		return name
	}
	return w.called(c.ID)
}

// contentOf returns a digest of what is in a commit, but for its times and IDs. It is that of
// the commit that was appended, whatever has become of it.
func (w *world) contentOf(c es.Commit) string {
	content, ok := w.contents[c.ID]
	if ok {
		return content
	}
	if first, ok := w.appended[c.ID]; ok {
		c = first
	}
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%q %d %q %q %q", w.name(c), c.Version, c.Command, w.names[c.Replaces], c.Events)
	for _, d := range c.Done {
		_, _ = fmt.Fprintf(h, "%q %d %d", d.Command, d.Fingerprint, d.Version)
	}
	if c.State != nil {
		_, _ = fmt.Fprintf(h, "%q %q", c.State.Schema, c.State.Data)
	}
	w.contents[c.ID] = string(h.Sum(nil))
	return w.contents[c.ID]
}

// plain returns the text of an error, with names in the place of IDs.
func (w *world) plain(err error) string {
	if err == nil {
		return ""
	}
	return w.called(strings.ReplaceAll(err.Error(), "\n", " "))
}

// called returns a text with names in the place of IDs.
func (w *world) called(text string) string {
	for id, name := range w.names {
		text = strings.ReplaceAll(text, id, name)
	}
	return text
}

// state returns a digest of everything that decides what can follow, or, at an end, what is checked.
func (w *world) state(ctx context.Context, more func() string, end bool) (sum digest) {
	h := sha256.New()
	put := func(parts ...string) {
		for _, p := range parts {
			_ = binary.Write(h, binary.BigEndian, uint32(len(p)))
			h.Write([]byte(p))
		}
	}
	for _, p := range w.processes {
		if p.gone || end {
			put(fmt.Sprint(p.told.Crashed), w.plain(p.told.Err))
		} else {
			h.Write(p.seen.Sum(nil))
		}
	}
	for _, s := range w.streams {
		for c, err := range w.store.Load(ctx, s, 0) {
			put(s.String(), fmt.Sprint(c.Version, c.Status), w.contentOf(c), word(err))
		}
	}
	put("published")
	for _, c := range w.broker.all() {
		put(w.contentOf(c))
	}
	put("late")
	on := make([]string, len(w.late))
	for i, l := range w.late {
		on[i] = string(l.call.Op) + w.contentOf(l.call.Commit)
	}
	slices.Sort(on)
	put(on...)
	if !end {
		put(fmt.Sprint(w.faults))
	}
	if more != nil {
		put(more())
	}
	copy(sum[:], h.Sum(nil))
	return sum
}

func (w *world) end() *End {
	e := &End{Store: w.store, Publisher: w.broker, world: w}
	for _, p := range w.processes {
		e.Told = append(e.Told, p.told)
	}
	return e
}

// record is a publisher that remembers.
type record struct {
	es.Publisher
	taken []es.Commit
}

func (r *record) Publish(ctx context.Context, c es.Commit) error {
	err := r.Publisher.Publish(ctx, c)
	if err == nil {
		r.taken = append(r.taken, c.Clone())
	}
	return err
}

func (r *record) all() []es.Commit {
	if p, ok := r.Publisher.(interface{ Published() []es.Commit }); ok {
		return p.Published()
	}
	return r.taken
}

// step is one call of a process: it waits for its turn and does what its fault says.
func (p *process) step(op Op, stream es.StreamID, c es.Commit, read bool, do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if stream != (es.StreamID{}) && !slices.Contains(p.streams, stream) {
			p.streams = append(p.streams, stream)
			slices.SortFunc(p.streams, func(a, b es.StreamID) int { return cmp.Compare(a.String(), b.String()) })
		}
		if _, ok := p.names[c.ID]; !ok && op == Append {
			p.made++
			p.names[c.ID] = fmt.Sprintf("%s's %d", p.Name, p.made)
			p.appended[c.ID] = c
		}
		p.call, p.read = Call{Op: op, Stream: stream, Commit: c}, read
		p.back <- struct{}{}
		fault := <-p.turn
		var err error
		switch fault {
		case CrashBefore:
			p.more(": crashes")
			runtime.Goexit()
		case Refuse:
			err = fmt.Errorf("%s: %w", op, es.ErrRefused)
		case LoseBefore:
			err = fmt.Errorf("%s: %w", op, errLost)
		case late:
			p.late = append(p.late, onItsWay{p.call, do})
			err = fmt.Errorf("%s: %w", op, errLost)
		default:
			p.turns = true
			err = do(ctx)
			p.turns = false
		}
		p.saw(word(err))
		switch {
		case fault == late:
			p.more(": no answer")
		case !read || err != nil:
			p.more(": %s", word(err))
		}
		return err
	}
}

type processKey struct{}

// Step makes a call of anything else one for which a process waits until it is its turn, and
// which meets faults as those of the store and the publisher do: of views, or of a queue. The
// context must be that of the process, or come from it. Do makes the call and returns what the
// process knows afterwards, in words; if it is a write, it may come late.
func Step(ctx context.Context, what string, write bool, do func(context.Context) (answer string, err error)) error {
	p, ok := ctx.Value(processKey{}).(*process)
	if !ok {
		return fmt.Errorf("step %s: %w: the context is not that of a process of an explorer", what, es.ErrInvalid)
	}
	return p.step(Op(what), es.StreamID{}, es.Commit{}, !write, func(ctx context.Context) error {
		answer, err := do(ctx)
		if p.turns {
			p.saw(answer)
			p.more(": %s", answer)
		}
		return err
	})(ctx)
}

// saw adds an answer to what the process knows.
func (p *process) saw(what string) {
	_ = binary.Write(p.seen, binary.BigEndian, uint32(len(what)))
	p.seen.Write([]byte(what))
}

func word(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, es.ErrConflict):
		return "conflict"
	case errors.Is(err, es.ErrRefused):
		return "refused"
	}
	return "unknown"
}

type exploredStore struct{ *process }

func (s exploredStore) write(ctx context.Context, op Op, c es.Commit, send func(context.Context, es.Commit) error) error {
	c = c.Clone()
	return s.step(op, c.Stream, c, false, func(ctx context.Context) error { return send(context.WithoutCancel(ctx), c) })(ctx)
}

func (s exploredStore) Append(ctx context.Context, c es.Commit) error {
	return s.write(ctx, Append, c, s.store.Append)
}

func (s exploredStore) Claim(ctx context.Context, c es.Commit) error {
	return s.write(ctx, Claim, c, s.store.Claim)
}

func (s exploredStore) Settle(ctx context.Context, c es.Commit) error {
	return s.write(ctx, Settle, c, s.store.Settle)
}

func (s exploredStore) Revoke(ctx context.Context, c es.Commit) error {
	return s.write(ctx, Revoke, c, s.store.Revoke)
}

// read takes all that there is in one step, and gives it away afterwards.
func (s exploredStore) read(ctx context.Context, op Op, stream es.StreamID, commits iter.Seq2[es.Commit, error]) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		var all []es.Commit
		err := s.step(op, stream, es.Commit{}, true, func(context.Context) error {
			for c, err := range commits {
				if err != nil {
					return err
				}
				all = append(all, c)
			}
			return nil
		})(ctx)
		for i, c := range all {
			s.saw(fmt.Sprint(c.Stream, c.Version, c.Status, s.name(c)))
			if i == 0 || op == Load {
				s.more(" %d %s (%s)", c.Version, c.Status, s.name(c))
			}
			if !yield(c, nil) {
				return
			}
		}
		if err != nil {
			yield(es.Commit{}, err)
		}
	}
}

func (s exploredStore) Load(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	return s.read(ctx, Load, stream, s.store.Load(ctx, stream, after))
}

func (s exploredStore) LoadBack(ctx context.Context, stream es.StreamID, hint int) iter.Seq2[es.Commit, error] {
	return s.read(ctx, LoadBack, stream, s.store.LoadBack(ctx, stream, hint))
}

func (s exploredStore) Pending(ctx context.Context, before time.Time) iter.Seq2[es.Commit, error] {
	return s.read(ctx, Pending, es.StreamID{}, s.store.Pending(ctx, before))
}

type exploredPublisher struct{ *process }

func (p exploredPublisher) Publish(ctx context.Context, c es.Commit) error {
	c = c.Clone()
	return p.step(Publish, c.Stream, c, false, func(ctx context.Context) error {
		return p.broker.Publish(context.WithoutCancel(ctx), c)
	})(ctx)
}
