package keyscmd

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"cloakroom/keys/kek"
)

func newKEKCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "kek", Short: "Key-encryption keys in files"}
	cmd.AddCommand(&cobra.Command{
		Use:   "generate FILE",
		Short: "Make a key file (32 random bytes in base64, mode 0600); refuses to overwrite",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			if err := kek.GenerateFile(path); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "made %s: keep a copy where the database's backups are not; without it nothing opens again\n", path)
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "file://%s\n", path)
			return err
		},
	})
	return cmd
}
