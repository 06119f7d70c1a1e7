package etl

import (
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Message is one event as a source hands it over.
type Message struct {
	ID       uuid.UUID // of the event: MessageID or FileEventID
	Date     time.Time // UTC date on which it was sent: redelivery does not change it
	Body     []byte    // as received; not kept in clear after the batch
	Receives int       // how often it has been delivered: 1 the first time
	Sent     time.Time // when it was sent, where the source knows; for the lag

	// Handle belongs to the source; the pipeline carries it.
	Handle any
}

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
	return uuid.NewSHA1(namespace, []byte("message\x00"+id))
}

// FileEventID is the id of an event in a file: UUIDv5 of the source's name and the event's
// position, from 0. So the same file gives the same ids on every run.
func FileEventID(source string, position int64) uuid.UUID {
	name := append([]byte("source\x00"+source+"\x00"), strconv.FormatInt(position, 10)...)
	return uuid.NewSHA1(namespace, name)
}
