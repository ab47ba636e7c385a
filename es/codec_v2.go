//go:build goexperiment.jsonv2

package es

// maxReused is none: what json.Unmarshal is here is always faster.
const maxReused = -1
