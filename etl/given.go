package etl

import (
	"context"
	"io"
	"sync"
)

// Given is a source of messages that are at hand, such as those a Lambda function was called with. It remembers which
// were committed.
type Given struct {
	mu        sync.Mutex
	messages  []*Message
	handed    bool
	committed map[*Message]bool
}

// NewGiven makes a source of messages.
func NewGiven(messages []*Message) *Given {
	return &Given{messages: messages, committed: map[*Message]bool{}}
}

// Receive hands over all messages, and then io.EOF.
func (g *Given) Receive(context.Context) ([]*Message, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.handed {
		return nil, io.EOF
	}
	g.handed = true
	return g.messages, nil
}

// Committed implements Committer.
func (g *Given) Committed(messages []*Message) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range messages {
		g.committed[m] = true
	}
}

// Uncommitted are the messages that are neither rows nor rejections.
func (g *Given) Uncommitted() []*Message {
	g.mu.Lock()
	defer g.mu.Unlock()
	var left []*Message
	for _, m := range g.messages {
		if !g.committed[m] {
			left = append(left, m)
		}
	}
	return left
}
