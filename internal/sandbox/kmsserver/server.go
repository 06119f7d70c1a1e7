// Package kmsserver is the sandbox's stand-in for AWS KMS: an HTTP server, in the process, that speaks the wire
// protocol well enough that the real aws-sdk-go-v2 client cannot tell.
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
// What it promises: symmetric keys behind aliases, with AES-256-GCM underneath. A ciphertext opens under the key that
// made it and the exact encryption context it was made with, whatever materials the key has had since, and under
// nothing else. A disabled key or one pending deletion is refused, one past its deletion is gone with its bytes. Who
// may do what for which purpose is a table per access key; every call, refused ones too, is remembered as CloudTrail
// would tell it.
//
// What it is not: a vault. Its keys lie in memory and, if a StatePath is set, in a file in the clear. Grants, key
// policies, tags, asymmetric and multi-Region keys, imported material, custom key stores and attested recipients are
// absent. Rotation is immediate.
package kmsserver

import (
	"context"
	"fmt"
	"net/http"
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

// Server is a stand-in for KMS.
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
			k := s.newKey("")
			s.aliases[name] = &alias{target: k.id, created: k.created, updated: k.created}
		}
	}
	s.endpoint = awswire.Endpoint{
		TargetPrefix: "TrentService.",
		ContentType:  "application/x-amz-json-1.1",
		Keys:         &awswire.Keys{Secrets: config.Secrets, Unknown: ErrUnrecognizedClient, BadSignature: ErrInvalidSignature},
		Faults:       &s.faults,
		Do:           s.do,
		Observe:      s.observe,
		Now:          config.Now,
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
		return awswire.ErrUnknownOperation.Because(fmt.Sprintf("This stand-in for KMS has no operation %q.", c.Op))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Note = &detail{}
	return op(s, c)
}

var operations = map[string]func(*Server, *awswire.Call) error{
	"GenerateDataKey":                 (*Server).generateDataKey,
	"GenerateDataKeyWithoutPlaintext": (*Server).generateDataKeyWithoutPlaintext,
	"Encrypt":                         (*Server).encrypt,
	"Decrypt":                         (*Server).decrypt,
	"ReEncrypt":                       (*Server).reEncrypt,
	"CreateKey":                       (*Server).createKey,
	"DescribeKey":                     (*Server).describeKey,
	"ListKeys":                        (*Server).listKeys,
	"EnableKey":                       (*Server).enableKey,
	"DisableKey":                      (*Server).disableKey,
	"ScheduleKeyDeletion":             (*Server).scheduleKeyDeletion,
	"CancelKeyDeletion":               (*Server).cancelKeyDeletion,
	"CreateAlias":                     (*Server).createAlias,
	"UpdateAlias":                     (*Server).updateAlias,
	"DeleteAlias":                     (*Server).deleteAlias,
	"ListAliases":                     (*Server).listAliases,
	"RotateKeyOnDemand":               (*Server).rotateKeyOnDemand,
	"EnableKeyRotation":               (*Server).enableKeyRotation,
	"DisableKeyRotation":              (*Server).disableKeyRotation,
	"GetKeyRotationStatus":            (*Server).getKeyRotationStatus,
	"ListKeyRotations":                (*Server).listKeyRotations,
}
