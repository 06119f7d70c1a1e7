package recover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/dataset"
	"cloakroom/keys"
)

// RequestParams is what a request is for. Zero fields take the defaults named beside them.
type RequestParams struct {
	Dataset string // the only one
	Purpose string
	Ticket  string
	Reason  string // free text: it stays in the vault, erasable; the log holds a commitment
	Fields  []string

	// One of these selects the rows.
	Subject   string    // whose rows
	Row       uuid.UUID // one row
	Message   uuid.UUID // what came with one message: a row or a rejection
	Tokens    []string  // of Field, or of any field where Field is empty
	Rejection string    // a reason code: events that could not be stored

	Field      string    // the field that Tokens belong to
	Index      string    // the kind of Field's index that Tokens belong to, such as exact; any
	From, To   time.Time // dates, inclusive; zero: no bound
	Limit      int       // rows; 0: the policy's
	Lifetime   time.Duration
	BreakGlass bool // needs the role, no approval; few rows; flagged until reviewed
}

// AllFields is every member of the dataset and the body of rejections: what a subject-access
// request opens.
func AllFields(d *dataset.Dataset) []string {
	var fields []string
	for i := range d.Members {
		fields = append(fields, d.Members[i].Name)
		if d.Members[i].Type == dataset.Version && d.Members[i].Protect == nil {
			fields = append(fields, d.Members[i].TextColumn())
		}
	}
	return append(fields, dataset.BodyField)
}

// Fields is everything that a request may name: [AllFields], and what members reveal, which opening
// them tells better.
func Fields(d *dataset.Dataset) []string {
	fields := AllFields(d)
	for _, m := range d.Protected() {
		if m.Protect.Reveal != "" {
			fields = append(fields, m.RevealColumn())
		}
	}
	return fields
}

// MayBeSubject reports whether the dataset's subject can be written so. Where it is an integer or a
// UUID, most texts are nobody.
func MayBeSubject(d *dataset.Dataset, subject string) bool {
	m, ok := d.Member(d.Subject)
	if !ok {
		return false
	}
	var err error
	switch m.Type {
	case dataset.Integer:
		_, err = strconv.ParseInt(subject, 10, 64)
	case dataset.UUID:
		_, err = uuid.Parse(subject)
	}
	return err == nil
}

// PurposeForget is the purpose of a request to destroy one person's values (keys forget makes it).
const PurposeForget = "forget"

// PurposeSubjectAccess is the purpose of a request for one person's own data (GDPR, article 15).
const PurposeSubjectAccess = "dsar"

// Request files a request and returns its id. The policy's limits are the database's to check; it
// says nothing about what the request selects, because even that needs approval.
func (c *Client) Request(ctx context.Context, p RequestParams) (uuid.UUID, error) {
	d, err := c.dataset(ctx, p.Dataset)
	if err != nil {
		return uuid.UUID{}, fmt.Errorf("filing the request: %w", err)
	}
	if p.Purpose == PurposeSubjectAccess && len(p.Fields) == 0 {
		p.Fields = AllFields(d)
	}
	if p.Rejection != "" && len(p.Fields) == 0 {
		p.Fields = []string{dataset.BodyField}
	}
	var id uuid.UUID
	err = c.Vault.DB.GetContext(ctx, &id, `SELECT cloakroom.request(
		p_purpose => $1, p_ticket => $2, p_reason => $3, p_fields => $4, p_dataset => $5,
		p_subject => $6, p_row => $7, p_message => $8, p_field => $9, p_index => $10, p_tokens => $11, p_rejection => $12,
		p_from => $13, p_to => $14, p_limit => $15, p_lifetime => make_interval(secs => $16), p_breakglass => $17,
		p_source_identity => $18)`,
		p.Purpose, p.Ticket, p.Reason, pq.Array(p.Fields), d.Name,
		orNull(p.Subject), orNull(p.Row), orNull(p.Message), orNull(p.Field), orNull(p.Index), pq.Array(p.Tokens),
		orNull(p.Rejection), dateOrNull(p.From), dateOrNull(p.To), orNull(p.Limit), orNull(p.Lifetime.Seconds()),
		p.BreakGlass, c.identity())
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

// Errors of a value that has no token.
var (
	errNoField  = errors.New("it is not a protected field of the dataset")
	errNoIndex  = errors.New("the field has no such index")
	errNoToken  = errors.New("it has no token: it means \"none\", or lacks the part that the index is over")
	errBadValue = errors.New("the field does not take it")
)

// TokensOf turns a value of a protected field into its tokens for one of the field's indexes, one
// token for each live version of the index key. No index means the exact one. The value stays on this
// machine, and errors do not quote it.
func (c *Client) TokensOf(ctx context.Context, datasetName, field, index, value string) ([]string, error) {
	tokens, err := c.tokensOf(ctx, datasetName, field, cmp.Or(index, dataset.Exact), value)
	if err != nil {
		return nil, fmt.Errorf("making the token of a value of %s: %w", field, err)
	}
	return tokens, nil
}

func (c *Client) tokensOf(ctx context.Context, datasetName, field, index, value string) ([]string, error) {
	d, err := c.dataset(ctx, datasetName)
	if err != nil {
		return nil, err
	}
	at, err := indexOf(d, field, index)
	if err != nil {
		return nil, err
	}
	_, versions, err := c.indexKeys(ctx, d)
	if err != nil {
		return nil, err
	}
	defer keys.DestroyIndexKeys(versions)
	var tokens []string
	for _, k := range versions {
		maker, err := dataset.NewTokeniser(d, k.Subkeys)
		if err != nil {
			return nil, err
		}
		token, reason, err := maker.AppendToken(nil, at, []byte(value))
		switch {
		case err != nil:
			return nil, err
		case reason != "":
			return nil, fmt.Errorf("%w: %s (docs/rejections.md)", errBadValue, reason)
		case string(token) == dataset.NoToken:
			return nil, errNoToken
		}
		tokens = append(tokens, string(token))
	}
	return tokens, nil
}

// indexOf finds an index of a field among Dataset.Indexes.
func indexOf(d *dataset.Dataset, field, kind string) (int, error) {
	var kinds []string
	for i, ix := range d.Indexes() {
		if ix.Member.Name != field {
			continue
		}
		if ix.Kind == kind {
			return i, nil
		}
		kinds = append(kinds, ix.Kind)
	}
	if len(kinds) > 0 {
		return 0, fmt.Errorf("%w as %s: give --index %s", errNoIndex, kind, strings.Join(kinds, " or "))
	}
	if m, ok := d.Member(field); ok && m.Protect != nil {
		return 0, fmt.Errorf("%w: it is sealed without any, so its values cannot be searched", errNoIndex)
	}
	return 0, errNoField
}
