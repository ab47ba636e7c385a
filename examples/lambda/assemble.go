package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/leftfold/leftfold/dynamostore"
	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
	"github.com/leftfold/leftfold/snsbus"
)

// warmWithin is the time that clients get to make their first connection.
const warmWithin = 2 * time.Second

// assemble puts the function together as the environment says, and warms its clients. The
// error names every variable that is missing or malformed, a line each.
func assemble(ctx context.Context, getenv func(string) string, stderr io.Writer) (*function, error) {
	config, err := service.ReadConfig(getenv, "EVENT_TABLE", "VIEW_TABLE", "TOPIC_ARN", "OTP_KEY", "TOKEN_KEY", "PUBLIC_URL", "SENDER")
	cloud, awsErr := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithHTTPClient(newHTTPClient()))
	if awsErr == nil && cloud.Region == "" {
		awsErr = errors.New("AWS_REGION: is not set")
	}
	if err := errors.Join(err, awsErr); err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: config.LogLevel}))
	codes, err := otp.NewCodes(config.OTPKey.Reveal())
	if err != nil {
		return nil, err
	}
	tokens, err := service.NewTokens(config.TokenKey.Reveal(), config.PublicURL, 0)
	if err != nil {
		return nil, err
	}
	database, topics := dynamodb.NewFromConfig(cloud), sns.NewFromConfig(cloud)
	sender, err := config.NewSender(logger, texter{topics})
	if err != nil {
		return nil, err
	}
	s := &service.Service{
		Journal: &es.Journal{
			Store:     dynamostore.New(database, config.EventTable, nil),
			Publisher: snsbus.New(topics, config.TopicARN, nil), Logger: logger,
		},
		OrgViews: dynamostore.NewViews[org.View](database, config.ViewTable, "org", nil),
		OTPViews: dynamostore.NewViews[otp.View](database, config.ViewTable, "otp", nil),
		Answers:  dynamostore.NewViews[service.Answer](database, config.ViewTable, "answers", &dynamostore.ViewOptions{Keep: service.KeepAnswers}),
		Codes:    codes, Tokens: tokens, Sender: sender, Logger: logger,
	}
	warm(ctx, logger, map[string]func(context.Context) error{
		"dynamodb": func(ctx context.Context) error {
			_, err := s.OrgViews.Get(ctx, es.StreamID{Category: org.Aggregate.Category, ID: "warm"}) // nobody's
			return err
		},
		"sns": func(ctx context.Context) error {
			_, err := topics.GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: &config.TopicARN}, func(o *sns.Options) {
				o.Retryer = aws.NopRetryer{}
			})
			return err
		},
	})
	queue := snsbus.Consumer{Handle: s.Handle, Logger: logger}
	return &function{api: s.Handler(), queue: queue.HandleSQS, relay: s.Journal.Relay}, nil
}

// newHTTPClient returns the client of all requests to AWS. The SDK's own has no time-out for a
// request, and half a minute for a connection. Whoever sends a request may allow less.
func newHTTPClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithTimeout(10 * time.Second).
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = 2 * time.Second }).
		WithTransportOptions(func(t *http.Transport) {
			t.TLSHandshakeTimeout = 2 * time.Second
			t.MaxIdleConnsPerHost = 64 // the requests of a batch, and of concurrent invocations
		})
}

// warm makes one call with each client, all at a time, so that the first request need not wait
// for connections and credentials. What fails now may work later: it is only logged.
func warm(ctx context.Context, logger *slog.Logger, calls map[string]func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, warmWithin)
	defer cancel()
	var wg sync.WaitGroup
	for client, call := range calls {
		wg.Go(func() {
			if err := call(ctx); err != nil {
				logger.LogAttrs(ctx, slog.LevelWarn, "client not warmed", slog.String("client", client), slog.Any("error", err))
			}
		})
	}
	wg.Wait()
}
