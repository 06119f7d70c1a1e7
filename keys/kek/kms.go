package kek

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	"github.com/google/uuid"

	"cloakroom/internal/secret"
)

// kmsKEK is a symmetric AWS KMS key. Region, credentials and endpoint come from the AWS SDK's own
// configuration (AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL_KMS, instance roles and so on).
type kmsKEK struct {
	uri    string
	keyID  string // alias/NAME, a key id or an ARN
	client *kms.Client
}

func openKMS(ctx context.Context, uri string) (*kmsKEK, error) {
	keyID := strings.TrimPrefix(uri, "awskms:///")
	if keyID == "" {
		return nil, fmt.Errorf("opening KEK %s: name the key, awskms:///alias/cloakroom", uri)
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening KEK %s: reading the AWS configuration: %w", uri, err)
	}
	if cfg.Region == "" {
		return nil, fmt.Errorf("opening KEK %s: no AWS region is configured: set AWS_REGION", uri)
	}
	return &kmsKEK{uri: uri, keyID: keyID, client: kms.NewFromConfig(cfg)}, nil
}

// callTimeout bounds one operation and the SDK's retries. The SDK's HTTP client has no timeout of
// its own: a KMS that accepts the call and never answers would block it.
const callTimeout = 10 * time.Second

func (k *kmsKEK) GenerateDataKey(ctx context.Context, b Binding) (secret.Bytes, Wrapped, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := k.client.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
		KeyId: &k.keyID, KeySpec: types.DataKeySpecAes256, EncryptionContext: b.Map(),
	}, journalled(ctx, "GenerateDataKey", b))
	if err != nil {
		return secret.Bytes{}, Wrapped{}, k.explain("generating", b, "GenerateDataKey", err)
	}
	key := secret.New(out.Plaintext)
	if key.Len() != KeySize || len(out.CiphertextBlob) == 0 {
		key.Destroy()
		return secret.Bytes{}, Wrapped{}, fmt.Errorf("generating %s with %s: KMS answered %d bytes of key: %w", b,
			k.uri, len(out.Plaintext), ErrUnavailable)
	}
	return key, k.wrapped(out.KeyId, out.CiphertextBlob), nil
}

func (k *kmsKEK) Unwrap(ctx context.Context, w Wrapped, b Binding) (secret.Bytes, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := k.client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: w.Blob, KeyId: &w.KEKID,
		EncryptionContext: b.Map()}, journalled(ctx, "Decrypt", b))
	if err != nil {
		return secret.Bytes{}, k.explain("unwrapping", b, "Decrypt", err)
	}
	key := secret.New(out.Plaintext)
	if key.Len() != KeySize {
		key.Destroy()
		return secret.Bytes{}, fmt.Errorf("unwrapping %s with %s: %w", b, k.uri, ErrUnwrap)
	}
	return key, nil
}

func (k *kmsKEK) wrap(ctx context.Context, key secret.Bytes, b Binding) (Wrapped, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := k.client.Encrypt(ctx, &kms.EncryptInput{KeyId: &k.keyID, Plaintext: key.Expose(),
		EncryptionContext: b.Map()})
	if err != nil {
		return Wrapped{}, k.explain("wrapping", b, "Encrypt", err)
	}
	return k.wrapped(out.KeyId, out.CiphertextBlob), nil
}

// wrapped names the key that KMS used by its ARN: an alias may point to another key later.
func (k *kmsKEK) wrapped(keyID *string, blob []byte) Wrapped {
	return Wrapped{KEK: k.uri, KEKID: cmp.Or(aws.ToString(keyID), k.keyID), Blob: blob}
}

// reEncrypt moves a key from another KMS key inside KMS. A second ReEncrypt, whose result is
// discarded, proves that the new wrapping unwraps with the same binding.
func (k *kmsKEK) reEncrypt(ctx context.Context, source Provider, w Wrapped, b Binding) (Wrapped, bool, error) {
	from, ok := source.(*kmsKEK)
	if !ok {
		return Wrapped{}, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	out, err := k.client.ReEncrypt(ctx, &kms.ReEncryptInput{
		CiphertextBlob: w.Blob, SourceKeyId: &w.KEKID, SourceEncryptionContext: b.Map(),
		DestinationKeyId: &k.keyID, DestinationEncryptionContext: b.Map(),
	})
	if err != nil {
		return Wrapped{}, true, from.explain("rewrapping", b, "ReEncrypt", err)
	}
	if _, err := k.client.ReEncrypt(ctx, &kms.ReEncryptInput{
		CiphertextBlob: out.CiphertextBlob, SourceKeyId: out.KeyId, SourceEncryptionContext: b.Map(),
		DestinationKeyId: out.KeyId, DestinationEncryptionContext: b.Map(),
	}); err != nil {
		return Wrapped{}, true, k.explain("checking the rewrapped", b, "ReEncrypt", err)
	}
	return k.wrapped(out.KeyId, out.CiphertextBlob), true, nil
}

func (k *kmsKEK) resolve(ctx context.Context, vault uuid.UUID) (string, error) {
	// Purpose index: who makes index keys may add a KEK and rewrap. No index key has the number 0.
	key, w, err := k.GenerateDataKey(ctx, Binding{Vault: vault, Purpose: Index})
	key.Destroy()
	return w.KEKID, err
}

// holds reports any KMS key: IAM decides which of them these credentials may use.
func (k *kmsKEK) holds(w Wrapped) bool { return !strings.HasPrefix(w.KEKID, filePrefix) }

// explain sorts a KMS error into what a caller can do about it. The SDK has retried by then (3
// attempts).
func (k *kmsKEK) explain(doing string, b Binding, operation string, err error) error {
	var (
		notFound   *types.NotFoundException
		disabled   *types.DisabledException
		state      *types.KMSInvalidStateException
		ciphertext *types.InvalidCiphertextException
		incorrect  *types.IncorrectKeyException
		usage      *types.InvalidKeyUsageException
		api        smithy.APIError
	)
	sort, hint := ErrUnavailable, "check the network, AWS_REGION and the KMS endpoint"
	switch {
	case errors.As(err, &notFound):
		sort, hint = ErrNotFound, "check the alias or ARN in --kek, AWS_REGION and the account; if the key was "+
			"deleted, these values stay closed"
	case errors.As(err, &disabled), errors.As(err, &state), errors.As(err, &usage):
		sort, hint = ErrDisabled, "enable the KMS key, or cancel its deletion; without it these values stay closed"
	case errors.As(err, &ciphertext), errors.As(err, &incorrect):
		sort, hint = ErrUnwrap, "compare the vault with a backup (docs/operations.md)"
	case errors.As(err, &api):
		switch api.ErrorCode() {
		case "AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignature",
			"InvalidClientTokenId", "ExpiredTokenException", "MissingAuthenticationToken",
			"NotAuthorized", "OptInRequired":
			sort, hint = ErrDenied, fmt.Sprintf("allow kms:%s with purpose=%s (deploy/iam)", operation, b.Purpose)
		}
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s %s with %s: %w", doing, b, k.uri, context.Canceled)
	}
	detail := ""
	if errors.As(err, &api) {
		detail = ": " + api.ErrorCode()
	}
	return fmt.Errorf("%s %s with %s: %w%s: %s", doing, b, k.uri, sort, detail, hint)
}
