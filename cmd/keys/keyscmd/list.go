package keyscmd

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
)

// keyLists are the keys of a vault.
type keyLists struct {
	DataKeys  []keys.DataKeyInfo  `json:"data_keys"`
	IndexKeys []keys.IndexKeyInfo `json:"index_keys"`
	KEKs      []keys.KEKInfo      `json:"keks"`
}

func newListCommand(vault *cli.VaultFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List every key: state, month, age and KEK; never a key",
		Example: "  keys list\n  keys list --json",
		Args:    cli.Args(),
	}
	cli.Of(cmd).Bool(&asJSON, "json", "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := readLists(cmd.Context(), vault)
		if err != nil {
			return err
		}
		if asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), l)
		}
		return printLists(cmd.OutOrStdout(), l)
	}
	return cmd
}

func readLists(ctx context.Context, vault *cli.VaultFlags) (l keyLists, err error) {
	v, closeVault, err := vault.Open(ctx, cli.VaultConfig{Program: "keys", NoKEK: true})
	if err != nil {
		return l, err
	}
	defer closeVault()
	if l.DataKeys, err = v.DataKeys(ctx); err != nil {
		return l, err
	}
	if l.IndexKeys, err = v.IndexKeyList(ctx); err != nil {
		return l, err
	}
	l.KEKs, err = v.KEKs(ctx)
	return l, err
}

// printLists prints a key a line. KEKs have long names, so they are numbered below: a line fits 80
// columns. They are told apart by their ids: one alias may have named two KMS keys.
func printLists(w io.Writer, l keyLists) error {
	var keks [][2]string
	number := func(kek, id string) int {
		for i, known := range keks {
			if known[1] == id {
				return i + 1
			}
		}
		keks = append(keks, [2]string{kek, id})
		return len(keks)
	}
	t := cli.NewTable("KEY", "STATE", "MONTH", "MADE (UTC)", "KEK", "BY")
	for _, k := range l.IndexKeys {
		t.Row(fmt.Sprintf("index v%d", k.Version), k.State, "", cli.Minute(k.CreatedAt), number(k.KEK, k.KEKID), k.CreatedBy)
	}
	for _, k := range l.DataKeys {
		t.Row(fmt.Sprintf("data %d", k.ID), k.State, k.Month.Format("2006-01"), cli.Minute(k.CreatedAt),
			number(k.KEK, k.KEKID), k.CreatedBy)
	}
	if err := t.Print(w); err != nil {
		return err
	}
	for i, kek := range keks {
		cli.Printf(w, "KEK %d: %s (%s)\n", i+1, kek[0], kek[1])
	}
	return nil
}
