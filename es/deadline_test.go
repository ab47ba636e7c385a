package es_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leftfold/leftfold/es"
)

// listening is a store that shows a test the context of an append.
type listening struct {
	es.Store
	hear func(context.Context) error
}

func (l listening) Append(ctx context.Context, c es.Commit) error {
	if err := l.hear(ctx); err != nil {
		return err
	}
	return l.Store.Append(ctx, c)
}

// What a store is given is a context like any other: it ends in time, and at once when the call is over.
func TestContextOfWrites(t *testing.T) {
	type key struct{}
	of := func(t *testing.T, hear func(context.Context) error) error {
		ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
		_, err := es.Execute(ctx, &es.Journal{Store: listening{newTap(), func(writes context.Context) error {
			cancel(errors.New("the caller has gone"))
			return hear(writes)
		}}}, &counter, "1", count("a"))
		return err
	}
	for _, early := range []bool{true, false} { // whether somebody waits for its end from the beginning
		synctest.Test(t, func(t *testing.T) {
			var kept context.Context
			if err := of(t, func(ctx context.Context) error {
				start := time.Now()
				if early {
					ctx.Done()
				}
				kept = ctx
				if end, ok := ctx.Deadline(); !ok || !end.Equal(start.Add(2*time.Second)) {
					t.Errorf("it ends at %v, %v", end, ok)
				}
				if ctx.Value(key{}) != "value" || ctx.Err() != nil || context.Cause(ctx) != nil {
					t.Errorf("%v, %v, %v", ctx.Value(key{}), ctx.Err(), context.Cause(ctx))
				}
				pass(2*time.Second - 1)
				if ctx.Err() != nil {
					t.Errorf("too early: %v", ctx.Err())
				}
				pass(1)
				synctest.Wait()
				if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("after its end: %v", err)
				}
				<-ctx.Done()
				if time.Since(start) != 2*time.Second || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
					t.Errorf("%v after %v", ctx.Err(), time.Since(start))
				}
				return nil
			}); err == nil {
				t.Error("a store took a commit after its context had ended")
			}
			if err := kept.Err(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("later: %v", err)
			}

			if err := of(t, func(ctx context.Context) error {
				if early {
					ctx.Done()
				}
				kept = ctx
				return nil
			}); err != nil {
				t.Error(err)
			}
			if err := kept.Err(); !errors.Is(err, context.Canceled) {
				t.Errorf("when the call is over: %v", err)
			}
			<-kept.Done()
			if err := kept.Err(); !errors.Is(err, context.Canceled) {
				t.Errorf("when the call is over: %v", err)
			}

			var waiting error
			if err := of(t, func(ctx context.Context) error {
				before := runtime.NumGoroutine()
				child, cancel := context.WithCancel(ctx)
				defer cancel()
				if after := runtime.NumGoroutine(); after != before {
					t.Errorf("a context made from it takes %d goroutines", after-before)
				}
				<-child.Done()
				waiting = child.Err()
				return nil
			}); err == nil || !errors.Is(waiting, context.DeadlineExceeded) {
				t.Errorf("%v, %v", err, waiting)
			}
		})
	}
}
