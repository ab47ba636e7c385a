// Package leftfold is the root of an event sourcing library, and holds no code: the
// library is package [github.com/leftfold/leftfold/es].
//
//	type Deposited struct{ Amount int }
//
//	var account = es.Aggregate[int, Deposited]{
//		Category: "account",
//		Fold:     func(balance int, e Deposited) int { return balance + e.Amount },
//		Events:   es.JSON(map[string]Deposited{"account.deposited": {}}),
//	}
//
//	func main() {
//		ctx := context.Background()
//		j := &es.Journal{Store: &memory.Store{}}
//		_, err := es.Execute(ctx, j, &account, "42", func(balance int) ([]Deposited, error) {
//			return []Deposited{{Amount: 100}}, nil
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//		balance, version, err := es.Load(ctx, j, &account, "42")
//		fmt.Println(balance, version, err) // 100 1 <nil>
//	}
//
// An aggregate is a value of pure functions. Its state is the left fold of its
// events, a decision says which events follow from the state, and a [Journal]
// stores the commit and publishes it.
//
// # What the library promises
//
//   - An event that was stored is published, and an event that was published is
//     stored, through crashes, time-outs and concurrent writers, with no outbox
//     process. Events of a stream are published in the order of their versions.
//   - With snapshots a command costs the same on a long stream as on a short one.
//   - Views cannot drift: a projection drops what it has, sees what is missing,
//     and loads that from the store.
//   - It is small. Events are typed from end to end, nothing is registered, and
//     package es imports the standard library alone.
//
// # The packages
//
// The library:
//
//   - [github.com/leftfold/leftfold/es]: aggregates, the commit protocol,
//     projections and reactors, and the contracts for stores and brokers.
//   - [github.com/leftfold/leftfold/es/memory]: a store, a bus and views that need
//     no database, for tests and to begin with.
//   - [github.com/leftfold/leftfold/es/estest]: the suites that check a store, a
//     publisher or views, and tests for your own aggregates.
//   - [github.com/leftfold/leftfold/dynamostore]: the store and the read database
//     on DynamoDB.
//   - [github.com/leftfold/leftfold/snsbus]: the broker on SNS FIFO, and the SQS
//     FIFO side that a Lambda function consumes.
//
// The reference system, a small service in the folder examples:
//
//   - examples/org and examples/otp: two domains, a company profile and one-time
//     passwords: events, fold and decisions, and no I/O.
//   - examples/service: the HTTP handler, projections and reactors.
//   - examples/lambda: the service as one Lambda function, and examples/deploy, the
//     template that deploys it.
//   - examples/local: the service as a local server, with nothing to set up:
//     go run ./examples/local
//
// Imports go one way: es, then memory, estest, dynamostore and snsbus, then the
// examples.
//
// # Further
//
// docs/tutorial.md goes from an empty folder to a service of your own. The
// documentation of package es has the words and the promises in full, docs/protocol.md
// explains the commit protocol path by path and how it is proved, and docs/design.md
// has the reason for each of its rules.
//
// [Journal]: https://pkg.go.dev/github.com/leftfold/leftfold/es#Journal
package leftfold
