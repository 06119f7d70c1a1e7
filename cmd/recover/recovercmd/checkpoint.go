package recovercmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/recover/auditlog"
)

func newLogCheckpoint() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "checkpoint --signer-key FILE --sink DIRECTORY",
		Short: "Sign the log as it stands and keep the checkpoint where the log's keepers cannot reach it",
		Long: `Sign the log as it stands and keep the checkpoint where the log's keepers cannot reach it.

The witness first proves that the log continues the newest checkpoint at the sink, and signs nothing else. Its login needs
the role witness, which opens nothing. With --every it goes on until it is stopped.`,
		Args: cobra.NoArgs,
		RunE: runCheckpoint,
	}
	f := cmd.Flags()
	f.String("signer-key", "", "secret key file, from recover log keygen")
	f.String("public-key", "", "public key file (default: the signer key's name with .pub)")
	f.String("sink", "", "directory that keeps checkpoints")
	f.Duration("every", 0, "keep signing at this interval, where there is something new")
	return cmd
}

func runCheckpoint(cmd *cobra.Command, _ []string) error {
	keyFile, publicFile, sink := cli.Value(cmd, "signer-key"), cli.Value(cmd, "public-key"), cli.Value(cmd, "sink")
	if keyFile == "" || sink == "" {
		return errors.New("--signer-key and --sink are needed")
	}
	if publicFile == "" {
		publicFile = keyFile + ".pub"
	}
	signer, err := auditlog.ReadSigner(keyFile)
	if err != nil {
		return err
	}
	key, err := auditlog.ReadVerifier(publicFile)
	if err != nil {
		return err
	}
	if name, err := origin(cmd); err != nil {
		return err
	} else if name != signer.Name() {
		return fmt.Errorf("the key is of the log %s, the database holds %s", signer.Name(), name)
	}
	log, done, err := openLog(cmd)
	if err != nil {
		return err
	}
	defer done()
	w := auditlog.Witness{Log: log, Signer: signer, Key: key, Sink: auditlog.Sink(sink)}
	every, _ := cmd.Flags().GetDuration("every")
	if every > 0 {
		return witness(cmd.Context(), w, every)
	}
	c, made, err := w.Checkpoint(cmd.Context())
	if err != nil {
		return err
	}
	if !made {
		fmt.Fprintln(cmd.ErrOrStderr(), "nothing new to sign")
	}
	_, err = cmd.OutOrStdout().Write(c.Note)
	return err
}

// witness signs at intervals. A log that is not the one signed before ends it: everything else it tries again.
func witness(ctx context.Context, w auditlog.Witness, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		c, made, err := w.Checkpoint(ctx)
		switch {
		case errors.Is(err, auditlog.ErrInvalid):
			return err
		case ctx.Err() != nil:
			return nil
		case err != nil:
			slog.Error("no checkpoint", "error", err)
		case made:
			slog.Info("checkpoint", "leaves", c.Size)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
