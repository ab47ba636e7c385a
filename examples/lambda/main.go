// Command lambda is the reference system as one AWS Lambda function: command handler, event
// handler, projection and query handler.
//
//	make package   # makes dist/function.zip for arm64; examples/deploy has the template that runs it
//
// It tells by the payload which of them is asked for:
//
//   - a request of an API Gateway HTTP API, of a function URL (both payload format 2.0) or of
//     a REST API goes to the HTTP API of package service;
//   - a batch from an SQS FIFO queue goes to the projections and the event handler; failed
//     messages are reported one by one, so the event source mapping needs ReportBatchItemFailures;
//   - a scheduled event of EventBridge finishes what crashed;
//   - anything else is an error, so that no queue takes an answer of the wrong kind for success.
//
// [service.ReadConfig] says which environment variables it reads: it needs all but LOG_LEVEL. Region,
// credentials and endpoints are the AWS SDK's own. What is missing or malformed is said all at
// once, and ends the program before its first invocation. Logs are JSON lines on standard error.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	f, err := assemble(context.Background(), os.Getenv, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lambda:", err)
		os.Exit(1)
	}
	lambda.Start(f)
}
