// Package s3server is the sandbox's fake of Amazon S3: an HTTP server in this process. It speaks the wire protocol well
// enough that the real aws-sdk-go-v2 client, and the aws command, cannot tell.
//
// To point a client at it, set AWS_ENDPOINT_URL_S3, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and let it
// name buckets in the path (the aws command does so by itself for an address without a name).
//
// What it promises: an object written can be read, listed and deleted at once. In a bucket with versions each write
// makes one and keeps the others, and a delete without a version hides them under a marker; in one without, a write
// replaces. If-Match and a Range from a byte on are honoured. LastModified is in whole seconds. A policy per access key
// says who may call what. Objects can be written with a date of the past, which S3 cannot do and a test needs.
//
// It has what cloakroom calls (GetObject, DeleteObject, ListObjectVersions) and what a person or a test needs around
// that: PutObject, CreateBucket, HeadObject, ListObjectsV2. Everything else answers NotImplemented: among it uploads in
// parts, so an object comes whole, in at most 64 MiB. Signatures are not checked.
package s3server

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"cloakroom/internal/sandbox/awswire"
)

// Config of a server. The zero value has no buckets and lets everybody do everything.
type Config struct {
	Addr string // where Start listens; empty: a free port of 127.0.0.1
	// Policies maps access keys to what they may do; one that is not listed may do nothing. nil: all may do all.
	Policies map[string]Policy
	Now      func() time.Time // nil: time.Now
}

// Policy is a list of IAM actions, "s3:GetObject", that are allowed on all buckets. Any allows every one.
type Policy []string

// Any is the action that stands for all.
const Any = "s3:*"

// Roles are the policies of cloakroom's roles that read S3, by the role's name.
func Roles() map[string]Policy {
	return map[string]Policy{
		"ingest": {
			"s3:GetObject",
			"s3:GetObjectVersion",
			"s3:ListBucket",
			"s3:ListBucketVersions",
			"s3:DeleteObject",
		},
	}
}

// Server is a fake S3.
type Server struct {
	config   Config
	faults   awswire.Faults
	loopback awswire.Loopback

	mu      sync.Mutex // guards all that follows
	buckets map[string]*bucket
	calls   map[string]int // by operation
}

// New returns a server that does not listen yet. It serves HTTP already, as a handler.
func New(config Config) *Server {
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Server{config: config, buckets: map[string]*bucket{}, calls: map[string]int{}}
}

// Start listens. After Close it listens at the same address again.
func (s *Server) Start() error { return s.loopback.Start(s.config.Addr, s) }

// URL is the endpoint for clients, such as "http://127.0.0.1:40123"; empty before Start.
func (s *Server) URL() string { return s.loopback.URL() }

// Close cuts every connection. The objects stay.
func (s *Server) Close() error { return s.loopback.Close() }

// Inject orders a fault and returns how to call it off. Ops are named as in the API, "GetObject"; a Resource is
// "bucket/key".
func (s *Server) Inject(f awswire.Fault) (cancel func()) { return s.faults.Inject(f) }

// ClearFaults calls off every fault.
func (s *Server) ClearFaults() { s.faults.Clear() }

// Calls is how often an operation was called, with those that were refused or met a fault.
func (s *Server) Calls(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

// Operations are the names of what this fake can do, sorted.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

// request is one call on its way.
type request struct {
	*http.Request
	w           http.ResponseWriter
	bucket, key string
	version     string
	cut         int64 // bytes of the body after which the connection is cut; 0: none
}

// operation is one of S3's, with the IAM action that allows it, and the one for a version by name.
type operation struct {
	do                    func(*Server, *request) error
	action, versionAction string
}

var operations = map[string]operation{
	"GetObject":          {(*Server).getObject, "s3:GetObject", "s3:GetObjectVersion"},
	"HeadObject":         {(*Server).getObject, "s3:GetObject", "s3:GetObjectVersion"},
	"PutObject":          {(*Server).putObject, "s3:PutObject", ""},
	"DeleteObject":       {(*Server).deleteObject, "s3:DeleteObject", "s3:DeleteObjectVersion"},
	"ListObjectsV2":      {(*Server).listObjects, "s3:ListBucket", ""},
	"ListObjectVersions": {(*Server).listVersions, "s3:ListBucketVersions", ""},
	"CreateBucket":       {(*Server).createBucket, "s3:CreateBucket", ""},
}

// operationOf names what a request asks for; empty: something that this fake has not.
func operationOf(r *request) string {
	query := r.URL.Query()
	// A subresource is another operation.
	for _, other := range []string{
		"uploads", "uploadId", "acl", "tagging", "attributes", "retention", "versioning", "policy",
	} {
		if query.Has(other) {
			return ""
		}
	}
	method := r.Method
	switch {
	case r.bucket == "":
		return ""
	case r.key == "" && method == http.MethodGet && query.Has("versions"):
		return "ListObjectVersions"
	case r.key == "" && method == http.MethodGet && query.Get("list-type") == "2":
		return "ListObjectsV2"
	case r.key == "" && method == http.MethodPut:
		return "CreateBucket"
	case r.key == "":
		return ""
	case method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") == "":
		return "PutObject"
	}
	return map[string]string{
		http.MethodGet: "GetObject", http.MethodHead: "HeadObject", http.MethodDelete: "DeleteObject",
	}[method]
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := &request{Request: r, w: w, version: r.URL.Query().Get("versionId")}
	call.bucket, call.key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	w.Header().Set("X-Amz-Request-Id", awswire.NewID().String())
	err := s.serve(call)
	if errors.Is(err, awswire.ErrDropped) {
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		answerError(call, err)
	}
}

func (s *Server) serve(r *request) error {
	name := operationOf(r)
	op, ok := operations[name]
	if !ok {
		return ErrNotImplemented
	}
	s.mu.Lock()
	s.calls[name]++
	s.mu.Unlock()
	if !s.allows(r, op) {
		return ErrAccessDenied
	}
	if !s.allows(r, operations["ListObjectsV2"]) {
		// Who may not list a bucket is not told which objects it has not.
		op.do = hideMissing(op.do)
	}
	fault, faulty := s.faults.Meet(name, r.bucket+"/"+r.key)
	if !faulty {
		return op.do(s, r)
	}
	if err := fault.Wait(r.Context()); err != nil {
		return err
	}
	if !fault.After {
		if err := fault.Strike(); err != nil {
			return err
		}
	}
	r.cut = fault.Cut
	err := op.do(s, r)
	if fault.After {
		// The answer may be on its way already: a cut connection takes it back, another answer cannot.
		if struck := fault.Strike(); struck != nil {
			return struck
		}
	}
	return err
}

// hideMissing answers that an object is refused where it is not there.
func hideMissing(do func(*Server, *request) error) func(*Server, *request) error {
	return func(s *Server, r *request) error {
		err := do(s, r)
		if errors.Is(err, ErrNoSuchKey) {
			return ErrAccessDenied
		}
		return err
	}
}

func (s *Server) allows(r *request, op operation) bool {
	if s.config.Policies == nil {
		return true
	}
	action := op.action
	if r.version != "" && op.versionAction != "" {
		action = op.versionAction
	}
	policy := s.config.Policies[awswire.AccessKey(r.Request)]
	return slices.Contains(policy, action) || slices.Contains(policy, Any)
}
