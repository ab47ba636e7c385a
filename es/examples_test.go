package es_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

// The examples share a task list: events of two types behind a sealed interface.

type TaskEvent interface{ taskEvent() }

type Added struct{ Title string }

type Finished struct{ Title string }

func (Added) taskEvent()    {}
func (Finished) taskEvent() {}

// Tasks is the state: the open tasks, in order.
type Tasks struct{ Open []string }

func foldTasks(s Tasks, e TaskEvent) Tasks {
	switch e := e.(type) {
	case Added:
		return Tasks{append(s.Open[:len(s.Open):len(s.Open)], e.Title)}
	case Finished:
		var open []string
		for _, title := range s.Open {
			if title != e.Title {
				open = append(open, title)
			}
		}
		return Tasks{open}
	}
	return s
}

var tasks = es.Aggregate[Tasks, TaskEvent]{
	Category: "tasks",
	Fold:     foldTasks,
	Events: es.JSON(map[string]TaskEvent{
		"task.added":    Added{},
		"task.finished": Finished{},
	}),
}

func add(titles ...string) func(Tasks) ([]TaskEvent, error) {
	return func(Tasks) (events []TaskEvent, err error) {
		for _, title := range titles {
			events = append(events, Added{title})
		}
		return events, nil
	}
}

var errNoSuchTask = errors.New("no such task")

func finish(title string) func(Tasks) ([]TaskEvent, error) {
	return func(s Tasks) ([]TaskEvent, error) {
		for _, open := range s.Open {
			if open == title {
				return []TaskEvent{Finished{title}}, nil
			}
		}
		return nil, errNoSuchTask
	}
}

// brokerDown is a publisher that is certain not to have published.
type brokerDown struct{}

func (brokerDown) Publish(context.Context, es.Commit) error {
	return fmt.Errorf("broker is down: %w", es.ErrRefused)
}

// brokerSilent is a publisher whose answers get lost.
type brokerSilent struct{}

func (brokerSilent) Publish(context.Context, es.Commit) error { return errors.New("no answer") }

// printer is a publisher that prints.
type printer struct{}

func (printer) Publish(_ context.Context, c es.Commit) error {
	for i, e := range c.Events {
		fmt.Printf("published %s@%d %s %s\n", c.Stream, c.Version+uint64(i), e.Type, e.Data)
	}
	return nil
}

func ExampleExecute() {
	ctx := context.Background()
	journal := &es.Journal{Store: &memory.Store{}, Publisher: printer{}}

	result, err := es.Execute(ctx, journal, &tasks, "today", add("read", "write"))
	fmt.Println(result.Version, result.Status, err)
	result, err = es.Execute(ctx, journal, &tasks, "today", finish("read"))
	fmt.Println(result.Version, result.Status, err)
	_, err = es.Execute(ctx, journal, &tasks, "today", finish("sleep"))
	fmt.Println(errors.Is(err, errNoSuchTask))
	// Output:
	// published tasks/today@1 task.added {"Title":"read"}
	// published tasks/today@2 task.added {"Title":"write"}
	// 2 settled <nil>
	// published tasks/today@3 task.finished {"Title":"read"}
	// 3 settled <nil>
	// true
}

// The broker refuses: the command was not accepted, and nothing of it is left.
func ExampleExecute_refused() {
	ctx := context.Background()
	journal := &es.Journal{Store: &memory.Store{}, Publisher: brokerDown{}}

	_, err := es.Execute(ctx, journal, &tasks, "today", add("read"))
	fmt.Println(errors.Is(err, es.ErrRefused))
	state, version, err := es.Load(ctx, journal, &tasks, "today")
	fmt.Println(state, version, err)
	// Output:
	// true
	// {[]} 0 <nil>
}

// No answer of the broker: the command is accepted, and will be published.
func ExampleJournal_Relay() {
	ctx := context.Background()
	store := &memory.Store{}
	journal := &es.Journal{Store: store, Publisher: brokerSilent{}}
	result, err := es.Execute(ctx, journal, &tasks, "today", add("read"))
	fmt.Println(result.Status, err)

	journal = &es.Journal{Store: store, Publisher: printer{}, Grace: -1}
	n, err := journal.Relay(ctx)
	fmt.Println(n, err)
	// Output:
	// pending <nil>
	// published tasks/today@1 task.added {"Title":"read"}
	// 1 <nil>
}

