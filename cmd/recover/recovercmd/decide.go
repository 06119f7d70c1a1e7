package recovercmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

func newApprove() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "approve ID",
		Short: "Approve a request, as it is shown",
		Args:  cobra.ExactArgs(1),
		RunE: forRequest(false, func(ctx context.Context, cmd *cobra.Command, c *recovery.Client, id uuid.UUID) error {
			d, err := c.Show(ctx, id)
			if err != nil {
				return err
			}
			out := cmd.ErrOrStderr()
			printDetails(out, d)
			if yes, _ := cmd.Flags().GetBool("yes"); !yes {
				fmt.Fprint(out, "approve? [y/N] ")
				answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
				if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
					return errors.New("not approved: answer y, or give --yes")
				}
			}
			state, err := c.Approve(ctx, d)
			if err != nil {
				return err
			}
			if state == "approved" {
				fmt.Fprintln(out, "approved: the requester may open it")
			} else {
				fmt.Fprintln(out, "approved; the policy wants another approval")
			}
			notify(cmd, noticeOf("approved", d))
			return nil
		}),
	}
	cmd.Flags().Bool("yes", false, "do not ask")
	return cmd
}

func newDeny() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deny ID --comment TEXT",
		Short: "Deny a request that is not opened yet",
		Args:  cobra.ExactArgs(1),
		RunE: forRequest(false, func(ctx context.Context, cmd *cobra.Command, c *recovery.Client, id uuid.UUID) error {
			comment := cli.Value(cmd, "comment")
			if comment == "" {
				return errors.New("say why: --comment")
			}
			d, err := c.Show(ctx, id)
			if err != nil {
				return err
			}
			if err := c.Deny(ctx, id, comment); err != nil {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "denied")
			notify(cmd, noticeOf("denied", d))
			return nil
		}),
	}
	cmd.Flags().String("comment", "", "why; kept with the request, not in the log")
	return cmd
}

func newReview() *cobra.Command {
	return &cobra.Command{
		Use:   "review ID",
		Short: "Confirm that a break-glass request was looked at by somebody else",
		Args:  cobra.ExactArgs(1),
		RunE: forRequest(false, func(ctx context.Context, cmd *cobra.Command, c *recovery.Client, id uuid.UUID) error {
			d, err := c.Show(ctx, id)
			if err != nil {
				return err
			}
			printDetails(cmd.ErrOrStderr(), d)
			if err := c.Review(ctx, id); err != nil {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "reviewed")
			notify(cmd, noticeOf("reviewed", d))
			return nil
		}),
	}
}
