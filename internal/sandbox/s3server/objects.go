package s3server

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloakroom/internal/sandbox/awswire"
)

const (
	maxObject   = 64 << 20
	maxKey      = 1024 // S3's limit, in bytes
	nullVersion = "null"
)

// bucket holds the versions of each key, the newest first.
type bucket struct {
	versioned bool
	objects   map[string][]version
}

// version is an object, or the marker that hides it.
type version struct {
	id       string // nullVersion in a bucket without versions
	body     []byte
	etag     string // with its quotes
	modified time.Time
	header   http.Header // what the writer said of it
	marker   bool
}

// Object is what a test writes.
type Object struct {
	Body     []byte
	Modified time.Time // zero: now
}

// CreateBucket makes a bucket.
func (s *Server) CreateBucket(name string, versioned bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[name] = &bucket{versioned: versioned, objects: map[string][]version{}}
}

// Put writes an object and returns its version. The bucket must be there.
func (s *Server) Put(bucket, key string, o Object) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucket]
	if b == nil {
		return "", ErrNoSuchBucket
	}
	if o.Modified.IsZero() {
		o.Modified = s.config.Now()
	}
	return b.write(key, version{body: o.Body, modified: o.Modified}).id, nil
}

// Delete deletes an object as a call without a version does.
func (s *Server) Delete(bucket, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucket]
	if b == nil {
		return ErrNoSuchBucket
	}
	b.remove(key, s.config.Now())
	return nil
}

// ETag is an object's, without quotes; empty: there is none.
func (s *Server) ETag(bucket, key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[bucket]; b != nil && len(b.objects[key]) > 0 {
		return strings.Trim(b.objects[key][0].etag, `"`)
	}
	return ""
}

