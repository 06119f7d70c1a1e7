package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/crypto/blindindex"
	"cloakroom/dataset"
)

// runCrack lets one cracker loose on the addresses of the sample events: one loop over one range of addresses, which
// computes something of each candidate and looks it up. It runs three times: against unsalted SHA-256, against tokens
// without the index key, and, so that nobody thinks the cracker is a sham, against tokens with it.
func runCrack(cmd *cobra.Command, events []event) error {
	addresses := crackable(events)
	if len(addresses) == 0 {
		return fmt.Errorf("none of the events has an address of %s", crackRange)
	}
	indexKey := make([]byte, blindindex.KeySize)
	rand.Read(indexKey)
	subkey, err := blindindex.Derive(indexKey, dataset.Login().Name, crackField, blindindex.IP, 1)
	if err != nil {
		return err
	}
	hasher := subkey.NewHasher()
	hash := func(dst []byte, address string) []byte {
		sum := sha256.Sum256([]byte(address))
		// As long as a token and written like one, so that the two differ in the key alone.
		return base64.RawURLEncoding.AppendEncode(dst, sum[:16])
	}
	token := func(dst []byte, address string) []byte {
		dst, _ = hasher.AppendToken(dst, address) // an address of our own making
		return dst
	}
	hashes, tokens := map[string]bool{}, map[string]bool{}
	for _, a := range addresses {
		hashes[string(hash(nil, a))] = true
		tokens[string(token(nil, a))] = true
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%d distinct addresses of %s; the cracker tries all %d of the range\n\n", len(hashes), crackRange,
		crackSize)
	runs := []struct {
		name    string
		targets map[string]bool
		compute func([]byte, string) []byte
		want    int
	}{
		{"unsalted SHA-256", hashes, hash, len(hashes)},
		{"tokens, without the index key", tokens, hash, 0},
		{"tokens, with the index key (the positive control)", tokens, token, len(tokens)},
	}
	for _, r := range runs {
		found, took := crack(r.targets, r.compute)
		perAddress := took / crackSize
		fmt.Fprintf(out, "%-50s found %3d of %3d in %v · all of IPv4 in %v on one core\n", r.name, found,
			len(r.targets), took.Round(time.Millisecond), (perAddress * (1 << 32)).Round(time.Minute))
		if found != r.want {
			return fmt.Errorf("cracking %s: found %d, want %d", r.name, found, r.want)
		}
	}
	fmt.Fprintln(out, `
Who has the table finds what was hashed without a key. A token takes the table and the index key to find: that is why no
login holds both (docs/threat-model.md).`)
	return nil
}

const crackField = "ip"

// crackRange is where the sample addresses lie.
var crackRange = netip.MustParsePrefix("198.18.0.0/15")

const crackSize = 1 << 17

// crackable are the addresses of the range among the events.
func crackable(events []event) []string {
	var out []string
	for _, e := range events {
		var members map[string]any
		if json.Unmarshal([]byte(e.body), &members) != nil {
			continue
		}
		text, _ := members[crackField].(string)
		if a, err := netip.ParseAddr(text); err == nil && crackRange.Contains(a) {
			out = append(out, text)
		}
	}
	return out
}

// crack tries every address of the range.
func crack(targets map[string]bool, compute func([]byte, string) []byte) (found int, took time.Duration) {
	began := time.Now()
	var buffer []byte
	for a := crackRange.Addr(); crackRange.Contains(a); a = a.Next() {
		buffer = compute(buffer[:0], a.String())
		if targets[string(buffer)] {
			found++
		}
	}
	return found, time.Since(began)
}
