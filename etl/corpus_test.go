package etl_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys/keystest"
	"cloakroom/test/corpus"
)

// Every file of JSONTestSuite as an event: none is a login, so each becomes a rejection, whose
// sealed body is the file.
func TestJSONTestSuite(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(corpus.Path(t, "JSONTestSuite/test_parsing"), "*.json"))
	if err != nil || len(files) < 300 {
		t.Fatalf("%d files (%v)", len(files), err)
	}
	var messages []*etl.Message
	for n, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, etltest.Message(n, string(body)))
	}
	env := keystest.New(t)
	s := etltest.Run(t, etltest.NewWriter(t, env, "ingest"), etltest.NewSource(etltest.Parts(messages, 50)...), etl.Options{})
	if s.Rejected != int64(len(files)) {
		t.Errorf("%+v, want %d rejections", s, len(files))
	}
	rejections := etltest.NewOpener(t, env).Rejections(t)
	for n, file := range files {
		name, r := filepath.Base(file), rejections[messages[n].ID]
		if !bytes.Equal(r.Body, messages[n].Body) {
			t.Errorf("%s: the rejection's body opens to %d bytes, not to the %d of the file", name, len(r.Body), len(messages[n].Body))
		}
		if want := suiteReasons(name, messages[n].Body); !slices.Contains(want, r.Reason) {
			t.Errorf("%s: %q, want one of %q", name, r.Reason, want)
		}
	}
}

// suiteReasons are the reasons that fit a file of JSONTestSuite: y_ parses, n_ must not, i_ is
// either parser's choice.
func suiteReasons(name string, body []byte) []etl.Reason {
	special := map[string]etl.Reason{
		"y_object_duplicated_key.json":            etl.DuplicateMember,
		"y_object_duplicated_key_and_value.json":  etl.DuplicateMember,
		"n_structure_100000_opening_arrays.json":  etl.TooDeep,
		"n_structure_open_array_object.json":      etl.TooDeep,
		"i_structure_UTF-8_BOM_empty_object.json": etl.NotJSON,
		"i_structure_500_nested_arrays.json":      etl.NotObject,
	}
	if reason, ok := special[name]; ok {
		return []etl.Reason{reason}
	}
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	switch {
	case !utf8.Valid(body):
		return []etl.Reason{etl.InvalidUTF8}
	case strings.HasPrefix(name, "n_"):
		return []etl.Reason{etl.NotJSON}
	case strings.HasPrefix(name, "i_string"), strings.HasPrefix(name, "i_object"):
		return []etl.Reason{etl.InvalidUTF8} // lone surrogates
	case bytes.HasPrefix(trimmed, []byte("{")):
		return []etl.Reason{etl.MissingField}
	}
	return []etl.Reason{etl.NotObject}
}

