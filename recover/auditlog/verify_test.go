package auditlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var vault = uuid.MustParse("00000000-0000-4000-8000-000000000001")

// texts is a log in memory.
type texts [][]byte

func (l texts) leaves() Leaves { return &textReader{l} }

type textReader struct{ rest texts }

func (r *textReader) Next(context.Context) ([]byte, error) {
	if len(r.rest) == 0 {
		return nil, io.EOF
	}
	leaf := r.rest[0]
	r.rest = r.rest[1:]
	return leaf, nil
}

func leafText(seq int, what string) []byte {
	return fmt.Appendf(nil, `{"v":1,"seq":%d,"ts":"2026-01-02T03:04:05.000006Z","type":%q,"request":null,"actor":"alice","source_identity":null,"purpose":null,"ticket":null,"reason_commit":null,"query_commit":null,"dataset":null,"fields":null,"row_set_hash":null,"rows":null,"data_keys":null,"result":null,"tool":null}`, seq, what)
}

func logOf(n int) texts {
	var l texts
	for i := range n {
		l = append(l, leafText(i, "request"))
	}
	return l
}

type signing struct {
	signer note.Signer
	key    note.Verifier
}

func newSigning(t testing.TB) signing {
	t.Helper()
	secretKey, publicKey, err := GenerateKey(vault)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secretKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewVerifier(publicKey)
	if err != nil {
		t.Fatal(err)
	}
	return signing{signer, key}
}

// checkpoint signs the first n leaves.
func (s signing) checkpoint(t testing.TB, l texts, n int) Checkpoint {
	t.Helper()
	var grown tree
	for _, leaf := range l[:n] {
		grown.add(leaf)
	}
	c, err := sign(s.signer, int64(n), grown.root())
	if err != nil {
		t.Fatal(err)
	}
	read, err := ParseCheckpoint(c.Note, s.key)
	if err != nil || read.Root != c.Root || read.Size != c.Size {
		t.Fatalf("reading the checkpoint back: %+v, %v", read, err)
	}
	return read
}

func TestTreeIsTlogs(t *testing.T) {
	var grown tree
	var stored memory
	for n, leaf := range logOf(130) {
		want, err := tlog.TreeHash(int64(n), stored)
		if err != nil {
			t.Fatal(err)
		}
		if got := grown.root(); got != want {
			t.Fatalf("root of %d leaves is %s, tlog's %s", n, got, want)
		}
		hashes, err := tlog.StoredHashes(int64(n), leaf, stored)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
		grown.add(leaf)
	}
}

