package recovercmd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/keystest"
	"cloakroom/keys/rotation"
	"cloakroom/keys/verify"
	recovery "cloakroom/recover"
)

// kekOf is the vault's KEK, by its own name.
func (c *fixture) kekOf(t testing.TB) (id string) {
	t.Helper()
	if err := c.admin.Get(&id, `SELECT kek_id FROM cloakroom.keks`); err != nil {
		t.Fatal(err)
	}
	return id
}

// plant registers 64 zero bytes as a data key, by SQL of an ingest login's own.
func plant(db *sqlx.DB, kekID string) (id int, err error) {
	if err := db.Get(&id, `SELECT cloakroom.reserve_data_key()`); err != nil {
		return 0, err
	}
	_, err = db.Exec(`SELECT cloakroom.register_data_key($1, 'login', date_trunc('month', $2::date)::date, $3, $4, $5)`,
		id, today.Format(time.DateOnly), kekID, make([]byte, 64), make([]byte, 16))
	return id, err
}

// plantRow stores a row of a person that opens to nothing, under a key that the login planted.
func (c *fixture) plantRow(t testing.TB, db *sqlx.DB, person string, key int) uuid.UUID {
	t.Helper()
	tx := db.MustBegin() // a staging table is emptied at its end
	defer tx.Rollback()
	tx.MustExec(`SELECT cloakroom.stage('login')`)
	sealed := bytes.Repeat([]byte{1}, 77)
	binary.BigEndian.PutUint32(sealed[1:], uint32(key))
	id := uuid.New()
	tx.MustExec(`INSERT INTO pg_temp.stage_login (sent, row_id, create_date, user_id, sealed_ip, sealed_device_id, masked_ip_v1,
			masked_device_id_v1, data_key) VALUES ($1, $2, $3, $4, $5, $5, repeat('A', 22), repeat('B', 22), $6)`,
		today, id, today.Format(time.DateOnly), person, sealed, key)
	var stored int
	if err := tx.Get(&stored, `SELECT stored FROM cloakroom.load((SELECT epoch FROM cloakroom.vault()), clock_timestamp(),
		'login', ARRAY[$1::integer], ARRAY[$2::bytea])`, key, make([]byte, 16)); err != nil || stored != 1 {
		t.Fatalf("%d rows stored: %v", stored, err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	return id
}

// An ingest login registers keys under a KEK of its choosing. No row leads a program there.
func abuseForeignKEK(t *testing.T) {
	c := newFixture(t)
	mallory := c.Pool(t, c.As(t, "mallory", "ingest"))
	for _, id := range []string{"x", "awskms:///x", "arn:aws:kms:us-east-1:666666666666:key/1", ""} {
		_, err := plant(mallory, id)
		wantCode(t, err, pg.UnknownKEK)
	}
	// Somebody with more rights plants it in the table.
	key, err := plant(mallory, c.kekOf(t))
	if err != nil {
		t.Fatal(err)
	}
	c.admin.MustExec(`UPDATE cloakroom.data_keys SET kek = 'awskms:///x', kek_id = 'arn:aws:kms:us-east-1:666666666666:key/1'
		WHERE id = $1`, key)
	c.goesOn(t, key)
}

// An ingest login registers zero bytes as wrapped under the right KEK.
func abuseZeroKey(t *testing.T) {
	c := newFixture(t)
	key, err := plant(c.Pool(t, c.As(t, "mallory", "ingest")), c.kekOf(t))
	if err != nil {
		t.Fatal(err)
	}
	c.goesOn(t, key)
}

// goesOn has the rotator do all its work around a key that is bad: it is named each time, and nothing else waits.
func (c *fixture) goesOn(t testing.TB, key int) {
	t.Helper()
	name := fmt.Sprintf("data key %d", key)
	rotator := c.Vault(t, c.As(t, "rotator", "rotator"))
	report, err := verify.Run(t.Context(), rotator, verify.Options{All: true})
	if err != nil || report.FailureCount != 1 || report.Failures[0].Key != name || report.Opened != 3 {
		t.Errorf("verify: %+v, %v", report, err)
	}
	other := keystest.WriteKEK(t, []byte("cloakroom abuse: another KEK... "))
	c.AddKEK(t, other)
	set, err := kek.Open(t.Context(), other+","+c.KEK)
	if err != nil {
		t.Fatal(err)
	}
	rotator = &keys.Vault{DB: rotator.DB, KEK: set}
	done, err := rotation.Rewrap(t.Context(), rotator, other, rotation.Options{})
	if !errors.Is(err, keys.ErrQuarantined) || cli.ExitCode(err) != cli.ExitIntegrity || done.Rewrapped != 2 ||
		len(done.BadKeys) != 1 || done.BadKeys[0].Key != name {
		t.Errorf("rewrap: %+v, %v; want two keys rewrapped, and %s named", done, err, name)
	}
	c.admin.MustExec(`SELECT cloakroom.set_policy('kek', $1)`, other)
	done, err = rotation.Rotate(t.Context(), rotator, rotation.Options{Force: true})
	if !errors.Is(err, keys.ErrQuarantined) || done.Resealed != 3 || done.Verified == nil || len(done.BadKeys) != 1 ||
		!slices.Contains(done.Retired, 1) {
		t.Errorf("rotate --force: %+v, %v; want three rows resealed, key 1 retired, all verified", done, err)
	}
}

// 3,000 keys in 4.7 s: each would cost every rotation and verification a call of KMS.
func abuseManyKeys(t *testing.T) {
	c := newFixture(t)
	mallory := c.Pool(t, c.As(t, "mallory", "ingest"))
	id := c.kekOf(t)
	c.admin.MustExec(`SELECT cloakroom.set_policy('key_registrations', '50')`)
	registered := 0
	var err error
	for ; registered < 100 && err == nil; registered++ {
		_, err = plant(mallory, id)
	}
	wantCode(t, err, pg.TooManyKeys)
	if registered != 51 {
		t.Errorf("registration %d was refused, want 51", registered)
	}
	// It counts what is committed, and others are not held up by who never commits.
	tx := mallory.MustBegin()
	defer tx.Rollback()
	_, _ = tx.Exec(`SELECT cloakroom.register_data_key(cloakroom.reserve_data_key(), 'login', date_trunc('month', $1::date)::date,
		$2, $3, $4)`, today.Format(time.DateOnly), id, make([]byte, 64), make([]byte, 16))
	ingest(t, c.Env, login("user-9", "192.0.2.9", "device-9"))
}

// A key is used by its maker alone: only who made it knows that what is registered is what seals.
func abuseOthersKey(t *testing.T) {
	c := newFixture(t)
	mallory := c.Pool(t, c.As(t, "mallory", "ingest"))
	var check []byte
	if err := c.admin.Get(&check, `SELECT key_check FROM cloakroom.data_keys WHERE id = 1`); err != nil {
		t.Fatal(err)
	}
	tx := mallory.MustBegin()
	defer tx.Rollback()
	tx.MustExec(`SELECT cloakroom.stage('login')`)
	_, err := tx.Exec(`SELECT cloakroom.load((SELECT epoch FROM cloakroom.vault()), clock_timestamp(), 'login', '{1}', ARRAY[$1::bytea])`, check)
	wantCode(t, err, pg.UnknownDataKey)
}

// One garbage row made every opening of that person fail.
func abuseGarbageRow(t *testing.T) {
	c := newFixture(t)
	mallory := c.Pool(t, c.As(t, "mallory", "ingest"))
	key, err := plant(mallory, c.kekOf(t))
	if err != nil {
		t.Fatal(err)
	}
	bad := c.plantRow(t, mallory, "user-1", key)
	_, err = c.alice.Open(t.Context(), c.approved(t, params(nil)), recovery.OpenOptions{})
	wantExit(t, err, cli.ExitIntegrity)

	id := c.approved(t, params(nil))
	p := c.start(t, c.aliceURL, "open", id.String(), "--allow-pipe", "--skip-damaged")
	if code := p.wait(); code != cli.ExitIntegrity {
		t.Errorf("exit %d, want %d", code, cli.ExitIntegrity)
	}
	if !strings.Contains(p.stdout.String(), canaryIP) || !strings.Contains(p.stdout.String(), "198.51.100.2") {
		t.Errorf("the two good rows are not shown: %s", &p.stdout)
	}
	if !strings.Contains(p.stderr.String(), bad.String()) || strings.Contains(p.stdout.String(), bad.String()) {
		t.Errorf("the bad row is not named, or shown: %s%s", &p.stdout, &p.stderr)
	}
	if n := c.entries(t, "opened", id.String(), "ok, 1 rows damaged and left out", `"rows":2`); n != 1 {
		t.Errorf("%d outcomes say what was left out, want 1", n)
	}
	rotator := c.Vault(t, c.As(t, "rotator", "rotator"))
	done, err := rotation.Rotate(t.Context(), rotator, rotation.Options{Force: true})
	if !errors.Is(err, keys.ErrQuarantined) || done.Resealed != 3 || len(done.Quarantined) != 1 || done.Quarantined[0].RowID != bad.String() {
		t.Errorf("rotate --force: %+v, %v; want three rows resealed and one named", done, err)
	}
}

// An alias that was moved is another KEK: nothing is made under it unasked, and a rewrap has work.
func abuseMovedAlias(t *testing.T) {
	c, srv := withKMS(t)
	admin := kms.New(kms.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(srv.URL()),
		Credentials: credentials.NewStaticCredentialsProvider("admin", "a secret of sixteen and more", ""),
	})
	made, err := admin.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	var old string
	if err := c.admin.Get(&old, `SELECT kek_id FROM cloakroom.data_keys`); err != nil {
		t.Fatal(err)
	}
	const uri = "awskms:///alias/cloakroom"
	if _, err := admin.UpdateAlias(t.Context(), &kms.UpdateAliasInput{
		AliasName: aws.String("alias/cloakroom"), TargetKeyId: made.KeyMetadata.KeyId,
	}); err != nil {
		t.Fatal(err)
	}
	// Who moved it has not the vault's word.
	daemon := c.Vault(t, c.As(t, "daemon", "ingest"))
	s, err := daemon.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := keys.NewIssuer(daemon, s, "login", keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = issuer.Acquire(t.Context(), today, 1, 1)
	wantCode(t, err, pg.UnknownKEK)
	rotator := c.Vault(t, c.As(t, "rotator", "rotator"))
	if _, err = rotation.Rewrap(t.Context(), rotator, uri, rotation.Options{}); !errors.Is(err, kek.ErrNotConfigured) {
		t.Errorf("rewrap before keys kek add: %v", err)
	}

	c.AddKEK(t, uri)
	if n := c.entries(t, "kek.add", *made.KeyMetadata.Arn); n != 1 {
		t.Errorf("%d entries name the new key, want 1", n)
	}
	report, err := rotation.Rewrap(t.Context(), rotator, uri, rotation.Options{})
	if err != nil || report.Rewrapped != 2 {
		t.Errorf("rewrap: %+v, %v; want the data key and the index key rewrapped", report, err)
	}
	if _, err := admin.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &old}); err != nil {
		t.Fatal(err)
	}
	opened, err := c.alice.Open(t.Context(), c.approved(t, params(nil)), recovery.OpenOptions{})
	if err != nil || opened.Rows != 2 {
		t.Fatalf("with the old key disabled: %v", err)
	}
	opened.Close()
	var list bytes.Buffer
	for _, k := range mustKEKs(t, rotator) {
		fmt.Fprintln(&list, k.KEK, k.ID, k.ClosedAt != nil)
	}
	for _, want := range []string{uri + " " + old + " true", uri + " " + *made.KeyMetadata.Arn + " false"} {
		if !strings.Contains(list.String(), want) {
			t.Errorf("the list of KEKs does not say %q:\n%s", want, &list)
		}
	}
}

func mustKEKs(t testing.TB, v *keys.Vault) []keys.KEKInfo {
	t.Helper()
	list, err := v.KEKs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}
