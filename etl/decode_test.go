package etl

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"cloakroom/dataset"
)

// full is a login with every member.
const full = `{"user_id":"u1","app_version":"2.3.0","device_type":"android","ip":"199.172.111.135","locale":"RU","device_id":"593-47-5928"}`

// with is a login with one member replaced by a JSON text, or absent where that is empty.
func with(member, value string) string {
	texts := map[string]string{
		"user_id": `"u1"`, "app_version": `"2.3.0"`, "device_type": `"android"`, "ip": `"199.172.111.135"`, "locale": `"RU"`, "device_id": `"593-47-5928"`,
	}
	if texts[member] = value; value == "" {
		delete(texts, member)
	}
	var members []string
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		members = append(members, `"`+name+`":`+texts[name])
	}
	return "{" + strings.Join(members, ",") + "}"
}

// nested is an event with an unknown member that brings the nesting to a depth; the event itself is
// the first level.
func nested(depth int) string {
	return strings.TrimSuffix(full, "}") + `,"x":` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + "}"
}

func TestDecodeReasons(t *testing.T) {
	long := func(n int, text string) string { return `"` + strings.Repeat(text, n) + `"` }
	tests := []struct {
		name, body string
		want       Reason
	}{
		{"every member", full, ""},
		{"optional members absent", `{"user_id":"u","ip":"::1","device_id":"d"}`, ""},
		{"optional members null", `{"user_id":"u","ip":"::1","device_id":"d","locale":null,"device_type":null,"app_version":null}`, ""},
		{"optional members empty", `{"user_id":"u","ip":"::1","device_id":"d","locale":"","device_type":""}`, ""},
		{"space around", " \t\r\n" + full + "\n\r\t ", ""},
		{"unknown members", strings.TrimSuffix(full, "}") + `,"timestamp":1,"x":{"a":[1,{"a":2}]},"create_date":"2020-01-01"}`, ""},
		{"a member in another case is unknown", strings.TrimSuffix(full, "}") + `,"IP":1}`, ""},
		{"a member's name escaped", `{"\u0075ser_id":"u","i\u0070":"::1","device\u005fid":"d"}`, ""},
		{"NUL in an unknown member", strings.TrimSuffix(full, "}") + `,"x":"\u0000"}`, ""},
		{"surrogate pair", with("locale", `"\ud83d\ude00"`), ""},

		{"nothing", "", NotJSON},
		{"only space", " \n", NotJSON},
		{"byte order mark", "\ufeff" + full, NotJSON},
		{"cut off", full[:len(full)-1], NotJSON},
		{"cut off in a string", full[:20], NotJSON},
		{"two values", full + full, NotJSON},
		{"two values on two lines", full + "\n" + full, NotJSON},
		{"a comma behind", full + ",", NotJSON},
		{"garbage behind", full + " x", NotJSON},
		{"garbage behind what is no object", "[1] x", NotJSON},
		{"a value behind what is no object", "[1] 2", NotJSON},
		{"trailing comma", `{"user_id":"u",}`, NotJSON},
		{"single quotes", `{'user_id':'u'}`, NotJSON},
		{"comment", `{/**/"user_id":"u"}`, NotJSON},
		{"not a number", with("app_version", "NaN"), NotJSON},
		{"leading zero", with("app_version", "02.1"), NotJSON},
		{"raw control character", with("user_id", "\"a\x01b\""), NotJSON},
		{"raw NUL", with("user_id", "\"a\x00b\""), NotJSON},
		{"raw newline in a string", with("user_id", "\"a\nb\""), NotJSON},
		{"bad escape", with("user_id", `"\x41"`), NotJSON},
		{"short escape", with("user_id", `"\u12"`), NotJSON},
		{"UTF-16", "\xff\xfe{\x00}\x00", InvalidUTF8},

		{"array", "[" + full + "]", NotObject},
		{"string", `"` + "user_id" + `"`, NotObject},
		{"number", "17", NotObject},
		{"null", "null", NotObject},

		{"member twice", strings.TrimSuffix(full, "}") + `,"ip":"1.2.3.4"}`, DuplicateMember},
		{"member twice, alike", `{"user_id":"u","user_id":"u","ip":"::1","device_id":"d"}`, DuplicateMember},
		{"member twice, once escaped", `{"user_id":"u","user\u005fid":"v","ip":"::1","device_id":"d"}`, DuplicateMember},
		{"unknown member twice", strings.TrimSuffix(full, "}") + `,"x":1,"x":2}`, DuplicateMember},
		{"member twice deep inside", strings.TrimSuffix(full, "}") + `,"x":[{"a":1,"a":2}]}`, DuplicateMember},
		{"member twice in what is no object", `[{"a":1,"a":2}]`, DuplicateMember},

		{"invalid byte", with("user_id", "\"a\xffb\""), InvalidUTF8},
		{"overlong", with("user_id", "\"\xc0\xaf\""), InvalidUTF8},
		{"encoded surrogate", with("user_id", "\"\xed\xa0\x80\""), InvalidUTF8},
		{"invalid byte in an unknown member", strings.TrimSuffix(full, "}") + ",\"x\":\"\xff\"}", InvalidUTF8},
		{"invalid byte in a name", strings.TrimSuffix(full, "}") + ",\"\xff\":1}", InvalidUTF8},
		{"lone high surrogate", with("user_id", `"\ud800"`), InvalidUTF8},
		{"lone low surrogate", with("user_id", `"\udc00"`), InvalidUTF8},
		{"surrogates in the wrong order", with("user_id", `"\ude00\ud83d"`), InvalidUTF8},
		{"high surrogate, then something else", with("user_id", `"\ud83dx"`), InvalidUTF8},
		{"lone surrogate in an unknown member", strings.TrimSuffix(full, "}") + `,"x":"\ud800"}`, InvalidUTF8},
		{"lone surrogate in a name", strings.TrimSuffix(full, "}") + `,"\ud800":1}`, InvalidUTF8},

		{"NUL in the subject", with("user_id", `"a\u0000b"`), NUL},
		{"NUL in a protected member", with("device_id", `"\u0000"`), NUL},
		{"NUL in an optional member", with("locale", `"\u0000"`), NUL},
		{"NUL in a version", with("app_version", `"1\u0000"`), NUL},

		{"as deep as can be", nested(maxDepth), ""},
		{"one deeper", nested(maxDepth + 1), TooDeep},
		{"arrays alone, deep", strings.Repeat("[", 100_000), TooDeep},
		{"objects, deep", strings.Repeat(`{"a":`, 100_000), TooDeep},

		{"no subject", with("user_id", ""), MissingField},
		{"no ip", with("ip", ""), MissingField},
		{"no device_id", with("device_id", ""), MissingField},
		{"empty subject", with("user_id", `""`), MissingField},
		{"empty ip", with("ip", `""`), MissingField},
		{"empty object", "{}", MissingField},
		{"null subject", with("user_id", "null"), NullField},
		{"null ip", with("ip", "null"), NullField},
		{"null device_id", with("device_id", "null"), NullField},

		{"number for a text", with("user_id", "17"), WrongType},
		{"boolean", with("ip", "true"), WrongType},
		{"array for a text", with("device_id", `["d"]`), WrongType},
		{"object for a text", with("locale", `{"a":1}`), WrongType},
		{"boolean for a version", with("app_version", "false"), WrongType},
		{"array for a version", with("app_version", "[2]"), WrongType},

		{"subject as long as can be", with("user_id", long(128, "é")), ""},
		{"subject longer", with("user_id", long(129, "é")), TooLong},
		{"device_id as long as can be", with("device_id", long(1024, "😀")), ""},
		{"device_id longer", with("device_id", long(1025, "a")), TooLong},
		{"locale longer", with("locale", long(33, "a")), TooLong},
		{"device_type longer", with("device_type", long(33, "a")), TooLong},
		{"ip longer", with("ip", long(65, "1")), TooLong},
		{"huge number", with("app_version", strings.Repeat("9", 100_000)), TooLong},
		{"long version", with("app_version", `"1.`+strings.Repeat("0", 31)+`"`), TooLong},

		{"empty version", with("app_version", `""`), BadVersion},
		{"four parts", with("app_version", `"1.2.3.4"`), BadVersion},
		{"exponent", with("app_version", "2e0"), BadVersion},
		{"negative", with("app_version", "-2"), BadVersion},
		{"major too large", with("app_version", `"2147.0.0"`), BadVersion},
		{"with a suffix", with("app_version", `"1.2.3-beta"`), BadVersion},
		{"version in other digits", with("app_version", `"٢.٣"`), BadVersion},
	}
	d := newDecoder(dataset.Login())
	for _, test := range tests {
		body := []byte(test.body)
		if _, got := d.decode(body); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if string(body) != test.body {
			t.Errorf("%s: the decoder changed the message's body", test.name)
		}
	}
}

