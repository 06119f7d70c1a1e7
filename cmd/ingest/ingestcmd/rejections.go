package ingestcmd

import (
	"encoding/json"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
)

func newRejectionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rejections",
		Short: "Count rejections by reason and list the newest ids; never their content",
		Long: `Count rejections by reason and list the newest ids, never their content. docs/rejections.md says what each reason
means. What they hold is opened by an auditor: recover request --rejections REASON.`,
		Args: cobra.NoArgs,
	}
	reason := cmd.Flags().String("reason", "", "list only this reason's ids")
	limit := cmd.Flags().Int("limit", 20, "ids at the most")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		url, err := cli.DatabaseURL(cmd)
		if err != nil {
			return err
		}
		db, err := pg.Open(pg.Config{URL: url, ApplicationName: "cloakroom ingest"})
		if err != nil {
			return err
		}
		defer db.Close()
		v := &keys.Vault{DB: db}
		counts, err := v.RejectionCounts(cmd.Context())
		if err != nil {
			return err
		}
		list, err := v.Rejections(cmd.Context(), *reason, *limit)
		if err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
				Counts     []keys.RejectionCount `json:"counts"`
				Rejections []keys.RejectionInfo  `json:"rejections"`
			}{counts, list})
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "REASON\tREJECTIONS\tFIRST\tLAST")
		for _, c := range counts {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", c.Reason, c.Rejections, c.FirstAt.UTC().Format(time.RFC3339), c.LastAt.UTC().Format(time.RFC3339))
		}
		fmt.Fprintln(w, "\nMESSAGE\tREASON\tSENT\tDELIVERIES\tREJECTED")
		for _, r := range list {
			sent, deliveries := "-", "-"
			if r.CreateDate != nil {
				sent = r.CreateDate.Format(time.DateOnly)
			}
			if r.ReceiveCount != nil {
				deliveries = strconv.Itoa(*r.ReceiveCount)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.MessageID, r.Reason, sent, deliveries, r.RejectedAt.UTC().Format(time.RFC3339))
		}
		return w.Flush()
	}
	return cmd
}
