package recovercmd

import (
	"context"

	"cloakroom/internal/queue"
	recovery "cloakroom/recover"
)

func openQueue(ctx context.Context, url string) (recovery.Sender, error) {
	return queue.Open(ctx, queue.Config{URL: url})
}
