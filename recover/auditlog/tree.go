package auditlog

import (
	"crypto/sha256"

	"golang.org/x/mod/sumdb/tlog"
)

// tree is a Merkle tree that grows leaf by leaf and keeps one hash for each complete subtree: some
// 40 of them for any log.
type tree struct {
	size  int64
	right []tlog.Hash // of complete subtrees, the largest first
	room  []byte
}

func (t *tree) add(leaf []byte) {
	t.room = append(append(t.room[:0], 0), leaf...)
	h := tlog.Hash(sha256.Sum256(t.room))
	// Each trailing 1 bit of the size is a subtree that this leaf completes into a larger one.
	for n := t.size; n&1 == 1; n >>= 1 {
		h = tlog.NodeHash(t.right[len(t.right)-1], h)
		t.right = t.right[:len(t.right)-1]
	}
	t.right = append(t.right, h)
	t.size++
}

// root is the tree's hash as tlog.TreeHash computes it.
func (t *tree) root() tlog.Hash {
	if t.size == 0 {
		return sha256.Sum256(nil)
	}
	root := t.right[len(t.right)-1]
	for i := len(t.right) - 2; i >= 0; i-- {
		root = tlog.NodeHash(t.right[i], root)
	}
	return root
}
