// Package envelope seals one field of one row, and opens it again.
//
// A sealed value, version 1, is
//
//	0x01 ‖ data-key id, 4 bytes big endian ‖ nonce, 12 bytes ‖ ciphertext ‖ tag, 16 bytes
//
// where the last three are AES-256-GCM (NIST SP 800-38D) over the value padded to a multiple of its field's pad,
// with the value's [Place] as associated data. So the bytes say which key opens them and how long the value is to
// within one pad, and nothing else; and they open in the place they were sealed for, and in no other.
//
// The format is frozen: docs/format.md describes it byte by byte, and the golden vectors in testdata hold the code
// to it. A change is a new version byte.
//
// Nonces are random, so one key may seal at most [MaxSeals] values. A [Key] does not count: the code that hands out keys
// does. What this package does not hide is that a value exists, its padded length, its key and thereby its month.
package envelope
