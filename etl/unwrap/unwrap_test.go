package unwrap_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloakroom/dataset"
	"cloakroom/etl/unwrap"
)

const event = `{"user_id":"u-1","ip":"192.0.2.1","device_id":"d"}`

// guard are the required members of such an event.
var guard = unwrap.Guard{"user_id": true, "ip": true}

// sample reads a message as AWS documents it; @EVENT@ stands for the event, quoted for the place.
func sample(t testing.TB, name, inner string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(inner)
	if err != nil {
		t.Fatal(err)
	}
	out := bytes.ReplaceAll(text, []byte(`"@EVENT@"`), quoted)
	return bytes.ReplaceAll(out, []byte(`"@DETAIL@"`), []byte(inner))
}

func zip(t testing.TB, parts ...string) string {
	t.Helper()
	var out bytes.Buffer
	for _, part := range parts {
		w := gzip.NewWriter(&out)
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func quoted(text string) string {
	out, _ := json.Marshal(text)
	return string(out)
}

func opener(layers string) *unwrap.Unwrapper {
	kinds, err := unwrap.ParseLayers(layers)
	if err != nil {
		panic(err)
	}
	return unwrap.New(unwrap.Config{Layers: kinds, MaxBody: 64 << 10, Attribute: "kind"})
}

const (
	snsID = "63a3f6b6-d533-4a47-aef9-fcf5cf758c76"
	busID = "6a7e8feb-b491-4cf7-a9f1-bf3703467718"
)

var (
	snsTime = time.Date(2012, 3, 29, 5, 12, 16, 901e6, time.UTC)
	busTime = time.Date(2017, 12, 22, 18, 43, 48, 0, time.UTC)
)

// Each envelope as AWS writes it, declared and found by auto, alone and in others.
func TestOpens(t *testing.T) {
	for name, test := range map[string]struct {
		layers, body string
		id           string
		time         time.Time
	}{
		"sns":                   {"sns", string(sample(t, "sns.json", event)), snsID, snsTime},
		"sns with attributes":   {"sns", string(sample(t, "sns_attributes.json", event)), snsID, snsTime},
		"eventbridge":           {"eventbridge", string(sample(t, "eventbridge.json", event)), busID, busTime},
		"a replay":              {"eventbridge", string(sample(t, "eventbridge_replay.json", event)), busID, busTime},
		"gzip":                  {"gzip+base64", b64(zip(t, event)), "", time.Time{}},
		"gzip in two members":   {"gzip+base64", b64(zip(t, event[:10], event[10:])), "", time.Time{}},
		"base64":                {"base64", b64(event), "", time.Time{}},
		"base64 without pads":   {"base64", strings.TrimRight(b64(event), "="), "", time.Time{}},
		"base64 for URLs":       {"base64", base64.URLEncoding.EncodeToString([]byte(event)), "", time.Time{}},
		"base64 in lines":       {"base64", b64(event)[:20] + "\r\n" + b64(event)[20:] + "\n", "", time.Time{}},
		"json":                  {"json", quoted(event), "", time.Time{}},
		"gzip in sns":           {"sns,gzip+base64", string(sample(t, "sns.json", b64(zip(t, event)))), snsID, snsTime},
		"eventbridge in sns":    {"sns,eventbridge", string(sample(t, "sns.json", string(sample(t, "eventbridge.json", event)))), busID, busTime},
		"sns in eventbridge":    {"eventbridge,sns", string(sample(t, "eventbridge.json", string(sample(t, "sns.json", event)))), snsID, snsTime},
		"json in eventbridge":   {"eventbridge,json", string(sample(t, "eventbridge.json", quoted(event))), busID, busTime},
		"four in each other":    {"json,sns,gzip+base64,base64", quoted(string(sample(t, "sns.json", b64(zip(t, b64(event)))))), snsID, snsTime},
		"no pointer, with s3":   {"s3", event, "", time.Time{}},
		"sns, with s3 in it":    {"sns,s3", string(sample(t, "sns.json", event)), snsID, snsTime},
		"the event with spaces": {"s3", " " + event + "\n", "", time.Time{}},
	} {
		for _, layers := range []string{test.layers, "auto"} {
			o := opener(layers).Open([]byte(test.body), guard)
			if o.Rejection.Reason != "" || o.Pointer != nil || strings.TrimSpace(string(o.Body)) != event {
				t.Errorf("%s, %s: %+v %q", name, layers, o.Rejection, o.Body)
			}
			if o.ID != test.id || !o.Time.Equal(test.time) {
				t.Errorf("%s, %s: id %q, time %v", name, layers, o.ID, o.Time)
			}
		}
	}
	if o := opener("sns").Open(sample(t, "sns_attributes.json", event), guard); o.Attribute != "login" {
		t.Errorf("the attribute is %q", o.Attribute)
	}
}

// Both shapes of pointers, alone and in a notification; what lies in S3 may be wrapped again.
func TestPointers(t *testing.T) {
	for _, class := range []string{"software.amazon.payloadoffloading.PayloadS3Pointer", "com.amazon.sqs.javamessaging.MessageS3Pointer"} {
		body := `["` + class + `",{"s3BucketName":"bodies","s3Key":"a/\u00e4 b"}]`
		for name, c := range map[string]struct{ layers, body, id string }{
			"alone": {"s3", body, ""}, "in sns": {"sns,s3", string(sample(t, "sns.json", body)), snsID},
			"by auto": {"auto", string(sample(t, "sns.json", body)), snsID}, "spaced": {"auto", " [ " + body[1:], ""},
		} {
			u := opener(c.layers)
			o := u.Open([]byte(c.body), guard)
			if o.Pointer == nil || *o.Pointer != (unwrap.Pointer{Bucket: "bodies", Key: "a/ä b"}) || o.Rejection.Reason != "" {
				t.Fatalf("%s: %+v", name, o)
			}
			if o = u.Resume(o, []byte(event), guard); string(o.Body) != event || o.Pointer != nil || o.ID != c.id {
				t.Errorf("%s: %+v", name, o)
			}
		}
	}
	u := opener("s3,gzip+base64")
	o := u.Resume(u.Open([]byte(`["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"}]`), nil), []byte(b64(zip(t, event))), nil)
	if string(o.Body) != event {
		t.Errorf("%+v", o)
	}
	// A pointer is followed once for each layer that says so, and no further.
	pointer := []byte(`["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"}]`)
	for layers, most := range map[string]int{"s3": 1, "auto": unwrap.MaxLayers} {
		u, n := opener(layers), 0
		for o = u.Open(pointer, nil); o.Pointer != nil; o = u.Resume(o, pointer, nil) {
			if n++; n > 10 {
				break
			}
		}
		if n != most {
			t.Errorf("%s follows %d pointers, want %d", layers, n, most)
		}
	}
}

func TestRefuses(t *testing.T) {
	bad := func(member string) dataset.Rejection {
		return dataset.Rejection{Reason: unwrap.BadEnvelope, Member: member}
	}
	sns := string(sample(t, "sns.json", event))
	for name, test := range map[string]struct {
		layers, body string
		want         dataset.Rejection
	}{
		"an event, not sns":        {"sns", event, bad("Type")},
		"not JSON":                 {"sns", "hello", bad("")},
		"two notifications":        {"sns", sns + sns, bad("")},
		"without a topic":          {"sns", strings.Replace(sns, `"TopicArn"`, `"Topic"`, 1), bad("TopicArn")},
		"Message is an object":     {"sns", strings.Replace(sns, quoted(event), event, 1), bad("Message")},
		"two messages":             {"sns", strings.Replace(sns, `"Type"`, `"Message": "{}", "Type"`, 1), bad("Message")},
		"a time that is none":      {"sns", strings.Replace(sns, "2012-03-29T05:12:16.901Z", "yesterday", 1), bad("Timestamp")},
		"a confirmation":           {"sns", string(sample(t, "sns_confirmation.json", "")), bad("Type")},
		"an event, not of the bus": {"eventbridge", event, bad("version")},
		"no detail":                {"eventbridge", strings.Replace(string(sample(t, "eventbridge.json", event)), `"detail":`, `"details":`, 1), bad("detail")},
		"no base64":                {"base64", event, bad("")},
		"empty":                    {"base64", "", bad("")},
		"not gzip":                 {"gzip+base64", b64(event), bad("")},
		"gzip cut off":             {"gzip+base64", b64(zip(t, event)[:30]), bad("")},
		"bytes behind gzip":        {"gzip+base64", b64(zip(t, event) + "more"), bad("")},
		"gzip with a wrong sum":    {"gzip+base64", b64(zip(t, event)[:len(zip(t, event))-8] + "12345678"), bad("")},
		"no string":                {"json", event, bad("")},
		"a string and more":        {"json", quoted(event) + "{}", bad("")},
		"a pointer without a key":  {"s3", `["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b"}]`, bad("s3Key")},
		"a key that is no text":    {"s3", `["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":7}]`, bad("s3Key")},
		"a pointer and more":       {"s3", `["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"},1]`, bad("")},
		"a pointer cut off":        {"s3", `["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3Buck`, bad("")},
		"sns without the inner":    {"sns,gzip+base64", sns, bad("")},
	} {
		if o := opener(test.layers).Open([]byte(test.body), guard); o.Rejection != test.want || o.Pointer != nil {
			t.Errorf("%s: %+v, want %+v", name, o.Rejection, test.want)
		}
	}
}

// What is small while it is packed and huge when it is not costs as much as is allowed, not more.
func TestBombs(t *testing.T) {
	huge := strings.Repeat("\x00", 64<<20)
	many := make([]string, 2000)
	for i := range many {
		many[i] = strings.Repeat(" ", 1000)
	}
	for name, body := range map[string]string{"one member": b64(zip(t, huge)), "many members": b64(zip(t, many...))} {
		u := unwrap.New(unwrap.Config{Layers: []unwrap.Kind{unwrap.GzipBase64}})
		var o unwrap.Opened
		allocated := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				o = u.Open([]byte(body), nil)
			}
		}).AllocedBytesPerOp()
		if o.Rejection.Reason != unwrap.TooLarge || len(o.Body) != 0 {
			t.Errorf("%s: %+v, %d bytes", name, o.Rejection, len(o.Body))
		}
		if allocated > 8<<20 {
			t.Errorf("%s: %d bytes of memory for a body of at most 1 MiB", name, allocated)
		}
	}
	exact := strings.Repeat("x", 64<<10)
	if o := opener("gzip+base64").Open([]byte(b64(zip(t, exact))), nil); string(o.Body) != exact {
		t.Errorf("a body as large as is allowed: %+v", o.Rejection)
	}
	for layers, body := range map[string]string{
		"gzip+base64": b64(zip(t, exact+"x")), "base64": b64(exact + "x"), "json": quoted(exact + "x"),
		"sns": string(sample(t, "sns.json", exact+"x")),
	} {
		if o := opener(layers).Open([]byte(body), nil); o.Rejection.Reason != unwrap.TooLarge {
			t.Errorf("%s, a byte more: %+v", layers, o.Rejection)
		}
	}
	u := opener("s3")
	o := u.Open([]byte(`["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"}]`), nil)
	if o = u.Resume(o, []byte(exact+"x"), nil); o.Rejection.Reason != unwrap.TooLarge {
		t.Errorf("an object that is too large: %+v", o.Rejection)
	}
}

