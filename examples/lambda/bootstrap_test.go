package main_test

import "testing"

// The program as it is deployed, on real engines. Each part has systems of its own.
func TestBootstrap(t *testing.T) {
	live(t)
	p := build(t)
	t.Run("API", func(t *testing.T) { testAPI(t, p) })
	t.Run("latency", func(t *testing.T) { testLatency(t, p) })
	for name, test := range map[string]func(*testing.T, programs){
		"faults": testFaults, "losses": testLosses, "timeouts": testTimeouts, "poison": testPoison,
		"order, packed": func(t *testing.T, p programs) { testOrder(t, p, true) },
		"order, direct": func(t *testing.T, p programs) { testOrder(t, p, false) },
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, p) })
	}
}
