package source

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
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"cloakroom/etl"
)

// MaxEvent is the longest event that is taken from a file, in bytes. A queue carries 1 MiB.
const MaxEvent = 16 << 20

// fileBatch is how many events a file source hands over at once.
const fileBatch = 500

// File is a source that reads JSON Lines or one JSON array. An event's id is etl.FileEventID, its
// date the source's, and it is sent as many microseconds after midnight as its position: the same file stores once, today
// and tomorrow. An event's body is its bytes in
// the file: a line without the newline that ends it, or an element of the array without the white
// space around it.
type File struct {
	name     string
	date     time.Time
	position int64
	next     func() ([]byte, error)
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
	if f.next, err = eventsOf(in); err != nil {
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

// Receive hands over the next events, or io.EOF.
func (f *File) Receive(ctx context.Context) ([]*etl.Message, error) {
	var out []*etl.Message
	for len(out) < fileBatch {
		body, err := f.next()
		if err == io.EOF {
			return out, io.EOF
		}
		if err != nil {
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

// byteOrderMark is what some editors write at a file's start, as UTF-8. It belongs to no event.
const byteOrderMark = "\ufeff"

// jsonSpace is white space by RFC 8259, section 2.
const jsonSpace = " \t\r\n"

// eventsOf reads a JSON array if the first character that is not white space is '[', else JSON
// Lines.
func eventsOf(in io.Reader) (func() ([]byte, error), error) {
	r := bufio.NewReaderSize(in, 64<<10)
	if head, _ := r.Peek(len(byteOrderMark)); string(head) == byteOrderMark {
		if _, err := r.Discard(len(byteOrderMark)); err != nil {
			return nil, err
		}
	}
	// The white space before the first line's text belongs to that line.
	var indent []byte
	for {
		c, err := r.ReadByte()
		switch {
		case err == io.EOF:
			return func() ([]byte, error) { return nil, io.EOF }, nil
		case err != nil:
			return nil, err
		case c == '\n':
			indent = indent[:0]
			continue
		case bytes.IndexByte([]byte(jsonSpace), c) >= 0:
			if indent = append(indent, c); len(indent) > MaxEvent {
				return nil, errTooLong
			}
			continue
		}
		if err := r.UnreadByte(); err != nil {
			return nil, err
		}
		if c == '[' {
			return arrayEvents(r)
		}
		return lineEvents(bufio.NewReaderSize(io.MultiReader(bytes.NewReader(indent), r), 64<<10)), nil
	}
}

// arrayEvents reads the elements of one JSON array. What is wrong inside an element is for the
// decoder to say. If the array itself is broken, reading ends with an error.
func arrayEvents(in io.Reader) (func() ([]byte, error), error) {
	r := &boundedReader{in: in, limit: MaxEvent}
	d := jsontext.NewDecoder(r, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	ended := false
	return func() ([]byte, error) {
		// The decoder reads a whole value before it hands it over. Part of what it read may belong
		// to the next one.
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

// boundedReader fails past a limit, in bytes from the start, so that one endless value does not
// fill the memory. It remembers how reading failed.
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
	return fmt.Errorf("the file is no complete JSON array: it breaks off or is not JSON after byte %d (what stands before is "+
		"loaded; mend the file and run again with the same --source and --date)", d.InputOffset())
}

var errTooLong = fmt.Errorf("it is longer than %d MiB", MaxEvent>>20)

// lineEvents reads JSON Lines. Lines of nothing but white space are not events. What else stands in
// a line is for the decoder to judge: a rejection seals it as it was received.
func lineEvents(r *bufio.Reader) func() ([]byte, error) {
	return func() ([]byte, error) {
		for {
			line, err := readLine(r)
			if err != nil && err != io.EOF {
				return nil, err // half a line is not an event
			}
			line = bytes.TrimSuffix(line, []byte("\n"))
			if len(bytes.Trim(line, jsonSpace)) > 0 {
				return line, nil
			}
			if err != nil {
				return nil, err
			}
		}
	}
}

// readLine reads up to and with the next newline, or what is left at the end.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > MaxEvent+len("\n"), len(line) > MaxEvent && err != nil:
			return nil, errTooLong
		case err == bufio.ErrBufferFull:
		default:
			return line, err
		}
	}
}
