// Package keys is the vault: the wrapped keys in Postgres and the code that guards them.
//
//	KEK            in KMS or a key file; never leaves it
//	 ├─ data keys  seal values; one per process, month of create_date and period; capped by count, bytes and age
//	 └─ index key  one live version (two while reindexing)
//	      └─ subkeys, one per field, derived with HKDF
//
// What it promises:
//
//   - A data key is committed to the vault, wrapped, and read back before the first value is sealed under it. A crash
//     at any instruction leaves no value that cannot be opened.
//   - A data key seals values of one month of create_date only, so that a month can be shredded exactly.
//   - A data key seals at most 2^28 values (never more than 2^32: NIST SP 800-38D, section 8.3), 64 GiB and for one
//     hour, whichever comes first. The next key is fetched ahead, once per process.
//   - A wrong or damaged key is reported as such by its key check; it never opens or seals anything.
//   - Key bytes are zeroed as soon as a key is expanded. Go's AES key schedule cannot be zeroed.
package keys
