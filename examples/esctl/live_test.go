package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/matryer/is"

	"github.com/leftfold/leftfold/dynamostore"
	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
)

// account is a real engine, with tables of the test's own.
type account struct {
	*dynamodb.Client
	env map[string]string
}

func (a account) events() *string { return aws.String(a.env["EVENT_TABLE"]) }
func (a account) views() *string  { return aws.String(a.env["VIEW_TABLE"]) }

func live(t *testing.T) account {
	t.Helper()
	endpoint := os.Getenv("AWS_ENDPOINT_URL_DYNAMODB")
	if endpoint == "" {
		const missing = "no DynamoDB: set AWS_ENDPOINT_URL_DYNAMODB, or run make test"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	a := account{
		Client: dynamodb.New(dynamodb.Options{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: dummy}),
		env: map[string]string{
			"EVENT_TABLE": "events-" + rand.Text(), "VIEW_TABLE": "views-" + rand.Text(), "AWS_ENDPOINT_URL_DYNAMODB": endpoint,
			"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "dummy", "AWS_SECRET_ACCESS_KEY": "dummy",
		},
	}
	for name, value := range a.env {
		t.Setenv(name, value) // the SDK reads its own
	}
	code, stdout, stderr := a.esctl(t, "tables", "create")
	if code != 0 || !strings.Contains(stdout, "can be used") {
		t.Fatal(stderr)
	}
	t.Cleanup(func() {
		for _, table := range []*string{a.events(), a.views()} {
			if _, err := a.DeleteTable(context.WithoutCancel(t.Context()), &dynamodb.DeleteTableInput{TableName: table}); err != nil {
				t.Error(err)
			}
		}
	})
	return a
}

var dummy = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "dummy", SecretAccessKey: "dummy"}, nil
})

// esctl runs a command line as a shell would.
func (a account) esctl(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	tool := tool{getenv: os.Getenv, stdout: &out, stderr: &err, now: time.Now, open: openAWS}
	code = tool.run(t.Context(), args)
	return code, out.String(), err.String()
}

// batch collects the items that a store would write, to write them with few requests.
type batch struct {
	dynamostore.Client
	mu    sync.Mutex
	items []types.WriteRequest
}

func (b *batch) PutItem(_ context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items = append(b.items, types.WriteRequest{PutRequest: &types.PutRequest{Item: in.Item}})
	return &dynamodb.PutItemOutput{}, nil
}

