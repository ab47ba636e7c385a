package es

import (
	"context"
	"sync"
	"time"
)

// deadline is a context that ends at a time or when it is left, and that has the values of another one, but does
// not end with it. It is what context.WithTimeout makes of context.WithoutCancel, but that its
// timer is not started before somebody waits for it: a store in memory never does.
type deadline struct {
	values context.Context //nolint:containedctx // it is a context itself, as that below
	end    time.Time

	mu    sync.Mutex
	left  bool
	timed context.Context //nolint:containedctx // nil as long as nobody has asked for Done
	leave context.CancelFunc
}

// until returns the context for something that has time until then. It has to be left.
func until(values context.Context, end time.Time) *deadline {
	return &deadline{values: values, end: end}
}

func (d *deadline) Deadline() (time.Time, bool) { return d.end, true }

func (d *deadline) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timed == nil {
		d.timed, d.leave = context.WithDeadline(context.WithoutCancel(d.values), d.end)
		if d.left {
			d.leave()
		}
	}
	return d.timed.Done()
}

func (d *deadline) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.timed != nil:
		return d.timed.Err()
	case time.Until(d.end) <= 0:
		return context.DeadlineExceeded
	case d.left:
		return context.Canceled
	}
	return nil
}

// Value is that of the timed context where there is one: by it package context finds out that it need not
// start a goroutine for those that are made from this one.
func (d *deadline) Value(key any) any {
	d.mu.Lock()
	timed := d.timed
	d.mu.Unlock()
	if timed == nil {
		timed = context.WithoutCancel(d.values)
	}
	return timed.Value(key)
}

// stop ends the context, and releases what it holds.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = true
	if d.leave != nil {
		d.leave()
	}
}
