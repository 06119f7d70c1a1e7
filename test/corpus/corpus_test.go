package corpus_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"cloakroom/test/corpus"
)

// ending is how a test ended that asked for a corpus.
type ending struct {
	testing.TB
	fatal, skipped bool
}

func (e *ending) Helper()               {}
func (e *ending) Fatal(...any)          { e.fatal = true; runtime.Goexit() }
func (e *ending) Fatalf(string, ...any) { e.fatal = true; runtime.Goexit() }
func (e *ending) Skipf(string, ...any)  { e.skipped = true; runtime.Goexit() }

func ask(t *testing.T, name string) (path string, e *ending) {
	e = &ending{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		path = corpus.Path(e, name)
	}()
	<-done
	return path, e
}

func TestAnAbsentCorpusFailsInCIAndSkipsElsewhere(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CLOAKROOM_CORPUS", dir)
	for ci, wantFatal := range map[string]bool{"true": true, "1": true, "": false, "false": false} {
		t.Setenv("CI", ci)
		if _, e := ask(t, "blns/blns.json"); e.fatal != wantFatal || e.skipped == wantFatal {
			t.Errorf("CI=%q: failed %v, skipped %v", ci, e.fatal, e.skipped)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "x.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CI", "true")
	if path, e := ask(t, "x.json"); e.fatal || e.skipped || path != filepath.Join(dir, "x.json") {
		t.Errorf("a corpus that is there: %q, failed %v, skipped %v", path, e.fatal, e.skipped)
	}
}