// seed stores n streams org/0, org/1, … of as many commits.
func (a account) seed(t *testing.T, n, commits int) {
	t.Helper()
	b := batch{Client: a.Client}
	store := dynamostore.New(&b, *a.events(), nil)
	for i := range n {
		for version := range commits {
			e, err := org.Aggregate.Events.Encode(org.Updated{Profile: profile(t, fmt.Sprint("Org ", i, " at ", version+1))})
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Append(t.Context(), es.Commit{
				Stream: es.StreamID{Category: "org", ID: strconv.Itoa(i)}, Version: uint64(version) + 1, ID: fmt.Sprint("c", version+1),
				Time: time.Now().Add(-time.Hour), Status: es.Settled, Events: []es.Event{e},
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	const most = 25 // of a BatchWriteItem
	var wg sync.WaitGroup
	for part := range 4 {
		wg.Go(func() {
			for from := part * most; from < len(b.items); from += 4 * most {
				left := map[string][]types.WriteRequest{*a.events(): b.items[from:min(from+most, len(b.items))]}
				for len(left) > 0 {
					out, err := a.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: left})
					if err != nil {
						t.Error(err)
						return
					}
					left = out.UnprocessedItems
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func slot(id string, version int) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		"s": &types.AttributeValueMemberS{Value: "org/" + id}, "v": &types.AttributeValueMemberN{Value: strconv.Itoa(version)},
	}
}

// Each fault that is planted into real tables is found, and nothing else is.
func TestVerifyOnDynamoDB(t *testing.T) {
	a := live(t)
	a.seed(t, 12, 3)
	if code, _, stderr := a.esctl(t, "rebuild"); code != 0 {
		t.Fatal(stderr)
	}
	if code, stdout, stderr := a.esctl(t, "verify"); code != 0 || stdout != "checked 12 streams with 36 events: nothing found\n" {
		t.Fatalf("before: %d, %s%s", code, stdout, stderr)
	}
	remove := func(id string, version int) error {
		_, err := a.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: a.events(), Key: slot(id, version)})
		return err
	}
	set := func(table *string, key map[string]types.AttributeValue, attribute string, value types.AttributeValue) error {
		_, err := a.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
			TableName: table, Key: key, UpdateExpression: aws.String("SET #a = :v"), ConditionExpression: aws.String("attribute_exists(v)"),
			ExpressionAttributeNames: map[string]string{"#a": attribute}, ExpressionAttributeValues: map[string]types.AttributeValue{":v": value},
		})
		return err
	}
	word := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	view := func(id string) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{"k": word("org/org/" + id)}
	}
	event := func(name string) types.AttributeValue { return word(fmt.Sprintf("1e%d,2:%s{}", len(name), name)) }
	want := map[string]string{
		"org/0": "hole", "org/1": "hole", "org/2": "view-ahead", "org/3": "unknown-event", "org/4": "view-drift", "org/5": "view-behind",
		"org/6": "stuck", "org/7": "unreadable", "org/8": "buried", "org/9": "view-unreadable",
	}
	if err := errors.Join(
		remove("0", 2),
		remove("1", 1), // the beginning: a stream that is not listed is not checked
		remove("2", 3), // the end: only the view remembers it
		set(a.events(), slot("3", 2), "c", event("org.merged")),
		set(a.views(), view("4"), "d", word(`{"profile":{"name":"Drifted","location":"Oslo","description":"Makes & sells"}}`)),
		func() error {
			_, err := a.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: a.views(), Key: view("5")})
			return err
		}(),
		set(a.events(), slot("6", 3), "st", word("pending")),
		set(a.events(), slot("7", 3), "c", word("nonsense")),
		set(a.events(), slot("8", 2), "st", word("pending")),
		set(a.views(), view("9"), "d", word(`{"profile":`)),
	); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := a.esctl(t, "verify", "--json")
	got := map[string]string{}
	for line := range strings.Lines(stdout) {
		var f finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		got[f.Stream] += f.Kind
	}
	if code != exitFound || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("exit code %d, %s\ngot  %v\nwant %v", code, stderr, got, want)
	}
	for name := range want {
		if code, stdout, _ := a.esctl(t, "verify", name); code != exitFound || !strings.Contains(stdout, want[name]) {
			t.Errorf("%s alone: exit code %d, %s", name, code, stdout)
		}
	}
}

