package recovercmd

import (
	"bytes"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/uuid"

	"cloakroom/internal/pg"
	"cloakroom/internal/sandbox/kmsserver"
	"cloakroom/keys"
	recovery "cloakroom/recover"
)

// kmsFixture is a vault under KMS, where alice has opened a request. All programs of the test have her credentials.
type kmsFixture struct {
	*fixture
	srv     *kmsserver.Server
	vault   string
	wrapped []byte // data key 1
}

func userARN(name string) string { return "arn:aws:iam::000000000000:user/" + name }

func newKMSFixture(t *testing.T) *kmsFixture {
	t.Helper()
	c, srv := withKMS(t)
	k := &kmsFixture{fixture: c, srv: srv}
	k.bind(t, "alice", "auditor")
	var vault uuid.UUID
	if err := c.admin.QueryRow(`SELECT vault_id, (SELECT wrapped FROM cloakroom.data_keys WHERE id = 1)
		FROM cloakroom.settings`).Scan(&vault, &k.wrapped); err != nil {
		t.Fatal(err)
	}
	k.vault = vault.String()
	opened, err := c.alice.Open(t.Context(), c.approved(t, params(nil)), recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()
	if r := k.report(t); r.Explained != 1 || len(r.Unexplained) != 0 || len(r.Missing) != 0 {
		t.Fatalf("before: %+v", r)
	}
	return k
}

// bind says with which user of AWS a login calls KMS.
func (k *kmsFixture) bind(t *testing.T, login, user string) {
	t.Helper()
	if _, err := keys.Grant(t.Context(), k.URL(""), k.Role(login), "auditor",
		keys.GrantOptions{Principal: userARN(user)}); err != nil {
		t.Fatal(err)
	}
}

func (k *kmsFixture) report(t *testing.T) *recovery.KMSReport {
	t.Helper()
	var trail bytes.Buffer
	if err := k.srv.WriteCloudTrail(&trail); err != nil {
		t.Fatal(err)
	}
	r, err := k.bob.MakeReport(t.Context(), today, today.AddDate(0, 0, 2), nil)
	if err != nil {
		t.Fatal(err)
	}
	// The vault and its rows were made with the same credentials. Files of CloudTrail overlap.
	again := bytes.NewReader(bytes.Clone(trail.Bytes()))
	if err := r.AddKMSLogs(k.vault, []string{"init=" + userARN("auditor"), "ingest=" + userARN("auditor")},
		&trail, again); err != nil {
		t.Fatal(err)
	}
	return r.KMS
}

func (k *kmsFixture) as(user string) *kms.Client {
	return kms.New(kms.Options{Region: "us-east-1", BaseEndpoint: aws.String(k.srv.URL()),
		Credentials: credentials.NewStaticCredentialsProvider(user, "a secret of sixteen and more", "")})
}

func (k *kmsFixture) context() map[string]string {
	return map[string]string{"app": "cloakroom", "vault": k.vault, "purpose": "seal", "key": "1"}
}

// steal decrypts data key 1 past every program, and returns KMS's request id.
func (k *kmsFixture) steal(t *testing.T, user string) string {
	t.Helper()
	out, err := k.as(user).Decrypt(t.Context(), &kms.DecryptInput{
		CiphertextBlob: k.wrapped, EncryptionContext: k.context(),
	})
	if err != nil {
		t.Fatal(err)
	}
	id, ok := awsmiddleware.GetRequestIDMetadata(out.ResultMetadata)
	if !ok {
		t.Fatal("no request id")
	}
	return id
}

// wantUnexplained fails unless the calls of these principals, and no others, are unexplained.
func wantUnexplained(t *testing.T, r *recovery.KMSReport, users ...string) {
	t.Helper()
	var got []string
	for _, c := range r.Unexplained {
		got = append(got, strings.TrimPrefix(c.Principal, userARN("")))
		if c.Key != "1" || c.SourceIP == "" || c.Why == "" {
			t.Errorf("unexplained: %+v", c)
		}
	}
	if strings.Join(got, " ") != strings.Join(users, " ") || r.Explained != 1 {
		t.Errorf("unexplained are calls of %v, explained %d; want of %v, and 1", got, r.Explained, users)
	}
}

// The same key with stolen credentials and a dump, at the very time of an opening that needs it.
func abuseKMS(t *testing.T) {
	k := newKMSFixture(t)
	k.steal(t, "thief")
	k.steal(t, "auditor") // with alice's own credentials
	wantUnexplained(t, k.report(t), "thief", "auditor")
}

func abuseReEncrypt(t *testing.T) {
	k := newKMSFixture(t)
	other := map[string]string{"app": "another"}
	if _, err := k.as("thief").ReEncrypt(t.Context(), &kms.ReEncryptInput{
		CiphertextBlob: k.wrapped, SourceEncryptionContext: k.context(), DestinationEncryptionContext: other,
		DestinationKeyId: aws.String("alias/cloakroom"),
	}); err != nil {
		t.Fatal(err)
	}
	// A key of the thief's own under our context.
	if _, err := k.as("thief").Encrypt(t.Context(), &kms.EncryptInput{
		KeyId: aws.String("alias/cloakroom"), Plaintext: make([]byte, 32), EncryptionContext: k.context(),
	}); err != nil {
		t.Fatal(err)
	}
	wantUnexplained(t, k.report(t), "thief", "thief")
}

// A client of one's own writes another's request ids into its entries, or its own into a wrong one.
func abuseClaims(t *testing.T) {
	k := newKMSFixture(t)
	begun := func(as *recovery.Client, subject string) uuid.UUID {
		t.Helper()
		id, err := as.Request(t.Context(), params(func(p *recovery.RequestParams) { p.Subject = subject }))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.approve(t, k.bob, id); err != nil {
			t.Fatal(err)
		}
		as.Vault.DB.MustExec(`SELECT cloakroom.begin_opening($1)`, id)
		return id
	}
	claim := func(as *recovery.Client, id uuid.UUID, call string) error {
		_, err := as.Vault.DB.Exec(`SELECT cloakroom.note_kms_calls($1, ARRAY[$2])`, id, call)
		return err
	}
	carol := k.client(t, k.As(t, "carol", "auditor"))
	k.bind(t, "carol", "carol")
	// Alice's theft, claimed by carol for a request that froze this key: not her principal.
	stolen := k.steal(t, "auditor")
	if err := claim(carol, begun(carol, "user-1"), "Decrypt seal 1 "+stolen); err != nil {
		t.Fatal(err)
	}
	r := k.report(t)
	wantUnexplained(t, r, "auditor")
	if len(r.Missing) != 1 || !strings.Contains(r.Missing[0].Why, "whose principal it is not") {
		t.Errorf("missing: %+v", r.Missing)
	}
	// By alice herself, for a request that froze no key; without an answer, too; and under another key's number.
	nothing, something := begun(k.alice, "nobody"), begun(k.alice, "user-1")
	for id, call := range map[string]uuid.UUID{
		"Decrypt seal 1 " + stolen: nothing, "Decrypt seal 1 -": nothing, "Decrypt seal 2 " + stolen: something,
	} {
		if err := claim(k.alice, call, id); err != nil {
			t.Fatal(err)
		}
	}
	wantUnexplained(t, k.report(t), "auditor")
	// For a request that is closed, for another's, and in words that are no call.
	closed := k.approved(t, params(nil))
	k.admin.MustExec(`UPDATE cloakroom.requests SET state = 'failed' WHERE id = $1`, closed)
	wantCode(t, claim(k.alice, closed, "Decrypt seal 1 "+stolen), pg.NotApproved)
	if err := claim(carol, something, "Decrypt seal 1 "+stolen); err == nil {
		t.Error("carol added to alice's request")
	}
	if err := claim(k.alice, something, "ReEncrypt seal 1 "+stolen); err == nil {
		t.Error("logged what is no Decrypt")
	}
	// One principal is of one person.
	_, err := keys.Grant(t.Context(), k.URL(""), k.Role("carol"), "auditor",
		keys.GrantOptions{Principal: userARN("auditor")})
	wantCode(t, err, pg.NotAllowedByVault)
}
