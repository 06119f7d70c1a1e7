package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
)

// Datasets are the datasets of a vault, by name.
type Datasets []*dataset.Dataset

// ErrNoDataset reports a dataset that the vault does not have, or that was not named where there are several.
var ErrNoDataset = errors.New("no dataset")

// Find gives the dataset of that name. An empty name means the only one.
func (list Datasets) Find(name string) (*dataset.Dataset, error) {
	if name == "" && len(list) == 1 {
		return list[0], nil
	}
	for _, d := range list {
		if d.Name == name {
			return d, nil
		}
	}
	switch {
	case len(list) == 0:
		return nil, fmt.Errorf("%w is in the vault: run keys init or keys dataset apply", ErrNoDataset)
	case name == "":
		return nil, fmt.Errorf("%w is named, and the vault has several: name one with --dataset: %s", ErrNoDataset,
			strings.Join(list.Names(), ", "))
	}
	return nil, fmt.Errorf("%w is called %q: the vault has %s", ErrNoDataset, name, strings.Join(list.Names(), ", "))
}

// Names lists the datasets' names.
func (list Datasets) Names() []string {
	var names []string
	for _, d := range list {
		names = append(names, d.Name)
	}
	return names
}

// Datasets reads the definitions from the vault. They are valid for one epoch: each change raises it.
func (v *Vault) Datasets(ctx context.Context) (Datasets, error) {
	return readDatasets(ctx, v.DB)
}

func readDatasets(ctx context.Context, db sqlx.QueryerContext) (Datasets, error) {
	var rows []struct {
		Name       string `db:"name"`
		Definition string `db:"definition"`
	}
	if err := sqlx.SelectContext(ctx, db, &rows, `SELECT name, definition FROM cloakroom.dataset_definitions()`); err != nil {
		return nil, fmt.Errorf("reading the datasets: %w", pg.Redact(err))
	}
	var list Datasets
	for _, row := range rows {
		d, err := dataset.ParseCanonical([]byte(row.Definition))
		if err != nil {
			return nil, fmt.Errorf("reading dataset %s: this program does not understand its definition, use the version that "+
				"applied it: %w", row.Name, err)
		}
		list = append(list, d)
	}
	return list, nil
}

// Applied says what applying a dataset did.
type Applied struct {
	Revision int  // of the definition; 1 for a new dataset
	Changed  bool // false: the vault has this very definition
	// Evolution is the change of a dataset that was there. It was begun, or is under way: rotation.Evolve takes it on.
	Evolution *dataset.Evolution
}

// ApplyDataset puts a new dataset into the vault: its row table, its views, its first partitions and its definition, in one
// transaction that waits for loads and raises the epoch. A definition that is there already changes nothing; another one is
// planned and written down as a change, of which nothing is done yet. The login needs what [pg.Migrate] needs.
func ApplyDataset(ctx context.Context, url string, d *dataset.Dataset) (Applied, error) {
	db, err := pg.Open(pg.Config{URL: url, ApplicationName: "cloakroom dataset", Role: pg.Owner})
	if err != nil {
		return Applied{}, err
	}
	defer db.Close()
	return applyDataset(ctx, db, d)
}

func applyDataset(ctx context.Context, db *sqlx.DB, d *dataset.Dataset) (Applied, error) {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return Applied{}, fmt.Errorf("applying dataset %s: %w", d.Name, pg.Redact(err))
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	under, err := findUnderWay(ctx, tx, d)
	if err != nil {
		return Applied{}, err
	}
	var dropped *int64
	var plan *dataset.Evolution
	if under != nil {
		if plan = under.plan; !under.dropped {
			return Applied{Changed: true, Evolution: plan}, nil
		}
		dropped = &under.Rotation
	}
	var versions pq.Int32Array
	if err := tx.GetContext(ctx, &versions, `SELECT cloakroom.begin_dataset($1, $2)`, d.Name, dropped); err != nil {
		return Applied{}, fmt.Errorf("applying dataset %s: %w", d.Name, pg.Redact(err))
	}
	there, err := readDatasets(ctx, tx)
	if err != nil {
		return Applied{}, err
	}
	var applied Applied
	old, _ := there.Find(d.Name)
	switch {
	case old == nil:
		applied, err = createDataset(ctx, tx, d, versions)
	case old.Hash() == d.Hash():
		return Applied{}, nil
	default:
		applied.Changed = true
		applied.Evolution, err = beginEvolution(ctx, tx, old, d, versions, plan)
	}
	if err != nil {
		return Applied{}, fmt.Errorf("applying dataset %s: %w", d.Name, pg.Redact(err))
	}
	if err := tx.Commit(); err != nil {
		return Applied{}, fmt.Errorf("applying dataset %s: %w", d.Name, pg.Redact(err))
	}
	return applied, nil
}

