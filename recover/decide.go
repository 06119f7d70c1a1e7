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

// Header is what every view of a request shows.
type Header struct {
	ID         uuid.UUID      `db:"id" json:"id"`
	State      string         `db:"state" json:"state"`
	Requester  string         `db:"requester" json:"requester"`
	BreakGlass bool           `db:"breakglass" json:"breakglass"`
	ReviewedBy *string        `db:"reviewed_by" json:"reviewed_by"`
	Purpose    string         `db:"purpose" json:"purpose"`
	Ticket     string         `db:"ticket" json:"ticket"`
	Dataset    *string        `db:"dataset" json:"dataset"` // nil: every dataset, to forget somebody
	Fields     pq.StringArray `db:"fields" json:"fields"`
	Limit      int            `db:"row_limit" json:"limit"`
	CreatedAt  time.Time      `db:"created_at" json:"created_at"`
	ExpiresAt  time.Time      `db:"expires_at" json:"expires_at"`
	Rows       *int64         `db:"rows" json:"rows"`     // frozen by the intent; nil before it
	Result     *string        `db:"result" json:"result"` // the outcome; nil before it
}

// Summary is a request as lists show it.
type Summary struct {
	Header
	Approvals int `db:"approvals" json:"approvals"`
}

// Details is all that an approver needs to decide.
type Details struct {
	Header
	Reason       *string  `db:"reason" json:"reason"` // nil once erased
	ReasonSalt   hexBytes `db:"reason_salt" json:"reason_salt"`
	ReasonCommit hexBytes `db:"reason_commit" json:"reason_commit"`
	QuerySalt    hexBytes `db:"query_salt" json:"query_salt"`
	QueryCommit  hexBytes `db:"query_commit" json:"query_commit"`

	// The selector: one of Subject, Row, Message, Tokens (of Field and Index, if they are set) and
	// Rejection, and perhaps dates.
	Selector  string         `db:"selector" json:"selector"` // the text behind QueryCommit
	Subject   *string        `db:"by_subject" json:"subject"`
	Row       *uuid.UUID     `db:"by_row" json:"row"`
	Message   *uuid.UUID     `db:"by_message" json:"message"`
	Field     *string        `db:"by_field" json:"field"`
	Index     *string        `db:"by_index" json:"index"`
	Tokens    pq.StringArray `db:"by_tokens" json:"tokens"`
	Rejection *string        `db:"by_rejection" json:"rejections"`
	From      *time.Time     `db:"from_date" json:"from"`
	To        *time.Time     `db:"to_date" json:"to"`

	Digest          hexBytes       `db:"digest" json:"digest"` // of all that an approval is for
	ApprovalsNeeded int            `db:"approvals_needed" json:"approvals_needed"`
	ApprovedBy      pq.StringArray `db:"approved_by" json:"approved_by"`
	DeniedBy        pq.StringArray `db:"denied_by" json:"denied_by"`
	// Selected is how many rows the request selects now, at most one more than its limit. The
	// requester sees nil: even the number needs approval.
	Selected *int64 `db:"selected" json:"selected"`
	// People is how many people those rows are of; nil where the dataset does not say whose a row is.
	People     *int64 `db:"people" json:"people"`
	IntentLeaf *int64 `db:"intent_leaf" json:"intent_leaf"`

	RequesterGroup *string        `db:"requester_group" json:"requester_group"` // nil: none
	ApproverGroups pq.StringArray `db:"approver_groups" json:"approver_groups"` // of ApprovedBy, then; empty: none
	Missing        *string        `db:"missing" json:"missing"`                 // of approvals that count, in words
}

// hexBytes print in hexadecimal.
type hexBytes []byte

func (h hexBytes) String() string               { return hex.EncodeToString(h) }
func (h hexBytes) MarshalJSON() ([]byte, error) { return json.Marshal(h.String()) }

// ErrNoRequest reports an id that no request has, or whose request this login may not see.
var ErrNoRequest = errors.New("there is no such request, or you may not see it: recover list shows your requests")

// List lists requests, oldest first. An approver sees all, others see their own. Pending requests
// wait for a decision or a review.
func (c *Client) List(ctx context.Context, pending, mine bool) ([]Summary, error) {
	list := []Summary{}
	err := c.Vault.DB.SelectContext(ctx, &list, `SELECT * FROM cloakroom.request_list($1, $2)`, pending, mine)
	if err != nil {
		return nil, dbError("listing requests", anyRole, err)
	}
	return list, nil
}

// ExpireOverdue marks the requests whose time is over, and logs each. Unmarked ones are refused all
// the same.
func (c *Client) ExpireOverdue(ctx context.Context) error {
	if _, err := c.Vault.DB.ExecContext(ctx, `SELECT cloakroom.expire_requests()`); err != nil {
		return dbError("marking expired requests", anyRole, err)
	}
	return nil
}

// Show shows one request. It returns ErrNoRequest if there is none that this login may see.
func (c *Client) Show(ctx context.Context, id uuid.UUID) (*Details, error) {
	var d Details
	err := c.Vault.DB.GetContext(ctx, &d, `SELECT * FROM cloakroom.show_request($1)`, id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, ErrNoRequest
	case err != nil:
		return nil, dbError("reading the request", anyRole, err)
	}
	return &d, nil
}

// Approve approves a request as it was shown, and returns its state: approved, or still requested
// if the policy wants another approval. It fails if the request is no longer what was shown.
func (c *Client) Approve(ctx context.Context, shown *Details) (state string, err error) {
	err = c.Vault.DB.GetContext(ctx, &state, `SELECT cloakroom.approve($1, $2, $3)`,
		shown.ID, []byte(shown.Digest), c.identity())
	if err != nil {
		c.noteRefusal(ctx, shown.ID, "approve", err)
		return "", dbError("approving", approver, err)
	}
	return state, nil
}

// Deny denies a request that was not opened yet.
func (c *Client) Deny(ctx context.Context, id uuid.UUID, comment string) error {
	_, err := c.Vault.DB.ExecContext(ctx, `SELECT cloakroom.deny($1, $2, $3)`, id, comment, c.identity())
	if err != nil {
		c.noteRefusal(ctx, id, "deny", err)
		return dbError("denying", approver, err)
	}
	return nil
}

// Review records that this person looked at a break-glass request of somebody else's, and ends its
// being flagged.
func (c *Client) Review(ctx context.Context, id uuid.UUID) error {
	if _, err := c.Vault.DB.ExecContext(ctx, `SELECT cloakroom.review($1, $2)`, id, c.identity()); err != nil {
		c.noteRefusal(ctx, id, "review", err)
		return dbError("reviewing", approver, err)
	}
	return nil
}
