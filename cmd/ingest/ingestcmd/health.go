package ingestcmd

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cloakroom/etl"
	"cloakroom/etl/source"
	"cloakroom/keys"
)

// health answers /livez and /readyz. It observes the run: an outage downstream holds the receiving loop still, and that is
// no reason to restart the daemon.
type health struct {
	next   etl.Observer
	vault  *keys.Vault
	source *source.SQS

	mu      sync.Mutex
	moved   time.Time // when a batch was last committed or a try to commit one ended
	holding string    // what events wait for; empty once a batch was committed
	probing bool
}

// stuck is how long nothing may move: longer than any single call that the daemon waits for.
const stuck = 3 * time.Minute

// probeTimeout bounds an answer: a probe that waits is as bad as one that fails.
const probeTimeout = 3 * time.Second

// live: something moves, or receiving waits for room.
func (h *health) live(context.Context) error {
	h.mu.Lock()
	moved := h.moved
	h.mu.Unlock()
	if polled := h.source.LastPoll(); polled.After(moved) {
		moved = polled
	}
	if idle := time.Since(moved); idle > stuck && !h.source.Full() {
		return fmt.Errorf("nothing was received or committed, and no try ended, for %v", idle.Round(time.Second))
	}
	return nil
}

// ready: the database answers, the queue did so last, and no event waits for the database or the KEK.
func (h *health) ready(ctx context.Context) error {
	h.mu.Lock()
	holding, probing := h.holding, h.probing
	h.probing = true
	h.mu.Unlock()
	switch {
	case probing:
		return fmt.Errorf("the database has not answered the last probe yet")
	case holding != "":
		h.probed()
		return fmt.Errorf("holding events: %s", holding)
	}
	// The driver does not always honour a context: the probe is left behind, and there is one at a time.
	answer := make(chan error, 1)
	go func() {
		defer h.probed()
		_, err := h.vault.Settings(ctx)
		answer <- err
	}()
	select {
	case err := <-answer:
		if err != nil {
			return err
		}
		return h.source.Healthy()
	case <-ctx.Done():
		return fmt.Errorf("the database has not answered within %v", probeTimeout)
	}
}

func (h *health) probed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.probing = false
}

// hold is etl.Options.Holding.
func (h *health) hold(doing string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moved, h.holding = time.Now(), fmt.Sprintf("%s: %v", doing, err)
}

// Received implements etl.Observer.
func (h *health) Received(messages int) { h.next.Received(messages) }

// BatchCommitted implements etl.Observer.
func (h *health) BatchCommitted(messages []*etl.Message, took time.Duration, c etl.Counts) {
	h.mu.Lock()
	h.moved, h.holding = time.Now(), ""
	h.mu.Unlock()
	h.next.BatchCommitted(messages, took, c)
}
