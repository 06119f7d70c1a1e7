package keys

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"cloakroom/internal/pg"
)

// Policy is the vault's policy. Durations are texts as Postgres writes intervals.
type Policy struct {
	Approvals            int            `db:"approvals" json:"approvals"`
	RowLimit             int            `db:"row_limit" json:"row_limit"`
	RequestLifetime      string         `db:"request_lifetime" json:"request_lifetime"`
	DailyQuota           int            `db:"daily_quota" json:"daily_quota"`
	Purposes             pq.StringArray `db:"purposes" json:"purposes"`
	CheckpointBeforeOpen bool           `db:"checkpoint_before_open" json:"checkpoint_before_open"`
	BreakglassRows       int            `db:"breakglass_rows" json:"breakglass_rows"`
	BreakglassUnreviewed int            `db:"breakglass_unreviewed" json:"breakglass_unreviewed"`
	DataKeyMaxAge        string         `db:"data_key_max_age" json:"data_key_max_age"`
	IndexKeyMaxAge       string         `db:"index_key_max_age" json:"index_key_max_age"`
	RejectionRetention   string         `db:"rejection_retention" json:"rejection_retention"`
	DaysBack             int            `db:"days_back" json:"days_back"`
	DaysAhead            int            `db:"days_ahead" json:"days_ahead"`
	KEK                  *string        `db:"kek" json:"kek"` // nil: keys rotate rewraps nothing
	RequestsPerHour      int            `db:"requests_per_hour" json:"requests_per_hour"`
	KeyRegistrations     int            `db:"key_registrations" json:"key_registrations"`
	ShredBefore          *time.Time     `db:"shred_before" json:"shred_before"` // nil: no month may be shredded
	ApprovalGroups       pq.StringArray `db:"approval_groups" json:"approval_groups"`
}

// ReadPolicy reads the vault's policy.
func ReadPolicy(ctx context.Context, db *sqlx.DB) (Policy, error) {
	var p Policy
	if err := db.GetContext(ctx, &p, `SELECT * FROM cloakroom.policy()`); err != nil {
		return p, fmt.Errorf("reading the policy: %w", pg.Redact(err))
	}
	return p, nil
}

// SetPolicy changes one setting and logs the change. It needs the owner's login. Value is as
// Postgres reads it; nil is NULL.
func SetPolicy(ctx context.Context, owner *sqlx.DB, name string, value *string) error {
	if _, err := owner.ExecContext(ctx, `SELECT cloakroom.set_policy($1, $2)`, name, value); err != nil {
		return fmt.Errorf("setting %s: %w", name, pg.Redact(err))
	}
	return nil
}
