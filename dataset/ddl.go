package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Schema is where row tables live, apart from the vault's own: a dataset called requests must not meet the vault's.
const Schema = "cloakroom_data"

// analysts is the role that may read the views.
const analysts = "cloakroom_analyst"

// NoToken stands in a token column where a value is sealed and has no token. No token is as short.
const NoToken = "-"

// brinSince is the first server whose BRIN indexes leave room for HOT updates. Before, one on data_key costs three
// times the update of a reseal.
const brinSince = 160000

// DuplicatesView is the name of the view of tokens seen more than once.
func (d *Dataset) DuplicatesView() string { return d.Table + "_duplicates" }

// quote quotes an identifier.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// literal quotes a text.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// qualified is the row table, or one of its partitions or indexes.
func qualified(name string) string { return Schema + "." + quote(name) }

// CreateSQL makes the row table, its indexes and the analysts' views in a database that has schema cloakroom_data
// and role cloakroom_analyst. server is the server's version number (server_version_num). The text depends on
// nothing else.
func (d *Dataset) CreateSQL(version uint32, server int) string {
	var b strings.Builder
	b.WriteString(d.tableSQL(version))
	for _, c := range d.tokenColumns(version) {
		b.WriteString(d.indexSQL(c.Name))
	}
	b.WriteString(d.lookUpsSQL())
	if server >= brinSince {
		fmt.Fprintf(&b, "CREATE INDEX %s ON %s USING brin (data_key);\n", quote(d.indexName("data_key")),
			qualified(d.Table))
	}
	b.WriteString(d.viewsSQL("CREATE VIEW", version)) // Which fails where the name is somebody else's.
	return b.String()
}

// lookUpsSQL makes the indexes that find a person's rows, and whether a delivery is a row. There is none on the row id
// alone: random ids would cost each insert as much as a subject's, and who asks for a row can name its day. A subject's
// rows share an entry's key, which they would not with the time behind it. Two underscores keep the names apart from
// those of tables.
func (d *Dataset) lookUpsSQL() string {
	var text string
	if d.Subject != "" {
		text += fmt.Sprintf("CREATE INDEX %s ON %s (%s);\n", quote(d.indexName("_subject")), qualified(d.Table),
			quote(d.Subject))
	}
	if d.Time != "" {
		// Where the dataset has no time, the primary key begins with both. The time first, for it grows.
		message := "row_id"
		if d.ID != "" {
			message = "message_id"
		}
		text += fmt.Sprintf("CREATE INDEX %s ON %s (message_sent, %s);\n", quote(d.indexName("_message")),
			qualified(d.Table), message)
	}
	return text
}

func (d *Dataset) tableSQL(version uint32) string {
	var lines []string
	for _, c := range d.TableColumns([]uint32{version}) {
		lines = append(lines, columnSQL(c))
	}
	lines = append(lines,
		"PRIMARY KEY (sent, row_id, create_date)",
		"CONSTRAINT create_date_of_sent CHECK (create_date = (sent AT TIME ZONE 'UTC')::date)")
	for _, m := range d.Protected() {
		for _, c := range m.checks(version) {
			lines = append(lines, "CONSTRAINT "+quote(c.name)+" CHECK ("+c.condition+")")
		}
	}
	return fmt.Sprintf("CREATE TABLE %s (\n  %s\n) PARTITION BY RANGE (create_date);\nCOMMENT ON TABLE %[1]s IS "+
		"%[3]s;\n",
		qualified(d.Table), strings.Join(lines, ",\n  "),
		literal("one row an event of dataset "+d.Name+", a partition a "+string(d.Partition)+" of create_date"))
}

func columnSQL(c Column) string {
	text := quote(c.Name) + " " + c.Type
	if c.NotNull {
		text += " NOT NULL"
	}
	return text
}

// check is a CHECK of the row table.
type check struct{ name, condition string }

// checks hold a protected member to what the rest relies on. The id within a sealed value is the id beside it, so
// that "no row refers to this key" can be counted. A row has a token where it has a sealed value, so that a reindex
// ends. What is erased reveals nothing. Each CHECK has the name of its column.
func (m *Member) checks(version uint32) []check {
	sealed := quote(m.SealedColumn())
	out := []check{{m.SealedColumn(), fmt.Sprintf(
		"%s IS NULL OR (data_key IS NOT NULL AND substring(%[1]s FROM 2 FOR 4) = int4send(data_key))", sealed)}}
	if m.Protect.Reveal != "" {
		out = append(out, check{m.RevealColumn(), fmt.Sprintf("%s IS NULL OR %s IS NOT NULL", quote(m.RevealColumn()),
			sealed)})
	}
	for _, ix := range m.Indexes() {
		out = append(out, tokenCheck(ix, version))
	}
	return out
}

func tokenCheck(ix Index, version uint32) check {
	column := ix.TokenColumn(version)
	return check{column, fmt.Sprintf("(%s IS NULL) = (%s IS NULL)", quote(column), quote(ix.Member.SealedColumn()))}
}

// indexSQL makes the B-tree on a token column. Not a hash index: that degrades without bound once one token has
// many rows.
func (d *Dataset) indexSQL(column string) string {
	return fmt.Sprintf("CREATE INDEX %s ON %s (%s);\n", quote(d.indexName(column)), qualified(d.Table), quote(column))
}

// indexName names an index on a column. Postgres cuts names at 63 bytes, and two that are cut may meet.
func (d *Dataset) indexName(column string) string {
	name := d.Table + "_" + column
	if len(name) <= 63 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:54] + "_" + hex.EncodeToString(sum[:4])
}

