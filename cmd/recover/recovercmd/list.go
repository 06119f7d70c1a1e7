package recovercmd

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

func (p *program) newList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"mine"},
		Short:   "List requests: an approver sees all, others see their own (mine: list --mine)",
		Example: "  recover list --pending\n  recover list --mine",
		Args:    cli.Args(),
	}
	var pending, mine, asJSON bool
	f := cli.Of(cmd)
	f.Bool(&pending, "pending", "only those that wait for a decision or a review")
	f.Bool(&mine, "mine", "only my own")
	f.Bool(&asJSON, "json", "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, done, err := p.client(cmd.Context(), withoutKEK)
		if err != nil {
			return err
		}
		defer done()
		if err := c.ExpireOverdue(cmd.Context()); err != nil {
			slog.Warn("requests past their time are not marked as expired; they are refused anyway", "error", err)
		}
		list, err := c.List(cmd.Context(), pending, mine || cmd.CalledAs() == "mine")
		if err != nil {
			return err
		}
		if asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), list)
		}
		return printList(cmd.OutOrStdout(), list)
	}
	return cmd
}

func printList(w io.Writer, list []recovery.Summary) error {
	if len(list) == 0 {
		cli.Printf(w, "no requests\n")
		return nil
	}
	t := cli.NewTable("ID", "STATE", "REQUESTER", "PURPOSE", "TICKET", "DATASET", "FIELDS", "LIMIT", "ROWS",
		"EXPIRES (UTC)")
	for _, r := range list {
		var rows, limit any = "-", r.Limit
		if r.Rows != nil {
			rows = *r.Rows
		}
		state, of := r.State, "every"
		if r.Dataset != nil {
			of = *r.Dataset
		}
		switch {
		case r.Purpose == recovery.PurposeForget:
			state, limit = state+" (DESTROYS)", "-"
		case r.BreakGlass && r.ReviewedBy == nil:
			state += " (break-glass, not reviewed)"
		}
		t.Row(r.ID, state, r.Requester, r.Purpose, r.Ticket, of, []string(r.Fields), limit, rows,
			cli.Minute(r.ExpiresAt))
	}
	return t.Print(w)
}
