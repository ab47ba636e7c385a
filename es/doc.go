// Package es stores what happened and works out the rest: event sourcing with
// aggregates that replay by a left fold, and commits that are stored if and only
// if they are published.
//
//	type Deposited struct{ Amount int }
//
//	var account = es.Aggregate[int, Deposited]{
//		Category: "account",
//		Fold:     func(balance int, e Deposited) int { return balance + e.Amount },
//		Events:   es.JSON(map[string]Deposited{"account.deposited": {}}),
//	}
//
//	func deposit(amount int) func(int) ([]Deposited, error) {
//		return func(balance int) ([]Deposited, error) {
//			if amount <= 0 {
//				return nil, errors.New("a deposit must be positive")
//			}
//			return []Deposited{{amount}}, nil
//		}
//	}
//
//	func main() {
//		ctx := context.Background()
//		journal := &es.Journal{Store: &memory.Store{}}
//		result, err := es.Execute(ctx, journal, &account, "42", deposit(100))
//		fmt.Println(result.Version, err)
//		balance, _, err := es.Load(ctx, journal, &account, "42")
//		fmt.Println(balance, err)
//	}
//
// # The pieces
//
// An event is a fact in the past tense. A stream is the history of one aggregate,
// and an event's version is its place in it. A command adds a commit, one event or
// several, which is stored as one item and published as one message. A view is a
// document for reading, with the version that it reflects.
//
//   - [Aggregate] is a value of pure functions: the fold, and a codec for the
//     events ([JSON]). With [Snapshots] a command costs the same on a long stream as
//     on a short one.
//   - [Journal] has a [Store] and a [Publisher]. [Execute] runs a command on it;
//     [Load] and [History] read; [Journal.Relay] finishes what crashed.
//   - [Projection] keeps views, and [Reactor] turns events into commands. Their
//     Handle methods subscribe to the broker.
//   - Package memory has a store, a bus and views without a database, dynamostore
//     and snsbus have them on AWS, and estest has the suites that check them,
//     and tests for your own aggregates.
//
// # What is promised
//
//   - An event that was stored is published, and an event that was published is
//     stored, whatever crashes, times out or comes late, with no worker and no
//     transaction: a commit that its author left unfinished is finished by the
//     next command on the stream, or by Relay.
//   - Events of a stream are published in the order of their versions, which
//     have no gap.
//   - What a caller is told is true. Without an error the command is stored, and
//     published or to be published. With one it is neither, now and later, unless
//     it is an [*UnknownError], which says that this could not be found out; then
//     the same command under the same name ([Named]) finds it out.
//   - A decision is made on events that stay: nobody builds on a commit that may
//     still be taken back.
//
// What one may not assume: that a message comes once, since delivery is at least
// once; that streams are ordered among each other; that a view is as new as the
// stream, though its version says how new it is.
//
// # The commit protocol
//
// A commit is stored as pending, then published, then marked as settled. If the
// broker refuses for certain, its author revokes it, and the slot remembers only its
// ID. If the answer is unknown, it stays pending, and is published for sure by
// whoever meets it: that one claims it first, after which it cannot be revoked.
// docs/protocol.md explains the protocol, and how it is proved; docs/tutorial.md
// begins with an empty folder.
package es
