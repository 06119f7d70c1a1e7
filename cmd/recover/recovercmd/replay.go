package recovercmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

func newReplay() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay ID --queue-url URL",
		Short: "Send rejected events that a request was approved for back to the queue, showing nothing",
		Args:  cobra.ExactArgs(1),
		RunE: forRequest(true, func(ctx context.Context, cmd *cobra.Command, c *recovery.Client, id uuid.UUID) error {
			url := cli.Value(cmd, "queue-url")
			if url == "" {
				return errors.New("--queue-url is needed: where to send them")
			}
			d, err := c.Show(ctx, id)
			if err != nil {
				return err
			}
			if !recovery.Replayable(d) {
				return errors.New("only rejected events can be replayed: the request opens other fields than body")
			}
			to, err := openQueue(ctx, url)
			if err != nil {
				return err
			}
			options, endProgress := openOptions(cmd)
			opened, err := c.Open(ctx, id, options)
			endProgress()
			if err != nil {
				return err
			}
			defer opened.Close()
			sent, err := recovery.Replay(ctx, opened, to)
			if err != nil {
				return fmt.Errorf("%d of %d events sent: %w", sent, opened.Rows, err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%d events sent back; they have new message ids, the rejections stay\n", sent)
			n := noticeOf("replayed", d)
			n.Rows = &sent
			notify(cmd, n)
			return nil
		}),
	}
	cmd.Flags().String("queue-url", "", "queue to send to, an SQS URL")
	addOpenFlags(cmd)
	return cmd
}
