package etl_test

import (
	"testing"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys/keystest"
)

// BenchmarkIngest is from memory to commit, all indexes there: time and allocations per event, of
// client and server.
func BenchmarkIngest(b *testing.B) {
	env := keystest.New(b)
	w := etltest.NewWriter(b, env, "ingest")
	messages := etltest.Logins(0, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	if s := etltest.Run(b, w, etltest.NewSource(etltest.Parts(messages, 500)...), etl.Options{}); s.Stored != int64(b.N) {
		b.Errorf("%+v", s)
	}
}
