package dynamostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// Client is what is needed of a *dynamodb.Client. Every request switches the retries of
// the SDK off and makes attempts of its own: the SDK hides a write that timed out
// behind the answer to a later one.
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
	client   Client
	timeout  time.Duration
	attempts int
}

func newSender(client Client, timeout time.Duration, attempts int) sender {
	return sender{client: client, timeout: cmp.Or(timeout, 500*time.Millisecond), attempts: max(1, cmp.Or(attempts, 3))}
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
	if err := ctx.Err(); err != nil {
		return true, err
	}
	var unknown error
	for n := range s.attempts {
		if n > 0 && pause(ctx, n) != nil {
			break
		}
		var again bool
		if certain, again, err = s.attempt(ctx, s.timeout<<min(n, 10), send); err == nil {
			return true, nil
		}
		if !certain {
			unknown = err
		}
		if !again {
			break
		}
	}
	_, condition := errors.AsType[*types.ConditionalCheckFailedException](err)
	if certain && !condition && unknown != nil {
		err = fmt.Errorf("%w; before that: %w", err, unknown)
	}
	return unknown == nil, err
}

// attempt sends a request once. Of a failure it reports whether it certainly had no
// effect, and whether to send it again.
func (s *sender) attempt(ctx context.Context, timeout time.Duration, send func(context.Context, option) error) (certain, again bool, _ error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var w way
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { w.connected.Store(true) }})
	err := send(ctx, func(o *dynamodb.Options) {
		w.begun.Store(true)
		o.Retryer = aws.NopRetryer{}
		o.HTTPClient = doer{o.HTTPClient, &w}
	})
	if err == nil {
		return true, false, nil
	}
	certain = w.refused(err)
	// A request that was refused is refused again, but for some that name a reason that
	// passes; one that never left may get through.
	again = !certain || !w.connected.Load()
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		switch answer.ErrorCode() {
		case "ConditionalCheckFailedException":
			certain, again = true, false
		case "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded":
			err, again = fmt.Errorf("%w: %w", ErrThrottled, err), true
		case "TransactionConflictException", "ReplicatedWriteConflictException":
			again = true // others were at the item
		case "InvalidSignatureException":
			again = true // the SDK has set its clock by the answer
		case "ResourceNotFoundException":
			err = fmt.Errorf("%w: %w", ErrNoTable, err)
		}
	}
	return certain, again, err
}

// way is how far a request came.
type way struct{ begun, sent, connected atomic.Bool }

// refused reports whether a request that failed certainly had no effect: it never left,
// or it was answered with a status of 4xx.
func (w *way) refused(err error) bool {
	if answer, ok := errors.AsType[*awshttp.ResponseError](err); ok && answer.HTTPStatusCode() != 0 {
		status := answer.HTTPStatusCode()
		return status >= 400 && status < 500 && status != http.StatusRequestTimeout
	}
	if !w.begun.Load() {
		return false // the client is none of the SDK's
	}
	dial, ok := errors.AsType[*net.OpError](err)
	return !w.sent.Load() || ok && dial.Op == "dial" && !w.connected.Load()
}

// doer notes that a request leaves.
type doer struct {
	dynamodb.HTTPClient
	*way
}

func (d doer) Do(r *http.Request) (*http.Response, error) {
	d.sent.Store(true)
	return d.HTTPClient.Do(r)
}

// pause waits before the n-th repeat: at random, up to 25 ms, then 50, 100, 200.
func pause(ctx context.Context, n int) error {
	t := time.NewTimer(1 + rand.N(25*time.Millisecond<<min(n-1, 3)))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
