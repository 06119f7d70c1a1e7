package blindindex

import (
	"net/netip"
	"strings"
)

func appendAddress(dst []byte, value string) ([]byte, error) {
	// A zone names an interface of the machine that wrote the address; it says nothing to anybody else. Looked for
	// first, because netip interns zones.
	if strings.IndexByte(value, '%') >= 0 {
		return dst, ErrAddress
	}
	addr, err := netip.ParseAddr(value)
	if err != nil {
		return dst, ErrAddress // Not wrapped: netip's error quotes the value.
	}
	return addr.Unmap().AppendTo(dst), nil
}
