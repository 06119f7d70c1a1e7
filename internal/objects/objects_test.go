package objects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"cloakroom/internal/objects"
	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/s3server"
)

// open starts a server with a bucket that keeps versions and one that does not, and a client with ingest's access key.
func open(t *testing.T) (*s3server.Server, *objects.Client) {
	t.Helper()
	server := s3server.New(s3server.Config{Policies: s3server.Roles()})
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	server.CreateBucket("versions", true)
	server.CreateBucket("plain", false)
	client := clientOf(t, server.URL(), "ingest")
	return server, client
}

func clientOf(t *testing.T, endpoint, accessKey string) *objects.Client {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": endpoint, "AWS_ACCESS_KEY_ID": accessKey,
		"AWS_SECRET_ACCESS_KEY": "a secret of sixteen and more", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
	client, err := objects.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func put(t *testing.T, s *s3server.Server, bucket, key, body string) string {
	t.Helper()
	version, err := s.Put(bucket, key, s3server.Object{Body: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func read(t *testing.T, c *objects.Client, r objects.Ref, offset int64) (string, objects.Info, error) {
	t.Helper()
	in, info, err := c.GetFrom(t.Context(), r, offset)
	if err != nil {
		return "", info, err
	}
	defer in.Close()
	text, err := io.ReadAll(in)
	return string(text), info, err
}

func TestRead(t *testing.T) {
	s, c := open(t)
	old := put(t, s, "versions", "a key/ü+%25 \x01", "one")
	put(t, s, "versions", "a key/ü+%25 \x01", "two two")
	put(t, s, "plain", "p", "plain")
	for name, k := range map[string]struct {
		ref    objects.Ref
		offset int64
		want   string
		size   int64
	}{
		"the newest":          {objects.Ref{Bucket: "versions", Key: "a key/ü+%25 \x01"}, 0, "two two", 7},
		"a version":           {objects.Ref{Bucket: "versions", Key: "a key/ü+%25 \x01", Version: old}, 0, "one", 3},
		"from a byte on":      {objects.Ref{Bucket: "versions", Key: "a key/ü+%25 \x01"}, 4, "two", 7},
		"from its end on":     {objects.Ref{Bucket: "plain", Key: "p"}, 5, "", 5},
		"from after its end":  {objects.Ref{Bucket: "plain", Key: "p"}, 9, "", 9},
		"the null version":    {objects.Ref{Bucket: "plain", Key: "p", Version: objects.NullVersion}, 0, "plain", 5},
		"with its ETag":       {objects.Ref{Bucket: "plain", Key: "p", ETag: `"44dd8fbf1d2c2ba4ae5d0ce4c2b1fbe8"`}, 0, "", 0},
		"no bytes of another": {objects.Ref{Bucket: "plain", Key: "p"}, 1, "lain", 5},
	} {
		got, info, err := read(t, c, k.ref, k.offset)
		if k.ref.ETag != "" {
			if !errors.Is(err, objects.ErrChanged) || objects.Outage(err) {
				t.Errorf("%s: %q, %v; want ErrChanged", name, got, err)
			}
			continue
		}
		if err != nil || got != k.want || info.Size != k.size {
			t.Errorf("%s: %q of %d bytes, %v; want %q of %d", name, got, info.Size, err, k.want, k.size)
		}
	}
	if _, info, _ := read(t, c, objects.Ref{Bucket: "plain", Key: "p"}, 0); info.ETag == "" || info.Modified.IsZero() ||
		info.Version != "" {
		t.Errorf("the object is described as %+v", info)
	}
}

// Which errors are the object's and which an outage. None names the key.
func TestErrors(t *testing.T) {
	s, c := open(t)
	const key = "sam@example.com"
	version := put(t, s, "versions", key, "body")
	put(t, s, "versions", "gone", "x")
	if err := s.Delete("versions", "gone"); err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]struct {
		ref    objects.Ref
		fault  *awswire.Error
		want   error
		outage bool
		hint   string
	}{
		"no such key":       {ref: objects.Ref{Bucket: "versions", Key: key + "?"}, want: objects.ErrNotFound},
		"deleted":           {ref: objects.Ref{Bucket: "versions", Key: "gone"}, want: objects.ErrNotFound},
		"no such version":   {ref: objects.Ref{Bucket: "versions", Key: key, Version: "v"}, want: objects.ErrNotFound},
		"no key":            {ref: objects.Ref{Bucket: "versions"}, want: objects.ErrNotFound},
		"a key of 2,000 as": {ref: objects.Ref{Bucket: "versions", Key: strings.Repeat("a", 2000)}, want: objects.ErrNotFound},
		"dots":              {ref: objects.Ref{Bucket: "versions", Key: "../../plain/p"}, want: objects.ErrNotFound},
		"no such bucket":    {ref: objects.Ref{Bucket: "nowhere", Key: key}, want: objects.ErrNoBucket, outage: true},
		"archived":          {fault: s3server.ErrArchived, want: objects.ErrArchived},
		"refused":           {fault: s3server.ErrAccessDenied, want: objects.ErrDenied, outage: true, hint: "allow s3:GetObject "},
		"refused version": {ref: objects.Ref{Bucket: "versions", Key: key, Version: version}, fault: s3server.ErrAccessDenied,
			want: objects.ErrDenied, outage: true, hint: "allow s3:GetObjectVersion "},
		"KMS": {fault: &awswire.Error{Shape: "KMS.DisabledException", Status: 400}, want: objects.ErrDenied, outage: true},
		"expired": {fault: &awswire.Error{Shape: "ExpiredToken", Status: 400}, want: objects.ErrDenied, outage: true,
			hint: "credentials"},
		"another region": {fault: &awswire.Error{Shape: "PermanentRedirect", Status: 301}, want: objects.ErrDenied, outage: true,
			hint: "AWS_REGION"},
		"slow down":    {fault: s3server.ErrSlowDown, want: objects.ErrUnavailable, outage: true},
		"internal":     {fault: s3server.ErrInternal, want: objects.ErrUnavailable, outage: true},
		"a new status": {fault: &awswire.Error{Shape: "Teapot", Status: 418}, want: objects.ErrUnavailable, outage: true},
	} {
		if k.ref.Bucket == "" {
			k.ref = objects.Ref{Bucket: "versions", Key: key}
		}
		if k.fault != nil {
			quoting := k.fault.Because("no " + key + " for you")
			s.Inject(awswire.Fault{Error: quoting})
		}
		_, _, err := read(t, c, k.ref, 0)
		s.ClearFaults()
		switch {
		case !errors.Is(err, k.want) || objects.Outage(err) != k.outage:
			t.Errorf("%s: %v (an outage: %v); want %v", name, err, objects.Outage(err), k.want)
		case strings.Contains(err.Error(), "sam") || strings.Contains(err.Error(), "aaa"):
			t.Errorf("%s: the error quotes the key: %v", name, err)
		case !strings.Contains(err.Error(), k.hint):
			t.Errorf("%s: %v; want a hint %q", name, err, k.hint)
		}
	}
}

func TestUnreachable(t *testing.T) {
	defer objects.SetCallTimeout(200 * time.Millisecond)()
	s, c := open(t)
	put(t, s, "plain", "p", strings.Repeat("body", 1000))
	for name, fault := range map[string]awswire.Fault{
		"dropped": {Drop: true}, "mute": {Delay: time.Minute}, "cut in the body": {Cut: 100},
	} {
		s.Inject(fault)
		_, _, err := read(t, c, objects.Ref{Bucket: "plain", Key: "p"}, 0)
		if !errors.Is(err, objects.ErrUnavailable) || (name == "mute") != strings.Contains(err.Error(), "no answer within") {
			t.Errorf("%s: %v", name, err)
		}
		s.ClearFaults()
	}
	// Where the caller ends it, that is no outage.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Get(ctx, "plain", "p", ""); !errors.Is(err, context.Canceled) || objects.Outage(err) {
		t.Errorf("cancelled: %v", err)
	}
	_, _, err := clientOf(t, "http://127.0.0.1:1", "ingest").Get(t.Context(), "plain", "p", "")
	if !errors.Is(err, objects.ErrUnavailable) || !strings.Contains(err.Error(), "AWS_ENDPOINT_URL_S3") {
		t.Errorf("nobody there: %v", err)
	}
	_, _, err = clientOf(t, s.URL(), "somebody").Get(t.Context(), "plain", "p", "")
	if !errors.Is(err, objects.ErrDenied) {
		t.Errorf("another's access key: %v", err)
	}
}

func TestDelete(t *testing.T) {
	s, c := open(t)
	for _, bucket := range []string{"versions", "plain"} {
		put(t, s, bucket, "a", "x")
		put(t, s, bucket, "b", "x")
		for range 2 { // what is gone is deleted
			if err := c.Delete(t.Context(), bucket, "a"); err != nil {
				t.Error(err)
			}
		}
		if got := s.Keys(bucket); !slices.Equal(got, []string{"b"}) {
			t.Errorf("%s: %v is left", bucket, got)
		}
	}
	if err := c.Delete(t.Context(), "nowhere", "a"); !errors.Is(err, objects.ErrNoBucket) {
		t.Error(err)
	}
}

// Each object is listed once, with its newest version, over all pages; deleted ones are not.
func TestList(t *testing.T) {
	s, c := open(t)
	if page, next, err := c.List(t.Context(), "plain", "", objects.Cursor{}); err != nil || len(page) > 0 ||
		next != (objects.Cursor{}) {
		t.Errorf("an empty bucket: %v, %v, %v", page, next, err)
	}
	for bucket, versions := range map[string]int{"versions": 3, "plain": 1} {
		var want []string
		newest := map[string]string{}
		for i := range 700 {
			key := fmt.Sprintf("in/%03d &<\x02ü+%%2F", i)
			for range versions {
				newest[key] = put(t, s, bucket, key, "x")
			}
			want = append(want, key)
		}
		put(t, s, bucket, "in/deleted", "x")
		if err := s.Delete(bucket, "in/deleted"); err != nil {
			t.Fatal(err)
		}
		put(t, s, bucket, "other", "x")
		var got []string
		pages := 0
		for from := (objects.Cursor{}); ; pages++ {
			page, next, err := c.List(t.Context(), bucket, "in/", from)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range page {
				if got = append(got, o.Key); o.Version != newest[o.Key] || o.Size != 1 || o.ETag == "" || o.Modified.IsZero() {
					t.Fatalf("%s lists %+v, want version %s", bucket, o, newest[o.Key])
				}
			}
			if from = next; from == (objects.Cursor{}) {
				break
			}
		}
		if !slices.Equal(got, want) || bucket == "versions" && pages < 2 {
			t.Errorf("%s lists %d objects on %d more pages, want %d", bucket, len(got), pages, len(want))
		}
	}
	if _, _, err := c.List(t.Context(), "nowhere", "", objects.Cursor{}); !errors.Is(err, objects.ErrNoBucket) {
		t.Error(err)
	}
}

// What the SDK writes with its default checksums, the fake takes and gives back.
func TestWrittenBySDK(t *testing.T) {
	s := s3server.New(s3server.Config{})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	client := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(s.URL()), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("admin", "a secret of sixteen and more", ""),
	})
	bucket := aws.String("b")
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("body ", 50_000)
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: bucket, Key: aws.String("k"), Body: strings.NewReader(text), ContentEncoding: aws.String("gzip"),
	}); err != nil {
		t.Fatal(err)
	}
	out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := got.ReadFrom(out.Body); err != nil || got.String() != text || aws.ToString(out.ContentEncoding) != "gzip" {
		t.Errorf("%d bytes, %v, encoding %q", got.Len(), err, aws.ToString(out.ContentEncoding))
	}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket, Delimiter: aws.String("/")})
	page, err := pages.NextPage(t.Context())
	if err != nil || len(page.Contents) != 1 || aws.ToString(page.Contents[0].Key) != "k" {
		t.Errorf("the list is %+v, %v", page, err)
	}
}

// A proxy may ignore Range and answer with the whole object: its first bytes are not those from the offset on.
func TestRangeIgnored(t *testing.T) {
	s, _ := open(t)
	put(t, s, "plain", "k", "0123456789")
	at, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(at)
		r.Out.Header.Del("Range")
	}})
	defer front.Close()
	got, info, err := read(t, clientOf(t, front.URL, "ingest"), objects.Ref{Bucket: "plain", Key: "k"}, 4)
	if err != nil || got != "456789" || info.Size != 10 {
		t.Errorf("%q of %d bytes, %v; want the object from its fourth byte on", got, info.Size, err)
	}
}