// Keys are those of the objects that are there, sorted.
func (s *Server) Keys(bucket string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	if b := s.buckets[bucket]; b != nil {
		for key, versions := range b.objects {
			if !versions[0].marker {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return keys
}

func (b *bucket) write(key string, v version) version {
	sum := md5.Sum(v.body) // S3's ETag of an object that came whole
	v.etag = `"` + hex.EncodeToString(sum[:]) + `"`
	v.modified = v.modified.UTC().Truncate(time.Second)
	if v.id = nullVersion; b.versioned {
		v.id = strings.ReplaceAll(awswire.NewID().String(), "-", "")
		b.objects[key] = append([]version{v}, b.objects[key]...)
	} else {
		b.objects[key] = []version{v}
	}
	return v
}

func (b *bucket) remove(key string, now time.Time) {
	if len(b.objects[key]) == 0 {
		return
	}
	if !b.versioned {
		delete(b.objects, key)
		return
	}
	marker := version{
		id:     strings.ReplaceAll(awswire.NewID().String(), "-", ""),
		marker: true, modified: now.UTC().Truncate(time.Second),
	}
	b.objects[key] = append([]version{marker}, b.objects[key]...)
}

// find is the version that a request names, or the newest.
func (s *Server) find(r *request) (b *bucket, v version, err error) {
	if b = s.buckets[r.bucket]; b == nil {
		return nil, v, ErrNoSuchBucket
	}
	if len(r.key) > maxKey {
		return nil, v, ErrKeyTooLong
	}
	versions := b.objects[r.key]
	if r.version == "" {
		if len(versions) == 0 || versions[0].marker {
			return b, v, ErrNoSuchKey
		}
		return b, versions[0], nil
	}
	at := slices.IndexFunc(versions, func(v version) bool { return v.id == r.version })
	switch {
	case at < 0:
		return b, v, ErrNoSuchVersion
	case versions[at].marker:
		return b, v, ErrDeleteMarker
	}
	return b, versions[at], nil
}

func (s *Server) getObject(r *request) error {
	s.mu.Lock()
	b, v, err := s.find(r)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	match := strings.Trim(r.Header.Get("If-Match"), `"`)
	if match != "" && match != "*" && match != strings.Trim(v.etag, `"`) {
		return ErrPrecondition
	}
	header := r.w.Header()
	for name, values := range v.header {
		header[name] = values
	}
	body, status := v.body, http.StatusOK
	if from, ranged := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ranged {
		first, last, err := rangeOf(from, len(body))
		if err != nil {
			return err
		}
		header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(body)))
		body, status = body[first:last+1], http.StatusPartialContent
	}
	header.Set("ETag", v.etag)
	header.Set("Last-Modified", v.modified.Format(http.TimeFormat))
	header.Set("Accept-Ranges", "bytes")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if b.versioned {
		header.Set("X-Amz-Version-Id", v.id)
	}
	r.w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	if r.cut > 0 && r.cut < int64(len(body)) {
		_, _ = r.w.Write(body[:r.cut])
		_ = http.NewResponseController(r.w).Flush()
		return awswire.ErrDropped
	}
	_, _ = r.w.Write(body)
	return nil
}

// rangeOf reads "10-", "10-19" or "-5" of an object's size: its first and its last byte.
func rangeOf(text string, size int) (first, last int, err error) {
	from, to, _ := strings.Cut(text, "-")
	last = size - 1
	if from == "" {
		n, err := strconv.Atoi(to)
		if err != nil || n < 1 || size == 0 {
			return 0, 0, ErrInvalidRange
		}
		return max(0, size-n), last, nil
	}
	if first, err = strconv.Atoi(from); err != nil || first >= size {
		return 0, 0, ErrInvalidRange
	}
	if to != "" {
		n, err := strconv.Atoi(to)
		if err != nil || n < first {
			return 0, 0, ErrInvalidRange
		}
		last = min(last, n)
	}
	return first, last, nil
}

// kept are the headers of a write that a read gives back.
var kept = []string{"Content-Type", "Content-Encoding", "Content-Disposition", "Cache-Control"}

func (s *Server) putObject(r *request) error {
	body, err := readBody(r.Request)
	if err != nil {
		return err
	}
	header := http.Header{}
	for name, values := range r.Header {
		if slices.Contains(kept, name) || strings.HasPrefix(name, "X-Amz-Meta-") {
			header[name] = values
		}
	}
	// aws-chunked is how the body came, not what it is.
	encoding := strings.Trim(strings.ReplaceAll(header.Get("Content-Encoding"), "aws-chunked", ""), ", ")
	if header.Del("Content-Encoding"); encoding != "" {
		header.Set("Content-Encoding", encoding)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[r.bucket]
	switch {
	case b == nil:
		return ErrNoSuchBucket
	case len(r.key) > maxKey:
		return ErrKeyTooLong
	}
	v := b.write(r.key, version{body: body, modified: s.config.Now(), header: header})
	r.w.Header().Set("ETag", v.etag)
	if b.versioned {
		r.w.Header().Set("X-Amz-Version-Id", v.id)
	}
	return nil
}

// readBody takes the body out of the chunks in which an SDK sends it when its checksum follows. Checksums and chunks'
// signatures are not checked.
func readBody(r *http.Request) ([]byte, error) {
	in := io.Reader(http.MaxBytesReader(nil, r.Body, maxObject))
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		body, err := io.ReadAll(in)
		if err != nil {
			return nil, bodyError(err)
		}
		return body, nil
	}
	var body bytes.Buffer
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil, bodyError(err)
		}
		size, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ";")
		n, err := strconv.ParseInt(size, 16, 64)
		if err != nil || n < 0 {
			return nil, ErrIncompleteBody
		}
		if n == 0 { // trailers follow
			return body.Bytes(), nil
		}
		if _, err := io.CopyN(&body, lines, n); err != nil {
			return nil, bodyError(err)
		}
		if _, err := lines.Discard(len("\r\n")); err != nil {
			return nil, bodyError(err)
		}
	}
}

func bodyError(err error) error {
	if _, tooLarge := err.(*http.MaxBytesError); tooLarge {
		return ErrTooLarge
	}
	return ErrIncompleteBody
}

func (s *Server) deleteObject(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[r.bucket]
	if b == nil {
		return ErrNoSuchBucket
	}
	if r.version == "" {
		b.remove(r.key, s.config.Now())
	} else {
		b.objects[r.key] = slices.DeleteFunc(b.objects[r.key], func(v version) bool { return v.id == r.version })
		if len(b.objects[r.key]) == 0 {
			delete(b.objects, r.key)
		}
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) createBucket(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[r.bucket] != nil {
		return ErrBucketExists
	}
	s.buckets[r.bucket] = &bucket{objects: map[string][]version{}}
	return nil
}
