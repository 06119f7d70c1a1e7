package conformance

import (
	"bytes"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

var cryptographyChecks = []check[*kms.Client]{
	{"a data key, wrapped and unwrapped", func(t *trial, c *kms.Client) {
		k := newKey(t, c)
		g := k.mustGenerate(sealContext)
		equal(t, len(g.Plaintext), 32, "bytes of the key")
		equal(t, *g.KeyId, k.arn, "key ARN")
		k.opens(g, sealContext)
		if bytes.Equal(g.Plaintext, k.mustGenerate(sealContext).Plaintext) {
			t.failf("two data keys are alike")
		}
	}},
	{"a data key of other sizes", func(t *trial, c *kms.Client) {
		k := newKey(t, c)
		out, err := c.GenerateDataKey(t, &kms.GenerateDataKeyInput{KeyId: k.id, NumberOfBytes: aws.Int32(64)})
		t.noError(err, "generating 64 bytes")
		equal(t, len(out.Plaintext), 64, "bytes")
		for _, in := range []kms.GenerateDataKeyInput{
			{}, {NumberOfBytes: aws.Int32(1025)}, {NumberOfBytes: aws.Int32(1), KeySpec: types.DataKeySpecAes128},
		} {
			in.KeyId = k.id
			if _, err := c.GenerateDataKey(t, &in); err == nil {
				t.failf("generating %v of %q: succeeded", aws.ToInt32(in.NumberOfBytes), in.KeySpec)
			}
		}
	}},
	{"encrypt and decrypt", func(t *trial, c *kms.Client) {
		k := newKey(t, c)
		for _, size := range []int{1, 4096} {
			text := bytes.Repeat([]byte{0xff}, size)
			out, err := c.Encrypt(t, &kms.EncryptInput{KeyId: &k.arn, Plaintext: text})
			t.noError(err, "encrypting")
			opened, err := k.decrypt(out.CiphertextBlob, nil)
			t.noError(err, "decrypting")
			if !bytes.Equal(opened.Plaintext, text) {
				t.failf("another plaintext came back")
			}
		}
		if _, err := c.Encrypt(t, &kms.EncryptInput{KeyId: k.id, Plaintext: make([]byte, 4097)}); err == nil {
			t.failf("encrypting 4097 bytes: succeeded")
		}
	}},
	{"the encryption context must be the same", func(t *trial, c *kms.Client) {
		k := newKey(t, c)
		g := k.mustGenerate(sealContext)
		for _, other := range []map[string]string{
			nil,
			{"app": "cloakroom", "purpose": "seal"},
			{"app": "cloakroom", "purpose": "index", "key": "7"},
			{"app": "cloakroom", "purpose": "Seal", "key": "7"},
			{"App": "cloakroom", "purpose": "seal", "key": "7"},
			{"app": "cloakroom", "purpose": "seal", "key": "7", "more": "x"},
		} {
			_, err := k.decrypt(g.CiphertextBlob, other)
			wantError[*types.InvalidCiphertextException](t, err, "decrypting with another context")
		}
		k.opens(g, sealContext)
	}},
	{"a damaged ciphertext", func(t *trial, c *kms.Client) {
		k := newKey(t, c)
		blob := k.mustGenerate(sealContext).CiphertextBlob
		damaged := bytes.Clone(blob)
		damaged[len(damaged)-1] ^= 1
		_, err := k.decrypt(damaged, sealContext)
		wantError[*types.InvalidCiphertextException](t, err, "decrypting with a flipped bit")
		_, err = k.decrypt(blob[:len(blob)-1], sealContext)
		wantError[*types.InvalidCiphertextException](t, err, "decrypting what was cut")
		_, err = k.decrypt([]byte("not a ciphertext"), sealContext)
		wantError[*types.InvalidCiphertextException](t, err, "decrypting text")
	}},
	{"decrypting with another key than named", func(t *trial, c *kms.Client) {
		k, other := newKey(t, c), newKey(t, c)
		blob := k.mustGenerate(sealContext).CiphertextBlob
		_, err := c.Decrypt(t,
			&kms.DecryptInput{CiphertextBlob: blob, KeyId: &other.arn, EncryptionContext: sealContext})
		wantError[*types.IncorrectKeyException](t, err, "decrypting")
		_, err = c.Decrypt(t, &kms.DecryptInput{CiphertextBlob: blob, KeyId: &k.arn, EncryptionContext: sealContext})
		t.noError(err, "decrypting with the right key named")
	}},
	{"re-encryption", func(t *trial, c *kms.Client) {
		from, to := newKey(t, c), newKey(t, c)
		g := from.mustGenerate(sealContext)
		changed := map[string]string{"app": "cloakroom", "purpose": "seal", "key": "8"}
		out, err := c.ReEncrypt(t, &kms.ReEncryptInput{
			CiphertextBlob: g.CiphertextBlob, SourceEncryptionContext: sealContext,
			DestinationKeyId: to.id, DestinationEncryptionContext: changed,
		})
		t.noError(err, "re-encrypting")
		equal(t, *out.SourceKeyId, from.arn, "source key")
		equal(t, *out.KeyId, to.arn, "destination key")
		g.CiphertextBlob = out.CiphertextBlob
		to.opens(g, changed)
		_, err = to.decrypt(out.CiphertextBlob, sealContext)
		wantError[*types.InvalidCiphertextException](t, err, "decrypting with the source's context")
		_, err = c.ReEncrypt(
			t,
			&kms.ReEncryptInput{
				CiphertextBlob:          g.CiphertextBlob,
				DestinationKeyId:        to.id,
				SourceEncryptionContext: sealContext,
			},
		)
		wantError[*types.InvalidCiphertextException](t, err, "re-encrypting with another context")
		_, err = c.ReEncrypt(
			t,
			&kms.ReEncryptInput{
				CiphertextBlob:          g.CiphertextBlob,
				SourceKeyId:             from.id,
				DestinationKeyId:        to.id,
				SourceEncryptionContext: changed,
			},
		)
		wantError[*types.IncorrectKeyException](t, err, "re-encrypting from another key than named")
	}},
}
