// Package memory keeps events, messages and views in the memory of one process.
// A service that runs on it needs nothing set up:
//
//	var (
//		store memory.Store
//		bus   memory.Bus
//		views memory.Views[Page]
//	)
//	bus.Subscribe("pages", pages.Handle) // an es.Projection with Views: &views, Store: &store
//	journal := &es.Journal{Store: &store, Publisher: &bus}
//	result, err := es.Execute(ctx, journal, &org.Aggregate, "42", org.Create("Acme"))
//
// It is for tests, for examples and for programs that may forget. It keeps the
// contracts of package es as strictly as a database does, and the suites of package
// estest hold it to that: every commit, message and document is copied on its way in
// and on its way out, writes are compare-and-set, and messages are delivered by other
// goroutines, again after a failure, and in the order of their stream.
//
// Zero values are ready to use. Nothing here may be copied after its first use.
package memory