// What a crash left is listed, published to a real topic, and settled.
func TestRelayOnAWS(t *testing.T) {
	a := live(t)
	endpoint := os.Getenv("AWS_ENDPOINT_URL_SNS")
	if endpoint == "" {
		const missing = "no SNS: set AWS_ENDPOINT_URL_SNS and AWS_ENDPOINT_URL_SQS, or run make test"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	topics := sns.New(sns.Options{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: dummy})
	topic, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{
		Name: aws.String("commits-" + rand.Text() + ".fifo"), Attributes: map[string]string{"FifoTopic": "true"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := topics.DeleteTopic(context.WithoutCancel(t.Context()), &sns.DeleteTopicInput{TopicArn: topic.TopicArn}); err != nil {
			t.Error(err)
		}
	})
	is := is.New(t)
	store := dynamostore.New(a.Client, *a.events(), nil)
	for _, id := range []string{"1", "2"} {
		e, err := org.Aggregate.Events.Encode(org.Created{Profile: profile(t, "Acme")})
		is.NoErr(err)
		is.NoErr(store.Append(t.Context(), es.Commit{
			Stream: es.StreamID{Category: "org", ID: id}, Version: 1, ID: "c" + id, Time: time.Now().Add(-time.Hour), Events: []es.Event{e},
		}))
	}
	_, stdout, _ := a.esctl(t, "pending")
	is.True(strings.Contains(stdout, "1h0m0s  pending  org/1   1        c1      org.created"))

	// To a topic that is not there nothing can be published, and what cannot be published is settled by hand alone.
	t.Setenv("TOPIC_ARN", strings.TrimSuffix(*topic.TopicArn, ".fifo")+"x.fifo")
	code, stdout, stderr := a.esctl(t, "relay")
	is.Equal(code, exitFailed)
	is.Equal(stdout, "published and settled 0 commits\n")
	is.True(strings.Contains(stderr, "stream org/2 is blocked by commit c2"))
	code, _, stderr = a.esctl(t, "settle", "org/2", "c2", "--reason", "nobody wants it")
	is.Equal(code, 0)
	is.True(strings.Contains(stderr, "nobody wants it"))

	t.Setenv("TOPIC_ARN", *topic.TopicArn)
	code, stdout, _ = a.esctl(t, "relay")
	is.Equal(code, 0)
	is.Equal(stdout, "published and settled 1 commit\n")
	_, stdout, _ = a.esctl(t, "pending")
	is.Equal(stdout, "nothing is pending\n")
	_, stdout, _ = a.esctl(t, "show", "org/1")
	is.True(strings.Contains(stdout, "settled  c1"))
}

func TestNoTable(t *testing.T) {
	a := live(t)
	t.Setenv("EVENT_TABLE", *a.events()+"-gone")
	code, _, stderr := a.esctl(t, "verify")
	if code != exitFailed || !strings.Contains(stderr, "Check EVENT_TABLE") || strings.Contains(stderr, "SDK") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// The program itself rebuilds ten thousand views, is killed on its way, and goes on from there.
func TestKill(t *testing.T) {
	a := live(t)
	const streams = 10_000
	a.seed(t, streams, 1)
	dir := t.TempDir()
	program, file := filepath.Join(dir, "esctl"), filepath.Join(dir, "place.json")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	command := func() (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
		var stdout, stderr bytes.Buffer
		c := exec.CommandContext(t.Context(), program, "rebuild", "--category", "org", "--parallel", "8", "--resume", file)
		c.Stdout, c.Stderr = &stdout, &stderr
		return c, &stdout, &stderr
	}
	kept := func() int {
		var p place
		data, err := os.ReadFile(file)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return 0
		case err == nil:
			err = json.Unmarshal(data, &p)
		}
		if err != nil || len(p.Parts) != 1 {
			t.Fatalf("the file is %s: %v", data, err)
		}
		return p.Parts[0].Streams
	}
	last, kills := 0, 0
	for range 3 {
		c, stdout, stderr := command()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		for begun := time.Now(); kept() < last+streams/8; time.Sleep(10 * time.Millisecond) {
			if time.Since(begun) > 2*time.Minute {
				t.Fatalf("it does not get on: %s%s", stdout, stderr)
			}
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err == nil {
			t.Fatal("it was done before it could be killed")
		}
		last, kills = kept(), kills+1
	}
	c, stdout, stderr := command()
	if err := c.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("%v: %s", err, stderr)
	}
	said := regexp.MustCompile(`^org: (\d+) streams rebuilt from (\d+) events, (\d+) streams before the interruption\n$`).FindStringSubmatch(stdout.String())
	if said == nil || said[1] != strconv.Itoa(streams) || said[2] != strconv.Itoa(streams) || said[3] != strconv.Itoa(last) {
		t.Errorf("after %d kills, the last at %d, it said %q, %q", kills, last, stdout, said)
	}
	// All views are there, and each is that of its stream.
	made := map[string]bool{}
	for p := dynamodb.NewScanPaginator(a.Client, &dynamodb.ScanInput{TableName: a.views(), ConsistentRead: aws.Bool(true)}); p.HasMorePages(); {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			k, _ := item["k"].(*types.AttributeValueMemberS)
			v, _ := item["v"].(*types.AttributeValueMemberN)
			d, _ := item["d"].(*types.AttributeValueMemberS)
			if id, ok := strings.CutPrefix(k.Value, "org/org/"); ok && v.Value == "1" && strings.Contains(d.Value, `"Org `+id+` at 1"`) {
				made[id] = true
			}
		}
	}
	if len(made) != streams {
		t.Errorf("%d views of %d", len(made), streams)
	}
}
