package recovercmd

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

func (p *program) newShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show a request: all that an approver needs to decide",
		Example: "  recover show 0198c2f0-5f0e-7000-8000-000000000000",
	}
	var asJSON bool
	cli.Of(cmd).Bool(&asJSON, "json", "print JSON")
	p.forRequest(cmd, withoutKEK, anyRequest,
		func(ctx context.Context, cmd *cobra.Command, c *recovery.Client, id uuid.UUID) error {
			d, err := c.Show(ctx, id)
			if err != nil {
				return err
			}
			if asJSON {
				return cli.PrintJSON(cmd.OutOrStdout(), d)
			}
			printDetails(cmd.OutOrStdout(), d)
			return nil
		})
	return cmd
}

// printDetails prints what an approval is for. Names, reasons and tickets are what a requester
// typed: cli.Printf keeps them from faking a line or moving the cursor.
func printDetails(w io.Writer, d *recovery.Details) {
	line := func(name, text string) { cli.Printf(w, "%-10s %s\n", name, text) }
	people := func(names []string) string { return strings.Join(names, ", ") }
	line("request", d.ID.String())
	line("state", d.State)
	if d.BreakGlass {
		line("", "BREAK-GLASS: opened without approval; "+reviewed(d))
	}
	requester := d.Requester
	if d.RequesterGroup != nil {
		requester += " (" + *d.RequesterGroup + ")"
	}
	line("requester", requester)
	line("purpose", d.Purpose)
	line("ticket", d.Ticket)
	if d.Reason == nil {
		line("reason", "(erased)")
	} else {
		line("reason", *d.Reason)
	}
	if d.Dataset != nil {
		line("dataset", *d.Dataset)
	}
	if d.Purpose == recovery.PurposeForget {
		printDestruction(line, d)
	} else {
		line("opens", people(d.Fields))
		line("selects", selection(d))
		line("limit", cli.Count(d.Limit, "row"))
		if d.Selected != nil {
			of := ""
			if d.People != nil && *d.Selected > 0 {
				of = ", of " + cli.Count(*d.People, "person", "people")
			}
			line("rows now", selected(*d.Selected, d.Limit)+of)
		}
	}
	line("made", cli.Time(d.CreatedAt))
	line("expires", cli.Time(d.ExpiresAt))
	approvals := fmt.Sprintf("%d of %d %s", len(d.ApprovedBy), d.ApprovalsNeeded, approvers(d))
	line("approvals", strings.TrimSpace(approvals))
	if d.Missing != nil {
		line("missing", *d.Missing)
	}
	if len(d.DeniedBy) > 0 {
		line("denied by", people(d.DeniedBy))
	}
	if d.Rows != nil && d.IntentLeaf != nil {
		verb := "opened"
		if d.Purpose == recovery.PurposeForget {
			verb = "destroyed"
		}
		line(verb, fmt.Sprintf("%s, intent in leaf %d", cli.Count(*d.Rows, "row"), *d.IntentLeaf))
	}
	if d.Result != nil {
		line("result", *d.Result)
	}
	line("digest", d.Digest.String())
}

// approvers names who approved, each with the group in which they did.
func approvers(d *recovery.Details) string {
	names := slices.Clone([]string(d.ApprovedBy))
	for i, group := range d.ApproverGroups {
		if group != "" && i < len(names) {
			names[i] += " (" + group + ")"
		}
	}
	return strings.Join(names, ", ")
}

// printDestruction says what a request to forget destroys. It opens nothing, so it has no limit.
func printDestruction(line func(name, text string), d *recovery.Details) {
	line("DESTROYS", fmt.Sprintf("%s of %s in every dataset, and their tokens, for good: it cannot be undone",
		strings.Join(d.Fields, ", "), selection(d)))
	if d.Selected != nil {
		line("rows now", cli.Count(*d.Selected, "row")+" to destroy, and those that arrive until it is done")
	}
}

func reviewed(d *recovery.Details) string {
	if d.ReviewedBy == nil {
		return "not reviewed yet"
	}
	return "reviewed by " + *d.ReviewedBy
}

// selected is how many rows a request selects now. The database counts to one above the limit.
func selected(n int64, limit int) string {
	if n > int64(limit) {
		return fmt.Sprintf("more than %s: opening will be refused", cli.Count(limit, "row"))
	}
	return cli.Count(n, "row")
}

// index says that rows share a part of a value and not the whole.
func index(kind *string) string {
	if kind == nil || *kind == dataset.Exact {
		return ""
	}
	return "'s " + *kind
}

// values says how many values a number of tokens can be of.
func values(n int) string {
	if n == 1 {
		return "one value"
	}
	return fmt.Sprintf("any of up to %d values", n)
}

func tokens(list []string) string {
	if len(list) == 1 {
		return "token " + list[0]
	}
	return "tokens " + strings.Join(list, ", ")
}

// selection says in words which rows a request selects.
func selection(d *recovery.Details) string {
	var text string
	switch {
	case d.Subject != nil:
		text = "rows of " + *d.Subject
	case d.Row != nil:
		text = "the row " + d.Row.String()
	case d.Message != nil:
		text = "what came with message " + d.Message.String()
	case d.Rejection != nil:
		text = "events rejected for " + *d.Rejection
	case d.Field != nil:
		text = "rows with " + values(len(d.Tokens)) + " of " + *d.Field + index(d.Index) + ", " + tokens(d.Tokens)
	default:
		text = "rows with " + values(len(d.Tokens)) + " of any field, " + tokens(d.Tokens)
	}
	if d.From != nil {
		text += ", from " + d.From.Format(time.DateOnly)
	}
	if d.To != nil {
		text += ", to " + d.To.Format(time.DateOnly)
	}
	return text
}
