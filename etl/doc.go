// Package etl takes events from a source, protects them and loads them:
//
//	receive → (unwrap) → decode → protect → load
//
// Run does all of it; DryRun stops before the load and counts. Package etl/source has the sources:
// an SQS queue, a file, the records of a Lambda call. A Writer holds what all goroutines of a
// process share: the vault's settings, the index keys and the data keys in hand. Protector and
// Loader are two stages of Run by themselves, for measurements.
//
// What the package promises:
//
//   - Every event that a source hands over ends as one row or as one rejection with a reason code. It is committed
//     before the source hears of it. A redelivered event is dropped by its key. What S3 sends when notifications are
//     set up is no event, and is counted.
//   - Of several inputs, one that brings nothing, fails, or waits for its bodies delays no other.
//   - A protected value is written sealed, with its token beside it, and in no other form. The sealed value holds the
//     text as it was sent, byte for byte; only the token sees the normalised form.
//   - One bad event never fails its batch, and nothing that an event holds makes its rejection impossible.
//   - A failure of the infrastructure (database, KEK, a clock) is never an event's fault: the batch is
//     held and tried again.
//
// A Writer writes one dataset, or several, which a Route tells apart. What it knows of a dataset it read from the vault.
//
// The files follow an event: input.go, receive.go, unpack.go, route.go, plan.go, protect.go and batch.go, load.go with
// copytext.go. deliver.go and outage.go say what happens when a load fails; run.go puts the stages
// together.
package etl
