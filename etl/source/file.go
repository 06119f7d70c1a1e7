package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"cloakroom/etl"
	"cloakroom/internal/events"
)

// fileBatch is how many events a file source hands over at once.
const fileBatch = 500

// File is a source that reads JSON Lines or one JSON array, plain or compressed with gzip. An event's id is
// etl.FileEventID, its date the source's, and it is sent as many microseconds after midnight as its position: the same
// file stores once, today and tomorrow. An event's body is its bytes in the file, as package events cuts them.
type File struct {
	name     string
	date     time.Time
	position int64
	events   *events.Reader
}

// FileOptions name a file source. The name and the date default to the file's SHA-256 and its
// modification date; for standard input both must be given.
type FileOptions struct {
	Path   string // "-": standard input
	Name   string
	Date   string // YYYY-MM-DD, the create_date of its events
	Stdin  io.Reader
	DryRun bool // do not record the source in the vault
}

// OpenFile opens a file source and fixes its name and date in the vault. A later run keeps the
// first run's date, and is refused if it asks for another. The second result closes the file.
func OpenFile(ctx context.Context, w *etl.Writer, o FileOptions) (*File, func() error, error) {
	in, closeFile, name, date, err := openInput(o)
	if err != nil {
		return nil, nil, err
	}
	f := &File{name: name, date: date}
	if !o.DryRun {
		f.date, err = w.FixSource(ctx, name, date)
		if fixed := f.date.Format(time.DateOnly); err == nil && o.Date != "" && fixed != o.Date {
			err = fmt.Errorf("the first run of source %s fixed the date %s, and --date is %s: leave --date out, or give "+
				"--source another name to store the events once more", name, fixed, o.Date)
		}
		if err != nil {
			closeFile()
			return nil, nil, err
		}
	}
	if f.events, err = events.NewReader(in); err != nil {
		closeFile()
		return nil, nil, fmt.Errorf("reading %s: %w", o.Path, err)
	}
	return f, closeFile, nil
}

// Name is the source's name, as the vault has it.
func (f *File) Name() string { return f.name }

// Date is the create_date of the source's events, as the vault has it.
func (f *File) Date() time.Time { return f.date }

func openInput(o FileOptions) (in io.Reader, closeFile func() error, name string, date time.Time, err error) {
	if o.Date != "" {
		if date, err = time.Parse(time.DateOnly, o.Date); err != nil {
			return nil, nil, "", date, fmt.Errorf("reading --date %q: want YYYY-MM-DD", o.Date)
		}
	}
	if o.Path == "-" {
		if o.Name == "" || o.Date == "" {
			return nil, nil, "", date, errors.New("events from standard input need --source NAME and --date YYYY-MM-DD: " +
				"they make each event's id and date, so that a second run stores nothing twice")
		}
		return o.Stdin, func() error { return nil }, o.Name, date, nil
	}
	file, err := os.Open(o.Path)
	if err != nil {
		return nil, nil, "", date, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, "", date, err
	}
	if info.IsDir() {
		return nil, nil, "", date, fmt.Errorf("reading %s: it is a directory", o.Path)
	}
	if o.Date == "" {
		date = dayOf(info.ModTime())
	}
	if name = o.Name; name != "" {
		return file, file.Close, name, date, nil
	}
	if !info.Mode().IsRegular() {
		return nil, nil, "", date, fmt.Errorf("reading %s: it is not a regular file, so it cannot be read twice to name it: "+
			"give --source NAME and --date YYYY-MM-DD", o.Path)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return nil, nil, "", date, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, nil, "", date, err
	}
	return file, file.Close, "sha256:" + hex.EncodeToString(sum.Sum(nil)), date, nil
}

// Position is how many events were handed over.
func (f *File) Position() int64 { return f.position }

// Receive hands over the next events, or io.EOF.
func (f *File) Receive(ctx context.Context) ([]*etl.Message, error) {
	var out []*etl.Message
	for len(out) < fileBatch {
		body, err := f.events.Next()
		if err == io.EOF {
			return out, io.EOF
		}
		if err != nil {
			if errors.Is(err, events.ErrArray) {
				err = fmt.Errorf("%w (what stands before is loaded; mend the file and run again with the same --source "+
					"and --date)", err)
			}
			return out, fmt.Errorf("reading event %d: %w", f.position+1, err)
		}
		out = append(out, &etl.Message{
			ID: etl.FileEventID(f.name, f.position), Sent: f.date.Add(time.Duration(f.position) * time.Microsecond), DayOnly: true,
			Body: body, Receives: 1,
		})
		f.position++
	}
	return out, ctx.Err()
}
