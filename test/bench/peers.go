package main

// This file re-tells what is in use today for the same job, with its own structs and tables: it names the fields of a
// login as those programs do.

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lib/pq"
	"golang.org/x/sync/errgroup"

	"cloakroom/etl"
	"cloakroom/internal/sandbox/plainsqs"
)

//go:embed peers.sql
var peersSQL string

const (
	pgcrypto = "pgcrypto in the INSERT, from memory"
	oneByOne = "one message a receive, SHA-256, one INSERT, through SQS"
)

// peerRows are the events of a run of a peer: they are slow.
const peerRows = 2_000

// measurePeers measures what a user would do today, with the same two fields, against ingest.
func (b *bench) measurePeers(ctx context.Context) error {
	d, err := b.database(ctx, "peers")
	if err != nil {
		return err
	}
	if _, err := d.admin.ExecContext(ctx, peersSQL); err != nil {
		b.note("Not measured: what a user would do today. This Postgres has no pgcrypto: " + err.Error())
		return nil
	}
	s, err := interleave(ctx, b.pace, b.empty.ingested(fromMemory, newGenerator(uniform, 2).messages(b.rows)),
		d.pgcrypto(newGenerator(uniform, 7).messages(peerRows)), b.queue.ingested(throughSQS, b.empty, b.rows),
		b.queue.oneByOne(d, peerRows))
	if err != nil {
		return err
	}
	b.section(
		"What a user would do today",
		fmt.Sprintf("the same two fields; %d events a run of ours, %d of theirs, %d rounds", b.rows, peerRows,
			len(s[pgcrypto])),
	)
	b.rates(s, fromMemory, pgcrypto, throughSQS, oneByOne)
	b.ratio("ingest / pgcrypto", s.rateRatio(fromMemory, pgcrypto), target{})
	b.ratio("ingest / the loop", s.rateRatio(throughSQS, oneByOne), target{})
	b.micros("client CPU a message, ingest", s.cpu(throughSQS), target{})
	b.micros("client CPU a message, the loop", s.cpu(oneByOne), target{})
	return nil
}

// peerLogin is a login as the usual program decodes it.
type peerLogin struct {
	UserID     string  `json:"user_id"`
	AppVersion string  `json:"app_version"`
	DeviceType string  `json:"device_type"`
	IP         string  `json:"ip"`
	Locale     *string `json:"locale"`
	DeviceID   string  `json:"device_id"`
}

// pgcrypto is a contender that encrypts and hashes on the server: pgp_sym_encrypt for the value, hmac for the
// duplicates, in batches and over as many connections as ingest has.
func (d *database) pgcrypto(messages []*etl.Message) contender {
	const key, pepper = "a passphrase that the server sees", "another that it sees"
	insert := func(ctx context.Context, part []*etl.Message) error {
		var ids, users, devices, locales, versions, ips, deviceIDs []any
		for _, m := range part {
			var l peerLogin
			if err := json.Unmarshal(m.Body, &l); err != nil {
				return err
			}
			ids, users, devices = append(ids, m.ID.String()), append(users, l.UserID), append(devices, l.DeviceType)
			locales, versions = append(locales, l.Locale), append(versions, l.AppVersion)
			ips, deviceIDs = append(ips, l.IP), append(deviceIDs, l.DeviceID)
		}
		_, err := d.admin.ExecContext(
			ctx,
			`
			INSERT INTO public.pgcrypto_logins
			SELECT id, $3, u, t, l, v, public.pgp_sym_encrypt(ip, $1), public.pgp_sym_encrypt(device, $1),
			       encode(public.hmac(ip, $2, 'sha256'), 'hex'), encode(public.hmac(device, $2, 'sha256'), 'hex')
			  FROM unnest($4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[]) AS e(id, u, t, l, v, ip, device)
			ON CONFLICT DO NOTHING`,
			key,
			pepper,
			part[0].Sent,
			pq.Array(ids),
			pq.Array(users),
			pq.Array(devices),
			pq.Array(locales),
			pq.Array(versions),
			pq.Array(ips),
			pq.Array(deviceIDs),
		)
		return err
	}
	return contender{pgcrypto, func(ctx context.Context) (sample, error) {
		if _, err := d.admin.ExecContext(ctx, `TRUNCATE public.pgcrypto_logins`); err != nil {
			return sample{}, err
		}
		w := start()
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(loaders)
		for _, part := range cut(messages, partSize) {
			group.Go(func() error { return insert(ctx, part) })
		}
		err := group.Wait()
		return w.stop(len(messages)), err
	}}
}

// oneByOne is a contender that does what the usual program does: receive one, hash without a key, insert one, delete
// one.
func (q *remoteQueue) oneByOne(d *database, n int) contender {
	return contender{oneByOne, func(ctx context.Context) (sample, error) {
		client, err := plainsqs.Open(ctx, q.url)
		if err != nil {
			return sample{}, err
		}
		if _, err := d.admin.ExecContext(ctx, `TRUNCATE public.hashed_logins`); err != nil {
			return sample{}, err
		}
		if err := q.put(n); err != nil {
			return sample{}, err
		}
		w := start()
		for done := 0; done < n; {
			body, err := client.TakeOne(ctx)
			if err != nil {
				return sample{}, err
			}
			if body == "" {
				continue
			}
			if err := d.insertHashed(ctx, body); err != nil {
				return sample{}, err
			}
			done++
		}
		return w.stop(n), nil
	}}
}

func (d *database) insertHashed(ctx context.Context, body string) error {
	var l peerLogin
	if err := json.Unmarshal([]byte(body), &l); err != nil {
		return err
	}
	// The digits of a version joined, as that program does it.
	version, err := strconv.Atoi(strings.ReplaceAll(l.AppVersion, ".", ""))
	if err != nil {
		return err
	}
	_, err = d.admin.ExecContext(ctx, `INSERT INTO public.hashed_logins VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		l.UserID, l.DeviceType, sha256Hex(l.IP), sha256Hex(l.DeviceID), l.Locale, version, time.Now())
	return err
}

func sha256Hex(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
