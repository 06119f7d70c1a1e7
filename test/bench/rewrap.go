package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"cloakroom/crypto/envelope"
	"cloakroom/internal/sandbox"
	"cloakroom/internal/sandbox/kmsserver"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

// KEKs between which keys are rewrapped.
const (
	oldKEK = "awskms:///alias/old"
	newKEK = "awskms:///alias/new"
)

// countingKMS is the fake of KMS, and how many calls it had and has at once.
type countingKMS struct {
	kms              *kmsserver.Server
	server           http.Server
	calls, now, most atomic.Int64
}

// startKMS starts it and has every AWS client of this process and its children call it.
func startKMS() (*countingKMS, error) {
	k := &countingKMS{kms: kmsserver.New(kmsserver.Config{Aliases: []string{"alias/old", "alias/new"}, CallLog: -1})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k.server.Handler = k
	go func() { _ = k.server.Serve(listener) }() // until Close
	for name, value := range map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_KMS": "http://" + listener.Addr().String(),
		"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": sandbox.Secret, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		if err := os.Setenv(name, value); err != nil {
			return nil, errors.Join(err, k.server.Close())
		}
	}
	return k, nil
}

// ServeHTTP counts.
func (k *countingKMS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.calls.Add(1)
	now := k.now.Add(1)
	defer k.now.Add(-1)
	for most := k.most.Load(); now > most && !k.most.CompareAndSwap(most, now); most = k.most.Load() {
	}
	k.kms.ServeHTTP(w, r)
}

// measureRewrap rewraps a given number of data keys from one KMS key to another.
func (b *bench) measureRewrap(ctx context.Context, n int) error {
	k, err := startKMS()
	if err != nil {
		return err
	}
	defer k.server.Close()
	d, err := b.database(ctx, "keys")
	if err != nil {
		return err
	}
	set, err := kek.Open(ctx, oldKEK)
	if err != nil {
		return err
	}
	o, err := b.orders(ctx, d, "rewrap")
	if err != nil {
		return err
	}
	if err := d.addDataKeys(ctx, set, n); err != nil {
		return fmt.Errorf("making %d data keys: %w", n, err)
	}
	o.KEK, o.To = newKEK+","+oldKEK+","+o.KEK, newKEK
	k.calls.Store(0)
	k.most.Store(0)
	t, err := o.run(ctx)
	if err != nil {
		return err
	}
	if t.Rows != int64(n)+1 {
		return fmt.Errorf("of %d keys %d were rewrapped", n+1, t.Rows)
	}
	b.section(
		"Rewrap",
		fmt.Sprintf(
			"%s data keys from one KMS key to another in one pass, and the index key from a key file; each key is re-encrypted twice, the second time to prove the first. The fake of KMS runs in this program's process on the same cores",
			thousands(n)),
	)
	b.line("all of it", fmt.Sprintf("%.1f s", t.Wall.Seconds()), "", "")
	b.line("keys", perSecond(t.sample().rate()), "", "")
	b.line("calls of KMS", thousands(int(k.calls.Load())), "", "")
	b.figure("most calls of KMS at once", fmt.Sprint(k.most.Load()), float64(k.most.Load()), atMost(16))
	b.line("peak memory of the job", fmt.Sprintf("%.0f MiB", t.PeakMiB), "", "")
	return nil
}

// addDataKeys puts real data keys into the vault, wrapped under a KEK.
func (d *database) addDataKeys(ctx context.Context, set *kek.Set, n int) error {
	s, err := (&keys.Vault{DB: d.admin}).Settings(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range n {
		group.Go(func() error {
			id := uint32(i + 1)
			key, w, err := set.GenerateDataKey(ctx, kek.Binding{Vault: s.ID, Purpose: kek.Seal, Key: id})
			if err != nil {
				return err
			}
			defer key.Destroy()
			check := envelope.Check(key.Expose(), id)
			_, err = d.admin.ExecContext(ctx, `
				INSERT INTO cloakroom.data_keys (id, dataset, month, state, kek, kek_id, wrapped, key_check)
				VALUES ($1, 'login', date_trunc('month', now()), 'active', $2, $3, $4, $5)`, id, w.KEK, w.KEKID, w.Blob, check[:])
			return err
		})
	}
	return group.Wait()
}
