package etl

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"pgregory.net/rapid"

	"cloakroom/internal/pg/pgtest"
)

// copied is one row through COPY and back.
type copied struct {
	ID   uuid.UUID `db:"id"`
	Text []byte    `db:"text"` // nil: NULL
	Raw  []byte    `db:"raw"`
	N    *int64    `db:"n"`
}

var copiedColumns = []string{"id", "text", "raw", "n"}

func (c copied) append(dst []byte) []byte {
	dst = append(appendCopyUUID(dst, c.ID), '\t')
	if c.Text == nil {
		dst = appendCopyNull(dst)
	} else {
		dst = appendCopyText(dst, c.Text)
	}
	dst = append(appendCopyBytes(append(dst, '\t'), c.Raw), '\t')
	if c.N == nil {
		dst = appendCopyNull(dst)
	} else {
		dst = appendCopyInt(dst, *c.N)
	}
	return append(dst, '\n')
}

// What Postgres reads back is what was written, byte for byte.
func TestCopyText(t *testing.T) {
	db := pgtest.New(t).Open(t, "")
	conn, err := db.Connx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), `CREATE TEMPORARY TABLE copied (at serial, id uuid, text text, raw bytea, n bigint)`); err != nil {
		t.Fatal(err)
	}
	row := rapid.Custom(func(t *rapid.T) copied {
		c := copied{
			ID:  uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
			Raw: rapid.SliceOf(rapid.Byte()).Draw(t, "raw"),
		}
		if !rapid.Bool().Draw(t, "null") {
			special := rapid.SampledFrom([]rune("\\\t\n\r\b\f\v.Nx0é😀\u2028\u0085\x7f\x01"))
			text := string(rapid.SliceOf(special).Draw(t, "special")) + rapid.String().Draw(t, "any")
			c.Text = []byte(strings.ReplaceAll(text, "\x00", ""))
			n := rapid.Int64().Draw(t, "n")
			c.N = &n
		}
		return c
	})
	rapid.Check(t, func(rt *rapid.T) {
		checkCopy(t.Context(), rt, conn, rapid.SliceOfN(row, 1, 20).Draw(rt, "rows"))
	})

	// Rows about and beyond a chunk's size, and many small ones: chunks end where rows do.
	for _, size := range []int{copyChunk - 100, copyChunk - 45, copyChunk, copyChunk + 1, 3 * copyChunk, 1 << 20} {
		big := copied{Text: bytes.Repeat([]byte("a\n"), size/3), Raw: []byte{1}}
		checkCopy(t.Context(), t, conn, []copied{{Text: []byte(`\.`)}, big, {Text: []byte{}}, big})
	}
	checkCopy(t.Context(), t, conn, slices.Repeat([]copied{{Text: []byte(`\N`)}}, 5000))
}

type fataler interface {
	Fatal(...any)
	Fatalf(string, ...any)
}

func checkCopy(ctx context.Context, t fataler, conn *sqlx.Conn, rows []copied) {
	var text []byte
	for _, r := range rows {
		text = r.append(text)
	}
	tx, err := conn.BeginTxx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	l := &session{conn: conn}
	if err := l.copyIn(ctx, copyStatement("copied", copiedColumns), text); err != nil {
		t.Fatal(err)
	}
	var back []copied
	if err := conn.SelectContext(ctx, &back, `SELECT id, text, raw, n FROM pg_temp.copied ORDER BY at`); err != nil {
		t.Fatal(err)
	}
	if len(back) != len(rows) {
		t.Fatalf("%d rows came back, want %d", len(back), len(rows))
	}
	for i, want := range rows {
		got := back[i]
		if got.ID != want.ID || !bytes.Equal(got.Text, want.Text) || (got.Text == nil) != (want.Text == nil) ||
			!bytes.Equal(got.Raw, want.Raw) || (got.N == nil) != (want.N == nil) || got.N != nil && *got.N != *want.N {
			t.Fatalf("row %d: %+v came back as %+v", i, want, got)
		}
	}
}

// Chunks end before a newline, leave nothing out, and none is longer than copyChunk unless its one
// row is.
func TestChunkEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text []byte
		for _, n := range rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(0, 3*copyChunk)), 1, 30).Draw(t, "rows") {
			text = append(append(text, bytes.Repeat([]byte("x"), n)...), '\n')
		}
		for len(text) > 0 {
			end := chunkEnd(text)
			if text[end] != '\n' {
				t.Fatalf("a chunk ends within a row, at %d", end)
			}
			if end > copyChunk && bytes.IndexByte(text[:end], '\n') >= 0 {
				t.Fatalf("a chunk of several rows has %d bytes", end)
			}
			text = text[end+1:]
		}
	})
}
