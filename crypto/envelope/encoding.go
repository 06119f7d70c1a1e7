package envelope

import (
	"encoding/binary"
	"math"
)

// AppendFields appends fields to dst in encoding E: for each, its length as uint32 big endian, then its bytes.
//
// Two different lists of fields never encode alike, which plain concatenation does not promise ("ab","c" and
// "a","bc"). Whatever is authenticated together or derives a key goes through here. A field of 4 GiB or more is a
// programming error and panics, because its length would wrap and two lists could meet.
func AppendFields[T ~string | ~[]byte](dst []byte, fields ...T) []byte {
	for _, f := range fields {
		if uint64(len(f)) > math.MaxUint32 {
			panic("envelope: field of encoding E exceeds 4 GiB")
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(f)))
		dst = append(dst, f...)
	}
	return dst
}

// AppendUint32 appends n to dst as a field of encoding E: the length 4, then n big endian. Key ids and versions are
// encoded so.
func AppendUint32(dst []byte, n uint32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, 4)
	return binary.BigEndian.AppendUint32(dst, n)
}
