package dynamostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/leftfold/leftfold/es"
)

// Options change what a [Store] does by default. The zero value, and nil, are good
// for most.
type Options struct {
	// Timeout is the time for the first attempt of a request; each further one
	// has twice the time of the one before. 0 means 500 ms.
	Timeout time.Duration

	// Attempts is how often a request is sent at most; 0 means 3.
	Attempts int

	// Index is the name of the index of pending commits; empty means "pending".
	Index string

	// NoIndex is for a table without that index: each pending commit costs two
	// write units less, and [Store.Pending] is not supported.
	NoIndex bool

	// Shards is how many partitions of the index pending commits are spread over;
	// 0 means 8. A shard takes 1000 writes a second, which are 500 commands.
	// More shards can be added at any time, fewer only while nothing is pending.
	Shards int
}

// Store is an [es.Store], an [es.Lister] and an [es.Metered] on one table. It is made
// by [New] and safe for concurrent use.
type Store struct {
	table  string
	index  string // empty: none
	shards int
	sender
}

var (
	_ es.Store   = (*Store)(nil)
	_ es.Lister  = (*Store)(nil)
	_ es.Metered = (*Store)(nil)
)

// New returns a store on a table, which must be there: see [CreateTables]. Nothing is
// sent yet. The options may be nil.
func New(client Client, table string, o *Options) *Store {
	if o == nil {
		o = new(Options)
	}
	s := &Store{table: table, sender: newSender(client, o.Timeout, o.Attempts)}
	if !o.NoIndex {
		s.index, s.shards = cmp.Or(o.Index, defaultIndex), max(1, cmp.Or(o.Shards, 8))
	}
	return s
}

// Units is that of [es.Metered]: the write units of the table that the item costs,
// 1 KB each, or 0 if it has more than 400 KB. The one unit of the index, which every
// pending commit costs, is not included.
func (s *Store) Units(c es.Commit) int {
	size := sizeOf(c, s.shard(c))
	if size > maxItem {
		return 0
	}
	return (size + unit - 1) / unit
}

// shard returns the partition of the index that the commit is in, empty if it is in none.
func (s *Store) shard(c es.Commit) string {
	if s.index == "" || c.Status != es.Pending {
		return ""
	}
	return shardOf(c.Stream, s.shards)
}

