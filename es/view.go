package es

import "context"

// View is a document of the read database, with the version of the stream that
// it reflects. Version 0 means that there is none yet.
type View[V any] struct {
	Version uint64
	Value   V
}

// Views is the read database of one [Projection]: a document a stream. Package
// memory has one, dynamostore has one, and estest.TestViews checks any other:
//
//   - Get returns the last document that was put, or the zero View and no error
//     where none was. It may return an older one if it reads from a replica, but
//     never a mixture.
//   - Put stores the document if the stored one has the version that the argument old
//     names, or if there is none and old is 0. Otherwise it changes nothing and fails
//     with an error that wraps [ErrConflict]. No version overwrites another unseen.
//   - Put does not demand that versions rise: [Projection.Rebuild] puts a document in the place
//     of one with the same version. A version of 0 is refused with [ErrInvalid].
//   - An error other than a conflict leaves open whether the document was stored. A
//     Put may recognise what an attempt of its own has stored, never what another
//     call has, even where the content is the same.
//   - Documents are values: nothing that is put in or got out aliases the database.
//   - Both are safe for concurrent use and obey the context.
type Views[V any] interface {
	// Get returns the view of a stream.
	Get(ctx context.Context, stream StreamID) (View[V], error)

	// Put replaces the view of version old by v.
	Put(ctx context.Context, stream StreamID, v View[V], old uint64) error
}
