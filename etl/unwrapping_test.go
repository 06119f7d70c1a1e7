package etl_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/etl/unwrap"
	"cloakroom/internal/objects"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

// bodies is S3, in memory: objects by bucket/key, and what it answers instead.
type bodies struct {
	mu      sync.Mutex
	objects map[string]string
	fails   map[string]error // by bucket/key; "": all
	reads   int
}

func (b *bodies) Get(_ context.Context, bucket, key, _ string) (io.ReadCloser, objects.Info, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	at := bucket + "/" + key
	for _, name := range []string{"", at} {
		if err := b.fails[name]; err != nil {
			return nil, objects.Info{}, err
		}
	}
	text, ok := b.objects[at]
	if !ok {
		return nil, objects.Info{}, fmt.Errorf("reading: %w", objects.ErrNotFound)
	}
	return io.NopCloser(strings.NewReader(text)), objects.Info{}, nil
}

func (b *bodies) heal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fails = nil
}

func inSNS(id, message string, at time.Time) string {
	text, _ := json.Marshal(message)
	return fmt.Sprintf(`{"Type":"Notification","MessageId":%q,"TopicArn":"arn:aws:sns:us-west-2:123456789012:t","Message":%s,`+
		`"Timestamp":%q,"SignatureVersion":"1","Signature":"x","SigningCertURL":"https://sns.invalid/x.pem",`+
		`"MessageAttributes":{"kind":{"Type":"String","Value":"login"}}}`, id, text, at.Format("2006-01-02T15:04:05.000Z"))
}

func onTheBus(id, detail string, at time.Time) string {
	return fmt.Sprintf(`{"version":"0","id":%q,"detail-type":"t","source":"s","account":"123456789012","time":%q,`+
		`"region":"us-west-2","resources":[],"detail":%s}`, id, at.Format(time.RFC3339), detail)
}

func pointerTo(bucket, key string) string {
	return fmt.Sprintf(`["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":%q,"s3Key":%q}]`, bucket, key)
}

func zipped(text string) string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return base64.StdEncoding.EncodeToString(out.Bytes())
}

const testEvent = `{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2014-10-13T15:57:02.089Z","Bucket":"b","RequestId":"r","HostId":"h"}`

func layersOf(t *testing.T, text string) []unwrap.Kind {
	t.Helper()
	layers, err := unwrap.ParseLayers(text)
	if err != nil {
		t.Fatal(err)
	}
	return layers
}

// runInput runs one input to its end.
func runInput(t *testing.T, w *etl.Writer, in etl.Input, o etl.Options) etl.Summary {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	s, err := etl.RunInputs(t.Context(), w, []etl.Input{in}, o)
	if err != nil || s.Abandoned != 0 {
		t.Fatalf("%+v: %v", s, err)
	}
	return s
}

