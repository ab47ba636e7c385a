package peers

import (
	"context"

	"github.com/google/uuid"
	"github.com/modernice/goes/aggregate"
	"github.com/modernice/goes/aggregate/repository"
	"github.com/modernice/goes/event"
	"github.com/modernice/goes/event/eventstore"
)

// goesLibrary keeps all events of all streams in one slice, and looks through all
// of it at each load.
var goesLibrary = Library{
	Name:  "goes",
	Keeps: "references",
	Org: func() (Store[Org], error) {
		repo := repository.Typed(repository.New(eventstore.New()), newGoesOrg)
		return &roots[Org, *goesOrg]{
			load: func(ctx context.Context, id string) (*goesOrg, error) {
				u, err := uuid.Parse(id)
				if err != nil {
					return nil, err
				}
				return repo.Fetch(ctx, u)
			},
			save: func(ctx context.Context, o *goesOrg) error { return repo.Save(ctx, o) },
			first: func(id string, own bool) (*goesOrg, error) {
				u, err := uuid.Parse(id)
				if err != nil {
					return nil, err
				}
				o := newGoesOrg(u)
				if err := o.state.create(); err != nil {
					return nil, err
				}
				aggregate.Next(o, orgCreated, profileOf(0, own))
				return o, nil
			},
			next: func(o *goesOrg, i int, own bool) error {
				p := profileOf(i, own)
				if err := o.state.update(p); err != nil {
					return err
				}
				aggregate.Next(o, orgUpdated, p)
				return nil
			},
			state: func(o *goesOrg) Org { return o.state },
		}, nil
	},
	Account: func() (Store[Account], error) {
		repo := repository.Typed(repository.New(eventstore.New()), newGoesAccount)
		return &roots[Account, *goesAccount]{
			load: func(ctx context.Context, id string) (*goesAccount, error) {
				u, err := uuid.Parse(id)
				if err != nil {
					return nil, err
				}
				return repo.Fetch(ctx, u)
			},
			save: func(ctx context.Context, a *goesAccount) error { return repo.Save(ctx, a) },
			first: func(id string, _ bool) (*goesAccount, error) {
				u, err := uuid.Parse(id)
				if err != nil {
					return nil, err
				}
				a := newGoesAccount(u)
				if err := a.state.open(); err != nil {
					return nil, err
				}
				aggregate.Next(a, accountOpened, owner)
				return a, nil
			},
			next: func(a *goesAccount, i int, _ bool) error {
				if err := a.state.deposit(amount(i)); err != nil {
					return err
				}
				aggregate.Next(a, deposited, amount(i))
				return nil
			},
			state: func(a *goesAccount) Account { return a.state },
		}, nil
	},
}

type goesOrg struct {
	*aggregate.Base
	state Org
}

func newGoesOrg(id uuid.UUID) *goesOrg {
	o := &goesOrg{Base: aggregate.New("org", id)}
	event.ApplyWith(o, o.profile, orgCreated, orgUpdated)
	return o
}

func (o *goesOrg) profile(e event.Of[Profile]) { o.state = Org{Exists: true, Profile: e.Data()} }

type goesAccount struct {
	*aggregate.Base
	state Account
}

func newGoesAccount(id uuid.UUID) *goesAccount {
	a := &goesAccount{Base: aggregate.New("account", id)}
	event.ApplyWith(a, a.opened, accountOpened)
	event.ApplyWith(a, a.deposited, deposited)
	return a
}

func (a *goesAccount) opened(e event.Of[string]) { a.state.Owner = e.Data() }

func (a *goesAccount) deposited(e event.Of[int]) {
	a.state.Balance += e.Data()
	a.state.Deposits++
}
