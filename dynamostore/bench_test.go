package dynamostore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/leftfold/leftfold/es"
)

// canned answers every request at once with the same bytes, so that a benchmark
// measures the client alone.
type canned struct{ newest string } // what a query finds

func (c canned) Do(r *http.Request) (*http.Response, error) {
	body := "{}"
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".Query") {
		body = c.newest
	}
	_, _ = io.Copy(io.Discard, r.Body)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}, nil
}

const newest = `{"Count":1,"Items":[{"s":{"S":"sized/1"},"v":{"N":"7"},"i":{"S":"4X2XQ6ZJ3M5K7N8P9RSTUVWXYZ"},` +
	`"t":{"S":"2026-01-02T03:04:05.000000006Z"},` +
	`"c":{"S":"1e5,31:sized{\"Text\":\"eeeeeeeeeeeeeeeeeeee\"}y7,31:sized/1{\"Text\":\"ssssssssssssssssssss\"}"}}]}`

// commands returns a command through the journal, and the same three requests written
// by hand, both without a network.
func commands() map[string]func() error {
	client := newClient("http://127.0.0.1:1", func(o *dynamodb.Options) { o.HTTPClient = canned{newest} })
	ctx, table, a := context.Background(), "events", filled("sized", 20)
	j := &es.Journal{Store: New(client, table, nil), Publisher: nobody{}}
	return map[string]func() error{
		"journal": func() error {
			_, err := es.Execute(ctx, j, a, "1", say(20))
			return err
		},
		"by hand": func() error { return byHand(ctx, client, table) },
	}
}

// Client overhead in time, to be compared with each other.
func BenchmarkCommand(b *testing.B) {
	for name, run := range commands() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Client overhead in allocations: at most 1.3 times those of the SDK alone.
func TestClientOverhead(t *testing.T) {
	allocations := map[string]float64{}
	for name, run := range commands() {
		allocations[name] = testing.AllocsPerRun(50, func() {
			if err := run(); err != nil {
				t.Fatal(err)
			}
		})
	}
	if ratio := allocations["journal"] / allocations["by hand"]; ratio > 1.3 {
		t.Errorf("a command makes %.2f times the allocations of the same requests by hand: %v", ratio, allocations)
	}
}

// nobody takes everything.
type nobody struct{}

func (nobody) Publish(context.Context, es.Commit) error { return nil }

// byHand is what somebody would write without a library: load the newest item, decide,
// append, settle, each with a time-out.
func byHand(ctx context.Context, client *dynamodb.Client, table string) error {
	stream := text("sized/1")
	queryCtx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	out, err := client.Query(queryCtx, &dynamodb.QueryInput{
		TableName: &table, ConsistentRead: aws.Bool(true), ScanIndexForward: aws.Bool(false), Limit: aws.Int32(1),
		KeyConditionExpression: aws.String("s = :s"), ExpressionAttributeValues: item{":s": stream},
	})
	if err != nil {
		return err
	}
	last := out.Items[0]
	version, err := strconv.ParseUint(last["v"].(*types.AttributeValueMemberN).Value, 10, 64)
	if err != nil {
		return err
	}
	var state filler
	content := last["c"].(*types.AttributeValueMemberS).Value
	if err := json.Unmarshal([]byte(content[strings.LastIndexByte(content, '{'):]), &state); err != nil {
		return err
	}
	event, err := json.Marshal(filler{strings.Repeat("e", 20)})
	if err != nil {
		return err
	}
	state = filler{strings.Repeat("s", 20)}
	snapshot, err := json.Marshal(state)
	if err != nil {
		return err
	}
	next, id := &types.AttributeValueMemberN{Value: strconv.FormatUint(version+1, 10)}, text(rand.Text())
	putCtx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := client.PutItem(putCtx, &dynamodb.PutItemInput{
		TableName: &table, ConditionExpression: aws.String("attribute_not_exists(s)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		Item: item{
			"s": stream, "v": next, "i": id, "st": text("pending"), "t": text(time.Now().UTC().Format(timeFormat)), "p": text("3"),
			"c": text(fmt.Sprintf("1e5,%d:sized%sy7,%d:sized/1%s", len(event), event, len(snapshot), snapshot)),
		},
	}); err != nil {
		return err
	}
	settleCtx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = client.UpdateItem(settleCtx, &dynamodb.UpdateItemInput{
		TableName: &table, Key: item{"s": stream, "v": next},
		UpdateExpression: aws.String("REMOVE st, p"), ConditionExpression: aws.String("i = :i AND st IN (:p, :c)"),
		ExpressionAttributeValues:           item{":i": id, ":p": text("pending"), ":c": text("claimed")},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	return err
}
