// Package reference makes docs/reference.md of what the code declares: exit codes, commands and
// flags, the policy, metrics, reason codes, API functions. Its test fails while the page is stale.
package reference

//go:generate go test -run TestReference . -update