// A person decides that a commit stays, although the broker will never take it.
func ExampleJournal_Settle() {
	ctx := context.Background()
	store := &memory.Store{}
	silent := &es.Journal{Store: store, Publisher: brokerSilent{}}
	_, _ = es.Execute(ctx, silent, &tasks, "today", add("read"))

	journal := &es.Journal{Store: store, Publisher: brokerDown{}, Grace: -1}
	_, err := es.Execute(ctx, journal, &tasks, "today", add("write"))
	blocked, ok := errors.AsType[*es.BlockedError](err)
	fmt.Println(ok, blocked.Stream, blocked.Version)

	err = journal.Settle(ctx, blocked.Stream, blocked.ID, "too large for the broker, see incident 17")
	fmt.Println(err)
	state, version, _ := es.Load(ctx, journal, &tasks, "today")
	fmt.Println(state, version)
	// Output:
	// true tasks/today 1
	// <nil>
	// {[read]} 1
}

func ExampleJournal_Commit() {
	ctx := context.Background()
	journal := &es.Journal{Store: &memory.Store{}, Publisher: printer{}}
	result, err := journal.Commit(ctx, es.Commit{
		Stream:  es.StreamID{Category: "tasks", ID: "imported"},
		Command: "import line 1",
		Events:  []es.Event{{Type: "task.added", Data: `{"Title":"read"}`}},
	})
	fmt.Println(result.Version, result.Status, err)
	// Output:
	// published tasks/imported@1 task.added {"Title":"read"}
	// 1 settled <nil>
}

func ExampleNamed() {
	ctx := context.Background()
	journal := &es.Journal{Store: &memory.Store{}}
	for range 2 {
		result, err := es.Execute(ctx, journal, &tasks, "today", add("read"), es.Named("request-7", []byte("add read")))
		fmt.Println(result.Version, result.Repeated, err)
	}
	_, err := es.Execute(ctx, journal, &tasks, "today", add("write"), es.Named("request-7", []byte("add write")))
	fmt.Println(errors.Is(err, es.ErrNameReused))
	// Output:
	// 1 false <nil>
	// 1 true <nil>
	// true
}

func ExampleIfVersion() {
	ctx := context.Background()
	journal := &es.Journal{Store: &memory.Store{}}
	_, err := es.Execute(ctx, journal, &tasks, "today", add("read"), es.IfVersion(0))
	fmt.Println(err)
	_, err = es.Execute(ctx, journal, &tasks, "today", add("write"), es.IfVersion(0))
	fmt.Println(err)
	// Output:
	// <nil>
	// stream tasks/today is at version 1, not at 0
}

func ExampleVersionError() {
	ctx := context.Background()
	journal := &es.Journal{Store: &memory.Store{}}
	_, err := es.Execute(ctx, journal, &tasks, "today", add("read"), es.IfVersion(3))
	if mismatch, ok := errors.AsType[*es.VersionError](err); ok {
		fmt.Println("want", mismatch.Want, "have", mismatch.Have)
	}
	// Output: want 3 have 0
}

// storeSilent is a store whose answers to Append get lost on the way back.
type storeSilent struct{ *memory.Store }

func (s storeSilent) Append(ctx context.Context, c es.Commit) error {
	_ = s.Store.Append(ctx, c)
	return errors.New("no answer")
}

// After an unknown outcome the same command under the same name finds out.
func ExampleUnknownError() {
	ctx := context.Background()
	store := &memory.Store{}
	command := es.Named("request-7", nil)

	broken := &es.Journal{Store: storeSilent{store}}
	_, err := es.Execute(ctx, broken, &tasks, "today", add("read"), command)
	_, unknown := errors.AsType[*es.UnknownError](err)
	fmt.Println(unknown)

	mended := &es.Journal{Store: store}
	result, err := es.Execute(ctx, mended, &tasks, "today", add("read"), command)
	fmt.Println(result.Version, result.Repeated, err)
	// Output:
	// true
	// 1 true <nil>
}

