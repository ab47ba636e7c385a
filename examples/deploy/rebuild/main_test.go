package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"strings"
	"testing"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/leftfold/leftfold/dynamostore"
	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
)

// A view that lost what happened shows it, after a rebuild.
func TestRebuild(t *testing.T) {
	if os.Getenv("AWS_ENDPOINT_URL_DYNAMODB") == "" {
		const missing = "no DynamoDB: set AWS_ENDPOINT_URL_DYNAMODB, or run make test"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	for name, value := range map[string]string{"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "dummy", "AWS_SECRET_ACCESS_KEY": "dummy"} {
		t.Setenv(name, value)
	}
	ctx := t.Context()
	cloud, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	client := dynamodb.NewFromConfig(cloud)
	tables := map[string]string{"EVENT_TABLE": "events-" + rand.Text(), "VIEW_TABLE": "views-" + rand.Text()}
	if err := dynamostore.CreateTables(ctx, client, tables["EVENT_TABLE"], tables["VIEW_TABLE"]); err != nil {
		t.Fatal(err)
	}
	for _, name := range tables {
		t.Cleanup(func() {
			if _, err := client.DeleteTable(context.WithoutCancel(ctx), &dynamodb.DeleteTableInput{TableName: &name}); err != nil {
				t.Error(err)
			}
		})
	}
	views := dynamostore.NewViews[org.View](client, tables["VIEW_TABLE"], "org", nil)
	journal := &es.Journal{Store: dynamostore.New(client, tables["EVENT_TABLE"], nil)}
	profile, err := org.NewProfile("Acme", "Oslo", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"1", "2"} {
		if _, err := es.Execute(ctx, journal, &org.Aggregate, id, org.Create(profile)); err != nil {
			t.Fatal(err)
		}
	}
	empty := es.View[org.View]{Version: 1, Value: org.View{}}
	if err := views.Put(ctx, es.StreamID{Category: "org", ID: "1"}, empty, 0); err != nil {
		t.Fatal(err)
	}

	var stdout bytes.Buffer
	if err := run(ctx, func(name string) string { return tables[name] }, &stdout); err != nil {
		t.Fatal(err)
	}
	if want := "org: 2 views from 2 events\notp: 0 views from 0 events\n"; stdout.String() != want {
		t.Errorf("it printed %q, not %q", &stdout, want)
	}
	for _, id := range []string{"1", "2"} {
		view, err := views.Get(ctx, es.StreamID{Category: "org", ID: id})
		if err != nil || view.Version != 1 || view.Value.Profile != profile {
			t.Errorf("org/%s: %+v, %v", id, view, err)
		}
	}
}

func TestMissing(t *testing.T) {
	err := run(t.Context(), func(string) string { return "" }, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "EVENT_TABLE") || !strings.Contains(err.Error(), "VIEW_TABLE") {
		t.Errorf("got %v", err)
	}
}
