package deploy_test

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// removed in the place of a value takes it out.
type removed struct{}

// mutations break the template: each is a path below Resources, and what is there instead.
var mutations = []struct {
	check string // that fails
	path  string
	value any
}{
	{"the tables are those of CreateTables", "EventTable/Properties/BillingMode", "PROVISIONED"},
	{"the tables are those of CreateTables", "EventTable/Properties/KeySchema/1", removed{}},
	{"the tables are those of CreateTables", "EventTable/Properties/AttributeDefinitions/1/AttributeType", "S"},
	{"the tables are those of CreateTables", "EventTable/Properties/GlobalSecondaryIndexes", removed{}},
	{"the tables are those of CreateTables", "EventTable/Properties/GlobalSecondaryIndexes/0/IndexName", "Pending"},
	{"the tables are those of CreateTables", "EventTable/Properties/GlobalSecondaryIndexes/0/Projection/ProjectionType", "ALL"},
	{"the tables are those of CreateTables", "EventTable/Properties/StreamSpecification", object{"StreamViewType": "NEW_IMAGE"}},
	{"the tables are those of CreateTables", "ViewTable/Properties/KeySchema/0/AttributeName", "s"},
	{"the tables are those of CreateTables", "ViewTable/Properties/BillingMode", removed{}},
	{"what cannot be made again is kept", "EventTable/DeletionPolicy", "Delete"},
	{"what cannot be made again is kept", "ViewTable/UpdateReplacePolicy", removed{}},
	{"what cannot be made again is kept", "OTPKey/DeletionPolicy", removed{}},
	{"what cannot be made again is kept", "OTPKey/UpdateReplacePolicy", removed{}},
	{"what cannot be made again is kept", "EventTable/Properties/DeletionProtectionEnabled", false},
	{"what cannot be made again is kept", "ViewTable/Properties/PointInTimeRecoverySpecification", removed{}},
	{"what cannot be made again is kept", "EventTable/Properties/SSESpecification/SSEEnabled", false},
	{"kept answers expire, and nothing else", "ViewTable/Properties/TimeToLiveSpecification/AttributeName", "d"},
	{"kept answers expire, and nothing else", "ViewTable/Properties/TimeToLiveSpecification/Enabled", false},
	{"kept answers expire, and nothing else", "EventTable/Properties/TimeToLiveSpecification", object{"AttributeName": "x", "Enabled": true}},
	{"the topic keeps order for each stream", "Topic/Properties/FifoTopic", removed{}},
	{"the topic keeps order for each stream", "Topic/Properties/FifoThroughputScope", "Topic"},
	{"the topic keeps order for each stream", "Topic/Properties/ContentBasedDeduplication", true},
	{"the topic keeps order for each stream", "Topic/Properties/KmsMasterKeyId", removed{}},
	{"the queues keep order for each stream, encrypted so that SNS can send", "Queue/Properties/FifoQueue", removed{}},
	{"the queues keep order for each stream, encrypted so that SNS can send", "Queue/Properties/DeduplicationScope", "queue"},
	{"the queues keep order for each stream, encrypted so that SNS can send", "Queue/Properties/FifoThroughputLimit", "perQueue"},
	{"the queues keep order for each stream, encrypted so that SNS can send", "Queue/Properties/KmsMasterKeyId", "alias/aws/sqs"},
	{"the queues keep order for each stream, encrypted so that SNS can send", "Undelivered/Properties/SqsManagedSseEnabled", false},
	{"the queues keep order for each stream, encrypted so that SNS can send", "Undelivered/Properties/FifoQueue", false},
	{"the queues keep order for each stream, encrypted so that SNS can send", "Failed/Properties/FifoQueue", removed{}},
	{"a message is not visible again while it is handled", "Queue/Properties/VisibilityTimeout", 179},
	{"a message is not visible again while it is handled", "Queue/Properties/VisibilityTimeout", removed{}},
	{"what is published comes to the queue as it is", "Subscription/Properties/RawMessageDelivery", false},
	{"what is published comes to the queue as it is", "Subscription/Properties/Endpoint", object{"Fn::GetAtt": "Failed.Arn"}},
	{"what is published comes to the queue as it is", "Subscription/Properties/FilterPolicy", object{"category": []any{"org"}}},
	{"what is published comes to the queue as it is", "Subscription/DependsOn", []any{"QueuePolicy"}},
	{"what cannot be delivered or handled is kept apart", "Subscription/Properties/RedrivePolicy", removed{}},
	{"what cannot be delivered or handled is kept apart", "Queue/Properties/RedrivePolicy", removed{}},
	{"what cannot be delivered or handled is kept apart", "Queue/Properties/RedrivePolicy/maxReceiveCount", 1},
	{"what cannot be delivered or handled is kept apart", "Subscription/Properties/RedrivePolicy/deadLetterTargetArn", object{"Fn::GetAtt": "Failed.Arn"}},
	{"there is time to mend things", "Queue/Properties/MessageRetentionPeriod", 3600},
	{"there is time to mend things", "Failed/Properties/MessageRetentionPeriod", 7 * day},
	{"there is time to mend things", "Undelivered/Properties/MessageRetentionPeriod", removed{}},
	{"the topic alone sends to the queues", "QueuePolicy", removed{}},
	{"the topic alone sends to the queues", "UndeliveredPolicy", removed{}},
	{"the topic alone sends to the queues", "QueuePolicy/Properties/PolicyDocument/Statement/0/Condition", removed{}},
	{"the topic alone sends to the queues", "QueuePolicy/Properties/PolicyDocument/Statement/0/Principal", object{"AWS": "123456789012"}},
	{"the topic alone sends to the queues", "UndeliveredPolicy/Properties/PolicyDocument/Statement/0/Condition/ArnEquals/aws:SourceArn", object{"Ref": "AlarmTopic"}},
	{"the topic alone sends to the queues", "UndeliveredPolicy/Properties/PolicyDocument/Statement/0/Action", "sqs:DeleteMessage"},
	{"the topic alone sends to the queues", "UndeliveredPolicy/Properties/Queues", []any{object{"Ref": "Failed"}}},
	{"no permission has a wildcard", "Role/Properties/Policies/0/PolicyDocument/Statement/0/Action", "dynamodb:*"},
	{"no permission has a wildcard", "Role/Properties/Policies/0/PolicyDocument/Statement/0/Resource", "*"},
	{"no permission has a wildcard", "Role/Properties/Policies/0/PolicyDocument/Statement/1/Resource", object{"Fn::Sub": "${EventTable.Arn}/index/*"}},
	{"no permission has a wildcard", "QueuePolicy/Properties/PolicyDocument/Statement/0/Principal", "*"},
	{"no permission has a wildcard", "SMSPolicy/Properties/PolicyDocument/Statement/0/Action", "sns:*"},
	{"no permission has a wildcard", "SMSPolicy/Properties/PolicyDocument/Statement/0/Resource", "*"},
	{"no permission has a wildcard", "RebuildRole/Properties/Policies/0/PolicyDocument/Statement/0/NotAction", "dynamodb:DeleteItem"},
	{"the function may do what it must, and no more", "Role/Properties/Policies/0/PolicyDocument/Statement/0/Action/4", "dynamodb:DeleteItem"},
	{"the function may do what it must, and no more", "Role/Properties/Policies/0/PolicyDocument/Statement/0/Action/4", "dynamodb:Scan"},
	{"the function may do what it must, and no more", "Role/Properties/Policies/0/PolicyDocument/Statement/0/Action/3", removed{}},
	{"the function may do what it must, and no more", "Role/Properties/Policies/0/PolicyDocument/Statement/0/Effect", "Deny"},
	{"the function may do what it must, and no more", "Role/Properties/Policies/0/PolicyDocument/Statement/1", removed{}},
	{"the function may do what it must, and no more", "Role/Properties/Policies/0/PolicyDocument/Statement/3/Resource", object{"Ref": "AlarmTopic"}},
	{"the function may do what it must, and no more", "Role/Properties/Policies/0/PolicyDocument/Statement/4/Condition", object{}},
	{"the function may do what it must, and no more", "Role/Properties/ManagedPolicyArns", []any{"arn:aws:iam::aws:policy/AdministratorAccess"}},
	{"the function may do what it must, and no more", "Role/Properties/AssumeRolePolicyDocument/Statement/0/Principal/Service", "ec2.amazonaws.com"},
	{"the function may do what it must, and no more", "Function/Properties/Policies", []any{"AmazonDynamoDBFullAccess"}},
	{"the function may do what it must, and no more", "Function/Properties/Role", removed{}},
	{"the function may do what it must, and no more", "SMSPolicy/Condition", removed{}},
	{"the function may do what it must, and no more", "SMSPolicy/Condition", "HasAlarmEmail"},
	{"the function may do what it must, and no more", "SMSPolicy/Properties/PolicyDocument/Statement/0/Action", "sns:Subscribe"},
	{"the function may do what it must, and no more", "SMSPolicy/Properties/Roles/0/Ref", "RebuildRole"},
	{"the function may do what it must, and no more", "../Conditions/SendsSMS", object{"Fn::Not": []any{object{"Fn::Equals": []any{object{"Ref": "Sender"}, "log"}}}}},
	{"a rebuild may read events and write views, and no more", "RebuildRole/Properties/Policies/0/PolicyDocument/Statement/0/Action/2", "dynamodb:PutItem"},
	{"a rebuild may read events and write views, and no more", "RebuildRole/Properties/Policies/0/PolicyDocument/Statement/0/Action/1", removed{}},
	{"a rebuild may read events and write views, and no more", "RebuildRole/Properties/AssumeRolePolicyDocument/Statement/0/Principal", object{"AWS": "123456789012"}},
	{"a rebuild may read events and write views, and no more", "RebuildRole", removed{}},
	{"a person who relays may finish commits, and no more", "RelayRole/Properties/Policies/0/PolicyDocument/Statement/0/Action/2", "dynamodb:PutItem"},
	{"a person who relays may finish commits, and no more", "RelayRole/Properties/Policies/0/PolicyDocument/Statement/1", removed{}},
	{"a person who relays may finish commits, and no more", "RelayRole/Properties/Policies/0/PolicyDocument/Statement/2/Resource", object{"Ref": "AlarmTopic"}},
	{"a person who relays may finish commits, and no more", "RelayRole/Properties/AssumeRolePolicyDocument/Statement/0/Principal", object{"AWS": "123456789012"}},
	{"a person who relays may finish commits, and no more", "RelayRole/Properties/ManagedPolicyArns", []any{"arn:aws:iam::aws:policy/AdministratorAccess"}},
	{"a person who relays may finish commits, and no more", "RelayRole", removed{}},
	{"a message that fails does not take its batch along", "Function/Properties/Events/Commits/Properties/FunctionResponseTypes", removed{}},
	{"a message that fails does not take its batch along", "Function/Properties/Events/Commits/Properties/BatchSize", 11},
	{"a message that fails does not take its batch along", "Function/Properties/Events/Commits/Properties/MaximumBatchingWindowInSeconds", 5},
	{"a message that fails does not take its batch along", "Function/Properties/Events/Commits/Properties/ScalingConfig", removed{}},
	{"the relay runs", "Function/Properties/Events/Relay", removed{}},
	{"the relay runs", "Function/Properties/Events/Relay/Properties/Schedule", "rate(1 day)"},
	{"the relay runs", "Function/Properties/Events/Relay/Properties/Enabled", false},
	{"the relay runs", "Function/Properties/EventInvokeConfig", removed{}},
	{"the function outlives what it does", "Function/Properties/Timeout", 17},
	{"the function outlives what it does", "Function/Properties/Timeout", 31},
	{"the function outlives what it does", "Function/Properties/Timeout", removed{}},
	{"the program can read its environment", "Function/Properties/Environment/Variables/EVENT_TABLE", removed{}},
	{"the program can read its environment", "Function/Properties/Environment/Variables/PUBLIC_URL", removed{}},
	{"the program can read its environment", "Function/Properties/Environment/Variables/PUBLIC_URL", object{"Fn::GetAtt": "Api.ApiEndpoint"}},
	{"the program can read its environment", "Function/Properties/Environment/Variables/PUBLIC_URL", object{"Ref": "Api"}},
	{"the program can read its environment", "Function/Properties/Environment/Variables/TABLE", "events"},
	{"the program can read its environment", "Function/Properties/Environment/Variables/TOPIC_ARN", object{"Ref": "Queue"}},
	{"the program can read its environment", "Topic/Properties/TopicName", object{"Fn::Sub": "${AWS::StackName}-commits"}},
	{"the program can read its environment", "OTPKey/Properties/GenerateSecretString/PasswordLength", 32},
	{"the program can read its environment", "TokenKey/Properties/GenerateSecretString/ExcludePunctuation", false},
	{"the program can read its environment", "../Parameters/Sender/AllowedPattern", "^(log|sns)$"},
	{"the program can read its environment", "../Parameters/LogLevel/Default", "all"},
	{"no secret is written down", "Function/Properties/Environment/Variables/OTP_KEY", strings.Repeat("aB3", 20)},
	{"no secret is written down", "TokenKey/Properties/SecretString", strings.Repeat("aB3", 20)},
	{"no secret is written down", "Function/Properties/Environment/Variables/SENDER", "smtp://user:password@mail.example.com?from=a@example.com"},
	{"no secret is written down", "../Parameters/Sender/NoEcho", removed{}},
	{"no secret is written down", "../Parameters/Sender/Default", "smtp://user:password@mail.example.com?from=a@example.com"},
	{"no secret is written down", "../Outputs/Key", object{"Value": object{"Fn::Sub": "{{resolve:secretsmanager:${OTPKey}:SecretString:::}}"}}},
	{"each key is its own", "Function/Properties/Environment/Variables/TOKEN_KEY", object{"Fn::Sub": "{{resolve:secretsmanager:${OTPKey}:SecretString:::}}"}},
	{"what goes wrong is told", "FailedAlarm", removed{}},
	{"what goes wrong is told", "UndeliveredAlarm", removed{}},
	{"what goes wrong is told", "QueueAgeAlarm", removed{}},
	{"what goes wrong is told", "ErrorsAlarm", removed{}},
	{"what goes wrong is told", "ThrottlesAlarm", removed{}},
	{"what goes wrong is told", "RelayAlarm", removed{}},
	{"what goes wrong is told", "AnswersAlarm", removed{}},
	{"what goes wrong is told", "FailedAlarm/Properties/Dimensions/0/Value", object{"Fn::GetAtt": "Queue.QueueName"}},
	{"what goes wrong is told", "FailedAlarm/Properties/ComparisonOperator", "LessThanThreshold"},
	{"what goes wrong is told", "UndeliveredAlarm/Properties/ComparisonOperator", "GreaterThanThreshold"},
	{"what goes wrong is told", "QueueAgeAlarm/Properties/Threshold", 601},
	{"what goes wrong is told", "ErrorsAlarm/Properties/AlarmActions", removed{}},
	{"what goes wrong is told", "ErrorsAlarm/Properties/ActionsEnabled", false},
	{"what goes wrong is told", "ErrorsAlarm/Properties/AlarmActions/0", object{"Ref": "Topic"}},
	{"what goes wrong is told", "QueueAgeAlarm/Properties/Threshold", removed{}},
	{"what goes wrong is told", "RelayAlarm/Properties/TreatMissingData", "breaching"},
	{"what goes wrong is told", "ThrottlesAlarm/Properties/EvaluationPeriods", 12},
	{"what goes wrong is told", "AlarmEmailSubscription", removed{}},
	{"what goes wrong is told", "AlarmEmailSubscription/Condition", removed{}},
	{"what goes wrong is told", "AlarmEmailSubscription/Properties/Endpoint", "a@example.com"},
	{"what goes wrong is told", "AlarmTopic/Properties", object{"KmsMasterKeyId": "alias/aws/sns"}},
	{"metrics are made of what is logged", "LeftFilter", removed{}},
	{"metrics are made of what is logged", "LeftFilter/Properties/FilterPattern", `{ $.msg = "relay" && $.left > 0 }`},
	{"metrics are made of what is logged", "LeftFilter/Properties/FilterPattern", `{ $.msg = "relayed" && $.missing > 0 }`},
	{"metrics are made of what is logged", "PendingFilter/Properties/FilterPattern", `{ $.msg = "commit" && $.outcome = "accepted" }`},
	{"metrics are made of what is logged", "MissedFilter/Properties/FilterPattern", `{ $.outcome = "healed" }`},
	{"metrics are made of what is logged", "MissedFilter/Properties/MetricTransformations/0/MetricValue", "$.events"},
	{"metrics are made of what is logged", "MissedFilter/Properties/MetricTransformations/0/MetricNamespace", "leftfold"},
	{"metrics are made of what is logged", "UnknownFilter/Properties/LogGroupName", object{"Ref": "Api"}},
	{"metrics are made of what is logged", "LeftAlarm", removed{}},
	{"metrics are made of what is logged", "LeftAlarm/Properties/MetricName", "Leftover"},
	{"metrics are made of what is logged", "LeftAlarm/Properties/Namespace", "leftfold"},
	{"metrics are made of what is logged", "LeftAlarm/Properties/AlarmActions", removed{}},
	{"metrics are made of what is logged", "LeftAlarm/Properties/TreatMissingData", "breaching"},
	{"the stack can be deployed twice", "EventTable/Properties/TableName", "events"},
	{"the stack can be deployed twice", "EventTable/Properties/TableName", object{"Fn::Sub": "${AWS::StackName}-events"}},
	{"the stack can be deployed twice", "Queue/Properties/QueueName", "commits.fifo"},
	{"the stack can be deployed twice", "Api/Properties/Name", "leftfold"},
	{"the function is what make package builds", "Function/Properties/Runtime", "go1.x"},
	{"the function is what make package builds", "Function/Properties/Architectures", removed{}},
	{"the function is what make package builds", "Function/Properties/CodeUri", "."},
	{"the function is what make package builds", "Log/Properties/RetentionInDays", removed{}},
	{"the function is what make package builds", "Function/Properties/LoggingConfig", removed{}},
	{"every request comes to the function, its path as it is", "Stage/Properties/StageName", "prod"},
	{"every request comes to the function, its path as it is", "Stage/Properties/AutoDeploy", removed{}},
	{"every request comes to the function, its path as it is", "Stage/Properties/DefaultRouteSettings", removed{}},
	{"every request comes to the function, its path as it is", "Route/Properties/RouteKey", "GET /"},
	{"every request comes to the function, its path as it is", "Integration/Properties/PayloadFormatVersion", "1.0"},
	{"every request comes to the function, its path as it is", "ApiPermission/Properties/SourceArn", removed{}},
	{"every request comes to the function, its path as it is", "ApiPermission", removed{}},
}

