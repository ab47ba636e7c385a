// Command cost computes what commands cost on AWS and what limits them, for docs/performance.md:
//
//	go run ./internal/cost                                     # a million and a billion commands a day
//	go run ./internal/cost -day 5e7 -batch 2 -item 1800        # your own figures
//
// What a command takes of DynamoDB is measured elsewhere (TestCapacityContract); prices and quotas
// are copied from the pages that are named beside them, and times are assumed.
package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
)

// What a command takes, on a stream of any length: the README has it, and the test compares.
const (
	requests    = 3 // load, append, settle
	loadReads   = 1
	tableWrites = 2 // append and settle
	indexWrites = 2 // in and out
	viewReads   = 1
	viewWrites  = 1
	shards      = 8 // of the index, by default
)

// Assumed: nothing here measures AWS.
const (
	dynamoMS = 5.0  // a request to DynamoDB
	snsMS    = 20.0 // a publish
	ownMS    = 5.0  // all the rest of a command
	memoryGB = 0.5  // of the function, as in examples/deploy
	busy     = 0.7  // of what is provisioned is used: what auto scaling aims at

	commandMS = requests*dynamoMS + snsMS + ownMS
	batchMS   = 2*dynamoMS + ownMS // its streams at the same time
)

const (
	hours = 365.0 * 24 / 12 // of a month
	gb    = 1 << 30
	kb    = 1 << 10
)

// A load is so many commands, and what the user knows of them.
type load struct {
	day     float64 // commands a day
	peak    float64 // times the average
	item    float64 // bytes of a commit with its state, as stored
	message float64 // bytes of a commit as published
	batch   float64 // messages that Lambda gets at a time, on average
}

func (l load) average() float64 { return l.day / 86400 }
func (l load) rate() float64    { return l.average() * l.peak }
func (l load) month() float64   { return l.day * hours / 24 }
func (l load) yearGB() float64  { return l.day * 365 * (l.item + 100) / gb } // DynamoDB adds 100 bytes an item

// Units of DynamoDB: of a write of the commit, of a load, and all writes of a command.
func (l load) units() float64  { return math.Ceil(l.item / kb) }
func (l load) reads() float64  { return math.Ceil(l.item/(4*kb)) * loadReads }
func (l load) writes() float64 { return l.units()*tableWrites + indexWrites + viewWrites }

// polls returns the requests of SQS for a message: sent by SNS, received and deleted by Lambda, the first two counted by 64 KB.
func (l load) polls() float64 {
	part := func(bytes float64) float64 { return math.Ceil(bytes / (64 * kb)) }
	return part(l.message) + (part(l.batch*l.message)+1)/l.batch
}

// A limit is a quota, with what a command takes of it.
type limit struct {
	what, of string
	quota    float64
	unit     string
	takes    float64
	source   string
}

var limits = []limit{
	{"requests one after the other, " + num(requests*dynamoMS+snsMS) + " ms (assumed)", "stream", 1000, "ms", requests*dynamoMS + snsMS, "[the protocol](design.md#the-commit-protocol)"},
	{"SNS FIFO, a message group", "stream", 300, "messages", 1, snsQuotas},
	{"SQS FIFO, a partition", "stream", 300, "requests", 1, sqsQuotas},
	{"DynamoDB, writes of a partition", "stream", 1000, "write units", tableWrites, warm},
	{"DynamoDB, reads of a partition", "stream", 3000, "read units", loadReads, warm},
	{"DynamoDB, on demand and never busy", "table", 4000, "write units", tableWrites, warm},
	{"DynamoDB, the index in " + num(shards) + " shards", "table", shards * 1000, "write units", indexWrites, warm},
	{"DynamoDB, writes by default", "table", 40000, "write units", tableWrites, "[tables](" + aws + "amazondynamodb/latest/developerguide/on-demand-capacity-mode-max-throughput.html)"},
	{"SNS FIFO, without FifoThroughputScope", "topic", 3000, "messages", 1, "[CDK](" + aws + "cdk/api/v2/docs/aws-cdk-lib.aws_sns.FifoThroughputScope.html)"},
	{"SQS FIFO, high throughput", "queue", 70000, "requests", 1, sqsQuotas},
	{"API Gateway, by default", "account", 10000, "requests", 1, "[quotas](" + aws + "apigateway/latest/developerguide/limits.html)"},
	{"Lambda, by default; commands alone", "account", 10000, "requests", 1, "[scaling](" + aws + "lambda/latest/dg/scaling-behavior.html)"},
	{"SNS FIFO in us-east-1", "account", 30000, "messages", 1, snsQuotas},
	{"SNS FIFO in us-west-2, eu-west-1", "account", 9000, "messages", 1, snsQuotas},
}

