package recovercmd

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cloakroom/dataset"
	"cloakroom/etl"
	recovery "cloakroom/recover"
)

func TestOpen(t *testing.T) {
	c := newFixture(t)
	id := c.approved(t, params(nil))
	opened, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	date := today.Format("2006-01-02")
	want := []map[string]string{
		{"row_id": c.first.ID.String(), "create_date": date, "user_id": "user-1", "ip": canaryIP, "device_id": canaryDevice},
		{"row_id": c.second.ID.String(), "create_date": date, "user_id": "user-1", "ip": "198.51.100.2", "device_id": "device-2"},
	}
	byID := cmpopts.SortSlices(func(a, b map[string]string) bool { return a["row_id"] < b["row_id"] })
	if diff := cmp.Diff(want, rows(t, opened), byID); diff != "" {
		t.Errorf("opened (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"request", "approve", "intent", "opened"}, c.leaves(t)); diff != "" {
		t.Errorf("leaves (-want +got):\n%s", diff)
	}
}

func TestSelectors(t *testing.T) {
	c := newFixture(t)
	tokens, err := c.alice.TokensOf(t.Context(), "", "device_id", "", " device-2 ")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*recovery.RequestParams)
		want   []*etl.Message
	}{
		"user":           {func(a *recovery.RequestParams) { a.Subject = "user-2" }, []*etl.Message{c.third}},
		"nobody":         {func(a *recovery.RequestParams) { a.Subject = "user-3" }, nil},
		"row":            {func(a *recovery.RequestParams) { a.Subject, a.Row = "", c.second.ID }, []*etl.Message{c.second}},
		"message":        {func(a *recovery.RequestParams) { a.Subject, a.Message = "", c.second.ID }, []*etl.Message{c.second}},
		"value":          {func(a *recovery.RequestParams) { a.Subject, a.Field, a.Tokens = "", "device_id", tokens }, []*etl.Message{c.second, c.third}},
		"token":          {func(a *recovery.RequestParams) { a.Subject, a.Tokens = "", tokens }, []*etl.Message{c.second, c.third}},
		"other field":    {func(a *recovery.RequestParams) { a.Subject, a.Field, a.Tokens = "", "ip", tokens }, nil},
		"too early":      {func(a *recovery.RequestParams) { a.To = today.AddDate(0, 0, -1) }, nil},
		"the whole span": {func(a *recovery.RequestParams) { a.From, a.To = today, today }, []*etl.Message{c.first, c.second}},
	} {
		t.Run(name, func(t *testing.T) {
			opened, err := c.alice.Open(t.Context(), c.approved(t, params(tt.change)), recovery.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer opened.Close()
			got, want := map[string]bool{}, map[string]bool{}
			for _, r := range rows(t, opened) {
				got[r["row_id"]] = true
			}
			for _, m := range tt.want {
				want[m.ID.String()] = true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSubjectAccess(t *testing.T) {
	c := newFixture(t)
	bad := event(`{"user_id":"user-1","ip":"not an address","device_id":"d"}`)
	ingest(t, c.Env, bad)
	id := c.approved(t, recovery.RequestParams{Purpose: recovery.PurposeSubjectAccess, Ticket: "GDPR-15", Reason: "letter of 3 May", Subject: "user-1"})
	opened, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	got := rows(t, opened)
	if len(got) != 3 {
		t.Fatalf("%d rows, want 2 rows and a rejection: %v", len(got), got)
	}
	rejection := got[2]
	if rejection["kind"] != "rejection" || rejection["reason"] != "bad_ip" || rejection[dataset.BodyField] != string(bad.Body) {
		t.Errorf("the rejection is %v", rejection)
	}
	if first := got[0]; first["kind"] != "row" || first["app_version"] != "2001003" || first["app_version_text"] != "2.1.3" || first["locale"] != "de" {
		t.Errorf("the first row is %v", first)
	}
}
