// Command hello is the least that a Lambda function in Go can be.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"
)

type hello struct{}

func (hello) Invoke(context.Context, []byte) ([]byte, error) {
	return []byte(`{"statusCode":200}`), nil
}

func main() { lambda.Start(hello{}) }
