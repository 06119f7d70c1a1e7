package etl

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"cloakroom/internal/pg"
)

// MaxEvent is the longest event that is taken from a file, in bytes. A queue carries 1 MiB.
const MaxEvent = 16 << 20

// fileBatch is how many events a file source hands over at once.
const fileBatch = 500

// File is a source that reads JSON Lines or one JSON array. An event's id is UUIDv5 of the source's name and its
// position, its date the source's: the same file stores once, today and tomorrow.
type File struct {
	name     string
	date     time.Time
	position int64
	next     func() ([]byte, error)
}

// FileOptions name a file source. The name and the date default to the file's SHA-256 and its modification date; from
// standard input both must be given.
type FileOptions struct {
	Path   string // "-": standard input
	Name   string
	Date   string // YYYY-MM-DD, the create_date of its events
	Stdin  io.Reader
	DryRun bool // do not record the source in the vault
}

// OpenFile opens a file source and fixes its name and date in the vault: a later run keeps the first run's date.
// The second result closes the file.
func OpenFile(ctx context.Context, w *Writer, o FileOptions) (*File, func() error, error) {
	in, closeFile, name, date, err := openInput(o)
	if err != nil {
		return nil, nil, err
	}
	f := &File{name: name, date: date}
	if !o.DryRun {
		if err := w.vault.DB.GetContext(ctx, &f.date, `SELECT cloakroom.fix_source($1, $2)`, name, date.Format(time.DateOnly)); err != nil {
			closeFile()
			return nil, nil, fmt.Errorf("recording the source: %w", pg.Redact(err))
		}
		f.date = f.date.UTC()
	}
	if f.next, err = eventsOf(in); err != nil {
		closeFile()
		return nil, nil, fmt.Errorf("reading %s: %w", o.Path, err)
	}
	return f, closeFile, nil
}

// Name and Date are the source's, as the vault has them.
func (f *File) Name() string { return f.name }

func (f *File) Date() time.Time { return f.date }

func openInput(o FileOptions) (in io.Reader, closeFile func() error, name string, date time.Time, err error) {
	if o.Date != "" {
		if date, err = time.Parse(time.DateOnly, o.Date); err != nil {
			return nil, nil, "", date, fmt.Errorf("reading --date %q: want YYYY-MM-DD", o.Date)
		}
	}
	if o.Path == "-" {
		if o.Name == "" || o.Date == "" {
			return nil, nil, "", date, errors.New("events from standard input need --source NAME and --date YYYY-MM-DD: they make each event's id and date, so that a second run stores nothing twice")
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
		date = info.ModTime().UTC().Truncate(24 * time.Hour)
	}
	if name = o.Name; name == "" {
		if !info.Mode().IsRegular() {
			return nil, nil, "", date, fmt.Errorf("reading %s: it is no regular file, so it cannot be read twice to name it: give --source NAME and --date YYYY-MM-DD", o.Path)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, file); err != nil {
			return nil, nil, "", date, err
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return nil, nil, "", date, err
		}
		name = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	}
	return file, file.Close, name, date, nil
}

// Receive hands over the next events, or io.EOF.
func (f *File) Receive(ctx context.Context) ([]*Message, error) {
	var out []*Message
	for len(out) < fileBatch {
		body, err := f.next()
		if err == io.EOF {
			return out, io.EOF
		}
		if err != nil {
			return out, fmt.Errorf("reading event %d: %w", f.position+1, err)
		}
		out = append(out, &Message{ID: f.id(f.position), Date: f.date, Body: body, Receives: 1})
		f.position++
	}
	return out, ctx.Err()
}

func (f *File) id(position int64) uuid.UUID {
	name := append([]byte("source\x00"+f.name+"\x00"), strconv.FormatInt(position, 10)...)
	return uuid.NewSHA1(namespace, name)
}

// byteOrderMark is what some editors write at a file's start, as UTF-8. It belongs to no event.
const byteOrderMark = "\ufeff"

// eventsOf reads a JSON array if the first character is '[', else JSON Lines.
func eventsOf(in io.Reader) (func() ([]byte, error), error) {
	r := bufio.NewReaderSize(in, 64<<10)
	if head, _ := r.Peek(len(byteOrderMark)); string(head) == byteOrderMark {
		if _, err := r.Discard(len(byteOrderMark)); err != nil {
			return nil, err
		}
	}
	for {
		c, err := r.ReadByte()
		if err == io.EOF {
			return func() ([]byte, error) { return nil, io.EOF }, nil
		}
		if err != nil {
			return nil, err
		}
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		}
		if err := r.UnreadByte(); err != nil {
			return nil, err
		}
		if c == '[' {
			return arrayEvents(r)
		}
		return lineEvents(r), nil
	}
}

// arrayEvents reads the elements of one JSON array. What is wrong inside an element is for the decoder to say; where the
// array itself is broken, reading ends with an error.
func arrayEvents(in io.Reader) (func() ([]byte, error), error) {
	r := &boundedReader{in: in, limit: MaxEvent}
	d := jsontext.NewDecoder(r, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	ended := false
	return func() ([]byte, error) {
		// The decoder takes in a whole value before it hands it over. Some of what it took in may be the next one's.
		r.limit = d.InputOffset() + 2*MaxEvent
		switch {
		case ended:
			return nil, io.EOF
		case d.PeekKind() == jsontext.KindEndArray:
			if _, err := d.ReadToken(); err != nil {
				return nil, brokenArray(d)
			}
			if _, err := d.ReadToken(); err != io.EOF {
				return nil, fmt.Errorf("something follows the JSON array, at byte %d", d.InputOffset())
			}
			ended = true
			return nil, io.EOF
		}
		body, err := d.ReadValue()
		switch {
		case errors.Is(err, errTooLong) || err == nil && len(body) > MaxEvent:
			return nil, errTooLong
		case r.err != nil:
			return nil, r.err
		case err != nil:
			return nil, brokenArray(d)
		}
		return bytes.Clone(body), nil
	}, nil
}

// boundedReader fails beyond a limit, in bytes from the start, so that one endless value does not fill the memory. It
// remembers how reading failed.
type boundedReader struct {
	in          io.Reader
	read, limit int64
	err         error
}

func (r *boundedReader) Read(b []byte) (int, error) {
	if r.read >= r.limit {
		return 0, errTooLong
	}
	n, err := r.in.Read(b[:min(int64(len(b)), r.limit-r.read)])
	r.read += int64(n)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// brokenArray does not quote the library's error, which may quote the input.
func brokenArray(d *jsontext.Decoder) error {
	return fmt.Errorf("the file is no complete JSON array: it breaks off or is not JSON after byte %d (what stands before is loaded; mend the file and run again with the same --source and --date)", d.InputOffset())
}

var errTooLong = fmt.Errorf("it is longer than %d MiB", MaxEvent>>20)

// lineEvents reads JSON Lines; blank lines do not count. Only what JSON calls space is trimmed: whatever else stands in a
// line is the decoder's to judge.
func lineEvents(r *bufio.Reader) func() ([]byte, error) {
	return func() ([]byte, error) {
		for {
			line, err := readLine(r)
			if err != nil && err != io.EOF {
				return nil, err // a line half read is no event
			}
			line = bytes.Trim(line, " \t\r\n")
			switch {
			case len(line) > MaxEvent:
				return nil, errTooLong
			case len(line) > 0:
				return line, nil
			}
			if err != nil {
				return nil, err
			}
		}
	}
}

func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > MaxEvent+len("\r\n"):
			return nil, errTooLong
		case err == bufio.ErrBufferFull:
		default:
			return line, err
		}
	}
}
