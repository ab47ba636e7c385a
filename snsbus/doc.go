// Package snsbus is a broker on Amazon SNS and SQS: [Publisher] is an [es.Publisher] to an
// SNS FIFO topic, and [Consumer] hands the messages of an SQS FIFO queue that is subscribed
// to it to projections and reactors.
//
//	cfg, err := config.LoadDefaultConfig(ctx)
//	client := sns.NewFromConfig(cfg)
//	journal := &es.Journal{Store: store, Publisher: snsbus.New(client, topicARN, nil)}
//	result, err := es.Execute(ctx, journal, &account, "42", deposit(100))
//
// The topic must be there, and be a FIFO topic. The attribute FifoThroughputScope should be
// MessageGroup: then streams do not share a quota.
//
// # What it sends
//
// A commit is one message, and its body is JSON:
//
//	{
//	  "stream": {"category": "org", "id": "42"},
//	  "version": 1,                                the first event's
//	  "id": "4X2XQ6ZJ3M5K7N8P9RSTUVWXYZ",          the commit's
//	  "command": "create",                         the name of the command
//	  "time": "2026-01-31T12:00:00.000000000Z",    in UTC, with nine digits of the second
//	  "meta": {"actor": "anna"},
//	  "events": [
//	    {"type": "org.created", "data": {"name": "Acme"}},
//	    {"type": "org.logo", "base64": "iVBORw=="}
//	  ]
//	}
//
// It has no white space but what is in data, and in this order. A command without a name,
// metadata without entries and data without bytes are left out. Data is embedded if it is
// JSON, so that subscribers can read it and filter by it; all else is in base64, and so is
// JSON that would not come back as the same bytes or could not be sent: with space around
// it, nested more than 500 deep, not in UTF-8, or with a raw U+FFFE or U+FFFF, which SQS takes
// for no characters. State and named commands are not sent. Readers ignore members
// that they do not know, and so must others that read these messages.
//
// The message group is the stream's name, "org/42". A name of more than 128 bytes, or with
// other characters than letters, digits and punctuation of ASCII, is no group to SNS; then it
// is the name's SHA-256, in 64 digits of lower-case hex. The deduplication ID is the
// commit's ID.
//
// Attributes are for the filter policies of subscriptions, and also come with raw delivery:
//
//	category  String
//	types     String.Array  the types of the events, each once, sorted
//	version   Number        of the first event; policies compare numbers up to 10⁹
//
// A subscription that filters by types or version misses parts of streams: a projection
// heals such gaps from the store, with a load for each.
//
// # Order and deduplication
//
// SNS delivers the messages of a group in the order in which it has taken them, to each
// FIFO queue; that this is the order of versions is the doing of the journal. The same
// commit published again within five minutes is taken and not delivered, and later it is
// delivered again. Published is not delivered: a subscription with a broken queue policy
// loses messages, unless it has a dead-letter queue of its own, which has to be FIFO.
//
// # Consuming
//
// A Lambda function whose event source is the queue:
//
//	consumer := &snsbus.Consumer{Handle: balances.Handle, Logger: slog.Default()}
//	lambda.Start(consumer.HandleSQS)
//
// A batch mixes streams. What fails is returned with all that is behind it in its group and
// comes again; other groups go on. [Consumer.HandleSQS] has the rules. They need this of
// what is around the function:
//
//   - The event source mapping has ReportBatchItemFailures in its FunctionResponseTypes.
//     Without it Lambda takes every answer for success, and deletes what failed.
//   - The queue has a redrive policy to a dead-letter queue, which has to be FIFO as well. A
//     message that fails each time holds up its group until it has been received as often
//     as maxReceiveCount says, and comes again after each visibility time-out: with six
//     times the function's time-out, as Lambda asks for, and five receipts, a time-out of
//     10 s holds up a stream for five minutes.
//   - The queue's messages are of this package alone, since another's are malformed and go
//     the same way. The log says which they are and what is wrong, and not what they hold.
//
// A message in the dead-letter queue is a gap in its stream. A projection heals it from the
// store with the next message of the stream, or in a rebuild; a reactor has missed it until
// it is moved back, and may then see it after later ones.
//
// # Errors
//
// [es.ErrRefused] means that the commit was not published, and never will be by this call:
// nothing was sent, no connection came about, or each attempt was answered with a status
// of 4xx other than 408. After an attempt without a reliable answer (time-out, broken
// connection, 5xx, a redirect, an answer that cannot be decoded or has no message ID) a
// later refusal is no proof, and the error does not wrap it: the outcome is unknown.
//
// [ErrThrottled], [ErrTooLarge] and [ErrNoTopic] tell why, where that can be told, as
// [es.ErrInvalid] does for what has no valid form, and the errors of the SDK and of the
// context stay in the chain. Of a [Client] that is none of the SDK's, and does not call the
// options that it is given, only the status of an answer is believed.
//
// # Time-outs and retries
//
// A request has 3 attempts, with 125 ms, 250 ms and 500 ms of time, and random pauses of up
// to 25 and 50 ms between them: 0.95 s at most, less if the context ends. That fits into the
// second that [es.Journal] has by default to store and to publish. See [Options]; from far
// away, or on a small Lambda function that has to connect first, more time for both makes
// fewer commits pending. The retries of the SDK are off, whatever the client's configuration
// says, for they hide an attempt that may have had an effect. Sent again is what has no
// reliable answer, what never left, throttling, and what was signed by a wrong clock. All of
// them have the same deduplication ID, so that one message is delivered.
//
// # Limits
//
//   - A message has at most 256 KB: body and attributes, with their names and types. More
//     is refused before it is sent, and [Publisher.Check] says so before a commit is stored.
//     A topic can take up to 1 MB by its attribute MaximumMessageSize; then say so in
//     [Options], and see that the queues take as much.
//   - Base64 makes data a third larger.
//   - Without raw delivery SNS puts the body into an envelope, as a string of JSON, with
//     the attributes and about 1 KB of its own. Each quote and backslash of the body becomes
//     two characters: a tenth to a fifth of usual JSON. The check does not count this. A
//     queue with the limit of the topic may then be too small for the largest commits,
//     which go to the subscription's dead-letter queue: deliver raw, give the queue a larger
//     limit, or lower MaxBytes.
//   - A commit ID has 1 to 128 letters, digits and characters of punctuation, of ASCII. So do
//     those that a journal makes.
//   - A category has no U+FFFE or U+FFFF.
//   - Times are within the years 0 to 9999.
//   - FIFO topics have a quota for each group, or for the topic as a whole.
//
// # Cost
//
// A publish is one request, or as many as there were attempts. It allocates within a tenth of
// what the SDK allocates for the same request.
//
// # Permissions
//
// A service needs sns:Publish on the topic; if it is encrypted by a key of one's own,
// kms:GenerateDataKey and kms:Decrypt on that key as well.
//
// [es.ErrInvalid]: https://pkg.go.dev/github.com/leftfold/leftfold/es#ErrInvalid
// [es.ErrRefused]: https://pkg.go.dev/github.com/leftfold/leftfold/es#ErrRefused
// [es.Journal]: https://pkg.go.dev/github.com/leftfold/leftfold/es#Journal
// [es.Publisher]: https://pkg.go.dev/github.com/leftfold/leftfold/es#Publisher
package snsbus