// An event that looks like an envelope stays one, if it has a member that the dataset requires, or lacks part of the
// signature.
func TestLookAlikes(t *testing.T) {
	sns := string(sample(t, "sns.json", event))
	for name, body := range map[string]string{
		"a required member":   strings.Replace(sns, `"Type"`, `"user_id": "u", "Type"`, 1),
		"no topic":            strings.Replace(sns, `"TopicArn"`, `"Topic"`, 1),
		"a confirmation":      string(sample(t, "sns_confirmation.json", "")),
		"a time that is none": strings.Replace(sns, "2012-03-29T05:12:16.901Z", "yesterday", 1),
		"another array":       `["com.example.Pointer",{"s3BucketName":"b","s3Key":"k"}]`,
		"a word":              "SGVsbG8",
		"a string":            `"hello"`,
		"a number":            "17",
		"nothing":             "",
		"cut off":             sns[:len(sns)-2],
	} {
		if o := opener("auto").Open([]byte(body), guard); string(o.Body) != body || o.ID != "" || o.Rejection.Reason != "" || o.Pointer != nil {
			t.Errorf("%s: opened to %q, %+v", name, o.Body, o)
		}
		if found := unwrap.Suggest([]byte(body), guard); len(found) > 0 && name != "a time that is none" && name != "a confirmation" {
			t.Errorf("%s: suggests %v", name, found)
		}
	}
}

