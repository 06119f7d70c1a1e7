package envelope_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"cloakroom/crypto/envelope"
)

// TestKeyPrintsNothing prints a key every way there is, also where fmt cannot call its methods, and looks for parts of
// the key schedule, of which the key itself is the beginning.
func TestKeyPrintsNothing(t *testing.T) {
	raw := []byte("yellow submarine, wine-dark sea!")
	key, err := envelope.NewKey(7, raw)
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		value   envelope.Key
		pointer *envelope.Key
		any     any
	}
	var printed strings.Builder
	held := holder{*key, key, *key}
	for _, v := range []any{key, *key, held, &held, []any{*key}, map[int]envelope.Key{1: *key}} {
		for _, verb := range "vdsqxXotTcbUp" {
			for _, flag := range []string{"", "+", "#", " "} {
				fmt.Fprintf(&printed, "%"+flag+string(verb)+"\n", v)
			}
		}
		slog.New(slog.NewTextHandler(&printed, nil)).Info("key", "key", v)
		slog.New(slog.NewJSONHandler(&printed, nil)).Info("key", "key", v)
	}
	for n := range len(raw) - 3 {
		part := raw[n : n+4]
		for _, form := range []string{
			string(part), fmt.Sprintf("%x", part), fmt.Sprintf("%X", part),
			strings.Trim(fmt.Sprint(part), "[]"), strings.Trim(fmt.Sprintf("%#v", part), "[]byte{}"),
			fmt.Sprintf("%x", binary.BigEndian.Uint32(part)), fmt.Sprint(binary.BigEndian.Uint32(part)),
			fmt.Sprintf("%x", binary.LittleEndian.Uint32(part)), fmt.Sprint(binary.LittleEndian.Uint32(part)),
		} {
			if strings.Contains(printed.String(), form) {
				t.Errorf("bytes %d to %d of the key are printed as %q", n, n+3, form)
			}
		}
	}
}

func TestKeyPrintsRedacted(t *testing.T) {
	key := testKey(t, 7)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, v := range []any{key, *key} {
			if got := fmt.Sprintf(format, v); got != "[redacted]" {
				t.Errorf("%s prints %q", format, got)
			}
		}
	}
	got, err := json.Marshal(map[string]any{"key": key})
	if err != nil || !bytes.Equal(got, []byte(`{"key":"[redacted]"}`)) {
		t.Errorf("JSON is %s, %v", got, err)
	}
}
