package pg_test

import (
	"fmt"
	"slices"
	"testing"

	"cloakroom/internal/pg"
	"cloakroom/internal/pg/pgtest"
)

// Arrays as Postgres sends them are read; a part of one, more than one, or one of two dimensions is none.
func TestSplitArray(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t).Open(t, "")
	for text, want := range map[string][][]byte{
		`ARRAY[]::bytea[]`: {},
		`ARRAY[convert_to('a', 'UTF8'), NULL, '', repeat('b', 300)::bytea]`: {[]byte("a"), nil, {},
			[]byte(fmt.Sprintf("%0300d", 0))},
		`ARRAY['ä', NULL]::text[]`: {[]byte("ä"), nil},
	} {
		var sent []byte
		if err := db.Get(&sent, `SELECT array_send(`+text+`)`); err != nil {
			t.Fatal(err)
		}
		into := [][]byte{[]byte("before")}
		got, ok := pg.SplitArray(sent, into)
		if !ok || len(got) != len(want) || !slices.EqualFunc(got, want, func(a, b []byte) bool {
			return (a == nil) == (b == nil) && len(a) == len(b)
		}) {
			t.Errorf("%s: %q %v", text, got, ok)
		}
		for n := range sent {
			if got, ok := pg.SplitArray(sent[:n], nil); ok {
				t.Errorf("%s cut at %d: %q", text, n, got)
			}
		}
		if got, ok := pg.SplitArray(append(sent, 0), nil); ok {
			t.Errorf("%s with a byte more: %q", text, got)
		}
	}
	var sent []byte
	if err := db.Get(&sent, `SELECT array_send(ARRAY[ARRAY['a'], ARRAY['b']]::bytea[])`); err != nil {
		t.Fatal(err)
	}
	if got, ok := pg.SplitArray(sent, nil); ok {
		t.Errorf("two dimensions: %q", got)
	}
	// A length that no bytes follow takes no memory.
	if _, ok := pg.SplitArray([]byte("\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x11\xff\xff\xff\xff\x00\x00\x00\x01"), nil); ok {
		t.Error("four billion elements of no bytes")
	}
}
