package kmsserver

import (
	"net"
	"time"

	"cloakroom/internal/sandbox/awswire"
)

// Call is one request that the server answered, refused or dropped. It holds no plaintext and no ciphertext.
type Call struct {
	Time      time.Time
	Op        string
	AccessKey string // empty when the request was not signed
	RequestID string
	Outcome   string // "ok", "dropped" or the shape of the error
	Message   string // of the error
	Remote    string // address, without the port
	UserAgent string

	KeyARNs            []string          // the keys it touched, as far as they were found
	Key                string            // the key that was named; of ReEncrypt, the source
	Context            map[string]string // the encryption context; of ReEncrypt, the source's
	DestinationKey     string            // of ReEncrypt alone, as the next
	DestinationContext map[string]string
}

// detail is what an operation tells the call log.
type detail struct {
	opened, sealed bool
	arns           []string
	key, sealKey   string
	context        map[string]string
	sealContext    map[string]string
}

func (d *detail) names(key string) { d.key = key }

func (d *detail) opens(key string, context map[string]string) {
	d.opened, d.key, d.context = true, key, context
}

func (d *detail) seals(key string, context map[string]string) {
	d.sealed, d.sealKey, d.sealContext = true, key, context
}

func (d *detail) touches(arn string) {
	for _, known := range d.arns {
		if known == arn {
			return
		}
	}
	d.arns = append(d.arns, arn)
}

// Calls are the latest calls, oldest first.
func (s *Server) Calls() []Call { return s.calls.All() }

func (s *Server) observe(c *awswire.Call, outcome error) {
	if s.config.CallLog < 0 {
		return
	}
	remote, _, err := net.SplitHostPort(c.Remote)
	if err != nil {
		remote = c.Remote
	}
	call := Call{
		Time: c.Start, Op: c.Op, AccessKey: c.AccessKey, RequestID: c.RequestID(),
		Outcome: awswire.Outcome(outcome), Remote: remote, UserAgent: c.UserAgent,
	}
	if outcome != nil {
		call.Message = outcome.Error()
	}
	if d, ok := c.Note.(*detail); ok {
		call.KeyARNs, call.Key, call.Context = d.arns, d.key, d.context
		switch {
		case d.opened && d.sealed:
			call.DestinationKey, call.DestinationContext = d.sealKey, d.sealContext
		case d.sealed:
			call.Key, call.Context = d.sealKey, d.sealContext
		}
	}
	s.calls.Add(call)
}
