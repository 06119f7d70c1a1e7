package unwrap_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloakroom/etl/unwrap"
)

// seeds are the samples, and bodies in which something is off.
func seeds(t testing.TB) []string {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d samples: %v", len(files), err)
	}
	var out []string
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text), string(sample(t, filepath.Base(path), event)), quoted(string(text)), b64(string(text)))
	}
	return append(out, event, b64(zip(t, event)), b64(zip(t, event)+"x"), b64(zip(t, strings.Repeat("a", 1<<20))),
		`["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"}]`,
		`["com.amazon.sqs.javamessaging.MessageS3Pointer",{"s3BucketName":"b"`, `"\ud800"`, strings.Repeat("[", 20_000))
}

// Whatever a body is: no panic, nothing grows beyond the limit, no pointers are followed without end.
func FuzzOpen(f *testing.F) {
	all := seeds(f)
	if len(all) < 20 {
		f.Fatalf("only %d seeds", len(all))
	}
	for _, body := range all {
		f.Add(body, all[0])
	}
	const limit = 1 << 10
	layers := []string{"auto", "sns", "eventbridge", "s3", "gzip+base64", "base64", "json", "sns,auto", "sns,eventbridge,s3,gzip+base64"}
	f.Fuzz(func(t *testing.T, body, object string) {
		before := body
		for _, l := range layers {
			kinds, err := unwrap.ParseLayers(l)
			if err != nil {
				t.Fatal(err)
			}
			u := unwrap.New(unwrap.Config{Layers: kinds, MaxBody: limit, Attribute: "kind"})
			o := u.Open([]byte(body), guard)
			for n := 0; o.Pointer != nil; n++ {
				if n > unwrap.MaxLayers || o.Pointer.Bucket == "" || o.Pointer.Key == "" {
					t.Fatalf("%s: pointer %d is %+v", l, n, o.Pointer)
				}
				o = u.Resume(o, []byte(object), guard)
			}
			if o.Rejection.Reason == "" && len(o.Body) > limit {
				t.Errorf("%s: %d bytes", l, len(o.Body))
			}
			if !o.Time.IsZero() && o.ID == "" {
				t.Errorf("%s: a time without an id", l)
			}
		}
		if found := unwrap.Suggest([]byte(body), guard); len(found) > unwrap.MaxLayers {
			t.Errorf("suggests %v", found)
		}
		unwrap.IsTestEvent([]byte(body))
		if body != before {
			t.Error("the body was changed")
		}
	})
}
