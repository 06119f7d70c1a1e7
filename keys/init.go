package keys

import (
	"context"
	"fmt"

	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys/kek"
)

// Init brings the database to the current schema, makes the first index key if there is none, the built-in dataset, and the
// partitions ahead. It
// is safe to run again and from two places at once. See [pg.Migrate] for what the login needs.
func Init(ctx context.Context, url string, set *kek.Set) (Settings, error) {
	return InitWith(ctx, url, set, pg.MigrateOptions{})
}

// InitWith is Init with options.
func InitWith(ctx context.Context, url string, set *kek.Set, o pg.MigrateOptions) (Settings, error) {
	if err := refuseForeignViews(ctx, url, dataset.Login()); err != nil {
		return Settings{}, err
	}
	if err := pg.MigrateWith(ctx, url, o); err != nil {
		return Settings{}, err
	}
	db, err := pg.Open(pg.Config{URL: url, ApplicationName: "cloakroom init", Role: pg.Owner})
	if err != nil {
		return Settings{}, err
	}
	defer db.Close()
	v := &Vault{DB: db, KEK: set}
	s, err := v.Settings(ctx)
	if err != nil {
		return Settings{}, err
	}
	if err := v.firstIndexKey(ctx, s); err != nil {
		return Settings{}, err
	}
	// The dataset that comes with the program. One of that name that is there stays as it was applied.
	there, err := v.Datasets(ctx)
	if err != nil {
		return Settings{}, err
	}
	if _, err := there.Find(dataset.Login().Name); err != nil {
		if _, err := applyDataset(ctx, db, dataset.Login()); err != nil {
			return Settings{}, err
		}
		if s, err = v.Settings(ctx); err != nil { // applying raised the epoch
			return Settings{}, err
		}
	}
	index, err := v.IndexKeys(ctx, s, dataset.Login())
	if err != nil {
		return Settings{}, fmt.Errorf("reading the index key back: %w", err)
	}
	DestroyIndexKeys(index)
	if _, err := db.ExecContext(ctx, `SELECT cloakroom.make_partitions_ahead()`); err != nil {
		return Settings{}, fmt.Errorf("making the partitions ahead: %w", pg.Redact(err))
	}
	return s, nil
}

// refuseForeignViews refuses a database in which the views' names are somebody else's, before anything is made in it.
func refuseForeignViews(ctx context.Context, url string, d *dataset.Dataset) error {
	db, err := pg.Open(pg.Config{URL: url, ApplicationName: "cloakroom init", MaxConns: 1})
	if err != nil {
		return err
	}
	defer db.Close()
	var foreign []string
	err = db.SelectContext(ctx, &foreign, `
		SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		 WHERE n.nspname = 'public' AND c.relname IN ($1, $2) AND NOT (c.relkind = 'v' AND pg_get_userbyid(c.relowner) = $3)`,
		d.Table, d.DuplicatesView(), pg.Owner)
	if err != nil {
		return pg.Unreachable(err)
	}
	if len(foreign) > 0 {
		return fmt.Errorf("public.%s exists already and is not cloakroom's: rename it (ALTER TABLE public.%[1]s RENAME TO "+
			"%[1]s_before_cloakroom) or use another database", foreign[0])
	}
	return nil
}

func (v *Vault) firstIndexKey(ctx context.Context, s Settings) error {
	var have bool
	if err := v.DB.GetContext(ctx, &have, `SELECT EXISTS (SELECT FROM cloakroom.index_keys)`); err != nil {
		return fmt.Errorf("looking for an index key: %w", pg.Redact(err))
	}
	if have {
		return nil
	}
	c := kek.Binding{Vault: s.ID, Purpose: kek.Index, Key: 1}
	key, w, err := v.KEK.GenerateDataKey(ctx, c)
	if err != nil {
		return err
	}
	defer key.Destroy()
	check := envelope.Check(key.Expose(), 1)
	// If two inits run at once, the first one's key and KEK stand.
	_, err = v.DB.ExecContext(ctx, `
		WITH first AS (
		  INSERT INTO cloakroom.index_keys (version, state, kek, kek_id, wrapped, key_check)
		  VALUES (1, 'live', $1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING kek, kek_id)
		SELECT cloakroom.add_kek(kek, kek_id) FROM first`, w.KEK, w.KEKID, w.Blob, check[:])
	if err != nil {
		return fmt.Errorf("registering the first index key: %w", pg.Redact(err))
	}
	return nil
}
