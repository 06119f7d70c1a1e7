package recovercmd

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os/exec"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	recovery "cloakroom/recover"
)

// notice is what the notify command is told. It says that something happened, not whose values it
// is about, because the command may post it to a chat.
type notice struct {
	Event      string    `json:"event"` // requested, approved, denied, reviewed, opened, replayed
	Request    uuid.UUID `json:"request"`
	Requester  string    `json:"requester,omitempty"`
	Purpose    string    `json:"purpose"`
	Ticket     string    `json:"ticket"`
	Dataset    string    `json:"dataset,omitempty"` // empty: every dataset
	Fields     []string  `json:"fields"`
	BreakGlass bool      `json:"breakglass"`
	Rows       *int64    `json:"rows,omitempty"`
}

func noticeOf(event string, d *recovery.Details) notice {
	n := notice{
		Event: event, Request: d.ID, Requester: d.Requester, Purpose: d.Purpose, Ticket: d.Ticket, Fields: d.Fields,
		BreakGlass: d.BreakGlass,
	}
	if d.Dataset != nil {
		n.Dataset = *d.Dataset
	}
	return n
}

func (n notice) withRows(rows int64) notice { n.Rows = &rows; return n }

// notifyTimeout bounds the command: the request itself is done and logged, whatever it does.
const notifyTimeout = 10 * time.Second

func (p *program) notify(cmd *cobra.Command, n notice) {
	if p.notifyCommand == "" {
		return
	}
	line, err := json.Marshal(n)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), notifyTimeout)
		defer cancel()
		hook := exec.CommandContext(ctx, p.notifyCommand)
		hook.Stdin = bytes.NewReader(append(line, '\n'))
		err = hook.Run()
	}
	if err != nil {
		slog.Warn("the notify command failed; the request itself is done", "error", err)
	}
}
