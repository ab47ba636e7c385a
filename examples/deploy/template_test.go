// What cfn-lint does not know of the template: what this program needs of it.
package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/leftfold/leftfold/dynamostore"
	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
)

// created returns what CreateTables asks for, as the properties of a template.
func created(t *testing.T) (events, views object) {
	t.Helper()
	var inputs []*dynamodb.CreateTableInput
	record := middleware.InitializeMiddlewareFunc("record", func(_ context.Context, in middleware.InitializeInput, _ middleware.InitializeHandler) (out middleware.InitializeOutput, md middleware.Metadata, err error) {
		switch p := in.Parameters.(type) {
		case *dynamodb.CreateTableInput:
			inputs = append(inputs, p)
			out.Result = &dynamodb.CreateTableOutput{}
		case *dynamodb.DescribeTableInput:
			i := slices.IndexFunc(inputs, func(in *dynamodb.CreateTableInput) bool { return *in.TableName == *p.TableName })
			table := &types.TableDescription{
				TableStatus: types.TableStatusActive, KeySchema: inputs[i].KeySchema, AttributeDefinitions: inputs[i].AttributeDefinitions,
			}
			for _, index := range inputs[i].GlobalSecondaryIndexes {
				table.GlobalSecondaryIndexes = append(table.GlobalSecondaryIndexes, types.GlobalSecondaryIndexDescription{
					IndexName: index.IndexName, KeySchema: index.KeySchema, IndexStatus: types.IndexStatusActive,
				})
			}
			out.Result = &dynamodb.DescribeTableOutput{Table: table}
		default:
			err = fmt.Errorf("%T was not expected", p)
		}
		return out, md, err
	})
	client := dynamodb.New(dynamodb.Options{Region: "us-east-1", APIOptions: []func(*middleware.Stack) error{func(stack *middleware.Stack) error {
		return stack.Initialize.Add(record, middleware.Before)
	}}})
	if err := dynamostore.CreateTables(t.Context(), client, "events", "views"); err != nil {
		t.Fatal(err)
	}
	if len(inputs) != 2 {
		t.Fatalf("%d tables were created", len(inputs))
	}
	properties := func(in *dynamodb.CreateTableInput) (m object) {
		b, err := json.Marshal(in)
		if err == nil {
			err = json.Unmarshal(b, &m)
		}
		if err != nil {
			t.Fatal(err)
		}
		delete(m, "TableName")
		return withoutNil(m).(object)
	}
	return properties(inputs[0]), properties(inputs[1])
}

func withoutNil(v any) any {
	switch v := v.(type) {
	case object:
		for key, e := range v {
			if withoutNil(e) == nil || e == "" {
				delete(v, key)
			}
		}
	case []any:
		for _, e := range v {
			withoutNil(e)
		}
	}
	return v
}

