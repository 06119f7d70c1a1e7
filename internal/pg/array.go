package pg

import (
	"encoding/binary"
	"slices"
)

// arrayHeader is the size of what begins the binary form of an array of one dimension: number of dimensions, whether
// there are NULLs, the element's type, the length, the first index; 4 bytes each, big endian. An array without elements
// has no dimension, and the first three alone.
const (
	arrayHeader = 20
	emptyArray  = 12
)

// SplitArray finds the elements of an array of bytea or text in Postgres's binary form (array_send): each has its
// length in 4 bytes, -1 for NULL, and its bytes. It overwrites into, with slices of b, nil for NULL. It reports false
// unless b is exactly such an array.
func SplitArray(b []byte, into [][]byte) ([][]byte, bool) {
	into = into[:0]
	if len(b) == emptyArray && binary.BigEndian.Uint32(b) == 0 {
		return into, true
	}
	if len(b) < arrayHeader || binary.BigEndian.Uint32(b) != 1 {
		return into, false
	}
	n := binary.BigEndian.Uint32(b[12:])
	into = slices.Grow(into, int(min(n, uint32(len(b)/4)))) // each has at least its length
	for b = b[arrayHeader:]; n > 0; n-- {
		if len(b) < 4 {
			return into, false
		}
		size := binary.BigEndian.Uint32(b)
		b = b[4:]
		if size == 1<<32-1 {
			into = append(into, nil)
			continue
		}
		if uint64(len(b)) < uint64(size) {
			return into, false
		}
		into = append(into, b[:size:size])
		b = b[size:]
	}
	return into, len(b) == 0
}
