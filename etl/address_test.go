package etl_test

import (
	"fmt"
	"testing"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys/keystest"
)

// The literals that net/netip's own tests hold, and more of their kind.
var (
	// validAddresses are groups of spellings of one address: one group, one token.
	validAddresses = [][]string{
		{"0.0.0.0", "::ffff:0.0.0.0"},
		{"192.168.140.255", "::ffff:192.168.140.255", "::ffff:c0a8:8cff", "::FFFF:192.168.140.255", "0:0:0:0:0:ffff:192.168.140.255"},
		{"::", "0:0:0:0:0:0:0:0", "0000:0000:0000:0000:0000:0000:0000:0000", "::0.0.0.0"},
		{"::1", "0::1", "0:0:0:0:0:0:0:1", "::0001", "::0.0.0.1"},
		{"fd7a:115c:a1e0:ab12:4843:cd96:626b:430b", "FD7A:115C:A1E0:AB12:4843:CD96:626B:430B"},
		{"fd7a:115c::626b:430b", "fd7a:115c:0:0:0:0:626b:430b"},
		{"fd7a:115c:a1e0:ab12:4843:cd96::", "fd7a:115c:a1e0:ab12:4843:cd96:0:0"},
		{"fd7a:115c:a1e0:ab12:4843:cd96:626b::", "fd7a:115c:a1e0:ab12:4843:cd96:626b:0"},
		{"fd7a:115c:a1e0::4843:cd96:626b:430b", "fd7a:115c:a1e0:0:4843:cd96:626b:430b"},
		{"FD9E:1A04:F01D::1", "fd9e:1a04:f01d::1", "fd9e:1a04:f01d:0:0:0:0:1"},
		{"255.255.255.255"}, {"127.0.0.1"}, {"224.0.0.1"}, {"1:2::ffff:c0a8:8cff", "1:2::ffff:192.168.140.255"},
		// IPv4-compatible is not IPv4-mapped.
		{"::192.168.140.255", "::c0a8:8cff"},
	}
	invalidAddresses = []string{
		"bad", "1234", "1.2.3.4%eth0", ".1.2.3", "1.2.3.", "1..2.3", "1.2.3.4.5", "0300.0250.0214.0377", "0xc0.0xa8.0x8c.0xff",
		"192.168.12345", "127.0.1", "192.1234567", "127.1", "192.168.300.1", "192.168.0.1.5.6", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
		"1:2:3:4::5:6:7:8", "fe801::1", "fe80:tail:scal:e::", "fe80::1%", "::ffff:192.168.140.bad", "fe80::1::1", "fe80:1?:1", "fe80:",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:192.168.140.255", "ffff::ffff:ffff:ffff:ffff:ffff:ffff:192.168.140.255",
		"0:0:0:0:0:ffff:0:00000", "0:0:0:0:00000:ffff:127.1.2.3",
		// Valid for net/netip, or refused there for what we refuse as well: zones and leading zeros.
		"010.000.015.001", "000001.00000002.00000003.000000004", "::ffff:1.2.03.4", "::ffff:1.2.3.z",
		"fd7a:115c:a1e0:ab12:4843:cd96:626b:430b%eth0", "1:2::ffff:192.168.140.255%eth1", "::ffff:192.168.140.255%eth1",
		// Space, ports, prefixes, brackets, names, other digits.
		" 1.2.3.4", "1.2.3.4 ", "1.2.3.4\\n", "1.2.3.4:80", "1.2.3.4/32", "[::1]", "::1/128", "localhost", "١.٢.٣.٤", "１.2.3.4", "1.2.3.4,5.6.7.8", "-1.2.3.4",
	}
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	var messages []*etl.Message
	add := func(address string) {
		messages = append(messages, etltest.Message(len(messages), fmt.Sprintf(`{"user_id":"u","ip":"%s","device_id":"d"}`, address)))
	}
	spellings := 0
	for _, group := range validAddresses {
		for _, address := range group {
			add(address)
			spellings++
		}
	}
	for _, address := range invalidAddresses {
		add(address)
	}
	s := etltest.Run(t, etltest.NewWriter(t, env, "ingest"), etltest.NewSource(messages), etl.Options{})
	if s.Stored != int64(spellings) || s.Rejections[etl.BadIP] != int64(len(invalidAddresses)) {
		t.Errorf("%+v, want %d stored and %d bad_ip", s, spellings, len(invalidAddresses))
	}
	opener := etltest.NewOpener(t, env)
	rows, rejections := opener.Rows(t), opener.Rejections(t)
	n := 0
	seen := map[string]string{}
	for _, group := range validAddresses {
		for _, address := range group {
			r := rows[messages[n].ID]
			n++
			if r.IP != address {
				t.Errorf("%s opens to %q", address, r.IP)
			}
			if first, ok := seen[r.IPToken]; ok && first != group[0] {
				t.Errorf("%s has the token of %s", address, first)
			}
			seen[r.IPToken] = group[0]
		}
	}
	if len(seen) != len(validAddresses) {
		t.Errorf("%d tokens of %d addresses", len(seen), len(validAddresses))
	}
	for i, address := range invalidAddresses {
		if got := rejections[messages[spellings+i].ID].Reason; got != etl.BadIP {
			t.Errorf("%q: %q, want %q", address, got, etl.BadIP)
		}
	}
}
