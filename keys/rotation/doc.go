// Package rotation changes every key online: rewrap, reseal, reindex, retire, shred, forget.
//
// Which function to call: [Rotate] nightly; it does what the vault's policy says is due. [Rewrap],
// [Reseal], [Reindex] and [Retire] do one step now. [Shred] and [Forget] destroy data. Each can be
// run again at any time and goes on where it ended.
//
// What it promises, for each step:
//
//   - Ingest goes on. A step that changes what may be written raises the vault's epoch. A writer
//     under the old epoch is refused, and protects its batch again.
//   - A step that is killed at any statement is resumed by the next run, and two runs at once share
//     the work. A worker claims a slice of a month for one transaction; the slice's watermark is
//     committed with the rows it covers.
//   - No value is lost. A new sealed value is opened and compared before it is written. It replaces
//     only the value it was made from, told by data key and nonce: if another transaction changed
//     the row meanwhile, that change stays.
//   - A key is retired only after a count, whose snapshot is later than the epoch that closed the
//     key. A watermark proves nothing.
//   - A row that does not open stays as it is. It is quarantined, and its key is not retired.
//
// The login holds the role cloakroom_rotator and no privilege on any table. It calls API functions,
// which check every name that they are given against the catalogue.
package rotation
