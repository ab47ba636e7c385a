package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
)

// loopLibrary is what one would write by hand for this one program: a slice of
// bytes a stream, a switch over the types that changes the state in place, and a
// lock. It knows nothing of times, IDs, metadata or publishing, and with encoding/json
// such a state cannot be got from such bytes in a much faster way. So it is the limit.
var loopLibrary = Library{
	Name:  "loop",
	Keeps: "JSON",
	Org: func() (Store[Org], error) {
		return &loop[Org, OrgEvent]{
			fold: Org.Fold, encode: encodeOrg, apply: applyOrg,
			first: func(o Org) (OrgEvent, error) { return OrgCreated(profile(0)), o.create() },
			next:  func(o Org, i int) (OrgEvent, error) { return OrgUpdated(profile(i)), o.update(profile(i)) },
		}, nil
	},
	Account: func() (Store[Account], error) {
		return &loop[Account, AccountEvent]{
			fold: Account.Fold, encode: encodeAccount, apply: applyAccount,
			first: func(a Account) (AccountEvent, error) { return AccountOpened{owner}, a.open() },
			next:  func(a Account, i int) (AccountEvent, error) { return Deposited{amount(i)}, a.deposit(amount(i)) },
		}, nil
	},
}

// stored is an event as the loop keeps it.
type stored struct {
	Type string
	Data []byte
}

type loop[S, E any] struct {
	fold   func(S, E) S
	encode func(E) (stored, error)
	apply  func(S, stored) (S, error)
	first  func(S) (E, error)
	next   func(S, int) (E, error)

	mu      sync.RWMutex
	streams map[string][]stored
}

func encodeOrg(e OrgEvent) (stored, error) {
	name := orgUpdated
	if _, ok := e.(OrgCreated); ok {
		name = orgCreated
	}
	data, err := json.Marshal(e)
	return stored{name, data}, err
}

func applyOrg(o Org, s stored) (Org, error) {
	switch s.Type {
	case orgCreated:
		var e OrgCreated
		err := json.Unmarshal(s.Data, &e)
		return Org{Exists: true, Profile: Profile(e)}, err
	case orgUpdated:
		var e OrgUpdated
		err := json.Unmarshal(s.Data, &e)
		return Org{Exists: true, Profile: Profile(e)}, err
	}
	return o, fmt.Errorf("unknown event %q", s.Type)
}

func encodeAccount(e AccountEvent) (stored, error) {
	name := deposited
	if _, ok := e.(AccountOpened); ok {
		name = accountOpened
	}
	data, err := json.Marshal(e)
	return stored{name, data}, err
}

func applyAccount(a Account, s stored) (Account, error) {
	switch s.Type {
	case accountOpened:
		var e AccountOpened
		err := json.Unmarshal(s.Data, &e)
		a.Owner = e.Owner
		return a, err
	case deposited:
		var e Deposited
		err := json.Unmarshal(s.Data, &e)
		a.Balance += e.Amount
		a.Deposits++
		return a, err
	}
	return a, fmt.Errorf("unknown event %q", s.Type)
}

func (l *loop[S, E]) load(id string) []stored {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.streams[id]
}

// add appends to a stream that still has the given number of events.
func (l *loop[S, E]) add(id string, version int, events ...stored) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams == nil {
		l.streams = make(map[string][]stored)
	}
	stream := l.streams[id]
	if len(stream) != version {
		return fmt.Errorf("%s is at %d and not at %d", id, len(stream), version)
	}
	l.streams[id] = append(stream, events...)
	return nil
}

func (l *loop[S, E]) replay(events []stored) (state S, err error) {
	for _, s := range events {
		if state, err = l.apply(state, s); err != nil {
			return state, err
		}
	}
	return state, nil
}

func (l *loop[S, E]) Create(_ context.Context, id string) error {
	var state S
	e, err := l.first(state)
	if err != nil {
		return err
	}
	s, err := l.encode(e)
	if err != nil {
		return err
	}
	return l.add(id, 0, s)
}

func (l *loop[S, E]) Command(_ context.Context, id string, i int) error {
	events := l.load(id)
	state, err := l.replay(events)
	if err != nil {
		return err
	}
	e, err := l.next(state, i)
	if err != nil {
		return err
	}
	s, err := l.encode(e)
	if err != nil {
		return err
	}
	return l.add(id, len(events), s)
}

func (l *loop[S, E]) Fill(ctx context.Context, id string, n, each int) error {
	var state S
	batch := make([]stored, 0, each)
	for i := range n {
		var e E
		var err error
		if i == 0 {
			e, err = l.first(state)
		} else {
			e, err = l.next(state, i)
		}
		if err != nil {
			return err
		}
		state = l.fold(state, e)
		s, err := l.encode(e)
		if err != nil {
			return err
		}
		if batch = append(batch, s); len(batch) == each || i == n-1 {
			if err := l.add(id, i+1-len(batch), batch...); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return nil
}

func (l *loop[S, E]) Replay(_ context.Context, id string) (S, error) { return l.replay(l.load(id)) }
