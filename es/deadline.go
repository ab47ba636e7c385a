package es

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// deadline is a context that ends at a time or when it is left, and that has the values of another one, but does
// not end with it. It is what context.WithTimeout makes of context.WithoutCancel, but that its
// timer is not started before somebody waits for it: a store in memory never does.
type deadline struct {
	values context.Context //nolint:containedctx // it is a context itself, as that below
	end    time.Time
	left   atomic.Bool

	once  sync.Once
	timed atomic.Pointer[timed] // nil as long as nobody has asked for Done
}

type timed struct {
	context.Context //nolint:containedctx // see above
	leave           context.CancelFunc
}

// until returns the context for something that has time until then. It has to be left.
func until(values context.Context, end time.Time) *deadline {
	return &deadline{values: values, end: end}
}

func (d *deadline) Deadline() (time.Time, bool) { return d.end, true }

func (d *deadline) Done() <-chan struct{} {
	d.once.Do(func() {
		ctx, leave := context.WithDeadline(context.WithoutCancel(d.values), d.end)
		d.timed.Store(&timed{ctx, leave})
		if d.left.Load() { // or else stop sees what was stored
			leave()
		}
	})
	return d.timed.Load().Done()
}

func (d *deadline) Err() error {
	if t := d.timed.Load(); t != nil {
		return t.Err()
	}
	switch {
	case time.Until(d.end) <= 0:
		return context.DeadlineExceeded
	case d.left.Load():
		return context.Canceled
	}
	return nil
}

// Value is that of the timed context where there is one: by it package context finds out that it need not
// start a goroutine for those that are made from this one.
func (d *deadline) Value(key any) any {
	if t := d.timed.Load(); t != nil {
		return t.Value(key)
	}
	return context.WithoutCancel(d.values).Value(key)
}

// stop ends the context, and releases what it holds.
func (d *deadline) stop() {
	d.left.Store(true)
	if t := d.timed.Load(); t != nil {
		t.leave()
	}
}
