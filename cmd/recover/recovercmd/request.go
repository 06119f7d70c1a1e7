package recovercmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"cloakroom/crypto/blindindex"
	"cloakroom/dataset"
	"cloakroom/etl"
	"cloakroom/internal/cli"
	"cloakroom/keys"
	recovery "cloakroom/recover"
)

// requestFlags are the flags of recover request.
type requestFlags struct {
	recovery.RequestParams
	reasonFile string
	token      string
	value      string // the name of the field; the value comes on standard input
}

func (p *program) newRequest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "request",
		Short: "Request values to be opened; prints the request's id",
		Long: `Request values to be opened. It prints the request's id, and needs the role auditor.

Nothing is opened yet: an approver decides first (recover approve).`,
		Example: `  recover request --purpose fraud --ticket T-17 --reason 'account takeover' --subject u-42 --fields FIELD
  recover request --purpose security --ticket T-18 --reason-file why.txt --value FIELD --fields FIELD,… < value.txt`,
		Args: cli.Args(),
	}
	var o requestFlags
	o.declare(cli.Of(cmd), p)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return p.runRequest(cmd, o) }
	return cmd
}

// maxLimit is the largest --limit. The policy's own limit is lower.
const maxLimit = 1_000_000

// declare declares the flags. A protected value never comes on the command line, where every
// process of the machine could read it and the shell would keep it.
func (o *requestFlags) declare(f cli.Flags, p *program) {
	var reasons []string
	for _, r := range etl.Reasons() {
		reasons = append(reasons, string(r))
	}
	f.String(&o.Purpose, "purpose", "", "one of the policy's purposes, such as fraud")
	f.String(&o.Ticket, "ticket", "", "where the case is kept")
	f.String(&o.Reason, "reason", "", "why, in words; never a protected value")
	f.String(&o.reasonFile, "reason-file", "", "file with the reason")
	f.String(&o.Dataset, "dataset", "", "whose rows (default: the only dataset; for --purpose dsar a request each)")
	f.String(&o.Subject, "subject", "", "select the rows of this person, as the dataset's subject names them")
	f.Check(&o.token, "token", "select the rows with this token, as analysts see it", checkToken)
	f.UUID(&o.Row, "row", "select the row with this id; with its day as --from and --to, or every row is read")
	f.UUID(&o.Message, "message", "select the row or rejection that came with this message id; quicker with its day")
	f.String(&o.value, "value", "", "select by a value of this field; the value comes on standard input")
	f.String(&o.Index, "index", "", "which index of the field to search by the value, such as prefix/24 (default: exact)")
	f.OneOf(&o.Rejection, "rejections", "", reasons, "select the events that were rejected for this reason")
	f.List(&o.Fields, "fields", "fields to open, separated by commas; body is a rejected event as it was received "+
		"(default: all for --purpose dsar, body for --rejections)", nil)
	f.Date(&o.From, "from", "first date, YYYY-MM-DD, UTC")
	f.Date(&o.To, "to", "last date, YYYY-MM-DD, UTC")
	f.Int(&o.Limit, "limit", 0, cli.Between(1, maxLimit).OrUnset("the policy's"), "at most this many rows")
	f.Duration(&o.Lifetime, "lifetime", 0, cli.Between(time.Second, 366*24*time.Hour).OrUnset("the policy's"),
		"how long the request can be approved and opened")
	f.Bool(&o.BreakGlass, "break-glass",
		"emergency: no approval, few rows, flagged until reviewed; needs the role breakglass")
	f.Require("purpose", "ticket")
	f.ExactlyOne("subject", "token", "row", "message", "value", "rejections")
	f.Excludes("reason", "reason-file")
	f.Needs("index", "value")
	f.Complete("purpose", p.purposes)
	f.Complete("dataset", p.ofDatasets(func(d *dataset.Dataset) []string { return []string{d.Name} }))
	f.Complete("fields", p.ofDatasets(recovery.Fields))
	f.Complete("value", p.ofDatasets(indexedFields))
	f.Complete("index", p.ofDatasets(indexKinds))
}

func checkToken(text string) error {
	if !blindindex.ValidToken(text) {
		return errors.New("a token has 22 characters, as the analysts' view shows them")
	}
	return nil
}

// checkFields wants fields that the dataset has, and a field to search by that is indexed.
func (o *requestFlags) checkFields(d *dataset.Dataset) error {
	known := recovery.Fields(d)
	for _, name := range o.Fields {
		if !slices.Contains(known, name) {
			return fmt.Errorf("reading --fields: dataset %s has no field %q: want some of %s",
				d.Name, name, strings.Join(known, ", "))
		}
	}
	if indexed := indexedFields(d); o.value != "" && !slices.Contains(indexed, o.value) {
		return fmt.Errorf("reading --value: %q: want one of %s, which dataset %s has indexes of",
			o.value, strings.Join(indexed, ", "), d.Name)
	}
	return nil
}

// indexedFields are the fields whose values can be searched.
func indexedFields(d *dataset.Dataset) []string {
	var fields []string
	for _, ix := range d.Indexes() {
		fields = append(fields, ix.Member.Name)
	}
	return slices.Compact(fields)
}

func indexKinds(d *dataset.Dataset) []string {
	var kinds []string
	for _, ix := range d.Indexes() {
		kinds = append(kinds, ix.Kind)
	}
	return kinds
}

// ofDatasets completes what f gives of the dataset that --dataset names, or of all.
func (p *program) ofDatasets(f func(*dataset.Dataset) []string) cli.Completer {
	return func(ctx context.Context, cmd *cobra.Command) ([]string, error) {
		c, done, err := p.client(ctx, withoutKEK)
		if err != nil {
			return nil, err
		}
		defer done()
		list, err := c.Vault.Datasets(ctx)
		if err != nil {
			return nil, err
		}
		var words []string
		for _, d := range list {
			if name, _ := cmd.Flags().GetString("dataset"); name == "" || name == d.Name {
				words = append(words, f(d)...)
			}
		}
		slices.Sort(words)
		return slices.Compact(words), nil
	}
}

