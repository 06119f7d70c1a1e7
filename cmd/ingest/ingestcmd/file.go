package ingestcmd

import (
	"github.com/spf13/cobra"

	"cloakroom/etl"
)

// ingestFile reads a file, once.
func ingestFile(cmd *cobra.Command, f *ingestFlags) error {
	w, _, closeVault, err := openWriter(cmd, f)
	if err != nil {
		return err
	}
	defer closeVault()
	source, closeFile, err := etl.OpenFile(cmd.Context(), w, etl.FileOptions{
		Path: f.from, Name: f.source, Date: f.date, Stdin: cmd.InOrStdin(), DryRun: f.dryRun,
	})
	if err != nil {
		return err
	}
	defer closeFile()
	o := f.options()
	o.Receivers = 1
	defer showProgress(cmd, &o, func() int { return 0 })()
	if f.dryRun {
		s, err := etl.DryRun(cmd.Context(), w, source)
		return finish(cmd, f, s, err)
	}
	s, err := etl.Run(cmd.Context(), w, source, o)
	return finish(cmd, f, s, err)
}
