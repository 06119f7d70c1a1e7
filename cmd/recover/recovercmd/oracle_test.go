package recovercmd

import (
	"testing"

	recovery "cloakroom/recover"
)

// While a reindex is under way a row has tokens of two versions. What asking by one of them shows
// must be the same whether it occurs or not, until the request is approved; then the rows are found
// by either.
func TestAskingByTokenDuringReindexTellsNothing(t *testing.T) {
	t.Parallel()
	c := newFixture(t)
	c.admin.MustExec(`
		ALTER TABLE cloakroom_data.user_logins ADD COLUMN masked_ip_v2 varchar(256), ADD COLUMN masked_device_id_v2 varchar(256);
		UPDATE cloakroom_data.user_logins SET masked_ip_v2 = reverse(masked_ip_v1), masked_device_id_v2 = reverse(masked_device_id_v1);
		INSERT INTO cloakroom.dataset_columns
		  SELECT dataset, position, replace(column_name, '_v1', '_v2'), kind, member, index_name, 2, view_column
		    FROM cloakroom.dataset_columns WHERE kind = 'token';
		INSERT INTO cloakroom.index_keys (version, state, kek, kek_id, wrapped, key_check)
		  SELECT 2, 'live', kek, kek_id, wrapped, key_check FROM cloakroom.index_keys WHERE version = 1`)
	var occurs, old string
	if err := c.admin.QueryRow(`SELECT masked_device_id_v2, masked_device_id_v1 FROM cloakroom_data.user_logins WHERE row_id = $1`, c.second.ID).Scan(&occurs, &old); err != nil {
		t.Fatal(err)
	}
	// The third's row has no token of version 2 yet.
	c.admin.MustExec(`UPDATE cloakroom_data.user_logins SET masked_device_id_v2 = NULL WHERE row_id = $1`, c.third.ID)
	byToken := func(token string) recovery.RequestParams {
		return params(func(a *recovery.RequestParams) { a.Subject, a.Field, a.Tokens = "", "device_id", []string{token} })
	}
	for name, token := range map[string]string{"occurs": occurs, "does not": "AAAAAAAAAAAAAAAAAAAAAA"} {
		id, err := c.alice.Request(t.Context(), byToken(token))
		if err != nil {
			t.Fatal(err)
		}
		shown, err := c.alice.Show(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if len(shown.Tokens) != 1 || shown.Tokens[0] != token || shown.Selected != nil {
			t.Errorf("a token that %s: its requester is shown the tokens %v and %v rows", name, shown.Tokens, shown.Selected)
		}
	}
	// The second row carries the token asked for, and gives the old one, by which the third is
	// found.
	if n, err := do(c.Pool(t, c.aliceURL), begin, c.approved(t, byToken(occurs))); n != 2 || err != nil {
		t.Errorf("%d rows carry the token %s or %s (%v), want 2", n, occurs, old, err)
	}
}
