package recovercmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"cloakroom/dataset"
	"cloakroom/etl"
	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	recovery "cloakroom/recover"
)

const customer = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"

// fullOrder has every member; emptyOrder only those that it must have, and values that mean "none".
func fullOrder() *etl.Message {
	return order(fmt.Sprintf(`{"order_id":"o-1","customer":{"id":%q,"email":"Ann@Example.org"},
		"placed_at":"%sT10:00:00.5Z","amount":12.50,"items":3,"gift":true,"deliver_on":"2026-12-24","status":"paid",
		"coupon":"SPRING","shop_app":"2.1","tags":{"a":[1,2]},"relay":"192.0.2.8","payment":{"card.number":"4111 1111 1111 1234"},
		"client":%q,"address":{"street":"Elm 5","zip":["1","2"]},"born_on":"1990-01-31"}`,
		strings.ToUpper(customer), today.Format("2006-01-02"), canaryIP))
}

func emptyOrder() *etl.Message {
	return order(fmt.Sprintf(`{"order_id":"o-2","customer":{"id":%q,"email":"none@example.com"},"placed_at":"%sT11:00:00Z","items":1,
		"payment":{"card.number":"4000 0000 0000 5678"}}`, customer, today.Format("2006-01-02")))
}

func ofOrders(change func(*recovery.RequestParams)) recovery.RequestParams {
	return params(func(a *recovery.RequestParams) {
		a.Dataset, a.Subject, a.Fields = "order", customer, []string{"card"}
		if change != nil {
			change(a)
		}
	})
}

// TestDatasets opens rows of a dataset that has every type, an id, several indexes, members sealed
// without any, and optional ones, beside the login dataset.
func TestDatasets(t *testing.T) {
	c := newFixture(t)
	d := c.orders(t)
	bad := order(fmt.Sprintf(`{"order_id":"o-3","customer":{"id":%q}}`, customer))
	ingest(t, c.Env, fullOrder(), emptyOrder(), bad)

	opened, err := c.alice.Open(t.Context(), c.approved(t, recovery.RequestParams{
		Purpose: recovery.PurposeSubjectAccess, Ticket: "GDPR-15", Reason: "letter", Dataset: "order",
		Subject: strings.ToUpper(customer),
	}), recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	var text bytes.Buffer
	if err := (encoding{format: "json"}).write(&text, opened); err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(text.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, &text)
	}
	byOrder := map[any]map[string]any{}
	for _, row := range got {
		if row["kind"] == "row" && (row["row_id"] == nil || row["create_date"] != today.Format("2006-01-02")) {
			t.Errorf("row %v on %v", row["row_id"], row["create_date"])
		}
		delete(row, "row_id")
		delete(row, "create_date")
		byOrder[row["order_id"]] = row
	}
	full := map[string]any{
		"kind": "row", "customer_id": customer, "order_id": "o-1", "placed_at": today.Format("2006-01-02") + "T10:00:00.5Z",
		"amount": 12.5, "items": 3.0, "gift": true, "deliver_on": "2026-12-24", "status": "paid", "coupon": "SPRING",
		"shop_app": 2001000.0, "shop_app_text": "2.1", "tags": map[string]any{"a": []any{1.0, 2.0}}, "relay": "192.0.2.8",
		"email": "Ann@Example.org", "card": "4111 1111 1111 1234", "client": canaryIP,
		"address": map[string]any{"street": "Elm 5", "zip": []any{"1", "2"}}, "born_on": "1990-01-31", "reason": nil, "body": nil,
	}
	empty := map[string]any{}
	for name := range full {
		empty[name] = nil
	}
	for name, v := range map[string]any{
		"kind": "row", "customer_id": customer, "order_id": "o-2", "placed_at": today.Format("2006-01-02") + "T11:00:00Z",
		"items": 1.0, "email": "none@example.com", "card": "4000 0000 0000 5678",
	} {
		empty[name] = v
	}
	rejection := map[string]any{}
	for name := range full {
		rejection[name] = nil
	}
	rejection["kind"], rejection["customer_id"], rejection["reason"], rejection["body"] =
		"rejection", customer, "missing_field", string(bad.Body)
	want := map[any]map[string]any{"o-1": full, "o-2": empty, nil: rejection}
	if diff := cmp.Diff(want, byOrder); diff != "" {
		t.Errorf("opened of %s (-want +got):\n%s", d.Name, diff)
	}
}

