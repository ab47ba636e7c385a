package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/estest"
)

// A mutant is a store on the real engine with one bug, and the rows of the suite that
// must find it. The bug is between the store and the engine, or around the store.
type mutant struct {
	bug     string
	killers []string
	client  func(*spoilt)
	store   func(*Store) es.Store
}

const mutantVariable = "LEFTFOLD_TEST_MUTANT" // the bug of the mutant that a process tests

// TestMutant is not a test of its own: it is what TestMutants runs in other processes,
// where the suite fails.
func TestMutant(t *testing.T) {
	bug := os.Getenv(mutantVariable)
	if bug == "" {
		return // run by TestMutants alone
	}
	i := slices.IndexFunc(mutants(), func(m mutant) bool { return m.bug == bug })
	if i < 0 {
		t.Fatalf("there is no mutant %q", bug)
	}
	m := mutants()[i]
	client := live(t)
	estest.TestStore(t, func(t *testing.T) es.Store {
		c := unspoilt(client)
		if m.client != nil {
			m.client(c)
		}
		s := New(c, newTable(t, client), &Options{Timeout: patient})
		if m.store != nil {
			return m.store(s)
		}
		return s
	})
}

// The suite finds every one of these bugs on the real engine. TestStore has the same rows
// without them.
func TestMutants(t *testing.T) {
	t.Parallel()
	live(t)
	turns := make(chan struct{}, 4) // one engine serves them all
	var wg sync.WaitGroup
	for _, m := range slices.Backward(mutants()) {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			start := time.Now()
			verdict, err := runMutant(t.Context(), m)
			if err != nil {
				t.Errorf("%s: %v", m.bug, err)
				return
			}
			t.Logf("%s (%.1fs)\n%s", m.bug, time.Since(start).Seconds(), verdict)
		})
	}
	wg.Wait()
}

// runMutant runs the rows that must kill a mutant, in a process of their own, and
// returns what they say. It is an error if one of them says the wrong thing or
// nothing, as a row does that is not in the suite.
func runMutant(ctx context.Context, m mutant) (verdict string, _ error) {
	names := make([]string, len(m.killers))
	patterns := make([]string, len(m.killers))
	for i, row := range m.killers {
		names[i] = "TestMutant/" + strings.ReplaceAll(row, " ", "_")
		patterns[i] = regexp.QuoteMeta(strings.ReplaceAll(row, " ", "_"))
	}
	child := exec.CommandContext(ctx, os.Args[0], "-test.v", "-test.timeout=2m", "-test.run=^TestMutant$/^("+strings.Join(patterns, "|")+")$")
	child.Env = append(os.Environ(), mutantVariable+"="+m.bug)
	out, err := child.CombinedOutput()
	_, failed := errors.AsType[*exec.ExitError](err)
	if err != nil && !failed {
		return "", err
	}
	switch {
	case !failed:
		return "", fmt.Errorf("it survives:\n%s", out)
	case strings.Contains(string(out), "DATA RACE"), strings.Contains(string(out), "ValidationException"):
		return "", fmt.Errorf("it dies of something else:\n%s", out)
	}
	lines := strings.Split(string(out), "\n")
	for _, name := range names {
		i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "--- FAIL: "+name+" (") })
		if i < 0 {
			return "", fmt.Errorf("there is no failed %s:\n%s", name, out)
		}
	}
	for _, line := range lines {
		if strings.Contains(line, ".go:") {
			verdict += line + "\n"
		}
	}
	return verdict, nil
}

