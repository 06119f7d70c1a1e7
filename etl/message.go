package etl

import (
	"crypto/fips140"
	"strconv"
	"time"

	"github.com/google/uuid"

	"cloakroom/dataset"
	"cloakroom/etl/unwrap"
)

// Message is one event as a source hands it over.
type Message struct {
	ID uuid.UUID // of the event: MessageID or FileEventID
	// Sent is when it was sent, the same at each delivery: with ID, it tells one delivery from another. A source always
	// sets it.
	Sent     time.Time
	DayOnly  bool   // the source knows the day alone: Sent says nothing about the lag
	Body     []byte // as received; not kept in clear after the batch
	Receives int    // how often it has been delivered: 1 the first time

	// Dataset is whose event it is; empty: the writer's default. Attribute is the text of the message attribute that
	// the writer's route names.
	Dataset   string
	Attribute string

	// Handle belongs to the source; the pipeline carries it.
	Handle any

	event    []byte            // what the envelopes of Body hold; nil: Body is the event
	fault    dataset.Rejection // why they could not be opened
	object   *unwrap.Pointer   // where the event lay in S3
	rejected bool              // it is a rejection, in the batch that was protected last or by now perhaps before
}

// text is the event.
func (m *Message) text() []byte {
	if m.event != nil {
		return m.event
	}
	return m.Body
}

// size is how many bytes of it are held in memory.
func (m *Message) size() int { return len(m.Body) + len(m.event) }

// namespace is where cloakroom's UUIDv5 ids live (RFC 9562, section 5.5). Changing it would store
// every file again.
var namespace = uuid.MustParse("6d9f0c7e-5b0a-5c1e-9a53-0d3b8f3b6a11")

// MessageID is a queue's message id as a UUID: the id itself, or UUIDv5 of an id that is not a UUID.
func MessageID(id string) uuid.UUID {
	if len(id) == 36 {
		if u, err := uuid.Parse(id); err == nil {
			return u
		}
	}
	return newID([]byte("message\x00" + id))
}

// FileEventID is the id of an event in a file: UUIDv5 of the source's name and the event's
// position, from 0. So the same file gives the same ids on every run.
func FileEventID(source string, position int64) uuid.UUID {
	return newID(strconv.AppendInt([]byte("source\x00"+source+"\x00"), position, 10))
}

// newID makes a UUIDv5. Its SHA-1 makes an id and keeps nothing secret: RFC 9562 prescribes it, FIPS 140 does not approve
// of it.
func newID(name []byte) (id uuid.UUID) {
	fips140.WithoutEnforcement(func() { id = uuid.NewSHA1(namespace, name) })
	return id
}
