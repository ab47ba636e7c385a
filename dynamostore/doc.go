// Package dynamostore is the place of the event store and the read database on Amazon
// DynamoDB. It exports nothing so far: this page says what it will be, so that a
// design can count on it. Until then package memory has both without a database,
// under the same contracts.
//
// # What it will implement
//
//   - An event store, by the contract of [es.Store], with the optional interfaces
//     [es.Metered], whose unit is the write unit of 1 KB, and [es.Lister].
//   - A read database, by the contract of [es.Views], in a table of its own: one
//     item a view, written by compare-and-set on its version.
//   - A function that creates the tables, for tests and local use.
//
// The suites estest.TestStore and estest.TestViews decide whether it does, run
// against a real engine.
//
// # How it will store
//
//   - A commit is one item. The partition key is the stream, the sort key the
//     version of the commit's first event.
//   - Append is one PutItem with a condition, and no transaction. The answer to a
//     failed condition brings the item along, so that a write recognises itself.
//   - Claim, settle and revoke are one conditional update each. Nothing is ever
//     deleted, and a service needs no permission to delete.
//   - Every read of a stream is strongly consistent and follows every page. LoadBack
//     is one query, newest first, that reads as many commits as the hint says.
//   - Pending commits are found by a sparse index, sharded by writes. The store
//     works without it; then Pending yields an error that wraps
//     errors.ErrUnsupported.
//   - What DynamoDB cannot take, an item above 400 KB or a key that is too long, is
//     refused with [es.ErrRefused] before anything is stored.
//
// # What it will cost
//
// A table in this place will say the requests, read units and write units of every
// operation, and a test will compare it with what the engine charges. DynamoDB
// charges claim, settle and revoke by the size of the whole item and not of the
// change: small commits are cheap ones.
//
// # Limits to design with
//
// A stream takes at most 1000 write units a second, which is the limit of a
// partition: every commit of a stream has the same partition key.
//
// [es.ErrRefused]: https://pkg.go.dev/github.com/leftfold/leftfold/es#ErrRefused
// [es.Lister]: https://pkg.go.dev/github.com/leftfold/leftfold/es#Lister
// [es.Metered]: https://pkg.go.dev/github.com/leftfold/leftfold/es#Metered
// [es.Store]: https://pkg.go.dev/github.com/leftfold/leftfold/es#Store
// [es.Views]: https://pkg.go.dev/github.com/leftfold/leftfold/es#Views
package dynamostore
