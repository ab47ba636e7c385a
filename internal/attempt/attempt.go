// Package attempt sends requests to AWS with retries of its own, in place of those of the
// SDK, which hide an attempt that may have had an effect behind the answer to a later
// one. It knows of every attempt that failed whether it certainly had no effect.
//
//	certain, err := policy.Try(ctx, func(ctx context.Context, way *attempt.Way) error {
//		_, err := client.Publish(ctx, in, func(o *sns.Options) {
//			o.Retryer, o.HTTPClient = aws.NopRetryer{}, way.Through(o.HTTPClient)
//		})
//		return err
//	})
package attempt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// Policy says how a request is sent. It is safe for concurrent use.
type Policy struct {
	// Timeout is the time for the first attempt; each further one has twice the time
	// of the one before.
	Timeout time.Duration

	// Attempts is how often a request is sent at most, at least 1.
	Attempts int

	// Explain says what an error of the service means, by its code and its HTTP
	// status, 0 if there was none: the reason, if there is a name for it, becomes part
	// of the error, and again tells that it may pass. What is unknown, or never left, is
	// sent again in any case.
	Explain func(code string, status int) (reason error, again bool)
}

// Try makes attempts until one succeeds, fails for good, or there were enough. Send makes
// one, with a client of the SDK whose retries are off and whose HTTP client is
// [Way.Through]. Try reports whether it is certain that none of the attempts that
// failed had an effect. An attempt without effect is one that never left, or was
// answered with a status from 400 to 499 other than 408.
func (p *Policy) Try(ctx context.Context, send func(context.Context, *Way) error) (certain bool, err error) {
	if err := ctx.Err(); err != nil {
		return true, err
	}
	var unknown error
	for n := range p.Attempts {
		if n > 0 && pause(ctx, n) != nil {
			break
		}
		var again bool
		if certain, again, err = p.attempt(ctx, p.Timeout<<min(n, 10), send); err == nil {
			return true, nil
		}
		if !certain {
			unknown = err
		}
		if !again {
			break
		}
	}
	if certain && unknown != nil {
		err = fmt.Errorf("%w; before that: %w", err, unknown)
	}
	return unknown == nil, err
}

// attempt sends a request once. Of a failure it reports whether it certainly had no
// effect, and whether to send it again.
func (p *Policy) attempt(ctx context.Context, timeout time.Duration, send func(context.Context, *Way) error) (certain, again bool, _ error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var w Way
	err := send(ctx, &w)
	if err == nil {
		return true, false, nil
	}
	status := 0
	if answer, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		status = answer.HTTPStatusCode()
	}
	certain = w.unsent() && status == 0 || status >= 400 && status < 500 && status != http.StatusRequestTimeout
	// What was refused is refused again, but what never left may get through.
	again = status == 0 || !certain
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		reason, passes := p.Explain(answer.ErrorCode(), status)
		if reason != nil {
			err = fmt.Errorf("%w: %w", reason, err)
		}
		again = again || passes
	}
	return certain, again, err
}

// Way is how far one attempt came.
type Way struct{ begun, sent, traced, connected atomic.Bool }

// Client is what the options of every service's client have as HTTPClient: Do sends a
// request.
type Client interface {
	Do(*http.Request) (*http.Response, error)
}

// Through returns the HTTP client for this attempt.
func (w *Way) Through(client Client) Client {
	w.begun.Store(true)
	return doer{client, w}
}

// unsent reports whether a request certainly never left. A transport that calls the
// trace does so with every connection before it writes; of any other nothing is known.
func (w *Way) unsent() bool {
	return w.begun.Load() && (!w.sent.Load() || w.traced.Load() && !w.connected.Load())
}

// doer notes how far a request comes. The trace is that of this request alone: credentials
// may have been asked for under the same context.
type doer struct {
	Client
	*Way
}

func (d doer) Do(r *http.Request) (*http.Response, error) {
	d.sent.Store(true)
	res, err := d.Client.Do(r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GetConn: func(string) { d.traced.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { d.connected.Store(true) },
	})))
	if err != nil || res.StatusCode != http.StatusOK {
		return res, err
	}
	return withBody(res)
}

// withBody returns a response that has a body. One without is no answer of a service, but
// the SDK would take it for one that says nothing: a write that succeeded, or a
// query that found nothing.
func withBody(res *http.Response) (*http.Response, error) {
	if res.ContentLength > 0 {
		return res, nil
	}
	body := bufio.NewReader(res.Body) // of a length that is not said
	if _, err := body.Peek(1); err != nil {
		if errors.Is(err, io.EOF) {
			err = errNoBody
		}
		return nil, errors.Join(err, res.Body.Close())
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{body, res.Body}
	return res, nil
}

// errNoBody is the answer of somebody between us and the service.
var errNoBody = errors.New("the answer has no body")

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
