package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"cloakroom/internal/sandbox"
)

// serve starts the sandbox, sends events if there are any, prints how to reach it and stays until it is stopped.
func serve(cmd *cobra.Command, keep string, events []event) error {
	s, err := startSandbox(cmd.Context(), keep, nil)
	if err != nil {
		return err
	}
	defer s.Stop()
	w := &world{Sandbox: s}
	if len(events) > 0 {
		if _, err := w.send(cmd.Context(), events); err != nil {
			return err
		}
	}
	exports := append(s.Environment(sandbox.Admin),
		sandbox.Var{Name: "AWS_DEFAULT_REGION", Value: "us-east-1"}, // the AWS CLI does not read AWS_REGION
		sandbox.Var{Name: "DATABASE_URL", Value: s.URL("")},
		sandbox.Var{Name: "CLOAKROOM_QUEUE_URL", Value: s.QueueURL},
		sandbox.Var{Name: "CLOAKROOM_KEK", Value: kekURI},
	)
	for _, v := range exports {
		fmt.Fprintf(cmd.OutOrStdout(), "export %s=%s\n", v.Name, shellQuote(v.Value))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), `serving until interrupted; messages on the queue: %d.
In another shell, with the lines above, and bin/ of make build in the PATH:
  keys init && ingest --once && keys verify --all
and, with events put into the bucket:
  aws s3 cp FILE s3://%s/ && ingest --from s3://%[2]s/
recover takes logins of its own: CREATE ROLE … LOGIN, then keys grant (README.md).
KMS access keys: admin may do all; init, ingest, auditor, rotator may do what the role may (the same secret).
`, s.SQS.Counts(sandbox.Queue).Total(), sandbox.Bucket)
	<-cmd.Context().Done()
	return nil
}

// shellQuote quotes a value that a shell would take apart. (A "?" is safe: words after export are not expanded to
// files.)
func shellQuote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_?-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
