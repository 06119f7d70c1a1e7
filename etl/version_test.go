package etl

import (
	"cmp"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]int32{
		"0": 0, "2": 2_000_000, "2.1": 2_001_000, "2.10": 2_010_000, "2.3.0": 2_003_000, "0.2.6": 2_006,
		"2146.999.999": 2_146_999_999, "02.003.0004": 2_003_004, "0000.0.0": 0,
	} {
		if got, ok := parseVersion([]byte(text)); !ok || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", ".", "1.", ".1", "1..2", "1.2.", "1.2.3.", "1.2.3.4", "2147", "2147.0.0", "1.1000", "1.0.1000", "00001", "9999999999",
		"-1", "+1", "1e3", "1.2e1", " 1", "1 ", "1,2", "v1", "1.2-rc1", "٢", "1\x00", "0x1", "NaN", "1.2.3\n",
	} {
		if got, ok := parseVersion([]byte(text)); ok {
			t.Errorf("%q is %d, want a refusal", text, got)
		}
	}
}

// Versions order as their integers do; missing parts are 0.
func TestVersionsOrder(t *testing.T) {
	parts := rapid.Custom(func(t *rapid.T) [3]int {
		return [3]int{rapid.IntRange(0, 2146).Draw(t, "major"), rapid.IntRange(0, 999).Draw(t, "minor"), rapid.IntRange(0, 999).Draw(t, "patch")}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := parts.Draw(t, "a"), parts.Draw(t, "b")
		if rapid.Bool().Draw(t, "same major") {
			b[0] = a[0]
		}
		x, y := versionOf(t, a), versionOf(t, b)
		want := cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]), cmp.Compare(a[2], b[2]))
		if cmp.Compare(x, y) != want {
			t.Fatalf("%v is %d, %v is %d", a, x, b, y)
		}
	})
}

// versionOf writes the parts, leaves out zeros at the end now and then, and parses that.
func versionOf(t *rapid.T, parts [3]int) int32 {
	text := fmt.Sprintf("%d.%d.%d", parts[0], parts[1], parts[2])
	if parts[2] == 0 && rapid.Bool().Draw(t, "short") {
		if text = fmt.Sprintf("%d.%d", parts[0], parts[1]); parts[1] == 0 {
			text = fmt.Sprint(parts[0])
		}
	}
	n, ok := parseVersion([]byte(text))
	if !ok {
		t.Fatalf("%s is refused", text)
	}
	return n
}
