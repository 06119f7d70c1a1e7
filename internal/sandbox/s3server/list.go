package s3server

import (
	"encoding/xml"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxPage is how many entries a page of a list has at most.
const maxPage = 1000

// entry is one line of a list of versions, or, without the two fields of versions, of one of objects.
type entry struct {
	Key          string
	VersionID    string `xml:"VersionId,omitempty"`
	IsLatest     *bool  `xml:"IsLatest,omitempty"`
	LastModified string
	ETag         string `xml:"ETag,omitempty"`
	Size         *int   `xml:"Size,omitempty"`
	StorageClass string `xml:"StorageClass,omitempty"`

	marker bool
}

func entryOf(key string, v version, latest bool) entry {
	e := entry{
		Key: key, VersionID: v.id, IsLatest: &latest, marker: v.marker,
		LastModified: v.modified.Format(time.RFC3339),
	}
	if !v.marker {
		size := len(v.body)
		e.ETag, e.Size, e.StorageClass = v.etag, &size, "STANDARD"
	}
	return e
}

type versionsXML struct {
	XMLName             xml.Name `xml:"ListVersionsResult"`
	Name, Prefix        string
	EncodingType        string `xml:",omitempty"`
	MaxKeys             int
	IsTruncated         bool
	NextKeyMarker       string  `xml:",omitempty"`
	NextVersionIDMarker string  `xml:"NextVersionIdMarker,omitempty"`
	Versions            []entry `xml:"Version"`
	Markers             []entry `xml:"DeleteMarker"`
}

// page is what of a list a request asks for.
type page struct {
	keys   []string // under the prefix, sorted
	limit  int
	encode func(string) string
}

// pageOf finds the bucket of a list, and reads what the lists have in common. The server must be locked.
func (s *Server) pageOf(r *request) (*bucket, page, error) {
	b := s.buckets[r.bucket]
	if b == nil {
		return nil, page{}, ErrNoSuchBucket
	}
	query := r.URL.Query()
	p := page{limit: maxPage, encode: func(key string) string { return key }}
	if n, err := strconv.Atoi(query.Get("max-keys")); err == nil {
		p.limit = min(n, maxPage)
	}
	if query.Get("encoding-type") == "url" {
		p.encode = func(key string) string { return strings.ReplaceAll(url.QueryEscape(key), "%2F", "/") }
	}
	for key := range b.objects {
		if strings.HasPrefix(key, query.Get("prefix")) {
			p.keys = append(p.keys, key)
		}
	}
	slices.Sort(p.keys)
	r.w.Header().Set("Content-Type", "application/xml")
	return b, p, nil
}

// listVersions lists every version. It starts after key-marker, or, with version-id-marker, after that version of it.
func (s *Server) listVersions(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, p, err := s.pageOf(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	after, afterVersion := query.Get("key-marker"), query.Get("version-id-marker")
	out := versionsXML{
		Name: r.bucket, Prefix: p.encode(query.Get("prefix")), EncodingType: query.Get("encoding-type"),
		MaxKeys: p.limit,
	}
	n, lastVersion := 0, ""
	for _, key := range p.keys {
		if key < after || key == after && afterVersion == "" && after != "" {
			continue
		}
		past := key != after
		for i, v := range b.objects[key] {
			if !past {
				past = v.id == afterVersion
				continue
			}
			if n == p.limit {
				out.IsTruncated, out.NextVersionIDMarker = true, lastVersion
				writeXML(r.w, out)
				return nil
			}
			e := entryOf(p.encode(key), v, i == 0)
			if e.marker {
				out.Markers = append(out.Markers, e)
			} else {
				out.Versions = append(out.Versions, e)
			}
			n, out.NextKeyMarker, lastVersion = n+1, p.encode(key), v.id
		}
	}
	out.NextKeyMarker = ""
	writeXML(r.w, out)
	return nil
}

type objectsXML struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Name, Prefix          string
	EncodingType          string `xml:",omitempty"`
	Delimiter             string `xml:",omitempty"`
	MaxKeys, KeyCount     int
	IsTruncated           bool
	NextContinuationToken string  `xml:",omitempty"`
	Contents              []entry `xml:"Contents"`
	CommonPrefixes        []prefixXML
}

type prefixXML struct{ Prefix string }

// listObjects lists the newest versions. A continuation token is the last key, or the last common prefix, of the page
// before.
func (s *Server) listObjects(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, p, err := s.pageOf(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	after := query.Get("continuation-token")
	if after == "" {
		after = query.Get("start-after")
	}
	prefix, delimiter := query.Get("prefix"), query.Get("delimiter")
	out := objectsXML{
		Name: r.bucket, Prefix: p.encode(prefix), EncodingType: query.Get("encoding-type"), Delimiter: delimiter,
		MaxKeys: p.limit,
	}
	last := ""
	for _, key := range p.keys {
		v := b.objects[key][0]
		group := ""
		if head, _, found := strings.Cut(key[len(prefix):], delimiter); delimiter != "" && found {
			group = prefix + head + delimiter
		}
		if v.marker || key <= after && after != "" || group != "" && (group == last || group == after) {
			continue
		}
		if out.KeyCount == p.limit {
			out.IsTruncated, out.NextContinuationToken = true, last
			break
		}
		out.KeyCount++
		if last = key; group != "" {
			last = group
			out.CommonPrefixes = append(out.CommonPrefixes, prefixXML{p.encode(group)})
			continue
		}
		e := entryOf(p.encode(key), v, true)
		e.VersionID, e.IsLatest = "", nil
		out.Contents = append(out.Contents, e)
	}
	writeXML(r.w, out)
	return nil
}
