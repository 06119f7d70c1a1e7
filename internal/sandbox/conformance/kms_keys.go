package conformance

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

var keyChecks = []check[*kms.Client]{
	{"describing a key", func(t *trial, c *kms.Client) {
		k := newKey(t, c)
		for _, name := range []*string{k.id, &k.arn} {
			out, err := c.DescribeKey(t, &kms.DescribeKeyInput{KeyId: name})
			t.noError(err, "describing "+*name)
			m := out.KeyMetadata
			equal(t, *m.KeyId, *k.id, "key id")
			equal(t, *m.Arn, k.arn, "ARN")
			equal(t, m.KeyState, types.KeyStateEnabled, "state")
			equal(t, m.Enabled, true, "enabled")
			equal(t, m.KeySpec, types.KeySpecSymmetricDefault, "spec")
			equal(t, m.KeyUsage, types.KeyUsageTypeEncryptDecrypt, "usage")
		}
	}},
	{"a key that does not exist", func(t *trial, c *kms.Client) {
		k := testKey{trial: t, client: c, id: aws.String("00000000-0000-4000-8000-000000000000")}
		_, err := k.generate(sealContext)
		wantError[*types.NotFoundException](t, err, "generating")
		_, err = c.DescribeKey(t, &kms.DescribeKeyInput{KeyId: aws.String("alias/" + randomName())})
		wantError[*types.NotFoundException](t, err, "describing an alias")
	}},
	{"a disabled key", func(t *trial, c *kms.Client) {
		k := newKey(t, c)
		g := k.mustGenerate(sealContext)
		_, err := c.DisableKey(t, &kms.DisableKeyInput{KeyId: k.id})
		t.noError(err, "disabling")
		_, err = k.generate(sealContext)
		wantError[*types.DisabledException](t, err, "generating")
		_, err = k.decrypt(g.CiphertextBlob, sealContext)
		wantError[*types.DisabledException](t, err, "decrypting")
		_, err = c.EnableKey(t, &kms.EnableKeyInput{KeyId: k.id})
		t.noError(err, "enabling")
		k.opens(g, sealContext)
	}},
}

var aliasChecks = []check[*kms.Client]{
	{"an alias and its move", func(t *trial, c *kms.Client) {
		old, next := newKey(t, c), newKey(t, c)
		name := aws.String("alias/" + randomName())
		_, err := c.CreateAlias(t, &kms.CreateAliasInput{AliasName: name, TargetKeyId: old.id})
		t.noError(err, "creating")
		t.later(
			func() { _, _ = c.DeleteAlias(t, &kms.DeleteAliasInput{AliasName: name}) }) // AWS has it, the fake does not
		_, err = c.CreateAlias(t, &kms.CreateAliasInput{AliasName: name, TargetKeyId: next.id})
		wantError[*types.AlreadyExistsException](t, err, "creating again")

		byAlias := testKey{t, c, name, old.arn}
		g := byAlias.mustGenerate(sealContext)
		equal(t, *g.KeyId, old.arn, "the key behind the alias")
		_, err = c.UpdateAlias(t, &kms.UpdateAliasInput{AliasName: name, TargetKeyId: next.id})
		t.noError(err, "moving")
		equal(t, *byAlias.mustGenerate(sealContext).KeyId, next.arn, "the key behind the moved alias")
		old.opens(g, sealContext)
	}},
	{"an alias that does not exist", func(t *trial, c *kms.Client) {
		k := newKey(t, c)
		_, err := c.UpdateAlias(t,
			&kms.UpdateAliasInput{AliasName: aws.String("alias/" + randomName()), TargetKeyId: k.id})
		wantError[*types.NotFoundException](t, err, "moving")
	}},
}
