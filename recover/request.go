package recover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/dataset"
	"cloakroom/keys"
)

// RequestParams is what a request is for. Zero fields take the defaults named beside them.
type RequestParams struct {
	Purpose string
	Ticket  string
	Reason  string // free text: it stays in the vault, erasable; the log holds a commitment
	Fields  []string

	// One of these selects the rows.
	User      string
	Message   uuid.UUID
	Tokens    []string // of Field, or of any field where Field is empty
	Rejection string   // a reason code: events that could not be stored

	Field      string    // the field that Tokens belong to
	From, To   time.Time // dates, inclusive; zero: no bound
	Limit      int       // rows; 0: the policy's
	Lifetime   time.Duration
	BreakGlass bool // needs the role, no approval; few rows; flagged until reviewed
}

// AllFields is every field of the dataset and the body of rejections: what a subject-access request
// opens.
func AllFields(d *dataset.Dataset) []string {
	var fields []string
	for i := range d.Members {
		fields = append(fields, d.Members[i].Name)
		if d.Members[i].Type == dataset.Version {
			fields = append(fields, d.Members[i].TextColumn())
		}
	}
	return append(fields, dataset.BodyField)
}

// PurposeForget is the purpose of a request to destroy one person's values (keys forget makes it).
const PurposeForget = "forget"

// PurposeSubjectAccess is the purpose of a request for one person's own data (GDPR, article 15).
const PurposeSubjectAccess = "dsar"

// Request files a request and returns its id. The policy's limits are the database's to check; it
// says nothing about what the request selects, because even that needs approval.
func (c *Client) Request(ctx context.Context, p RequestParams) (uuid.UUID, error) {
	if p.Purpose == PurposeSubjectAccess && len(p.Fields) == 0 {
		p.Fields = AllFields(c.Dataset)
	}
	if p.Rejection != "" && len(p.Fields) == 0 {
		p.Fields = []string{dataset.BodyField}
	}
	var id uuid.UUID
	err := c.Vault.DB.GetContext(ctx, &id, `SELECT cloakroom.request(
		p_purpose => $1, p_ticket => $2, p_reason => $3, p_fields => $4,
		p_user => $5, p_message => $6, p_field => $7, p_tokens => $8, p_rejection => $9,
		p_from => $10, p_to => $11, p_limit => $12, p_lifetime => make_interval(secs => $13), p_breakglass => $14,
		p_source_identity => $15)`,
		p.Purpose, p.Ticket, p.Reason, pq.Array(p.Fields),
		orNull(p.User), orNull(p.Message), orNull(p.Field), pq.Array(p.Tokens), orNull(p.Rejection),
		dateOrNull(p.From), dateOrNull(p.To), orNull(p.Limit), orNull(p.Lifetime.Seconds()), p.BreakGlass, c.identity())
	if err != nil {
		role := auditor
		if p.BreakGlass {
			role = breakglass
		}
		return uuid.UUID{}, dbError("filing the request", role, err)
	}
	return id, nil
}

// Purposes lists the purposes that the policy allows.
func (c *Client) Purposes(ctx context.Context) ([]string, error) {
	var purposes pq.StringArray
	if err := c.Vault.DB.GetContext(ctx, &purposes, `SELECT purposes FROM cloakroom.policy()`); err != nil {
		return nil, dbError("reading the policy's purposes", anyRole, err)
	}
	return purposes, nil
}

// orNull gives the zero value as NULL, for which the database takes its default.
func orNull[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

func dateOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Format(time.DateOnly)
}

// errNoField reports a field that has no tokens, so that no value of it can be searched.
var errNoField = errors.New("it is not a protected field of the dataset")

// TokensOf turns a protected value into its tokens, one for each live version of the index key. The
// value stays on this machine, and errors do not quote it.
func (c *Client) TokensOf(ctx context.Context, field, value string) ([]string, error) {
	_, places := protectedOf(c.Dataset, []string{field})
	if len(places) == 0 {
		return nil, fmt.Errorf("making the token of a value of %q: %w", field, errNoField)
	}
	_, index, err := c.indexKeys(ctx)
	if err != nil {
		return nil, err
	}
	defer keys.DestroyIndexKeys(index)
	var tokens []string
	for _, k := range index {
		token, err := k.Subkeys[places[0]].Token(value)
		if err != nil {
			return nil, fmt.Errorf("making the token of a value of %s: %w", field, err)
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
}

// protectedOf lists the protected members among fields, in the order of fields, and their places in
// Dataset.Protected.
func protectedOf(d *dataset.Dataset, fields []string) (members []*dataset.Member, places []int) {
	for _, f := range fields {
		for i, m := range d.Protected() {
			if m.Name == f {
				members, places = append(members, m), append(places, i)
			}
		}
	}
	return members, places
}
