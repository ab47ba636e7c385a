package peers

import (
	"context"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

// leftfoldLibrary is ours, with the whole stream loaded by each command.
var leftfoldLibrary = Library{
	Name:    "leftfold",
	Keeps:   "JSON",
	Org:     func() (Store[Org], error) { return leftfoldOrg("", false), nil },
	Account: func() (Store[Account], error) { return leftfoldAccount(""), nil },
}

// Strategies are ways of running a command other than by the whole stream: ours by the
// newest snapshot, by the newest commit alone and by what is remembered, and the snapshots of the fastest
// of the others.
var Strategies = []Library{{
	Name:    "leftfold+snapshots",
	Keeps:   "JSON",
	Org:     func() (Store[Org], error) { return leftfoldOrg("org/1", false), nil },
	Account: func() (Store[Account], error) { return leftfoldAccount("account/1"), nil },
}, {
	Name:  "leftfold+latest",
	Keeps: "JSON",
	Org:   func() (Store[Org], error) { return leftfoldOrg("", true), nil },
}, {
	Name:  "leftfold+cache",
	Keeps: "JSON",
	Org: func() (Store[Org], error) {
		l := leftfoldOrg("", false)
		l.journal.Cache = 1 << 20
		return l, nil
	},
}, chronicleSnapshots}

type leftfold[S, E any] struct {
	journal   es.Journal
	aggregate es.Aggregate[S, E]
	first     func(S) ([]E, error)
	next      func(i int) func(S) ([]E, error)
	own       func(i int) E
}

func leftfoldOrg(schema string, latest bool) *leftfold[Org, OrgEvent] {
	return &leftfold[Org, OrgEvent]{
		journal: es.Journal{Store: &memory.Store{}},
		aggregate: es.Aggregate[Org, OrgEvent]{
			Category:   "org",
			Fold:       Org.Fold,
			Events:     es.JSON(orgTypes),
			LatestOnly: latest,
			Snapshots:  es.Snapshots[Org]{Schema: schema},
		},
		first: func(o Org) ([]OrgEvent, error) { return []OrgEvent{OrgCreated(profile(0))}, o.create() },
		next: func(i int) func(Org) ([]OrgEvent, error) {
			return func(o Org) ([]OrgEvent, error) {
				return []OrgEvent{OrgUpdated(profile(i))}, o.update(profile(i))
			}
		},
		own: func(i int) OrgEvent {
			if i == 0 {
				return OrgCreated(profileOf(i, true))
			}
			return OrgUpdated(profileOf(i, true))
		},
	}
}

func leftfoldAccount(schema string) *leftfold[Account, AccountEvent] {
	return &leftfold[Account, AccountEvent]{
		journal: es.Journal{Store: &memory.Store{}},
		aggregate: es.Aggregate[Account, AccountEvent]{
			Category:  "account",
			Fold:      Account.Fold,
			Events:    es.JSON(map[string]AccountEvent{accountOpened: AccountOpened{}, deposited: Deposited{}}),
			Snapshots: es.Snapshots[Account]{Schema: schema},
		},
		first: func(a Account) ([]AccountEvent, error) { return []AccountEvent{AccountOpened{owner}}, a.open() },
		next: func(i int) func(Account) ([]AccountEvent, error) {
			return func(a Account) ([]AccountEvent, error) {
				return []AccountEvent{Deposited{amount(i)}}, a.deposit(amount(i))
			}
		},
		own: func(i int) AccountEvent {
			if i == 0 {
				return AccountOpened{owner}
			}
			return Deposited{amount(i)}
		},
	}
}

func (l *leftfold[S, E]) Create(ctx context.Context, id string) error {
	_, err := es.Execute(ctx, &l.journal, &l.aggregate, id, l.first, es.IfVersion(0))
	return err
}

func (l *leftfold[S, E]) Command(ctx context.Context, id string, i int) error {
	_, err := es.Execute(ctx, &l.journal, &l.aggregate, id, l.next(i))
	return err
}

// Fill decides without a state, so it need not load one.
func (l *leftfold[S, E]) Fill(ctx context.Context, id string, n, each int) error {
	blind := l.aggregate
	if blind.Snapshots.Schema == "" {
		blind.LatestOnly = true
	}
	for i := 0; i < n; i += each {
		events := make([]E, 0, each)
		for k := i; k < min(i+each, n); k++ {
			events = append(events, l.own(k))
		}
		if _, err := es.Execute(ctx, &l.journal, &blind, id, func(S) ([]E, error) { return events, nil }); err != nil {
			return err
		}
	}
	return nil
}

func (l *leftfold[S, E]) Replay(ctx context.Context, id string) (S, error) {
	state, _, err := l.aggregate.Replay(l.journal.Store.Load(ctx, es.StreamID{Category: l.aggregate.Category, ID: id}, 0))
	return state, err
}