// Each check fails on a template that breaks it.
func TestChecksFail(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range mutations {
		t.Run(m.check+": "+m.path, func(t *testing.T) {
			root := parse(t)
			path, outside := strings.CutPrefix(m.path, "../")
			if !outside {
				path = "Resources/" + path
			}
			edited(t, root, strings.Split(path, "/"), m.value)
			i := slices.IndexFunc(checks, func(c check) bool { return c.name == m.check })
			if i < 0 {
				t.Fatal("there is no such check")
			}
			var told []string
			checks[i].run(t, newStack(root), func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) })
			if len(told) == 0 {
				t.Errorf("nobody minds that it is %v", m.value)
			}
			seen[m.check] = true
		})
	}
	for _, c := range checks {
		if !seen[c.name] {
			t.Errorf("nothing breaks the check %q", c.name)
		}
	}
}

// edited returns v with a value in the place of what is there, or nothing in the place
// of what is removed. The index after a list's last adds to it.
func edited(t *testing.T, v any, path []string, value any) any {
	t.Helper()
	if len(path) == 0 {
		if value == (removed{}) && v == nil || reflect.DeepEqual(v, value) {
			t.Fatalf("nothing is changed: %v", v)
		}
		return value
	}
	switch in := v.(type) {
	case object:
		in[path[0]] = edited(t, in[path[0]], path[1:], value)
		if in[path[0]] == (removed{}) {
			delete(in, path[0])
		}
		return in
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i > len(in) {
			t.Fatalf("there is no %s", path[0])
		}
		if i == len(in) {
			in = append(in, nil)
		}
		if in[i] = edited(t, in[i], path[1:], value); in[i] == (removed{}) {
			return slices.Delete(in, i, i+1)
		}
		return in
	}
	t.Fatalf("there is no %s", path[0])
	return nil
}
