package direct

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// Handover says that the SDK's client must make the call, or finish it. Pass Options to that call.
type Handover struct {
	reason error

	// What came of the attempt that was made; all nil where none was.
	failure  error // no answer
	response *http.Response
	body     []byte
	cut      error // what ended the body early
}

// Error says why, without a byte of the answer.
func (h *Handover) Error() string { return "left to the AWS SDK: " + h.reason.Error() }

// Options makes one call of the SDK's client begin with the attempt that was made already. The SDK sees its outcome
// below its middleware, so that it counts as the first attempt: three of them stay three.
func (h *Handover) Options(o *sqs.Options) {
	if h.failure != nil || h.response != nil {
		o.HTTPClient = &replay{attempt: h, next: o.HTTPClient}
	}
}

// replay answers the first request with what is known, and passes on the rest.
type replay struct {
	attempt *Handover
	used    atomic.Bool
	next    sqs.HTTPClient
}

// Do implements sqs.HTTPClient.
func (r *replay) Do(request *http.Request) (*http.Response, error) {
	if r.used.Swap(true) {
		return r.next.Do(request)
	}
	if request.Body != nil {
		_ = request.Body.Close() // as an HTTP client must; there is nothing to lose
	}
	if r.attempt.failure != nil {
		return nil, r.attempt.failure
	}
	answer := *r.attempt.response
	answer.Request = request
	var body io.Reader = bytes.NewReader(r.attempt.body)
	if r.attempt.cut != nil {
		body = io.MultiReader(body, failing{r.attempt.cut})
	}
	answer.Body = io.NopCloser(body)
	return &answer, nil
}

// failing is a reader that fails. An answer that is cut must not look like one that ends.
type failing struct{ error }

func (f failing) Read([]byte) (int, error) {
	if errors.Is(f.error, io.EOF) {
		return 0, io.ErrUnexpectedEOF
	}
	return 0, f.error
}
