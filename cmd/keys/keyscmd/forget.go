package keyscmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

func newForgetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "forget (--user ID --ticket T --reason R | --request UUID --yes-destroy | --replay FILE)",
		Short: "Clear one person's sealed values and tokens, with two approvals",
		Long: `Clear the sealed values and the tokens of one person, in rows and rejections.

  keys forget --user ID --ticket T --reason R       asks for it and prints the request's id
  recover approve REQUEST                           two people other than the asker
  keys forget --request REQUEST --yes-destroy       does it, and appends a certificate to --bundle
  keys forget --replay FILE                         does it again after a backup was restored

The row stays, with its clear columns and the person's id. A rejection whose person could not be read is not found: it goes
when the policy's time for rejections is over.`,
		Args: cobra.NoArgs,
	}
	flags := addJobFlags(cmd)
	f := cmd.Flags()
	user := f.String("user", "", "the person's id")
	ticket := f.String("ticket", "", "the ticket that asks for it")
	reason := f.String("reason", "", "why, for those who approve")
	request := f.String("request", "", "an approved request")
	replay := f.String("replay", "", "a bundle of certificates, kept outside the database")
	bundle := f.String("bundle", "", "file to which the certificate is appended; empty: it is printed")
	destroy := f.Bool("yes-destroy", false, "really do it; without, say what would be cleared")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		given := 0
		for _, text := range []string{*user, *request, *replay} {
			if text != "" {
				given++
			}
		}
		if given != 1 {
			return errors.New("say one of --user, --request and --replay")
		}
		switch {
		case *user != "" && *flags.dryRun:
			return errors.New("--user only asks: --dry-run goes with --request and --replay")
		case *user != "":
			return requestForget(cmd, *user, *ticket, *reason)
		case *replay != "":
			return replayForget(cmd, flags, *replay)
		}
		id, err := uuid.Parse(*request)
		if err != nil {
			return errors.New("--request takes the id that keys forget --user printed")
		}
		return forget(cmd, flags, id, *bundle, *destroy)
	}
	return cmd
}

func requestForget(cmd *cobra.Command, user, ticket, reason string) error {
	v, closeVault, err := openVault(cmd)
	if err != nil {
		return err
	}
	defer closeVault()
	id, err := rotation.RequestForget(cmd.Context(), v, user, ticket, reason)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "two people other than you approve it: recover approve %s\n", id)
	_, err = fmt.Fprintln(cmd.OutOrStdout(), id)
	return err
}

func forget(cmd *cobra.Command, flags *jobFlags, request uuid.UUID, bundle string, destroy bool) error {
	return runJob(cmd, flags, nil, func(ctx context.Context, v *keys.Vault, o rotation.Options) (rotation.Report, error) {
		plan, err := rotation.PlanForget(ctx, v, request)
		if err != nil {
			return rotation.Report{}, err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "the request is %s, with %d of 2 approvals: %d rows and %d rejections become unreadable for ever\n",
			plan.State, plan.Approvals, plan.Rows, plan.Rejections)
		would := rotation.Report{DryRun: true, Cleared: plan.Rows, ClearedRejections: plan.Rejections}
		if o.DryRun {
			return would, nil
		}
		if !destroy {
			return would, errors.New("nothing was destroyed: say --yes-destroy to do it")
		}
		certificate, report, err := rotation.Forget(ctx, v, dataset.Login(), request, o)
		if err != nil {
			return report, err
		}
		return report, keepCertificate(cmd, certificate, bundle)
	})
}

// keepCertificate appends the certificate to the bundle, on disk before it returns, or prints it.
func keepCertificate(cmd *cobra.Command, c rotation.Certificate, bundle string) error {
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if bundle == "" {
		fmt.Fprint(cmd.ErrOrStderr(), "keep this certificate outside the database, for keys forget --replay:\n")
		_, err := cmd.ErrOrStderr().Write(line)
		return err
	}
	f, err := os.OpenFile(bundle, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("keeping the certificate: %w; it was forgotten all the same: run this again with another --bundle", err)
	}
	defer f.Close()
	if _, err := f.Write(line); err != nil {
		return fmt.Errorf("keeping the certificate: %w", err)
	}
	return f.Sync()
}

func replayForget(cmd *cobra.Command, flags *jobFlags, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening the bundle: %w", err)
	}
	defer f.Close()
	return runJob(cmd, flags, nil, func(ctx context.Context, v *keys.Vault, o rotation.Options) (rotation.Report, error) {
		return rotation.ReplayForget(ctx, v, dataset.Login(), f, o)
	})
}
