package conformance

import (
	"bytes"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// KMS runs every check of a KMS through client.
func KMS(t *testing.T, client *kms.Client, gaps Gaps) {
	var checks []check[*kms.Client]
	for _, part := range [][]check[*kms.Client]{cryptographyChecks, keyChecks, aliasChecks} {
		checks = append(checks, part...)
	}
	runAll(t, checks, client, gaps)
}

// testKey is a key of a check's own.
type testKey struct {
	*trial
	client *kms.Client
	id     *string
	arn    string
}

func newKey(t *trial, client *kms.Client) testKey {
	out, err := client.CreateKey(t, &kms.CreateKeyInput{Description: aws.String("conformance")})
	t.noError(err, "creating a key")
	k := testKey{t, client, out.KeyMetadata.KeyId, *out.KeyMetadata.Arn}
	// AWS would bill it for as long as it is there. The fake has no such operation and forgets its keys anyway.
	t.later(func() {
		_, _ = client.ScheduleKeyDeletion(t,
			&kms.ScheduleKeyDeletionInput{KeyId: k.id, PendingWindowInDays: aws.Int32(7)})
	})
	return k
}

func (k testKey) generate(context map[string]string) (*kms.GenerateDataKeyOutput, error) {
	return k.client.GenerateDataKey(k,
		&kms.GenerateDataKeyInput{KeyId: k.id, KeySpec: types.DataKeySpecAes256, EncryptionContext: context})
}

func (k testKey) mustGenerate(context map[string]string) *kms.GenerateDataKeyOutput {
	out, err := k.generate(context)
	k.noError(err, "generating a data key")
	return out
}

func (k testKey) decrypt(blob []byte, context map[string]string) (*kms.DecryptOutput, error) {
	return k.client.Decrypt(k, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: context})
}

// opens fails the check unless a blob opens to what was generated with it.
func (k testKey) opens(g *kms.GenerateDataKeyOutput, context map[string]string) {
	out, err := k.decrypt(g.CiphertextBlob, context)
	k.noError(err, "decrypting")
	if !bytes.Equal(out.Plaintext, g.Plaintext) {
		k.failf("decrypting: another plaintext came back")
	}
	equal(k.trial, *out.KeyId, k.arn, "key ARN")
	equal(k.trial, out.EncryptionAlgorithm, types.EncryptionAlgorithmSpecSymmetricDefault, "algorithm")
}

var sealContext = map[string]string{"app": "cloakroom", "purpose": "seal", "key": "7"}