// The first reason in the dataset's order is the one that is given, whatever the order of the
// members in the event.
func TestDecodeReasonIsStable(t *testing.T) {
	d := newDecoder(dataset.Login())
	members := []string{`"user_id":null`, `"ip":17`, `"device_id":""`, `"locale":"\u0000"`}
	for range len(members) {
		members = append(members[1:], members[0])
		body := "{" + strings.Join(members, ",") + "}"
		if _, got := d.decode([]byte(body)); got != NullField {
			t.Errorf("%s: %q, want %q", body, got, NullField)
		}
	}
}

func TestDecodeValues(t *testing.T) {
	d := newDecoder(dataset.Login())
	// Before, an event that leaves something in every buffer.
	if _, reason := d.decode([]byte(full)); reason != "" {
		t.Fatal(reason)
	}
	e, reason := d.decode([]byte(`{"device_id":"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é","app_version":2.10,"ip":"::1","user_id":"\u0041"}`))
	if reason != "" {
		t.Fatal(reason)
	}
	want := map[string]string{"user_id": "A", "ip": "::1", "device_id": "a\"\\/\b\f\n\r\té😀é", "app_version": "2.10"}
	for i, m := range dataset.Login().Members {
		v := e.values[i]
		text, there := want[m.Name]
		if v.isNull() == there || string(v.text) != text {
			t.Errorf("%s: %q (kind %v), want %q", m.Name, v.text, v.kind, text)
		}
		if m.Name == "app_version" && (v.version != 2_010_000 || v.kind != jsontext.KindNumber) {
			t.Errorf("version %d of kind %v", v.version, v.kind)
		}
	}
}

