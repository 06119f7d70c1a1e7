package etl_test

import (
	"testing"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys/keystest"
)

// A message that is a rejection comes back once the settings were mended: it stays a rejection, whose replay reads the
// object, so the object may not be deleted.
func TestObjectOfARejectionIsKept(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	w := etltest.NewWriter(t, env, "ingest")
	store := &bodies{objects: map[string]string{"ours/1": etltest.LoginBody(1), "ours/2": etltest.LoginBody(2)}}
	run := func(s etl.Summary, buckets []string, messages ...*etl.Message) {
		t.Helper()
		got := runInput(t, w, etl.Input{Source: etltest.NewSource(messages), Unwrap: &etl.Unwrap{
			Layers: layersOf(t, "s3"), Buckets: buckets, Objects: store,
		}}, etl.Options{})
		if got.Stored != s.Stored || got.Rejected != s.Rejected || got.Duplicates != s.Duplicates {
			t.Fatalf("%+v, want %+v", got, s)
		}
	}
	rejected := func() *etl.Message { return etltest.Message(1, pointerTo("ours", "1")) }
	stored := func() *etl.Message { return etltest.Message(2, pointerTo("ours", "2")) }
	run(etl.Summary{Rejected: 1}, []string{"others"}, rejected())
	again := rejected()
	run(etl.Summary{Duplicates: 1}, []string{"ours"}, again)
	if again.Object() != nil {
		t.Error("the object of a rejection may be deleted once its message comes again")
	}
	// What comes again after its row was stored has no more use for its object.
	run(etl.Summary{Stored: 1}, []string{"ours"}, stored())
	again = stored()
	run(etl.Summary{Duplicates: 1}, []string{"ours"}, again)
	if again.Object() == nil {
		t.Error("the object of a row stays")
	}
}
