// Package dynamostore keeps streams and views in Amazon DynamoDB: [Store] is an
// [es.Store], and [Views] is an [es.Views].
//
//	cfg, err := config.LoadDefaultConfig(ctx)
//	client := dynamodb.NewFromConfig(cfg)
//	journal := &es.Journal{Store: dynamostore.New(client, "events", nil)}
//	result, err := es.Execute(ctx, journal, &account, "42", deposit(100))
//
// The tables must be there: [CreateTables] makes them for tests and local use.
//
// # What it stores
//
// A commit is one item of the table of events:
//
//	s   string  the stream, "category/ID"; the partition key
//	v   number  the version of the first event; the sort key
//	i   string  the commit's ID
//	t   string  the time in UTC, with nine digits of the second: 2026-01-31T12:00:00.000000000Z
//	c           what the commit brings
//	st  string  pending, claimed or revoked; without it, the commit is settled
//	p   string  the shard of the index, while the commit is pending or claimed
//	d   binary  the named commands: for each its version, fingerprint, time and name
//
// What is empty is left out. A marker has s, v, i and st alone. The first character of c is the
// format of the whole item, now "1", and records follow:
//
//	1e11,15:org.created{"name":"Acme"}e11,20:org.renamed{"name":"Acme Ltd."}a20:{"name":"Acme Inc."}y5,20:org/1{"name":"Acme Inc."}
//
// A record has a letter, the lengths in bytes of its two values, the values behind a
// colon, and nothing else; a second value that is empty has no length.
//
//	e   an event: its type, its data
//	a   another event of the same type as the one before: its data
//	y   the state: its schema, its data
//	r   the ID of the revoked commit that it replaces
//	n   the name of the command
//	m   metadata: key, value
//
// Attribute c is a string if all of it is UTF-8 without control characters other than tab and
// line ends, so JSON can be read in the console, and else binary. A store reads every format
// that there ever was, and an error says so if it meets a later one.
//
// The index "pending" has the partition key p and the sort key t, both strings, and
// projects keys only. A commit is in it until it is settled or revoked.
//
// A view is one item of the table of views:
//
//	k   string  "name/category/ID"; the partition key
//	v   number  the version
//	d   string  the document in JSON
//	w   binary  8 random bytes that tell one Put from another
//	x   number  when it may be deleted, in seconds of Unix time; see [ViewOptions]
//
// # Consistency
//
// Every write is one PutItem or UpdateItem with a condition on the slot; there are no
// transactions, and nothing is deleted. The answer to a failed condition brings the item
// along, so that a write recognises itself.
//
// Reads are strongly consistent and follow every page. Load asks for the next page, in a
// goroutine that ends with the call, when a quarter of a page was taken, so it comes while events
// are folded; LoadBack asks when it has to. A query is no snapshot, so Load reads again what
// others seem to have changed meanwhile. [Store.Pending] asks the
// index, which lags, and then the slot itself. [Views] read strongly consistent unless
// [ViewOptions] say otherwise.
//
// An append beyond the end of a stream, or into the middle of a commit, is
// stored, since one item does not know of the next: every Load of the whole stream ends
// there with an [*es.GapError].
//
// # Errors
//
// [es.ErrConflict] means that another is in the slot, or that the slot is in another
// status: nothing else is called so. [es.ErrRefused] means that the call had no effect: none
// of its attempts left, or each was answered with a status of 4xx. After an attempt
// without a reliable answer (time-out, broken connection, 5xx, an answer that cannot be
// decoded) a later refusal is no proof, and the error wraps neither: the outcome is
// unknown. A conflict is always certain.
//
// [ErrThrottled], [ErrTooLarge] and [ErrNoTable] tell why, where that can be told, and the
// errors of the SDK stay in the chain.
//
// # Time-outs and retries
//
// A request has 3 attempts, with 500 ms, 1 s and 2 s of time, and random pauses of up to
// 25 and 50 ms between them: 3.6 s at most, less if the context ends. See [Options].
// The retries of the SDK are off, whatever the client's configuration says, for they hide
// an attempt that may have had an effect. Sent again is what has no reliable answer, what
// never left, throttling, and the conflict with a transaction or with another region.
//
// # Limits
//
//   - An item has at most 400 KB, names included. More is refused before it is sent.
//   - A stream takes 1000 write units a second, which is the limit of a partition.
//   - Pending commits are spread over 8 shards of the index, 500 a second each.
//   - Times are within the years 0 to 9999.
//   - [Store.Streams] scans the whole table.
//
// # Cost
//
// W is the size of a commit's item in KB, rounded up, which [Store.Units] returns. R is the
// size in KB, over 4, rounded up, of all that is read. A test compares these with what a
// real engine charges.
//
//	                     requests  write units         index  read units
//	append, pending      1         W                   1
//	append, settled      1         W                   0
//	claim                1         W                   0
//	settle               1         W                   1
//	revoke               1         W                   1
//	load                 1 a MB                               R
//	load back            1                                    R, of as many as the hint says
//	pending              8 + n                                0.5 a shard, and R for each of n commits
//	streams              1 a MB                               R, of the whole table
//	get of a view        1                                    R, or half of it if eventual
//	put of a view        1         W of the view
//
// So a command with a small state costs 3 requests, 2 write units of the table, 2 of the index,
// and 1 read unit, on a stream of any length. Claim, settle and revoke are charged by
// the size of the whole item and not of the change: small commits are cheap ones. A
// write whose condition fails is charged, too. A load that is broken off behind a quarter of
// a page may be charged for the next page, 1 MB at most. Append takes a marker's slot for
// the price of any other.
//
// The index has keys alone, at 2 write units a commit: were whole commits projected, each
// append, claim and settle would pay for its size again, so that the relay, which asks
// seldom, need not read the few that it finds. [Options] can do without the index.
//
// # Permissions
//
// A service needs dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:GetItem and
// dynamodb:Query on the table of events, dynamodb:Query on its index, and dynamodb:GetItem
// and dynamodb:PutItem on the table of views. Only a rebuild needs dynamodb:Scan, only
// [CreateTables] dynamodb:CreateTable and dynamodb:DescribeTable. Nothing needs
// dynamodb:DeleteItem.
package dynamostore
