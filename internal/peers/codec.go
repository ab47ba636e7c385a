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

// pointers is the same for events that are pointers.
func (l jsonLibrary) pointers() es.Codec[OrgEvent] {
	return es.NewCodec(l.marshal, l.unmarshal, orgPointers)
}

// The tables of codecs.
var (
	orgTypes    = map[string]OrgEvent{orgCreated: OrgCreated{}, orgUpdated: OrgUpdated{}}
	orgPointers = map[string]OrgEvent{orgCreated: &OrgCreated{}, orgUpdated: &OrgUpdated{}}
)

// foldPointer is Fold for events that are pointers.
func (o Org) foldPointer(e OrgEvent) Org {
	switch e := e.(type) {
	case *OrgCreated:
		return Org{Exists: true, Profile: Profile(*e)}
	case *OrgUpdated:
		return Org{Exists: true, Profile: Profile(*e)}
	}
	return o
}

// envelope is how many programs store an event: JSON around JSON. Ours never does.
type envelope struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}
