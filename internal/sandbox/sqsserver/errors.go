package sqsserver

import (
	"fmt"
	"net/http"

	"cloakroom/internal/sandbox/awswire"
)

const legacy = "AWS.SimpleQueueService."

// The refusals of SQS, for comparing and for injecting.
var (
	ErrQueueDoesNotExist = &awswire.Error{
		Shape:   "QueueDoesNotExist",
		Legacy:  legacy + "NonExistentQueue",
		Status:  http.StatusBadRequest,
		Message: "The specified queue does not exist.",
	}
	ErrQueueNameExists = &awswire.Error{
		Shape:  "QueueNameExists",
		Legacy: "QueueAlreadyExists",
		Status: http.StatusBadRequest,
	}
	ErrReceiptHandleIsInvalid = &awswire.Error{
		Shape:   "ReceiptHandleIsInvalid",
		Status:  http.StatusNotFound,
		Message: "The input receipt handle is invalid.",
	}
	ErrMessageNotInflight = &awswire.Error{
		Shape:   "MessageNotInflight",
		Legacy:  legacy + "MessageNotInflight",
		Status:  http.StatusBadRequest,
		Message: "The specified message is not in flight.",
	}
	ErrOverLimit = &awswire.Error{
		Shape:   "OverLimit",
		Status:  http.StatusForbidden,
		Message: "The maximum number of messages in flight was reached.",
	}
	ErrRequestThrottled = &awswire.Error{
		Shape:   "RequestThrottled",
		Status:  http.StatusForbidden,
		Message: "Request is throttled.",
	}
	ErrPurgeQueueInProgress = &awswire.Error{
		Shape:  "PurgeQueueInProgress",
		Legacy: legacy + "PurgeQueueInProgress",
		Status: http.StatusForbidden,
	}
	ErrTooManyEntriesInBatchRequest = &awswire.Error{
		Shape:  "TooManyEntriesInBatchRequest",
		Legacy: legacy + "TooManyEntriesInBatchRequest",
		Status: http.StatusBadRequest,
	}
	ErrEmptyBatchRequest = &awswire.Error{
		Shape:   "EmptyBatchRequest",
		Legacy:  legacy + "EmptyBatchRequest",
		Status:  http.StatusBadRequest,
		Message: "There should be at least one entry in the request.",
	}
	ErrBatchEntryIdsNotDistinct = &awswire.Error{
		Shape:  "BatchEntryIdsNotDistinct",
		Legacy: legacy + "BatchEntryIdsNotDistinct",
		Status: http.StatusBadRequest,
	}
	ErrInvalidBatchEntryId = &awswire.Error{
		Shape:  "InvalidBatchEntryId",
		Legacy: legacy + "InvalidBatchEntryId",
		Status: http.StatusBadRequest,
		Message: "A batch entry id can only contain alphanumeric characters, hyphens and underscores. " +
			"It can be at most 80 letters long.",
	}
	ErrBatchRequestTooLong = &awswire.Error{
		Shape:  "BatchRequestTooLong",
		Legacy: legacy + "BatchRequestTooLong",
		Status: http.StatusBadRequest,
	}
	ErrInvalidMessageContents = &awswire.Error{
		Shape:  "InvalidMessageContents",
		Status: http.StatusBadRequest,
		Message: "Invalid characters found. " +
			"Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.",
	}
	ErrInvalidAttributeName  = &awswire.Error{Shape: "InvalidAttributeName", Status: http.StatusBadRequest}
	ErrInvalidAttributeValue = &awswire.Error{Shape: "InvalidAttributeValue", Status: http.StatusBadRequest}
	ErrInvalidParameterValue = &awswire.Error{
		Shape:  "InvalidParameterValueException",
		Legacy: "InvalidParameterValue",
		Status: http.StatusBadRequest,
	}
	ErrMissingParameter = &awswire.Error{
		Shape:  "MissingRequiredParameterException",
		Legacy: "MissingParameter",
		Status: http.StatusBadRequest,
	}
	ErrUnsupportedOperation = &awswire.Error{
		Shape:  "UnsupportedOperation",
		Legacy: legacy + "UnsupportedOperation",
		Status: http.StatusBadRequest,
	}
	ErrAccessDenied = &awswire.Error{
		Shape:   "AccessDeniedException",
		Legacy:  "AccessDenied",
		Status:  http.StatusForbidden,
		Message: "Access to the resource is denied.",
	}
	ErrInvalidClientTokenID = &awswire.Error{
		Shape:   "InvalidClientTokenId",
		Status:  http.StatusForbidden,
		Message: "The security token included in the request is invalid.",
	}
	ErrSignatureDoesNotMatch = &awswire.Error{
		Shape:  "SignatureDoesNotMatch",
		Status: http.StatusForbidden,
		Message: "The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method.",
	}
	ErrInternalFailure    = awswire.ErrInternalFailure
	ErrServiceUnavailable = awswire.ErrServiceUnavailable
)

func badParameter(name string, value any, reason string) error {
	return ErrInvalidParameterValue.Because(
		fmt.Sprintf("Value %v for parameter %s is invalid. Reason: %s", value, name, reason))
}

func missingParameter(name string) error {
	return ErrMissingParameter.Because(fmt.Sprintf("The request must contain the parameter %s.", name))
}
