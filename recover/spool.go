package recover

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// spool keeps blocks of records in order: in memory up to a limit, then in a temporary file. The
// file is encrypted under a key that only this process has, and is unlinked at once where the
// system allows it. So a crash leaves nothing readable.
type spool struct {
	limit  int
	memory [][]byte
	held   int

	file  *os.File
	aead  cipher.AEAD
	sizes []int // of the encrypted blocks in the file
}

func newSpool(limit int) *spool { return &spool{limit: limit} }

// add takes ownership of a block: whole records, encoded.
func (s *spool) add(block []byte) error {
	if s.file == nil && s.held+len(block) <= s.limit {
		s.memory = append(s.memory, block)
		s.held += len(block)
		return nil
	}
	defer clear(block)
	if s.file == nil {
		if err := s.openFile(); err != nil {
			return err
		}
	}
	sealed := s.aead.Seal(nil, nil, block, blockNumber(len(s.sizes)))
	if _, err := s.file.Write(sealed); err != nil {
		const hint = "free space in %s, set TMPDIR, or raise --memory"
		return fmt.Errorf("writing opened rows to a temporary file: %w ("+hint+")", err, os.TempDir())
	}
	s.sizes = append(s.sizes, len(sealed))
	return nil
}

// blockNumber is a block's associated data, so that blocks cannot change places.
func blockNumber(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// openFile makes the temporary file and its key. A random nonce a block is safe for 2^32 blocks
// (NIST SP 800-38D), which at 256 rows each no opening reaches.
func (s *spool) openFile() error {
	key := make([]byte, 32)
	rand.Read(key)
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return fmt.Errorf("preparing the spool: %w", err)
	}
	if s.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return fmt.Errorf("preparing the spool: %w", err)
	}
	if s.file, err = os.CreateTemp("", "cloakroom-recover-*"); err != nil {
		return fmt.Errorf("making a temporary file for opened rows: %w", err)
	}
	_ = os.Remove(s.file.Name()) // if this fails, close removes it
	return nil
}

// each calls f with every record. A record has columns values.
func (s *spool) each(columns int, f func(Record) error) error {
	record := make(Record, 0, columns)
	eachIn := func(block []byte) error {
		for len(block) > 0 {
			record, block = nextRecord(block, columns, record)
			if err := f(record); err != nil {
				return err
			}
		}
		return nil
	}
	for _, block := range s.memory {
		if err := eachIn(block); err != nil {
			return err
		}
	}
	if s.file == nil {
		return nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading spooled rows: %w", err)
	}
	for n, size := range s.sizes {
		sealed := make([]byte, size)
		if _, err := io.ReadFull(s.file, sealed); err != nil {
			return fmt.Errorf("reading spooled rows: %w", err)
		}
		block, err := s.aead.Open(nil, nil, sealed, blockNumber(n))
		if err != nil {
			return fmt.Errorf("reading spooled rows: somebody altered the temporary file: %w", err)
		}
		err = eachIn(block)
		clear(block)
		if err != nil {
			return err
		}
	}
	return nil
}

// close zeroes the blocks in memory and removes the file.
func (s *spool) close() {
	for _, block := range s.memory {
		clear(block)
	}
	s.memory, s.held = nil, 0
	if s.file != nil {
		_ = s.file.Close()
		_ = os.Remove(s.file.Name())
		s.file = nil
	}
}
