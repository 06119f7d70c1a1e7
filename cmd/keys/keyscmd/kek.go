package keyscmd

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

func newKEKCommand(vault *cli.VaultFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "kek", Short: "Key-encryption keys: make a file, say which ones the vault takes keys under"}
	cmd.AddCommand(newKEKGenerateCommand(), newKEKAddCommand(vault), newKEKCloseCommand(vault), newKEKListCommand(vault))
	return cmd
}

func newKEKGenerateCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "generate FILE",
		Short:   "Make a key file (32 random bytes in base64, mode 0600); refuses to overwrite",
		Example: "  keys kek generate /etc/cloakroom/kek",
		Args:    cli.Args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return fmt.Errorf("finding %s: %w", args[0], err)
			}
			if err := kek.GenerateFile(path); err != nil {
				return err
			}
			cli.Note(cmd, "made %s: keep a copy where the database's backups are not; without it nothing opens again", path)
			cli.Printf(cmd.OutOrStdout(), "file://%s\n", path)
			return nil
		},
	}
}

// asOwner runs f with the login of keys init.
func asOwner(ctx context.Context, vault *cli.VaultFlags, noKEK bool, f func(*keys.Vault, keys.Settings) error) error {
	v, closeVault, err := vault.Open(ctx, cli.VaultConfig{Program: "keys", Role: pg.Owner, NoKEK: noKEK})
	if err != nil {
		return err
	}
	defer closeVault()
	s, err := v.Settings(ctx)
	if err != nil {
		return err
	}
	return f(v, s)
}

func newKEKAddCommand(vault *cli.VaultFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "add URI",
		Short: "Let the vault take keys under a KEK; takes the login of keys init",
		Long: `Let the vault take keys under a KEK. The URI must be among those of --kek. KMS is asked which key it
names now, and the vault keeps that key's ARN: a key under another is not taken, and no row of the
vault leads a program to it.

An alias that was moved to another key counts as another KEK: add it again, then keys rewrap. keys init
adds the first.`,
		Example: "  keys kek add awskms:///alias/new --kek awskms:///alias/new",
		Args:    cli.Args("URI"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return asOwner(cmd.Context(), vault, false, func(v *keys.Vault, s keys.Settings) error {
				id, added, err := v.AddKEK(cmd.Context(), s, args[0])
				if err != nil {
					return err
				}
				if !added {
					cli.Note(cmd, "the vault takes keys under it already")
				}
				cli.Printf(cmd.OutOrStdout(), "%s is %s\n", args[0], id)
				return nil
			})
		},
	}
}

func newKEKCloseCommand(vault *cli.VaultFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "close URI|ARN",
		Short: "Take no more keys under a KEK; takes the login of keys init",
		Long: `Take no more keys under a KEK. Keys under it still unwrap: keys rewrap moves them, keys kek list counts
them, and as long as backups hold some, keep the KEK enabled.`,
		Example: "  keys kek close awskms:///alias/old",
		Args:    cli.Args("URI|ARN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return asOwner(cmd.Context(), vault, true, func(v *keys.Vault, _ keys.Settings) error {
				if err := v.CloseKEK(cmd.Context(), args[0]); err != nil {
					return err
				}
				cli.Printf(cmd.OutOrStdout(), "the vault takes no more keys under %s\n", args[0])
				return nil
			})
		},
	}
}

// kekUse is a KEK and how many keys are under it.
type kekUse struct {
	keys.KEKInfo
	DataKeys  int `json:"data_keys"`
	IndexKeys int `json:"index_keys"`
}

// usesOf counts the keys that are not shredded under each KEK that the vault knows.
func usesOf(keks []keys.KEKInfo, l keyLists) []kekUse {
	uses := make([]kekUse, len(keks))
	for i, k := range keks {
		uses[i].KEKInfo = k
		for _, d := range l.DataKeys {
			if d.KEKID == k.ID && d.State != "shredded" {
				uses[i].DataKeys++
			}
		}
		for _, x := range l.IndexKeys {
			if x.KEKID == k.ID && x.State != "shredded" {
				uses[i].IndexKeys++
			}
		}
	}
	return uses
}

func newKEKListCommand(vault *cli.VaultFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the KEKs that the vault knows, which key each URI was, and how many keys are under it",
		Example: "  keys kek list",
		Args:    cli.Args(),
	}
	cli.Of(cmd).Bool(&asJSON, "json", "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := readLists(cmd.Context(), vault)
		if err != nil {
			return err
		}
		uses := usesOf(l.KEKs, l)
		if asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), uses)
		}
		for _, u := range uses {
			state := "takes keys since " + cli.Time(u.AddedAt)
			if u.ClosedAt != nil {
				state = "closed " + cli.Time(*u.ClosedAt)
			}
			cli.Printf(cmd.OutOrStdout(), "%s\n  is %s\n  %s; %s, %s\n", u.KEK, u.ID, state,
				cli.Count(u.DataKeys, "data key"), cli.Count(u.IndexKeys, "index key"))
		}
		return nil
	}
	return cmd
}
