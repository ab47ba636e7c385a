package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-lambda-go/events"
)

// errUnknown is the answer to an event of no kind that this function knows, or of several.
var errUnknown = errors.New("an event of unknown kind: neither an HTTP request, nor a batch from SQS, nor a schedule")

// function is the Lambda function, a [lambda.Handler]. It is safe for concurrent use.
type function struct {
	api   http.Handler
	queue func(context.Context, events.SQSEvent) (events.SQSEventResponse, error)
	relay func(context.Context) (int, error)
}

// Invoke handles one event and returns the answer that its sender expects. It keeps no part of
// the payload.
func (f *function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	answer, err := f.handle(ctx, payload)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

func (f *function) handle(ctx context.Context, payload []byte) (any, error) {
	kind, err := kindOf(payload)
	if err != nil {
		return nil, err
	}
	switch kind {
	case httpAPI:
		return invoke(payload, func(e events.APIGatewayV2HTTPRequest) (any, error) { return serveHTTPAPI(ctx, f.api, e) })
	case restAPI:
		return invoke(payload, func(e events.APIGatewayProxyRequest) (any, error) { return serveRESTAPI(ctx, f.api, e) })
	case queue:
		return invoke(payload, func(e events.SQSEvent) (any, error) { return f.queue(ctx, e) })
	default:
		_, err := f.relay(ctx) // crashed commits are finished; how many, the journal logs
		return nil, err
	}
}

func invoke[E any](payload []byte, handle func(E) (any, error)) (any, error) {
	var e E
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, err
	}
	return handle(e)
}

// kind is what an event is.
type kind int

const (
	httpAPI  kind = iota // API Gateway HTTP API or function URL, payload format 2.0
	restAPI              // API Gateway REST API
	queue                // SQS
	schedule             // EventBridge
)

// kindOf tells what an event is by what is in it, and by nothing of another kind being in it.
func kindOf(payload []byte) (kind, error) {
	var e struct {
		Version string `json:"version"`
		// Of requests:
		HTTPMethod     string `json:"httpMethod"`
		RequestContext *struct {
			HTTP       *struct{} `json:"http"`
			ResourceID string    `json:"resourceId"`
		} `json:"requestContext"`
		// Of batches:
		Records []struct {
			EventSource string `json:"eventSource"`
		} `json:"Records"`
		// Of events on a bus:
		Source     string `json:"source"`
		DetailType string `json:"detail-type"`
	}
	if err := json.Unmarshal(payload, &e); err != nil {
		return 0, fmt.Errorf("%w: %w", errUnknown, err)
	}
	request, batch, event := e.RequestContext != nil, e.Records != nil, e.Source != ""
	switch {
	case request && !batch && !event && e.Version == "2.0" && e.HTTPMethod == "" && e.RequestContext.HTTP != nil:
		return httpAPI, nil
	case request && !batch && !event && e.Version == "" && e.HTTPMethod != "" && e.RequestContext.ResourceID != "":
		return restAPI, nil
	case batch && !request && !event && len(e.Records) > 0:
		for _, r := range e.Records {
			if r.EventSource != "aws:sqs" {
				return 0, errUnknown
			}
		}
		return queue, nil
	case event && !request && !batch && e.Source == "aws.events" && e.DetailType == "Scheduled Event":
		return schedule, nil
	}
	return 0, errUnknown
}
