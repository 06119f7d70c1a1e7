package blindindex

import (
	"crypto/subtle"
	"strings"
)

// TokenLength is the length of a token in characters.
const TokenLength = 22

// tokenSize is how many bytes of the HMAC a token holds.
const tokenSize = 16

// The characters of base64url (RFC 4648, section 5), and those that end a token: 22 characters hold 132 bits, so the
// last four are spare, and zero.
const (
	alphabet     = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	lastAlphabet = "AQgw"
)

// ValidToken reports whether s has the one shape of a token: 22 characters of base64url, the spare bits zero. A token
// has no second spelling.
func ValidToken(s string) bool {
	if len(s) != TokenLength {
		return false
	}
	for i := range TokenLength - 1 {
		if strings.IndexByte(alphabet, s[i]) < 0 {
			return false
		}
	}
	return strings.IndexByte(lastAlphabet, s[TokenLength-1]) >= 0
}

// EqualToken reports whether a and b are the same token, in a time that does not depend on where they differ. What has
// not a token's length is equal to nothing.
func EqualToken(a, b string) bool {
	return len(a) == TokenLength && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
