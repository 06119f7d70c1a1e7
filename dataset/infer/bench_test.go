package infer_test

import (
	"bytes"
	"os"
	"testing"

	"cloakroom/dataset/infer"
)

// BenchmarkAdd is the cost of one event of the orders example.
func BenchmarkAdd(b *testing.B) {
	text, err := os.ReadFile("../../examples/orders/orders.jsonl")
	if err != nil {
		b.Fatal(err)
	}
	events := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	s := infer.NewSample()
	for i := 0; b.Loop(); i++ {
		s.Add(int64(i), events[i%len(events)])
	}
}
