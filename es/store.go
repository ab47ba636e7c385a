package es

import (
	"context"
	"iter"
	"time"
)

// Store keeps streams of commits. Package memory has one, dynamostore has one,
// and estest.TestStore checks any other: each rule below is a row of that suite.
//
// A stream is a row of slots. A slot is keyed by stream and version, is taken
// by [Store.Append], and is never emptied: a revoked commit leaves a marker
// with its ID and status, and without events, state or anything else. Only the
// newest slot of a stream can be pending, claimed or revoked, since nobody
// builds on a commit that is not settled.
//
// Rules for writes:
//
//   - Every write is a compare-and-set on one slot and stores the whole commit or
//     nothing of it.
//   - A write recognises itself: if the slot shows that the same write was done
//     before, the answer is nil and nothing changes. So after an unknown answer
//     the identical write is sent again.
//   - nil means: it is stored, and every read that starts afterwards sees it.
//   - An error that wraps [ErrConflict] means: the slot is not in the state that
//     this write needs. This write had no effect, and no earlier attempt of it
//     will ever have one. Nothing else is reported as a conflict: not
//     throttling, not size, not a broken connection.
//   - An error that wraps [ErrRefused] means: this call had no effect and will
//     have none. It says nothing of earlier attempts.
//   - Any other error means: unknown. The write may have happened, or may still.
//
// Rules for all methods:
//
//   - They are safe for concurrent use.
//   - A loop over a sequence may call the store, about the same stream as well: it
//     holds no lock while the loop's body runs.
//   - Commits are values: the store keeps no reference to what it is given, and
//     gives out nothing that a caller could change history with.
//   - They obey the context, and a context that has ended before the call gives
//     an error and no effect. No limit on time is added that the store's
//     documentation does not state.
//   - Times are kept to the nanosecond and come back in UTC.
type Store interface {
	// Load yields what is in the slots of a stream after a version, oldest
	// first: each commit whose first event has a higher version than after,
	// whole, and the marker if the newest slot is revoked. All of them: pages
	// of the database are followed to the end. A stream that does not exist
	// yields nothing. The first error ends the sequence. The sequence can be
	// run again, and then reads anew.
	//
	// If slots are missing in between, the sequence ends with an error; see
	// [GapError].
	Load(ctx context.Context, stream StreamID, after uint64) iter.Seq2[Commit, error]

	// LoadBack yields what Load(ctx, stream, 0) yields, newest first. The
	// caller stops when it has enough and says with hint how many commits that
	// will probably be: the store reads so many at once, and more only if the
	// caller goes on. A hint below 1 is no hint.
	LoadBack(ctx context.Context, stream StreamID, hint int) iter.Seq2[Commit, error]

	// Append stores a commit in its slot, with the status Pending or Settled as
	// given. The slot must be unused if c.Replaces is empty; otherwise it must
	// hold exactly the marker with that ID. If the slot holds c.ID as a live
	// commit, in whatever status by now, the answer is nil; if it holds anything
	// else, ErrConflict.
	//
	// Append beyond the end of a stream, or into the middle of a commit, passes
	// nowhere in silence: it fails with ErrConflict, or else every later Load that
	// meets the gap fails. A journal never does it.
	//
	// A commit that the store can never take, by size or form, is refused with
	// ErrRefused before anything is stored.
	Append(ctx context.Context, c Commit) error

	// Claim turns a pending commit into a claimed one, which takes the right to
	// revoke it away from its author. A claimed commit stays as it is. A commit
	// that is settled or revoked, or is not in the slot, is a conflict; after an
	// unknown answer that may also be one which was claimed, and settled since.
	// Of c, Stream, Version and ID count; so for Settle and Revoke.
	Claim(ctx context.Context, c Commit) error

	// Settle turns a pending or claimed commit into a settled one. A settled
	// commit stays as it is. A commit that is revoked, or is not in the slot,
	// is a conflict.
	Settle(ctx context.Context, c Commit) error

	// Revoke replaces a pending commit by a marker. If another commit, or the
	// marker of one, is in the slot, then this one was revoked before, and the
	// answer is nil. A claimed or settled commit stays as it is, and the answer
	// is ErrConflict: it is too late. An empty slot is some other error.
	Revoke(ctx context.Context, c Commit) error

	// Pending yields the commits of all streams that are pending or claimed and
	// whose Time is before the given one, oldest first. Others may write
	// meanwhile: a commit that is settled or revoked during the call may be
	// yielded or not, and where an index lags behind, it may show one late. A
	// store that cannot do this yields an error that wraps
	// errors.ErrUnsupported; then a commit whose author died is finished by the
	// next command on its stream.
	Pending(ctx context.Context, before time.Time) iter.Seq2[Commit, error]
}

// Lister is an optional interface of a [Store]: it lists streams, for [Projection.Rebuild].
type Lister interface {
	// Streams yields the streams of one shard of the store, each once, in an
	// order of the store's own that is the same in every call. The shards 0 to
	// shards-1 together hold every stream that has a live commit, a stream that
	// has only a marker may be left out or not. The sequence starts behind the
	// stream after, which was yielded by an earlier call with the same shard
	// and shards, or from the beginning if it is the zero StreamID.
	Streams(ctx context.Context, shard, shards int, after StreamID) iter.Seq2[StreamID, error]
}

// Metered is an optional interface of a [Store] that charges writes by size: a
// snapshot is added to a commit whenever that costs nothing more.
type Metered interface {
	// Units returns what it costs to append the commit, in write units of the
	// store, or 0 if it is too large for the store. What every commit costs alike
	// may be left out. It asks nobody and depends on the commit alone.
	Units(c Commit) int
}
