package main

// This file makes logins: the one place of this program that names their fields.

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"cloakroom/etl"
)

// distribution says how often a device, and with it an address, comes again.
type distribution string

const (
	uniform distribution = "uniform" // of 2^32 devices: nearly every login has its own
	hot     distribution = "hot"     // one device on 20 % of the logins, the others as uniform
	zipf    distribution = "zipf"    // the n-th most frequent of a million with a weight of 1/n^1.1
)

// generator makes logins of which no two are alike but by their distribution. It is not for concurrent use.
type generator struct {
	random *rand.Rand
	device func() uint32
}

func newGenerator(d distribution, seed uint64) *generator {
	g := &generator{random: rand.New(rand.NewPCG(seed, 41))}
	switch d {
	case hot:
		g.device = func() uint32 {
			if g.random.IntN(5) == 0 {
				return 7
			}
			return g.random.Uint32()
		}
	case zipf:
		z := rand.NewZipf(g.random, 1.1, 1, 1_000_000)
		g.device = func() uint32 { return uint32(z.Uint64()) }
	default:
		g.device = g.random.Uint32
	}
	return g
}

func (g *generator) id() uuid.UUID {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], g.random.Uint64())
	binary.BigEndian.PutUint64(id[8:], g.random.Uint64())
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // version 4, as SQS's
	return id
}

var (
	devices = []string{"android", "iOS", "tablet", "desktop"}
	locales = []string{`"RU"`, `"en_UK"`, `"PT"`, "null"}
)

func (g *generator) body() []byte {
	d := g.device()
	mixed := d * 2654435761 // an address for each device, spread over all of IPv4
	return fmt.Appendf(nil,
		`{"user_id": "%s", "app_version": "2.%d.%d", "device_type": "%s", "ip": "%d.%d.%d.%d", "locale": %s, "device_id": "%03d-%02d-%05d"}`,
		g.id(), g.random.IntN(20), g.random.IntN(10), devices[d%4], mixed>>24, mixed>>16&255, mixed>>8&255, mixed&255,
		locales[g.random.IntN(4)], d>>22, d>>16&63, d&65535)
}

func (g *generator) messages(n int) []*etl.Message {
	today := time.Now().UTC().Truncate(24 * time.Hour)
	messages := make([]*etl.Message, n)
	for i := range messages {
		messages[i] = &etl.Message{ID: g.id(), Sent: today, DayOnly: true, Body: g.body(), Receives: 1}
	}
	return messages
}

// memory is a source that never waits: it hands over what it holds, in parts.
type memory struct {
	parts [][]*etl.Message
	next  atomic.Int64
}

// partSize is how many messages a Receive of memory hands over.
const partSize = 500

func inMemory(messages []*etl.Message) *memory { return &memory{parts: cut(messages, partSize)} }

func (m *memory) Receive(context.Context) ([]*etl.Message, error) {
	n := int(m.next.Add(1)) - 1
	if n >= len(m.parts) {
		return nil, io.EOF
	}
	return m.parts[n], nil
}

func cut(messages []*etl.Message, size int) [][]*etl.Message {
	var parts [][]*etl.Message
	for len(messages) > size {
		parts = append(parts, messages[:size])
		messages = messages[size:]
	}
	return append(parts, messages)
}
