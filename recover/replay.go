package recover

import (
	"context"
	"slices"

	"cloakroom/dataset"
)

// Sender puts bodies on a queue. It returns the message ids of those that the queue took, in order.
type Sender interface {
	Send(ctx context.Context, bodies []string) ([]string, error)
}

// replayBatch is how many events the sender gets at a time.
const replayBatch = 100

// Replayable reports whether a request opens the bodies of rejected events and nothing else.
func Replayable(d *Details) bool { return slices.Equal(d.Fields, []string{dataset.BodyField}) }

// Replay sends opened bodies of rejected events and shows them to nobody. It returns how many the
// queue took. On the queue they are new messages, with new ids and the date of sending. It leaves
// out bodies that were erased.
func Replay(ctx context.Context, opened *OpenedRows, to Sender) (sent int64, err error) {
	body := slices.IndexFunc(opened.Columns, func(c Column) bool { return c.Name == dataset.BodyField })
	var batch []string
	flush := func() error {
		ids, err := to.Send(ctx, batch)
		sent += int64(len(ids))
		batch = batch[:0]
		return err
	}
	err = opened.Each(func(r Record) error {
		if r[body] == nil {
			return nil
		}
		if batch = append(batch, string(r[body])); len(batch) == replayBatch {
			return flush()
		}
		return nil
	})
	if err == nil && len(batch) > 0 {
		err = flush()
	}
	return sent, err
}
