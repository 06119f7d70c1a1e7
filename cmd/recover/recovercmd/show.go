package recovercmd

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

func newShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a request: all that an approver needs to decide",
		Args:  cobra.ExactArgs(1),
		RunE: forRequest(false, func(ctx context.Context, cmd *cobra.Command, c *recovery.Client, id uuid.UUID) error {
			d, err := c.Show(ctx, id)
			if err != nil {
				return err
			}
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				return cli.PrintJSON(cmd.OutOrStdout(), d)
			}
			printDetails(cmd.OutOrStdout(), d)
			return nil
		}),
	}
	cmd.Flags().Bool("json", false, "print JSON")
	return cmd
}

func printDetails(w io.Writer, d *recovery.Details) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-10s %s\n", name, visible(fmt.Sprintf(format, args...)))
	}
	line("request", "%s", d.ID)
	line("state", "%s", d.State)
	if d.BreakGlass {
		line("", "BREAK-GLASS: opened without approval; %s", reviewed(d))
	}
	line("requester", "%s", d.Requester)
	line("purpose", "%s", d.Purpose)
	line("ticket", "%s", d.Ticket)
	if d.Reason == nil {
		line("reason", "(erased)")
	} else {
		line("reason", "%s", *d.Reason)
	}
	line("fields", "%s", strings.Join(d.Fields, ", "))
	line("selects", "%s", selection(d))
	line("limit", "%d rows", d.Limit)
	if d.Selected != nil {
		line("rows now", "%s", selected(*d.Selected, d.Limit))
	}
	line("made", "%s", d.CreatedAt.UTC().Format(time.DateTime))
	line("expires", "%s", d.ExpiresAt.UTC().Format(time.DateTime))
	line("approvals", "%d of %d %s", len(d.ApprovedBy), d.ApprovalsNeeded, strings.Join(d.ApprovedBy, ", "))
	if len(d.DeniedBy) > 0 {
		line("denied by", "%s", strings.Join(d.DeniedBy, ", "))
	}
	if d.Rows != nil {
		line("opened", "%d rows, intent in leaf %d", *d.Rows, *d.IntentLeaf)
	}
	if d.Result != nil {
		line("result", "%s", *d.Result)
	}
	line("digest", "%s", d.Digest)
}

func reviewed(d *recovery.Details) string {
	if d.ReviewedBy == nil {
		return "not reviewed yet"
	}
	return "reviewed by " + *d.ReviewedBy
}

func selected(n int64, limit int) string {
	if n > int64(limit) {
		return fmt.Sprintf("more than %d: opening will be refused", limit)
	}
	return fmt.Sprint(n)
}

func selection(d *recovery.Details) string {
	var text string
	switch {
	case d.User != nil:
		text = "rows of user " + *d.User
	case d.Message != nil:
		text = "the row of message " + d.Message.String()
	case d.Rejection != nil:
		text = "events rejected as " + *d.Rejection
	case d.Field != nil:
		text = "rows with one value of " + *d.Field + ", token " + strings.Join(d.Tokens, " or ")
	default:
		text = "rows with token " + strings.Join(d.Tokens, " or ")
	}
	if d.From != nil {
		text += ", from " + d.From.Format(time.DateOnly)
	}
	if d.To != nil {
		text += ", to " + d.To.Format(time.DateOnly)
	}
	return text
}
