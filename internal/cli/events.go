package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"cloakroom/internal/events"
)

// ReadEvents hands over the events of a file, or of standard input (-), with the line where each stood, and shows how
// far it is. It returns how many there were.
func ReadEvents(cmd *cobra.Command, from string, take func(line int64, body []byte) error) (int64, error) {
	in := cmd.InOrStdin()
	if from != "-" {
		file, err := os.Open(from)
		if err != nil {
			return 0, err
		}
		defer file.Close()
		in = file
	}
	r, err := events.NewReader(in)
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", from, err)
	}
	progress := StartProgress(cmd)
	defer progress.End()
	for n := int64(0); ; n++ {
		body, err := r.Next()
		if err == io.EOF {
			return n, nil
		}
		if err == nil {
			err = take(r.Line(), body)
		}
		switch {
		case err != nil:
			return n, fmt.Errorf("reading event %d of %s: %w", n+1, from, err)
		case cmd.Context().Err() != nil:
			return n, cmd.Context().Err()
		}
		progress.Step("reading", "event", n+1, 0)
	}
}
