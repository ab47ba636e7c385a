package peers

import (
	"context"

	"github.com/DeluxeOwl/chronicle"
	"github.com/DeluxeOwl/chronicle/aggregate"
	"github.com/DeluxeOwl/chronicle/event"
	"github.com/DeluxeOwl/chronicle/eventlog"
	"github.com/DeluxeOwl/chronicle/snapshotstore"
	"github.com/DeluxeOwl/chronicle/version"
)

var chronicleLibrary = Library{
	Name:  "chronicle",
	Keeps: "JSON",
	Org: func() (Store[Org], error) {
		repo, err := chronicleOrgs()
		if err != nil {
			return nil, err
		}
		return chronicleOrgStore(repo), nil
	},
	Account: func() (Store[Account], error) {
		repo, err := chronicle.NewEventSourcedRepository(eventlog.NewMemory(), func() *chronicleAccount { return new(chronicleAccount) }, nil,
			aggregate.AnyEventRegistry(chronicle.NewAnyEventRegistry()))
		if err != nil {
			return nil, err
		}
		return &roots[Account, *chronicleAccount]{
			load: func(ctx context.Context, id string) (*chronicleAccount, error) { return repo.Get(ctx, chronicleID(id)) },
			save: func(ctx context.Context, a *chronicleAccount) error { _, _, err := repo.Save(ctx, a); return err },
			first: func(id string, _ bool) (*chronicleAccount, error) {
				a := new(chronicleAccount)
				if err := a.state.open(); err != nil {
					return nil, err
				}
				return a, aggregate.RecordEvent(a, chronicleAccountEvent(&chronicleOpened{chronicleID(id), owner}))
			},
			next: func(a *chronicleAccount, i int, _ bool) error {
				if err := a.state.deposit(amount(i)); err != nil {
					return err
				}
				return aggregate.RecordEvent(a, chronicleAccountEvent(&chronicleDeposited{amount(i)}))
			},
			state: func(a *chronicleAccount) Account { return a.state },
		}, nil
	},
}

// chronicleSnapshots is the same with snapshots after as many events as ours. Its log
// in memory goes through the whole stream in any case, without decoding it.
var chronicleSnapshots = Library{
	Name:  "chronicle+snapshots",
	Keeps: "JSON",
	Org: func() (Store[Org], error) {
		repo, err := chronicleOrgs()
		if err != nil {
			return nil, err
		}
		snapshots, err := chronicle.NewEventSourcedRepositoryWithSnapshots(
			repo,
			snapshotstore.NewMemory(func() *chronicleSnapshot { return new(chronicleSnapshot) }),
			chronicleSnapshotter{},
			aggregate.SnapPolicyFor[*chronicleOrg]().EveryNEvents(8),
		)
		if err != nil {
			return nil, err
		}
		return chronicleOrgStore(snapshots), nil
	},
}

func chronicleOrgs() (chronicleOrgRepository, error) {
	return chronicle.NewEventSourcedRepository(eventlog.NewMemory(), func() *chronicleOrg { return new(chronicleOrg) }, nil,
		aggregate.AnyEventRegistry(chronicle.NewAnyEventRegistry()))
}

type chronicleOrgRepository = aggregate.Repository[chronicleID, chronicleOrgEvent, *chronicleOrg]

func chronicleOrgStore(repo chronicleOrgRepository) Store[Org] {
	return &roots[Org, *chronicleOrg]{
		load: func(ctx context.Context, id string) (*chronicleOrg, error) { return repo.Get(ctx, chronicleID(id)) },
		save: func(ctx context.Context, o *chronicleOrg) error { _, _, err := repo.Save(ctx, o); return err },
		first: func(id string, own bool) (*chronicleOrg, error) {
			o := new(chronicleOrg)
			if err := o.state.create(); err != nil {
				return nil, err
			}
			return o, aggregate.RecordEvent(o, chronicleOrgEvent(&chronicleCreated{chronicleID(id), profileOf(0, own)}))
		},
		next: func(o *chronicleOrg, i int, own bool) error {
			p := profileOf(i, own)
			if err := o.state.update(p); err != nil {
				return err
			}
			return aggregate.RecordEvent(o, chronicleOrgEvent((*chronicleUpdated)(&p)))
		},
		state: func(o *chronicleOrg) Org { return o.state },
	}
}

