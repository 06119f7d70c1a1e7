package keys

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"cloakroom/internal/pg"
)

// RejectionCount is how many events were rejected for a reason.
type RejectionCount struct {
	Reason     string    `db:"reason" json:"reason"`
	Rejections int64     `db:"rejections" json:"rejections"`
	FirstAt    time.Time `db:"first_at" json:"first_at"`
	LastAt     time.Time `db:"last_at" json:"last_at"`
}

// RejectionInfo is a rejection as lists show it: nothing of what the event said.
type RejectionInfo struct {
	MessageID    uuid.UUID  `db:"message_id" json:"message_id"`
	Reason       string     `db:"reason" json:"reason"`
	CreateDate   *time.Time `db:"create_date" json:"create_date"`     // nil: the server's timestamp is no date
	ReceiveCount *int       `db:"receive_count" json:"receive_count"` // nil: the database refused it
	RejectedAt   time.Time  `db:"rejected_at" json:"rejected_at"`
}

// RejectionCounts counts rejections by reason, the most frequent first.
func (v *Vault) RejectionCounts(ctx context.Context) ([]RejectionCount, error) {
	counts := []RejectionCount{}
	if err := v.DB.SelectContext(ctx, &counts, `SELECT * FROM cloakroom.rejection_counts()`); err != nil {
		return nil, fmt.Errorf("counting rejections: %w", pg.Redact(err))
	}
	return counts, nil
}

// Rejections lists the newest rejections of a reason, or of all where it is empty.
func (v *Vault) Rejections(ctx context.Context, reason string, limit int) ([]RejectionInfo, error) {
	list := []RejectionInfo{}
	if err := v.DB.SelectContext(ctx, &list, `SELECT * FROM cloakroom.rejection_list(nullif($1, ''), $2)`, reason,
		limit); err != nil {
		return nil, fmt.Errorf("listing rejections: %w", pg.Redact(err))
	}
	return list, nil
}
