package auditlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Leaf is one entry of the log. The hash covers the text that the database wrote, never a Leaf
// printed again.
type Leaf struct {
	V              int       `json:"v"`
	Seq            int64     `json:"seq"`
	TS             time.Time `json:"ts"`
	Type           string    `json:"type"`
	Request        *string   `json:"request"`
	Actor          string    `json:"actor"`           // session_user
	SourceIdentity *string   `json:"source_identity"` // as the client said
	Purpose        *string   `json:"purpose"`
	Ticket         *string   `json:"ticket"`
	ReasonCommit   *string   `json:"reason_commit"` // hex of SHA-256(salt ‖ reason)
	QueryCommit    *string   `json:"query_commit"`  // hex of SHA-256(salt ‖ selector)
	Dataset        *string   `json:"dataset"`
	Fields         []string  `json:"fields"`
	RowSetHash     *string   `json:"row_set_hash"`
	Rows           *int64    `json:"rows"`
	DataKeys       []int64   `json:"data_keys"`
	Result         *string   `json:"result"`
	Tool           *string   `json:"tool"`
}

// ParseLeaf reads a leaf.
func ParseLeaf(text []byte) (Leaf, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var l Leaf
	if err := decoder.Decode(&l); err != nil {
		return Leaf{}, fmt.Errorf("reading a leaf: %w", err)
	}
	if l.V != 1 {
		return Leaf{}, fmt.Errorf("reading leaf %d: its version is %d, not 1", l.Seq, l.V)
	}
	return l, nil
}

// numbered reports whether a leaf's text begins as the leaf of that number does.
func numbered(text []byte, seq int64) bool {
	var room [40]byte
	begin := append(strconv.AppendInt(append(room[:0], `{"v":1,"seq":`...), seq, 10), `,"ts":"`...)
	return bytes.HasPrefix(text, begin)
}
