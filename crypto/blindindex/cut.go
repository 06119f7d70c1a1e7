package blindindex

import (
	"bytes"
	"unicode/utf8"
)

// cutKind is which part of the normalised value is indexed.
type cutKind uint8

const (
	cutNothing cutKind = iota // the whole value
	cutNetwork                // the network of an address
	cutPrefix                 // the first characters
	cutLast                   // the last characters
	cutDomain                 // what follows the last @
)

// maxCut is the longest prefix or suffix of a text, in characters: more is hardly a part.
const maxCut = 64

// appendPart replaces the normal form in buf[begin:] by the part that the cut takes. Networks are made by
// appendNetwork.
func (p *pipeline) appendPart(buf []byte, begin int) ([]byte, error) {
	normal := buf[begin:]
	switch p.cut {
	case cutPrefix:
		end := 0
		for n := 0; n < p.size && end < len(normal); n++ {
			_, size := utf8.DecodeRune(normal[end:])
			end += size
		}
		clear(normal[end:])
		return buf[:begin+end], nil
	case cutLast:
		at := len(normal)
		for n := 0; n < p.size && at > 0; n++ {
			_, size := utf8.DecodeLastRune(normal[:at])
			at -= size
		}
		return moveDown(buf, begin, begin+at), nil
	case cutDomain:
		return appendDomain(buf, begin)
	}
	return buf, nil
}

// appendNetwork appends the network of an address: bits are those of IPv4.
//
// A network is written with its length ("203.0.113.0/24"), so that no address is mistaken for it. An IPv6 network
// has twice as many bits as an IPv4 one: /16 and /32 are what registries give to providers, /24 and /48 what these
// give to a site, /32 and /64 one host and one subnet.
func appendNetwork(dst []byte, value string, bits int) ([]byte, error) {
	addr, err := parseAddress(value)
	if err != nil {
		return dst, err
	}
	if addr.Is6() {
		bits *= 2
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return dst, ErrAddress
	}
	return network.AppendTo(dst), nil
}

// appendDomain takes what follows the last @: a local part may hold one in quotes (RFC 5321, section 4.1.2). Domains
// have no case, and a dot at the end says only that the name is complete. Neither side may be empty.
func appendDomain(buf []byte, begin int) ([]byte, error) {
	at := bytes.LastIndexByte(buf[begin:], '@')
	if at < 1 {
		return buf, ErrPart
	}
	domain := bytes.TrimSpace(bytes.TrimRight(buf[begin+at+1:], "."))
	end := len(buf)
	var err error
	if isASCII(domain) {
		buf = appendLower(buf, domain)
	} else {
		buf, err = appendFolded(buf, string(domain))
	}
	if err == nil && len(buf) == end {
		err = ErrPart
	}
	if err != nil {
		return buf, err
	}
	return moveDown(buf, begin, end), nil
}
