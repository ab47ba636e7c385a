//go:build !goexperiment.jsonv2

package es

// maxReused is up to how many bytes a decoder that is used again takes less time than json.Unmarshal.
const maxReused = 256
