package dynamostore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/leftfold/leftfold/es"
)

// ViewOptions change what [Views] do by default. The zero value, and nil, are good for
// most.
type ViewOptions struct {
	// Timeout and Attempts are those of [Options].
	Timeout  time.Duration
	Attempts int

	// Eventual makes Get cost half as much, and show what was put a moment ago
	// or not.
	Eventual bool

	// Keep is how long a view is wanted after it was put; 0 means for ever. Then
	// DynamoDB deletes it by the attribute x, in a few days, if that is the table's
	// time to live. Get shows it until it is deleted. See
	// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html.
	Keep time.Duration
}

// Views is an [es.Views] on a table, which the views of several projections may share. It
// is made by [NewViews] and safe for concurrent use. V is stored as encoding/json has
// it.
type Views[V any] struct {
	table, name string
	eventual    bool
	keep        time.Duration
	sender
}

var _ es.Views[any] = (*Views[any])(nil)

// NewViews returns the views of one projection, under a name of their own, on a table
// that must be there: see [CreateTables]. The name never changes; it has 1 to 64 bytes
// and no slash, else every call fails with [es.ErrInvalid]. The options may be nil.
func NewViews[V any](client Client, table, name string, o *ViewOptions) *Views[V] {
	if o == nil {
		o = new(ViewOptions)
	}
	return &Views[V]{table: table, name: name, eventual: o.Eventual, keep: o.Keep, sender: newSender(client, o.Timeout, o.Attempts)}
}

// key returns the key of a view. Neither name nor category has a slash, so different
// views have different keys.
func (v *Views[V]) key(stream es.StreamID) (string, error) {
	// A name follows the rules of a category.
	if err := (es.StreamID{Category: v.name, ID: "1"}).Validate(); err != nil {
		return "", fmt.Errorf("the name of the views: %w", err)
	}
	if err := stream.Validate(); err != nil {
		return "", err
	}
	return v.name + "/" + stream.String(), nil
}

// Get is that of [es.Views]: one GetItem, strongly consistent unless the options say
// otherwise.
func (v *Views[V]) Get(ctx context.Context, stream es.StreamID) (es.View[V], error) {
	fail := func(err error) (es.View[V], error) {
		return es.View[V]{}, fmt.Errorf("get view %s of %s: %w", v.name, stream, err)
	}
	key, err := v.key(stream)
	if err != nil {
		return fail(err)
	}
	var out *dynamodb.GetItemOutput
	err = v.read(ctx, func(ctx context.Context, opt option) (err error) {
		out, err = v.client.GetItem(ctx, &dynamodb.GetItemInput{
			TableName: &v.table, Key: item{"k": text(key)}, ConsistentRead: aws.Bool(!v.eventual),
		}, opt)
		return err
	})
	if err != nil || len(out.Item) == 0 {
		if err != nil {
			return fail(err)
		}
		return es.View[V]{}, nil
	}
	d := decoder{it: out.Item}
	view := es.View[V]{Version: d.version()}
	document := d.text("d")
	if d.err != nil {
		return fail(d.err)
	}
	if err := json.Unmarshal([]byte(document), &view.Value); err != nil {
		return fail(err)
	}
	return view, nil
}

// Put is that of [es.Views]: one PutItem, and no read before it. It recognises itself if
// an attempt of its own took effect and its answer was lost. A document that makes the
// item larger than 400 KB is refused with [ErrTooLarge].
//
// An error that wraps [es.ErrRefused] says that nothing was stored.
func (v *Views[V]) Put(ctx context.Context, stream es.StreamID, view es.View[V], old uint64) error {
	fail := func(err error) error { return fmt.Errorf("put view %s of %s: %w", v.name, stream, err) }
	refused := func(err error) error { return fail(fmt.Errorf("%w: %w", es.ErrRefused, err)) }
	key, err := v.key(stream)
	if err != nil {
		return refused(err)
	}
	if view.Version == 0 {
		return refused(fmt.Errorf("%w: its version is 0", es.ErrInvalid))
	}
	document, err := json.Marshal(view.Value)
	if err != nil {
		return refused(err)
	}
	// Two writers may put the same document: only this tells them apart.
	var writer [8]byte
	_, _ = rand.Read(writer[:]) // it never fails
	in := &dynamodb.PutItemInput{
		TableName: &v.table,
		Item: item{
			"k": text(key), "v": number(view.Version), "d": text(string(document)),
			"w": &types.AttributeValueMemberB{Value: writer[:]},
		},
		ConditionExpression:                 aws.String("attribute_not_exists(k)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	size := len("k") + len(key) + len("v") + sizeOfNumber(view.Version) + len("d") + len(document) + len("w") + len(writer)
	if v.keep > 0 {
		end := uint64(time.Now().Add(v.keep).Unix())
		in.Item["x"] = number(end)
		size += len("x") + sizeOfNumber(end)
	}
	if size > maxItem {
		return refused(fmt.Errorf("%w: the item has %d bytes, at most %d are allowed", ErrTooLarge, size, maxItem))
	}
	if old > 0 {
		in.ConditionExpression = aws.String("v = :old")
		in.ExpressionAttributeValues = item{":old": number(old)}
	}
	certain, err := v.try(ctx, func(ctx context.Context, opt option) error {
		_, err := v.client.PutItem(ctx, in, opt)
		return err
	})
	failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err)
	switch {
	case err == nil:
		return nil
	case !ok && certain:
		return refused(err)
	case !ok:
		return fail(err)
	}
	d := decoder{it: failed.Item}
	var have uint64
	if len(failed.Item) > 0 {
		have = d.version()
		if w, ok := failed.Item["w"].(*types.AttributeValueMemberB); ok && string(w.Value) == string(writer[:]) {
			return nil
		}
	}
	return fail(fmt.Errorf("%w: it is at version %d, not at %d", es.ErrConflict, have, old))
}
