package dynamostore

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/leftfold/leftfold/internal/attempt"
)

// Client is what is needed of a *dynamodb.Client: GetItem, PutItem, UpdateItem and
// Query, and Scan for [Store.Streams] alone. Every request switches the retries of the
// SDK off and makes attempts of its own: the SDK hides a write that timed out behind the
// answer to a later one.
type Client interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	Scan(context.Context, *dynamodb.ScanInput, ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error)
}

var _ Client = (*dynamodb.Client)(nil)

// Why a request failed, where that can be told. Whether a write may have happened all the
// same is another question: it did not if the error wraps [es.ErrRefused] or
// [es.ErrConflict] as well.
var (
	// ErrThrottled: the table, the partition or the account is at its limit, after
	// all attempts.
	ErrThrottled = errors.New("throttled")

	// ErrTooLarge: the item would have more than 400 KB. Nothing was sent.
	ErrTooLarge = errors.New("too large")

	// ErrNoTable: the table, or the index, is not there.
	ErrNoTable = errors.New("no such table")
)

type option = func(*dynamodb.Options)

// sender sends requests.
type sender struct {
	client Client
	policy attempt.Policy
}

func newSender(client Client, timeout time.Duration, attempts int) sender {
	return sender{client, attempt.Policy{
		Timeout: cmp.Or(timeout, 500*time.Millisecond), Attempts: max(1, cmp.Or(attempts, 3)), Explain: explain,
	}}
}

// read makes the attempts of a request that changes nothing.
func (s *sender) read(ctx context.Context, send func(context.Context, option) error) error {
	_, err := s.try(ctx, send)
	return err
}

// try makes the attempts of a request, until one succeeds, fails by its condition or
// for good, or until there were enough. It reports whether it is certain of every
// attempt that failed that it had no effect.
func (s *sender) try(ctx context.Context, send func(context.Context, option) error) (certain bool, err error) {
	return s.policy.Try(ctx, func(ctx context.Context, w *attempt.Way) error {
		return send(ctx, func(o *dynamodb.Options) { o.Retryer, o.HTTPClient = aws.NopRetryer{}, w.Through(o.HTTPClient) })
	})
}

// explain is that of [attempt.Policy].
func explain(code string, _ int) (reason error, again bool) {
	switch code {
	case "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded":
		return ErrThrottled, true
	case "TransactionConflictException", "ReplicatedWriteConflictException":
		return nil, true // others were at the item
	case "InvalidSignatureException":
		return nil, true // the SDK has set its clock by the answer
	case "ResourceNotFoundException":
		return ErrNoTable, false
	}
	return nil, false
}
