package sqsserver

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"hash/maphash"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// sdkSnapshots is the folder of wire vectors that the SDK's module ships. go mod download says where the module is,
// and gets it where only its hash is known.
func sdkSnapshots(t *testing.T, service string) string {
	t.Helper()
	out, err := exec.Command("go", "mod", "download", "-json", "github.com/aws/aws-sdk-go-v2/service/"+service).Output()
	if err != nil {
		t.Fatalf("finding the SDK's module, whose vectors are read (go mod download): %v\n%s", err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(module.Dir, "request_snapshot")
}

// TestTheSDKsOwnRequests reads every request that AWS's own vectors hold: each must be understood, if only to be
// refused for what it asks.
func TestTheSDKsOwnRequests(t *testing.T) {
	snapshots := sdkSnapshots(t, "sqs")
	files, _ := filepath.Glob(filepath.Join(snapshots, "*.snap"))
	if len(files) < 20 {
		t.Fatalf("%d vectors in %s, want one for each of SQS's calls", len(files), snapshots)
	}
	srv := New(Config{})
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := bytes.Cut(text, []byte("\n\n"))
		head, body, _ := bytes.Cut(body, []byte("\n\n"))
		req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		for line := range strings.Lines(string(head)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			req.Header.Set(name, value)
		}
		rec := httptest.NewRecorder()
		srv.ServeHTTP(rec, req)
		for _, bad := range []string{"SerializationException", "UnknownOperation", "InternalFailure"} {
			if strings.Contains(rec.Body.String(), bad) {
				t.Errorf("%s: %s", filepath.Base(file), rec.Body)
			}
		}
	}
}

func TestCarriedCharacters(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if r >= 0xD800 && r <= 0xDFFF {
			continue // surrogates are no characters
		}
		want := r == 0x9 || r == 0xA || r == 0xD || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD ||
			r >= 0x10000
		if got := carried("a" + string(r) + "b"); got != want {
			t.Errorf("%U: carried is %v, want %v", r, got, want)
		}
	}
}

func FuzzHandle(f *testing.F) {
	h := handles{seed: maphash.MakeSeed()}
	good := string(h.append(nil, handle{queue: 1, slot: 2, serial: 3, receive: 4}))
	for _, seed := range []string{"", good, good[:len(good)-1], good + "A", strings.ToUpper(good)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, ok := h.parse(text)
		if again := string(h.append(nil, r)); ok && again != text {
			t.Errorf("%q was read and is written as %q", text, again)
		}
	})
}

func TestAnAlteredHandleIsKnown(t *testing.T) {
	h := handles{seed: maphash.MakeSeed()}
	want := handle{queue: 7, slot: 1 << 20, serial: 1 << 40, receive: 3}
	good := h.append(nil, want)
	if got, ok := h.parse(string(good)); !ok || got != want {
		t.Fatalf("read back %+v %v", got, ok)
	}
	for i := range good {
		altered := bytes.Clone(good)
		altered[i] ^= 1
		if _, ok := h.parse(string(altered)); ok {
			t.Errorf("the handle altered at %d is taken", i)
		}
	}
	raw := make([]byte, sealedBytes)
	if _, ok := h.parse(hex.EncodeToString(raw)); ok {
		t.Error("zeros are taken")
	}
}