func ExampleLoad() {
	ctx := context.Background()
	journal := &es.Journal{Store: &memory.Store{}}
	_, _ = es.Execute(ctx, journal, &tasks, "today", add("read", "write"))
	state, version, err := es.Load(ctx, journal, &tasks, "today")
	fmt.Println(state.Open, version, err)
	// Output: [read write] 2 <nil>
}

func ExampleHistory() {
	ctx := context.Background()
	journal := &es.Journal{Store: &memory.Store{}}
	_, _ = es.Execute(ctx, journal, &tasks, "today", add("read", "write"))
	_, _ = es.Execute(ctx, journal, &tasks, "today", finish("read"))
	for step, err := range es.History(ctx, journal, &tasks, "today") {
		fmt.Println(step.Version, step.Type, step.State.Open, err)
	}
	// Output:
	// 1 task.added [read] <nil>
	// 2 task.added [read write] <nil>
	// 3 task.finished [write] <nil>
}

func ExampleAggregate_Replay() {
	ctx := context.Background()
	store := &memory.Store{}
	journal := &es.Journal{Store: store}
	_, _ = es.Execute(ctx, journal, &tasks, "today", add("read", "write"))

	stream := es.StreamID{Category: "tasks", ID: "today"}
	state, version, err := tasks.Replay(store.Load(ctx, stream, 0))
	fmt.Println(state.Open, version, err)
	// Output: [read write] 2 <nil>
}

// With snapshots a command reads the newest commits only, however long the
// stream is.
func ExampleSnapshots() {
	long := tasks
	long.Snapshots = es.Snapshots[Tasks]{Schema: "tasks.1", Every: 4}

	ctx := context.Background()
	store := &memory.Store{}
	journal := &es.Journal{Store: store}
	for i := range 6 {
		_, _ = es.Execute(ctx, journal, &long, "today", add(fmt.Sprint("task ", i)))
	}
	for c := range store.Load(ctx, es.StreamID{Category: "tasks", ID: "today"}, 0) {
		fmt.Println(c.Version, c.State != nil)
	}
	// Output:
	// 1 false
	// 2 false
	// 3 false
	// 4 true
	// 5 false
	// 6 false
}

// An aggregate whose events say the whole state needs the latest one alone.
func ExampleAggregate_latestOnly() {
	type Moved struct{ X, Y int }
	position := es.Aggregate[Moved, Moved]{
		Category:   "position",
		Fold:       func(_ Moved, e Moved) Moved { return e },
		Events:     es.JSON(map[string]Moved{"position.moved": {}}),
		LatestOnly: true,
	}
	ctx := context.Background()
	journal := &es.Journal{Store: &memory.Store{}}
	for x := range 3 {
		_, _ = es.Execute(ctx, journal, &position, "ball", func(Moved) ([]Moved, error) { return []Moved{{x, 0}}, nil })
	}
	fmt.Println(es.Load(ctx, journal, &position, "ball"))
	// Output: {2 0} 3 <nil>
}

func ExampleJSON() {
	codec := es.JSON(map[string]TaskEvent{
		"task.added":    Added{},
		"task.finished": Finished{},
	})
	stored, err := codec.Encode(Added{"read"})
	fmt.Println(stored.Type, stored.Data, err)
	events, err := codec.Decode(nil, stored)
	fmt.Printf("%#v %v\n", events[0], err)
	_, err = codec.Decode(nil, es.Event{Type: "task.dropped"})
	fmt.Println(errors.Is(err, es.ErrUnknownEvent))
	// Output:
	// task.added {"Title":"read"} <nil>
	// es_test.Added{Title:"read"} <nil>
	// true
}

// Any library that has two functions like those of encoding/json will do.
func ExampleNewCodec() {
	codec := es.NewCodec(xml.Marshal, xml.Unmarshal, map[string]TaskEvent{
		"task.added":    Added{},
		"task.finished": Finished{},
	})
	stored, err := codec.Encode(Added{"read"})
	fmt.Println(stored.Type, stored.Data, err)
	events, err := codec.Decode(nil, stored)
	fmt.Printf("%#v %v\n", events[0], err)
	// Output:
	// task.added <Added><Title>read</Title></Added> <nil>
	// es_test.Added{Title:"read"} <nil>
}

