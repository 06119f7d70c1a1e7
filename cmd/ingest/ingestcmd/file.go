package ingestcmd

import (
	"github.com/spf13/cobra"

	"cloakroom/etl"
	"cloakroom/etl/source"
)

// ingestFile reads a file, once.
func ingestFile(cmd *cobra.Command, f *ingestFlags) error {
	w, _, closeVault, err := openWriter(cmd, f)
	if err != nil {
		return err
	}
	defer closeVault()
	file, closeFile, err := source.OpenFile(cmd.Context(), w, source.FileOptions{
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
		s, err := etl.DryRun(cmd.Context(), w, file)
		return finish(cmd, f, s, err)
	}
	s, err := etl.Run(cmd.Context(), w, file, o)
	return finish(cmd, f, s, err)
}
