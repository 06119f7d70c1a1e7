// Package objects reads and deletes objects of S3, and lists them.
//
// What it promises:
//
//   - An error says whether it is about the object (ErrNotFound, ErrChanged, ErrArchived) or an outage (Outage reports
//     true): a refusal, a network, a throttled or failing service, a bucket that is not there. Nothing that a key holds
//     makes an outage of what is the object's own fault.
//   - Every call is bounded: by 30 s until the answer begins, and by 30 s for each piece of a body.
//   - An error names the bucket and the IAM action, never a key, a version or what S3 quotes of them: keys may be
//     personal, and may come out of an event.
//   - A body is the object's bytes as they are stored. Nothing is unpacked.
package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// callTimeout bounds a call until its answer begins, with the SDK's retries, and each read of a body. The SDK's HTTP
// client has no timeout of its own. Tests shorten it.
var callTimeout = 30 * time.Second

// Client calls S3. It is safe for concurrent use.
type Client struct{ s3 *s3.Client }

// Open prepares a client; region, credentials and endpoint come from the AWS SDK's own configuration (AWS_REGION,
// AWS_PROFILE, AWS_ENDPOINT_URL_S3, instance roles and so on). It makes no call. Where an endpoint is configured,
// buckets are named in the path: a host name for each bucket is AWS's own.
func Open(ctx context.Context) (*Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening S3: reading the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, errors.New("opening S3: no AWS region is configured: set AWS_REGION")
	}
	return &Client{s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = o.BaseEndpoint != nil
		// Of a body its length is checked, and TLS guards the way. A checksum at its end would come too late: the first
		// events are stored by then.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})}, nil
}

// Ref names what to read.
type Ref struct {
	Bucket, Key string
	Version     string // empty: the newest one
	ETag        string // if it is not empty, an object with another one is ErrChanged
}

// Info is what S3 says of an object.
type Info struct {
	Key      string
	Version  string // NullVersion or empty where the bucket keeps no versions
	ETag     string // with its quotes
	Size     int64  // in bytes, of the whole object
	Modified time.Time
}

// NullVersion is the version of an object that was written while its bucket kept no versions. It can be overwritten.
const NullVersion = "null"

// Get reads an object; version may be empty. The caller closes the body.
func (c *Client) Get(ctx context.Context, bucket, key, version string) (io.ReadCloser, Info, error) {
	return c.GetFrom(ctx, Ref{Bucket: bucket, Key: key, Version: version}, 0)
}

// GetFrom reads an object from a byte on. At or after its end it gives an empty body.
func (c *Client) GetFrom(ctx context.Context, r Ref, offset int64) (io.ReadCloser, Info, error) {
	action := "s3:GetObject"
	in := &s3.GetObjectInput{Bucket: &r.Bucket, Key: &r.Key}
	if r.Version != "" {
		in.VersionId, action = &r.Version, "s3:GetObjectVersion"
	}
	if r.ETag != "" {
		in.IfMatch = &r.ETag
	}
	if offset > 0 {
		in.Range = aws.String("bytes=" + strconv.FormatInt(offset, 10) + "-")
	}
	if r.Key == "" {
		return nil, Info{}, fmt.Errorf("reading an object of %s: its key is empty: %w", r.Bucket, ErrNotFound)
	}
	ctx, w := watch(ctx)
	w.start()
	out, err := c.s3.GetObject(ctx, in)
	if !w.stop() && err == nil {
		out.Body.Close()
		err = context.DeadlineExceeded
	}
	var api smithy.APIError
	switch {
	case err == nil:
	case errors.As(err, &api) && api.ErrorCode() == "InvalidRange" && offset > 0:
		w.cancel()
		info := Info{Key: r.Key, Version: r.Version, ETag: r.ETag, Size: offset}
		return io.NopCloser(strings.NewReader("")), info, nil
	default:
		defer w.cancel() // after explain has looked at how the call ended
		return nil, Info{}, explain("reading an object of "+r.Bucket, action, ctx, err)
	}
	info := Info{
		Key: r.Key, Version: aws.ToString(out.VersionId), ETag: aws.ToString(out.ETag),
		Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified),
	}
	b := &body{in: out.Body, watch: w, ctx: ctx, bucket: r.Bucket, left: info.Size}
	if out.ContentRange != nil { // bytes 10-19/20
		info.Size += offset
		return b, info, nil
	}
	// All of it comes, also where a proxy ignores Range (RFC 9110, section 14.2, allows that).
	if _, err := io.CopyN(io.Discard, b, offset); err != nil && err != io.EOF {
		_ = b.Close() // the error is that of reading
		return nil, Info{}, err
	}
	return b, info, nil
}

// Delete deletes an object. In a bucket with versions it hides it under a marker. One that is not there is no error, as
// S3 has it.
func (c *Client) Delete(ctx context.Context, bucket, key string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := c.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
	return explain("deleting an object of "+bucket, "s3:DeleteObject", ctx, err)
}

// Cursor is where a listing goes on; the zero value is its start.
type Cursor struct{ key, version string }

// List gives the newest version of each object under a prefix, in the order of the keys, a page at a time (at most
// 1,000, and of a bucket with many old versions fewer). The listing is over when the returned cursor is the zero value.
//
// It reads S3's list of versions, so it needs s3:ListBucketVersions: the other list does not say which version it
// shows, and so not what a later Get reads.
func (c *Client) List(ctx context.Context, bucket, prefix string, from Cursor) ([]Info, Cursor, error) {
	in := &s3.ListObjectVersionsInput{
		Bucket: &bucket,
		// XML cannot carry every character that a key can.
		EncodingType: types.EncodingTypeUrl,
	}
	if prefix != "" {
		in.Prefix = &prefix
	}
	if from.key != "" {
		in.KeyMarker = &from.key
	}
	if from.version != "" {
		in.VersionIdMarker = &from.version
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := c.s3.ListObjectVersions(ctx, in)
	if err != nil {
		return nil, Cursor{}, explain("listing "+bucket, "s3:ListBucketVersions", ctx, err)
	}
	var page []Info
	for _, v := range out.Versions {
		key, err := url.QueryUnescape(aws.ToString(v.Key))
		if err != nil {
			return nil, Cursor{}, fmt.Errorf("listing %s: a key is not encoded as S3 does it: %w", bucket,
				ErrUnavailable)
		}
		if aws.ToBool(v.IsLatest) {
			page = append(page, Info{
				Key: key, Version: aws.ToString(v.VersionId), ETag: aws.ToString(v.ETag), Size: aws.ToInt64(v.Size),
				Modified: aws.ToTime(v.LastModified).UTC(),
			})
		}
	}
	if !aws.ToBool(out.IsTruncated) {
		return page, Cursor{}, nil
	}
	next, err := url.QueryUnescape(aws.ToString(out.NextKeyMarker))
	if err != nil || next == "" {
		return nil, Cursor{}, fmt.Errorf("listing %s: the answer does not say where the list goes on: %w", bucket,
			ErrUnavailable)
	}
	return page, Cursor{next, aws.ToString(out.NextVersionIdMarker)}, nil
}
