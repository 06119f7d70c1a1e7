package blindindex_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"cloakroom/crypto/blindindex"
)

func TestNormaliseIsIdempotent(t *testing.T) {
	marks, letters := rapid.SampledFrom(runesWhere(isMark)), rapid.SampledFrom(runesWhere(changes))
	hard := rapid.StringOfN(rapid.OneOf(marks, letters, rapid.Rune()), 1, 100, -1)
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.String(), hard).Draw(t, "value")
		for _, transform := range transforms {
			checkNormal(t, transform, value)
		}
		for _, transform := range cuts {
			checkPart(t, transform, value)
		}
	})
}

// Marks in long runs, and characters that decompose or fold, are where Unicode is hard.

func isMark(r rune) bool { return norm.NFC.PropertiesString(string(r)).CCC() != 0 }

func changes(r rune) bool {
	return norm.NFD.PropertiesString(string(r)).Decomposition() != nil || unicode.SimpleFold(r) != r
}

// TestCanonicallyEqualTextsMeet normalises both decomposed and composed forms of the same text.
func TestCanonicallyEqualTextsMeet(t *testing.T) {
	for _, r := range slices.Concat(runesWhere(isMark), runesWhere(changes)) {
		text := "x" + string(r) + "\u0345\u0301"
		for _, transform := range []blindindex.Transform{blindindex.Text, blindindex.CaseFold} {
			composed, err1 := transform.Normalise(norm.NFC.String(text))
			decomposed, err2 := transform.Normalise(norm.NFD.String(text))
			if err1 != nil || err2 != nil || composed != decomposed {
				t.Errorf("%s of %U: %+q, %v and %+q, %v", transform, r, composed, err1, decomposed, err2)
			}
			checkNormal(t, transform, text)
		}
	}
}

// TestCasesMeet folds each character and those it equals but for case.
func TestCasesMeet(t *testing.T) {
	for _, r := range runesWhere(func(r rune) bool { return unicode.SimpleFold(r) != r }) {
		a, err1 := blindindex.CaseFold.Normalise(string(r))
		b, err2 := blindindex.CaseFold.Normalise(string(unicode.SimpleFold(r)))
		if err1 != nil || err2 != nil || a != b {
			t.Errorf("%U folds to %+q, %v, and %U to %+q, %v", r, a, err1, unicode.SimpleFold(r), b, err2)
		}
	}
}

// TestDigitTable holds Unicode's table to what reading digits relies on: each run is tens of digits from zero.
func TestDigitTable(t *testing.T) {
	for _, run := range unicode.Nd.R16 {
		if run.Stride != 1 || (run.Hi-run.Lo+1)%10 != 0 {
			t.Errorf("%U to %U by %d", run.Lo, run.Hi, run.Stride)
		}
	}
	for _, run := range unicode.Nd.R32 {
		if run.Stride != 1 || (run.Hi-run.Lo+1)%10 != 0 {
			t.Errorf("%U to %U by %d", run.Lo, run.Hi, run.Stride)
		}
	}
	for _, r := range runesWhere(func(r rune) bool { return unicode.Is(unicode.Nd, r) }) {
		digit, err := blindindex.Digits.Normalise(string(r))
		if err != nil || len(digit) != 1 {
			t.Errorf("%U is digit %q, %v", r, digit, err)
		}
		if compatible := norm.NFKC.String(string(r)); compatible[0] < utf8.RuneSelf && compatible != digit {
			t.Errorf("%U is digit %q, but %q by NFKC", r, digit, compatible)
		}
	}
}

// TestUnicodeVersion fails when a new toolchain brings new tables. Assigned characters never change their normal
// form, but a value with a character unassigned in 15.0.0 may get another token: see docs/format.md, then pin the new
// version here.
func TestUnicodeVersion(t *testing.T) {
	if norm.Version != "15.0.0" || unicode.Version != "15.0.0" {
		t.Errorf("Unicode is %s in x/text and %s in Go, not 15.0.0", norm.Version, unicode.Version)
	}
}

