package peers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	experiment "github.com/go-json-experiment/json"
	goccy "github.com/goccy/go-json"
	segmentio "github.com/segmentio/encoding/json"

	"github.com/leftfold/leftfold/es"
	"github.com/leftfold/leftfold/es/memory"
)

// libraries are the JSON libraries by their name in the report. With
// GOEXPERIMENT=jsonv2 there is one more, and encoding/json is another.
var libraries = map[string]jsonLibrary{
	"encoding/json":           {json.Marshal, json.Unmarshal},
	"go-json-experiment/json": {func(v any) ([]byte, error) { return experiment.Marshal(v) }, func(data []byte, v any) error { return experiment.Unmarshal(data, v) }},
	"goccy/go-json":           {goccy.Marshal, goccy.Unmarshal},
	"segmentio/encoding/json": {segmentio.Marshal, segmentio.Unmarshal},
}

func TestCodecs(t *testing.T) {
	for name, library := range libraries {
		codec := library.codec()
		for i, e := range []OrgEvent{OrgCreated(profile(0)), OrgUpdated(profile(1))} {
			stored, err := codec.Encode(e)
			if err != nil || stored.Type != codec.Types()[i] {
				t.Fatalf("%s: %+v, %v", name, stored, err)
			}
			want, err := encodeOrg(e)
			if err != nil || stored.Data != string(want.Data) {
				t.Fatalf("%s: %s, want %s, %v", name, stored.Data, want.Data, err)
			}
			if got, err := codec.Decode(nil, stored); err != nil || len(got) != 1 || got[0] != e {
				t.Fatalf("%s: %+v, %v, want %+v", name, got, err, e)
			}
			got, err := library.pointers().Decode(nil, stored)
			if err != nil || len(got) != 1 || (Org{}).foldPointer(got[0]) != (Org{}).Fold(e) {
				t.Fatalf("%s: %+v, %v, want a pointer to %+v", name, got, err, e)
			}
		}
	}
}

// BenchmarkCodec decodes 1 000 org events: by a JSON library alone; by our codec, with that library plugged in; by the same with events
// that are pointers; in a replay
// from the store, with that codec; and by that library alone with an envelope around the bytes. In place of
// encoding/json plugged in there is [es.JSON].
func BenchmarkCodec(b *testing.B) {
	const n = 1000
	for name, library := range libraries {
		codec := library.codec()
		if name == "encoding/json" {
			codec = es.JSON(orgTypes)
		}
		data, bare, wrapped := make([]es.Event, n), make([][]byte, n), make([][]byte, n)
		for i := range n {
			var err error
			if data[i], err = codec.Encode(OrgUpdated(profile(i))); err != nil {
				b.Fatal(err)
			}
			bare[i] = []byte(data[i].Data)
			if wrapped[i], err = library.marshal(envelope{data[i].Type, bare[i]}); err != nil {
				b.Fatal(err)
			}
		}
		measure := func(by string, decode func() (Profile, error)) {
			b.Run(fmt.Sprintf("codec=%s/by=%s", escape(name), by), func(b *testing.B) {
				b.ReportAllocs()
				cpu := startCPU()
				for b.Loop() {
					if last, err := decode(); err != nil || last != profile(n-1) {
						b.Fatal(last, err)
					}
				}
				cpu.report(b)
			})
		}
		measure("bare", func() (Profile, error) {
			var last *OrgUpdated
			for _, d := range bare {
				last = new(OrgUpdated)
				if err := library.unmarshal(d, last); err != nil {
					return Profile{}, err
				}
			}
			return Profile(*last), nil
		})
		plugged := func(by string, codec es.Codec[OrgEvent], fold func(Org, OrgEvent) Org) {
			measure(by, func() (_ Profile, err error) {
				var events []OrgEvent
				for _, d := range data {
					if events, err = codec.Decode(events[:0], d); err != nil {
						return Profile{}, err
					}
				}
				return fold(Org{}, events[0]).Profile, nil
			})
		}
		pointers := library.pointers()
		if name == "encoding/json" {
			pointers = es.JSON(orgPointers)
		}
		plugged("codec", codec, Org.Fold)
		plugged("pointers", pointers, Org.foldPointer)
		measure("envelope", func() (Profile, error) {
			var last *OrgUpdated
			for _, d := range wrapped {
				var w envelope
				if err := library.unmarshal(d, &w); err != nil {
					return Profile{}, err
				}
				last = new(OrgUpdated)
				if err := library.unmarshal(w.Data, last); err != nil {
					return Profile{}, err
				}
			}
			return Profile(*last), nil
		})
		aggregate := es.Aggregate[Org, OrgEvent]{Category: "org", Fold: Org.Fold, Events: codec}
		journal := es.Journal{Store: &memory.Store{}}
		for i := range n {
			blind := aggregate
			blind.LatestOnly = true
			update := func(Org) ([]OrgEvent, error) { return []OrgEvent{OrgUpdated(profile(i))}, nil }
			if _, err := es.Execute(b.Context(), &journal, &blind, "1", update); err != nil {
				b.Fatal(err)
			}
		}
		measure("leftfold", func() (Profile, error) {
			org, _, err := aggregate.Replay(journal.Store.Load(b.Context(), es.StreamID{Category: "org", ID: "1"}, 0))
			return org.Profile, err
		})
	}
}

// escape makes a name a part of a benchmark's: no slash.
func escape(name string) string {
	return string(bytes.ReplaceAll([]byte(name), []byte("/"), []byte(".")))
}
