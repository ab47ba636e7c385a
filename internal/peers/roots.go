package peers

import "context"

// roots is the store of a library whose aggregates are objects that keep their
// state and the events not yet saved. R is such an object, best a pointer.
type roots[S, R any] struct {
	load  func(ctx context.Context, id string) (R, error)
	save  func(ctx context.Context, root R) error
	first func(id string, own bool) (R, error) // begins a root
	next  func(root R, i int, own bool) error  // decides the event of index i
	state func(root R) S
}

func (r *roots[S, R]) Create(ctx context.Context, id string) error {
	root, err := r.first(id, false)
	if err != nil {
		return err
	}
	return r.save(ctx, root)
}

func (r *roots[S, R]) Command(ctx context.Context, id string, i int) error {
	root, err := r.load(ctx, id)
	if err != nil {
		return err
	}
	if err := r.next(root, i, false); err != nil {
		return err
	}
	return r.save(ctx, root)
}

func (r *roots[S, R]) Fill(ctx context.Context, id string, n, each int) error {
	root, err := r.first(id, true)
	if err != nil {
		return err
	}
	for i := range n {
		if i > 0 {
			if err := r.next(root, i, true); err != nil {
				return err
			}
		}
		if (i+1)%each == 0 || i == n-1 {
			if err := r.save(ctx, root); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *roots[S, R]) Replay(ctx context.Context, id string) (S, error) {
	root, err := r.load(ctx, id)
	if err != nil {
		var zero S
		return zero, err
	}
	return r.state(root), nil
}
