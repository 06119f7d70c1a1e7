package blindindex_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cloakroom/crypto/blindindex"
)

// TestVectorsAreComposed holds the stored vectors, and so the code, to an independent composition of the format.
func TestVectorsAreComposed(t *testing.T) {
	composed := composeVectors()
	if *update {
		writeVectors(t, composed)
	}
	if diff := cmp.Diff(composed, readVectors(t), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("composed (-) and stored (+) vectors differ:\n%s", diff)
	}
}

// writeVectors writes the vectors, and each value as a seed for the fuzz targets.
func writeVectors(t *testing.T, all []vector) {
	t.Helper()
	file, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorsFile, append(file, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		name := strings.NewReplacer(" ", "-", ",", "").Replace(v.Name)
		seed := fmt.Appendf(nil, "go test fuzz v1\nstring(%q)\n", v.value())
		for _, target := range []string{"FuzzNormalise", "FuzzToken"} {
			if err := os.WriteFile(filepath.Join("testdata/fuzz", target, name), seed, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// composeVectors lists one vector per way to succeed and per way to fail, each normal form written by hand.
func composeVectors() []vector {
	key := make([]byte, blindindex.KeySize)
	for i := range key {
		key[i] = 0x40 + byte(i)
	}
	var all []vector
	add := func(name string, t blindindex.Transform, value, want, normal string, change func(*vector)) {
		v := vector{
			Name: name, IndexKey: key, Dataset: "login", Field: "ip", Transform: t, Version: 1,
			Value: value, Want: want, Normal: normal,
		}
		if change != nil {
			change(&v)
		}
		if want == "ok" {
			v.Token = composeToken(v.IndexKey, v.Dataset, v.Field, string(t), v.Version, normal)
		}
		all = append(all, v)
	}
	ok := func(name string, t blindindex.Transform, value, normal string) {
		add(name, t, value, "ok", normal, nil)
	}
	refused := func(name string, t blindindex.Transform, value, want string) { add(name, t, value, want, "", nil) }

	ok("IPv4", blindindex.IP, "203.0.113.9", "203.0.113.9")
	ok("IPv4 mapped to IPv6", blindindex.IP, "::ffff:203.0.113.9", "203.0.113.9")
	ok("IPv4 mapped to IPv6, in hex", blindindex.IP, "::FFFF:CB00:7109", "203.0.113.9")
	ok("IPv4-compatible IPv6 stays IPv6", blindindex.IP, "::203.0.113.9", "::cb00:7109")
	ok("IPv6 in full", blindindex.IP, "2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1")
	ok("IPv6 compressed", blindindex.IP, "2001:db8::1", "2001:db8::1")
	ok("IPv6 unspecified", blindindex.IP, "::", "::")
	add("another index key", blindindex.IP, "203.0.113.9", "ok", "203.0.113.9", func(v *vector) {
		v.IndexKey = make([]byte, blindindex.KeySize)
	})
	add("another dataset", blindindex.IP, "203.0.113.9", "ok", "203.0.113.9", func(v *vector) { v.Dataset = "logout" })
	add("another field", blindindex.IP, "203.0.113.9", "ok", "203.0.113.9", func(v *vector) { v.Field = "last_ip" })
	add("another version", blindindex.IP, "203.0.113.9", "ok", "203.0.113.9", func(v *vector) { v.Version = 2 })
	ok("another transform", blindindex.Text, "203.0.113.9", "203.0.113.9")

	refused("zone", blindindex.IP, "fe80::1%eth0", "address")
	refused("leading zero", blindindex.IP, "010.0.0.1", "address")
	refused("leading zero in mapped IPv4", blindindex.IP, "::ffff:1.2.03.4", "address")
	refused("space before an address", blindindex.IP, " 203.0.113.9", "address")
	refused("space after an address", blindindex.IP, "203.0.113.9 ", "address")
	refused("address with a port", blindindex.IP, "203.0.113.9:80", "address")
	refused("prefix", blindindex.IP, "203.0.113.0/24", "address")
	refused("address in brackets", blindindex.IP, "[2001:db8::1]", "address")
	refused("address in digits of another script", blindindex.IP, "２０３.0.113.9", "address")
	refused("no address", blindindex.IP, "", "empty")
	refused("address that is not UTF-8", blindindex.IP, "203.0.113.9\xff", "utf8")

	ok("text in ASCII", blindindex.Text, "\t User-1\r\n", "User-1")
	ok("text, composed", blindindex.Text, "Zo\u00eb", "Zo\u00eb")
	ok("text, decomposed", blindindex.Text, "Zoe\u0308", "Zo\u00eb")
	ok("text amid wide spaces", blindindex.Text, "\u00a0\u3000e\u0301\u2003\u0085", "\u00e9")
	ok("text with spaces inside", blindindex.Text, "a  b", "a  b")
	ok("text with NUL", blindindex.Text, "a\x00", "a\x00")
	ok("text, zero-width space kept", blindindex.Text, "a\u200b", "a\u200b")
	ok("text, ligature kept", blindindex.Text, "\ufb01", "\ufb01")
	refused("text of spaces", blindindex.Text, " \u3000\t", "empty")
	refused("no text", blindindex.Text, "", "empty")
	refused("text cut within a character", blindindex.Text, "Zo\xc3", "utf8")
	refused("surrogate", blindindex.Text, "\xed\xa0\x80", "utf8")

	ok("case in ASCII", blindindex.CaseFold, " USER-1 ", "user-1")
	ok("sharp s", blindindex.CaseFold, "Stra\u00dfe", "strasse")
	ok("capital sharp s", blindindex.CaseFold, "STRA\u1e9eE", "strasse")
	ok("final sigma", blindindex.CaseFold, "\u039f\u0394\u039f\u03a3 \u03bf\u03b4\u03bf\u03c2", "\u03bf\u03b4\u03bf\u03c3 \u03bf\u03b4\u03bf\u03c3")
	ok("dotted capital I", blindindex.CaseFold, "\u0130", "i\u0307")
	ok("dotless i stays apart", blindindex.CaseFold, "\u0131", "\u0131")
	ok("Kelvin sign", blindindex.CaseFold, "\u212a", "k")
	ok("iota subscript before an accent", blindindex.CaseFold, "\u03b1\u0345\u0301", "\u03ac\u03b9")
	ok("small Cherokee folds to capitals", blindindex.CaseFold, "\uab70\u13f8", "\u13a0\u13f0")
	ok("capital Cherokee stays", blindindex.CaseFold, "\u13a0\u13f0", "\u13a0\u13f0")
	refused("case of spaces", blindindex.CaseFold, "\u2003", "empty")
	refused("case that is not UTF-8", blindindex.CaseFold, "A\xff", "utf8")

	ok("digits among punctuation", blindindex.Digits, "199-172-056", "199172056")
	ok("digits, leading zeros kept", blindindex.Digits, "+00 1", "001")
	ok("digits among letters", blindindex.Digits, "device456", "456")
	ok("Arabic-Indic digits", blindindex.Digits, "\u0661\u0669\u0669", "199")
	ok("fullwidth and mathematical digits", blindindex.Digits, "\uff11\U0001d7d7\U0001d7ff", "199")
	ok("superscripts and circled numbers are no digits", blindindex.Digits, "1\u00b2\u2460\u216b", "1")
	refused("no digit", blindindex.Digits, "n/a", "empty")
	refused("digits that are not UTF-8", blindindex.Digits, "1\xff2", "utf8")

	ok("alnum without punctuation", blindindex.Alnum, "199-172-056", "199172056")
	ok("alnum, nothing to drop", blindindex.Alnum, "199172056", "199172056")
	ok("alnum keeps letters apart", blindindex.Alnum, "device456", "device456")
	ok("alnum, UUID in braces", blindindex.Alnum, "{8A6E0804-2BD0-4672-B79D-D97027F9071A}", "8a6e08042bd04672b79dd97027f9071a")
	ok("alnum, hardware address", blindindex.Alnum, "00:1B-44.11_3A B7", "001b44113ab7")
	ok("alnum, digits of other scripts", blindindex.Alnum, "\uff11\u0661 \U0001d7d7", "119")
	ok("alnum keeps other numbers", blindindex.Alnum, "1\u00b2\u2460\u216b", "1\u00b2\u2460\u217b")
	ok("alnum keeps vowel signs", blindindex.Alnum, "\u0915\u093f-1", "\u0915\u093f1")
	ok("alnum composes what punctuation kept apart", blindindex.Alnum, "E-\u0301", "\u00e9")
	ok("alnum of nothing but symbols", blindindex.Alnum, " \U0001f4f1-\U0001f512 ", "\U0001f4f1-\U0001f512")
	ok("alnum of nothing but ASCII punctuation", blindindex.Alnum, " -- ", "--")
	refused("alnum of spaces", blindindex.Alnum, " \u3000", "empty")
	refused("alnum that is not UTF-8", blindindex.Alnum, "a\xffb", "utf8")

	ok("trim alone", blindindex.Trim, "\u2003e\u0301 A\t", "e\u0301 A")
	refused("trim of spaces", blindindex.Trim, " \u3000", "empty")
	refused("trim that is not UTF-8", blindindex.Trim, " \xff ", "utf8")
	ok("trim, then fold", "trim+casefold", " User@Example.COM ", "user@example.com")
	ok("trim, then an address", "trim+ip", " ::FFFF:CB00:7109\n", "203.0.113.9")
	ok("fold, then digits", "casefold+digits", "Gate \u0661-7", "17")
	refused("a chain that leaves nothing", "text+digits", "n/a", "empty")
	refused("a chain on what is not UTF-8", "trim+casefold", "a\xff", "utf8")

	ok("network of IPv4", "ip|prefix/24", "203.0.113.9", "203.0.113.0/24")
	ok("network of mapped IPv4", "ip|prefix/24", "::ffff:203.0.113.9", "203.0.113.0/24")
	ok("network of IPv6 has twice the bits", "ip|prefix/24", "2001:db8:85a3:1::9", "2001:db8:85a3::/48")
	ok("network of one host", "ip|prefix/32", "203.0.113.9", "203.0.113.9/32")
	ok("network after trim", "trim+ip|prefix/16", " 203.0.113.9 ", "203.0.0.0/16")
	refused("network of no address", "ip|prefix/24", "203.0.113.0/24", "address")
	ok("first characters", "text|prefix/3", "Zoe\u0308 S", "Zo\u00eb")
	ok("first characters of a short text", "text|prefix/3", "Zo", "Zo")
	ok("last characters", "digits|last/4", "4929 1234-5678 9012", "9012")
	ok("last characters of a short text", "digits|last/4", "12", "12")
	ok("last characters beyond ASCII", "text|last/2", "Zo\u00eb\U0001f512", "\u00eb\U0001f512")
	ok("domain", "trim+casefold|domain", " User@Example.COM", "example.com")
	ok("domain is folded whatever the step", "text|domain", "User@Example.COM.", "example.com")
	ok("domain beyond ASCII", "text|domain", "user@STRA\u1e9eE.example..", "strasse.example")
	ok("domain after a quoted @", "text|domain", "\"a@b\"@example.com", "example.com")
	refused("domain of no address", "text|domain", "user", "part")
	refused("domain without a local part", "text|domain", "@example.com", "part")
	refused("domain that is empty", "text|domain", "user@ .", "part")
	refused("domain of spaces", "text|domain", " ", "empty")
	refused("domain that is not UTF-8", "text|domain", "a@\xff", "utf8")
	return all
}
