package dynamostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/leftfold/leftfold/es"
)

// Pending is that of [es.Store]: one Query of each shard of the index, and for each
// commit one strongly consistent GetItem, so that none is yielded that was settled
// before its turn came. The index lags behind, mostly less than a second: a
// commit may be missing that was appended just now.
func (s *Store) Pending(ctx context.Context, before time.Time) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		fail := func(err error) { yield(es.Commit{}, fmt.Errorf("pending: %w", err)) }
		if s.index == "" {
			fail(fmt.Errorf("%w: the store has no index", errors.ErrUnsupported))
			return
		}
		shards := make([]shard, s.shards)
		for i := range shards {
			shards[i].query = &dynamodb.QueryInput{
				TableName: &s.table, IndexName: &s.index,
				KeyConditionExpression:    aws.String("p = :p AND t < :before"),
				ExpressionAttributeValues: item{":p": text(strconv.Itoa(i)), ":before": text(formatTime(before))},
			}
		}
		for {
			oldest := -1
			for i := range shards {
				if err := s.fill(ctx, &shards[i]); err != nil {
					fail(err)
					return
				}
				if len(shards[i].slots) > 0 && (oldest < 0 || shards[i].slots[0].compare(shards[oldest].slots[0]) < 0) {
					oldest = i
				}
			}
			if oldest < 0 {
				return
			}
			next := shards[oldest].slots[0]
			shards[oldest].slots = shards[oldest].slots[1:]
			c, ok, err := s.get(ctx, next)
			switch {
			case err != nil:
				fail(err)
				return
			case !ok || c.Status != es.Pending && c.Status != es.Claimed || !c.Time.Before(before):
				// Somebody was faster than the index.
			case !yield(c, nil):
				return
			}
		}
	}
}

// shard is one of those that Pending merges.
type shard struct {
	query *dynamodb.QueryInput // for the next page; nil: there is none
	slots []slot               // of the page before, oldest first
}

// slot is an entry of the index.
type slot struct {
	stream  es.StreamID
	version uint64
	time    string
}

func (a slot) compare(b slot) int {
	return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.stream.String(), b.stream.String()))
}

// fill reads on in the index until there is a slot, or no more.
func (s *Store) fill(ctx context.Context, sh *shard) error {
	for len(sh.slots) == 0 && sh.query != nil {
		out, err := s.page(ctx, sh.query)
		if err != nil {
			return err
		}
		for _, it := range out.Items {
			slot, err := decodeSlot(it)
			if err != nil {
				return err
			}
			sh.slots = append(sh.slots, slot)
		}
		if sh.query.ExclusiveStartKey = out.LastEvaluatedKey; len(out.LastEvaluatedKey) == 0 {
			sh.query = nil
		}
	}
	return nil
}

// get reads one slot, if it is there.
func (s *Store) get(ctx context.Context, sl slot) (c es.Commit, ok bool, err error) {
	var out *dynamodb.GetItemOutput
	err = s.read(ctx, func(ctx context.Context, opt option) (err error) {
		out, err = s.client.GetItem(ctx, &dynamodb.GetItemInput{
			TableName: &s.table, Key: keyOf(sl.stream, sl.version), ConsistentRead: aws.Bool(true),
		}, opt)
		return err
	})
	if err != nil || len(out.Item) == 0 {
		return es.Commit{}, false, err
	}
	c, err = decode(out.Item)
	return c, true, err
}

// shardOf is the same in every process.
func shardOf(stream es.StreamID, shards int) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(stream.String()))
	return strconv.FormatUint(uint64(h.Sum32())%uint64(shards), 10)
}
