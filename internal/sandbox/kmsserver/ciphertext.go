package kmsserver

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/google/uuid"
)

// A ciphertext blob is, in this order: one byte 0x01; the key's id, 16 bytes; which of its materials, 4 bytes big
// endian; and what cipher.NewGCMWithRandomNonce writes: nonce, ciphertext, tag. Everything before the nonce is
// authenticated, and so is the encryption context.
const (
	blobVersion = 0x01
	headerBytes = 1 + 16 + 4
)

// header names the key and the material that a blob was made with.
type header struct {
	keyID    string
	material int
}

func (h header) append(dst []byte) []byte {
	id := uuid.MustParse(h.keyID)
	dst = append(append(dst, blobVersion), id[:]...)
	return binary.BigEndian.AppendUint32(dst, uint32(h.material))
}

func parseHeader(blob []byte) (header, bool) {
	if len(blob) <= headerBytes || blob[0] != blobVersion {
		return header{}, false
	}
	return header{keyID: uuid.UUID(blob[1:17]).String(), material: int(binary.BigEndian.Uint32(blob[17:]))}, true
}

// associatedData is the header and the encryption context, its keys sorted and every part with its length.
func associatedData(h header, context map[string]string) []byte {
	ad := h.append(nil)
	for _, name := range slices.Sorted(maps.Keys(context)) {
		for _, part := range []string{name, context[name]} {
			ad = binary.BigEndian.AppendUint32(ad, uint32(len(part)))
			ad = append(ad, part...)
		}
	}
	return ad
}

func (m *material) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(m.key.Expose())
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal encrypts under the key's current material.
func (k *key) seal(plaintext []byte, context map[string]string) ([]byte, error) {
	aead, err := k.current().aead()
	if err != nil {
		return nil, err
	}
	h := header{keyID: k.id, material: len(k.materials) - 1}
	return aead.Seal(h.append(nil), nil, plaintext, associatedData(h, context)), nil
}

// open decrypts a blob of this key, whichever of its materials it was made with.
func (k *key) open(blob []byte, context map[string]string) ([]byte, *material, error) {
	h, ok := parseHeader(blob)
	if !ok || h.material >= len(k.materials) {
		return nil, nil, ErrInvalidCiphertext
	}
	m := &k.materials[h.material]
	aead, err := m.aead()
	if err != nil {
		return nil, nil, err
	}
	plaintext, err := aead.Open(nil, nil, blob[headerBytes:], associatedData(h, context))
	if err != nil {
		return nil, nil, ErrInvalidCiphertext
	}
	return plaintext, m, nil
}
