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

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

// notice is what the notify command is told. It says that something happened, not whose values it is about: the hook may
// post it to a chat.
type notice struct {
	Event      string    `json:"event"` // requested, approved, denied, reviewed, opened, replayed
	Request    uuid.UUID `json:"request"`
	Requester  string    `json:"requester,omitempty"`
	Purpose    string    `json:"purpose"`
	Ticket     string    `json:"ticket"`
	Fields     []string  `json:"fields"`
	BreakGlass bool      `json:"breakglass"`
	Rows       *int64    `json:"rows,omitempty"`
}

func noticeOf(event string, d *recovery.Details) notice {
	return notice{Event: event, Request: d.ID, Requester: d.Requester, Purpose: d.Purpose, Ticket: d.Ticket, Fields: d.Fields, BreakGlass: d.BreakGlass}
}

// notifyTimeout bounds the hook: what was done is done, and logged, whatever the hook does.
const notifyTimeout = 10 * time.Second

func notify(cmd *cobra.Command, n notice) {
	program := cli.Value(cmd, "notify-command")
	if program == "" {
		return
	}
	line, err := json.Marshal(n)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), notifyTimeout)
		defer cancel()
		hook := exec.CommandContext(ctx, program)
		hook.Stdin = bytes.NewReader(append(line, '\n'))
		err = hook.Run()
	}
	if err != nil {
		slog.Warn("the notify command failed; the request itself is done", "error", err)
	}
}