func mutants() []mutant {
	return []mutant{
		{
			bug:     "a create has no condition",
			killers: []string{"two creates of one stream cannot both succeed"},
			client: func(c *spoilt) {
				c.appends(func(in *dynamodb.PutItemInput) {
					if len(in.ExpressionAttributeValues) == 0 {
						in.ConditionExpression = nil
					}
				})
			},
		},
		{
			bug:     "an append beyond the end is stored, and the gap is not seen",
			killers: []string{"an append beyond the end leaves no silent gap"},
			store:   func(s *Store) es.Store { return gapless{s} },
		},
		{
			bug:     "an append beyond the end says that it was stored, and was not",
			killers: []string{"an append beyond the end leaves no silent gap"},
			store:   func(s *Store) es.Store { return forgetful{s} },
		},
		{
			bug:     "the history stops at the first page",
			killers: []string{"load yields every commit of a long stream"},
			client: func(c *spoilt) {
				query := c.query
				c.query = func(ctx context.Context, in *dynamodb.QueryInput, o ...option) (*dynamodb.QueryOutput, error) {
					out, err := query(ctx, in, o...)
					if err == nil {
						out.LastEvaluatedKey = nil
					}
					return out, err
				}
			},
		},
		{
			// Load survives this: what comes twice is read again, behind what was
			// yielded already. LoadBack takes it for a gap.
			bug:     "the next page is the first one",
			killers: []string{"load back is load, reversed, whatever the hint"},
			client: func(c *spoilt) {
				query := c.query
				c.query = func(ctx context.Context, in *dynamodb.QueryInput, o ...option) (*dynamodb.QueryOutput, error) {
					in.ExclusiveStartKey = nil
					return query(ctx, in, o...)
				}
			},
		},
		{
			bug:     "the hint is a limit",
			killers: []string{"load back is load, reversed, whatever the hint"},
			store:   func(s *Store) es.Store { return hinted{s} },
		},
		{
			bug:     "a load starts one version too early",
			killers: []string{"load after a version starts at the right commit"},
			client:  func(c *spoilt) { c.after(func(after uint64) uint64 { return max(after, 1) - 1 }) },
		},
		{
			bug:     "a load starts one version too late",
			killers: []string{"load after a version starts at the right commit"},
			client:  func(c *spoilt) { c.after(func(after uint64) uint64 { return after + min(after, 1) }) },
		},
		{
			// Without ConsistentRead this engine answers as with it: here is what
			// DynamoDB may answer.
			bug:     "reads come from a replica that lags behind",
			killers: []string{"a reader sees the write that was acknowledged before"},
			client:  func(c *spoilt) { c.late(func(item) bool { return false }) },
		},
		{
			bug:     "what is refused, by size, form or throttling, is reported as a conflict",
			killers: []string{"a commit that is too large is refused, and no conflict", "an invalid commit is refused and stores nothing"},
			store:   func(s *Store) es.Store { return stubborn{s} },
		},
		{
			bug:     "an append does not ask what is in the slot",
			killers: []string{"an append that is sent again recognises itself"},
			client: func(c *spoilt) {
				c.appends(func(in *dynamodb.PutItemInput) { in.ReturnValuesOnConditionCheckFailure = "" })
			},
		},
		{
			bug:     "an append meets itself and calls it a conflict",
			killers: []string{"an append that is sent again recognises itself"},
			client: func(c *spoilt) {
				put := c.put
				c.put = func(ctx context.Context, in *dynamodb.PutItemInput, o ...option) (*dynamodb.PutItemOutput, error) {
					out, err := put(ctx, in, o...)
					if failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok && len(failed.Item) > 0 {
						failed.Item["i"] = text("another")
					}
					return out, err
				}
			},
		},
		{
			bug:     "streams are keyed by ID alone",
			killers: []string{"streams do not share slots, whatever their names"},
			client:  (*spoilt).dropCategories,
		},
		{
			bug:     "a reader sees half of a commit",
			killers: []string{"all events of a commit are seen, or none"},
			client: func(c *spoilt) {
				c.late(func(it item) bool {
					keep(it, func(events []es.Event) []es.Event { return events[:len(events)/2] })
					return true
				})
			},
		},
		{
			bug:     "events above 100 are not stored",
			killers: []string{"a commit of the most events is stored whole, or refused whole"},
			client: func(c *spoilt) {
				c.appends(func(in *dynamodb.PutItemInput) {
					keep(in.Item, func(events []es.Event) []es.Event { return events[:min(len(events), 100)] })
				})
			},
		},
		{
			bug:     "what was taken in is kept by reference",
			killers: []string{"what is taken in does not alias"},
			store:   func(s *Store) es.Store { return &cache{Store: s, in: true} },
		},
		{
			bug:     "what is given out is the store's own",
			killers: []string{"what is given out does not alias"},
			store:   func(s *Store) es.Store { return &cache{Store: s} },
		},
		{
			bug:     "times are cut to seconds",
			killers: []string{"times keep nanoseconds and come back in UTC"},
			client: func(c *spoilt) {
				c.appends(func(in *dynamodb.PutItemInput) {
					t := in.Item["t"].(*types.AttributeValueMemberS).Value
					in.Item["t"] = text(t[:len(time.DateTime)] + ".000000000Z")
				})
			},
		},
		{
			bug:     "a revoke deletes the item",
			killers: []string{"a revoke leaves the ID and nothing else", "an append that is sent again after its revoke is a conflict"},
			client: func(c *spoilt) {
				put := c.put
				c.put = func(ctx context.Context, in *dynamodb.PutItemInput, o ...option) (*dynamodb.PutItemOutput, error) {
					if !revokes(in) {
						return put(ctx, in, o...)
					}
					_, err := c.DeleteItem(ctx, &dynamodb.DeleteItemInput{
						TableName: in.TableName, Key: item{"s": in.Item["s"], "v": in.Item["v"]},
						ConditionExpression: in.ConditionExpression, ExpressionAttributeValues: in.ExpressionAttributeValues,
						ReturnValuesOnConditionCheckFailure: in.ReturnValuesOnConditionCheckFailure,
					}, o...)
					return new(dynamodb.PutItemOutput), err
				}
			},
		},
		{
			bug:     "a marker does not stop an append",
			killers: []string{"a delayed append cannot raise a revoked commit", "a revoked slot is taken only by a commit that replaces exactly that marker"},
			client: func(c *spoilt) {
				c.appends(func(in *dynamodb.PutItemInput) {
					condition := "attribute_not_exists(s) OR st = :r"
					in.ConditionExpression, in.ExpressionAttributeValues = &condition, item{":r": text(es.Revoked.String())}
				})
			},
		},
		{
			bug:     "a revoke does not look at the status",
			killers: []string{"claim takes the right to revoke away", "a settled commit cannot be revoked"},
			client: func(c *spoilt) {
				put := c.put
				c.put = func(ctx context.Context, in *dynamodb.PutItemInput, o ...option) (*dynamodb.PutItemOutput, error) {
					if revokes(in) {
						condition := "i = :i"
						in.ConditionExpression = &condition
						delete(in.ExpressionAttributeValues, ":p")
					}
					return put(ctx, in, o...)
				}
			},
		},
		{
			bug:     "contexts are not looked at",
			killers: []string{"a write in a context that has ended is an error and has no effect", "a read in a context that has ended is an error"},
			store:   func(s *Store) es.Store { return deaf{s} },
		},
	}
}