func naughtyStrings(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(corpus.Path(t, "blns/blns.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(text, &list); err != nil || len(list) < 500 {
		t.Fatalf("%d strings (%v)", len(list), err)
	}
	return list
}

// naughtyReason is what becomes of a string as a member of an event, from the rules for that member
// alone.
func naughtyReason(member, value string) etl.Reason {
	limit := map[string]int{"user_id": 128, "device_type": 32, "locale": 32, "device_id": 1024}[member]
	required := member == "user_id" || member == "device_id"
	if !required {
		return "" // stored, as NULL if it cannot be
	}
	switch {
	case strings.Contains(value, "\x00"):
		return etl.NUL
	case utf8.RuneCountInString(value) > limit:
		return etl.TooLong
	case value == "":
		return etl.MissingField
	case member == "device_id" && strings.TrimSpace(value) == "":
		return etl.MissingField // nothing is left to make a token of
	}
	return ""
}

// naughtyValue is what is stored of a string: nothing where an optional member cannot hold it.
func naughtyValue(member, value string) string {
	short := member == "device_type" || member == "locale" || member == "app_version"
	if short && (strings.Contains(value, "\x00") || utf8.RuneCountInString(value) > 32) {
		return ""
	}
	return value
}

// Every naughty string as every text member: stored, sealed and opened byte for byte, or rejected
// for the reason that follows from the member's description.
func TestNaughtyStrings(t *testing.T) {
	t.Parallel()
	type event struct{ member, value string }
	var events []event
	var messages []*etl.Message
	for _, value := range naughtyStrings(t) {
		for _, member := range []string{"user_id", "device_type", "locale", "device_id"} {
			body := map[string]string{"user_id": "u", "ip": "192.0.2.1", "device_id": "d", "device_type": "t", "locale": "l"}
			body[member] = value
			text, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			messages = append(messages, etltest.Message(len(messages), string(text)))
			events = append(events, event{member, value})
		}
	}
	env := keystest.New(t)
	s := etltest.Run(t, etltest.NewWriter(t, env, "ingest"), etltest.NewSource(messages), etl.Options{})
	if s.Stored < 1500 || s.MembersDropped < 300 {
		t.Errorf("%+v: most are to be stored, those longer than the short members without them", s)
	}
	opener := etltest.NewOpener(t, env)
	rows, rejections := opener.Rows(t), opener.Rejections(t)
	for n, e := range events {
		r, stored := rows[messages[n].ID]
		rejected := rejections[messages[n].ID]
		if want := naughtyReason(e.member, e.value); stored != (want == "") || rejected.Reason != want {
			t.Errorf("%s %q: stored %v, rejected %q, want %q", e.member, e.value, stored, rejected.Reason, want)
			continue
		}
		if !stored {
			if !bytes.Equal(rejected.Body, messages[n].Body) {
				t.Errorf("%s %q: the rejection's body is another", e.member, e.value)
			}
			continue
		}
		got := map[string]string{"user_id": r.UserID, "device_type": r.DeviceType.String, "locale": r.Locale.String, "device_id": r.DeviceID}[e.member]
		if got != naughtyValue(e.member, e.value) {
			t.Errorf("%s %q is stored as %q", e.member, e.value, got)
		}
	}
	if s.Stored+s.Rejected != int64(len(messages)) {
		t.Errorf("%+v, want %d in all", s, len(messages))
	}
}

// A naughty string is no address, nor a version, unless it looks like one.
func TestNaughtyAddressesAndVersions(t *testing.T) {
	t.Parallel()
	list := naughtyStrings(t)
	var messages []*etl.Message
	for _, value := range list {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages,
			etltest.Message(len(messages), fmt.Sprintf(`{"user_id":"u","ip":%s,"device_id":"d"}`, text)),
			etltest.Message(len(messages)+1, fmt.Sprintf(`{"user_id":"u","ip":"::1","device_id":"d","app_version":%s}`, text)))
	}
	env := keystest.New(t)
	etltest.Run(t, etltest.NewWriter(t, env, "ingest"), etltest.NewSource(messages), etl.Options{})
	opener := etltest.NewOpener(t, env)
	rows, rejections := opener.Rows(t), opener.Rejections(t)
	versions := 0
	for n, value := range list {
		if r, ok := rows[messages[2*n].ID]; ok && r.IP != value {
			t.Errorf("address %q is stored as %q", value, r.IP)
		} else if reason := rejections[messages[2*n].ID].Reason; !ok && !slices.Contains([]etl.Reason{etl.BadIP, etl.MissingField, etl.TooLong, etl.NUL}, reason) {
			t.Errorf("address %q: %q", value, reason)
		}
		r, ok := rows[messages[2*n+1].ID]
		if !ok || r.VersionText.String != naughtyValue("app_version", value) {
			t.Errorf("version %q is stored as %q (%v)", value, r.VersionText.String, ok)
		}
		if r.Version.Valid {
			versions++
		}
	}
	if versions == 0 || versions > 30 {
		t.Errorf("%d of them are versions", versions)
	}
}
