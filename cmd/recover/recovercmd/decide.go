package recovercmd

import (
	"bufio"
	"context"
	"errors"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

// newApprove approves exactly what it printed: Approve sends the digest of the request that was
// shown, so a request that is altered while the approver reads is refused.
func (p *program) newApprove() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "approve ID",
		Short: "Approve a request as it is shown; needs the role approver",
		Long: `Approve a request as it is shown. It needs the role approver, and must be another person than the
requester.`,
		Example: "  recover approve 0198c2f0-5f0e-7000-8000-000000000000",
	}
	var yes bool
	cli.Of(cmd).Bool(&yes, "yes", "do not ask")
	p.forRequest(cmd, withoutKEK, inState("requested"),
		func(ctx context.Context, cmd *cobra.Command, c *recovery.Client, id uuid.UUID) error {
			d, err := c.Show(ctx, id)
			if err != nil {
				return err
			}
			printDetails(cmd.ErrOrStderr(), d)
			question := "approve?"
			if d.Purpose == recovery.PurposeForget {
				question = "approve the DESTRUCTION of these values?"
			}
			if !yes && !confirmed(cmd, question) {
				return errors.New("not approved: answer y, or give --yes")
			}
			state, err := c.Approve(ctx, d)
			if err != nil {
				return err
			}
			switch {
			case state != "approved":
				note := "approved; the policy wants another approval by somebody else"
				if d, err := c.Show(ctx, id); err == nil && d.Missing != nil {
					note += " (" + *d.Missing + ")"
				}
				cli.Note(cmd, "%s", note)
			case d.Purpose == recovery.PurposeForget:
				cli.Note(cmd, "approved: keys forget --request %s --yes-destroy does it, until %s",
					id, cli.Time(d.ExpiresAt))
			default:
				cli.Note(cmd, "approved: the requester may open it until %s", cli.Time(d.ExpiresAt))
			}
			p.notify(cmd, noticeOf("approved", d))
			return nil
		})
	return cmd
}

// confirmed asks on standard error. Anything but y or yes is a no, and so is the end of the input.
func confirmed(cmd *cobra.Command, question string) bool {
	cli.Printf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

func (p *program) newDeny() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "deny ID --comment TEXT",
		Short:   "Deny a request that was not opened yet; needs the role approver",
		Example: "  recover deny 0198c2f0-5f0e-7000-8000-000000000000 --comment 'no case'",
	}
	var comment string
	f := cli.Of(cmd)
	f.String(&comment, "comment", "", "why; kept with the request, not in the log")
	f.Require("comment")
	p.forRequest(cmd, withoutKEK, inState("requested", "approved"),
		func(ctx context.Context, cmd *cobra.Command, c *recovery.Client, id uuid.UUID) error {
			d, err := c.Show(ctx, id)
			if err != nil {
				return err
			}
			if err := c.Deny(ctx, id, comment); err != nil {
				return err
			}
			cli.Note(cmd, "denied: it cannot be opened")
			p.notify(cmd, noticeOf("denied", d))
			return nil
		})
	return cmd
}

func (p *program) newReview() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "review ID",
		Short:   "Confirm that you looked at a break-glass request of somebody else; needs the role approver",
		Example: "  recover review 0198c2f0-5f0e-7000-8000-000000000000",
	}
	unreviewed := func(r recovery.Summary) bool { return r.BreakGlass && r.ReviewedBy == nil }
	p.forRequest(cmd, withoutKEK, unreviewed,
		func(ctx context.Context, cmd *cobra.Command, c *recovery.Client, id uuid.UUID) error {
			d, err := c.Show(ctx, id)
			if err != nil {
				return err
			}
			printDetails(cmd.ErrOrStderr(), d)
			if err := c.Review(ctx, id); err != nil {
				return err
			}
			cli.Note(cmd, "reviewed")
			p.notify(cmd, noticeOf("reviewed", d))
			return nil
		})
	return cmd
}