func createDataset(ctx context.Context, tx *sqlx.Tx, d *dataset.Dataset, versions []int32) (Applied, error) {
	if len(versions) != 1 {
		return Applied{}, fmt.Errorf("the vault has %d live index keys, not one", len(versions))
	}
	var server int
	if err := tx.GetContext(ctx, &server, `SELECT current_setting('server_version_num')::int`); err != nil {
		return Applied{}, err
	}
	if _, err := tx.ExecContext(ctx, `SELECT cloakroom.require_free_names($1)`, d.Table); err != nil {
		return Applied{}, err
	}
	if _, err := tx.ExecContext(ctx, d.CreateSQL(uint32(versions[0]), server)); err != nil {
		return Applied{}, err
	}
	columns, err := json.Marshal(columnsOf(d, uint32(versions[0])))
	if err != nil {
		return Applied{}, err
	}
	applied := Applied{Changed: true}
	err = tx.GetContext(ctx, &applied.Revision, `SELECT cloakroom.record_dataset($1, $2, $3, nullif($4, ''), $5, $6, $7)`,
		d.Name, d.Table, string(d.Partition), d.Subject, d.ID != "", string(d.Canonical()), string(columns))
	if err != nil {
		return applied, err
	}
	_, err = tx.ExecContext(ctx, `SELECT cloakroom.make_partitions_ahead()`)
	return applied, err
}

// column is a row of cloakroom.dataset_columns.
type column struct {
	Position   int     `json:"position"`
	Name       string  `json:"column_name"`
	Kind       string  `json:"kind"`
	Member     string  `json:"member"`
	Index      *string `json:"index_name,omitempty"`
	Version    *uint32 `json:"version,omitempty"`
	ViewColumn *string `json:"view_column,omitempty"`
}

// columnsOf lists what the vault's functions must know of a row table's columns. The system's own are no part of it.
func columnsOf(d *dataset.Dataset, version uint32) []column {
	kinds := map[dataset.Role]string{
		dataset.RoleClear: "clear", dataset.RoleText: "clear", dataset.RoleSealed: "sealed", dataset.RoleReveal: "reveal",
		dataset.RoleToken: "token",
	}
	indexes := d.Indexes()
	var out []column
	for i, c := range d.TableColumns([]uint32{version}) {
		kind, ok := kinds[c.Role]
		if !ok {
			continue
		}
		row := column{Position: i, Name: c.Name, Kind: kind, Member: d.Members[c.Member].Name}
		if c.Role == dataset.RoleToken {
			ix := indexes[c.Index]
			view := ix.ViewColumn()
			row.Index, row.Version, row.ViewColumn = &ix.Kind, &c.Version, &view
		}
		out = append(out, row)
	}
	return out
}

// DatasetInfo is a dataset as lists show it.
type DatasetInfo struct {
	Name      string    `db:"name" json:"name"`
	SHA256    string    `db:"sha256" json:"sha256"` // of the definition
	Revision  int       `db:"revision" json:"revision"`
	AppliedBy string    `db:"applied_by" json:"applied_by"`
	AppliedAt time.Time `db:"applied_at" json:"applied_at"`
}

// DatasetList lists the vault's datasets by name.
func (v *Vault) DatasetList(ctx context.Context) ([]DatasetInfo, error) {
	list := []DatasetInfo{}
	err := v.DB.SelectContext(ctx, &list, `
		SELECT name, encode(sha256, 'hex') AS sha256, revision, applied_by, applied_at FROM cloakroom.dataset_definitions()`)
	if err != nil {
		return nil, fmt.Errorf("listing datasets: %w", pg.Redact(err))
	}
	return list, nil
}
