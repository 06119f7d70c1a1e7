package recovercmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/recover/auditlog"
)

// checkpointFlags are the flags of recover log checkpoint.
type checkpointFlags struct {
	signerKey, publicKey, sink string
	every                      time.Duration
}

func (p *program) newLogCheckpoint() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "checkpoint --signer-key FILE --sink DIRECTORY",
		Short: "Sign the log as it stands, and keep the checkpoint out of reach of the log's keepers",
		Long: `Sign the log as it stands, and keep the checkpoint out of reach of the log's keepers.

The witness first proves that the log continues the newest checkpoint at the sink; otherwise it signs
nothing. Its login needs the role witness, which opens nothing. With --every it goes on until it is
stopped.`,
		Example: "  recover log checkpoint --signer-key signer --sink /mnt/checkpoints --every 10s",
		Args:    cli.Args(),
	}
	var o checkpointFlags
	f := cli.Of(cmd)
	f.String(&o.signerKey, "signer-key", "", "secret key file, from recover log keygen")
	f.String(&o.publicKey, "public-key", "", "public key file (default: the signer key's name with .pub)")
	f.String(&o.sink, "sink", "", "directory that keeps checkpoints")
	f.Duration(&o.every, "every", 0, cli.Between(time.Second, 24*time.Hour).OrZero("sign once"),
		"keep signing at this interval, if there is something new")
	f.Require("signer-key", "sink")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return p.runCheckpoint(cmd, o) }
	return cmd
}

func (p *program) runCheckpoint(cmd *cobra.Command, o checkpointFlags) error {
	signer, err := auditlog.ReadSigner(o.signerKey)
	if err != nil {
		return err
	}
	key, err := auditlog.ReadVerifier(cmp.Or(o.publicKey, o.signerKey+".pub"))
	if err != nil {
		return err
	}
	log, origin, done, err := p.openLog(cmd.Context())
	if err != nil {
		return err
	}
	defer done()
	if origin != signer.Name() {
		return fmt.Errorf("the key signs the log %s, but the database holds %s", signer.Name(), origin)
	}
	w := auditlog.Witness{Log: log, Signer: signer, Key: key, Sink: auditlog.Sink(o.sink)}
	if o.every > 0 {
		return signAtIntervals(cmd.Context(), w, o.every)
	}
	c, made, err := w.Checkpoint(cmd.Context())
	if err != nil {
		return err
	}
	if !made {
		cli.Note(cmd, "nothing new to sign")
	}
	_, err = cmd.OutOrStdout().Write(c.Note)
	return err
}

// signAtIntervals ends if the log is not the one that was signed before. After any other error it
// tries again.
func signAtIntervals(ctx context.Context, w auditlog.Witness, every time.Duration) error {
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
