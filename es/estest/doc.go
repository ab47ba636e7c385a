// Package estest tests what is built on package es: adapters, with three lines that show that one
// keeps the contract, and domains.
//
//	func TestStore(t *testing.T) {
//		estest.TestStore(t, func(t *testing.T) es.Store { return newStore(t) })
//	}
//
// [TestStore], [TestPublisher] and [TestViews] have a subtest for each rule of the
// contracts, named after the rule in words; so a failure says which one is broken.
// The suites are tested themselves, with stores, brokers and read databases that
// have one bug each.
//
// A domain is tested without any of these, for it is made of pure functions:
//
//   - [TestAggregate] finds in one line what the compiler cannot: an event that is
//     left out of the codec or of the fold, a fold that is not pure, a snapshot that
//     loses something.
//   - [TestDecisions] runs a table of given, when and then.
//
// [Faulty] wraps a store and a publisher and disturbs the calls: requests and answers
// that are lost, writes that come late, processes that die. The faults follow a
// [Plan], so every failure can be had again.
//
//	faulty := estest.Faulty{Plan: estest.On(estest.Append, 1, estest.LoseAfter)}
//	journal := &es.Journal{Store: faulty.Store(&memory.Store{})}
//
// [Explorer] goes through all of them: it runs several processes on one store and one
// broker, in every order of their calls and with every fault at each, and checks each
// end. What else they share takes part by [Step].
//
//	explorer := estest.Explorer{New: newStoreAndBroker, Processes: processes, Faults: 1, Check: check}
//	synctest.Test(t, func(t *testing.T) {
//		if _, err := explorer.Run(t.Context()); err != nil {
//			t.Fatal(err)
//		}
//	})
package estest