const (
	aws       = "https://docs.aws.amazon.com/"
	sqsQuotas = "[quotas](" + aws + "AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html)"
	snsQuotas = "[quotas](" + aws + "general/latest/gr/sns.html), of [2025-01](https://zircon.tech/?p=3781)"
	warm      = "[partitions](" + aws + "amazondynamodb/latest/developerguide/warm-throughput-scenarios.html)"
)

// A price is for so many of a thing; with tiers, what is above a bound costs less.
type price struct {
	what  string
	per   float64
	tiers []tier
	page  string // of AWS, where to check it
	read  string // where its amount was read, and of when
}

type tier struct{ from, dollars float64 }

func flat(dollars float64) []tier { return []tier{{0, dollars}} }

var (
	gateway     = price{"HTTP API, a million requests", 1e6, []tier{{0, 1}, {300e6, 0.9}}, "api-gateway/pricing", "[AWS](" + aws + "whitepapers/latest/best-practices-api-gateway-private-apis-integration/cost-optimization.html)"}
	invocations = price{"Lambda, a million requests", 1e6, flat(0.2), "lambda/pricing", "[2025-12](https://appropri8-astro.pages.dev/tutorials/2025/12/02/deploying-simple-api-aws/page/7)"}
	compute     = price{"Lambda on arm64, a million GB-seconds", 1e6, []tier{{0, 13.3334}, {7.5e9, 12.0001}, {18.75e9, 10.6667}}, "lambda/pricing", "[2024](https://cloudchipr.com/blog/aws-lambda-pricing), tiers by [AWS](https://aws.amazon.com/blogs/compute/introducing-tiered-pricing-for-aws-lambda/)"}
	writeUnits  = price{"DynamoDB on demand, a million write units", 1e6, flat(0.625), "dynamodb/pricing/on-demand", "[2025-07](https://airbyte.com/data-engineering-resources/dynamodb-pricing)"}
	readUnits   = price{"DynamoDB on demand, a million read units", 1e6, flat(0.125), "dynamodb/pricing/on-demand", "[2025-07](https://airbyte.com/data-engineering-resources/dynamodb-pricing)"}
	writeHours  = price{"DynamoDB provisioned, 1 000 write units for an hour", 1e3, flat(0.65), "dynamodb/pricing/provisioned", "[2026-02](https://oneuptime.com/blog/post/2026-02-12-optimize-dynamodb-costs-with-on-demand-vs-provisioned/view)"}
	readHours   = price{"DynamoDB provisioned, 1 000 read units for an hour", 1e3, flat(0.13), "dynamodb/pricing/provisioned", "[no date](https://costpatrol.io/blog/dynamodb-on-demand-vs-provisioned-pricing)"}
	reserved    = price{"DynamoDB reserved for a year, of the provisioned price", 1, flat(0.46), "dynamodb/reserved-capacity", "[2026-03](https://docs.archera.ai/help-center/cloud-service-intelligence/cloud-service-intelligence/aws/database/dynamodb)"}
	storage     = price{"DynamoDB, a GB for a month", 1, flat(0.25), "dynamodb/pricing", "[AWS](https://aws.amazon.com/dynamodb/pricing/), no date"}
	infrequent  = price{"DynamoDB Standard-IA, a GB for a month", 1, flat(0.1), "dynamodb/pricing", "[no date](https://awsnegotiations.com/blog/dynamodb-on-demand-vs-provisioned.html)"}
	recovery    = price{"DynamoDB point-in-time recovery, a GB for a month", 1, flat(0.2), "dynamodb/pricing", "assumed"}
	publishes   = price{"SNS FIFO, a million published", 1e6, flat(0.3), "sns/pricing", "[2026-06](https://www.factualminds.com/blog/amazon-sns-pricing-publishes-fanout-protocols/)"}
	publishedGB = price{"SNS FIFO, a GB published", 1, flat(0.017), "sns/pricing", "assumed"}
	deliveries  = price{"SNS FIFO, a million delivered", 1e6, flat(0.01), "sns/pricing", "assumed"}
	deliveredGB = price{"SNS FIFO, a GB delivered", 1, flat(0.001), "sns/pricing", "assumed"}
	sqsRequests = price{"SQS FIFO, a million requests of 64 KB", 1e6, flat(0.5), "sqs/pricing", "[2026-03](https://cloudburn.io/blog/amazon-sqs-pricing)"}
)