// spoilt is a client in which some requests are replaced. What these get is a copy, so
// that they may change it.
type spoilt struct {
	*dynamodb.Client
	put    func(context.Context, *dynamodb.PutItemInput, ...option) (*dynamodb.PutItemOutput, error)
	update func(context.Context, *dynamodb.UpdateItemInput, ...option) (*dynamodb.UpdateItemOutput, error)
	query  func(context.Context, *dynamodb.QueryInput, ...option) (*dynamodb.QueryOutput, error)
}

var _ Client = (*spoilt)(nil)

// unspoilt returns a client in which no request is replaced yet.
func unspoilt(client *dynamodb.Client) *spoilt {
	return &spoilt{Client: client, put: client.PutItem, update: client.UpdateItem, query: client.Query}
}

func (c *spoilt) PutItem(ctx context.Context, in *dynamodb.PutItemInput, o ...option) (*dynamodb.PutItemOutput, error) {
	own := *in
	own.Item, own.ExpressionAttributeValues = maps.Clone(in.Item), maps.Clone(in.ExpressionAttributeValues)
	return c.put(ctx, &own, o...)
}

func (c *spoilt) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, o ...option) (*dynamodb.UpdateItemOutput, error) {
	own := *in
	own.Key, own.ExpressionAttributeValues = maps.Clone(in.Key), maps.Clone(in.ExpressionAttributeValues)
	return c.update(ctx, &own, o...)
}

