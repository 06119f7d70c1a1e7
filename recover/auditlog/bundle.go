package auditlog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A bundle is the log in a file: a line "cloakroom audit log v1 ORIGIN", then a leaf a line, as the
// bytes that are hashed. A leaf has no line break in it: JSON escapes them.

const bundleHeader = "cloakroom audit log v1 "

// maxLeaf is the database's limit on a leaf, in bytes.
const maxLeaf = 256 << 10

// Export writes a bundle and returns the number of leaves.
func Export(ctx context.Context, w io.Writer, origin string, leaves Leaves) (n int64, err error) {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%s%s\n", bundleHeader, origin)
	for ; ; n++ {
		leaf, err := leaves.Next(ctx)
		if errors.Is(err, io.EOF) {
			return n, out.Flush()
		}
		if err != nil {
			return n, err
		}
		if bytes.IndexByte(leaf, '\n') >= 0 {
			return n, fmt.Errorf("%w: leaf %d has a line break in it", ErrInvalid, n)
		}
		out.Write(leaf)
		if err := out.WriteByte('\n'); err != nil {
			return n, fmt.Errorf("writing the bundle: %w", err)
		}
	}
}

// Bundle reads a bundle.
type Bundle struct {
	Origin string
	lines  *bufio.Reader
}

// OpenBundle reads a bundle's first line.
func OpenBundle(r io.Reader) (*Bundle, error) {
	lines := bufio.NewReaderSize(r, maxLeaf+1)
	first, err := lines.ReadString('\n')
	origin, ok := strings.CutPrefix(strings.TrimSuffix(first, "\n"), bundleHeader)
	if err != nil || !ok {
		return nil, errors.New("reading the bundle: it does not begin as recover log export writes it")
	}
	return &Bundle{Origin: origin, lines: lines}, nil
}

// Next gives the next leaf. A last line without its end is a file cut short.
func (b *Bundle) Next(context.Context) ([]byte, error) {
	line, err := b.lines.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF) && len(line) == 0:
		return nil, io.EOF
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: the bundle ends in the middle of a leaf", ErrInvalid)
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%w: a leaf is longer than %d bytes", ErrInvalid, maxLeaf)
	case err != nil:
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	return line[:len(line)-1], nil
}
