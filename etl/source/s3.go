package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"cloakroom/etl"
	"cloakroom/internal/objects"
	"cloakroom/internal/pg"
	"cloakroom/internal/retry"
)

// S3Options say which objects are read. Zero fields take the defaults named beside them.
type S3Options struct {
	Bucket, Prefix string
	Date           time.Time     // create_date of all events; zero: each object's LastModified, UTC
	DryRun         bool          // record nothing in the vault, and read what an earlier run has read
	Readers        int           // most objects read at once: 8
	MaxOutage      time.Duration // how long S3 or the database may be away before Receive fails; 0: no limit
	Log            *slog.Logger  // slog.Default
}

// S3 is a source that reads the objects under a prefix: their newest versions, each as File reads a file. An object is
// a source of its own in the vault, named by ObjectName, so its events have ids and dates of their own, as a file's
// have. It notes how many of an object's first events are committed: a later run goes on after them.
//
// Objects are read at once, and come in no order. What is held in memory is bounded by chunkBytes and the longest event
// for each reader.
type S3 struct {
	S3Options
	writer *etl.Writer
	client *objects.Client

	out    chan []*etl.Message // closed when the readers have ended
	ended  error               // why, once out is closed; nil: all is read
	cancel context.CancelFunc
	noted  chan struct{} // closed when noting has ended
	logged rate.Sometimes

	bytes atomic.Int64

	mu     sync.Mutex
	counts S3Counts
	dirty  map[*object]bool // have come further than the vault knows
}

// S3Counts is what became of the objects.
type S3Counts struct {
	Read       int64 `json:"read"`        // to their end
	ReadBefore int64 `json:"read_before"` // by an earlier run, and left out
	Deleted    int64 `json:"deleted"`     // after they were listed
	Changed    int64 `json:"changed"`     // overwritten after they were listed
	Failed     int64 `json:"failed"`      // broken, or archived
	// EventsBefore are events of unfinished objects that an earlier run had committed.
	EventsBefore int64 `json:"events_before"`
	Bytes        int64 `json:"bytes"` // as stored
	// FirstFailure says which object was the first of Failed, and why.
	FirstFailure string `json:"first_failure,omitempty"`
}

// ParseS3 reads "s3://BUCKET/PREFIX". The prefix may be empty. ok is false for anything else.
func ParseS3(from string) (bucket, prefix string, ok bool) {
	rest, found := strings.CutPrefix(from, "s3://")
	bucket, prefix, _ = strings.Cut(rest, "/")
	return bucket, prefix, found && bucket != ""
}

// OpenS3 starts to read. It lists the first page at once, so a bucket that is not there or a refusal is an error now.
// Close it.
func OpenS3(ctx context.Context, w *etl.Writer, o S3Options) (*S3, error) {
	client, err := objects.Open(ctx)
	if err != nil {
		return nil, err
	}
	o.Readers, o.Log = cmp.Or(o.Readers, 8), cmp.Or(o.Log, slog.Default())
	s := &S3{
		S3Options: o, writer: w, client: client, out: make(chan []*etl.Message), noted: make(chan struct{}),
		logged: rate.Sometimes{Interval: etl.LogEvery}, dirty: map[*object]bool{},
	}
	first, next, err := client.List(ctx, o.Bucket, o.Prefix, objects.Cursor{})
	if errors.Is(err, objects.ErrUnavailable) {
		err = s.try(ctx, func() error {
			first, next, err = client.List(ctx, o.Bucket, o.Prefix, objects.Cursor{})
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	ctx, s.cancel = context.WithCancel(ctx)
	group, reading := errgroup.WithContext(ctx)
	todo := make(chan *object)
	group.Go(func() error {
		defer close(todo)
		return s.list(reading, todo, first, next)
	})
	for range o.Readers {
		group.Go(func() error {
			for o := range todo {
				if err := s.read(reading, o); err != nil {
					return err
				}
			}
			return nil
		})
	}
	go func() {
		s.ended = group.Wait()
		close(s.out)
	}()
	go s.note(ctx)
	return s, nil
}

// Receive hands over the next events of one of the objects, or io.EOF.
func (s *S3) Receive(ctx context.Context) ([]*etl.Message, error) {
	select {
	case messages, open := <-s.out:
		switch {
		case open:
			return messages, nil
		case s.ended != nil:
			return nil, s.ended
		}
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Counts is what became of the objects so far.
func (s *S3) Counts() S3Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Bytes = s.bytes.Load()
	return c
}

// Close stops reading, and notes how far the objects have come.
func (s *S3) Close(ctx context.Context) {
	s.cancel()
	for range s.out { // until the readers have ended
	}
	<-s.noted
	if err := s.noteNow(ctx); err != nil {
		s.Log.Warn("the next run reads again what it could leave out, and drops it as duplicates", "error", err)
	}
}

// try calls f until it succeeds, through an outage of S3 or of the database that lasts no longer than MaxOutage. Other
// errors are f's.
func (s *S3) try(ctx context.Context, f func() error) error {
	var began time.Time
	pacer := retry.Pauses{First: 200 * time.Millisecond, Max: 15 * time.Second}.Pacer()
	for {
		err := f()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !objects.Outage(err) && !pg.IsUnavailable(err):
			return err
		case began.IsZero():
			began = time.Now()
		}
		if lasted := time.Since(began); s.MaxOutage > 0 && lasted >= s.MaxOutage {
			return etl.GaveUp(err, lasted)
		}
		s.logged.Do(func() {
			s.Log.Error("cannot go on reading: trying again", "error", err, "since", began.UTC().Format(time.RFC3339))
		})
		if err := retry.Sleep(ctx, pacer.Next()); err != nil {
			return err
		}
	}
}

// ObjectName is an object's name as a source: s3://BUCKET/KEY#VERSION. Without versions, the version is "etag:" and the
// ETag without its quotes: an object that is overwritten by another is another source. No bucket holds a slash and no
// version a "#", so no two objects have one name.
func ObjectName(bucket string, o objects.Info) string {
	version := o.Version
	if !versioned(o) {
		version = "etag:" + strings.Trim(o.ETag, `"`)
	}
	return fmt.Sprintf("s3://%s/%s#%s", bucket, o.Key, version)
}

func versioned(o objects.Info) bool { return o.Version != "" && o.Version != objects.NullVersion }