// ViewsSQL makes or replaces the analysts' views, which show the tokens of one version of the index key. A replaced
// view keeps its columns: what adds or renames one is for [Plan].
func (d *Dataset) ViewsSQL(version uint32) string {
	return d.viewsSQL("CREATE OR REPLACE VIEW", version)
}

func (d *Dataset) viewsSQL(create string, version uint32) string {
	var columns []string
	for _, c := range d.viewColumns(version) {
		text := "r." + quote(c.of)
		if c.name != c.of {
			text += " AS " + quote(c.name)
		}
		columns = append(columns, text)
	}
	view, duplicates := "public."+quote(d.Table), "public."+quote(d.DuplicatesView())
	return fmt.Sprintf("%s %s AS\n  SELECT %s\n    FROM %s AS r;\n", create, view, strings.Join(columns,
		",\n         "), qualified(d.Table)) +
		fmt.Sprintf("COMMENT ON VIEW %s IS %s;\n", view,
			literal("events of dataset "+d.Name+" as analysts see them: tokens where personal data was")) +
		fmt.Sprintf("%s %s AS\n%s;\n", create, duplicates, d.duplicatesSQL(view)) +
		fmt.Sprintf("COMMENT ON VIEW %s IS 'tokens seen more than once';\n", duplicates) +
		fmt.Sprintf("GRANT SELECT ON %s, %s TO %s;\n", view, duplicates, analysts)
}

// duplicatesSQL is a part for each index. Values that mean "none" are no duplicates of each other.
func (d *Dataset) duplicatesSQL(view string) string {
	subjects := "NULL::bigint"
	if d.Subject != "" {
		subjects = "count(DISTINCT " + quote(d.Subject) + ")"
	}
	var parts []string
	for _, ix := range d.Indexes() {
		token := quote(ix.ViewColumn())
		parts = append(parts, fmt.Sprintf(
			"  SELECT %s::text AS field, %s::text AS index, %s AS token, count(*) AS rows, %s AS subjects,\n"+
				"         min(create_date) AS first_date, max(create_date) AS last_date\n"+
				"    FROM %s WHERE %[3]s <> %[6]s\n   GROUP BY %[3]s HAVING count(*) > 1",
			literal(ix.Member.Name), literal(ix.Kind), token, subjects, view, literal(NoToken)))
	}
	if len(parts) == 0 {
		return "  SELECT NULL::text AS field, NULL::text AS index, NULL::varchar(256) COLLATE \"C\" AS token, " +
			"NULL::bigint AS rows,\n" +
			"         NULL::bigint AS subjects, NULL::date AS first_date, NULL::date AS last_date\n   WHERE false"
	}
	return strings.Join(parts, "\n  UNION ALL\n")
}

// PartitionOf names the partition that holds a day, and its bounds: the first day in it, and the first one behind it.
func (d *Dataset) PartitionOf(day time.Time) (name string, from, to time.Time) {
	year, month, date := day.UTC().Date()
	if d.Partition == Daily {
		from = time.Date(year, month, date, 0, 0, 0, 0, time.UTC)
		return d.Table + from.Format("_2006_01_02"), from, from.AddDate(0, 0, 1)
	}
	from = time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
	return d.Table + from.Format("_2006_01"), from, from.AddDate(0, 1, 0)
}

// PartitionSQL makes the partition that holds a day. It is made apart and then attached, so that the parent is
// locked for no longer than it takes; an empty table need not be scanned.
func (d *Dataset) PartitionSQL(day time.Time) string {
	name, from, to := d.PartitionOf(day)
	return fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING ALL);\nALTER TABLE %[2]s ATTACH PARTITION %[1]s FOR "+
		"VALUES FROM ('%[3]s') TO ('%[4]s');\n",
		qualified(name), qualified(d.Table), from.Format(time.DateOnly), to.Format(time.DateOnly))
}

// AddVersionSQL adds the token columns of another version of the index key, as a reindex begins: no CHECK yet,
// because the rows that are there have no token under it.
func (d *Dataset) AddVersionSQL(version uint32) string {
	var adds []string
	for _, c := range d.tokenColumns(version) {
		adds = append(adds, "ADD COLUMN "+columnSQL(c))
	}
	if len(adds) == 0 {
		return ""
	}
	return fmt.Sprintf("ALTER TABLE %s %s;\n", qualified(d.Table), strings.Join(adds, ", "))
}

// CheckVersionSQL adds the CHECKs of a version once every row has its tokens. They are validated apart, which reads the
// rows but locks nobody out.
func (d *Dataset) CheckVersionSQL(version uint32) (add, validate string) {
	for _, ix := range d.Indexes() {
		c := tokenCheck(ix, version)
		add += fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT %s CHECK (%s) NOT VALID;\n", qualified(d.Table),
			quote(c.name), c.condition)
		validate += fmt.Sprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s;\n", qualified(d.Table), quote(c.name))
	}
	return add, validate
}

// DropVersionSQL drops the token columns of a version, and with them its indexes and CHECKs.
func (d *Dataset) DropVersionSQL(version uint32) string {
	var drops []string
	for _, c := range d.tokenColumns(version) {
		drops = append(drops, "DROP COLUMN "+quote(c.Name))
	}
	if len(drops) == 0 {
		return ""
	}
	return fmt.Sprintf("ALTER TABLE %s %s;\n", qualified(d.Table), strings.Join(drops, ", "))
}
