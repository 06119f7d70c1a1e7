package cli

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Confirm asks a question on a terminal and returns an error unless the answer is yes. Without a
// terminal nobody can answer: then yes, the value of --yes, must be true.
func Confirm(cmd *cobra.Command, yes bool, format string, args ...any) error {
	if yes {
		return nil
	}
	question := fmt.Sprintf(format, texts(args)...)
	if !IsTerminal(cmd.InOrStdin()) {
		return fmt.Errorf("%s: nothing was changed; there is no terminal to ask on, so say --yes if it is meant",
			question)
	}
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s. Go on? [y/N] ", question)
	answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("not confirmed: nothing was changed")
}
