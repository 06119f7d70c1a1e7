package sqsserver

import (
	"crypto/md5"
	"time"

	"github.com/google/uuid"

	"cloakroom/internal/sandbox/awswire"
)

// Message is a message as tests put it in and see it: what lies in a queue, not what a receive answers.
type Message struct {
	ID     string    // empty: a random UUID
	Body   string    // not checked when put in by Put
	SentAt time.Time // zero: now; SentTimestamp has milliseconds
	Sender string    // the access key that sent it

	Attributes map[string]Attribute
	Receives   int // how often it was received
}

// state of a message in its queue.
type state uint8

const (
	free     state = iota // the slot holds no message
	ready                 // visible
	delayed               // sent with a delay that still runs
	inFlight              // received, and its visibility timeout still runs
)

// message is what a queue keeps of a message: 120 bytes besides the body.
type message struct {
	id            uuid.UUID
	md5           [md5.Size]byte
	body          string
	sender        string
	rare          *rare
	sent          int64 // milliseconds since the epoch, as all times here
	firstReceived int64
	received      int64  // the latest receive
	serial        uint64 // which message of its queue it is, so that a handle knows a slot's next tenant
	receives      uint32
	stamp         uint32 // raised whenever it becomes ready, so that a stale place in the ready ring is known
	timer         int32  // its place among the deadlines
	state         state
}

// rare is what few messages have.
type rare struct {
	id         string // an id that is no UUID
	attributes map[string]Attribute
	trace      string // AWSTraceHeader
	source     string // ARN of the queue that it was moved from as a dead letter
}

func (m *message) idText() string {
	if m.rare != nil && m.rare.id != "" {
		return m.rare.id
	}
	return m.id.String()
}

func (m *message) public() Message {
	pub := Message{
		ID:       m.idText(),
		Body:     m.body,
		SentAt:   time.UnixMilli(m.sent).UTC(),
		Sender:   m.sender,
		Receives: int(m.receives),
	}
	if m.rare != nil {
		pub.Attributes = m.rare.attributes
	}
	return pub
}

// newMessage fills in what a sender leaves open.
func newMessage(in Message, now int64) message {
	m := message{body: in.Body, md5: md5.Sum([]byte(in.Body)), sender: in.Sender, sent: now}
	if !in.SentAt.IsZero() {
		m.sent = in.SentAt.UnixMilli()
	}
	if len(in.Attributes) > 0 {
		m.rare = &rare{attributes: in.Attributes}
	}
	if in.ID == "" {
		m.id = awswire.NewID()
		return m
	}
	id, err := uuid.Parse(in.ID)
	if err == nil && id.String() == in.ID {
		m.id = id
		return m
	}
	if m.rare == nil {
		m.rare = new(rare)
	}
	m.rare.id = in.ID
	return m
}
