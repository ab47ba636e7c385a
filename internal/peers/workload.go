// Package peers measures this library beside others of its kind, and beside a loop
// written by hand over the same bytes, which is the limit. It is a module of its
// own, so that no peer enters the go.mod that users import.
//
//	for _, lib := range peers.Libraries {
//		orgs, err := lib.Org()
//		...
//		err = orgs.Create(ctx, "42")
//		err = orgs.Command(ctx, "42", 1)
//		org, err := orgs.Replay(ctx, "42")
//	}
//
// There is one workload, in this file, and one file a library. Each library is used
// as its own README shows, with the store in memory that comes with it. Tests say
// that all of them come to the same state as the loop; the benchmarks say how fast.
package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Library is an event-sourcing library with its store in memory.
type Library struct {
	Name string

	// Keeps says what the store keeps of an event, in words: encoded bytes, a
	// copy of the value, or a reference to it.
	Keeps string

	// Org and Account open an empty store each.
	Org     func() (Store[Org], error)
	Account func() (Store[Account], error)
}

// Libraries are all that are measured, the limit first and ours after it.
var Libraries = []Library{
	loopLibrary, leftfoldLibrary,
	chronicleLibrary, eventhorizonLibrary, goesLibrary, hallgrenLibrary, terraskyeLibrary,
}

// Store is a store of one kind of aggregate, as a program that uses the library
// would call it. Streams of different IDs may be used concurrently.
type Store[S any] interface {
	// Create decides that the stream begins, and stores its first event: that of
	// index 0.
	Create(ctx context.Context, id string) error

	// Command is one command on a stream that exists: load its state, decide,
	// append the event of index i.
	Command(ctx context.Context, id string, i int) error

	// Fill makes a stream of n events, those of the indexes 0 to n-1. It stores
	// so many of them at once as each says, by the shortest way that the library
	// has. Nothing of an event is shared with another.
	Fill(ctx context.Context, id string, n, each int) error

	// Replay returns the state of the stream from all its events.
	Replay(ctx context.Context, id string) (S, error)
}

// Profile is what an org is. As JSON it has 200 bytes.
type Profile struct {
	Name        string `json:"name"`
	Location    string `json:"location"`
	Description string `json:"description"`
}

// OrgEvent is what happens to an org: OrgCreated or OrgUpdated.
type OrgEvent interface{ orgEvent() }

// OrgCreated: the org exists from now on.
type OrgCreated Profile

// OrgUpdated: the org has this profile from now on. It carries all of it, so that the
// latest event alone says what the org is.
type OrgUpdated Profile

func (OrgCreated) orgEvent() {}
func (OrgUpdated) orgEvent() {}

// Org is the state of an org.
type Org struct {
	Exists  bool
	Profile Profile
}

// Fold returns the state after an event.
func (o Org) Fold(e OrgEvent) Org {
	switch e := e.(type) {
	case OrgCreated:
		o = Org{Exists: true, Profile: Profile(e)}
	case OrgUpdated:
		o = Org{Exists: true, Profile: Profile(e)}
	}
	return o
}

// What decisions refuse.
var (
	errExists    = errors.New("it exists already")
	errNotFound  = errors.New("it does not exist")
	errUnchanged = errors.New("nothing would change")
	errAmount    = errors.New("the amount is not positive")
)

// create decides that the org begins.
func (o Org) create() error {
	if o.Exists {
		return errExists
	}
	return nil
}

// update decides that the org gets another profile.
func (o Org) update(p Profile) error {
	switch {
	case !o.Exists:
		return errNotFound
	case o.Profile == p:
		return errUnchanged
	}
	return nil
}

// AccountEvent is what happens to an account: AccountOpened or Deposited.
type AccountEvent interface{ accountEvent() }

// AccountOpened: the account exists from now on.
type AccountOpened struct {
	Owner string `json:"owner"`
}

// Deposited: so much was paid in.
type Deposited struct {
	Amount int `json:"amount"`
}

func (AccountOpened) accountEvent() {}
func (Deposited) accountEvent()     {}

// Account is the state of an account.
type Account struct {
	Owner    string
	Balance  int
	Deposits int
}

// Fold returns the state after an event.
func (a Account) Fold(e AccountEvent) Account {
	switch e := e.(type) {
	case AccountOpened:
		a.Owner = e.Owner
	case Deposited:
		a.Balance += e.Amount
		a.Deposits++
	}
	return a
}

// open decides that the account begins.
func (a Account) open() error {
	if a.Owner != "" {
		return errExists
	}
	return nil
}

// deposit decides that so much is paid in.
func (a Account) deposit(amount int) error {
	switch {
	case a.Owner == "":
		return errNotFound
	case amount <= 0:
		return errAmount
	}
	return nil
}

// What the events are stored as.
const (
	orgCreated    = "org.created"
	orgUpdated    = "org.updated"
	accountOpened = "account.opened"
	deposited     = "account.deposited"
)

// profileSize is how long a profile is as JSON.
const profileSize = 200

// profiles are those of events by their index, in turn.
var profiles = func() (all [64]Profile) {
	for i := range all {
		p := Profile{
			Name:     fmt.Sprintf("Acme %02d", i),
			Location: "12 Analytical Engine Street, London",
		}
		data, err := json.Marshal(p)
		if err != nil {
			panic(err)
		}
		p.Description = strings.Repeat("It makes everything, from anvils to tunnels. ", 9)[:profileSize-len(data)]
		all[i] = p
	}
	return all
}()

func profile(i int) Profile { return profiles[i%len(profiles)] }

// profileOf is the profile of an event, in memory of its own if need be.
func profileOf(i int, own bool) Profile {
	p := profile(i)
	if !own {
		return p
	}
	return Profile{Name: strings.Clone(p.Name), Location: strings.Clone(p.Location), Description: strings.Clone(p.Description)}
}

const owner = "Ada"

// amount is the deposit of an index: 1 to 9.
func amount(i int) int { return 1 + i%9 }