var prices = []price{
	gateway, invocations, compute, writeUnits, readUnits, writeHours, readHours, reserved,
	storage, infrequent, recovery, publishes, publishedGB, deliveries, deliveredGB, sqsRequests,
}

// of returns what n cost.
func (p price) of(n float64) (dollars float64) {
	for i, t := range p.tiers {
		above := n - t.from
		if i+1 < len(p.tiers) {
			above = min(above, p.tiers[i+1].from-t.from)
		}
		dollars += max(0, above) / p.per * t.dollars
	}
	return dollars
}

// A row is a line of a table, with a value for each load.
type row struct {
	name string
	of   func(load) float64
}

var quantities = []row{
	{"commands a second, on average", load.average},
	{"commands a second, at the peak", load.rate},
	{"write units a second at the peak: events", func(l load) float64 { return l.rate() * l.units() * tableWrites }},
	{"write units a second at the peak: index", func(l load) float64 { return l.rate() * indexWrites }},
	{"write units a second at the peak: views", func(l load) float64 { return l.rate() * viewWrites }},
	{"read units a second at the peak: events and views", func(l load) float64 { return l.rate() * (l.reads() + viewReads) }},
	{"partitions that the events need for the peak", func(l load) float64 { return math.Ceil(l.rate() * l.units() * tableWrites / 1000) }},
	{"partitions that they need after a year, of 10 GB each", func(l load) float64 { return math.Ceil(l.yearGB() / 10) }},
	{"shards that the index needs for the peak", func(l load) float64 { return math.Ceil(l.rate() * indexWrites / 1000) }},
	{"GB more a day", func(l load) float64 { return l.yearGB() / 365 }},
	{"GB more a year", load.yearGB},
	{"SNS requests a second at the peak", load.rate},
	{"messages a batch (assumed)", func(l load) float64 { return l.batch }},
	{"SQS requests a second at the peak", func(l load) float64 { return l.rate() * l.polls() }},
	{"Lambda invocations a second at the peak", func(l load) float64 { return l.rate() * (1 + 1/l.batch) }},
	{"Lambda functions at a time at the peak", func(l load) float64 { return l.rate() * (commandMS + batchMS/l.batch) / 1000 }},
	{"GB-seconds a day", func(l load) float64 { return l.day * (commandMS + batchMS/l.batch) / 1000 * memoryGB }},
}

// What is paid for the commands of a month.
var bill = []row{
	{"API Gateway", func(l load) float64 { return gateway.of(l.month()) }},
	{"Lambda, commands", func(l load) float64 { return lambda(l, 1, commandMS) }},
	// Behind the commands, for the tiers.
	{"Lambda, projections", func(l load) float64 {
		return lambda(l, 1+1/l.batch, commandMS+batchMS/l.batch) - lambda(l, 1, commandMS)
	}},
	{"DynamoDB, events", func(l load) float64 {
		return writeUnits.of(l.month()*l.units()*tableWrites) + readUnits.of(l.month()*l.reads())
	}},
	{"DynamoDB, index", func(l load) float64 { return writeUnits.of(l.month() * indexWrites) }},
	{"DynamoDB, views", func(l load) float64 { return writeUnits.of(l.month()*viewWrites) + readUnits.of(l.month()*viewReads) }},
	{"SNS", func(l load) float64 {
		size := l.month() * l.message / gb
		return publishes.of(l.month()) + publishedGB.of(size) + deliveries.of(l.month()) + deliveredGB.of(size)
	}},
	{"SQS", func(l load) float64 { return sqsRequests.of(l.month() * l.polls()) }},
}

// Other ways to pay for DynamoDB's units, and what is paid for what is stored.
var besides = []row{
	{"DynamoDB's units, on demand as above", func(l load) float64 {
		return writeUnits.of(l.month()*l.writes()) + readUnits.of(l.month()*(l.reads()+viewReads))
	}},
	{"the same, provisioned and 70 % used", provisioned},
	{"the same, reserved for a year", func(l load) float64 { return reserved.of(provisioned(l)) }},
	{"the events of a year", func(l load) float64 { return storage.of(l.yearGB()) }},
	{"the same, in Standard-IA", func(l load) float64 { return infrequent.of(l.yearGB()) }},
	{"point-in-time recovery for them", func(l load) float64 { return recovery.of(l.yearGB()) }},
}

