package otp

import (
	"testing"

	"github.com/matryer/is"
)

// The test values of RFC 4226, appendix D.
func TestRFC4226(t *testing.T) {
	is := is.New(t)
	for counter, want := range []string{
		"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489",
	} {
		is.Equal(code([]byte("12345678901234567890"), uint64(counter)), want)
	}
}
