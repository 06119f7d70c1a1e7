package pg

import "context"

// MigrateUnlisted migrates an empty database without comparing the functions with api.txt, so that api.txt can be
// written.
func MigrateUnlisted(ctx context.Context, url string) error {
	db, err := Open(Config{URL: url})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := makeRoles(ctx, db); err != nil {
		return err
	}
	asOwner, err := Open(Config{URL: url, Role: Owner})
	if err != nil {
		return err
	}
	defer asOwner.Close()
	if err := makeTables(ctx, asOwner); err != nil {
		return err
	}
	for _, s := range apiFiles() {
		if _, err := asOwner.ExecContext(ctx, s.sql); err != nil {
			return err
		}
	}
	return nil
}

// Topics are the files of api/ in order.
func Topics() []string { return topics }