type chronicleSnapshot struct {
	Org   chronicleID     `json:"id"`
	At    version.Version `json:"version"`
	State Org             `json:"state"`
}

func (s *chronicleSnapshot) ID() chronicleID          { return s.Org }
func (s *chronicleSnapshot) Version() version.Version { return s.At }

type chronicleSnapshotter struct{}

func (chronicleSnapshotter) ToSnapshot(o *chronicleOrg) (*chronicleSnapshot, error) {
	return &chronicleSnapshot{Org: o.id, At: o.Version(), State: o.state}, nil
}

func (chronicleSnapshotter) FromSnapshot(s *chronicleSnapshot) (*chronicleOrg, error) {
	return &chronicleOrg{id: s.Org, state: s.State}, nil
}

type chronicleID string

func (id chronicleID) String() string { return string(id) }

type chronicleOrgEvent interface {
	event.Any
	orgEvent()
}

// chronicleCreated carries the ID, from which the aggregate knows it.
type chronicleCreated struct {
	ID chronicleID `json:"id"`
	Profile
}

type chronicleUpdated Profile

func (*chronicleCreated) EventName() string { return orgCreated }
func (*chronicleUpdated) EventName() string { return orgUpdated }
func (*chronicleCreated) orgEvent()         {}
func (*chronicleUpdated) orgEvent()         {}

type chronicleOrg struct {
	aggregate.Base
	id    chronicleID
	state Org
}

func (o *chronicleOrg) ID() chronicleID { return o.id }

func (o *chronicleOrg) EventFuncs() event.FuncsFor[chronicleOrgEvent] {
	return event.FuncsFor[chronicleOrgEvent]{
		func() chronicleOrgEvent { return new(chronicleCreated) },
		func() chronicleOrgEvent { return new(chronicleUpdated) },
	}
}

func (o *chronicleOrg) Apply(e chronicleOrgEvent) error {
	switch e := e.(type) {
	case *chronicleCreated:
		o.id, o.state = e.ID, Org{Exists: true, Profile: e.Profile}
	case *chronicleUpdated:
		o.state = Org{Exists: true, Profile: Profile(*e)}
	}
	return nil
}

type chronicleAccountEvent interface {
	event.Any
	accountEvent()
}

type chronicleOpened struct {
	ID    chronicleID `json:"id"`
	Owner string      `json:"owner"`
}

type chronicleDeposited struct {
	Amount int `json:"amount"`
}

func (*chronicleOpened) EventName() string    { return accountOpened }
func (*chronicleDeposited) EventName() string { return deposited }
func (*chronicleOpened) accountEvent()        {}
func (*chronicleDeposited) accountEvent()     {}

type chronicleAccount struct {
	aggregate.Base
	id    chronicleID
	state Account
}

func (a *chronicleAccount) ID() chronicleID { return a.id }

func (a *chronicleAccount) EventFuncs() event.FuncsFor[chronicleAccountEvent] {
	return event.FuncsFor[chronicleAccountEvent]{
		func() chronicleAccountEvent { return new(chronicleOpened) },
		func() chronicleAccountEvent { return new(chronicleDeposited) },
	}
}

func (a *chronicleAccount) Apply(e chronicleAccountEvent) error {
	switch e := e.(type) {
	case *chronicleOpened:
		a.id, a.state.Owner = e.ID, e.Owner
	case *chronicleDeposited:
		a.state.Balance += e.Amount
		a.state.Deposits++
	}
	return nil
}
