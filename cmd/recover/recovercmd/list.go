package recovercmd

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

func newList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"mine"},
		Short:   "List requests: an approver sees all, others their own (mine: list --mine)",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, done, err := newClient(cmd, false)
			if err != nil {
				return err
			}
			defer done()
			if err := c.ExpireOverdue(cmd.Context()); err != nil {
				slog.Warn("overdue requests are not marked expired; they are refused all the same", "error", err)
			}
			pending, _ := cmd.Flags().GetBool("pending")
			mine := cmd.CalledAs() == "mine"
			if !mine {
				mine, _ = cmd.Flags().GetBool("mine")
			}
			list, err := c.List(cmd.Context(), pending, mine)
			if err != nil {
				return err
			}
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				return cli.PrintJSON(cmd.OutOrStdout(), list)
			}
			return printList(cmd.OutOrStdout(), list)
		},
	}
	cmd.Flags().Bool("pending", false, "only those that wait for a decision or a review")
	cmd.Flags().Bool("mine", false, "only my own")
	cmd.Flags().Bool("json", false, "print JSON")
	return cmd
}

func printList(w io.Writer, list []recovery.Summary) error {
	if len(list) == 0 {
		fmt.Fprintln(w, "no requests")
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tSTATE\tREQUESTER\tPURPOSE\tTICKET\tFIELDS\tLIMIT\tROWS\tEXPIRES")
	for _, r := range list {
		rows, state := "-", r.State
		if r.Rows != nil {
			rows = fmt.Sprint(*r.Rows)
		}
		if r.BreakGlass && r.ReviewedBy == nil {
			state += " (break-glass, not reviewed)"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", r.ID, state, visible(r.Requester), visible(r.Purpose), visible(r.Ticket),
			visible(strings.Join(r.Fields, ",")), r.Limit, rows, r.ExpiresAt.UTC().Format(time.DateTime))
	}
	return table.Flush()
}
