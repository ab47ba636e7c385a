// Command rebuild makes all views of the deployed service anew from its events, after a
// change of what a view shows:
//
//	EVENT_TABLE=… VIEW_TABLE=… go run ./examples/deploy/rebuild
//
// Region and credentials are the AWS SDK's own; those of the template's RebuildRole are
// enough. The service may go on meanwhile. It may be run again at any time, and begins anew.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/leftfold/leftfold/dynamostore"
	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "rebuild:", err)
		os.Exit(1)
	}
}

// every is how many streams lie between two reports of progress.
const every = 1000

func run(ctx context.Context, getenv func(string) string, stdout io.Writer) error {
	tables, err := service.ReadConfig(getenv, "EVENT_TABLE", "VIEW_TABLE")
	cloud, awsErr := awsconfig.LoadDefaultConfig(ctx)
	if err := errors.Join(err, awsErr); err != nil {
		return err
	}
	client := dynamodb.NewFromConfig(cloud)
	s := service.Service{
		Journal:  &es.Journal{Store: dynamostore.New(client, tables.EventTable, nil)},
		OrgViews: dynamostore.NewViews[org.View](client, tables.ViewTable, "org", nil),
		OTPViews: dynamostore.NewViews[otp.View](client, tables.ViewTable, "otp", nil),
	}
	orgs, otps := s.Projections()
	for _, p := range []struct {
		category string
		rebuild  func(context.Context, es.RebuildOptions) error
	}{{orgs.Category, orgs.Rebuild}, {otps.Category, otps.Rebuild}} {
		var done es.RebuildProgress
		err := p.rebuild(ctx, es.RebuildOptions{Progress: func(now es.RebuildProgress) {
			if now.Streams > done.Streams && now.Streams%every == 0 {
				fmt.Fprintf(stdout, "%s: %d views so far\n", p.category, now.Streams)
			}
			done = now
		}})
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s: %d views from %d events\n", p.category, done.Streams, done.Events)
	}
	return nil
}
