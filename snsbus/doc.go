// Package snsbus is the place of the broker on Amazon SNS FIFO, and of the SQS FIFO
// side that a Lambda function consumes. It exports nothing so far: this page says what
// it will be, so that a design can count on it. Until then package memory has a
// bus without a broker, under the same contract.
//
// # What it will implement
//
//   - A publisher to an SNS FIFO topic, by the contract of [es.Publisher], with the
//     optional interface [es.Checker] for the size of a message and the characters
//     of its IDs. The suite estest.TestPublisher decides whether it does, run
//     against a real engine.
//   - A consumer of an SQS FIFO queue for a Lambda function, which hands each commit
//     to handlers such as those of [es.Projection] and [es.Reactor], and reports the
//     messages that have to come again.
//
// # How it will publish
//
//   - A commit is one message. The message group is the stream, so that streams do
//     not wait for each other; the deduplication ID is the commit's ID.
//   - Category, event types and version are message attributes, for the filter
//     policies of subscribers.
//   - It counts its own attempts, and not the SDK's, which hide a first unknown
//     answer behind a later refusal. The error wraps [es.ErrRefused] only if every
//     attempt was refused for certain: the parameters were rejected, no
//     connection came about, or the answer had a status from 400 to 499 other than
//     408. Everything else is unknown, an answer with status 200 and no message ID
//     included.
//
// # How it will consume
//
//   - It understands messages in the SNS envelope and messages delivered raw.
//   - A batch may mix streams. After a failure the rest of that stream's messages
//     is returned as failed, so that order holds; other streams go on.
//   - A message that cannot be understood is a failure with its reason in the log,
//     and ends in the dead-letter queue. Nothing is dropped.
//
// What one may not assume: that a message comes once. SNS drops a repeated
// deduplication ID within five minutes and delivers it after that; consumers drop
// what they know by its version.
//
// [es.Checker]: https://pkg.go.dev/github.com/leftfold/leftfold/es#Checker
// [es.ErrRefused]: https://pkg.go.dev/github.com/leftfold/leftfold/es#ErrRefused
// [es.Projection]: https://pkg.go.dev/github.com/leftfold/leftfold/es#Projection
// [es.Publisher]: https://pkg.go.dev/github.com/leftfold/leftfold/es#Publisher
// [es.Reactor]: https://pkg.go.dev/github.com/leftfold/leftfold/es#Reactor
package snsbus
