package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/lib/pq"

	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	recovery "cloakroom/recover"
	"cloakroom/recover/auditlog"
)

func TestExitCode(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, ExitDone},
		{errors.New("a wrong flag"), ExitOther},
		{&net.OpError{Op: "listen", Err: syscall.EADDRINUSE}, ExitOther}, // a busy --http-addr is no database
		{keys.ErrUnfinished, ExitUnfinished},
		{context.Canceled, ExitUnfinished},
		{&pq.Error{Code: pg.NotApproved}, ExitNotYours},
		{&pq.Error{Code: "42501"}, ExitNotYours},
		{&pq.Error{Code: pg.AuditUnavailable}, ExitNotLogged},
		{&pq.Error{Code: pg.NotLoggedYet}, ExitNotLogged},
		{keys.ErrKeyCheck, ExitIntegrity},
		{keys.ErrQuarantined, ExitIntegrity},
		{recovery.ErrIntegrity, ExitIntegrity},
		{kek.ErrUnwrap, ExitIntegrity},
		{kek.ErrUnavailable, ExitKey},
		{kek.ErrDenied, ExitKey},
		{kek.ErrDisabled, ExitKey},
		{kek.ErrNotConfigured, ExitKey},
		{keys.ErrNoKey, ExitKey},
		{auditlog.ErrInvalid, ExitLogInvalid},
		{refused, ExitDatabase}, // the same code in every program
		{io.ErrUnexpectedEOF, ExitDatabase},
		{&pq.Error{Code: "57P01"}, ExitDatabase},
		{Exit(ExitIntegrity, refused), ExitIntegrity}, // what the command says wins
	} {
		wrapped := c.err
		if wrapped != nil {
			wrapped = fmt.Errorf("doing something: %w", errors.Join(c.err))
		}
		if got := ExitCode(wrapped); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.want)
		}
	}
}
