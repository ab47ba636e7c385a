package peers

import (
	"context"
	"sync"
	"time"

	eh "github.com/looplab/eventhorizon"
	"github.com/looplab/eventhorizon/aggregatestore/events"
	"github.com/looplab/eventhorizon/commandhandler/aggregate"
	"github.com/looplab/eventhorizon/eventstore/memory"
	"github.com/looplab/eventhorizon/uuid"
)

// eventhorizonLibrary encodes nothing in memory, and has no store there that does; it
// copies each event by reflection, both when it is saved and when it is loaded.
var eventhorizonLibrary = Library{
	Name:  "eventhorizon",
	Keeps: "copies of values",
	Org: func() (Store[Org], error) {
		return openEventhorizon(eventhorizonOrgType, func(a eh.Aggregate) Org { return a.(*eventhorizonOrg).state })
	},
	Account: func() (Store[Account], error) {
		return openEventhorizon(eventhorizonAccountType, func(a eh.Aggregate) Account { return a.(*eventhorizonAccount).state })
	},
}

type eventhorizon[S any] struct {
	aggregate eh.AggregateType
	store     *events.AggregateStore
	handler   *aggregate.CommandHandler
	state     func(eh.Aggregate) S
}

func openEventhorizon[S any](aggregateType eh.AggregateType, state func(eh.Aggregate) S) (Store[S], error) {
	registerEventhorizon()
	memory, err := memory.NewEventStore()
	if err != nil {
		return nil, err
	}
	store, err := events.NewAggregateStore(memory)
	if err != nil {
		return nil, err
	}
	handler, err := aggregate.NewCommandHandler(aggregateType, store)
	if err != nil {
		return nil, err
	}
	return &eventhorizon[S]{aggregateType, store, handler, state}, nil
}

func (h *eventhorizon[S]) Create(ctx context.Context, id string) error {
	u, err := uuid.Parse(id)
	if err != nil {
		return err
	}
	return h.handler.HandleCommand(ctx, &eventhorizonCommand{Type: h.aggregate, ID: u})
}

func (h *eventhorizon[S]) Command(ctx context.Context, id string, i int) error {
	u, err := uuid.Parse(id)
	if err != nil {
		return err
	}
	return h.handler.HandleCommand(ctx, &eventhorizonCommand{Type: h.aggregate, ID: u, I: i})
}

func (h *eventhorizon[S]) Fill(ctx context.Context, id string, n, each int) error {
	u, err := uuid.Parse(id)
	if err != nil {
		return err
	}
	a, err := eh.CreateAggregate(h.aggregate, u)
	if err != nil {
		return err
	}
	for i := range n {
		if err := a.(eventhorizonFiller).add(i, true); err != nil {
			return err
		}
		if (i+1)%each == 0 || i == n-1 {
			if err := h.store.Save(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *eventhorizon[S]) Replay(ctx context.Context, id string) (S, error) {
	var state S
	u, err := uuid.Parse(id)
	if err != nil {
		return state, err
	}
	a, err := h.store.Load(ctx, h.aggregate, u)
	if err != nil {
		return state, err
	}
	return h.state(a), nil
}

// eventhorizonFiller adds the event of an index without deciding.
type eventhorizonFiller interface{ add(i int, own bool) error }

const (
	eventhorizonOrgType     = eh.AggregateType("org")
	eventhorizonAccountType = eh.AggregateType("account")
)

// registerEventhorizon tells the library, which has one registry for all, of the types.
var registerEventhorizon = sync.OnceFunc(func() {
	eh.RegisterAggregate(func(id uuid.UUID) eh.Aggregate {
		return &eventhorizonOrg{AggregateBase: events.NewAggregateBase(eventhorizonOrgType, id)}
	})
	eh.RegisterAggregate(func(id uuid.UUID) eh.Aggregate {
		return &eventhorizonAccount{AggregateBase: events.NewAggregateBase(eventhorizonAccountType, id)}
	})
	eh.RegisterEventData(orgCreated, func() eh.EventData { return &eventhorizonProfile{} })
	eh.RegisterEventData(orgUpdated, func() eh.EventData { return &eventhorizonProfile{} })
	eh.RegisterEventData(accountOpened, func() eh.EventData { return &eventhorizonOpened{} })
	eh.RegisterEventData(deposited, func() eh.EventData { return &eventhorizonDeposited{} })
})

// eventhorizonCommand asks for the event of index I.
type eventhorizonCommand struct {
	Type eh.AggregateType
	ID   uuid.UUID
	I    int `eh:"optional"`
}

func (c *eventhorizonCommand) AggregateID() uuid.UUID          { return c.ID }
func (c *eventhorizonCommand) AggregateType() eh.AggregateType { return c.Type }
func (c *eventhorizonCommand) CommandType() eh.CommandType     { return "add" }

type (
	eventhorizonProfile Profile
	eventhorizonOpened  struct{ Owner string }

	eventhorizonDeposited struct{ Amount int }
)

type eventhorizonOrg struct {
	*events.AggregateBase
	state Org
}

func (o *eventhorizonOrg) HandleCommand(_ context.Context, cmd eh.Command) error {
	i := cmd.(*eventhorizonCommand).I
	err := o.state.create()
	if i > 0 {
		err = o.state.update(profile(i))
	}
	if err != nil {
		return err
	}
	return o.add(i, false)
}

func (o *eventhorizonOrg) add(i int, own bool) error {
	name, p := eh.EventType(orgUpdated), eventhorizonProfile(profileOf(i, own))
	if i == 0 {
		name = orgCreated
	}
	o.AppendEvent(name, &p, time.Now())
	return nil
}

func (o *eventhorizonOrg) ApplyEvent(_ context.Context, event eh.Event) error {
	if e, ok := event.Data().(*eventhorizonProfile); ok {
		o.state = Org{Exists: true, Profile: Profile(*e)}
	}
	return nil
}

type eventhorizonAccount struct {
	*events.AggregateBase
	state Account
}

func (a *eventhorizonAccount) HandleCommand(_ context.Context, cmd eh.Command) error {
	i := cmd.(*eventhorizonCommand).I
	err := a.state.open()
	if i > 0 {
		err = a.state.deposit(amount(i))
	}
	if err != nil {
		return err
	}
	return a.add(i, false)
}

func (a *eventhorizonAccount) add(i int, _ bool) error {
	if i == 0 {
		a.AppendEvent(accountOpened, &eventhorizonOpened{owner}, time.Now())
	} else {
		a.AppendEvent(deposited, &eventhorizonDeposited{amount(i)}, time.Now())
	}
	return nil
}

func (a *eventhorizonAccount) ApplyEvent(_ context.Context, event eh.Event) error {
	switch e := event.Data().(type) {
	case *eventhorizonOpened:
		a.state.Owner = e.Owner
	case *eventhorizonDeposited:
		a.state.Balance += e.Amount
		a.state.Deposits++
	}
	return nil
}
