package peers

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/terraskye/eventsourcing"
	"github.com/terraskye/eventsourcing/eventstore/memory"
)

var terraskyeLibrary = Library{
	Name:  "terraskye",
	Keeps: "references",
	Org: func() (Store[Org], error) {
		store := memory.NewMemoryStore(100)
		t := &terraskye[Org]{store: store, evolve: evolveOrg, event: terraskyeOrgEvent}
		t.handle = eventsourcing.NewCommandHandler(store, func() Org { return Org{} }, t.evolve,
			func(o Org, c terraskyeCommand) ([]eventsourcing.Event, error) {
				err := o.create()
				if c.i > 0 {
					err = o.update(profile(c.i))
				}
				if err != nil {
					return nil, err
				}
				return []eventsourcing.Event{t.event(c.id, c.i, false)}, nil
			})
		return t, nil
	},
	Account: func() (Store[Account], error) {
		store := memory.NewMemoryStore(100)
		t := &terraskye[Account]{store: store, evolve: evolveAccount, event: terraskyeAccountEvent}
		t.handle = eventsourcing.NewCommandHandler(store, func() Account { return Account{} }, t.evolve,
			func(a Account, c terraskyeCommand) ([]eventsourcing.Event, error) {
				err := a.open()
				if c.i > 0 {
					err = a.deposit(amount(c.i))
				}
				if err != nil {
					return nil, err
				}
				return []eventsourcing.Event{t.event(c.id, c.i, false)}, nil
			})
		return t, nil
	},
}

type terraskye[S any] struct {
	store  eventsourcing.EventStore
	evolve func(S, *eventsourcing.Envelope) S
	event  func(id string, i int, own bool) eventsourcing.Event
	handle eventsourcing.CommandHandler[terraskyeCommand]
}

// terraskyeCommand asks for the event of index i.
type terraskyeCommand struct {
	id string
	i  int
}

func (c terraskyeCommand) AggregateID() string { return c.id }

func (t *terraskye[S]) Create(ctx context.Context, id string) error {
	return t.Command(ctx, id, 0)
}

func (t *terraskye[S]) Command(ctx context.Context, id string, i int) error {
	_, err := t.handle(ctx, terraskyeCommand{id, i})
	return err
}

// Fill makes envelopes as the command handler does, which would load the stream each
// time.
func (t *terraskye[S]) Fill(ctx context.Context, id string, n, each int) error {
	for first := 0; first < n; first += each {
		envelopes := make([]eventsourcing.Envelope, min(each, n-first))
		for k := range envelopes {
			envelopes[k] = eventsourcing.Envelope{
				EventID: uuid.New(), StreamID: id, Event: t.event(id, first+k, true), Metadata: map[string]any{},
				Version: uint64(first + k + 1), OccurredAt: time.Now(),
			}
		}
		if _, err := t.store.Save(ctx, envelopes, eventsourcing.Revision(first)); err != nil {
			return err
		}
	}
	return nil
}

// Replay is the loop of the command handler: the library has no load apart from it.
func (t *terraskye[S]) Replay(ctx context.Context, id string) (S, error) {
	var state S
	events, err := t.store.LoadStream(ctx, id)
	if err != nil {
		return state, err
	}
	for events.Next(ctx) {
		state = t.evolve(state, events.Value())
	}
	return state, events.Err()
}

type terraskyeCreated struct {
	ID string
	Profile
}

type terraskyeUpdated struct {
	ID string
	Profile
}

func (e *terraskyeCreated) AggregateID() string { return e.ID }
func (e *terraskyeUpdated) AggregateID() string { return e.ID }
func (*terraskyeCreated) EventType() string     { return orgCreated }
func (*terraskyeUpdated) EventType() string     { return orgUpdated }

func terraskyeOrgEvent(id string, i int, own bool) eventsourcing.Event {
	if i == 0 {
		return &terraskyeCreated{id, profileOf(i, own)}
	}
	return &terraskyeUpdated{id, profileOf(i, own)}
}

func evolveOrg(o Org, envelope *eventsourcing.Envelope) Org {
	switch e := envelope.Event.(type) {
	case *terraskyeCreated:
		o = Org{Exists: true, Profile: e.Profile}
	case *terraskyeUpdated:
		o = Org{Exists: true, Profile: e.Profile}
	}
	return o
}

type terraskyeOpened struct {
	ID    string
	Owner string
}

type terraskyeDeposited struct {
	ID     string
	Amount int
}

func (e *terraskyeOpened) AggregateID() string    { return e.ID }
func (e *terraskyeDeposited) AggregateID() string { return e.ID }
func (*terraskyeOpened) EventType() string        { return accountOpened }
func (*terraskyeDeposited) EventType() string     { return deposited }

func terraskyeAccountEvent(id string, i int, _ bool) eventsourcing.Event {
	if i == 0 {
		return &terraskyeOpened{id, owner}
	}
	return &terraskyeDeposited{id, amount(i)}
}

func evolveAccount(a Account, envelope *eventsourcing.Envelope) Account {
	switch e := envelope.Event.(type) {
	case *terraskyeOpened:
		a.Owner = e.Owner
	case *terraskyeDeposited:
		a.Balance += e.Amount
		a.Deposits++
	}
	return a
}
