// Command clients is a Lambda function that has the clients of the reference system and does
// nothing with them; with WARM set, each makes one call before the first event.
package main

import (
	"context"
	"os"
	"sync"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

type hello struct {
	database *dynamodb.Client
	topics   *sns.Client
}

func (h hello) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	if len(payload) == 0 { // never: the linker is to keep what the reference system calls
		_, _ = h.database.GetItem(ctx, nil)
		_, _ = h.database.PutItem(ctx, nil)
		_, _ = h.database.UpdateItem(ctx, nil)
		_, _ = h.database.Query(ctx, nil)
		_, _ = h.topics.Publish(ctx, nil)
	}
	return []byte(`{"statusCode":200}`), nil
}

func main() {
	c, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		panic(err)
	}
	h := hello{dynamodb.NewFromConfig(c), sns.NewFromConfig(c)}
	if os.Getenv("WARM") != "" {
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := h.database.GetItem(context.Background(), &dynamodb.GetItemInput{
				TableName: new("views"), Key: map[string]types.AttributeValue{"k": &types.AttributeValueMemberS{Value: "warm"}},
			})
			if err != nil {
				panic(err)
			}
		})
		wg.Go(func() {
			_, err := h.topics.GetTopicAttributes(context.Background(), &sns.GetTopicAttributesInput{
				TopicArn: new("arn:aws:sns:eu-central-1:123456789012:leftfold.fifo"),
			})
			if err != nil {
				panic(err)
			}
		})
		wg.Wait()
	}
	lambda.Start(h)
}
