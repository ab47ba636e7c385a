package dynamostore

import (
	"context"
	"fmt"
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/leftfold/leftfold/es"
)

// Load is that of [es.Store]: one strongly consistent Query for each page of 1 MB. When a
// quarter of a page was taken, the next one is asked for: whoever stops after that, and
// before the next page, may pay for that page as well. Nothing of it outlives the call.
//
// A query is no snapshot: others may write while it goes on. So a slot that is not
// settled and has another behind it, and a hole, are read again before they are
// believed. A hole that stays ends the sequence with an [*es.GapError]. A hole right
// behind the version after cannot be told from the rest of a commit that has
// begun before it, unless after is 0.
func (s *Store) Load(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		r := reader{stream: stream, last: after, yield: yield}
		if after == 0 {
			r.want = 1
		}
		for {
			query := s.query("s = :s AND v > :after", item{":s": text(stream.String()), ":after": number(r.last)})
			again := false
			err := s.pages(ctx, stream, query, true, func(c es.Commit, _ bool) bool {
				var more bool
				more, again = r.next(c)
				return more && !again
			})
			switch {
			case err != nil:
				yield(es.Commit{}, fmt.Errorf("load %s: %w", stream, err))
				return
			case !again:
				if r.held != nil && !r.stopped {
					yield(*r.held, nil)
				}
				return
			}
		}
	}
}

// reader checks the commits of a stream on their way to the caller.
type reader struct {
	stream  es.StreamID
	yield   func(es.Commit, error) bool
	last    uint64     // the version of the last slot that was yielded
	want    uint64     // the version that should come next; 0: any
	held    *es.Commit // a slot that is not history yet, as long as nothing is known to follow
	again   uint64     // the slot in front of which was read again
	stopped bool
}

// next takes the next slot. It reports whether to go on, and whether to read again
// behind the last slot that was yielded.
func (r *reader) next(c es.Commit) (more, again bool) {
	if r.held != nil {
		held := *r.held
		r.held = nil
		if r.again != held.Version {
			// While the query went on, it was settled, or another took its place.
			r.again = held.Version
			return false, true
		}
		if !r.pass(held) {
			return false, false
		}
	}
	if r.want != 0 && c.Version != r.want {
		if r.again != r.want {
			r.again = r.want
			return false, true
		}
		r.stopped = true
		r.yield(es.Commit{}, fmt.Errorf("load %s: %w", r.stream, &es.GapError{Stream: r.stream, Want: r.want, Have: c.Version}))
		return false, false
	}
	if c.Status == es.Pending || c.Status == es.Revoked {
		held := c // only this one is kept on the heap
		r.held = &held
		return true, false
	}
	return r.pass(c), false
}

// pass yields a slot.
func (r *reader) pass(c es.Commit) bool {
	r.last, r.want = c.Version, c.Last()+1
	r.stopped = !r.yield(c, nil)
	return !r.stopped
}

// Number of commits that LoadBack asks for at once.
const (
	noHint   = 16
	mostHint = 1000
)

// LoadBack is that of [es.Store]: one strongly consistent Query for as many commits as
// the hint says, up to 1000, or 16 without one. Each further query asks for twice as
// many. A hole ends the sequence with an [*es.GapError].
func (s *Store) LoadBack(ctx context.Context, stream es.StreamID, hint int) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		if hint < 1 {
			hint = noHint
		}
		query := s.query("s = :s", item{":s": text(stream.String())})
		query.ScanIndexForward = aws.Bool(false)
		query.Limit = aws.Int32(int32(min(hint, mostHint)))
		// What is behind the newest slot is settled and does not change any more.
		var newer uint64 // the version of the slot in front
		stopped := false
		fail := func(err error) {
			stopped = true
			yield(es.Commit{}, fmt.Errorf("load back %s: %w", stream, err))
		}
		err := s.pages(ctx, stream, query, false, func(c es.Commit, end bool) bool {
			if newer != 0 && c.Last()+1 != newer {
				fail(&es.GapError{Stream: stream, Want: newer - 1, Have: c.Last()})
				return false
			}
			newer = c.Version
			if stopped = !yield(c, nil); end {
				query.Limit = aws.Int32(min(2**query.Limit, mostHint))
			}
			return !stopped
		})
		switch {
		case stopped:
		case err != nil:
			fail(err)
		case newer > 1:
			fail(&es.GapError{Stream: stream, Want: newer - 1})
		}
	}
}

// query returns a strongly consistent query of one stream.
func (s *Store) query(condition string, values item) *dynamodb.QueryInput {
	return &dynamodb.QueryInput{
		TableName: &s.table, ConsistentRead: aws.Bool(true),
		KeyConditionExpression: &condition, ExpressionAttributeValues: values,
	}
}

// attributes are what a commit is made of where its stream is known: the fewer an item
// brings, the less there is to decode.
const attributes = "v, i, st, t, c, d"

// pages calls take with each commit of a query of one stream, page by page to the end, or
// until it returns false. End tells that the commit is the last of its page. Ahead lets
// the next page be fetched while the rest of a page is taken.
func (s *Store) pages(ctx context.Context, stream es.StreamID, query *dynamodb.QueryInput, ahead bool, take func(c es.Commit, end bool) bool) error {
	query.ProjectionExpression = aws.String(attributes)
	d := decoder{stream: stream}
	var next *fetch
	defer func() {
		if next != nil {
			next.stop()
		}
	}()
	for {
		var out *dynamodb.QueryOutput
		var err error
		if next != nil {
			out, err = next.wait()
			next = nil
		} else {
			out, err = s.page(ctx, query)
		}
		if err != nil {
			return err
		}
		query.ExclusiveStartKey = out.LastEvaluatedKey
		more := len(out.LastEvaluatedKey) > 0
		for i, it := range out.Items {
			// Whoever stops at one of the first commits is not to pay for another page.
			if ahead && more && i == max(1, len(out.Items)/4) {
				next = s.fetch(ctx, *query)
			}
			c, err := d.commit(it)
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if !take(c, i == len(out.Items)-1) {
				return nil
			}
		}
		if !more {
			return nil
		}
	}
}

// fetch is a page on its way.
type fetch struct {
	cancel context.CancelFunc
	done   chan struct{}
	out    *dynamodb.QueryOutput
	err    error
}

func (s *Store) fetch(ctx context.Context, query dynamodb.QueryInput) *fetch {
	ctx, cancel := context.WithCancel(ctx)
	f := &fetch{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.out, f.err = s.page(ctx, &query)
	}()
	return f
}

func (f *fetch) wait() (*dynamodb.QueryOutput, error) {
	<-f.done
	f.cancel()
	return f.out, f.err
}

func (f *fetch) stop() {
	f.cancel()
	<-f.done
}

func (s *Store) page(ctx context.Context, query *dynamodb.QueryInput) (out *dynamodb.QueryOutput, err error) {
	err = s.read(ctx, func(ctx context.Context, opt option) (err error) {
		out, err = s.client.Query(ctx, query, opt)
		return err
	})
	return out, err
}
