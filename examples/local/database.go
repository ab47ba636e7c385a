package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/leftfold/leftfold/dynamostore"
	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
	"github.com/leftfold/leftfold/examples/local/console"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

// database is where events and views are kept.
type database struct {
	store   console.ListedStore
	orgs    es.Views[org.View]
	otps    es.Views[otp.View]
	answers es.Views[service.Answer]
}

// inMemory forgets everything with the process.
func inMemory() database {
	return database{new(memory.Store), new(memory.Views[org.View]), new(memory.Views[otp.View]), new(memory.Views[service.Answer])}
}

// onDynamoDB keeps everything in the tables of an endpoint, which are created if they
// are not there: EVENT_TABLE and VIEW_TABLE, or else leftfold-events and leftfold-views.
// Region and credentials are those of the environment; DynamoDB Local takes any.
func onDynamoDB(ctx context.Context, endpoint string, config service.Config, getenv func(string) string) (database, error) {
	client := dynamodb.New(dynamodb.Options{
		Region: cmp.Or(getenv("AWS_REGION"), "us-east-1"), BaseEndpoint: &endpoint,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{
				AccessKeyID:     cmp.Or(getenv("AWS_ACCESS_KEY_ID"), "local"),
				SecretAccessKey: cmp.Or(getenv("AWS_SECRET_ACCESS_KEY"), "local"),
				SessionToken:    getenv("AWS_SESSION_TOKEN"),
			}, nil
		}),
	})
	events, views := cmp.Or(config.EventTable, "leftfold-events"), cmp.Or(config.ViewTable, "leftfold-views")
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := dynamostore.CreateTables(ctx, client, events, views); err != nil {
		return database{}, fmt.Errorf("DynamoDB at %s: %w", endpoint, err)
	}
	return database{
		dynamostore.New(client, events, nil),
		dynamostore.NewViews[org.View](client, views, "org", nil),
		dynamostore.NewViews[otp.View](client, views, "otp", nil),
		dynamostore.NewViews[service.Answer](client, views, "answers", &dynamostore.ViewOptions{Keep: service.KeepAnswers}),
	}, nil
}

// catchUp finishes what the process before this one left: commits that were not
// published, and views that had not seen all that was. A code that was not sent has to
// be requested again.
func (d database) catchUp(ctx context.Context, s *service.Service) error {
	if _, err := s.Journal.Relay(ctx); err != nil {
		return err
	}
	orgs, otps := s.Projections()
	if err := orgs.Rebuild(ctx, es.RebuildOptions{}); err != nil {
		return err
	}
	return otps.Rebuild(ctx, es.RebuildOptions{})
}
