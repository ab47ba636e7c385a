package peers

import (
	"encoding/json"
	"fmt"

	"github.com/leftfold/leftfold/es"
)

// orgCodec is an [es.Codec] as a user would write one to bring a JSON library of
// their own: a switch over the types.
type orgCodec struct {
	marshal   func(any) ([]byte, error)
	unmarshal func([]byte, any) error
}

func (orgCodec) Types() []string { return []string{orgCreated, orgUpdated} }

func (c orgCodec) Encode(e OrgEvent) (es.Event, error) {
	name := orgUpdated
	if _, ok := e.(OrgCreated); ok {
		name = orgCreated
	}
	data, err := c.marshal(e)
	return es.Event{Type: name, Data: data}, err
}

func (c orgCodec) Decode(dst []OrgEvent, e es.Event) ([]OrgEvent, error) {
	switch e.Type {
	case orgCreated:
		var created OrgCreated
		err := c.unmarshal(e.Data, &created)
		return append(dst, created), err
	case orgUpdated:
		var updated OrgUpdated
		err := c.unmarshal(e.Data, &updated)
		return append(dst, updated), err
	}
	return dst, fmt.Errorf("%w: %q", es.ErrUnknownEvent, e.Type)
}

// envelope is how many programs store an event: JSON around JSON. Ours never does.
type envelope struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}