// purposes completes the policy's purposes.
func (p *program) purposes(ctx context.Context, _ *cobra.Command) ([]string, error) {
	c, done, err := p.client(ctx, withoutKEK)
	if err != nil {
		return nil, err
	}
	defer done()
	return c.Purposes(ctx)
}

// runRequest prints the id alone on standard output, for ID=$(recover request …); one a line where a
// subject is looked for in several datasets.
func (p *program) runRequest(cmd *cobra.Command, o requestFlags) error {
	if err := o.complete(); err != nil {
		return cli.Usage(cmd, err)
	}
	c, done, err := p.client(cmd.Context(), kekUse(o.value != ""))
	if err != nil {
		return err
	}
	defer done()
	datasets, err := o.datasets(cmd.Context(), c)
	if err != nil {
		return err
	}
	for _, d := range datasets {
		if err := o.checkFields(d); err != nil {
			return cli.Usage(cmd, err)
		}
	}
	for _, d := range datasets {
		o.Dataset = d.Name
		switch err := p.file(cmd, c, o); {
		case err == nil:
		case len(datasets) > 1:
			return fmt.Errorf("dataset %s: %w", d.Name, err) // the ids of those before it are printed
		default:
			return err
		}
	}
	return nil
}

// datasets are those to file a request for. A person's own data (dsar) is in every dataset that knows
// whose its rows are.
func (o *requestFlags) datasets(ctx context.Context, c *recovery.Client) (keys.Datasets, error) {
	list, err := c.Vault.Datasets(ctx)
	if err != nil {
		return nil, err
	}
	if o.Purpose == recovery.PurposeSubjectAccess && o.Dataset == "" && o.Subject != "" {
		list = slices.DeleteFunc(list, func(d *dataset.Dataset) bool { return !recovery.MayBeSubject(d, o.Subject) })
		if len(list) > 0 {
			return list, nil
		}
		return nil, errors.New("no dataset has a subject that is written so")
	}
	d, err := list.Find(o.Dataset)
	return keys.Datasets{d}, err
}

// file files one request.
func (p *program) file(cmd *cobra.Command, c *recovery.Client, o requestFlags) error {
	if o.value != "" {
		value, err := readValue(cmd, o.value)
		if err != nil {
			return err
		}
		o.Field, o.Index = o.value, cmp.Or(o.Index, dataset.Exact)
		if o.Tokens, err = c.TokensOf(cmd.Context(), o.Dataset, o.Field, o.Index, value); err != nil {
			return err
		}
	}
	id, err := c.Request(cmd.Context(), o.RequestParams)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), id); err != nil {
		return err
	}
	sayWhatIsNext(cmd, c, id)
	p.notify(cmd, notice{
		Event: "requested", Request: id, Purpose: o.Purpose, Ticket: o.Ticket, Dataset: o.Dataset, Fields: o.Fields,
		BreakGlass: o.BreakGlass,
	})
	return nil
}

// complete turns the flags into parameters and checks what they demand of each other.
func (o *requestFlags) complete() error {
	if o.token != "" {
		o.Tokens = []string{o.token}
	}
	if o.reasonFile != "" {
		text, err := os.ReadFile(o.reasonFile)
		if err != nil {
			return fmt.Errorf("reading --reason-file: %w", err)
		}
		o.Reason = strings.TrimSpace(string(text))
	}
	switch {
	case o.Reason == "":
		return errors.New("a reason is needed: --reason or --reason-file")
	case len(o.Fields) == 0 && o.Purpose != recovery.PurposeSubjectAccess && o.Rejection == "":
		return errors.New("--fields is needed: which fields to open")
	case !o.To.IsZero() && o.To.Before(o.From):
		return errDatesReversed
	}
	return nil
}

// sayWhatIsNext tells the requester, on standard error, who acts next and until when.
func sayWhatIsNext(cmd *cobra.Command, c *recovery.Client, id uuid.UUID) {
	d, err := c.Show(cmd.Context(), id)
	if err != nil {
		return // the request is filed; the id on standard output is all that matters
	}
	until := cli.Time(d.ExpiresAt)
	switch {
	case d.BreakGlass:
		cli.Note(cmd, "BREAK-GLASS: open it with recover open %s until %s; an approver reviews it later", id, until)
	case d.ApprovalsNeeded == 0:
		cli.Note(cmd, "the policy wants no approval: open it with recover open %s until %s", id, until)
	default:
		cli.Note(cmd, "it waits for %s by others with the role approver: recover approve %s; "+
			"then you open it; it expires at %s", cli.Count(d.ApprovalsNeeded, "approval"), id, until)
	}
}

// maxValue bounds a protected value on standard input, in bytes.
const maxValue = 64 << 10

// readValue reads a protected value, without echo from a terminal.
func readValue(cmd *cobra.Command, field string) (string, error) {
	if in, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		cli.Printf(cmd.ErrOrStderr(), "%s (not shown): ", field)
		text, err := term.ReadPassword(int(in.Fd()))
		cli.Printf(cmd.ErrOrStderr(), "\n")
		if err != nil {
			return "", fmt.Errorf("reading the value of %s: %w", field, err)
		}
		return string(text), nil
	}
	text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxValue+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the value of %s: %w", field, err)
	case len(text) > maxValue:
		return "", fmt.Errorf("reading the value of %s: it is longer than %d bytes", field, maxValue)
	}
	// One line end, which echo and editors add, is not part of the value.
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}
