package sqsserver

import (
	"encoding/base64"
	"encoding/binary"
	"hash/maphash"
)

// handle is what a receipt handle says: which receive of which message of which queue.
type handle struct {
	queue   uint32
	slot    uint32
	serial  uint64
	receive uint32
}

const (
	handleBytes = 4 + 4 + 8 + 4
	sealedBytes = handleBytes + 8
)

var handleText = base64.RawURLEncoding

// handles writes and reads receipt handles. A keyed sum over each makes an altered or invented one known for what
// it is, as AWS does; it is no cryptographic seal.
type handles struct{ seed maphash.Seed }

// handleLen is the length of a handle's text.
var handleLen = handleText.EncodedLen(sealedBytes)

func (h handles) append(dst []byte, r handle) []byte {
	var raw [sealedBytes]byte
	binary.BigEndian.PutUint32(raw[0:], r.queue)
	binary.BigEndian.PutUint32(raw[4:], r.slot)
	binary.BigEndian.PutUint64(raw[8:], r.serial)
	binary.BigEndian.PutUint32(raw[16:], r.receive)
	binary.BigEndian.PutUint64(raw[handleBytes:], maphash.Bytes(h.seed, raw[:handleBytes]))
	return handleText.AppendEncode(dst, raw[:])
}

func (h handles) parse(text string) (handle, bool) {
	if len(text) != handleLen {
		return handle{}, false
	}
	var raw [sealedBytes]byte
	var in [64]byte
	n, err := handleText.Strict().Decode(raw[:], in[:copy(in[:], text)])
	if err != nil || n != sealedBytes ||
		binary.BigEndian.Uint64(raw[handleBytes:]) != maphash.Bytes(h.seed, raw[:handleBytes]) {
		return handle{}, false
	}
	return handle{
		queue:   binary.BigEndian.Uint32(raw[0:]),
		slot:    binary.BigEndian.Uint32(raw[4:]),
		serial:  binary.BigEndian.Uint64(raw[8:]),
		receive: binary.BigEndian.Uint32(raw[16:]),
	}, true
}
