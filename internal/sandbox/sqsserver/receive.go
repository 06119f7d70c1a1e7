package sqsserver

import (
	"context"
	"encoding/hex"
	"slices"
	"strconv"
	"sync"

	"github.com/google/uuid"

	"cloakroom/internal/sandbox/awswire"
)

type receiveRequest struct {
	QueueURL          string   `json:"QueueUrl"`
	Max               *int     `json:"MaxNumberOfMessages"`
	VisibilityTimeout *int     `json:"VisibilityTimeout"`
	WaitTimeSeconds   *int     `json:"WaitTimeSeconds"`
	System            []string `json:"MessageSystemAttributeNames"`
	LegacySystem      []string `json:"AttributeNames"`
	Attributes        []string `json:"MessageAttributeNames"`
}

const maxWait = 20

func (r *receiveRequest) check() error {
	if n := valueOr(r.Max, 1); n < 1 || n > maxBatch {
		return badParameter("MaxNumberOfMessages", n, "Must be between 1 and 10, if provided.")
	}
	if n := valueOr(r.WaitTimeSeconds, 0); n < 0 || n > maxWait {
		return badParameter("WaitTimeSeconds", n, "Must be >= 0 and <= 20, if provided.")
	}
	return checkVisibility(valueOr(r.VisibilityTimeout, 0))
}

func checkVisibility(seconds int) error {
	if seconds < 0 || seconds > maxVisibility {
		return badParameter("VisibilityTimeout", seconds, "Must be between 0 and 43200, if provided.")
	}
	return nil
}

var deliveries = sync.Pool{New: func() any { return new([maxBatch]delivery) }}

func (s *Server) receiveMessage(ctx context.Context, c *awswire.Call) error {
	var in receiveRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	q, err := s.queueAt(in.QueueURL)
	if err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	told, err := toldOf(append(in.System, in.LegacySystem...))
	if err != nil {
		return err
	}
	room := deliveries.Get().(*[maxBatch]delivery)
	defer func() {
		*room = [maxBatch]delivery{}
		deliveries.Put(room)
	}()
	d := demand{
		most:       valueOr(in.Max, 1),
		visibility: in.VisibilityTimeout,
		wait:       in.WaitTimeSeconds,
		limit:      s.config.InFlightLimit,
	}
	got, err := q.deliver(ctx, d, room[:0], s.queueByARN)
	if err != nil {
		return err
	}
	if len(got) == 0 {
		c.EncodeEmpty()
		return nil
	}
	c.Out = append(c.Out, `{"Messages":[`...)
	for i := range got {
		if i > 0 {
			c.Out = append(c.Out, ',')
		}
		c.Out = s.appendDelivery(c.Out, &got[i], told, in.Attributes)
	}
	c.Out = append(c.Out, "]}"...)
	return nil
}

// told is the set of a message's system attributes that a receive asked for.
type told uint8

const (
	tellSender told = 1 << iota
	tellSent
	tellReceives
	tellFirst
	tellTrace
	tellSource
	tellAll = 1<<iota - 1
)

var systemNames = map[string]told{
	"All":                              tellAll,
	"SenderId":                         tellSender,
	"SentTimestamp":                    tellSent,
	"ApproximateReceiveCount":          tellReceives,
	"ApproximateFirstReceiveTimestamp": tellFirst,
	"AWSTraceHeader":                   tellTrace,
	"DeadLetterQueueSourceArn":         tellSource,
	"SequenceNumber":                   0, // of FIFO queues, as the next two
	"MessageDeduplicationId":           0,
	"MessageGroupId":                   0,
}

func toldOf(names []string) (told, error) {
	var t told
	for _, name := range names {
		one, ok := systemNames[name]
		if !ok {
			return 0, ErrInvalidAttributeName.Because("Unknown Attribute " + name + ".")
		}
		t |= one
	}
	return t, nil
}

func (s *Server) appendDelivery(out []byte, d *delivery, t told, asked []string) []byte {
	out = append(out, `{"MessageId":`...)
	if d.rare != nil && d.rare.id != "" {
		out = awswire.AppendString(out, d.rare.id)
	} else {
		out = append(appendUUID(append(out, '"'), d.id), '"')
	}
	out = append(out, `,"ReceiptHandle":"`...)
	out = s.handles.append(out, d.handle)
	out = append(out, `","MD5OfBody":"`...)
	out = hex.AppendEncode(out, d.md5[:])
	out = append(out, `","Body":`...)
	out = awswire.AppendString(out, d.body)
	out = d.appendSystem(out, t)
	if d.rare != nil && len(asked) > 0 {
		out = appendChosen(out, chosenAttributes(d.rare.attributes, asked))
	}
	return append(out, '}')
}

// appendSystem appends the member Attributes, if there is anything to tell.
func (d *delivery) appendSystem(out []byte, t told) []byte {
	if d.rare == nil {
		t &^= tellTrace | tellSource
	}
	const open = `,"Attributes":{`
	start := len(out)
	out = append(out, open...)
	text := func(name, value string) {
		out = append(append(append(out, '"'), name...), `":`...)
		out = append(awswire.AppendString(out, value), ',')
	}
	number := func(name string, value int64) {
		out = append(append(append(out, '"'), name...), `":"`...)
		out = append(strconv.AppendInt(out, value, 10), `",`...)
	}
	if t&tellSender != 0 {
		text("SenderId", d.sender)
	}
	if t&tellSent != 0 {
		number("SentTimestamp", d.sent)
	}
	if t&tellReceives != 0 {
		number("ApproximateReceiveCount", int64(d.receives))
	}
	if t&tellFirst != 0 {
		number("ApproximateFirstReceiveTimestamp", d.firstReceived)
	}
	if t&tellTrace != 0 && d.rare.trace != "" {
		text("AWSTraceHeader", d.rare.trace)
	}
	if t&tellSource != 0 && d.rare.source != "" {
		text("DeadLetterQueueSourceArn", d.rare.source)
	}
	if len(out) == start+len(open) {
		return out[:start]
	}
	out[len(out)-1] = '}' // in place of the last comma
	return out
}

func appendUUID(out []byte, id uuid.UUID) []byte {
	out = slices.Grow(out, 36)
	out = hex.AppendEncode(out, id[:4])
	for _, part := range [...][]byte{id[4:6], id[6:8], id[8:10], id[10:]} {
		out = hex.AppendEncode(append(out, '-'), part)
	}
	return out
}
