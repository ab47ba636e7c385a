package peers

import (
	"context"
	"sync"

	"github.com/hallgren/eventsourcing"
	"github.com/hallgren/eventsourcing/aggregate"
	"github.com/hallgren/eventsourcing/eventstore/memory"
)

var hallgrenLibrary = Library{
	Name:  "hallgren",
	Keeps: "JSON",
	Org: func() (Store[Org], error) {
		registerHallgren()
		store := memory.Create()
		return &roots[Org, *hallgrenOrg]{
			load: func(ctx context.Context, id string) (*hallgrenOrg, error) {
				o := new(hallgrenOrg)
				return o, aggregate.Load(ctx, store, id, o)
			},
			save: func(_ context.Context, o *hallgrenOrg) error { return aggregate.Save(store, o) },
			first: func(id string, own bool) (*hallgrenOrg, error) {
				o := new(hallgrenOrg)
				if err := o.SetID(id); err != nil {
					return nil, err
				}
				if err := o.state.create(); err != nil {
					return nil, err
				}
				p := profileOf(0, own)
				aggregate.TrackChange(o, (*hallgrenCreated)(&p))
				return o, nil
			},
			next: func(o *hallgrenOrg, i int, own bool) error {
				p := profileOf(i, own)
				if err := o.state.update(p); err != nil {
					return err
				}
				aggregate.TrackChange(o, (*hallgrenUpdated)(&p))
				return nil
			},
			state: func(o *hallgrenOrg) Org { return o.state },
		}, nil
	},
	Account: func() (Store[Account], error) {
		registerHallgren()
		store := memory.Create()
		return &roots[Account, *hallgrenAccount]{
			load: func(ctx context.Context, id string) (*hallgrenAccount, error) {
				a := new(hallgrenAccount)
				return a, aggregate.Load(ctx, store, id, a)
			},
			save: func(_ context.Context, a *hallgrenAccount) error { return aggregate.Save(store, a) },
			first: func(id string, _ bool) (*hallgrenAccount, error) {
				a := new(hallgrenAccount)
				if err := a.SetID(id); err != nil {
					return nil, err
				}
				if err := a.state.open(); err != nil {
					return nil, err
				}
				aggregate.TrackChange(a, &hallgrenOpened{owner})
				return a, nil
			},
			next: func(a *hallgrenAccount, i int, _ bool) error {
				if err := a.state.deposit(amount(i)); err != nil {
					return err
				}
				aggregate.TrackChange(a, &hallgrenDeposited{amount(i)})
				return nil
			},
			state: func(a *hallgrenAccount) Account { return a.state },
		}, nil
	},
}

// registerHallgren tells the library, which has one registry for all, of the types.
var registerHallgren = sync.OnceFunc(func() {
	aggregate.Register(&hallgrenOrg{})
	aggregate.Register(&hallgrenAccount{})
})

type (
	hallgrenCreated Profile
	hallgrenUpdated Profile
)

type hallgrenOrg struct {
	aggregate.Root
	state Org
}

func (o *hallgrenOrg) Register(r aggregate.RegisterFunc) { r(&hallgrenCreated{}, &hallgrenUpdated{}) }

func (o *hallgrenOrg) Transition(event eventsourcing.Event) {
	switch e := event.Data().(type) {
	case *hallgrenCreated:
		o.state = Org{Exists: true, Profile: Profile(*e)}
	case *hallgrenUpdated:
		o.state = Org{Exists: true, Profile: Profile(*e)}
	}
}

type hallgrenOpened struct {
	Owner string `json:"owner"`
}

type hallgrenDeposited struct {
	Amount int `json:"amount"`
}

type hallgrenAccount struct {
	aggregate.Root
	state Account
}

func (a *hallgrenAccount) Register(r aggregate.RegisterFunc) {
	r(&hallgrenOpened{}, &hallgrenDeposited{})
}

func (a *hallgrenAccount) Transition(event eventsourcing.Event) {
	switch e := event.Data().(type) {
	case *hallgrenOpened:
		a.state.Owner = e.Owner
	case *hallgrenDeposited:
		a.state.Balance += e.Amount
		a.state.Deposits++
	}
}
