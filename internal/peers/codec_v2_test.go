//go:build goexperiment.jsonv2

package peers

import (
	jsonv2 "encoding/json/v2"
	"maps"
)

// It must be there before the tests run, and has no other place than an initialiser.
var _ = func() bool {
	maps.Copy(libraries, map[string]jsonLibrary{
		"encoding/json/v2": {
			func(v any) ([]byte, error) { return jsonv2.Marshal(v) },
			func(data []byte, v any) error { return jsonv2.Unmarshal(data, v) },
		},
	})
	return true
}()
