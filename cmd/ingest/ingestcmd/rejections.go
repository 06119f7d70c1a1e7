package ingestcmd

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/etl"
	"cloakroom/internal/cli"
	"cloakroom/keys"
)

// rejectionLists are the rejections of a vault, without their content.
type rejectionLists struct {
	Counts     []keys.RejectionCount `json:"counts"`
	Rejections []keys.RejectionInfo  `json:"rejections"`
}

func newRejectionsCommand(s *settings) *cobra.Command {
	var reason string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rejections",
		Short: "Count rejections by reason and list the newest ids; never their content",
		Long: `Count rejections by dataset, reason and the member at fault, and list the newest ids, never their content.
docs/rejections.md says what each reason means. What they hold is opened by an auditor: recover request
--rejections REASON.`,
		Example: `  ingest rejections
  ingest rejections --reason bad_ip --limit 100`,
		Args: cli.Args(),
	}
	f := cli.Of(cmd)
	f.OneOf(&reason, "reason", "", reasons(), "list the ids of this reason only")
	f.Int(&limit, "limit", 20, cli.Between(1, 10_000), "most ids to list")
	f.Bool(&asJSON, "json", "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v, closeVault, err := s.Open(cmd.Context(), cli.VaultConfig{Program: "ingest", NoKEK: true})
		if err != nil {
			return err
		}
		defer closeVault()
		var l rejectionLists
		if l.Counts, err = v.RejectionCounts(cmd.Context(), s.dataset); err != nil {
			return err
		}
		if l.Rejections, err = v.Rejections(cmd.Context(), s.dataset, reason, limit); err != nil {
			return err
		}
		if asJSON {
			return cli.PrintJSONLine(cmd.OutOrStdout(), l)
		}
		return l.print(cmd.OutOrStdout())
	}
	return cmd
}

func reasons() []string {
	var out []string
	for _, r := range etl.Reasons() {
		out = append(out, string(r))
	}
	return out
}

func (l *rejectionLists) print(w io.Writer) error {
	counts := cli.NewTable("DATASET", "REASON", "MEMBER", "REJECTIONS", "FIRST (UTC)", "LAST (UTC)")
	for _, c := range l.Counts {
		counts.Row(c.Dataset, c.Reason, orDash(c.Member), c.Rejections, cli.Minute(c.FirstAt), cli.Minute(c.LastAt))
	}
	if err := counts.Print(w); err != nil {
		return err
	}
	cli.Printf(w, "\n")
	list := cli.NewTable("MESSAGE", "DATASET", "REASON", "MEMBER", "SENT", "DELIVERIES", "REJECTED (UTC)")
	for _, r := range l.Rejections {
		// A date or a count that is no date or no count was not stored.
		var sent, deliveries any = "-", "-"
		if r.CreateDate != nil {
			sent = r.CreateDate.Format(time.DateOnly)
		}
		if r.ReceiveCount != nil {
			deliveries = *r.ReceiveCount
		}
		list.Row(r.MessageID, r.Dataset, r.Reason, orDash(r.Member), sent, deliveries, cli.Minute(r.RejectedAt))
	}
	return list.Print(w)
}

// orDash shows a member, or that the event as a whole is at fault.
func orDash(member *string) string {
	if member == nil {
		return "-"
	}
	return *member
}
