package rotation_test

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	recovery "cloakroom/recover"
)

// audits prepares an auditor in a state and returns what it does next.
func (w *states) audits(as string) func() error {
	device := fmt.Sprintf("device %d", w.random.IntN(devicesOfStates))
	least, user := w.committed(device)
	switch as {
	case "warm":
		return w.opensWithKeysInHand()
	case "asked":
		request, err := w.ask(recovery.RequestParams{Subject: fmt.Sprintf("user-%d", user)})
		return func() error {
			if err != nil {
				return err
			}
			return w.opens(request, device, 1, 1)
		}
	}
	return func() error {
		// A request by token expires when its tokens are dropped: make it again.
		for tries := 0; ; tries++ {
			tokens, err := w.auditor.TokensOf(w.t.Context(), "", "device_id", "", device)
			if err != nil {
				return err
			}
			request, err := w.ask(recovery.RequestParams{Field: "device_id", Tokens: tokens})
			if err != nil {
				return err
			}
			err = w.opens(request, device, least, least+100)
			if pg.Code(err) != pg.NotApproved || tries == 3 {
				return err
			}
		}
	}
}

func (w *states) ask(a recovery.RequestParams) (uuid.UUID, error) {
	a.Purpose, a.Ticket, a.Reason, a.Fields = "fraud", "T-81", "a test", []string{"ip", "device_id"}
	return w.auditor.Request(w.t.Context(), a)
}

// opens opens a request and compares what it finds with what was sent.
func (w *states) opens(request uuid.UUID, device string, least, most int) error {
	opened, err := w.auditor.Open(w.t.Context(), request, recovery.OpenOptions{})
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	defer opened.Close()
	if opened.Rows < int64(least) || opened.Rows > int64(most) || opened.Gone > 0 {
		return fmt.Errorf("%d rows with a device were opened and %d gone, want %d at least", opened.Rows, opened.Gone,
			least)
	}
	return opened.Each(func(r recovery.Record) error {
		values := map[string]string{}
		for i, c := range opened.Columns {
			values[c.Name] = string(r[i])
		}
		var n int
		if _, err := fmt.Sscanf(values["user_id"], "user-%d", &n); err != nil {
			return err
		}
		if want := fmt.Sprintf("10.8.%d.%d", n>>8&255, n&255); values["ip"] != want || values["device_id"] != device {
			return errors.New("a row opens to other values than were sent")
		}
		return nil
	})
}

// opensWithKeysInHand opens rows that were read before with a keyring that holds every key since
// then, and rows read now with the same keyring.
func (w *states) opensWithKeysInHand() func() error {
	s, err := w.vault.Settings(w.t.Context())
	ring := keys.NewKeyring(w.vault, s, nil)
	var before []keys.Row
	if err == nil {
		before, err = w.read()
	}
	for _, r := range before {
		if err == nil {
			_, err = ring.Key(w.t.Context(), uint32(r.DataKey.Int32))
		}
	}
	return func() error {
		defer ring.Close()
		if err != nil {
			return err
		}
		now, err := w.read()
		if err != nil {
			return err
		}
		for _, rows := range [][]keys.Row{before, now} {
			for i := range rows {
				for f, m := range dataset.Login().Protected() {
					place := rows[i].Place(s.ID, dataset.Login(), m.Name)
					key, err := ring.Key(w.t.Context(), uint32(rows[i].DataKey.Int32))
					if err == nil {
						_, err = key.Open(nil, nil, &place, m.Protect.Pad, rows[i].Sealed[f])
					}
					if err != nil {
						return fmt.Errorf("with keys in hand: %w", err)
					}
				}
			}
		}
		return nil
	}
}

// read reads every row, sealed.
func (w *states) read() ([]keys.Row, error) {
	found, err := w.super.Query(`SELECT ` + keys.RowColumns + ` FROM (SELECT row_id, sent, create_date, user_id AS subject, data_key,
		ARRAY[sealed_ip, sealed_device_id] AS sealed, '{}'::text[] AS tokens FROM cloakroom_data.user_logins) AS r`)
	if err != nil {
		return nil, err
	}
	return keys.AppendRows(nil, found, 0)
}
