package estest

import (
	"context"
	"strconv"
	"testing"

	"github.com/leftfold/leftfold/es"
)

// TestStore checks that a store keeps the contract of [es.Store], and those of
// [es.Lister] and [es.Metered] if it is one. Each rule is a subtest that is named
// after it.
//
// Open returns a store, empty or not: streams and commit IDs are new in every run.
// The subtests run in parallel and each opens a store of its own, which may or may
// not share a database with the others; they end after the function that called
// TestStore has returned, so what they need is cleaned up with t.Cleanup. Some write
// more than a thousand commits, for that is where pages begin.
func TestStore(t *testing.T, open func(t *testing.T) es.Store) {
	run(t, storeRows(), open)
}

func storeRows() []row[es.Store] {
	return []row[es.Store]{
		// Append.
		{"what was appended is loaded, and other streams have none of it", appendedIsLoaded},
		{"an append keeps the status that it was given", appendKeepsStatus},
		{"an append to a slot that is taken is a conflict", appendToTakenSlot},
		{"two creates of one stream cannot both succeed", createsRace},
		{"an append beyond the end leaves no silent gap", appendBeyondEnd},
		{"an append that is sent again recognises itself", appendAgain},
		{"an append that is sent again after its revoke is a conflict", appendAfterRevoke},
		{"a delayed append cannot raise a revoked commit", delayedAppend},
		{"a revoked slot is taken only by a commit that replaces exactly that marker", appendToMarker},
		{"a commit cannot replace what is not a marker", replaceNoMarker},
		{"of two commits that replace one marker exactly one is stored", replacesRace},
		{"all events of a commit are seen, or none", wholeCommits},
		{"a commit of the most events is stored whole, or refused whole", mostEvents},
		{"a commit that is too large is refused, and no conflict", largeCommit},
		{"units are 0 for a commit that is too large, and for no other", unitsAndSize},
		{"an invalid commit is refused and stores nothing", invalidCommit},
		{"16 writers on one stream lose nothing", writersLoseNothing},
		// Claim, Settle, Revoke.
		{"claim and settle change the status and nothing else", statusAlone},
		{"claim, settle and revoke need stream, version and ID, and nothing else", bareCommits},
		{"a claimed commit that is claimed again stays as it is", claimAgain},
		{"a claim of what is not pending is a conflict", claimConflicts},
		{"a settled commit that is settled again stays as it is", settleAgain},
		{"a settle of what is revoked or not there is a conflict", settleConflicts},
		{"a revoke leaves the ID and nothing else", revokeLeavesMarker},
		{"a revoke that comes again is nil", revokeAgain},
		{"a revoke that comes again after the slot was taken by another is nil", revokeAfterReplaced},
		{"claim takes the right to revoke away", claimThenRevoke},
		{"a settled commit cannot be revoked", settleThenRevoke},
		{"a revoke of an empty slot is an error, and no conflict", revokeEmpty},
		{"of a revoke and a claim at once exactly one wins", revokeAndClaimRace},
		{"of a revoke and a settle at once exactly one wins", revokeAndSettleRace},
		// Reads.
		{"load yields every commit of a long stream", loadLongStream},
		{"load after a version starts at the right commit", loadAfter},
		{"load back is load, reversed, whatever the hint", loadBackReversed},
		{"a reader sees the write that was acknowledged before", readersSeeWrites},
		{"a sequence can be run again, and then reads anew", sequenceAgain},
		{"breaking off a sequence is fine", sequenceBroken},
		{"a loop over a sequence may call the store", loopCallsStore},
		{"pending lists what is unsettled, oldest first, and nothing else", pendingLists},
		{"streams are listed, each once, over any number of shards, and from any place on", streamsListed},
		// Values.
		{"every field comes back", everyField},
		{"times keep nanoseconds and come back in UTC", timesKept},
		{"two commits in one nanosecond are two commits", oneNanosecond},
		{"streams do not share slots, whatever their names", namesApart},
		{"what is taken in does not alias", takenInNoAlias},
		{"what is given out does not alias", givenOutNoAlias},
		// Contexts.
		{"a write in a context that has ended is an error and has no effect", endedContextWrites},
		{"a read in a context that has ended is an error", endedContextReads},
	}
}

// put appends commits as they are.
func put(ctx context.Context, s es.Store, commits ...es.Commit) error {
	for _, c := range commits {
		if err := expect("append of "+name(c), s.Append(ctx, c), nil); err != nil {
			return err
		}
	}
	return nil
}

// name says which commit is meant.
func name(c es.Commit) string {
	return c.Status.String() + " commit " + c.Stream.ID + "@" + strconv.FormatUint(c.Version, 10)
}

// holds checks what a stream consists of, as Load shows it.
func holds(ctx context.Context, s es.Store, stream es.StreamID, want ...es.Commit) error {
	got, err := all(s.Load(ctx, stream, 0))
	return first(expect("load", err, nil), differAll(got, want))
}