func ExampleRename() {
	codec := es.JSON(map[string]TaskEvent{"task.added": Added{}}, es.Rename("todo.created", "task.added"))
	events, err := codec.Decode(nil, es.Event{Type: "todo.created", Data: `{"Title":"read"}`})
	fmt.Printf("%#v %v\n", events, err)
	// Output: []es_test.TaskEvent{es_test.Added{Title:"read"}} <nil>
}

// An event of old had several titles; today there is one event for each.
func ExampleUpcast() {
	split := es.Upcast{Type: "tasks.added", To: func(data []byte) (events []es.Event, err error) {
		var old struct{ Titles []string }
		if err := json.Unmarshal(data, &old); err != nil {
			return nil, err
		}
		for _, title := range old.Titles {
			data, err := json.Marshal(Added{title})
			if err != nil {
				return nil, err
			}
			events = append(events, es.Event{Type: "task.added", Data: string(data)})
		}
		return events, nil
	}}
	codec := es.JSON(map[string]TaskEvent{"task.added": Added{}}, split)
	events, err := codec.Decode(nil, es.Event{Type: "tasks.added", Data: `{"Titles":["read","write"]}`})
	fmt.Println(events, err)
	// Output: [{read} {write}] <nil>
}

func ExampleEventError() {
	ctx := context.Background()
	store := &memory.Store{}
	journal := &es.Journal{Store: store}
	_, _ = journal.Commit(ctx, es.Commit{
		Stream: es.StreamID{Category: "tasks", ID: "today"},
		Events: []es.Event{{Type: "task.dropped", Data: `{}`}},
	})
	_, _, err := es.Load(ctx, journal, &tasks, "today")
	event, _ := errors.AsType[*es.EventError](err)
	fmt.Println(event.Stream, event.Version, event.Type, errors.Is(err, es.ErrUnknownEvent))
	// Output: tasks/today 1 task.dropped true
}

func ExampleWithMeta() {
	ctx := es.WithMeta(context.Background(), map[string]string{"actor": "ada"})
	store := &memory.Store{}
	journal := &es.Journal{Store: store}
	_, _ = es.Execute(ctx, journal, &tasks, "today", add("read"))
	for c := range store.Load(ctx, es.StreamID{Category: "tasks", ID: "today"}, 0) {
		fmt.Println(c.Meta)
	}
	// Output: map[actor:ada]
}

func ExampleProjection() {
	ctx := context.Background()
	store, bus := &memory.Store{}, &memory.Bus{}
	counts := es.Projection[int, TaskEvent]{
		Category: "tasks",
		Fold: func(n int, e TaskEvent) int {
			if _, ok := e.(Added); ok {
				return n + 1
			}
			return n
		},
		Events: tasks.Events,
		Views:  &memory.Views[int]{},
		Store:  store,
	}
	bus.Subscribe("counts", counts.Handle)

	journal := &es.Journal{Store: store, Publisher: bus}
	_, _ = es.Execute(ctx, journal, &tasks, "today", add("read", "write"))
	_ = bus.Close(ctx) // waits for deliveries

	view, err := counts.Views.Get(ctx, es.StreamID{Category: "tasks", ID: "today"})
	fmt.Println(view.Value, view.Version, err)
	// Output: 2 2 <nil>
}

// Messages may come late, twice or not at all: the view is right all the same.
func ExampleProjection_Handle() {
	ctx := context.Background()
	store := &memory.Store{}
	journal := &es.Journal{Store: store}
	for _, title := range []string{"read", "write", "sleep"} {
		_, _ = es.Execute(ctx, journal, &tasks, "today", add(title))
	}
	stream := es.StreamID{Category: "tasks", ID: "today"}
	var commits []es.Commit
	for c := range store.Load(ctx, stream, 0) {
		commits = append(commits, c)
	}
	open := es.Projection[Tasks, TaskEvent]{
		Category: "tasks", Fold: foldTasks, Events: tasks.Events, Views: &memory.Views[Tasks]{}, Store: store,
	}
	for _, i := range []int{0, 2, 2, 0} { // the second never comes
		err := open.Handle(ctx, commits[i])
		view, _ := open.Views.Get(ctx, stream)
		fmt.Println(view.Value.Open, view.Version, err)
	}
	// Output:
	// [read] 1 <nil>
	// [read write sleep] 3 <nil>
	// [read write sleep] 3 <nil>
	// [read write sleep] 3 <nil>
}

