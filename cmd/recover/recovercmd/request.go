package recovercmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"cloakroom/crypto/blindindex"
	"cloakroom/dataset"
	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

func newRequest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "request",
		Short: "Ask for values to be opened; prints the request's id",
		Example: `  recover request --purpose fraud --ticket T-17 --reason 'takeover of an account' --user u-42 --fields FIELD
  recover request --purpose security --ticket T-18 --reason-file why.txt --value FIELD --fields FIELD,… < value.txt`,
		Args: cobra.NoArgs,
		RunE: runRequest,
	}
	f := cmd.Flags()
	f.String("purpose", "", "one of the policy's purposes: security, fraud, legal, dsar, support, unless it says otherwise")
	f.String("ticket", "", "where the case is kept")
	f.String("reason", "", "why, in words; never a protected value")
	f.String("reason-file", "", "file with the reason")
	f.String("user", "", "logins of this "+dataset.Login().Subject)
	f.String("token", "", "logins with this token, as analysts see it")
	f.String("message", "", "the login or rejection of this message id")
	f.String("value", "", "logins with a value of this field; the value comes on standard input, never on the command line")
	f.String("rejections", "", "rejected events with this reason code")
	f.String("fields", "", "fields to open, with commas; body is a rejected event as it came (default for --purpose dsar: all)")
	f.String("from", "", "first date, YYYY-MM-DD")
	f.String("to", "", "last date, YYYY-MM-DD")
	f.Int("limit", 0, "rows at the most (default: the policy's)")
	f.Duration("lifetime", 0, "how long the request may be approved and opened (default: the policy's)")
	f.Bool("break-glass", false, "emergency: no approval, few rows, flagged until reviewed; needs the role breakglass")
	return cmd
}

func runRequest(cmd *cobra.Command, _ []string) error {
	a, err := paramsFromFlags(cmd)
	if err != nil {
		return err
	}
	field := cli.Value(cmd, "value")
	c, done, err := newClient(cmd, field != "")
	if err != nil {
		return err
	}
	defer done()
	if field != "" {
		value, err := readValue(cmd, field)
		if err != nil {
			return err
		}
		a.Field = field
		if a.Tokens, err = c.TokensOf(cmd.Context(), field, value); err != nil {
			return err
		}
	}
	id, err := c.Request(cmd.Context(), a)
	if err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), id)
	notify(cmd, notice{Event: "requested", Request: id, Purpose: a.Purpose, Ticket: a.Ticket, Fields: a.Fields, BreakGlass: a.BreakGlass})
	return nil
}

func paramsFromFlags(cmd *cobra.Command) (recovery.RequestParams, error) {
	value := func(flag string) string { return cli.Value(cmd, flag) }
	a := recovery.RequestParams{
		Purpose: value("purpose"), Ticket: value("ticket"), Reason: value("reason"), Fields: fieldList(value("fields")),
		User: value("user"), Rejection: value("rejections"),
	}
	a.Limit, _ = cmd.Flags().GetInt("limit")
	a.Lifetime, _ = cmd.Flags().GetDuration("lifetime")
	a.BreakGlass, _ = cmd.Flags().GetBool("break-glass")
	if token := value("token"); token != "" {
		if !blindindex.ValidToken(token) {
			return a, errors.New("reading --token: a token has 22 characters, as the analysts' view shows them")
		}
		a.Tokens = []string{token}
	}
	var err error
	if text := value("message"); text != "" {
		if a.Message, err = uuid.Parse(text); err != nil {
			return a, errors.New("reading --message: want a UUID")
		}
	}
	if a.From, err = parseDate("from", value("from")); err != nil {
		return a, err
	}
	if a.To, err = parseDate("to", value("to")); err != nil {
		return a, err
	}
	if path := value("reason-file"); path != "" {
		if a.Reason != "" {
			return a, errors.New("--reason and --reason-file are both given: keep one")
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return a, fmt.Errorf("reading --reason-file: %w", err)
		}
		a.Reason = strings.TrimSpace(string(text))
	}
	return a, checkParams(cmd, a)
}

func checkParams(cmd *cobra.Command, a recovery.RequestParams) error {
	for _, flag := range []string{"purpose", "ticket"} {
		if cli.Value(cmd, flag) == "" {
			return fmt.Errorf("--%s is needed", flag)
		}
	}
	if a.Reason == "" {
		return errors.New("a reason is needed: --reason or --reason-file")
	}
	selectors := 0
	for _, flag := range []string{"user", "token", "message", "value", "rejections"} {
		if cli.Value(cmd, flag) != "" {
			selectors++
		}
	}
	if selectors != 1 {
		return errors.New("say whose or which: one of --user, --token, --message, --value, --rejections")
	}
	if len(a.Fields) == 0 && a.Purpose != recovery.PurposeSubjectAccess && a.Rejection == "" {
		return errors.New("--fields is needed: which fields to open")
	}
	return nil
}

// maxValue bounds a protected value on standard input, in bytes.
const maxValue = 64 << 10

// readValue reads a protected value, without echo from a terminal.
func readValue(cmd *cobra.Command, field string) (string, error) {
	if in, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s (not shown): ", field)
		text, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		if err != nil {
			return "", fmt.Errorf("reading the value of %s: %w", field, err)
		}
		return string(text), nil
	}
	text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxValue+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the value of %s: %w", field, err)
	case len(text) > maxValue:
		return "", fmt.Errorf("reading the value of %s: it is longer than %d bytes", field, maxValue)
	}
	// One line's end, which echo and editors add, is not part of the value.
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}
