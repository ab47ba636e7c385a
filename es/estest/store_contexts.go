package estest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/leftfold/leftfold/es"
)

func endedContextWrites(ctx context.Context, s es.Store) error {
	ended, cancel := endedContexts(ctx)
	defer cancel()
	for what, ended := range ended {
		stream := newStream("1")
		a, b := newCommit(stream, 1, 1), newCommit(newStream("2"), 1, 1)
		fails := func(op string, write func(context.Context, es.Commit) error, c es.Commit) error {
			err := write(ended, c)
			switch {
			case err == nil:
				return fmt.Errorf("%s in %s succeeded", op, what)
			case errors.Is(err, es.ErrConflict):
				return fmt.Errorf("%s in %s is reported as a conflict: %w", op, what, err)
			}
			return nil
		}
		err := first(
			fails("append", s.Append, a), holds(ctx, s, stream),
			put(ctx, s, a, b),
			fails("claim", s.Claim, a), holds(ctx, s, stream, a),
			fails("revoke", s.Revoke, a), holds(ctx, s, stream, a),
			fails("settle", s.Settle, a), holds(ctx, s, stream, a),
			expect("claim", s.Claim(ctx, b), nil),
			fails("settle of a claimed commit", s.Settle, b), holds(ctx, s, b.Stream, withStatus(b, es.Claimed)),
		)
		if err != nil {
			return err
		}
	}
	return nil
}

func endedContextReads(ctx context.Context, s es.Store) error {
	stream := newStream("1")
	if err := put(ctx, s, newCommit(stream, 1, 1)); err != nil {
		return err
	}
	ended, cancel := endedContexts(ctx)
	defer cancel()
	for what, ended := range ended {
		for op, seq := range map[string]iter.Seq2[es.Commit, error]{
			"load": s.Load(ended, stream, 0), "load back": s.LoadBack(ended, stream, 1), "pending": s.Pending(ended, time.Now()),
			"load of an empty stream": s.Load(ended, newStream("2"), 0),
		} {
			found, err := all(seq)
			if err == nil {
				return fmt.Errorf("%s in %s yields %d commits and no error", op, what, len(found))
			}
			if len(found) > 0 {
				return fmt.Errorf("%s in %s yields %d commits before its error", op, what, len(found))
			}
		}
	}
	return nil
}
