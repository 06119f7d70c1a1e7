package awswire

import (
	"bytes"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
)

// Call is one request on its way through a service. It is reused: nothing of it may be kept after Observe returns,
// but its strings may.
type Call struct {
	Op        string // the operation, without the service's prefix
	AccessKey string // from the signature; empty when the request was not signed
	Host      string // as the client wrote it, so that a URL in an answer leads back to where the client came from
	Remote    string // where the client called from, with its port
	UserAgent string
	Start     time.Time
	Body      []byte // the request
	Out       []byte // the answer: appended to

	// Note is the service's own, handed to Observe.
	Note any

	body bytes.Buffer
	id   uuid.UUID
}

// keepBytes is the largest buffer a call hands to the next one; larger ones are left to the garbage collector.
const keepBytes = 256 << 10

var calls = sync.Pool{New: func() any { return new(Call) }}

func newCall() *Call {
	c := calls.Get().(*Call)
	c.id = NewID()
	return c
}

func (c *Call) release() {
	if c.body.Cap() > keepBytes || cap(c.Out) > keepBytes {
		return
	}
	*c = Call{body: c.body, Out: c.Out[:0]}
	calls.Put(c)
}

// RequestID is the x-amzn-RequestId of the answer.
func (c *Call) RequestID() string { return c.id.String() }

// Decode reads the request into v. Members it does not know are ignored, as AWS does; a duplicate member, invalid
// UTF-8 and anything that is not JSON is a SerializationException.
func (c *Call) Decode(v any) error {
	if len(c.Body) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.Body, v); err != nil {
		return ErrSerialization.Because(err.Error())
	}
	return nil
}

// Encode makes v the answer.
func (c *Call) Encode(v any) error {
	text, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return err
	}
	c.Out = append(c.Out, text...)
	return nil
}

// EncodeEmpty makes the answer an empty object.
func (c *Call) EncodeEmpty() { c.Out = append(c.Out, "{}"...) }
