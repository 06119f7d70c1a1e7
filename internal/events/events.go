// Package events cuts a file into events: JSON Lines, or the elements of one JSON array, plain or compressed with gzip.
// It judges nothing inside an event: what is wrong there is for the decoder of a dataset to say.
//
// Memory is bounded by [MaxEvent], whatever the file holds.
package events

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxEvent is the longest event that is taken from a file, in bytes. A queue carries 1 MiB.
const MaxEvent = 16 << 20

// ErrArray reports a JSON array that breaks off, is not JSON, or is followed by something. The events before the break
// were handed over.
var ErrArray = errors.New("the file is no complete JSON array")

var errTooLong = fmt.Errorf("it is longer than %d MiB", MaxEvent>>20)

// byteOrderMark is what some editors write at a file's start, as UTF-8. It belongs to no event.
const byteOrderMark = "\ufeff"

// gzipMagic begins a gzip file (RFC 1952). No JSON text begins so.
const gzipMagic = "\x1f\x8b"

// jsonSpace is white space by RFC 8259, section 2.
const jsonSpace = " \t\r\n"

// Reader reads events one by one. It is not for concurrent use.
type Reader struct {
	next  func() ([]byte, error)
	line  int64
	array bool
}

// NewReader finds out what the file is: an array if the first character that is not white space is '[', else JSON
// Lines.
func NewReader(in io.Reader) (*Reader, error) {
	r := bufio.NewReaderSize(in, 64<<10)
	if head, _ := r.Peek(len(gzipMagic)); string(head) == gzipMagic {
		plain, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("unpacking gzip: %w", err)
		}
		r = bufio.NewReaderSize(plain, 64<<10)
	}
	if head, _ := r.Peek(len(byteOrderMark)); string(head) == byteOrderMark {
		if _, err := r.Discard(len(byteOrderMark)); err != nil {
			return nil, err
		}
	}
	out := &Reader{}
	return out, out.open(r)
}

// Next returns the next event, or io.EOF. An event is a line without the newline that ends it, or an element of the
// array without the white space around it. Lines of nothing but white space are no events.
func (r *Reader) Next() ([]byte, error) { return r.next() }

// Line is the number of the line in which the last event stood, from 1; of an array, the number of its element.
func (r *Reader) Line() int64 { return r.line }

// IsArray says that the file is a JSON array.
func (r *Reader) IsArray() bool { return r.array }

func (r *Reader) open(in *bufio.Reader) error {
	// The white space before the first line's text belongs to that line.
	var indent []byte
	for {
		c, err := in.ReadByte()
		switch {
		case err == io.EOF:
			r.next = func() ([]byte, error) { return nil, io.EOF }
			return nil
		case err != nil:
			return err
		case c == '\n':
			r.line++
			indent = indent[:0]
			continue
		case bytes.IndexByte([]byte(jsonSpace), c) >= 0:
			if indent = append(indent, c); len(indent) > MaxEvent {
				return errTooLong
			}
			continue
		}
		if err := in.UnreadByte(); err != nil {
			return err
		}
		if c == '[' {
			return r.readArray(in)
		}
		lines := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(indent), in), 64<<10)
		r.next = func() ([]byte, error) { return r.nextLine(lines) }
		return nil
	}
}

// readArray reads the elements of one JSON array. If the array itself is broken, reading ends with an error.
func (r *Reader) readArray(in io.Reader) error {
	bounded := &boundedReader{in: in, limit: MaxEvent}
	d := jsontext.NewDecoder(bounded, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	ended := false
	r.array, r.line = true, 0
	r.next = func() ([]byte, error) {
		// The decoder reads a whole value before it hands it over. Part of what it read may belong
		// to the next one.
		bounded.limit = d.InputOffset() + 2*MaxEvent
		switch {
		case ended:
			return nil, io.EOF
		case d.PeekKind() == jsontext.KindEndArray:
			if _, err := d.ReadToken(); err != nil {
				return nil, broken(d)
			}
			if _, err := d.ReadToken(); err != io.EOF {
				return nil, fmt.Errorf("%w: something follows the JSON array, at byte %d", ErrArray, d.InputOffset())
			}
			ended = true
			return nil, io.EOF
		}
		body, err := d.ReadValue()
		switch {
		case errors.Is(err, errTooLong) || err == nil && len(body) > MaxEvent:
			return nil, errTooLong
		case bounded.err != nil:
			return nil, bounded.err
		case err != nil:
			return nil, broken(d)
		}
		r.line++
		return bytes.Clone(body), nil
	}
	return nil
}

// broken does not quote the library's error, which may quote the input.
func broken(d *jsontext.Decoder) error {
	return fmt.Errorf("%w: it breaks off or is not JSON after byte %d", ErrArray, d.InputOffset())
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

// nextLine reads up to the next line that holds more than white space.
func (r *Reader) nextLine(in *bufio.Reader) ([]byte, error) {
	for {
		line, err := readLine(in)
		if err != nil && err != io.EOF {
			return nil, err // half a line is not an event
		}
		r.line++
		line = bytes.TrimSuffix(line, []byte("\n"))
		if len(bytes.Trim(line, jsonSpace)) > 0 {
			return line, nil
		}
		if err != nil {
			return nil, err
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