// Events out of every envelope become rows, and what cannot be opened becomes a rejection that holds what SQS had. The
// ledger adds up with S3's test events.
func TestUnwrap(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	w := etltest.NewWriter(t, env, "ingest")
	now := time.Now().UTC().Truncate(time.Second)
	store := &bodies{objects: map[string]string{
		"ours/1": etltest.LoginBody(1), "ours/2": zipped(etltest.LoginBody(2)), "ours/large": strings.Repeat(" ", 3000), "theirs/1": etltest.LoginBody(9),
	}}
	ids := map[string]uuid.UUID{"sns": uuid.New(), "bus": uuid.New(), "pointed": uuid.New()}
	good := []string{
		inSNS(ids["sns"].String(), etltest.LoginBody(3), now),
		inSNS("not a uuid", onTheBus(ids["bus"].String(), etltest.LoginBody(4), now), now.Add(-time.Hour)),
		inSNS(ids["pointed"].String(), pointerTo("ours", "1"), now),
		pointerTo("ours", "2"),
		zipped(etltest.LoginBody(5)),
		etltest.LoginBody(6),
	}
	bad := map[string]etl.Reason{
		pointerTo("theirs", "1"):                etl.ForeignBucket,
		pointerTo("ours", "gone"):               etl.ObjectMissing,
		pointerTo("ours", "large"):              etl.TooLarge,
		zipped(strings.Repeat("x", 5000)):       etl.TooLarge,
		zipped(`{"user_id":"u","ip":"no"}`):     etl.BadIP,
		`["software.amazon.payloadoffloading`:   etl.NotJSON,
		strings.Repeat(`{"x":`, 3):              etl.NotJSON,
		inSNS(uuid.NewString(), "hello", now):   etl.NotJSON,
		`{"Type":"Notification","user_id":"u"}`: etl.MissingField,
	}
	var messages []*etl.Message
	for n, body := range good {
		messages = append(messages, etltest.Message(n, body))
	}
	rejected := map[uuid.UUID]string{}
	n := len(good)
	for body := range bad {
		m := etltest.Message(n, body)
		n++
		rejected[m.ID] = body
		messages = append(messages, m)
	}
	messages = append(messages, etltest.Message(n, testEvent), etltest.Message(n+1, inSNS(uuid.NewString(), testEvent, now)))
	source := &settled{Source: etltest.NewSource(etltest.Parts(messages, 3)...)}
	in := etl.Input{Source: source, Unwrap: &etl.Unwrap{
		Layers: layersOf(t, "auto"), MaxBody: 2 << 10, Buckets: []string{"ours"}, Objects: store,
	}}
	s := runInput(t, w, in, etl.Options{})
	if s.Stored != int64(len(good)) || s.Rejected != int64(len(bad)) || s.Ignored != 2 || source.committed != len(messages) {
		t.Errorf("%+v, and the source hears of %d", s, source.committed)
	}
	want := map[etl.Reason]int64{}
	for _, reason := range bad {
		want[reason]++
	}
	if fmt.Sprint(want) != fmt.Sprint(s.Rejections) {
		t.Errorf("rejections %v, want %v", s.Rejections, want)
	}
	opener := etltest.NewOpener(t, env)
	rows := opener.Rows(t)
	for _, id := range []uuid.UUID{ids["sns"], ids["bus"], ids["pointed"], messages[3].ID, messages[4].ID, messages[5].ID} {
		if _, ok := rows[id]; !ok {
			t.Errorf("there is no row %s", id)
		}
	}
	sealed := 0
	for id, r := range opener.Rejections(t) {
		if body, ok := rejected[id]; ok {
			sealed++
			if string(r.Body) != body {
				t.Errorf("rejection %s holds %q, want what SQS had: %q", r.Reason, r.Body, body)
			}
		}
	}
	if sealed != len(bad)-1 { // the rejection of a notification has the notification's id
		t.Errorf("%d rejections have their message's id, want %d", sealed, len(bad)-1)
	}
	var sent time.Time
	if err := env.Open(t, "").Get(&sent, `SELECT sent FROM cloakroom_data.user_logins WHERE row_id = $1`, ids["bus"]); err != nil || !sent.Equal(now) {
		t.Errorf("the event of EventBridge was sent at %v (%v), want the envelope's %v", sent, err, now)
	}
	if o := messages[2].Object(); o == nil || o.Key != "1" {
		t.Errorf("a stored event lay at %v", o)
	}
	for _, m := range messages[len(good) : len(messages)-2] {
		if m.Object() != nil {
			t.Errorf("the object of a rejection may be deleted: %s", m.Body)
		}
	}

	// SNS delivers it again, as another message of SQS; EventBridge replays it through another topic.
	again := []*etl.Message{
		etltest.Message(1000, good[0]),
		etltest.Message(1001, inSNS(uuid.NewString(), onTheBus(ids["bus"].String(), etltest.LoginBody(4), now), now)),
	}
	in.Source = etltest.NewSource(again)
	if s := runInput(t, w, in, etl.Options{}); s.Duplicates != 2 {
		t.Errorf("again: %+v, want 2 duplicates", s)
	}
}