func ExampleProjection_Rebuild() {
	ctx := context.Background()
	store := &memory.Store{}
	journal := &es.Journal{Store: store}
	for _, id := range []string{"monday", "tuesday"} {
		_, _ = es.Execute(ctx, journal, &tasks, id, add("read", "write"))
	}
	open := es.Projection[Tasks, TaskEvent]{
		Category: "tasks", Fold: foldTasks, Events: tasks.Events, Views: &memory.Views[Tasks]{}, Store: store,
	}
	var last es.RebuildProgress
	err := open.Rebuild(ctx, es.RebuildOptions{Progress: func(p es.RebuildProgress) { last = p }})
	fmt.Println(last.Streams, last.Events, err)
	// Output: 2 4 <nil>
}

// Whoever adds a task gets a reward, on a stream of its own, once.
func ExampleReactor() {
	ctx := context.Background()
	store := &memory.Store{}
	journal := &es.Journal{Store: store, Publisher: printer{}}
	reward := es.Reactor[TaskEvent]{
		Name:     "reward",
		Category: "tasks",
		Events:   tasks.Events,
		React: func(ctx context.Context, e es.Recorded[TaskEvent], command string) error {
			if _, ok := e.Event.(Finished); !ok {
				return nil
			}
			_, err := es.Execute(ctx, journal, &tasks, "rewards", add("eat ice cream"), es.Named(command, nil))
			return err
		},
	}
	_, _ = es.Execute(ctx, journal, &tasks, "today", add("read"))
	_, _ = es.Execute(ctx, journal, &tasks, "today", finish("read"))
	for range 2 { // every message comes twice
		for c := range store.Load(ctx, es.StreamID{Category: "tasks", ID: "today"}, 0) {
			if err := reward.Handle(ctx, c); err != nil {
				fmt.Println(err)
			}
		}
	}
	// Output:
	// published tasks/today@1 task.added {"Title":"read"}
	// published tasks/today@2 task.finished {"Title":"read"}
	// published tasks/rewards@1 task.added {"Title":"eat ice cream"}
}

func ExampleStreamID_Validate() {
	fmt.Println(es.StreamID{Category: "org", ID: "42"}.Validate())
	fmt.Println(es.StreamID{Category: "org"}.Validate())
	// Output:
	// <nil>
	// stream "org/": invalid: ID is empty
}

func ExampleCommit_Last() {
	c := es.Commit{Version: 5, Events: make([]es.Event, 3)}
	fmt.Println(c.Last())
	// Output: 7
}

func ExampleGapError() {
	ctx := context.Background()
	open := es.Projection[Tasks, TaskEvent]{
		Category: "tasks", Fold: foldTasks, Events: tasks.Events,
		Views: &memory.Views[Tasks]{}, Store: &memory.Store{}, // a store that lacks what was delivered
	}
	err := open.Handle(ctx, es.Commit{
		Stream: es.StreamID{Category: "tasks", ID: "today"}, Version: 4, ID: "c4",
		Events: []es.Event{{Type: "task.added", Data: `{}`}},
	})
	gap, ok := errors.AsType[*es.GapError](err)
	fmt.Println(ok, gap)
	// Output: true stream tasks/today has a gap: it ends before version 1
}

// What became of a command is logged, without a word of what was said. What goes
// well is logged for debugging alone.
func ExampleJournal_logger() {
	plain := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "commit" || a.Key == "ms" { // they differ in every run
				return slog.Attr{}
			}
			return a
		},
	}))
	journal := &es.Journal{Store: &memory.Store{}, Publisher: brokerDown{}, Timeout: time.Second, Logger: plain}
	_, _ = es.Execute(context.Background(), journal, &tasks, "today", add("a secret"))
	// Output: level=WARN msg=commit stream=tasks/today version=1 outcome=refused attempt=1 events=1 error="publish tasks/today@1: broker is down: refused"
}
