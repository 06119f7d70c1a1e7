package keyscmd

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
)

func newListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List every key: state, age, month, KEK; never a key", Args: cobra.NoArgs}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v, closeVault, err := openVault(cmd)
		if err != nil {
			return err
		}
		defer closeVault()
		data, err := v.DataKeys(cmd.Context())
		if err != nil {
			return err
		}
		index, err := v.IndexKeyList(cmd.Context())
		if err != nil {
			return err
		}
		if *asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), struct {
				DataKeys  []keys.DataKeyInfo  `json:"data_keys"`
				IndexKeys []keys.IndexKeyInfo `json:"index_keys"`
			}{data, index})
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "KEY\tSTATE\tMONTH\tMADE\tBY\tKEK")
		for _, k := range index {
			fmt.Fprintf(w, "index v%d\t%s\t\t%s\t%s\t%s\n", k.Version, k.State, k.CreatedAt.UTC().Format(time.RFC3339), k.CreatedBy, k.KEK)
		}
		for _, k := range data {
			fmt.Fprintf(w, "data %d\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.State, k.Month.Format("2006-01"), k.CreatedAt.UTC().Format(time.RFC3339), k.CreatedBy, k.KEK)
		}
		return w.Flush()
	}
	return cmd
}
