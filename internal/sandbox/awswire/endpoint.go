// Package awswire is the ground that the sandbox's fakes of SQS and KMS share: the JSON protocol of AWS
// (one POST per operation, named in X-Amz-Target), its errors, the access key in a signature, faults on order,
// and a loopback listener.
//
// It promises that aws-sdk-go-v2 takes an answer for AWS's own: shape names, status codes, request ids. It does not
// speak the older query protocol, TLS, presigned URLs or session tokens, and it reads a signature's access key
// without checking the signature unless a secret is known for that key.
package awswire

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRequestBytes bounds a request's body. SQS takes 1 MiB of text, which JSON may write with six bytes for one.
const maxRequestBytes = 8 << 20

// Endpoint turns HTTP requests into calls of one service.
type Endpoint struct {
	// TargetPrefix is what stands before the operation in X-Amz-Target, such as "AmazonSQS.".
	TargetPrefix string
	// ContentType of every answer.
	ContentType string
	// Namespace stands before the shape name in an error's __type, such as "com.amazonaws.sqs#"; may be empty.
	Namespace string
	// LegacyCodes adds the header x-amzn-query-error, which clients prefer to the shape name for an error's code.
	LegacyCodes bool

	// Keys says which access keys are let in; nil lets in everybody, also without a signature.
	Keys *Keys
	// Faults meets every call before the service does.
	Faults *Faults
	// Resource says what a call is about, for Fault.Resource; nil: faults cannot tell.
	Resource func(c *Call) string
	// Do performs a call: it reads c.Body and appends its answer to c.Out. An error that is not an *Error is
	// answered as InternalFailure.
	Do func(ctx context.Context, c *Call) error
	// Observe is told of every call when it is over, including refused and dropped ones; may be nil.
	Observe func(c *Call, outcome error)
	// Now is the clock of Call.Start; nil is time.Now.
	Now func() time.Time
}

// ErrDropped is the outcome of a call whose connection a fault cut without an answer.
var ErrDropped = errors.New("connection dropped by a fault")

// ServeHTTP implements http.Handler.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := newCall()
	defer c.release()
	c.Host, c.Remote, c.UserAgent = r.Host, r.RemoteAddr, r.UserAgent()
	c.Start = e.now()

	outcome := e.call(r, c)
	if e.Observe != nil {
		e.Observe(c, outcome)
	}
	if errors.Is(outcome, ErrDropped) {
		panic(http.ErrAbortHandler)
	}
	e.answer(w, c, outcome)
}

func (e *Endpoint) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

func (e *Endpoint) call(r *http.Request, c *Call) error {
	op, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), e.TargetPrefix)
	if !ok || op == "" || r.Method != http.MethodPost {
		return ErrUnknownOperation.Because(
			"POST an operation with the header X-Amz-Target: " + e.TargetPrefix + "NAME.")
	}
	c.Op = op
	if err := c.readBody(r); err != nil {
		return err
	}
	if err := e.Keys.admit(r, c); err != nil {
		return err
	}

	resource := ""
	if e.Resource != nil && e.Faults.armed.Load() {
		resource = e.Resource(c)
	}
	fault, faulty := e.Faults.Meet(op, resource)
	if !faulty {
		return e.Do(r.Context(), c)
	}
	if err := fault.Wait(r.Context()); err != nil {
		return err
	}
	if !fault.After {
		if err := fault.Strike(); err != nil {
			return err
		}
	}
	err := e.Do(r.Context(), c)
	if fault.After {
		if struck := fault.Strike(); struck != nil {
			return struck
		}
	}
	return err
}

func (c *Call) readBody(r *http.Request) error {
	if r.ContentLength > maxRequestBytes {
		return ErrTooLarge
	}
	c.body.Reset()
	if r.ContentLength > 0 {
		c.body.Grow(int(r.ContentLength))
	}
	n, err := c.body.ReadFrom(io.LimitReader(r.Body, maxRequestBytes+1))
	if err != nil {
		return ErrSerialization.Because("The request's body ended early.")
	}
	if n > maxRequestBytes {
		return ErrTooLarge
	}
	c.Body = c.body.Bytes()
	return nil
}

func (e *Endpoint) answer(w http.ResponseWriter, c *Call, outcome error) {
	status := http.StatusOK
	header := w.Header()
	if outcome != nil {
		var refusal *Error
		if !errors.As(outcome, &refusal) {
			refusal = ErrInternalFailure.Because(outcome.Error())
		}
		status = refusal.Status
		c.Out = refusal.appendJSON(c.Out[:0], e.Namespace)
		if e.LegacyCodes {
			header["X-Amzn-Query-Error"] = []string{refusal.legacyHeader()}
		}
	}
	header["Content-Type"] = []string{e.ContentType}
	header["X-Amzn-Requestid"] = []string{c.RequestID()}
	header["Content-Length"] = []string{strconv.Itoa(len(c.Out))}
	w.WriteHeader(status)
	_, _ = w.Write(c.Out) // a client that went away is not the server's failure
}