// needed returns the actions that the doc of dynamostore says are needed, each by what it is for.
func needed(t *testing.T) (events, index, views, rebuild []string) {
	t.Helper()
	doc := strings.Join(strings.Fields(strings.ReplaceAll(read(t, "../../dynamostore/doc.go"), "//", "")), " ")
	m := regexp.MustCompile(`A service needs (.+?) on the table of events, (.+?) on its index, and (.+?) on the table of views\. Only a rebuild needs (\S+),`).FindStringSubmatch(doc)
	if m == nil {
		t.Fatal("the doc of dynamostore does not say which permissions are needed, or not as this test reads it")
	}
	actions := func(s string) []string {
		return slices.Sorted(slices.Values(regexp.MustCompile(`dynamodb:\w+`).FindAllString(s, -1)))
	}
	return actions(m[1]), actions(m[2]), actions(m[3]), actions(m[4])
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// seconds returns a duration that a source file has as a number of seconds.
func seconds(t *testing.T, name, before string) int {
	t.Helper()
	m := regexp.MustCompile(before + `(\d+) ?\* ?time\.Second`).FindStringSubmatch(read(t, name))
	if m == nil {
		t.Fatalf("%s has no %q", name, before)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

type problem func(format string, args ...any)

// want reports each property that is not as it should be.
func want(bad problem, id string, properties any, wanted object) {
	for _, path := range slices.Sorted(maps.Keys(wanted)) {
		if got := at(properties, path); !reflect.DeepEqual(got, wanted[path]) {
			bad("%s: %s is %v, not %v", id, path, got, wanted[path])
		}
	}
}

const (
	day       = 24 * 60 * 60
	noNumbers = "not arn:${AWS::Partition}:sns:*:*:*" // anything but topics and endpoints: phone numbers
)

type check struct {
	name string
	run  func(t *testing.T, s stack, bad problem)
}

var checks = []check{
	{"the tables are those of CreateTables", func(t *testing.T, s stack, bad problem) {
		events, views := created(t)
		for id, wanted := range map[string]object{s.events: events, s.views: views} {
			if len(wanted) < 3 {
				t.Fatalf("%s: hardly anything to compare with: %v", id, wanted)
			}
			got := object{}
			for _, key := range []string{"AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "LocalSecondaryIndexes", "BillingMode", "ProvisionedThroughput", "StreamSpecification"} {
				if v := at(s.properties(id), key); v != nil {
					got[key] = v
				}
			}
			want(bad, id, got, wanted)
			for key := range got {
				if wanted[key] == nil {
					bad("%s has %s", id, key)
				}
			}
		}
	}},
	{"what cannot be made again is kept", func(_ *testing.T, s stack, bad problem) {
		for _, id := range []string{s.events, s.views, s.otpKey} {
			want(bad, id, at(s.root, "Resources/"+id), object{"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"})
		}
		for _, id := range []string{s.events, s.views} {
			want(bad, id, s.properties(id), object{
				"DeletionProtectionEnabled":                                   true,
				"PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled": true,
				"SSESpecification/SSEEnabled":                                 true,
			})
		}
	}},
	{"kept answers expire, and nothing else", func(_ *testing.T, s stack, bad problem) {
		want(bad, s.views, s.properties(s.views), object{"TimeToLiveSpecification/AttributeName": "x", "TimeToLiveSpecification/Enabled": true})
		want(bad, s.events, s.properties(s.events), object{"TimeToLiveSpecification": nil})
	}},
	{"the topic keeps order for each stream", func(_ *testing.T, s stack, bad problem) {
		want(bad, s.topic, s.properties(s.topic), object{
			"FifoTopic": true, "FifoThroughputScope": "MessageGroup", "ContentBasedDeduplication": false, "KmsMasterKeyId": "alias/aws/sns",
		})
	}},
	{"the queues keep order for each stream, encrypted so that SNS can send", func(_ *testing.T, s stack, bad problem) {
		for _, id := range []string{s.queue, s.failed, s.undelivered} {
			want(bad, id, s.properties(id), object{
				"FifoQueue": true, "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId",
				"SqsManagedSseEnabled": true, "KmsMasterKeyId": nil, "ContentBasedDeduplication": nil,
			})
		}
	}},
	{"a message is not visible again while it is handled", func(_ *testing.T, s stack, bad problem) {
		timeout, visibility := number(at(s.properties(s.function), "Timeout")), number(at(s.properties(s.queue), "VisibilityTimeout"))
		if visibility < 6*timeout {
			bad("%s: VisibilityTimeout is %d s, less than 6 times the function's %d s", s.queue, visibility, timeout)
		}
	}},
	{"what is published comes to the queue as it is", func(_ *testing.T, s stack, bad problem) {
		want(bad, s.subscription, s.properties(s.subscription), object{
			"Protocol": "sqs", "Endpoint": object{"Fn::GetAtt": s.queue + ".Arn"}, "RawMessageDelivery": true, "FilterPolicy": nil,
		})
		// What is published before the policies are there would be lost.
		for _, id := range s.ids("AWS::SQS::QueuePolicy") {
			if !slices.Contains(list(at(s.root, "Resources/"+s.subscription+"/DependsOn")), any(id)) {
				bad("%s does not depend on %s", s.subscription, id)
			}
		}
	}},
	{"what cannot be delivered or handled is kept apart", func(_ *testing.T, s stack, bad problem) {
		queues := []string{s.failed, s.queue, s.undelivered}
		if slices.Contains(queues, "") || !reflect.DeepEqual(queues, s.ids("AWS::SQS::Queue")) {
			bad("a queue, one for what it could not handle and one for what could not be delivered are wanted, not %q of %q", queues, s.ids("AWS::SQS::Queue"))
		}
		// Lambda's throttling counts as a receive: AWS recommends 5 and more.
		if n := number(at(s.properties(s.queue), "RedrivePolicy/maxReceiveCount")); n < 5 || n > 20 {
			bad("%s: maxReceiveCount is %d", s.queue, n)
		}
	}},
	{"there is time to mend things", func(_ *testing.T, s stack, bad problem) {
		retention := number(at(s.properties(s.queue), "MessageRetentionPeriod"))
		if retention < 7*day {
			bad("%s keeps messages for %d s", s.queue, retention)
		}
		for _, id := range []string{s.failed, s.undelivered} {
			if n := number(at(s.properties(id), "MessageRetentionPeriod")); n <= retention {
				bad("%s keeps messages for %d s, no longer than %s", id, n, s.queue)
			}
		}
	}},
	{"the topic alone sends to the queues", func(_ *testing.T, s stack, bad problem) {
		policies := map[string]any{}
		for _, id := range s.ids("AWS::SQS::QueuePolicy") {
			queues := list(at(s.properties(id), "Queues"))
			if len(queues) != 1 {
				bad("%s is for %d queues", id, len(queues))
				continue
			}
			policies[target(queues[0])] = at(s.properties(id), "PolicyDocument/Statement")
		}
		wanted := map[string]any{}
		for _, id := range []string{s.queue, s.undelivered} {
			wanted[id] = []any{object{
				"Effect": "Allow", "Principal": object{"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
				"Resource":  object{"Fn::GetAtt": id + ".Arn"},
				"Condition": object{"ArnEquals": object{"aws:SourceArn": object{"Ref": s.topic}}},
			}}
		}
		if !reflect.DeepEqual(policies, wanted) {
			bad("the policies are %v, not %v", policies, wanted)
		}
	}},
	{"no permission has a wildcard", func(_ *testing.T, s stack, bad problem) {
		var walk func(path string, v any)
		walk = func(path string, v any) {
			switch v := v.(type) {
			case []any:
				for i, e := range v {
					walk(fmt.Sprint(path, "/", i), e)
				}
			case object:
				for key, e := range v {
					if _, ok := v["Effect"]; ok && key != "Condition" {
						// A phone number has no ARN, so that publishing to one cannot be granted but so.
						exception := key == "NotResource" && at(v, "Action") == "sns:Publish" && "not "+render(e) == noNumbers
						if strings.Contains(fmt.Sprint(e), "*") && !exception {
							bad("%s/%s is %v", path, key, e)
						}
						if key == "NotAction" || key == "NotPrincipal" {
							bad("%s has %s", path, key)
						}
					}
					walk(path+"/"+key, e)
				}
			}
		}
		walk("Resources", s.root["Resources"])
	}},
	{"the function may do what it must, and no more", func(t *testing.T, s stack, bad problem) {
		events, index, views, _ := needed(t)
		wanted := map[string][]string{
			s.events + ".Arn":                       events,
			"${" + s.events + ".Arn}/index/pending": index,
			s.views + ".Arn":                        views,
			s.topic:                                 {"sns:GetTopicAttributes", "sns:Publish"},
			s.queue + ".Arn":                        {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"},
			s.log + ".Arn":                          {"logs:CreateLogStream", "logs:PutLogEvents"},
		}
		policies := list(at(s.properties(s.role), "Policies"))
		if len(policies) != 1 {
			bad("%s has %d policies", s.role, len(policies))
			return
		}
		if got := statements(at(policies[0], "PolicyDocument"), bad); !reflect.DeepEqual(got, wanted) {
			bad("%s allows %v, not %v", s.role, got, wanted)
		}
		// Others would add to it: managed ones, those of SAM, and resources of their own.
		want(bad, s.role, s.properties(s.role), object{
			"ManagedPolicyArns": nil,
			"AssumeRolePolicyDocument/Statement": []any{object{
				"Effect": "Allow", "Principal": object{"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole",
			}},
		})
		want(bad, s.function, s.properties(s.function), object{"Policies": nil, "Role": object{"Fn::GetAtt": s.role + ".Arn"}})
		sms := s.only("AWS::IAM::Policy")
		wanted = map[string][]string{noNumbers: {"sns:Publish"}}
		if got := statements(at(s.properties(sms), "PolicyDocument"), bad); sms == "" || !reflect.DeepEqual(got, wanted) {
			bad("%q allows %v, not %v", sms, got, wanted)
		}
		want(bad, sms, s.properties(sms), object{"Roles": []any{object{"Ref": s.role}}})
		if n := len(s.ids("AWS::IAM::ManagedPolicy")) + len(s.ids("AWS::IAM::RolePolicy")); n > 0 {
			bad("there are %d more policies", n)
		}
		condition := at(s.root, fmt.Sprintf("Conditions/%v", at(s.root, "Resources/"+sms+"/Condition")))
		for sender, wanted := range map[string]bool{"sns": true, "log": false, "smtp://sns?from=a@example.com": false} {
			if got := s.holds(condition, map[string]string{"Sender": sender}); got != wanted {
				bad("%s is in force with the sender %q: %t", sms, sender, got)
			}
		}
	}},
	{"a rebuild may read events and write views, and no more", func(t *testing.T, s stack, bad problem) {
		_, _, views, scan := needed(t)
		wanted := map[string][]string{
			s.events + ".Arn": slices.Sorted(slices.Values(append(scan, "dynamodb:Query"))),
			s.views + ".Arn":  views,
		}
		if got := statements(at(s.properties(s.rebuild), "Policies/0/PolicyDocument"), bad); !reflect.DeepEqual(got, wanted) {
			bad("%q allows %v, not %v", s.rebuild, got, wanted)
		}
		want(bad, s.rebuild, s.properties(s.rebuild), object{
			"Policies/1": nil, "ManagedPolicyArns": nil,
			"AssumeRolePolicyDocument/Statement": []any{object{
				"Effect": "Allow", "Principal": object{"AWS": object{"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}, "Action": "sts:AssumeRole",
			}},
		})
	}},
	{"a person who relays may finish commits, and no more", func(t *testing.T, s stack, bad problem) {
		_, index, _, _ := needed(t)
		wanted := map[string][]string{
			// No PutItem: relay and settle set a status, and append and revoke nothing.
			s.events + ".Arn":                       {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem"},
			"${" + s.events + ".Arn}/index/pending": index,
			s.topic:                                 {"sns:Publish"},
		}
		if got := statements(at(s.properties(s.relay), "Policies/0/PolicyDocument"), bad); !reflect.DeepEqual(got, wanted) {
			bad("%q allows %v, not %v", s.relay, got, wanted)
		}
		want(bad, s.relay, s.properties(s.relay), object{
			"Policies/1": nil, "ManagedPolicyArns": nil,
			"AssumeRolePolicyDocument/Statement": []any{object{
				"Effect": "Allow", "Principal": object{"AWS": object{"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}, "Action": "sts:AssumeRole",
			}},
		})
		if n := len(s.ids("AWS::IAM::Role")); n != 3 {
			bad("there are %d roles, not those of the function, of a rebuild, and of a person who relays", n)
		}
	}},
	{"a message that fails does not take its batch along", func(_ *testing.T, s stack, bad problem) {
		event := at(s.properties(s.function), "Events/Commits")
		want(bad, s.function, event, object{"Type": "SQS", "Properties/FunctionResponseTypes": []any{"ReportBatchItemFailures"}, "Properties/MaximumBatchingWindowInSeconds": nil})
		if n := number(at(event, "Properties/BatchSize")); n < 1 || n > 10 {
			bad("%s: BatchSize is %d, and a FIFO queue has 1 to 10", s.function, n)
		}
		want(bad, s.function, event, object{"Properties/ScalingConfig/MaximumConcurrency": object{"Ref": "QueueConcurrency"}})
	}},
	{"the relay runs", func(_ *testing.T, s stack, bad problem) {
		want(bad, s.function, s.properties(s.function), object{
			"Events/Relay/Type": "Schedule", "Events/Relay/Properties/Schedule": "rate(1 minute)", "Events/Relay/Properties/Enabled": nil,
			"EventInvokeConfig/MaximumRetryAttempts": 0, // the next minute is soon enough
		})
	}},
	{"the function outlives what it does", func(t *testing.T, s stack, bad problem) {
		least := seconds(t, "../../es/journal.go", `j\.Timeout, `) + seconds(t, "../service/smtp.go", `smtpTimeout = `) + seconds(t, "../service/prefer.go", `maxWait\s+= `)
		const gateway = 30
		if n := number(at(s.properties(s.function), "Timeout")); n <= least || n > gateway {
			bad("%s: Timeout is %d s, but must be above %d s and at most the gateway's %d s", s.function, n, least, gateway)
		}
	}},
	{"the program can read its environment", func(_ *testing.T, s stack, bad problem) {
		variables, _ := at(s.properties(s.function), "Environment/Variables").(object)
		var known []string
		_, _ = service.ReadConfig(func(name string) string { known = append(known, name); return "" })
		if got := slices.Sorted(maps.Keys(variables)); !reflect.DeepEqual(got, slices.Sorted(slices.Values(known))) {
			bad("%s has %q, but the program knows %q", s.function, got, known)
		}
		for _, parameters := range []map[string]string{
			{}, {"Sender": "sns", "LogLevel": "debug"}, {"Sender": "smtp://user:password@mail.example.com:587?from=codes@example.com"},
			{"PublicUrl": "https://api.example.com/v1", "TokenKeyVersion": "0d9f0e3c-0000-4000-8000-000000000000"},
		} {
			for name, value := range parameters {
				pattern, _ := at(s.root, "Parameters/"+name+"/AllowedPattern").(string)
				if ok, err := regexp.MatchString(pattern, value); !ok || err != nil {
					bad("the parameter %s may not be %q", name, value)
				}
			}
			config, err := service.ReadConfig(func(name string) string { return s.eval(variables[name], parameters) }, known...)
			if err != nil {
				bad("with %v: %v", parameters, err)
			}
			if public := parameters["PublicUrl"]; public != "" && config.PublicURL != public {
				bad("PUBLIC_URL is %q, not %q", config.PublicURL, public)
			}
		}
	}},
	{"no secret is written down", func(_ *testing.T, s stack, bad problem) {
		for _, name := range []string{"OTP_KEY", "TOKEN_KEY"} {
			text := render(at(s.properties(s.function), "Environment/Variables/"+name))
			m := regexp.MustCompile(`^\{\{resolve:secretsmanager:\$\{(\w+)\}:SecretString:::(\$\{\w+\})?\}\}$`).FindStringSubmatch(text)
			if m == nil {
				bad("%s is %q, not a reference to a secret", name, text)
				continue
			}
			want(bad, m[1], at(s.root, "Resources/"+m[1]), object{"Type": "AWS::SecretsManager::Secret", "Properties/SecretString": nil})
		}
		want(bad, "the parameter Sender", at(s.root, "Parameters/Sender"), object{"NoEcho": true, "Default": "log"})
		want(bad, s.function, s.properties(s.function), object{"Environment/Variables/SENDER": object{"Ref": "Sender"}})
		outputs, _ := s.root["Outputs"].(object)
		for id, output := range outputs {
			if text := fmt.Sprint(output); strings.Contains(text, "resolve:") || strings.Contains(text, "Sender") {
				bad("the output %s shows a secret: %s", id, text)
			}
		}
	}},
	{"each key is its own", func(_ *testing.T, s stack, bad problem) {
		v := at(s.properties(s.function), "Environment/Variables")
		if a, b := render(at(v, "OTP_KEY")), render(at(v, "TOKEN_KEY")); strings.Contains(b, "${"+s.otpKey+"}") {
			bad("OTP_KEY is %s and TOKEN_KEY is %s", a, b)
		}
	}},
	{"what goes wrong is told", func(_ *testing.T, s stack, bad problem) {
		for _, wanted := range []struct {
			namespace, metric, dimension, value string
			latest                              int // value that must alarm
		}{
			{"AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", s.failed + ".QueueName", 1},
			{"AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", s.undelivered + ".QueueName", 1},
			{"AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", s.queue + ".QueueName", int(otp.Lifetime.Seconds())},
			{"AWS/Lambda", "Errors", "FunctionName", s.function, 1},
			{"AWS/Lambda", "Throttles", "FunctionName", s.function, 1},
			{"AWS/Lambda", "AsyncEventsDropped", "FunctionName", s.function, 5},
			{"AWS/ApiGateway", "5xx", "ApiId", s.api, 100},
		} {
			found := slices.ContainsFunc(s.ids("AWS::CloudWatch::Alarm"), func(id string) bool {
				p := s.properties(id)
				topic := target(at(p, "AlarmActions/0"))
				least := number(at(p, "Threshold")) // that alarms
				if at(p, "ComparisonOperator") == "GreaterThanThreshold" {
					least++
				}
				return at(p, "Namespace") == wanted.namespace && at(p, "MetricName") == wanted.metric &&
					len(list(at(p, "Dimensions"))) == 1 && at(p, "Dimensions/0/Name") == wanted.dimension && render(at(p, "Dimensions/0/Value")) == wanted.value &&
					slices.Contains([]any{"GreaterThanThreshold", "GreaterThanOrEqualToThreshold"}, at(p, "ComparisonOperator")) &&
					number(at(p, "Threshold")) >= 1 && least <= wanted.latest &&
					at(p, "EvaluationPeriods") == 1 && number(at(p, "Period")) >= 60 && number(at(p, "Period")) <= 300 && at(p, "TreatMissingData") == "notBreaching" &&
					slices.Contains([]any{"Maximum", "Sum"}, at(p, "Statistic")) && at(p, "ActionsEnabled") == nil &&
					// CloudWatch may not use the key alias/aws/sns, and publishes to no FIFO topic.
					at(s.root, "Resources/"+topic+"/Type") == "AWS::SNS::Topic" && at(s.properties(topic), "KmsMasterKeyId") == nil && at(s.properties(topic), "FifoTopic") == nil
			})
			if !found {
				bad("no alarm for %s %s of %s, at %d at the latest, and a topic that CloudWatch can publish to", wanted.namespace, wanted.metric, wanted.value, wanted.latest)
			}
		}
		emails := slices.DeleteFunc(s.ids("AWS::SNS::Subscription"), func(id string) bool { return id == s.subscription })
		if len(emails) != 1 {
			bad("there are %d subscriptions of alarms", len(emails))
			return
		}
		want(bad, emails[0], s.properties(emails[0]), object{
			"Protocol": "email", "Endpoint": object{"Ref": "AlarmEmail"}, "TopicArn": at(s.properties(s.ids("AWS::CloudWatch::Alarm")[0]), "AlarmActions/0"),
		})
		condition := at(s.root, fmt.Sprintf("Conditions/%v", at(s.root, "Resources/"+emails[0]+"/Condition")))
		for address, wanted := range map[string]bool{"": false, "a@example.com": true} {
			if s.holds(condition, map[string]string{"AlarmEmail": address}) != wanted {
				bad("%s does not depend on there being an address", emails[0])
			}
		}
	}},
	{"metrics are made of what is logged", func(t *testing.T, s stack, bad problem) {
		// The records that the service logs by default, with their keys; another test compares the table with the code.
		operations, logged := read(t, "../../docs/operations.md"), make(map[string][]string)
		for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (?:`([^`]+)` )?\\| ([A-Z, ]+) \\| ([a-z ]+) \\|").FindAllStringSubmatch(operations, -1) {
			if row[3] != "DEBUG" {
				logged[strings.TrimSuffix(row[1]+": "+row[2], ": ")] = strings.Fields(row[4])
			}
		}
		metrics := make(map[string]bool)
		for _, id := range s.ids("AWS::Logs::MetricFilter") {
			p := s.properties(id)
			pattern, value := fmt.Sprint(at(p, "FilterPattern")), at(p, "MetricTransformations/0/MetricValue")
			m := regexp.MustCompile(`^{ \$\.msg = "([^"]+)" && (?:\$\.outcome = "(\w+)"|\$\.(\w+) > 0) }$`).FindStringSubmatch(pattern)
			if m == nil {
				bad("%s: the pattern %s is not as this test reads it", id, pattern)
				continue
			}
			keys, ok := logged[strings.TrimSuffix(m[1]+": "+m[2], ": ")]
			if key, adds := strings.CutPrefix(fmt.Sprint(value), "$."); !ok || adds && !slices.Contains(keys, key) || m[3] != "" && !slices.Contains(keys, m[3]) || !adds && value != "1" {
				bad("%s: %s with %v: nothing like it is logged", id, pattern, value)
			}
			if target(at(p, "LogGroupName")) != s.log || render(at(p, "MetricTransformations/0/MetricNamespace")) != "AWS::StackName" {
				bad("%s is not about the log of this stack alone", id)
			}
			name := fmt.Sprint(at(p, "MetricTransformations/0/MetricName"))
			if metrics[name] = true; !strings.Contains(operations, "\n| `"+name+"` | `"+pattern+"` |") {
				bad("%s: docs/operations.md does not say what %s is", id, name)
			}
		}
		if len(metrics) != 6 {
			bad("there are %d metrics: %v", len(metrics), metrics)
		}
		for _, id := range s.ids("AWS::CloudWatch::Alarm") {
			if p := s.properties(id); !strings.HasPrefix(render(at(p, "Namespace")), "AWS/") {
				want(bad, id, p, object{
					"Namespace": object{"Ref": "AWS::StackName"}, "Dimensions": nil, "Statistic": "Maximum", "Threshold": 1, "ComparisonOperator": "GreaterThanOrEqualToThreshold",
					"TreatMissingData": "notBreaching", "ActionsEnabled": nil, "AlarmActions": at(s.properties("FailedAlarm"), "AlarmActions"),
				})
				if !metrics[fmt.Sprint(at(p, "MetricName"))] {
					bad("%s: nothing makes the metric %v", id, at(p, "MetricName"))
				}
				delete(metrics, "Left")
			}
		}
		if metrics["Left"] {
			bad("no alarm for commits that are left")
		}
	}},
	{"the stack can be deployed twice", func(_ *testing.T, s stack, bad problem) {
		resources, _ := s.root["Resources"].(object)
		for id, r := range resources {
			for _, key := range []string{"TableName", "TopicName", "QueueName", "FunctionName", "RoleName", "LogGroupName", "AlarmName", "Name"} {
				switch name := at(r, "Properties/"+key); {
				case name == nil, at(r, "Type") == "AWS::Lambda::Permission", at(s.root, "Resources/"+target(name)) != nil:
				case !strings.Contains(render(name), "AWS::StackName"):
					bad("%s: %s is %v", id, key, name)
				case at(r, "DeletionPolicy") == "Retain":
					bad("%s stays when the stack goes, and its name would be in the way of the next", id)
				}
			}
		}
	}},
	{"the function is what make package builds", func(_ *testing.T, s stack, bad problem) {
		want(bad, s.function, s.properties(s.function), object{
			"Runtime": "provided.al2023", "Architectures": []any{"arm64"}, "Handler": "bootstrap", "CodeUri": "../../dist/function.zip",
		})
		if n := number(at(s.properties(s.log), "RetentionInDays")); n < 1 {
			bad("%q keeps logs for ever", s.log)
		}
	}},
	{"every request comes to the function, its path as it is", func(_ *testing.T, s stack, bad problem) {
		for kind, wanted := range map[string]object{
			"AWS::ApiGatewayV2::Integration": {"IntegrationType": "AWS_PROXY", "PayloadFormatVersion": "2.0", "IntegrationUri": object{"Fn::GetAtt": s.function + ".Arn"}},
			"AWS::ApiGatewayV2::Route":       {"RouteKey": "$default", "Target": object{"Fn::Sub": "integrations/${" + s.only("AWS::ApiGatewayV2::Integration") + "}"}},
			"AWS::ApiGatewayV2::Stage":       {"StageName": "$default", "AutoDeploy": true},
			"AWS::Lambda::Permission": {"Principal": "apigateway.amazonaws.com", "Action": "lambda:InvokeFunction", "FunctionName": object{"Ref": s.function}, "SourceArn": object{
				"Fn::Sub": "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${" + s.api + "}/*/$default",
			}},
		} {
			want(bad, kind, s.properties(s.only(kind)), wanted)
		}
		if n := number(at(s.properties(s.only("AWS::ApiGatewayV2::Stage")), "DefaultRouteSettings/ThrottlingRateLimit")); n < 1 {
			bad("anybody may ask for any number of codes")
		}
	}},
}

func TestTemplate(t *testing.T) {
	s := newStack(parse(t))
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(t, s, t.Errorf) })
	}
}

// Every parameter and output is in the README, and what it names is there.
func TestReadme(t *testing.T) {
	text := read(t, "README.md")
	root := parse(t)
	for _, section := range []string{"Parameters", "Outputs"} {
		names, _ := root[section].(object)
		for name := range names {
			if !regexp.MustCompile("\\b" + name + "\\b").MatchString(text) {
				t.Errorf("the README does not name %s of the %s", name, section)
			}
		}
	}
	for _, m := range regexp.MustCompile(`\$\(output (\w+)\)`).FindAllStringSubmatch(text, -1) {
		if at(root, "Outputs/"+m[1]) == nil {
			t.Errorf("the README names the output %s, which is not there", m[1])
		}
	}
}
