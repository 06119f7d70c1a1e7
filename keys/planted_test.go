package keys_test

import (
	"context"
	"testing"

	"cloakroom/internal/pg/pgtest"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/keystest"
)

// Where everybody may create in schema public (Postgres 14's default), a function planted there,
// with arguments that fit better than those of Postgres's own, must not be what keys init binds to:
// it would run as the owner.
func TestPlantedFunctionsAreNotUsed(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin := db.Open(t, "")
	admin.MustExec(`
		CREATE FUNCTION public.date_trunc(text, date) RETURNS timestamp LANGUAGE sql IMMUTABLE AS
			$$ SELECT pg_catalog.date_trunc($1, $2::timestamp) $$;
		CREATE FUNCTION public.substr(name, integer) RETURNS text LANGUAGE plpgsql AS
			$$ BEGIN RAISE EXCEPTION 'the planted function ran'; END $$`)
	set, err := kek.Open(t.Context(), keystest.WriteKEK(t, make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Init(context.Background(), db.URL(""), set); err != nil {
		t.Fatal(err)
	}
	var bound int
	if err := admin.Get(&bound, `
		SELECT count(*) FROM pg_depend d JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid
		 WHERE p.pronamespace = 'public'::regnamespace`); err != nil {
		t.Fatal(err)
	}
	if bound != 0 {
		t.Errorf("%d objects of the schema depend on functions planted in public", bound)
	}
	db.Login(t, "somebody", "cloakroom_approver")
	if _, err := keys.Grant(t.Context(), db.URL(""), db.Role("somebody"), "ingest", keys.GrantOptions{}); err != nil {
		t.Errorf("granting: %v", err)
	}
}
