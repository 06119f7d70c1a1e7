package kmsserver

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/google/uuid"
)

// A ciphertext blob is, in this order: one byte 0x01; the key's id, 16 bytes; and what cipher.NewGCMWithRandomNonce
// writes: nonce, ciphertext, tag. The header, which is everything before the nonce, is authenticated, and so is the
// encryption context.
const (
	blobVersion = 0x01
	headerBytes = 1 + 16
)

func (k *key) header() []byte {
	id := uuid.MustParse(k.id)
	return append([]byte{blobVersion}, id[:]...)
}

// keyOf reads which key a blob names.
func keyOf(blob []byte) (id string, ok bool) {
	if len(blob) <= headerBytes || blob[0] != blobVersion {
		return "", false
	}
	return uuid.UUID(blob[1:headerBytes]).String(), true
}

// associatedData is the header and the encryption context: its names sorted, every part after its length. Without the
// lengths, two contexts could read alike.
func (k *key) associatedData(context map[string]string) []byte {
	ad := k.header()
	for _, name := range slices.Sorted(maps.Keys(context)) {
		for _, part := range []string{name, context[name]} {
			ad = binary.BigEndian.AppendUint32(ad, uint32(len(part)))
			ad = append(ad, part...)
		}
	}
	return ad
}

func (k *key) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.material.Expose())
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (k *key) seal(plaintext []byte, context map[string]string) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	return aead.Seal(k.header(), nil, plaintext, k.associatedData(context)), nil
}

// open decrypts a blob whose header names this key.
func (k *key) open(blob []byte, context map[string]string) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, nil, blob[headerBytes:], k.associatedData(context))
	if err != nil {
		return nil, ErrInvalidCiphertext
	}
	return plaintext, nil
}
