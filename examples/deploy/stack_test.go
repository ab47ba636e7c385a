package deploy_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type object = map[string]any

// stack is the template, and the logical IDs of what it is made of, empty where there is
// nothing to be found. Functions such as !Ref have their long form.
type stack struct {
	root                                                                    object
	function, role, log, api, events, views                                 string
	topic, subscription, queue, failed, undelivered, otpKey, rebuild, relay string
}

func parse(t *testing.T) object {
	t.Helper()
	text, err := os.ReadFile("template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	root, ok := decode(t, doc.Content[0]).(object)
	if !ok {
		t.Fatal("the template is not a mapping")
	}
	return root
}

func decode(t *testing.T, n *yaml.Node) (v any) {
	function, short := strings.CutPrefix(n.Tag, "!")
	short = short && !strings.HasPrefix(function, "!")
	switch n.Kind {
	case yaml.MappingNode:
		m := object{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = decode(t, n.Content[i+1])
		}
		v = m
	case yaml.SequenceNode:
		s := []any{}
		for _, e := range n.Content {
			s = append(s, decode(t, e))
		}
		v = s
	case yaml.ScalarNode:
		if short {
			v = n.Value
		} else if err := n.Decode(&v); err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatalf("line %d: neither mapping, list nor scalar", n.Line)
	}
	switch {
	case !short:
		return v
	case function == "Ref":
		return object{"Ref": v}
	}
	return object{"Fn::" + function: v}
}

func newStack(root object) stack {
	s := stack{root: root}
	s.function = s.only("AWS::Serverless::Function")
	f := s.properties(s.function)
	s.role = target(at(f, "Role"))
	s.log = target(at(f, "LoggingConfig/LogGroup"))
	s.events = target(at(f, "Environment/Variables/EVENT_TABLE"))
	s.views = target(at(f, "Environment/Variables/VIEW_TABLE"))
	s.topic = target(at(f, "Environment/Variables/TOPIC_ARN"))
	s.otpKey, _, _ = strings.Cut(strings.TrimPrefix(render(at(f, "Environment/Variables/OTP_KEY")), "{{resolve:secretsmanager:${"), "}")
	s.api = s.only("AWS::ApiGatewayV2::Api")
	s.queue = target(at(f, "Events/Commits/Properties/Queue"))
	s.failed = target(at(s.properties(s.queue), "RedrivePolicy/deadLetterTargetArn"))
	for _, id := range s.ids("AWS::SNS::Subscription") {
		if target(at(s.properties(id), "TopicArn")) == s.topic {
			s.subscription = id
		}
	}
	s.undelivered = target(at(s.properties(s.subscription), "RedrivePolicy/deadLetterTargetArn"))
	s.rebuild = target(at(root, "Outputs/RebuildRoleArn/Value"))
	s.relay = target(at(root, "Outputs/RelayRoleArn/Value"))
	return s
}

// ids returns the resources of a type, sorted.
func (s stack) ids(kind string) (ids []string) {
	resources, _ := s.root["Resources"].(object)
	for _, id := range slices.Sorted(maps.Keys(resources)) {
		if at(resources[id], "Type") == kind {
			ids = append(ids, id)
		}
	}
	return ids
}

// only returns the one resource of a type, and nothing if there are none or several.
func (s stack) only(kind string) string {
	if ids := s.ids(kind); len(ids) == 1 {
		return ids[0]
	}
	return ""
}

func (s stack) properties(id string) any { return at(s.root, "Resources/"+id+"/Properties") }

// at returns what is at a path of keys and indexes, or nil.
func at(v any, path string) any {
	for key := range strings.SplitSeq(path, "/") {
		switch in := v.(type) {
		case object:
			v = in[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

// render returns a reference in words: the logical ID, ID.Attribute, the text of a !Sub,
// or the literal.
func render(v any) string {
	if m, ok := v.(object); ok {
		for _, key := range []string{"Ref", "Fn::GetAtt", "Fn::Sub"} {
			if s, ok := m[key].(string); ok {
				return s
			}
		}
	}
	return fmt.Sprint(v)
}

// target returns the logical ID that a reference leads to, or nothing.
func target(v any) string {
	m, _ := v.(object)
	ref, _ := m["Ref"].(string)
	if attribute, ok := m["Fn::GetAtt"].(string); ok {
		ref, _, _ = strings.Cut(attribute, ".")
	}
	return ref
}

func list(v any) []any {
	if l, ok := v.([]any); ok || v == nil {
		return l
	}
	return []any{v}
}

func number(v any) int {
	n, _ := v.(int)
	return n
}

// statements returns what a policy document allows: for each resource, the sorted actions.
// What is left out of a statement has "not " before it. Anything unusual is a problem.
func statements(document any, bad problem) map[string][]string {
	allowed := map[string][]string{}
	for _, statement := range list(at(document, "Statement")) {
		for key := range statement.(object) {
			if !slices.Contains([]string{"Effect", "Action", "Resource", "NotResource"}, key) {
				bad("a statement has %s", key)
			}
		}
		if at(statement, "Effect") != "Allow" {
			bad("a statement has the effect %v", at(statement, "Effect"))
		}
		add := func(resource string) {
			for _, action := range list(at(statement, "Action")) {
				allowed[resource] = append(allowed[resource], fmt.Sprint(action))
			}
			slices.Sort(allowed[resource])
		}
		for _, r := range list(at(statement, "Resource")) {
			add(render(r))
		}
		for _, r := range list(at(statement, "NotResource")) {
			add("not " + render(r))
		}
	}
	return allowed
}

// eval returns a value as CloudFormation would have it, with made-up physical names. The
// parameters have their defaults, unless others are given.
func (s stack) eval(v any, parameters map[string]string) string {
	m, ok := v.(object)
	if !ok {
		return fmt.Sprint(v)
	}
	if branches, ok := m["Fn::If"].([]any); ok && len(branches) == 3 {
		if s.holds(at(s.root, "Conditions/"+fmt.Sprint(branches[0])), parameters) {
			return s.eval(branches[1], parameters)
		}
		return s.eval(branches[2], parameters)
	}
	if text, ok := m["Fn::Sub"].(string); ok {
		text = regexp.MustCompile(`\$\{([^}]+)\}`).ReplaceAllStringFunc(text, func(ref string) string {
			return s.physical(ref[2:len(ref)-1], parameters)
		})
		secret := regexp.MustCompile(`^\{\{resolve:secretsmanager:arn:aws:secretsmanager:secret:(\w+):SecretString:::[\w-]*\}\}$`).FindStringSubmatch(text)
		if secret == nil {
			return text
		}
		return s.generated(secret[1])
	}
	return s.physical(render(v), parameters)
}

func (s stack) physical(ref string, parameters map[string]string) string {
	if value, ok := parameters[ref]; ok {
		return value
	}
	if value := at(s.root, "Parameters/"+ref+"/Default"); value != nil {
		return fmt.Sprint(value)
	}
	id, attribute, _ := strings.Cut(ref, ".")
	switch at(s.root, "Resources/"+id+"/Type") {
	case "AWS::DynamoDB::Table":
		return "stack-" + id
	case "AWS::SNS::Topic":
		return "arn:aws:sns:us-east-1:123456789012:" + s.eval(at(s.properties(id), "TopicName"), parameters)
	case "AWS::SecretsManager::Secret":
		return "arn:aws:secretsmanager:secret:" + id
	case "AWS::ApiGatewayV2::Api":
		if attribute == "ApiEndpoint" {
			return "https://a1b2c3.execute-api.us-east-1.amazonaws.com"
		}
	}
	return "stack"
}

// generated returns a secret such as Secrets Manager may generate.
func (s stack) generated(id string) string {
	how := at(s.properties(id), "GenerateSecretString")
	alphabet := "aB3"
	if at(how, "ExcludePunctuation") != true {
		alphabet += "!"
	}
	return strings.Repeat(alphabet, 64)[:number(at(how, "PasswordLength"))]
}

// holds evaluates a condition of !Equals and !Not.
func (s stack) holds(condition any, parameters map[string]string) bool {
	m, _ := condition.(object)
	if not := list(m["Fn::Not"]); len(not) == 1 {
		return !s.holds(not[0], parameters)
	}
	sides := list(m["Fn::Equals"])
	return len(sides) == 2 && s.eval(sides[0], parameters) == s.eval(sides[1], parameters)
}