// The subject of a rejection is kept where it can be stored, and only then.
func TestSubjectOfRejection(t *testing.T) {
	d := newDecoder(dataset.Login())
	for _, test := range []struct{ body, want string }{
		{with("ip", ""), "u1"},
		{with("user_id", ""), ""},
		{with("user_id", "17"), ""},
		{with("user_id", `""`), ""},
		{with("user_id", `"a\u0000"`), ""},
		{with("user_id", `"`+strings.Repeat("a", 129)+`"`), ""},
		{`{"user_id":"u1","ip":`, "u1"},
		{`{"user_id":"u`, ""},
		{"[]", ""},
	} {
		e, reason := d.decode([]byte(test.body))
		if got := d.subjectOf(e); reason == "" || string(got) != test.want {
			t.Errorf("%s: subject %q (%s), want %q", test.body, got, reason, test.want)
		}
	}
}

// What was decoded before does not linger in the decoder's buffer beyond the next event.
func TestDecodeForgets(t *testing.T) {
	d := newDecoder(dataset.Login())
	d.decode([]byte(full))
	backing := d.text[:cap(d.text)]
	if !bytes.Contains(backing, []byte("593-47-5928")) {
		t.Fatal("the buffer does not hold the event: this test proves nothing")
	}
	d.decode([]byte("{}"))
	if bytes.Contains(backing, []byte("593-47-5928")) {
		t.Error("the event is still in the buffer")
	}
}
