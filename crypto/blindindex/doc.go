// Package blindindex turns a value into a token: the same text for the same value, so that an analyst sees duplicates,
// and unreadable without the index key.
//
// A token is HMAC-SHA-256 of the value, normalised as its field prescribes ([Transform]), under a key derived for
// that field ([Derive]): the first 16 bytes, in base64url without padding, 22 characters. Tokens of different
// datasets, fields, transforms or index-key versions have nothing in common. A transform may take a part of the value,
// such as the network of an address; a field with two indexes has two subkeys.
//
// 128 bits are enough for duplicates to be exact: among 2^32 distinct values two share a token with a chance of
// 2^-65. docs/format.md describes every step; the golden vectors in testdata hold the code to it.
//
// What a blind index cannot do: values that can be enumerated can be found by anyone who holds both the index key and the
// tokens. Every IPv4 address takes minutes on one core. The two are to be kept apart. And equal values have equal
// tokens, so how often each occurs is plain to see: that is the purpose.
package blindindex
