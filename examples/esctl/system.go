package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/smithy-go/logging"

	"github.com/leftfold/leftfold/dynamostore"
	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/examples/org"
	"github.com/leftfold/leftfold/examples/otp"
	"github.com/leftfold/leftfold/examples/service"
	"github.com/leftfold/leftfold/snsbus"
)

// system is the reference system as it is operated.
type system struct {
	place      string // in words: a rebuild that was begun in another is not gone on with
	store      es.Store
	lister     es.Lister // the store, as well
	journal    *es.Journal
	categories []category
	tables     func(context.Context) error // creates them
}

// newSystem puts a system together on a store and its views.
func newSystem(store interface {
	es.Store
	es.Lister
}, publisher es.Publisher, orgs es.Views[org.View], otps es.Views[otp.View], logger *slog.Logger) *system {
	// A person waits longer than a request does, and is farther away.
	journal := &es.Journal{Store: store, Publisher: publisher, Timeout: 15 * time.Second, Logger: logger}
	s := service.Service{Journal: journal, OrgViews: orgs, OTPViews: otps}
	orgViews, otpViews := s.Projections()
	return &system{
		store: store, lister: store, journal: journal,
		categories: []category{
			&kind[org.State, org.View, org.Event]{&org.Aggregate, orgViews},
			&kind[otp.State, otp.View, otp.Event]{&otp.Aggregate, otpViews},
		},
	}
}

// category returns what is known of a stream's category, nil if it is not one of this program's.
func (s *system) category(name string) category {
	if i := slices.IndexFunc(s.categories, func(c category) bool { return c.name() == name }); i >= 0 {
		return s.categories[i]
	}
	return nil
}

// patient is the time for the first attempt of a request: esctl runs on somebody's desk.
const patient = 3 * time.Second

// openAWS connects to the system that the environment names. Nothing is sent yet.
func openAWS(ctx context.Context, t *tool, need ...string) (*system, error) {
	// What is not needed here is not read: keys least of all.
	config, err := service.ReadConfig(func(name string) string {
		if slices.Contains([]string{"EVENT_TABLE", "VIEW_TABLE", "TOPIC_ARN", "LOG_LEVEL"}, name) {
			return t.getenv(name)
		}
		return ""
	}, need...)
	logger := slog.New(slog.NewTextHandler(t.stderr, &slog.HandlerOptions{Level: config.LogLevel}))
	cloud, awsErr := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithLogger(logging.LoggerFunc(func(_ logging.Classification, format string, args ...any) {
		logger.LogAttrs(ctx, slog.LevelDebug, "the AWS SDK", slog.String("says", fmt.Sprintf(format, args...)))
	})), awsconfig.WithHTTPClient(awshttp.NewBuildableClient().
		WithTimeout(time.Minute).
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = 5 * time.Second }).
		WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost = mostParallel })))
	if awsErr == nil && cloud.Region == "" {
		awsErr = errors.New("AWS_REGION: is not set")
	}
	if err := errors.Join(err, awsErr); err != nil {
		return nil, &usageError{err}
	}
	client := dynamodb.NewFromConfig(cloud)
	var publisher es.Publisher
	if config.TopicARN != "" {
		publisher = snsbus.New(sns.NewFromConfig(cloud), config.TopicARN, &snsbus.Options{Timeout: patient})
	}
	views := &dynamostore.ViewOptions{Timeout: patient}
	s := newSystem(
		dynamostore.New(client, config.EventTable, &dynamostore.Options{Timeout: patient}), publisher,
		dynamostore.NewViews[org.View](client, config.ViewTable, "org", views),
		dynamostore.NewViews[otp.View](client, config.ViewTable, "otp", views),
		logger,
	)
	s.place = fmt.Sprintf("the tables %s and %s in %s", config.EventTable, config.ViewTable, cloud.Region)
	if endpoint := t.getenv("AWS_ENDPOINT_URL_DYNAMODB"); endpoint != "" {
		s.place += " at " + endpoint
	}
	s.tables = func(ctx context.Context) error {
		return dynamostore.CreateTables(ctx, client, config.EventTable, config.ViewTable)
	}
	return s, nil
}

// listing is a store that lists other streams than its own, for a rebuild of these.
type listing struct {
	es.Store
	streams func(ctx context.Context, shard, shards int, after es.StreamID) iter.Seq2[es.StreamID, error]
}

var _ es.Lister = listing{}

func (l listing) Streams(ctx context.Context, shard, shards int, after es.StreamID) iter.Seq2[es.StreamID, error] {
	return l.streams(ctx, shard, shards, after)
}

// parseStream reads the name of a stream.
func parseStream(s string) (es.StreamID, error) {
	name, id, ok := strings.Cut(s, "/")
	if !ok {
		return es.StreamID{}, usagef("%q names no stream: write category and ID, such as org/42", s)
	}
	stream := es.StreamID{Category: name, ID: id}
	if err := stream.Validate(); err != nil {
		return es.StreamID{}, &usageError{err}
	}
	return stream, nil
}

// shown returns a text as a terminal may have it: what is stored must not move its cursor.
func shown(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// writeJSON writes a value in one line.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
