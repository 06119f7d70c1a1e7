// Package auditlog reads and proves the audit log: a Merkle tree (RFC 6962) of leaves that the
// database's own function appends, each canonical JSON that is hashed as the bytes it is.
//
// What it promises: given one checkpoint that was kept where the log's keepers could not reach it,
// [Verify] tells whether every leaf up to that checkpoint is there and is what it was. An edited
// leaf, a cut tail, a fork, and a rewritten log signed with the stolen key all end as
// [ErrInvalid].
//
// What it cannot: leaves newer than the newest checkpoint kept elsewhere can be cut or changed
// unseen. A policy of checkpoint_before_open closes that gap for openings; a checkpoint every few
// seconds makes it small for the rest.
package auditlog
