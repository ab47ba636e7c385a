package es

import "context"

// Publisher hands commits to a broker, one message a commit. Package memory has
// one, snsbus has one, and estest.TestPublisher checks any other.
//
//   - Messages of a stream are delivered in the order in which they were
//     published; streams do not wait for each other.
//   - A message is delivered at least once to every subscriber, and whole: stream,
//     version, ID, command, time, metadata and all events. State and Done need
//     not be delivered, and a journal does not hand them over.
//   - The commit's ID is the deduplication ID: a commit that is published again may
//     be delivered again or not. A commit with another ID is always delivered,
//     even one with the same content, or the same stream and version.
//   - Publish is safe for concurrent use and keeps no reference to the commit.
//   - It obeys the context, and a context that has ended before the call gives an
//     error and no effect.
type Publisher interface {
	// Publish returns nil once the broker has taken the commit.
	//
	// An error that wraps [ErrRefused] promises that the commit was not
	// published and never will be, by none of the attempts that the call made:
	// a time-out followed by a refusal is not a refusal. Any other error means
	// unknown: it may have been published.
	Publish(ctx context.Context, c Commit) error
}

// Checker is an optional interface of a [Publisher] with limits of its own, for
// size or form. A journal asks it before it stores a commit, so that nothing is
// stored that the broker would refuse for ever.
type Checker interface {
	// Check returns nil if the broker could take the commit, and otherwise an
	// error that says what exceeds which limit. It asks nobody.
	Check(c Commit) error
}
