package recover

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cloakroom/recover/auditlog"
)

// TestFirstOutcomeEndsAnOpening adds leaves of one request as they never come from an honest log:
// it ends with the first outcome, not with a refusal before it or a second one after it.
func TestFirstOutcomeEndsAnOpening(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	request, purpose := "r", "fraud"
	leaf := func(kind string, after time.Duration, purpose *string) auditlog.Leaf {
		return auditlog.Leaf{
			Type: kind, Request: &request, TS: began.Add(after), Purpose: purpose, DataKeys: []int64{7},
		}
	}
	r := newReport(began, began.AddDate(0, 0, 1))
	const hour = time.Hour
	steps := []struct {
		leaf      auditlog.Leaf
		endsAfter time.Duration // 0: not ended
	}{
		{leaf("intent", 0, &purpose), 0},
		{leaf("refused", 1*hour, nil), 0},
		{leaf("opened", 2*hour, &purpose), 2 * hour},
		{leaf("failed", 5*hour, &purpose), 2 * hour},
		{leaf("opened", 6*hour, &purpose), 2 * hour},
	}
	for _, s := range steps {
		r.add(s.leaf)
		want := time.Time{}
		if s.endsAfter > 0 {
			want = began.Add(s.endsAfter)
		}
		var got time.Time
		if ended := r.openings[request].Ended; ended != nil {
			got = *ended
		}
		if !got.Equal(want) {
			t.Errorf("after %s at %v the opening ended at %v, want %v", s.leaf.Type, s.leaf.TS, got, want)
		}
	}
}

// TestKMSJoin joins calls of sessions of a role with an entry of three calls, of which one had no answer.
func TestKMSJoin(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	request, purpose := "r", "fraud"
	bound := `{"old":null,"new":"arn:aws:iam::111122223333:role/auditors"}`
	own := `{"old":null,"new":"arn:aws:sts::111122223333:assumed-role/auditors/bea"}`
	r := newReport(at, at.AddDate(0, 0, 1))
	for i, l := range []auditlog.Leaf{
		{Type: "principal", Actor: "init", Fields: []string{"alice", "auditor"}, Result: &bound},
		{Type: "principal", Actor: "init", Fields: []string{"bea", "auditor"}, Result: &own},
		{Type: "intent", Actor: "alice", Request: &request, Purpose: &purpose, DataKeys: []int64{7}},
		{Type: "latekey", Actor: "alice", Request: &request, DataKeys: []int64{9}},
		{Type: "kms", Actor: "alice", Request: &request, Fields: []string{
			"Decrypt seal 7 id-1", "Decrypt seal 7 -", "Decrypt seal 9 id-2", "Decrypt seal 7 id-9", "Decrypt seal 7 id-1"}},
	} {
		l.Seq, l.TS = int64(i), at.Add(time.Duration(i)*time.Second)
		r.add(l)
	}
	record := func(event, id, session, key string, after time.Duration) string {
		return fmt.Sprintf(`{"eventTime":%q,"eventSource":"kms.amazonaws.com","eventName":"Decrypt","eventID":%q,
			"requestID":%q,"userIdentity":{"arn":"arn:aws:sts::111122223333:assumed-role/auditors/%s","sessionContext":
			{"sessionIssuer":{"arn":"arn:aws:iam::111122223333:role/auditors"}}},"requestParameters":{"encryptionContext":
			{"app":"cloakroom","vault":"v","purpose":"seal","key":%q}}}`, at.Add(after).Format(time.RFC3339), event, id,
			session, key)
	}
	file := `{"Records":[` + strings.Join([]string{
		record("e1", "id-1", "alice", "7", 3*time.Second), record("e2", "id-2", "alice", "9", 3*time.Second),
		record("e3", "lost", "alice", "7", 3*time.Second), // the attempt without an answer; it explains one call
		record("e4", "more", "alice", "7", 3*time.Second),
		record("e5", "late", "alice", "7", 40*time.Minute),
		record("e6", "hers", "bea", "7", 3*time.Second), // a session with a login of its own
		record("e1", "id-1", "alice", "7", 3*time.Second),
		record("e7", "word", "alice", "no number", 3*time.Second),
	}, ",") + `]}`
	if err := r.AddKMSLogs("v", nil, strings.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, c := range r.KMS.Unexplained {
		left = append(left, c.RequestID)
	}
	if got := strings.Join(left, " "); got != "more late hers word" || r.KMS.Explained != 2 || r.KMS.Unanswered != 1 {
		t.Errorf("unexplained: %s; %+v", got, r.KMS)
	}
	if m := r.KMS.Missing; len(m) != 2 || m[0].RequestID != "id-9" || m[1].RequestID != "id-1" {
		t.Errorf("missing: %+v", m)
	}
	if err := r.AddKMSLogs("v", []string{"analyst=arn"}, strings.NewReader(file)); err == nil {
		t.Error("calls of an analyst are expected")
	}
}
