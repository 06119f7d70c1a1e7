// Package etl takes events from a source, protects them and loads them:
//
//	source → decode → protect → load
//
// What it promises:
//
//   - Every event that a source hands over ends as one row or as one rejection with a reason code, committed before the
//     source hears of it. A redelivered event is dropped by its key.
//   - A protected value is written only sealed, with its token beside it. The sealed value holds the text as it was
//     sent, byte for byte; only the token sees the normalised form.
//   - One bad event never fails its batch. A failure of the infrastructure (database, KEK) is never an event's fault:
//     the batch is held and tried again.
package etl