// TestAddresses has what the tests of net/netip refuse, beyond the golden vectors.
func TestAddresses(t *testing.T) {
	for _, value := range []string{
		"bad", "1234", "1.2.3.4%eth0", ".1.2.3", "1.2.3.", "1..2.3", "1.2.3.4.5", "0300.0250.0214.0377",
		"0xc0.0xa8.0x8c.0xff", "192.168.12345", "127.0.1", "192.1234567", "127.1", "192.168.300.1", "192.168.0.1.5.6",
		"1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4::5:6:7:8", "fe801::1", "fe80:tail:scal:e::", "fe80::1%",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:192.168.140.255", "ffff::ffff:ffff:ffff:ffff:ffff:ffff:192.168.140.255",
		"::ffff:192.168.140.bad", "fe80::1::1", "fe80:1?:1", "fe80:", "0:0:0:0:0:ffff:0:00000",
		"0:0:0:0:00000:ffff:127.1.2.3", "000001.00000002.00000003.000000004", "::ffff:192.168.140.255%eth1",
		"1.2.3.4\x00", "\n1.2.3.4", "3405803785",
	} {
		if got, err := blindindex.IP.Normalise(value); !errors.Is(err, blindindex.ErrAddress) {
			t.Errorf("Normalise(%q) = %q, %v; want ErrAddress", value, got, err)
		}
	}
}

// Two spellings of one device meet, and two devices do not.
func TestAlnumOnDevices(t *testing.T) {
	for _, meet := range [][]string{
		{"199-172-056", "199172056", " 199 172 056", "199.172.056", "199\u2013172\u2013056", "\uff11\uff19\uff19172056"},
		{"8a6e0804-2bd0-4672-b79d-d97027f9071a", "8A6E0804-2BD0-4672-B79D-D97027F9071A", "8a6e08042bd04672b79dd97027f9071a"},
		{"00:1b:44:11:3a:b7", "00-1B-44-11-3A-B7", "001b.4411.3ab7"},
		{"device456", "Device-456", "DEVICE_456"},
	} {
		want, err := blindindex.Alnum.Normalise(meet[0])
		for _, value := range meet {
			if got, err2 := blindindex.Alnum.Normalise(value); got != want || err != nil || err2 != nil {
				t.Errorf("%q is %q, and %q is %q: %v, %v", meet[0], want, value, got, err, err2)
			}
		}
	}
	seen := map[string]string{}
	for _, value := range []string{
		"device456", "456", "device4560", "0456", "dev\u0131ce456", "\u0915", "\u0915\u093f", "1", "1\u00b2", "---", "--", "\U0001f4f1", "\U0001f512",
	} {
		got, err := blindindex.Alnum.Normalise(value)
		if twin, taken := seen[got]; err != nil || taken {
			t.Errorf("%q is %q, as is %q: %v", value, got, twin, err)
		}
		seen[got] = value
	}
}

func TestErrorsQuoteNothing(t *testing.T) {
	for _, transform := range transforms {
		for _, value := range []string{"hunter2.0.0.1", "hunter\xff", "hunter%eth0"} {
			_, err := transform.Normalise(value)
			if err != nil && strings.Contains(err.Error(), "hunter") {
				t.Errorf("%s: error quotes the value: %v", transform, err)
			}
		}
	}
}

func TestParseTransform(t *testing.T) {
	for _, transform := range slices.Concat(transforms, cuts) {
		if got, err := blindindex.ParseTransform(string(transform)); got != transform || err != nil {
			t.Errorf("ParseTransform(%q) = %q, %v", transform, got, err)
		}
	}
	for _, name := range []string{
		"", "IP", "text ", "sha256", "+text", "text+", "text+text", "ip+text", "casefold+ip", "trim+trim+ip", "text|", "|prefix/3",
		"text+trim+casefold+alnum+digits", "text|prefix", "text|prefix/0", "text|prefix/03", "text|prefix/65", "text|prefix/+3",
		"text|prefix/3/4", "ip|prefix/33", "ip|last/4", "ip|domain", "digits|domain", "casefold+alnum|domain", "text|domain/1",
		"text|exact", "text|prefix/3|last/4",
	} {
		if got, err := blindindex.ParseTransform(name); got != "" || !errors.Is(err, blindindex.ErrTransform) {
			t.Errorf("ParseTransform(%q) = %q, %v", name, got, err)
		}
		if _, err := blindindex.Transform(name).Normalise("x"); !errors.Is(err, blindindex.ErrTransform) {
			t.Errorf("Normalise by %q: %v", name, err)
		}
	}
}

// runesWhere lists the characters of which keep is true, surrogates apart.
func runesWhere(keep func(rune) bool) []rune {
	var all []rune
	for r := range unicode.MaxRune + 1 {
		if utf8.ValidRune(r) && keep(r) {
			all = append(all, r)
		}
	}
	return all
}
