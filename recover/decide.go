package recover

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// Summary is a request as lists show it.
type Summary struct {
	ID         uuid.UUID      `db:"id" json:"id"`
	State      string         `db:"state" json:"state"`
	Asker      string         `db:"asker" json:"asker"`
	BreakGlass bool           `db:"breakglass" json:"breakglass"`
	ReviewedBy *string        `db:"reviewed_by" json:"reviewed_by"`
	Purpose    string         `db:"purpose" json:"purpose"`
	Ticket     string         `db:"ticket" json:"ticket"`
	Fields     pq.StringArray `db:"fields" json:"fields"`
	Limit      int            `db:"row_limit" json:"limit"`
	CreatedAt  time.Time      `db:"created_at" json:"created_at"`
	ExpiresAt  time.Time      `db:"expires_at" json:"expires_at"`
	Approvals  int            `db:"approvals" json:"approvals"`
	Rows       *int64         `db:"rows" json:"rows"`
	Result     *string        `db:"result" json:"result"`
}

// Details is all that an approver needs to decide.
type Details struct {
	ID              uuid.UUID      `db:"id" json:"id"`
	State           string         `db:"state" json:"state"`
	Asker           string         `db:"asker" json:"asker"`
	BreakGlass      bool           `db:"breakglass" json:"breakglass"`
	ReviewedBy      *string        `db:"reviewed_by" json:"reviewed_by"`
	Purpose         string         `db:"purpose" json:"purpose"`
	Ticket          string         `db:"ticket" json:"ticket"`
	Reason          *string        `db:"reason" json:"reason"` // nil once erased
	ReasonSalt      hexBytes       `db:"reason_salt" json:"reason_salt"`
	ReasonCommit    hexBytes       `db:"reason_commit" json:"reason_commit"`
	QuerySalt       hexBytes       `db:"query_salt" json:"query_salt"`
	QueryCommit     hexBytes       `db:"query_commit" json:"query_commit"`
	Selector        string         `db:"selector" json:"selector"` // the text behind QueryCommit
	User            *string        `db:"by_user" json:"user"`
	Message         *uuid.UUID     `db:"by_message" json:"message"`
	Field           *string        `db:"by_field" json:"field"`
	Tokens          pq.StringArray `db:"by_tokens" json:"tokens"`
	Rejection       *string        `db:"by_rejection" json:"rejections"`
	From            *time.Time     `db:"from_date" json:"from"`
	To              *time.Time     `db:"to_date" json:"to"`
	Fields          pq.StringArray `db:"fields" json:"fields"`
	Limit           int            `db:"row_limit" json:"limit"`
	CreatedAt       time.Time      `db:"created_at" json:"created_at"`
	ExpiresAt       time.Time      `db:"expires_at" json:"expires_at"`
	Digest          hexBytes       `db:"digest" json:"digest"`
	ApprovalsNeeded int            `db:"approvals_needed" json:"approvals_needed"`
	ApprovedBy      pq.StringArray `db:"approved_by" json:"approved_by"`
	DeniedBy        pq.StringArray `db:"denied_by" json:"denied_by"`
	// Selected is how many rows it selects now, at most one more than its limit; nil for the asker, to whom even that is
	// something to be approved.
	Selected   *int64  `db:"selected" json:"selected"`
	Rows       *int64  `db:"rows" json:"rows"`
	IntentLeaf *int64  `db:"intent_leaf" json:"intent_leaf"`
	Result     *string `db:"result" json:"result"`
}

// hexBytes are bytes that print in hex.
type hexBytes []byte

func (h hexBytes) String() string               { return hex.EncodeToString(h) }
func (h hexBytes) MarshalJSON() ([]byte, error) { return json.Marshal(h.String()) }

// ErrNoRequest reports an id that is no request's, or one that this login may not see.
var ErrNoRequest = errors.New("there is no such request, or it is not yours to see: recover list shows those there are")

// List lists requests, oldest first: to an approver all, to others their own. Pending ones wait for a decision or a review.
func (c *Client) List(ctx context.Context, pending, mine bool) ([]Summary, error) {
	list := []Summary{}
	if err := c.Vault.DB.SelectContext(ctx, &list, `SELECT * FROM cloakroom.request_list($1, $2)`, pending, mine); err != nil {
		return nil, doing("listing requests", err)
	}
	return list, nil
}

// ExpireOverdue marks the requests whose time is over, with a leaf each. One that is not marked is refused all the same.
func (c *Client) ExpireOverdue(ctx context.Context) error {
	if _, err := c.Vault.DB.ExecContext(ctx, `SELECT cloakroom.expire_requests()`); err != nil {
		return doing("marking expired requests", err)
	}
	return nil
}

// Show shows one request. It returns ErrNoRequest where there is none to see.
func (c *Client) Show(ctx context.Context, id uuid.UUID) (*Details, error) {
	var d Details
	err := c.Vault.DB.GetContext(ctx, &d, `SELECT * FROM cloakroom.show_request($1)`, id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, ErrNoRequest
	case err != nil:
		return nil, doing("reading the request", err)
	}
	return &d, nil
}

// Approve approves the request as it was shown and returns its state: approved, or still requested where the policy wants
// two. It fails if the request is no longer what was shown.
func (c *Client) Approve(ctx context.Context, shown *Details) (state string, err error) {
	err = c.Vault.DB.GetContext(ctx, &state, `SELECT cloakroom.approve($1, $2, $3)`, shown.ID, []byte(shown.Digest), c.identity())
	if err != nil {
		c.noteRefusal(ctx, shown.ID, "approve", err)
		return "", doing("approving", err)
	}
	return state, nil
}

// Deny denies a request that is not opened yet.
func (c *Client) Deny(ctx context.Context, id uuid.UUID, comment string) error {
	if _, err := c.Vault.DB.ExecContext(ctx, `SELECT cloakroom.deny($1, $2, $3)`, id, comment, c.identity()); err != nil {
		c.noteRefusal(ctx, id, "deny", err)
		return doing("denying", err)
	}
	return nil
}

// Review takes the flag off a break-glass request.
func (c *Client) Review(ctx context.Context, id uuid.UUID) error {
	if _, err := c.Vault.DB.ExecContext(ctx, `SELECT cloakroom.review($1, $2)`, id, c.identity()); err != nil {
		c.noteRefusal(ctx, id, "review", err)
		return doing("reviewing", err)
	}
	return nil
}
