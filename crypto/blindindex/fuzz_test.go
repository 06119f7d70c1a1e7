package blindindex_test

import (
	"bytes"
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"cloakroom/crypto/blindindex"
)

// transforms are those that are idempotent: each step, and chains of them.
var transforms = []blindindex.Transform{
	blindindex.IP, blindindex.Text, blindindex.CaseFold, blindindex.Digits, blindindex.Alnum, blindindex.Trim,
	"trim+ip", "trim+casefold", "casefold+text", "alnum+digits", "text+alnum+casefold", "digits+alnum",
}

// cuts take a part, of which a second cut may be another or none.
var cuts = []blindindex.Transform{
	"ip|prefix/24", "trim+ip|prefix/32", "text|prefix/3", "alnum|last/4", "casefold|domain", "text|domain", "casefold+digits|prefix/1",
}

// TestFuzzSeeds fails if a fuzz target has lost its seeds, which nothing else would notice.
func TestFuzzSeeds(t *testing.T) {
	for _, target := range []string{"FuzzNormalise", "FuzzToken", "FuzzValidToken"} {
		seeds, err := filepath.Glob(filepath.Join("testdata/fuzz", target, "*"))
		if err != nil || len(seeds) == 0 {
			t.Errorf("%s has %d seeds: %v", target, len(seeds), err)
		}
	}
}

// FuzzNormalise normalises twice, which is to be the same as once.
func FuzzNormalise(f *testing.F) {
	f.Fuzz(func(t *testing.T, value string) {
		for _, transform := range transforms {
			checkNormal(t, transform, value)
		}
		for _, transform := range cuts {
			checkPart(t, transform, value)
		}
	})
}

// checkPart checks what holds of the part of every value: it is valid text, it is not empty, it is the part of the
// normal form as well, and the room behind it holds no rest of the value.
func checkPart(t interface {
	Helper()
	Errorf(string, ...any)
}, transform blindindex.Transform, value string) {
	t.Helper()
	part, err := transform.Normalise(value)
	room := bytes.Repeat([]byte{0}, 4*len(value)+100)
	appended, appendErr := transform.AppendNormal(room[:0], value)
	if string(appended) != part || (err == nil) != (appendErr == nil) {
		t.Errorf("%s of %+q: AppendNormal = %+q, %v; Normalise = %+q, %v", transform, value, appended, appendErr, part, err)
	}
	if err != nil {
		return
	}
	if part == "" || !utf8.ValidString(part) {
		t.Errorf("%s of %+q is %+q", transform, value, part)
	}
	if rest := bytes.TrimRight(room[len(part):], "\x00"); len(rest) > 0 {
		t.Errorf("%s of %+q leaves %+q in the buffer", transform, value, rest)
	}
	steps, _, _ := strings.Cut(string(transform), "|")
	normal, err := blindindex.Transform(steps).Normalise(value)
	if again, err2 := transform.Normalise(normal); err != nil || err2 != nil || again != part {
		t.Errorf("%s of %+q is %+q; of its normal form %+q, %+q: %v, %v", transform, value, part, normal, again, err, err2)
	}
}

// checkNormal checks what holds of every value: normal forms are idempotent, valid and not empty, and both ways to
// make them agree.
func checkNormal(t interface {
	Helper()
	Errorf(string, ...any)
}, transform blindindex.Transform, value string) {
	t.Helper()
	once, err := transform.Normalise(value)
	appended, appendErr := transform.AppendNormal([]byte("before"), value)
	if string(appended) != "before"+once || (err == nil) != (appendErr == nil) {
		t.Errorf("%s of %+q: AppendNormal = %+q, %v; Normalise = %+q, %v", transform, value, appended, appendErr, once, err)
	}
	if err != nil {
		return
	}
	if once == "" || !utf8.ValidString(once) || !utf8.ValidString(value) {
		t.Errorf("%s of %+q is %+q", transform, value, once)
	}
	if twice, err := transform.Normalise(once); err != nil || twice != once {
		t.Errorf("%s of %+q is %+q; of that, %+q, %v", transform, value, once, twice, err)
	}
}

// FuzzToken makes tokens with a hasher that has been used, and compares with a fresh one.
func FuzzToken(f *testing.F) {
	subkey := testSubkey(f, blindindex.CaseFold)
	hasher := subkey.NewHasher()
	f.Fuzz(func(t *testing.T, value string) {
		token, err := subkey.Token(value)
		appended, appendErr := hasher.AppendToken(nil, value)
		if string(appended) != token || (err == nil) != (appendErr == nil) {
			t.Errorf("AppendToken = %q, %v; Token = %q, %v", appended, appendErr, token, err)
		}
		if err == nil && !blindindex.ValidToken(token) {
			t.Errorf("token %q is not valid", token)
		}
	})
}

// FuzzValidToken compares with the standard library's strict decoder, which skips line ends.
func FuzzValidToken(f *testing.F) {
	f.Fuzz(func(t *testing.T, token string) {
		decoded, err := base64.RawURLEncoding.Strict().DecodeString(token)
		want := err == nil && len(decoded) == 16 && len(token) == blindindex.TokenLength && !bytes.ContainsAny([]byte(token), "\r\n")
		if got := blindindex.ValidToken(token); got != want {
			t.Errorf("ValidToken(%q) = %t", token, got)
		}
	})
}
