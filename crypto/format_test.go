// Package crypto_test holds docs/format.md to the code.
package crypto_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"

	"cloakroom/crypto/blindindex"
	"cloakroom/crypto/envelope"
)

// readExample returns the named bytes in the document's example blocks.
func readExample(t *testing.T) (document string, example map[string][]byte) {
	t.Helper()
	file, err := os.ReadFile("../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	example = map[string][]byte{}
	var inside bool
	var name string
	for line := range strings.Lines(string(file)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```example"
		case inside && strings.HasSuffix(line, " ="):
			name = strings.TrimSuffix(line, " =")
		case inside:
			part, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			example[name] = append(example[name], part...)
		}
	}
	return string(file), example
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) || len(got) == 0 {
		t.Errorf("%s: the code has %x, the document %x", what, got, want)
	}
}

func TestWorkedSealedValue(t *testing.T) {
	_, example := readExample(t)
	place := envelope.Place{
		Vault: [16]byte(example["vault id"]), Dataset: "login", Field: "ip", Row: [16]byte(example["row id"]),
		Date: "2026-03-14", Subject: "user-1",
	}
	same(t, "associated data", envelope.AppendAssociatedData(nil, &place, 7), example["associated data"])

	joined := slices.Concat([]byte{1, 0, 0, 0, 7}, example["nonce"], example["ciphertext"], example["tag"])
	same(t, "parts of the sealed value", joined, example["sealed value"])
	key, err := envelope.NewKey(7, example["data key"])
	if err != nil {
		t.Fatal(err)
	}
	opened, err := key.Open(nil, nil, &place, 48, example["sealed value"])
	if err != nil {
		t.Fatal(err)
	}
	same(t, "opened value", opened, []byte("203.0.113.9"))
	box := example["sealed value"][5:]
	same(t, "padded value", open(t, example["data key"], box, example["associated data"]), example["padded value"])

	info := envelope.AppendUint32(envelope.AppendFields(nil, "cloakroom/v1/check"), 7)
	same(t, "key check info", info, example["key check info"])
	check := envelope.Check(example["data key"], 7)
	same(t, "key check", check[:], example["key check"])
}

func TestWorkedToken(t *testing.T) {
	document, example := readExample(t)
	info := envelope.AppendUint32(envelope.AppendFields(nil, "login", "ip", "ip"), 1)
	same(t, "subkey info", info, example["subkey info"])
	derived, err := envelope.Derive(example["index key"], info, blindindex.KeySize)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "subkey", derived, example["subkey"])

	const value = "::ffff:203.0.113.9"
	normal, err := blindindex.IP.Normalise(value)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "normalised value", []byte(normal), example["normalised value"])
	subkey, err := blindindex.Derive(example["index key"], "login", "ip", blindindex.IP, 1)
	if err != nil {
		t.Fatal(err)
	}
	token, err := subkey.Token(value)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "token", []byte(token), base64.RawURLEncoding.AppendEncode(nil, example["token"]))
	if !strings.Contains(document, "`"+token+"`") {
		t.Errorf("the document does not show token %s", token)
	}
}

func TestWorkedKeyFile(t *testing.T) {
	document, example := readExample(t)
	ad := envelope.AppendFields(nil,
		"app", "cloakroom", "key", "7", "purpose", "seal", "vault", "6f1c8e0a-3b52-4d17-9a40-5c2e7d9b1f08")
	same(t, "KEK associated data", ad, example["KEK associated data"])
	wrapped := example["wrapped key"]
	same(t, "version of the wrapped key", wrapped[:1], []byte{1})
	same(t, "unwrapped key", open(t, example["KEK"], wrapped[1:], ad), example["data key"])
	if text := base64.StdEncoding.EncodeToString(example["KEK"]); !strings.Contains(document, "`"+text+"`") {
		t.Errorf("the document does not show key file %s", text)
	}
}

// open opens nonce ‖ ciphertext ‖ tag with the standard library alone.
func open(t *testing.T, key, box, ad []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := aead.Open(nil, nil, box, ad)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}
