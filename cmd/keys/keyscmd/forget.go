package keyscmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

// forgetFlags are what keys forget is told.
type forgetFlags struct {
	user, ticket, reason, replay, bundle string
	request                              uuid.UUID
	destroy                              bool
}

func newForgetCommand(vault *cli.VaultFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "forget (--user ID --ticket T --reason R | --request UUID --yes-destroy | --replay FILE)",
		Short: "Clear one person's sealed values and tokens, with two approvals",
		Long: `Clear the sealed values and the tokens of one person, in rows and rejections.

  keys forget --user ID --ticket T --reason R       asks for it and prints the request's id
  recover approve REQUEST                           by two people other than the requester
  keys forget --request REQUEST --yes-destroy       does it, and appends a certificate to --bundle
  keys forget --replay FILE                         does it again after a backup was restored

The row stays, with its clear columns and the person's id. A rejection whose person could not be
read is not found: it goes when the policy's retention of rejections is over.`,
		Example: `  keys forget --user u-42 --ticket GDPR-17 --reason 'letter of 3 May'
  keys forget --request 0198c2f0-5f0e-7000-8000-000000000000 --dry-run`,
		Args: cli.Args(),
	}
	var g forgetFlags
	j := declarePass(cmd, vault)
	f := cli.Of(cmd)
	f.String(&g.user, "user", "", "the person's id")
	f.String(&g.ticket, "ticket", "", "the ticket that asks for it")
	f.String(&g.reason, "reason", "", "why, for those who approve")
	f.UUID(&g.request, "request", "an approved request")
	f.String(&g.replay, "replay", "", "a bundle of certificates, kept outside the database")
	f.String(&g.bundle, "bundle", "", "file to which the certificate is appended (default: it is printed)")
	f.Bool(&g.destroy, "yes-destroy", "really destroy; without it, say what would be cleared")
	f.ExactlyOne("user", "request", "replay")
	f.Needs("ticket", "user")
	f.Needs("reason", "user")
	f.Needs("bundle", "request")
	f.Needs("yes-destroy", "request")
	f.Excludes("dry-run", "yes-destroy")
	for _, name := range jobFlagNames {
		f.Needs(name, "request", "replay") // to ask runs no job
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case g.user != "":
			return requestForget(cmd, vault, g)
		case g.replay != "":
			return replayForget(cmd, j, g.replay)
		}
		return forget(cmd, j, g)
	}
	return cmd
}

func requestForget(cmd *cobra.Command, vault *cli.VaultFlags, g forgetFlags) error {
	if g.ticket == "" || g.reason == "" {
		return cli.Usage(cmd, errors.New("--user also needs --ticket and --reason"))
	}
	v, closeVault, err := vault.Open(cmd.Context(), cli.VaultConfig{Program: "keys", NoKEK: true})
	if err != nil {
		return err
	}
	defer closeVault()
	id, err := rotation.RequestForget(cmd.Context(), v, g.user, g.ticket, g.reason)
	if err != nil {
		return err
	}
	cli.Note(cmd, "two people other than you approve it: recover approve %s", id)
	cli.Printf(cmd.OutOrStdout(), "%s\n", id)
	return nil
}

func forget(cmd *cobra.Command, j *jobFlags, g forgetFlags) error {
	return j.run(cmd, func(ctx context.Context, v *keys.Vault, o rotation.Options) (rotation.Report, error) {
		plan, err := rotation.PlanForget(ctx, v, g.request)
		if err != nil {
			return rotation.Report{}, err
		}
		cli.Note(cmd, "the request is %s, with %d of 2 approvals: %s and %s become unreadable for good",
			plan.State, plan.Approvals, cli.Count(plan.Rows, "row"), cli.Count(plan.Rejections, "rejection"))
		would := rotation.Report{DryRun: true, Cleared: plan.Rows, ClearedRejections: plan.Rejections}
		if o.DryRun {
			return would, nil
		}
		if !g.destroy {
			return would, errors.New("nothing was destroyed: say --yes-destroy to do it")
		}
		certificate, report, err := rotation.Forget(ctx, v, g.request, o)
		if err != nil {
			return report, err
		}
		return report, keepCertificate(cmd, certificate, g.bundle)
	})
}

// keepCertificate appends the certificate to the bundle, on disk before it returns, or prints it.
func keepCertificate(cmd *cobra.Command, c rotation.Certificate, bundle string) error {
	if bundle == "" {
		cli.Note(cmd, "keep this certificate outside the database, for keys forget --replay:")
		return cli.PrintJSONLine(cmd.ErrOrStderr(), c)
	}
	line, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("keeping the certificate: %w", err)
	}
	f, err := os.OpenFile(bundle, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return notKept(err)
	}
	_, err = f.Write(append(line, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return notKept(err)
	}
	return nil
}

// notKept says what to do: the certificate is the same at each run.
func notKept(err error) error {
	return fmt.Errorf("keeping the certificate: %w; the person is forgotten: run this again with another --bundle",
		err)
}

func replayForget(cmd *cobra.Command, j *jobFlags, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening the bundle: %w", err)
	}
	defer f.Close()
	return j.run(cmd, func(ctx context.Context, v *keys.Vault, o rotation.Options) (rotation.Report, error) {
		return rotation.ReplayForget(ctx, v, f, o)
	})
}
