package keys

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"cloakroom/internal/pg"
)

// RejectionCount is how many events of a dataset were rejected for a reason.
type RejectionCount struct {
	Dataset    string    `db:"dataset" json:"dataset"`
	Reason     string    `db:"reason" json:"reason"`
	Member     *string   `db:"member" json:"member"` // the member at fault; nil: the event as a whole
	Rejections int64     `db:"rejections" json:"rejections"`
	FirstAt    time.Time `db:"first_at" json:"first_at"`
	LastAt     time.Time `db:"last_at" json:"last_at"`
}

// RejectionInfo is a rejection as lists show it: nothing of what the event said.
type RejectionInfo struct {
	Dataset      string     `db:"dataset" json:"dataset"`
	MessageID    uuid.UUID  `db:"message_id" json:"message_id"`
	Sent         string     `db:"sent" json:"sent"` // SentTimestamp of the delivery, UTC; infinity if it is no time
	Reason       string     `db:"reason" json:"reason"`
	Member       *string    `db:"member" json:"member"`
	CreateDate   *time.Time `db:"create_date" json:"create_date"`     // nil: the server's timestamp is no date
	ReceiveCount *int       `db:"receive_count" json:"receive_count"` // nil: the database refused it
	RejectedAt   time.Time  `db:"rejected_at" json:"rejected_at"`
}

// RejectionCounts counts rejections by dataset, reason and member, the most frequent first. An empty dataset means
// all.
func (v *Vault) RejectionCounts(ctx context.Context, dataset string) ([]RejectionCount, error) {
	counts := []RejectionCount{}
	err := v.DB.SelectContext(ctx, &counts, `SELECT * FROM cloakroom.rejection_counts(nullif($1, ''))`, dataset)
	if err != nil {
		return nil, fmt.Errorf("counting rejections: %w", pg.Redact(err))
	}
	return counts, nil
}

// Rejections lists the newest rejections of a reason and a dataset, or of all where they are empty.
func (v *Vault) Rejections(ctx context.Context, dataset, reason string, limit int) ([]RejectionInfo, error) {
	list := []RejectionInfo{}
	if err := v.DB.SelectContext(ctx, &list, `
		SELECT dataset, message_id, to_char(sent AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS sent,
		       reason, member, create_date, receive_count, rejected_at
		  FROM cloakroom.rejection_list(nullif($1, ''), $2, nullif($3, ''))`, reason, limit, dataset); err != nil {
		return nil, fmt.Errorf("listing rejections: %w", pg.Redact(err))
	}
	return list, nil
}
