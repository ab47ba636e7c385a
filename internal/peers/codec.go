package peers

import (
	"encoding/json"

	"github.com/leftfold/leftfold/es"
)

// jsonLibrary is a JSON library by the functions that all of them have.
type jsonLibrary struct {
	marshal   func(any) ([]byte, error)
	unmarshal func([]byte, any) error
}

// codec plugs the library in as a user would.
func (l jsonLibrary) codec() es.Codec[OrgEvent] {
	return es.NewCodec(l.marshal, l.unmarshal, orgTypes)
}

// orgTypes is the table of a codec.
var orgTypes = map[string]OrgEvent{orgCreated: OrgCreated{}, orgUpdated: OrgUpdated{}}

// envelope is how many programs store an event: JSON around JSON. Ours never does.
type envelope struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}
