package s3server

import (
	"encoding/xml"
	"errors"
	"net/http"

	"cloakroom/internal/sandbox/awswire"
)

// The refusals of S3, for comparing and for injecting.
var (
	ErrNoSuchKey     = refusal(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	ErrNoSuchVersion = refusal(http.StatusNotFound, "NoSuchVersion", "The specified version does not exist.")
	ErrNoSuchBucket  = refusal(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist.")
	ErrBucketExists  = refusal(http.StatusConflict, "BucketAlreadyOwnedByYou", "The bucket is yours already.")
	ErrAccessDenied  = refusal(http.StatusForbidden, "AccessDenied", "Access Denied")
	ErrArchived      = refusal(http.StatusForbidden, "InvalidObjectState",
		"The operation is not valid for the object's storage class")
	ErrPrecondition = refusal(http.StatusPreconditionFailed, "PreconditionFailed",
		"At least one of the pre-conditions you specified did not hold")
	ErrInvalidRange = refusal(http.StatusRequestedRangeNotSatisfiable, "InvalidRange",
		"The requested range is not satisfiable")
	ErrDeleteMarker   = refusal(http.StatusMethodNotAllowed, "MethodNotAllowed", "The version is a delete marker.")
	ErrKeyTooLong     = refusal(http.StatusBadRequest, "KeyTooLongError", "Your key is too long")
	ErrTooLarge       = refusal(http.StatusBadRequest, "EntityTooLarge", "This fake of S3 takes up to 64 MiB.")
	ErrIncompleteBody = refusal(http.StatusBadRequest, "IncompleteBody", "The request's body ended early.")
	ErrSlowDown       = refusal(http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
	ErrInternal       = refusal(http.StatusInternalServerError, "InternalError",
		"We encountered an internal error. Please try again.")
	ErrNotImplemented = refusal(http.StatusNotImplemented, "NotImplemented", "This fake of S3 has no such operation.")
)

func refusal(status int, code, message string) *awswire.Error {
	return &awswire.Error{Shape: code, Status: status, Message: message}
}

// errorXML is S3's error document.
type errorXML struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	Bucket    string `xml:"BucketName,omitempty"`
	RequestID string `xml:"RequestId"`
}

func answerError(r *request, err error) {
	var said *awswire.Error
	if !errors.As(err, &said) {
		said = ErrInternal
	}
	r.w.Header().Set("Content-Type", "application/xml")
	r.w.WriteHeader(said.Status)
	if r.Method != http.MethodHead { // whose answers have no body
		writeXML(r.w, errorXML{
			Code: said.Shape, Message: said.Message, Bucket: r.bucket, RequestID: r.w.Header().Get("X-Amz-Request-Id"),
		})
	}
}

// writeXML ignores a client that went away: it is not the server's failure.
func writeXML(w http.ResponseWriter, document any) {
	text, err := xml.Marshal(document)
	if err != nil {
		panic(err) // our own types
	}
	_, _ = w.Write(append([]byte(xml.Header), text...))
}