func TestVerify(t *testing.T) {
	s := newSigning(t)
	honest := logOf(10)
	older, newer := s.checkpoint(t, honest, 4), s.checkpoint(t, honest, 9)

	edited := append(texts{}, honest...)
	edited[2] = leafText(2, "deny")
	rewritten := append(append(texts{}, honest[:2]...), logOf(12)[2:]...)
	rewritten[2] = leafText(2, "deny")
	fork := append(append(texts{}, honest[:4]...), leafText(4, "deny"))
	for n := 5; n < 10; n++ {
		fork = append(fork, leafText(n, "request"))
	}
	swapped := append(texts{}, honest...)
	swapped[7], swapped[8] = swapped[8], swapped[7]

	for name, tt := range map[string]struct {
		log         texts
		checkpoints []Checkpoint
		want        string // part of the error; empty: valid
	}{
		"as it was":                              {honest, []Checkpoint{older, newer}, ""},
		"grown since":                            {logOf(12), []Checkpoint{older, newer}, ""},
		"leaf edited":                            {edited, []Checkpoint{newer}, "at least one"},
		"leaf edited under the older":            {edited, []Checkpoint{older, newer}, "at least one of leaves 0 to 3"},
		"tail cut":                               {honest[:6], []Checkpoint{older, newer}, "tail was cut"},
		"everything cut":                         {nil, []Checkpoint{older}, "tail was cut"},
		"fork after the older":                   {fork, []Checkpoint{older, newer}, "of leaves 4 to 8"},
		"rewritten and signed with stolen key":   {rewritten, []Checkpoint{older, s.checkpoint(t, rewritten, 12)}, "at least one of leaves 0 to 3"},
		"leaves swapped":                         {swapped, []Checkpoint{newer}, "has another number"},
		"leaf taken out":                         {append(append(texts{}, honest[:3]...), honest[4:]...), []Checkpoint{newer}, "has another number"},
		"the newest leaf is no one's to promise": {honest, []Checkpoint{older}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Verify(t.Context(), tt.log.leaves(), tt.checkpoints, nil)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want == "" && (r.Size != int64(len(tt.log)) || r.Covered != tt.checkpoints[len(tt.checkpoints)-1].Size):
				t.Errorf("result is %+v", r)
			case tt.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error is %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestCheckpointRefuses(t *testing.T) {
	s, stranger := newSigning(t), newSigning(t)
	good := s.checkpoint(t, logOf(3), 3)
	for name, text := range map[string][]byte{
		"another key's":       stranger.checkpoint(t, logOf(3), 3).Note,
		"edited":              bytes.Replace(good.Note, []byte("\n3\n"), []byte("\n2\n"), 1),
		"no signature":        bytes.SplitAfter(good.Note, []byte("\n\n"))[0],
		"empty":               nil,
		"signed, but no tree": mustSign(t, s.signer, s.signer.Name()+"\nthree\nxyz\n"),
		"size with a plus":    mustSign(t, s.signer, s.signer.Name()+"\n+3\n"+good.Root.String()+"\n"),
		"another's origin":    mustSign(t, s.signer, "cloakroom/other\n3\n"+good.Root.String()+"\n"),
	} {
		if _, err := ParseCheckpoint(text, s.key); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mustSign(t *testing.T, signer note.Signer, text string) []byte {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestSinkKeepsTheFirst(t *testing.T) {
	s := newSigning(t)
	dir := t.TempDir()
	sink := Sink(dir)
	first := s.checkpoint(t, logOf(3), 3)
	for range 2 {
		if err := sink.Put(first); err != nil {
			t.Fatal(err)
		}
	}
	other := logOf(3)
	other[0] = leafText(0, "deny")
	if err := sink.Put(s.checkpoint(t, other, 3)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a fork is kept: %v", err)
	}
	if err := Sink(filepath.Join(dir, "away")).Put(first); err == nil || errors.Is(err, ErrInvalid) {
		t.Errorf("a sink that is away: %v", err)
	}
	kept, err := ReadCheckpoints(dir, s.key)
	if err != nil || len(kept) != 1 || kept[0].Root != first.Root {
		t.Errorf("kept %v, %v", kept, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x"+checkpointSuffix), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCheckpoints(dir, s.key); !errors.Is(err, ErrInvalid) {
		t.Errorf("a file that is no checkpoint: %v", err)
	}
}

// TestSinkEmptyFile: a witness that dies between making a file and writing it leaves one that is
// empty.
func TestSinkEmptyFile(t *testing.T) {
	s := newSigning(t)
	sink := Sink(t.TempDir())
	small, large := s.checkpoint(t, logOf(3), 3), s.checkpoint(t, logOf(5), 5)
	if err := sink.Put(small); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sink.path(5), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if kept, err := ReadCheckpoints(string(sink), s.key); err != nil || len(kept) != 1 {
		t.Errorf("kept %v, %v; want the one that was written", kept, err)
	}
	if last, ok, err := sink.last(s.key); !ok || err != nil || last.Size != 3 {
		t.Errorf("the last is %v, %v, %v; want that of 3 leaves", last, ok, err)
	}
	if err := sink.Put(large); err != nil {
		t.Fatal(err)
	}
	if last, ok, err := sink.last(s.key); !ok || err != nil || last.Root != large.Root {
		t.Errorf("the last is %v, %v, %v; want that of 5 leaves", last, ok, err)
	}
}

func TestBundle(t *testing.T) {
	honest := logOf(5)
	var file bytes.Buffer
	if n, err := Export(t.Context(), &file, Origin(vault), honest.leaves()); err != nil || n != 5 {
		t.Fatal(n, err)
	}
	s := newSigning(t)
	verify := func(text []byte) error {
		b, err := OpenBundle(bytes.NewReader(text))
		if err != nil {
			return err
		}
		_, err = Verify(t.Context(), b, []Checkpoint{s.checkpoint(t, honest, 5)}, nil)
		return err
	}
	if err := verify(file.Bytes()); err != nil {
		t.Error(err)
	}
	for cut := range file.Bytes() {
		if err := verify(file.Bytes()[:cut]); err == nil {
			t.Errorf("cut after %d bytes: valid", cut)
		}
	}
	for name, leaf := range map[string][]byte{"line break": []byte("a\nb")} {
		if _, err := Export(t.Context(), io.Discard, "", texts{leaf}.leaves()); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// endless makes leaves on the fly: what is measured is the verifier.
type endless struct {
	n, of int
	room  []byte
}

func (e *endless) Next(context.Context) ([]byte, error) {
	if e.n == e.of {
		return nil, io.EOF
	}
	e.room = append(e.room[:0], leafText(e.n, "intent")...)
	e.n++
	return e.room, nil
}

func TestVerifyInBoundedMemory(t *testing.T) {
	leaves := 1_000_000
	if testing.Short() {
		leaves = 50_000
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r, err := Verify(t.Context(), &endless{of: leaves}, nil, nil)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if err != nil || r.Size != int64(leaves) {
		t.Fatal(r, err)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("verifying %d leaves left %d bytes on the heap", leaves, grown)
	}
}

func BenchmarkVerify(b *testing.B) {
	leaf := leafText(123456, "intent")
	b.SetBytes(int64(len(leaf)))
	var t tree
	for b.Loop() {
		t.add(leaf)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "leaves/s")
}
