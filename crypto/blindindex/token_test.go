package blindindex_test

import (
	"strings"
	"testing"

	"cloakroom/crypto/blindindex"
)

func TestValidToken(t *testing.T) {
	const token = "AAECAwQFBgcICQoLDA0ODw"
	if !blindindex.ValidToken(token) || !blindindex.ValidToken("-_"+token[2:]) {
		t.Error("a token is not valid")
	}
	for name, s := range map[string]string{
		"empty":            "",
		"short":            token[:21],
		"long":             token + "A",
		"padded":           token + "==",
		"standard base64":  "+/" + token[2:],
		"spare bits set":   token[:21] + "x",
		"space":            " " + token[1:],
		"line end":         token[:21] + "\n",
		"line end inside":  token[:10] + "\n" + token[11:],
		"beyond ASCII":     "é" + token[2:],
		"padding for last": token[:21] + "=",
	} {
		if blindindex.ValidToken(s) {
			t.Errorf("%s: %q is valid", name, s)
		}
	}
}

func TestEqualToken(t *testing.T) {
	const token = "AAECAwQFBgcICQoLDA0ODw"
	if !blindindex.EqualToken(token, strings.Clone(token)) {
		t.Error("a token differs from itself")
	}
	for _, other := range []string{"", token[:21], token + "A", "B" + token[1:], token[:21] + "g"} {
		if blindindex.EqualToken(token, other) || blindindex.EqualToken(other, token) {
			t.Errorf("%q equals %q", token, other)
		}
	}
	if blindindex.EqualToken("", "") {
		t.Error("no token equals no token")
	}
}