func (c *spoilt) Query(ctx context.Context, in *dynamodb.QueryInput, o ...option) (*dynamodb.QueryOutput, error) {
	own := *in
	own.ExpressionAttributeValues = maps.Clone(in.ExpressionAttributeValues)
	return c.query(ctx, &own, o...)
}

// revokes reports whether a put is a revoke, and no append.
func revokes(in *dynamodb.PutItemInput) bool {
	st, ok := in.Item["st"].(*types.AttributeValueMemberS)
	return ok && st.Value == es.Revoked.String()
}

// keep leaves some of the events in an item.
func keep(it item, which func([]es.Event) []es.Event) {
	var c es.Commit
	d := decoder{it: it}
	if d.unpack("c", &c); d.err != nil {
		panic(d.err)
	}
	c.Events = which(c.Events)
	it["c"] = data(pack(&c))
}

// appends changes the requests of appends.
func (c *spoilt) appends(change func(*dynamodb.PutItemInput)) {
	put := c.put
	c.put = func(ctx context.Context, in *dynamodb.PutItemInput, o ...option) (*dynamodb.PutItemOutput, error) {
		if !revokes(in) {
			change(in)
		}
		return put(ctx, in, o...)
	}
}

// after changes the version that a load starts behind.
func (c *spoilt) after(change func(uint64) uint64) {
	query := c.query
	c.query = func(ctx context.Context, in *dynamodb.QueryInput, o ...option) (*dynamodb.QueryOutput, error) {
		if after := in.ExpressionAttributeValues[":after"]; after != nil {
			d := decoder{it: item{"v": after}}
			in.ExpressionAttributeValues[":after"] = number(change(d.version()))
		}
		return query(ctx, in, o...)
	}
}

// late shows what was appended to the first query that finds it as change leaves it, or
// not at all if change says so.
func (c *spoilt) late(change func(item) bool) {
	slotOf := func(stream types.AttributeValue, it item) string {
		d := decoder{it: item{"s": stream, "v": it["v"]}}
		return fmt.Sprint(d.streamID(), "@", d.version())
	}
	var fresh sync.Map // slots
	put, query := c.put, c.query
	c.put = func(ctx context.Context, in *dynamodb.PutItemInput, o ...option) (*dynamodb.PutItemOutput, error) {
		out, err := put(ctx, in, o...)
		if err == nil && !revokes(in) {
			fresh.Store(slotOf(in.Item["s"], in.Item), true)
		}
		return out, err
	}
	c.query = func(ctx context.Context, in *dynamodb.QueryInput, o ...option) (*dynamodb.QueryOutput, error) {
		out, err := query(ctx, in, o...)
		if err == nil {
			out.Items = slices.DeleteFunc(out.Items, func(it item) bool {
				_, isFresh := fresh.LoadAndDelete(slotOf(in.ExpressionAttributeValues[":s"], it))
				return isFresh && !change(it)
			})
		}
		return out, err
	}
}

