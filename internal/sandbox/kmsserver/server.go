// Package kmsserver is the sandbox's fake of AWS KMS: an HTTP server in this process. It speaks the wire protocol well
// enough that the real aws-sdk-go-v2 client cannot tell.
//
// To point a client at it, give it the server's URL and the credentials of a role:
//
//	srv := kmsserver.New(kmsserver.Config{})
//	if err := srv.Start(); err != nil { … }
//	defer srv.Close()
//	client := kms.New(kms.Options{
//		Region:       "us-east-1",
//		BaseEndpoint: aws.String(srv.URL()),
//		Credentials:  credentials.NewStaticCredentialsProvider("ingest", "a secret of 16 and more", ""),
//	})
//
// or set AWS_ENDPOINT_URL_KMS, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
//
// What it promises: symmetric keys behind aliases, with AES-256-GCM underneath. A ciphertext opens only under the key
// that made it, with exactly the encryption context that it was made with. A disabled key is refused. A table per
// access key says who may do what for which purpose. Every call, refused ones too, is remembered as CloudTrail would
// tell it.
//
// It has the operations that cloakroom calls, and those that its operators and its tests need around them:
//
//   - GenerateDataKey, Decrypt, ReEncrypt: keys/kek wraps, unwraps and re-encrypts data keys and index keys with them.
//   - Encrypt: keys/kek wraps a key that comes from a key file. A question for an index-key holder (docs/design.md,
//     "ask") will be sealed with it.
//   - CreateKey, CreateAlias, UpdateAlias, DescribeKey: a KEK is named by an alias, and an alias can move. Tests need a
//     second key to move it to; programs will have to tell which key an alias leads to.
//   - DisableKey, EnableKey: what an operator does first when a key leaks, and undoes when it was the wrong one.
//
// Everything else answers UnsupportedOperationException. Two that were weighed: rotation of a key's material (KMS opens
// what older material sealed, so callers cannot see it) and GetKeyLastUsage (nothing asks for it yet).
//
// What it is not: a vault. Its keys lie in memory and, if a StatePath is set, in a file in clear. Grants, tags,
// asymmetric and multi-Region keys, imported material, custom key stores and attested recipients are absent.
package kmsserver

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"cloakroom/internal/sandbox/awswire"
)

// Config of a server. The zero value is a server with one key, alias/cloakroom, that lets everybody do everything.
type Config struct {
	Addr    string // where Start listens; empty: a free port of 127.0.0.1
	Region  string // empty: us-east-1
	Account string // twelve digits; empty: 000000000000

	// State is what LoadState read; the zero value is no keys.
	State State
	// StatePath is the file that keys and aliases are written to before any answer that changed them; empty: none.
	StatePath string
	// Aliases are given a key of their own unless State has them; nil: alias/cloakroom.
	Aliases []string

	// Secrets maps the access keys that are let in to their secrets. An empty secret lets the key in without checking
	// its signatures. nil lets in everybody.
	Secrets map[string]string
	// Policies maps access keys to what they may do; one that is not listed may do nothing. nil: all may do all.
	Policies map[string]Policy
	// CallLog is how many calls are remembered; 0: 65,536; negative: none.
	CallLog int
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// DefaultAlias is the alias of the KEK of a cloakroom that was not told otherwise.
const DefaultAlias = "alias/cloakroom"

// Server is a fake KMS.
type Server struct {
	config   Config
	endpoint awswire.Endpoint
	faults   awswire.Faults
	calls    *awswire.Recent[Call]
	loopback awswire.Loopback

	mu       sync.Mutex // guards all that follows, and is held for a whole operation
	keys     map[string]*key
	aliases  map[string]*alias
	policies map[string]Policy
}

// New returns a server that does not listen yet. It serves HTTP already, as a handler.
func New(config Config) *Server {
	config.Region = or(config.Region, "us-east-1")
	config.Account = or(config.Account, "000000000000")
	config.CallLog = or(config.CallLog, 65_536)
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Aliases == nil {
		config.Aliases = []string{DefaultAlias}
	}
	s := &Server{config: config, calls: awswire.NewRecent[Call](config.CallLog), policies: config.Policies}
	s.restore(config.State)
	for _, name := range config.Aliases {
		if s.aliases[name] == nil {
			k := s.newKey()
			s.aliases[name] = &alias{target: k.id, created: k.created, updated: k.created}
		}
	}
	s.endpoint = awswire.Endpoint{
		TargetPrefix: "TrentService.",
		ContentType:  "application/x-amz-json-1.1",
		Keys: &awswire.Keys{
			Secrets:      config.Secrets,
			Unknown:      ErrUnrecognizedClient,
			BadSignature: ErrInvalidSignature,
		},
		Faults:  &s.faults,
		Do:      s.do,
		Observe: s.observe,
		Now:     config.Now,
	}
	return s
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.endpoint.ServeHTTP(w, r) }

// Start writes the state, if it has a file, and listens. After Close it listens at the same address again.
func (s *Server) Start() error {
	s.mu.Lock()
	err := s.save()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.loopback.Start(s.config.Addr, s)
}

// URL is the endpoint for clients, such as "http://127.0.0.1:40123"; empty before Start.
func (s *Server) URL() string { return s.loopback.URL() }

// Close cuts every connection. The keys stay.
func (s *Server) Close() error { return s.loopback.Close() }

// Inject orders a fault and returns how to call it off. Ops are named as on the wire, "GenerateDataKey". With Drop
// and nothing else set, the service is down until the fault is called off.
func (s *Server) Inject(f awswire.Fault) (cancel func()) { return s.faults.Inject(f) }

// ClearFaults calls off every fault.
func (s *Server) ClearFaults() { s.faults.Clear() }

// do performs one operation. Nothing here waits, so one lock for all is enough.
func (s *Server) do(_ context.Context, c *awswire.Call) error {
	op, ok := operations[c.Op]
	if !ok {
		return ErrUnsupportedOperation.Because(fmt.Sprintf("This fake of KMS has no operation %q.", c.Op))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Note = &detail{}
	return op(s, c)
}

// Operations are the names of what this fake can do, sorted.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

var operations = map[string]func(*Server, *awswire.Call) error{
	"GenerateDataKey": (*Server).generateDataKey,
	"Encrypt":         (*Server).encrypt,
	"Decrypt":         (*Server).decrypt,
	"ReEncrypt":       (*Server).reEncrypt,
	"CreateKey":       (*Server).createKey,
	"DescribeKey":     (*Server).describeKey,
	"EnableKey":       (*Server).enableKey,
	"DisableKey":      (*Server).disableKey,
	"CreateAlias":     (*Server).createAlias,
	"UpdateAlias":     (*Server).updateAlias,
}