// TestDatasetSelectors finds orders by a part of a value, and by none where the value is none.
func TestDatasetSelectors(t *testing.T) {
	c := newFixture(t)
	c.orders(t)
	ingest(t, c.Env, fullOrder(), emptyOrder())
	for _, tt := range []struct {
		field, index, value string
		rows                int64
		fails               string
	}{
		{"client", "", canaryIP, 1, ""},
		{"client", "prefix/24", "203.0.113.1", 1, ""},
		{"client", "prefix/24", "203.0.114.1", 0, ""},
		{"email", "domain", "bob@EXAMPLE.org", 1, ""},
		{"email", "", "ann@example.org", 1, ""},
		{"email", "", "bob@example.org", 0, ""},
		{"card", "prefix/6", "4000-00", 1, ""},
		{"born_on", "", "1990-01-31", 1, ""},
		{"email", "", "none@example.com", 0, "it has no token"},
		{"email", "prefix/3", "x", 0, "no such index as prefix/3: give --index exact or domain"},
		{"address", "", "x", 0, "sealed without any"},
		{"amount", "", "x", 0, "not a protected field"},
		{"client", "", "unknown", 0, "it has no token"},
		{"client", "", "nonsense", 0, "bad_ip"},
	} {
		tokens, err := c.alice.TokensOf(t.Context(), "order", tt.field, tt.index, tt.value)
		if tt.fails != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("%s %s %s: %v, want %q", tt.field, tt.index, tt.value, err, tt.fails)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s %s %s: %v", tt.field, tt.index, tt.value, err)
		}
		a := ofOrders(func(a *recovery.RequestParams) { a.Subject, a.Field, a.Tokens = "", tt.field, tokens })
		if a.Index = tt.index; a.Index == "" {
			a.Index = dataset.Exact
		}
		opened, err := c.alice.Open(t.Context(), c.approved(t, a), recovery.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if opened.Rows != tt.rows {
			t.Errorf("%s %s %s: %d rows, want %d", tt.field, tt.index, tt.value, opened.Rows, tt.rows)
		}
		opened.Close()
	}
	// What cannot be is refused when it is asked for, with what there is.
	for want, change := range map[string]func(*recovery.RequestParams){
		"no dataset is called":           func(a *recovery.RequestParams) { a.Dataset = "invoice" },
		"the vault has several":          func(a *recovery.RequestParams) { a.Dataset = "" },
		"not of the type of its subject": func(a *recovery.RequestParams) { a.Subject = "user-1" },
		"there is no such field":         func(a *recovery.RequestParams) { a.Fields = []string{"ip"} },
		"a token belongs to a protected": func(a *recovery.RequestParams) {
			a.Subject, a.Field, a.Tokens = "", "ip", []string{strings.Repeat("A", 22)}
		},
		"of a rejection only the body":      func(a *recovery.RequestParams) { a.Subject, a.Rejection = "", "bad_ip" },
		"that is no token: a token has 22 ": func(a *recovery.RequestParams) { a.Subject, a.Tokens = "", []string{dataset.NoToken} },
	} {
		if _, err := c.alice.Request(t.Context(), ofOrders(change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestSubjectAccessEverywhere files a request in each dataset that may know the person.
func TestSubjectAccessEverywhere(t *testing.T) {
	c := newFixture(t)
	c.orders(t)
	dsar := func(subject string) *process {
		p := c.start(t, c.aliceURL, "request", "--purpose", "dsar", "--ticket", "GDPR-15", "--reason", "letter", "--subject", subject)
		if code := p.wait(); code != 0 {
			t.Fatalf("exit code %d: %s", code, &p.stderr)
		}
		return p
	}
	if ids := strings.Fields(dsar("user-1").stdout.String()); len(ids) != 1 {
		t.Errorf("a name that is no UUID: requests %v, want one", ids)
	}
	if ids := strings.Fields(dsar(customer).stdout.String()); len(ids) != 2 {
		t.Errorf("a UUID: requests %v, want two", ids)
	}
	list, err := c.alice.List(t.Context(), false, true)
	if err != nil {
		t.Fatal(err)
	}
	var of []string
	for _, r := range list {
		of = append(of, *r.Dataset)
	}
	if diff := cmp.Diff([]string{"login", "login", "order"}, of); diff != "" {
		t.Errorf("datasets of the requests (-want +got):\n%s", diff)
	}
}

// abuseOtherDataset asks in one dataset with tokens, rows and approvals of another.
func abuseOtherDataset(t *testing.T) {
	c := newFixture(t)
	c.orders(t)
	ingest(t, c.Env, fullOrder(), emptyOrder())
	tokens := map[string][]string{} // of one address, by dataset
	for of, field := range map[string]string{"login": "ip", "order": "client"} {
		var err error
		if tokens[of], err = c.alice.TokensOf(t.Context(), of, field, "", canaryIP); err != nil {
			t.Fatal(err)
		}
	}
	if slices.Equal(tokens["login"], tokens["order"]) {
		t.Error("one address has one token in two datasets")
	}
	byToken := func(of, tokensOf string) int64 {
		opened, err := c.alice.Open(t.Context(), c.approved(t, params(func(a *recovery.RequestParams) {
			a.Dataset, a.Subject, a.Tokens, a.Fields = of, "", tokens[tokensOf], []string{"body"}
			a.Fields = map[string][]string{"login": {"ip"}, "order": {"client"}}[of]
		})), recovery.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		return opened.Rows
	}
	for _, of := range []string{"login", "order"} {
		for _, tokensOf := range []string{"login", "order"} {
			want := int64(0)
			if of == tokensOf {
				want = 1
			}
			if got := byToken(of, tokensOf); got != want {
				t.Errorf("a token of %s opens %d rows of %s, want %d", tokensOf, got, of, want)
			}
		}
	}
	// An approval is for one dataset.
	id := c.approved(t, params(func(a *recovery.RequestParams) { a.Dataset, a.Fields = "login", []string{"body"} }))
	c.admin.MustExec(`UPDATE cloakroom.requests SET dataset = 'order' WHERE id = $1`, id)
	_, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	wantCode(t, err, pg.NotApproved)

	// A value that somebody moves to another dataset, with its key and a token that fits, does not open.
	index := tokens["order"][0]
	c.admin.MustExec(`UPDATE cloakroom_data.orders o SET data_key = u.data_key, sealed_client = u.sealed_ip, masked_client_v1 = '`+index+`',
			masked_client__prefix24_v1 = '-', sealed_email = NULL, masked_email_v1 = NULL, masked_email__domain_v1 = NULL, sealed_card = u.sealed_ip,
			sealed_address = NULL, sealed_born_on = NULL, masked_born_on_v1 = NULL
		FROM cloakroom_data.user_logins u WHERE u.row_id = $1 AND o.order_id = 'o-1'`, c.first.ID)
	id = c.approved(t, ofOrders(func(a *recovery.RequestParams) { a.Fields = []string{"client"} }))
	_, err = c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	wantExit(t, err, cli.ExitIntegrity)
}

// TestRevealedFields opens what members show anyway, and no sealed value.
func TestRevealedFields(t *testing.T) {
	c := newFixture(t)
	c.orders(t)
	ingest(t, c.Env, fullOrder())
	opened, err := c.alice.Open(t.Context(), c.approved(t, ofOrders(func(a *recovery.RequestParams) {
		a.Fields = []string{"client__network", "customer_id", "card__last4", "amount"}
	})), recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	got := rows(t, opened)
	want := map[string]string{"customer_id": customer, "client__network": "203.0.113.0/24", "card__last4": "1234", "amount": "12.50"}
	for _, r := range got {
		delete(r, "row_id")
		delete(r, "create_date")
	}
	if diff := cmp.Diff([]map[string]string{want}, got); diff != "" {
		t.Errorf("opened (-want +got):\n%s", diff)
	}
}

// TestForgetOpensNothing: a request to forget is about every dataset, and opening it is refused.
func TestForgetOpensNothing(t *testing.T) {
	c := newFixture(t)
	c.orders(t)
	ingest(t, c.Env, fullOrder(), emptyOrder())
	var id uuid.UUID
	const ask = `SELECT cloakroom.request_forget($1, 'GDPR-17', 'letter')`
	if err := c.alice.Vault.DB.Get(&id, ask, strings.ToUpper(customer)); err != nil {
		t.Fatal(err)
	}
	_, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	wantCode(t, err, pg.NotApproved)
	shown, err := c.bob.Show(t.Context(), id)
	if err != nil || *shown.Selected != 2 || shown.Dataset != nil {
		t.Errorf("%v rows of dataset %v would be forgotten (%v), want 2 of every dataset", *shown.Selected, shown.Dataset, err)
	}
}

// TestOrdersTampered: optional members may be absent, and yet nothing can be taken from a row or put there.
func TestOrdersTampered(t *testing.T) {
	for name, statement := range map[string]string{
		"required value taken away": `SET sealed_card = NULL, masked_card_v1 = NULL, masked_card__prefix6_v1 = NULL, card__last4 = NULL`,
		"second index's token":      `SET masked_client__prefix24_v1 = masked_client_v1`,
		"token for none":            `SET masked_client_v1 = '-'`,
		"first index's token":       `SET masked_email_v1 = masked_email__domain_v1`,
	} {
		t.Run(name, func(t *testing.T) {
			c := newFixture(t)
			c.orders(t)
			ingest(t, c.Env, fullOrder())
			id := c.approved(t, ofOrders(func(a *recovery.RequestParams) { a.Fields = []string{"client", "card", "email"} }))
			c.admin.MustExec(`UPDATE cloakroom_data.orders ` + statement)
			_, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
			wantExit(t, err, cli.ExitIntegrity)
		})
	}
}
