package blindindex

import (
	"net/netip"
	"strings"
)

func parseAddress(value string) (netip.Addr, error) {
	// A zone names an interface of the machine that wrote the address; it says nothing to anybody else. Looked for
	// first, because netip interns zones.
	if strings.IndexByte(value, '%') >= 0 {
		return netip.Addr{}, ErrAddress
	}
	addr, err := netip.ParseAddr(value)
	if err != nil {
		return netip.Addr{}, ErrAddress // Not wrapped: netip's error quotes the value.
	}
	return addr.Unmap(), nil
}

func appendAddress(dst []byte, value string) ([]byte, error) {
	addr, err := parseAddress(value)
	if err != nil {
		return dst, err
	}
	return addr.AppendTo(dst), nil
}
