package recover

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/keys/kek"
)

// callsPerEntry keeps an entry of calls well below the size of a leaf.
const callsPerEntry = 2000

// logCalls writes the data keys that an opening unwrapped, by KMS's request ids, into the log. It runs before the
// outcome: after that the database takes no more of them, so a theft cannot be passed off as a part of the opening.
func (c *Client) logCalls(ctx context.Context, id uuid.UUID, journal *kek.Journal) error {
	var calls []string
	for _, call := range journal.Calls() {
		if call.Binding.Purpose == kek.Seal {
			calls = append(calls, callText(call))
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	for len(calls) > 0 {
		n := min(len(calls), callsPerEntry)
		if _, err := c.Vault.DB.ExecContext(ctx, `SELECT cloakroom.note_kms_calls($1, $2, $3)`, id, pq.Array(calls[:n]),
			c.identity()); err != nil {
			return dbError("logging the calls to KMS", auditor, err)
		}
		calls = calls[n:]
	}
	return nil
}

// callText is a call as an entry holds it: operation, purpose, data key, and KMS's request id, or - where no answer
// came.
func callText(c kek.Call) string {
	id := c.RequestID
	if id == "" {
		id = "-"
	}
	return fmt.Sprintf("%s %s %d %s", c.Operation, c.Binding.Purpose, c.Binding.Key, id)
}
