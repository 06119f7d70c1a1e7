package source

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"cloakroom/etl"
	"cloakroom/internal/objects"
)

// object is one that is to be read. What follows mu's comment in S3 is guarded by it.
type object struct {
	name  string
	ref   objects.Ref
	date  time.Time
	seen  bool  // an earlier run has begun it
	begin int64 // its first events that are committed already, and left out

	// Guarded by S3.mu.
	position int64    // how many of its first events are committed
	chunks   []*chunk // that were handed over after them, in order, until all of their events are committed
	read     bool     // to its end
}

// chunk is what was handed over of an object at once. It is the messages' handle.
type chunk struct {
	of   *object
	end  int64 // position after its last event
	left int   // events that are not committed
}

// list finds the objects, page by page, and passes on those that are not finished.
func (s *S3) list(ctx context.Context, todo chan<- *object, page []objects.Info, next objects.Cursor) error {
	listed := 0
	for {
		found, err := s.fix(ctx, page)
		if err != nil {
			return err
		}
		for _, o := range found {
			select {
			case todo <- o:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		listed += len(page)
		if next == (objects.Cursor{}) {
			if listed == 0 {
				s.Log.Warn("there is no object under this prefix", "from", "s3://"+s.Bucket+"/"+s.Prefix)
			}
			return nil
		}
		if err := s.try(ctx, func() (err error) {
			page, next, err = s.client.List(ctx, s.Bucket, s.Prefix, next)
			return err
		}); err != nil {
			return err
		}
	}
}

// fix records a page's objects in the vault, and leaves out those that an earlier run has finished.
func (s *S3) fix(ctx context.Context, page []objects.Info) ([]*object, error) {
	var all []*object
	var names []string
	var dates []time.Time
	for _, info := range page {
		o := &object{
			name: ObjectName(s.Bucket, info), date: dayOf(info.Modified),
			ref: objects.Ref{Bucket: s.Bucket, Key: info.Key, ETag: info.ETag},
		}
		// Without a version the newest is read, and the ETag says whether it is the one that was listed.
		if versioned(info) {
			o.ref.Version = info.Version
		}
		if !s.Date.IsZero() {
			o.date = s.Date
		}
		if !utf8.ValidString(o.name) || strings.ContainsRune(o.name, 0) {
			s.fail(o, "its key is no text that Postgres can store")
			continue
		}
		all, names, dates = append(all, o), append(names, o.name), append(dates, o.date)
	}
	if s.DryRun || len(all) == 0 {
		return all, nil
	}
	var fixed map[string]etl.SourceRecord
	if err := s.try(ctx, func() (err error) {
		fixed, err = s.writer.FixSources(ctx, names, dates)
		return err
	}); err != nil {
		return nil, err
	}
	var unfinished []*object
	for _, o := range all {
		record := fixed[o.name]
		switch {
		case record.Finished:
			s.count(func(c *S3Counts) { c.ReadBefore++ })
			continue
		case !s.Date.IsZero() && !record.Date.Equal(s.Date):
			return nil, fmt.Errorf("the first run of %s fixed the date %s, and --date is %s: leave --date out", o.name,
				record.Date.Format(time.DateOnly), s.Date.Format(time.DateOnly))
		}
		o.date, o.seen, o.begin, o.position = record.Date, record.Seen, record.Position, record.Position
		unfinished = append(unfinished, o)
	}
	return unfinished, nil
}

func (s *S3) count(change func(*S3Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.counts)
}
