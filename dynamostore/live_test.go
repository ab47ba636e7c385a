package dynamostore

import (
	"context"
	"crypto/rand"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
)

// The engine shares the machine with what tests it.
const patient = 20 * time.Second

// healthy returns a store that waits for a slow engine.
func healthy(client Client, table string) *Store {
	return New(client, table, &Options{Timeout: patient})
}

// The store is behind the same client as the mutants of TestMutants, which has no bug here: so what
// kills them is not that client.
func TestStore(t *testing.T) {
	t.Parallel()
	client := live(t)
	estest.TestStore(t, func(t *testing.T) es.Store {
		return healthy(unspoilt(client), newTable(t, client))
	})
}

func TestViews(t *testing.T) {
	t.Parallel()
	client := live(t)
	estest.TestViews(t, func(t *testing.T) es.Views[estest.Document] {
		return NewViews[estest.Document](client, newViewTable(t, client), "documents", &ViewOptions{Timeout: patient})
	})
}

// live returns a client of a real engine.
func live(t *testing.T) *dynamodb.Client {
	t.Helper()
	endpoint := os.Getenv("AWS_ENDPOINT_URL_DYNAMODB")
	if endpoint == "" {
		const missing = "no DynamoDB: set AWS_ENDPOINT_URL_DYNAMODB, or run make test"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	return newClient(endpoint)
}

func newClient(endpoint string, options ...func(*dynamodb.Options)) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		Region: "us-east-1", BaseEndpoint: &endpoint,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "dummy", SecretAccessKey: "dummy"}, nil
		}),
	}, options...)
}

// newTable returns a table of events of the test's own.
func newTable(t *testing.T, client *dynamodb.Client) string {
	name := "events-" + rand.Text()
	create(t, client, name, "")
	return name
}

// newViewTable returns a table of views of the test's own.
func newViewTable(t *testing.T, client *dynamodb.Client) string {
	name := "views-" + rand.Text()
	create(t, client, "", name)
	return name
}

func create(t *testing.T, client *dynamodb.Client, events, views string) {
	t.Helper()
	if err := CreateTables(t.Context(), client, events, views); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{events, views} {
		if name == "" {
			continue
		}
		t.Cleanup(func() {
			if _, err := client.DeleteTable(context.WithoutCancel(t.Context()), &dynamodb.DeleteTableInput{TableName: &name}); err != nil {
				t.Error(err)
			}
		})
	}
}