func TestDepth(t *testing.T) {
	nested := event
	for range unwrap.MaxLayers + 1 {
		nested = string(sample(t, "sns.json", nested))
	}
	if o := opener("auto").Open([]byte(nested), guard); o.Rejection.Reason != unwrap.BadEnvelope {
		t.Errorf("five in each other: %+v", o.Rejection)
	}
	if _, err := unwrap.ParseLayers("sns,sns,sns,sns,sns"); err == nil {
		t.Error("five layers can be declared")
	}
}

func TestSuggest(t *testing.T) {
	pointer := `["com.amazon.sqs.javamessaging.MessageS3Pointer",{"s3BucketName":"b","s3Key":"k"}]`
	for want, body := range map[string]string{
		"sns":             string(sample(t, "sns.json", event)),
		"sns,eventbridge": string(sample(t, "sns.json", string(sample(t, "eventbridge.json", event)))),
		"sns,s3":          string(sample(t, "sns.json", pointer)),
		"gzip+base64":     b64(zip(t, event)),
		"base64":          b64(event),
		"json":            quoted(event),
		"":                event,
	} {
		if got := unwrap.Format(unwrap.Suggest([]byte(body), guard)); got != want {
			t.Errorf("suggests %q, want %q", got, want)
		}
	}
	// A dataset may require what the envelope has, too; it may also read what the envelope holds where it is.
	body := sample(t, "eventbridge.json", `{"x":1}`)
	for want, required := range map[unwrap.Kind]unwrap.Guard{
		unwrap.EventBridge: {"id": true, "time": true, "x": true}, "": {"id": true, "detail": true},
	} {
		if got := unwrap.Suggest(body, required); unwrap.Format(got) != string(want) {
			t.Errorf("with %v required it suggests %v, want %q", required, got, want)
		}
	}
}