// dropCategories cuts the category off every key on its way in, and puts it back on the
// way out.
func (c *spoilt) dropCategories() {
	drop := func(key item, name string) (asked types.AttributeValue) {
		asked = key[name]
		d := decoder{it: item{"s": asked}}
		key[name] = text("all/" + d.streamID().ID)
		return asked
	}
	restore := func(err error, asked types.AttributeValue) error {
		if failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok && len(failed.Item) > 0 {
			failed.Item["s"] = asked
		}
		return err
	}
	put, update, query := c.put, c.update, c.query
	c.put = func(ctx context.Context, in *dynamodb.PutItemInput, o ...option) (*dynamodb.PutItemOutput, error) {
		asked := drop(in.Item, "s")
		out, err := put(ctx, in, o...)
		return out, restore(err, asked)
	}
	c.update = func(ctx context.Context, in *dynamodb.UpdateItemInput, o ...option) (*dynamodb.UpdateItemOutput, error) {
		asked := drop(in.Key, "s")
		out, err := update(ctx, in, o...)
		return out, restore(err, asked)
	}
	c.query = func(ctx context.Context, in *dynamodb.QueryInput, o ...option) (*dynamodb.QueryOutput, error) {
		asked := drop(in.ExpressionAttributeValues, ":s")
		out, err := query(ctx, in, o...)
		if err == nil {
			for _, it := range out.Items {
				it["s"] = asked
			}
		}
		return out, err
	}
}

// gapless takes a gap for the end.
type gapless struct{ *Store }

func (s gapless) Load(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		for c, err := range s.Store.Load(ctx, stream, after) {
			if _, gap := errors.AsType[*es.GapError](err); gap || !yield(c, err) {
				return
			}
		}
	}
}

// forgetful is content with an append that it cannot place.
type forgetful struct{ *Store }

func (s forgetful) Append(ctx context.Context, c es.Commit) error {
	next := uint64(1)
	for newest, err := range s.LoadBack(ctx, c.Stream, 1) {
		if err != nil {
			return err
		}
		next = newest.Last() + 1
		break
	}
	if c.Version > next {
		return nil
	}
	return s.Store.Append(ctx, c)
}

// hinted yields as many commits as were hinted at.
type hinted struct{ *Store }

func (s hinted) LoadBack(ctx context.Context, stream es.StreamID, hint int) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		n := 0
		for c, err := range s.Store.LoadBack(ctx, stream, hint) {
			if n++; !yield(c, err) || n == hint {
				return
			}
		}
	}
}

// stubborn knows conflicts alone.
type stubborn struct{ *Store }

func (s stubborn) Append(ctx context.Context, c es.Commit) error {
	err := s.Store.Append(ctx, c)
	if errors.Is(err, es.ErrRefused) {
		return fmt.Errorf("%w: %w", es.ErrConflict, err)
	}
	return err
}

// cache keeps commits by ID: those that it took in, and gives out copies, or those that it
// gave out, and gives them out again.
type cache struct {
	*Store
	in      bool
	commits sync.Map
}

func (s *cache) Append(ctx context.Context, c es.Commit) error {
	if s.in {
		s.commits.Store(c.ID, c)
	}
	return s.Store.Append(ctx, c)
}

func (s *cache) Load(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	return func(yield func(es.Commit, error) bool) {
		for c, err := range s.Store.Load(ctx, stream, after) {
			if err == nil {
				kept, _ := s.commits.LoadOrStore(c.ID, c)
				status := c.Status
				if c = kept.(es.Commit); s.in {
					c = c.Clone()
				}
				c.Status = status
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// deaf goes on when its caller has gone.
type deaf struct{ *Store }

func (s deaf) Append(ctx context.Context, c es.Commit) error {
	return s.Store.Append(context.WithoutCancel(ctx), c)
}

func (s deaf) Load(ctx context.Context, stream es.StreamID, after uint64) iter.Seq2[es.Commit, error] {
	return s.Store.Load(context.WithoutCancel(ctx), stream, after)
}
