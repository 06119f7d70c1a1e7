package keyscmd

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys/kek"
)

func newKEKCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "kek", Short: "Key-encryption keys in files"}
	cmd.AddCommand(&cobra.Command{
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
	})
	return cmd
}
