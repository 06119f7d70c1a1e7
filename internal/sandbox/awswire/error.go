package awswire

import (
	"errors"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"
)

// Error is an answer that is not success. Clients type it by Shape.
type Error struct {
	Shape   string // such as "QueueDoesNotExist"
	Legacy  string // the query protocol's code for it; empty: the same as Shape
	Status  int    // HTTP status
	Message string // may be empty: AWS says nothing with InvalidCiphertextException
}

// What either service may answer.
var (
	ErrUnknownOperation = &Error{Shape: "UnknownOperationException", Status: http.StatusNotFound}
	ErrSerialization    = &Error{Shape: "SerializationException", Status: http.StatusBadRequest}
	ErrTooLarge         = &Error{Shape: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge}
	ErrInternalFailure  = &Error{
		Shape:   "InternalFailure",
		Status:  http.StatusInternalServerError,
		Message: "The request failed because of an internal failure.",
	}
	ErrServiceUnavailable = &Error{
		Shape:   "ServiceUnavailable",
		Status:  http.StatusServiceUnavailable,
		Message: "The service is away for the moment.",
	}
	ErrMissingToken = &Error{
		Shape:   "MissingAuthenticationTokenException",
		Legacy:  "MissingAuthenticationToken",
		Status:  http.StatusForbidden,
		Message: "Request is missing Authentication Token",
	}
)

// Error implements error.
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Shape
	}
	return e.Shape + ": " + e.Message
}

// Is says that two errors are the same refusal when they have the same shape.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Shape == e.Shape
}

// Because returns a copy of e with another message.
func (e *Error) Because(message string) *Error {
	with := *e
	with.Message = message
	return &with
}

// Code is what the query protocol called the error, and what a failed entry of a batch carries.
func (e *Error) Code() string {
	if e.Legacy != "" {
		return e.Legacy
	}
	return e.Shape
}

// SenderFault tells the client's mistakes from the server's.
func (e *Error) SenderFault() bool { return e.Status < http.StatusInternalServerError }

func (e *Error) legacyHeader() string {
	if e.SenderFault() {
		return e.Code() + ";Sender"
	}
	return e.Code() + ";Receiver"
}

func (e *Error) appendJSON(dst []byte, namespace string) []byte {
	dst = append(dst, `{"__type":`...)
	dst = AppendString(dst, namespace+e.Shape)
	if e.Message != "" {
		dst = append(dst, `,"message":`...)
		dst = AppendString(dst, e.Message)
	}
	return append(dst, '}')
}

// AppendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// Outcome names how a call ended, for a call log: "ok", "dropped", or the shape of its error.
func Outcome(err error) string {
	var refusal *Error
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrDropped):
		return "dropped"
	case errors.As(err, &refusal):
		return refusal.Shape
	}
	return ErrInternalFailure.Shape
}
