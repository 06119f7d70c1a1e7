package envelope

import (
	"bytes"
	"errors"
	"fmt"
)

// MaxPad is the greatest pad, in bytes.
const MaxPad = 1 << 16

// ErrPadding reports an authentic value whose padding is not the one Seal writes: it was sealed by other software,
// or for another pad.
var ErrPadding = errors.New("padding is not ISO/IEC 7816-4 to the field's pad")

// padMark is the first byte of padding, ISO/IEC 7816-4; zeros follow.
const padMark = 0x80

func checkPad(pad int) error {
	if pad < 1 || pad > MaxPad {
		return fmt.Errorf("pad of %d bytes is not in 1 … %d", pad, MaxPad)
	}
	return nil
}

// paddedSize is the least multiple of pad greater than n: at least one byte of padding is always there, so that
// there is always a mark to find.
func paddedSize(n, pad int) int {
	return (n/pad + 1) * pad
}

// putPadding writes the padding that follows a text, over the whole of b.
func putPadding(b []byte) {
	b[0] = padMark
	clear(b[1:])
}

// unpad returns the text in padded without its padding, which must be 1 … pad bytes: a whole pad more would let one
// text have several lengths. It need not run in constant time, because only authentic text arrives here.
func unpad(padded []byte, pad int) ([]byte, error) {
	end := bytes.LastIndexByte(padded, padMark)
	if end < 0 || len(padded)-end > pad {
		return nil, ErrPadding
	}
	for _, b := range padded[end+1:] {
		if b != 0 {
			return nil, ErrPadding
		}
	}
	return padded[:end], nil
}
