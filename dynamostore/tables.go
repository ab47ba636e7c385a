package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/leftfold/leftfold/es"
)

// CreateTables creates the tables of a [Store] and of [Views] and waits until they can be
// used, for tests and local use. They are billed on demand. An empty name creates none.
//
// A table that is there already is left as it is. If it has other keys, or lacks the index
// "pending", the error wraps [es.ErrInvalid]. There is no limit on the time but
// that of the context.
func CreateTables(ctx context.Context, client *dynamodb.Client, events, views string) error {
	var tables []*dynamodb.CreateTableInput
	if events != "" {
		tables = append(tables, &dynamodb.CreateTableInput{
			TableName: &events, BillingMode: types.BillingModePayPerRequest,
			AttributeDefinitions: []types.AttributeDefinition{
				attribute("s", types.ScalarAttributeTypeS), attribute("v", types.ScalarAttributeTypeN),
				attribute("p", types.ScalarAttributeTypeS), attribute("t", types.ScalarAttributeTypeS),
			},
			KeySchema: []types.KeySchemaElement{key("s", types.KeyTypeHash), key("v", types.KeyTypeRange)},
			GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
				IndexName:  aws.String(defaultIndex),
				KeySchema:  []types.KeySchemaElement{key("p", types.KeyTypeHash), key("t", types.KeyTypeRange)},
				Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
			}},
		})
	}
	if views != "" {
		tables = append(tables, &dynamodb.CreateTableInput{
			TableName: &views, BillingMode: types.BillingModePayPerRequest,
			AttributeDefinitions: []types.AttributeDefinition{attribute("k", types.ScalarAttributeTypeS)},
			KeySchema:            []types.KeySchemaElement{key("k", types.KeyTypeHash)},
		})
	}
	for _, table := range tables {
		_, err := client.CreateTable(ctx, table)
		if _, exists := errors.AsType[*types.ResourceInUseException](err); err != nil && !exists {
			return fmt.Errorf("create table %s: %w", *table.TableName, err)
		}
	}
	for _, table := range tables {
		if err := await(ctx, client, table); err != nil {
			return fmt.Errorf("create table %s: %w", *table.TableName, err)
		}
	}
	return nil
}

func attribute(name string, t types.ScalarAttributeType) types.AttributeDefinition {
	return types.AttributeDefinition{AttributeName: &name, AttributeType: t}
}

func key(name string, t types.KeyType) types.KeySchemaElement {
	return types.KeySchemaElement{AttributeName: &name, KeyType: t}
}

// await waits until a table and its index can be used, and checks that they are as wanted.
func await(ctx context.Context, client *dynamodb.Client, want *dynamodb.CreateTableInput) error {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		out, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: want.TableName})
		// It may take a moment until a table is known everywhere.
		if _, unknown := errors.AsType[*types.ResourceNotFoundException](err); err != nil && !unknown {
			return err
		}
		if err == nil && out.Table.TableStatus == types.TableStatusActive {
			if ready, err := fits(out.Table, want); ready || err != nil {
				return err
			}
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

// fits reports whether the indexes of a table can be used.
func fits(have *types.TableDescription, want *dynamodb.CreateTableInput) (ready bool, _ error) {
	if err := sameKeys(have.KeySchema, have.AttributeDefinitions, want.KeySchema, want.AttributeDefinitions); err != nil {
		return false, err
	}
	for _, index := range want.GlobalSecondaryIndexes {
		found := false
		for _, other := range have.GlobalSecondaryIndexes {
			if *other.IndexName != *index.IndexName {
				continue
			}
			found = true
			if err := sameKeys(other.KeySchema, have.AttributeDefinitions, index.KeySchema, want.AttributeDefinitions); err != nil {
				return false, fmt.Errorf("index %s: %w", *index.IndexName, err)
			}
			if other.IndexStatus != types.IndexStatusActive {
				return false, nil
			}
		}
		if !found {
			return false, fmt.Errorf("%w: it exists without the index %s", es.ErrInvalid, *index.IndexName)
		}
	}
	return true, nil
}

func sameKeys(have []types.KeySchemaElement, haveTypes []types.AttributeDefinition, want []types.KeySchemaElement, wantTypes []types.AttributeDefinition) error {
	h, w := keysOf(have, haveTypes), keysOf(want, wantTypes)
	if h != w {
		return fmt.Errorf("%w: it exists with the key %s, not %s", es.ErrInvalid, h, w)
	}
	return nil
}

// keysOf returns the keys in words.
func keysOf(keys []types.KeySchemaElement, attributes []types.AttributeDefinition) (words string) {
	for _, k := range keys {
		words += fmt.Sprintf("(%s %s", k.KeyType, *k.AttributeName)
		for _, a := range attributes {
			if *a.AttributeName == *k.AttributeName {
				words += " " + string(a.AttributeType)
			}
		}
		words += ")"
	}
	return words
}
