package recovercmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/internal/queue"
	recovery "cloakroom/recover"
)

func (p *program) newReplay() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay ID --queue-url URL",
		Short: "Send the rejected events of an approved request back to the queue, and show nothing",
		Example: "  recover replay 0198c2f0-5f0e-7000-8000-000000000000 " +
			"--queue-url https://sqs.eu-west-1.amazonaws.com/111122223333/logins",
	}
	var url string
	var o openFlags
	f := cli.Of(cmd)
	f.String(&url, "queue-url", "", "the queue to send to, an SQS URL")
	f.Require("queue-url")
	o.declare(f)
	p.forRequest(cmd, withKEK, inState("approved"),
		func(ctx context.Context, cmd *cobra.Command, c *recovery.Client, id uuid.UUID) error {
			d, err := c.Show(ctx, id)
			if err != nil {
				return err
			}
			if !recovery.Replayable(d) {
				return errors.New("only rejected events can be replayed: the request opens fields other than body")
			}
			to, err := queue.Open(ctx, queue.Config{URL: url})
			if err != nil {
				return err
			}
			opened, err := o.open(cmd, c, id)
			if err != nil {
				return err
			}
			defer opened.Close()
			sent, err := recovery.Replay(ctx, opened, to)
			if err != nil {
				return fmt.Errorf("%d of %s sent: %w", sent, cli.Count(opened.Rows, "event"), err)
			}
			cli.Note(cmd, "%s sent back, with new message ids; the rejections stay", cli.Count(sent, "event"))
			p.notify(cmd, noticeOf("replayed", d).withRows(sent))
			return nil
		})
	return cmd
}
