package etl

import (
	"fmt"
	"testing"

	"cloakroom/dataset"
)

// BenchmarkDecode reads one login.
func BenchmarkDecode(b *testing.B) {
	d := newDecoder(dataset.Login())
	body := []byte(full)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, reason := d.decode(body); reason != "" {
			b.Fatal(reason)
		}
	}
}

// BenchmarkDecodeRejected reads what is no login: the decoder then reads it again to say why.
func BenchmarkDecodeRejected(b *testing.B) {
	d := newDecoder(dataset.Login())
	for _, body := range []string{"hello", full + full, with("ip", ""), with("user_id", `"\ud800"`)} {
		b.Run(fmt.Sprintf("%.12s", body), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, reason := d.decode([]byte(body)); reason == "" {
					b.Fatal("accepted")
				}
			}
		})
	}
}
