// Package long tells the long forms of tests from the short ones. "go test ./..." runs the short ones, within five
// minutes on two cores; "make test-long" sets CLOAKROOM_TEST=long, which asks for all.
package long

import (
	"os"
	"testing"
)

// Asked reports whether the long forms are asked for: more rounds, more rows.
func Asked() bool { return os.Getenv("CLOAKROOM_TEST") == "long" }

// Only skips a test that runs in the long form alone. why says what is not tested then: "make test" lists it, so it
// stands in one line beside the call, as a literal.
func Only(t testing.TB, why string) {
	t.Helper()
	if !Asked() {
		t.Skipf("%s: make test-long", why)
	}
}
