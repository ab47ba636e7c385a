package dynamostore

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/leftfold/leftfold/es"
)

// layout is a way to store a commit. All but the first were rejected.
type layout struct {
	name string
	item func(es.Commit) item
	read []string // the attributes that a query asks for; nil: all of them
}

var layouts = []layout{
	{"text", func(c es.Commit) item { return encode(c, shardOf(c.Stream, 8)) }, []string{"v", "i", "st", "t", "c", "d"}},
	{"text-all-attributes", func(c es.Commit) item { return encode(c, shardOf(c.Stream, 8)) }, nil},
	{"text-with-status", func(c es.Commit) item { return withStatus(c, text(string(pack(&c)))) }, nil},
	{"binary", func(c es.Commit) item {
		it := encode(c, shardOf(c.Stream, 8))
		it["c"] = &types.AttributeValueMemberB{Value: packBinary(&c)}
		return it
	}, []string{"v", "i", "st", "t", "c", "d"}},
	{"binary-with-ID-and-time", func(c es.Commit) item {
		it := encode(c, shardOf(c.Stream, 8))
		b := binary.AppendVarint(packBinary(&c), c.Time.UnixNano())
		it["c"] = &types.AttributeValueMemberB{Value: append(b, c.ID...)}
		if c.Status == es.Settled {
			delete(it, "t") // which the index alone needs
		}
		return it
	}, []string{"v", "st", "c", "d"}},
	{"list-of-strings", func(c es.Commit) item { return withStatus(c, list(&c, data)) }, nil},
	{"list-of-binaries", func(c es.Commit) item {
		return withStatus(c, list(&c, func(b []byte) types.AttributeValue { return &types.AttributeValueMemberB{Value: b} }))
	}, nil},
	{"list-of-maps", func(c es.Commit) item {
		l := new(types.AttributeValueMemberL)
		for _, e := range c.Events {
			l.Value = append(l.Value, &types.AttributeValueMemberM{Value: item{"t": text(e.Type), "d": data([]byte(e.Data))}})
		}
		return withStatus(c, l)
	}, nil},
}

// withStatus returns an item with an attribute for each thing.
func withStatus(c es.Commit, content types.AttributeValue) item {
	it := encode(c, shardOf(c.Stream, 8))
	it["st"], it["c"] = text(c.Status.String()), content
	if _, packed := content.(*types.AttributeValueMemberS); c.State != nil && !packed {
		it["y"], it["z"] = text(c.State.Schema), data([]byte(c.State.Data))
	}
	return it
}

func list(c *es.Commit, data func([]byte) types.AttributeValue) *types.AttributeValueMemberL {
	l := new(types.AttributeValueMemberL)
	for _, e := range c.Events {
		l.Value = append(l.Value, text(e.Type), data([]byte(e.Data)))
	}
	return l
}

// packBinary does what pack does, with lengths as short as can be.
func packBinary(c *es.Commit) []byte {
	b := []byte{format}
	put := func(letter byte, first, second string) {
		b = append(binary.AppendUvarint(append(b, letter), uint64(len(first))), first...)
		b = append(binary.AppendUvarint(b, uint64(len(second))), second...)
	}
	for i, e := range c.Events {
		if again(c.Events, i) {
			put('a', "", e.Data)
		} else {
			put('e', e.Type, e.Data)
		}
	}
	if c.State != nil {
		put('y', c.State.Schema, c.State.Data)
	}
	return b
}

// BenchmarkLayout is what the SDK alone needs to query what BenchmarkLoad loads, laid out in each
// way; how large the item of a commit is, and what it costs to read the stream and to append a commit.
func BenchmarkLayout(b *testing.B) {
	for _, stream := range streams {
		for _, l := range layouts {
			b.Run("of="+stream.name+"/as="+l.name, func(b *testing.B) {
				var items []map[string]json.RawMessage
				settled := 0
				for _, c := range stream.commits {
					it := l.item(c)
					delete(it, "p")
					settled += measured(it)
					items = append(items, onWire(b, it))
				}
				c := stream.commits[0]
				c.Status = es.Pending
				pending := measured(l.item(c))

				answers := &tape{answer: page(items, l.read)}
				client := newClient("http://127.0.0.1:1", func(o *dynamodb.Options) { o.HTTPClient = answers })
				in := New(client, "events", nil).query("s = :s", item{":s": text(c.Stream.String())})
				measure(b, func() error {
					_, err := client.Query(context.Background(), in)
					return err
				})
				b.ReportMetric(float64(len(answers.answer)), "wire-B/op")
				b.ReportMetric(float64((settled+4095)/4096), "RU/op")
				b.ReportMetric(float64(pending), "B/item")
				b.ReportMetric(float64((pending+unit-1)/unit), "WU/item")
			})
		}
	}
}

// onWire returns an item as DynamoDB sends it.
func onWire(tb testing.TB, it item) map[string]json.RawMessage {
	wire := make(map[string]json.RawMessage)
	for name, v := range it {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(plain(v)); err != nil {
			tb.Fatal(err)
		}
		wire[name] = bytes.TrimSpace(b.Bytes())
	}
	return wire
}