func TestTestEvent(t *testing.T) {
	test := sample(t, "s3_test_event.json", "")
	if !unwrap.IsTestEvent(test) {
		t.Error("S3's own test event is not known")
	}
	for name, body := range map[string]string{
		"another member":  strings.Replace(string(test), `"Service"`, `"user_id":"u","Service"`, 1),
		"another event":   strings.Replace(string(test), "s3:TestEvent", "s3:ObjectCreated:Put", 1),
		"a member less":   strings.Replace(string(test), `"HostId"`, `"Host"`, 1),
		"an event":        event,
		"nothing":         "",
		"no object":       `["s3:TestEvent"]`,
		"another service": strings.Replace(string(test), "Amazon S3", "Amazon", 1),
	} {
		if unwrap.IsTestEvent([]byte(body)) {
			t.Errorf("%s is taken for S3's test event", name)
		}
	}
}

func TestParseLayers(t *testing.T) {
	for text, fails := range map[string]bool{
		"sns": false, "sns, s3 ,gzip+base64": false, "sns,auto": false, "auto,sns": true, "": true, "zip": true, "sns,": true,
	} {
		if layers, err := unwrap.ParseLayers(text); (err != nil) != fails {
			t.Errorf("%q: %v, %v", text, layers, err)
		}
	}
}
