// Package rotation changes every key underneath, online: rewrap, reseal, reindex, retire, shred, forget.
//
// What it promises, for each step:
//
//   - Ingest goes on. What may be written changes under the fence and raises the epoch; a stale writer is refused and
//     protects its batch again.
//   - Killed at any statement, it is resumed by the next run; two runs at once share the work. A worker claims a slice of a
//     month for one transaction, and the slice's watermark is committed with the rows it covers.
//   - No value is lost. A new sealed value is opened and compared before it is written, and it is written over exactly the
//     value it was made from, told by its data key and nonce: whoever changed the row meanwhile wins.
//   - A key is retired when a count says so, made with a snapshot later than the epoch that closed the key. A watermark
//     never proves anything.
//   - A row that does not open is left as it is, named, and keeps its key from being retired.
//
// The login holds the role cloakroom_rotator and no privilege on any table: the owner's functions are the only doors. Those
// check what they are told; Go names no column that they do not compare with the catalogue.
package rotation
