package blindindex_test

import (
	"bytes"
	"fmt"

	"cloakroom/crypto/blindindex"
)

// The same address has the same token, however it is written.
func Example() {
	indexKey := bytes.Repeat([]byte{0x5a}, blindindex.KeySize) // From a KMS, in earnest.
	subkey, err := blindindex.Derive(indexKey, "login", "ip", blindindex.IP, 1)
	clear(indexKey)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer subkey.Destroy()

	hasher := subkey.NewHasher()
	for _, address := range []string{"203.0.113.9", "::ffff:203.0.113.9", "203.0.113.10"} {
		token, err := hasher.AppendToken(nil, address)
		fmt.Println(string(token), err)
	}
	// Output:
	// OqO12wtRHWDHLWN8iYokOg <nil>
	// OqO12wtRHWDHLWN8iYokOg <nil>
	// eSgL8Jjtesrf7U2BzQyCJQ <nil>
}

func ExampleTransform_Normalise() {
	for _, transform := range []blindindex.Transform{blindindex.Text, blindindex.CaseFold, blindindex.Digits, blindindex.IP} {
		normal, err := transform.Normalise(" Device-007 ")
		fmt.Printf("%s: %q, %v\n", transform, normal, err)
	}
	// Output:
	// text: "Device-007", <nil>
	// casefold: "device-007", <nil>
	// digits: "007", <nil>
	// ip: "", normalising value: value is not an IP address
}

func ExampleValidToken() {
	fmt.Println(blindindex.ValidToken("AAECAwQFBgcICQoLDA0ODw"))
	fmt.Println(blindindex.ValidToken("AAECAwQFBgcICQoLDA0ODx")) // The last character's spare bits are not zero.
	// Output:
	// true
	// false
}