// On a queue that does not say so, an envelope is a rejection that names the setting; an event that only looks like one
// keeps its own reason, and S3's test event goes.
func TestEnveloped(t *testing.T) {
	t.Parallel()
	env := withOrders(t)
	now := time.Now().UTC()
	run := func(in etl.Input, w *etl.Writer, body string, n int) etl.Summary {
		m := etltest.Message(n, body)
		m.Attribute = "login"
		in.Source = etltest.NewSource([]*etl.Message{m})
		return runInput(t, w, in, etl.Options{})
	}
	plain := etl.Input{}
	declared := etl.Input{Unwrap: &etl.Unwrap{Layers: layersOf(t, "sns")}}
	byMember, byAttribute := etl.Input{Route: etl.Route{Member: "kind"}}, etl.Input{Route: etl.Route{Attribute: "kind"}}
	w, err := etl.NewRoutingWriter(t.Context(), env.Vault(t, env.As(t, "ingest", "ingest")), "login", etl.Route{}, keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	sns := inSNS(uuid.NewString(), etltest.LoginBody(1), now)
	lookalike := strings.Replace(sns, `{"Type"`, `{"user_id":"u","Type"`, 1)
	for n, c := range []struct {
		in     etl.Input
		body   string
		reason etl.Reason
		member string
	}{
		{plain, sns, etl.Enveloped, "unwrap=sns"},
		{plain, onTheBus(uuid.NewString(), etltest.LoginBody(1), now), etl.Enveloped, "unwrap=eventbridge"},
		{plain, pointerTo("b", "k"), etl.Enveloped, "unwrap=s3"},
		{plain, zipped(etltest.LoginBody(1)), etl.Enveloped, "unwrap=gzip+base64"},
		{plain, lookalike, etl.MissingField, "ip"},
		{plain, "aGVsbG8", etl.NotJSON, ""},
		{declared, inSNS(uuid.NewString(), pointerTo("b", "k"), now), etl.Enveloped, "unwrap=sns,s3"},
		{declared, etltest.LoginBody(1), etl.BadEnvelope, "Type"},
		{byMember, sns, etl.Enveloped, "unwrap=sns"},
		{byAttribute, sns, etl.Enveloped, "unwrap=sns"},
		{byMember, strings.Replace(sns, `{"Type"`, `{"kind":"no","Type"`, 1), etl.UnknownDataset, "kind"},
	} {
		if s := run(c.in, w, c.body, n); s.Rejections[c.reason] != 1 {
			t.Errorf("%d: %+v, want %s", n, s, c.reason)
		}
		var member string
		err := env.Open(t, "").Get(&member, `SELECT coalesce(member, '') FROM cloakroom.rejections ORDER BY rejected_at DESC LIMIT 1`)
		if err != nil || member != c.member {
			t.Errorf("%d: the member is %q (%v), want %q", n, member, err, c.member)
		}
	}
	for n, in := range []etl.Input{plain, declared, byMember, byAttribute} {
		if s := run(in, w, testEvent, 100+n); s.Ignored != 1 || s.Rejected != 0 {
			t.Errorf("a test event on input %d: %+v", n, s)
		}
	}
	// An attribute of SNS tells the dataset, where the message itself has none.
	m := etltest.Message(200, inSNS(uuid.NewString(), etltest.LoginBody(7), now))
	in := etl.Input{Route: etl.Route{Attribute: "kind"}, Unwrap: declared.Unwrap, Source: etltest.NewSource([]*etl.Message{m})}
	if s := runInput(t, w, in, etl.Options{}); s.Stored != 1 {
		t.Errorf("routed by an attribute of SNS: %+v", s)
	}
}

// While S3 refuses one object, the input's other messages go on; while it is away, another input does. What waits is
// stored once it is back, and readiness hears of both.
func TestS3Away(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	w := etltest.NewWriter(t, env, "ingest")
	store := &bodies{objects: map[string]string{}, fails: map[string]error{"b/0": fmt.Errorf("reading: %w", objects.ErrDenied)}}
	var pointers []*etl.Message
	for n := range 40 {
		store.objects[fmt.Sprintf("b/%d", n)] = etltest.LoginBody(n)
		pointers = append(pointers, etltest.Message(n, pointerTo("b", fmt.Sprint(n))))
	}
	// The one that is refused comes again, and waits once: it is one row.
	pointers = append(pointers, etltest.Message(0, pointerTo("b", "0")), etltest.Message(0, pointerTo("b", "0")))
	var mu sync.Mutex
	held, resumed := "", ""
	watch := &waiter{input: "pointers", left: 39, done: make(chan struct{})}
	go func() {
		<-watch.done // all but the one that is refused
		store.heal()
	}()
	o := etl.Options{
		Log: slog.New(slog.DiscardHandler), Observe: watch, BatchDelay: 5 * time.Millisecond,
		Holding: func(doing string, err error) { mu.Lock(); held = doing + ": " + err.Error(); mu.Unlock() },
		Resumed: func(doing string) { mu.Lock(); resumed = doing; mu.Unlock() },
	}
	in := etl.Input{Name: "pointers", Source: etltest.NewSource(etltest.Parts(pointers, 10)...), Unwrap: &etl.Unwrap{
		Layers: layersOf(t, "s3"), Buckets: []string{"b"}, Objects: store,
	}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := etl.RunInputs(ctx, w, []etl.Input{in}, o)
	if err != nil || s.Stored != 40 || s.Duplicates != 2 || s.Abandoned != 0 || ctx.Err() != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	if !strings.Contains(held, "reading a body of pointers from S3: reading: S3 refuses the call") || resumed != "reading a body of pointers from S3" {
		t.Errorf("held %q, resumed %q", held, resumed)
	}

	// Away altogether, with more messages than may wait: another input goes on, and a run that may give up does so for this
	// input alone.
	store.fails = map[string]error{"": fmt.Errorf("reading: %w", objects.ErrUnavailable)}
	var many []*etl.Message
	for n := range 400 {
		many = append(many, etltest.Message(1000+n, pointerTo("b", "1")))
	}
	in.Source = etltest.NewSource(etltest.Parts(many, 10)...)
	source := &settled{Source: etltest.NewSource(etltest.Logins(5000, 5100))}
	s, err = etl.RunInputs(ctx, w, []etl.Input{in, {Name: "plain", Source: source}}, etl.Options{
		Log: slog.New(slog.DiscardHandler), MaxOutage: time.Second,
	})
	if err == nil || !strings.Contains(err.Error(), "pointers: gave up after") || !strings.Contains(err.Error(), "S3 is not available") {
		t.Errorf("the error is %v", err)
	}
	if s.Stored != 100 || s.Queues[1].Stored != 100 || s.Abandoned != s.Queues[0].Received || s.Abandoned == 0 {
		t.Errorf("%+v", s)
	}
	if store.reads > 5000 {
		t.Errorf("S3 was asked %d times", store.reads)
	}
}

// A dry run opens envelopes, too.
func TestDryRunUnwraps(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	w := etltest.NewWriter(t, env, "ingest")
	store := &bodies{objects: map[string]string{"b/1": etltest.LoginBody(1)}}
	in := etl.Input{Source: etltest.NewSource([]*etl.Message{
		etltest.Message(1, inSNS(uuid.NewString(), pointerTo("b", "1"), time.Now())), etltest.Message(2, "{}"), etltest.Message(3, testEvent),
	}), Unwrap: &etl.Unwrap{Layers: layersOf(t, "sns,s3"), Buckets: []string{"b"}, Objects: store}}
	s, err := etl.DryRun(t.Context(), w, []etl.Input{in}, nil)
	if err != nil || s.Stored != 1 || s.Rejections[etl.BadEnvelope] != 1 || s.Ignored != 1 {
		t.Errorf("%+v: %v", s, err)
	}
	if n := count(t, env, `SELECT count(*) FROM cloakroom_data.user_logins`); n != 0 {
		t.Errorf("%d rows", n)
	}
}
