package envelope_test

import (
	"bytes"
	"errors"
	"fmt"

	"cloakroom/crypto/envelope"
)

// A value opens in the row it was sealed for, and in no other.
func Example() {
	raw := bytes.Repeat([]byte{0x5a}, envelope.KeySize) // From a KMS, in earnest.
	key, err := envelope.NewKey(7, raw)
	clear(raw)
	if err != nil {
		fmt.Println(err)
		return
	}
	place := envelope.Place{
		Vault: [16]byte{1}, Dataset: "login", Field: "ip", Row: [16]byte{2}, Date: "2026-03-14", Subject: "user-1",
	}
	var scratch envelope.Scratch
	sealed, err := key.Seal(nil, &scratch, &place, 48, []byte("203.0.113.9"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d bytes, beginning %x\n", len(sealed), sealed[:5])

	opened, err := key.Open(nil, &scratch, &place, 48, sealed)
	fmt.Printf("%s, %v\n", opened, err)

	place.Subject = "user-2"
	_, err = key.Open(nil, &scratch, &place, 48, sealed)
	fmt.Println(errors.Is(err, envelope.ErrAuthentication))
	// Output:
	// 81 bytes, beginning 0100000007
	// 203.0.113.9, <nil>
	// true
}

// The header of a sealed value says which data key to fetch.
func ExampleParse() {
	sealed := append([]byte{0x01, 0, 0, 0, 7}, make([]byte, 12+48+16)...)
	value, err := envelope.Parse(sealed, 48)
	fmt.Println(value.KeyID, len(value.Box), err)

	_, err = envelope.Parse(sealed[:80], 48)
	fmt.Println(err)
	// Output:
	// 7 76 <nil>
	// parsing sealed value: sealed value is too short
}

// Encoding E keeps neighbouring fields apart.
func ExampleAppendFields() {
	fmt.Printf("%x\n", envelope.AppendFields(nil, "ab", "c"))
	fmt.Printf("%x\n", envelope.AppendFields(nil, "a", "bc"))
	// Output:
	// 0000000261620000000163
	// 0000000161000000026263
}

// The key check of an unwrapped key is compared with the one stored beside its wrapped bytes.
func ExampleCheck() {
	key := bytes.Repeat([]byte{0x5a}, envelope.KeySize)
	stored := envelope.Check(key, 7)

	key[31] ^= 1
	fmt.Println(envelope.Check(key, 7) == stored)
	// Output:
	// false
}