// Append is that of [es.Store]: one PutItem. It refuses a commit that has no valid form,
// a time outside of the years 0 to 9999, or a size above 400 KB ([ErrTooLarge]).
func (s *Store) Append(ctx context.Context, c es.Commit) error {
	w := write{op: "append", c: c}
	if err := c.Validate(); err != nil {
		return w.refused(err)
	}
	if c.Status != es.Pending && c.Status != es.Settled {
		return w.refused(fmt.Errorf("%w: a new commit is pending or settled, not %v", es.ErrInvalid, c.Status))
	}
	if year := c.Time.UTC().Year(); year < 0 || year > 9999 {
		return w.refused(fmt.Errorf("%w: its time is in the year %d", es.ErrInvalid, year))
	}
	shard := s.shard(c)
	if size := sizeOf(c, shard); size > maxItem {
		return w.refused(fmt.Errorf("%w: the item has %d bytes, at most %d are allowed", ErrTooLarge, size, maxItem))
	}
	in := &dynamodb.PutItemInput{
		TableName: &s.table, Item: encode(c, shard),
		ConditionExpression:                 aws.String("attribute_not_exists(s)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	if c.Replaces != "" {
		in.ConditionExpression = aws.String("i = :i AND st = :r")
		in.ExpressionAttributeValues = item{":i": text(c.Replaces), ":r": text(es.Revoked.String())}
	}
	w.send = func(ctx context.Context, opt option) error {
		_, err := s.client.PutItem(ctx, in, opt)
		return err
	}
	w.held = func(slot *es.Commit) verdict {
		switch {
		case slot == nil && c.Replaces == "":
			return unclear // the condition was that it is empty
		case slot != nil && slot.ID == c.ID && slot.Status != es.Revoked:
			return done
		}
		return conflict
	}
	return s.write(ctx, w)
}

// Claim is that of [es.Store]: one UpdateItem, charged by the size of the item.
func (s *Store) Claim(ctx context.Context, c es.Commit) error {
	return s.update(ctx, "claim", c, "SET st = :to", "i = :i AND st = :p",
		item{":to": text(es.Claimed.String()), ":i": text(c.ID), ":p": text(es.Pending.String())}, es.Claimed)
}

// Settle is that of [es.Store]: one UpdateItem, charged by the size of the item.
func (s *Store) Settle(ctx context.Context, c es.Commit) error {
	return s.update(ctx, "settle", c, "REMOVE st, p", "i = :i AND st IN (:p, :c)",
		item{":i": text(c.ID), ":p": text(es.Pending.String()), ":c": text(es.Claimed.String())}, es.Settled)
}

// update sets the status of a commit that is there.
func (s *Store) update(ctx context.Context, op string, c es.Commit, update, condition string, values item, to es.Status) error {
	w := write{op: op, c: c}
	if err := c.Stream.Validate(); err != nil {
		return w.refused(err)
	}
	in := &dynamodb.UpdateItemInput{
		TableName: &s.table, Key: keyOf(c.Stream, c.Version),
		UpdateExpression: &update, ConditionExpression: &condition, ExpressionAttributeValues: values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	w.send = func(ctx context.Context, opt option) error {
		_, err := s.client.UpdateItem(ctx, in, opt)
		return err
	}
	w.held = func(slot *es.Commit) verdict {
		if slot != nil && slot.ID == c.ID && slot.Status == to {
			return done
		}
		return conflict
	}
	return s.write(ctx, w)
}

// Revoke is that of [es.Store]: one PutItem, charged by the size of the item that it
// replaces. The revoke of an empty slot wraps [es.ErrRefused].
func (s *Store) Revoke(ctx context.Context, c es.Commit) error {
	w := write{op: "revoke", c: c}
	if err := c.Stream.Validate(); err != nil {
		return w.refused(err)
	}
	in := &dynamodb.PutItemInput{
		TableName:                           &s.table,
		Item:                                encode(es.Commit{Stream: c.Stream, Version: c.Version, ID: c.ID, Status: es.Revoked}, ""),
		ConditionExpression:                 aws.String("i = :i AND st = :p"),
		ExpressionAttributeValues:           item{":i": text(c.ID), ":p": text(es.Pending.String())},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	w.send = func(ctx context.Context, opt option) error {
		_, err := s.client.PutItem(ctx, in, opt)
		return err
	}
	w.held = func(slot *es.Commit) verdict {
		switch {
		case slot == nil:
			return unused
		case slot.ID != c.ID || slot.Status == es.Revoked:
			return done // it was revoked before
		}
		return conflict
	}
	return s.write(ctx, w)
}

// write is a conditional write of one slot.
type write struct {
	op   string
	c    es.Commit
	send func(context.Context, option) error
	held func(slot *es.Commit) verdict // what it means that the slot was so; nil: unused
}

// verdict is what a failed condition says of a write.
type verdict int

const (
	done     verdict = iota // the slot shows that it was done before
	conflict                // another is in its place
	unused                  // there is nothing that it could have changed
	unclear                 // the answer contradicts itself
)

func (w *write) fail(err error) error {
	return fmt.Errorf("%s %s@%d: %w", w.op, w.c.Stream, w.c.Version, err)
}

func (w *write) refused(err error) error { return w.fail(fmt.Errorf("%w: %w", es.ErrRefused, err)) }

func (s *Store) write(ctx context.Context, w write) error {
	certain, err := s.try(ctx, w.send)
	failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err)
	switch {
	case err == nil:
		return nil
	case !ok && certain:
		return w.refused(err)
	case !ok:
		return w.fail(err)
	}
	var slot *es.Commit
	if len(failed.Item) > 0 {
		c, err := decode(failed.Item)
		if err != nil {
			// This attempt had no effect; whether an earlier one had, only the
			// slot could say.
			return w.fail(fmt.Errorf("the slot is taken, by what cannot be read: %w", err))
		}
		slot = &c
	}
	switch verdict := w.held(slot); {
	case verdict == done:
		return nil
	case verdict == conflict && slot != nil:
		return w.fail(fmt.Errorf("%w: the slot holds commit %s, %v", es.ErrConflict, slot.ID, slot.Status))
	case verdict == conflict:
		return w.fail(fmt.Errorf("%w: the slot is unused", es.ErrConflict))
	case verdict == unused && certain:
		return w.refused(errUnused)
	case verdict == unused:
		return w.fail(errUnused)
	default:
		return w.fail(fmt.Errorf("the slot is taken, but the answer does not say by what: %w", err))
	}
}

var errUnused = errors.New("the slot is unused")

// Streams is that of [es.Lister]: a Scan of the whole table, for which the segments
// of the scan are the shards. Each call reads what is behind the stream after, at
// least; the order is that of the table's hashes. A stream that has only a
// marker is left out. One that lost its first slot is there: it costs one more Query.
func (s *Store) Streams(ctx context.Context, shard, shards int, after es.StreamID) iter.Seq2[es.StreamID, error] {
	return func(yield func(es.StreamID, error) bool) {
		fail := func(err error) { yield(es.StreamID{}, fmt.Errorf("streams of shard %d of %d: %w", shard, shards, err)) }
		if shard < 0 || shard >= shards || shards > maxSegments {
			fail(fmt.Errorf("%w: there are 1 to %d shards, numbered from 0", es.ErrInvalid, maxSegments))
			return
		}
		in := &dynamodb.ScanInput{
			TableName: &s.table, ConsistentRead: aws.Bool(true),
			Segment: aws.Int32(int32(shard)), TotalSegments: aws.Int32(int32(shards)),
			ProjectionExpression: aws.String("s, v"), FilterExpression: aws.String("attribute_not_exists(st) OR st <> :r"),
			ExpressionAttributeValues: item{":r": text(es.Revoked.String())},
		}
		if after != (es.StreamID{}) {
			in.ExclusiveStartKey = keyOf(after, 1)
		}
		// The slots of a stream come in a row. All that counts is the first, unless
		// that is not where it should be.
		last := after
		for {
			var out *dynamodb.ScanOutput
			if err := s.read(ctx, func(ctx context.Context, opt option) (err error) {
				out, err = s.client.Scan(ctx, in, opt)
				return err
			}); err != nil {
				fail(err)
				return
			}
			for _, it := range out.Items {
				slot, err := decodeKey(it)
				begins := slot.version == 1
				if err == nil && !begins && slot.stream != last {
					begins, err = s.headless(ctx, slot.stream)
				}
				if err != nil {
					fail(err)
					return
				}
				last = slot.stream
				if begins && !yield(slot.stream, nil) {
					return
				}
			}
			if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
				return
			}
		}
	}
}

// headless reports whether the first slot of a stream is missing, or a marker.
func (s *Store) headless(ctx context.Context, stream es.StreamID) (bool, error) {
	query := s.query("s = :s AND v = :one", item{":s": text(stream.String()), ":one": number(1)})
	query.FilterExpression = aws.String("attribute_not_exists(st) OR st <> :r")
	query.ExpressionAttributeValues[":r"] = text(es.Revoked.String())
	query.ProjectionExpression = aws.String("s")
	out, err := s.page(ctx, query)
	if err != nil {
		return false, err
	}
	return len(out.Items) == 0, nil
}

const (
	maxSegments  = 1_000_000 // of a parallel scan
	defaultIndex = "pending"
)

// keyOf returns the key of a slot.
func keyOf(stream es.StreamID, version uint64) item {
	return item{"s": text(stream.String()), "v": number(version)}
}

func number(n uint64) *types.AttributeValueMemberN {
	return &types.AttributeValueMemberN{Value: strconv.FormatUint(n, 10)}
}

func text(s string) *types.AttributeValueMemberS { return &types.AttributeValueMemberS{Value: s} }
