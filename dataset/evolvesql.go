package dataset

import (
	"fmt"
	"strings"
)

// remains is where a value that stood in clear still is when its column is gone from the database.
var remains = []string{
	"the WAL, and the WAL archive, until what is older than this change is removed from it",
	"replicas that have not replayed the rewrite, and their own backups",
	"backups and dumps made before",
	"the server's logs, where statements or failing rows were logged",
	"pg_stat_statements and other extensions that keep statements: reset them",
	"free blocks of the file system and of its snapshots",
	"wherever analysts took it: exports, materialized views, other databases",
}

// noneLeft fails while a row has a value in clear.
func (p *planner) noneLeft(old *Member) string {
	var left []string
	for _, c := range old.clearColumns(0) {
		left = append(left, quote(c.Name)+" IS NOT NULL")
	}
	return fmt.Sprintf(`DO $cloakroom$
BEGIN
  IF EXISTS (SELECT FROM %s WHERE %s) THEN
    RAISE EXCEPTION 'rows still hold a member in clear that is to be protected'
      USING HINT = 'Run the backfill to its end first.';
  END IF;
END $cloakroom$;
`, qualified(p.new.Table), strings.Join(left, " OR "))
}

// PartitionIndexSQL makes the index of a token column on one partition without locking writers out, and then makes
// it a part of the parent's. Each of the two runs alone.
func (d *Dataset) PartitionIndexSQL(column, partition string) (create, attach string) {
	part := &Dataset{Table: partition}
	name := part.indexName(column)
	return fmt.Sprintf("CREATE INDEX CONCURRENTLY %s ON %s (%s);\n", quote(name), qualified(partition), quote(column)),
		fmt.Sprintf("ALTER INDEX %s ATTACH PARTITION %s;\n", qualified(d.indexName(column)), qualified(name))
}

// ReplaceViewsSQL drops the analysts' views, changes the table and makes them again, in one statement. DROP VIEW without
// CASCADE names what depends on them, and stops. Grants on the views and on columns that still are there are made
// again.
func (d *Dataset) ReplaceViewsSQL(version uint32, change string) string {
	view, duplicates := "public."+quote(d.Table), "public."+quote(d.DuplicatesView())
	var b strings.Builder
	fmt.Fprintf(&b, `DO $cloakroom$
DECLARE
  grants text[];
  statement text;
BEGIN
  SELECT array_agg(g.statement) INTO grants FROM (
    SELECT format('GRANT %%s ON public.%%I TO %%s%%s', a.privilege_type, c.relname,
                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement
      FROM pg_class AS c, aclexplode(c.relacl) AS a
     WHERE c.oid IN (to_regclass(%[1]s), to_regclass(%[2]s)) AND a.grantee <> c.relowner
    UNION ALL
    SELECT format('GRANT %%s (%%I) ON public.%%I TO %%s%%s', a.privilege_type, t.attname, c.relname,
                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM pg_class AS c JOIN pg_attribute AS t ON t.attrelid = c.oid, aclexplode(t.attacl) AS a
     WHERE c.oid IN (to_regclass(%[1]s), to_regclass(%[2]s)) AND a.grantee <> c.relowner
       AND (c.relname <> %[3]s OR t.attname = ANY (%[4]s::name[]))) AS g;
`, literal(view), literal(duplicates), literal(d.Table), literal("{"+strings.Join(d.ViewColumns(), ",")+"}"))
	fmt.Fprintf(&b, "  DROP VIEW IF EXISTS %s;\n  DROP VIEW IF EXISTS %s;\n", duplicates, view)
	b.WriteString(indent(change))
	b.WriteString(indent(d.viewsSQL("CREATE VIEW", version)))
	b.WriteString(`  FOREACH statement IN ARRAY coalesce(grants, '{}') LOOP
    EXECUTE statement;
  END LOOP;
END $cloakroom$;
`)
	return b.String()
}

func indent(sql string) string {
	var b strings.Builder
	for line := range strings.Lines(sql) {
		b.WriteString("  " + line)
	}
	return b.String()
}