func lambda(l load, times, ms float64) float64 {
	return invocations.of(l.month()*times) + compute.of(l.month()*ms/1000*memoryGB)
}

func provisioned(l load) float64 {
	return (writeHours.of(l.average()*l.writes()) + readHours.of(l.average()*(l.reads()+viewReads))) / busy * hours
}

func main() {
	l := load{}
	flag.Float64Var(&l.day, "day", 0, "commands a day; 0 means a million and a billion")
	flag.Float64Var(&l.peak, "peak", 3, "the peak, in times of the average")
	flag.Float64Var(&l.item, "item", kb, "bytes of a commit with its state, as stored")
	flag.Float64Var(&l.message, "message", 600, "bytes of a commit as published")
	flag.Float64Var(&l.batch, "batch", 1, "messages a batch, with -day")
	flag.Parse()
	if flag.NArg() > 0 || l.day < 0 || l.peak < 1 || l.item <= 0 || l.message <= 0 || l.batch < 1 || l.batch > 10 {
		flag.Usage()
		os.Exit(2)
	}
	for _, t := range tables(l) {
		fmt.Println(t.text)
	}
}

// A table has the name of its place in the documentation.
type table struct{ name, text string }

func tables(l load) []table {
	loads := []load{l}
	if l.day == 0 {
		million, billion := l, l
		million.day, million.batch = 1e6, 1
		billion.day, billion.batch = 1e9, 5
		loads = []load{million, billion}
	}

	quotas := lines{{"limit", "of a", "a second", "a command takes", "commands a second", "source"}}
	for _, l := range limits {
		quotas = append(quotas, []string{l.what, l.of, num(l.quota) + " " + l.unit, num(l.takes), num(math.Floor(l.quota / l.takes)), l.source})
	}

	needs, dollars, other := lines{{"commands a day"}}, lines{{"dollars a month"}}, lines{{"dollars a month"}}
	for _, l := range loads {
		needs[0] = append(needs[0], num(l.day))
		dollars[0] = append(dollars[0], num(l.day)+" a day", "for a million")
		other[0] = append(other[0], num(l.day)+" a day")
	}
	all := row{"all", func(l load) (sum float64) {
		for _, r := range bill {
			sum += r.of(l)
		}
		return sum
	}}
	amount := func(l load, r row) []string { return []string{num(r.of(l))} }
	needs = needs.with(quantities, loads, amount)
	other = other.with(besides, loads, amount)
	dollars = dollars.with(append(bill[:len(bill):len(bill)], all), loads, func(l load, r row) []string {
		return []string{num(r.of(l)), fmt.Sprintf("%.2f", r.of(l)/l.month()*1e6)}
	})

	list := lines{{"price in us-east-1", "dollars", "check it at", "read in"}}
	for _, p := range prices {
		amount := fmt.Sprint(p.tiers[0].dollars)
		for _, t := range p.tiers[1:] {
			amount += fmt.Sprintf(", from %s on %v", num(t.from/p.per), t.dollars)
		}
		list = append(list, []string{p.what, amount, fmt.Sprintf("[%s](https://aws.amazon.com/%[1]s/)", p.page), p.read})
	}
	return []table{{"limits", quotas.String()}, {"load", needs.String()}, {"bill", dollars.String()}, {"besides", other.String()}, {"prices", list.String()}}
}

// lines are those of a table, the first its head.
type lines [][]string

// with adds the rows, and in each the cells of every load.
func (l lines) with(rows []row, loads []load, cells func(load, row) []string) lines {
	for _, r := range rows {
		line := []string{r.name}
		for _, of := range loads {
			line = append(line, cells(of, r)...)
		}
		l = append(l, line)
	}
	return l
}

func (l lines) String() string {
	var text strings.Builder
	for i, line := range l {
		fmt.Fprintf(&text, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			text.WriteString("|" + strings.Repeat("---|", len(line)) + "\n")
		}
	}
	return text.String()
}

// num writes three digits, and larger numbers whole and in groups.
func num(x float64) string {
	if x < 100 {
		return fmt.Sprintf("%.3g", x)
	}
	digits := fmt.Sprintf("%.0f", x)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}
