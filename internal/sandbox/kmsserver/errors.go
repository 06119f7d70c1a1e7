package kmsserver

import (
	"fmt"
	"net/http"

	"cloakroom/internal/sandbox/awswire"
)

// The refusals of KMS, for comparing and for injecting.
var (
	ErrNotFound          = refusal("NotFoundException", "")
	ErrDisabled          = refusal("DisabledException", "The key is disabled.")
	ErrInvalidCiphertext = refusal("InvalidCiphertextException", "") // AWS does not say why, nor do we
	ErrIncorrectKey      = refusal("IncorrectKeyException",
		"The key ID in the request does not identify a CMK that can perform this operation.")
	ErrInvalidKeyUsage  = refusal("InvalidKeyUsageException", "")
	ErrAccessDenied     = refusal("AccessDeniedException", "Access is denied.")
	ErrAlreadyExists    = refusal("AlreadyExistsException", "")
	ErrInvalidAliasName = refusal("InvalidAliasNameException", "")
	ErrDryRun           = refusal("DryRunOperationException",
		"The request would have succeeded, but the DryRun option is set.")
	ErrUnsupportedOperation = refusal("UnsupportedOperationException", "")
	ErrThrottling           = refusal("ThrottlingException", "Rate exceeded")
	ErrValidation           = refusal("ValidationException", "")
	ErrUnrecognizedClient   = refusal("UnrecognizedClientException",
		"The security token included in the request is invalid.")
	ErrInvalidSignature = refusal(
		"InvalidSignatureException",
		"The request signature we calculated does not match the signature you provided. "+
			"Check your AWS Secret Access Key and signing method.",
	)
	ErrInternal = &awswire.Error{
		Shape:   "KMSInternalException",
		Status:  http.StatusInternalServerError,
		Message: "An internal error.",
	}
	ErrKeyUnavailable = &awswire.Error{
		Shape:   "KeyUnavailableException",
		Status:  http.StatusInternalServerError,
		Message: "The key is not available.",
	}
	ErrDependencyTimeout = &awswire.Error{
		Shape:   "DependencyTimeoutException",
		Status:  http.StatusServiceUnavailable,
		Message: "A dependency timed out.",
	}
	ErrServiceUnavailable = awswire.ErrServiceUnavailable
	errSymmetricOnly      = ErrUnsupportedOperation.Because(
		"This fake of KMS has only symmetric keys, which it makes itself.")
	errNoRecipients          = ErrUnsupportedOperation.Because("This fake of KMS knows no attested recipients.")
	errAlgorithm             = ErrInvalidKeyUsage.Because("The key takes SYMMETRIC_DEFAULT only.")
	errCiphertextOfElsewhere = ErrAccessDenied.Because(
		"The ciphertext refers to a customer master key that does not exist, " +
			"does not exist in this region, or you are not allowed to access.",
	)
)

func refusal(shape, message string) *awswire.Error {
	return &awswire.Error{Shape: shape, Status: http.StatusBadRequest, Message: message}
}

func invalid(format string, args ...any) error {
	return ErrValidation.Because("1 validation error detected: " + fmt.Sprintf(format, args...))
}

func missing(member string) error {
	return invalid("Value null at '%s' failed to satisfy constraint: Member must not be null", member)
}
