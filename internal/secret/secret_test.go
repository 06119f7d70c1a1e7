package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"cloakroom/internal/secret"
)

const canary = "canary-key-bytes"

type holder struct {
	Exported   secret.Bytes
	unexported secret.Bytes
	nested     *holder
}

func TestNothingPrints(t *testing.T) {
	hexed := fmt.Sprintf("%x", canary)
	decimal := strings.Trim(fmt.Sprint([]byte(canary)), "[]")
	s := secret.New([]byte(canary))
	h := holder{Exported: s, unexported: s, nested: &holder{unexported: s}}

	var out []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%T", "%c", "%U", "%08b"} {
		for _, value := range []any{s, &s, h, &h, []secret.Bytes{s}, map[string]secret.Bytes{"k": s}, any(s)} {
			out = append(out, fmt.Sprintf(verb, value))
		}
	}
	j, err := json.Marshal(map[string]any{"a": s, "b": h})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", s, "holder", h)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", s, "holder", h)
	out = append(out, string(j), log.String())

	for _, o := range out {
		if strings.Contains(o, canary) || strings.Contains(strings.ToLower(o), hexed) || strings.Contains(o, decimal) {
			t.Errorf("the secret shows in %q", o)
		}
	}
}

func TestDestroyZeroes(t *testing.T) {
	b := []byte(canary)
	s := secret.New(b)
	other := s
	s.Destroy()
	if !bytes.Equal(b, make([]byte, len(b))) {
		t.Errorf("the bytes are not zeroed: %q", b)
	}
	if other.Len() != 0 || other.Expose() != nil {
		t.Error("a copy still holds the secret")
	}
	secret.Bytes{}.Destroy()
}
