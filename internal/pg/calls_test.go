package pg_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
)

// Each function runs in a vault with two datasets. An ambiguous column, a type that has no operator or a wrong number
// of columns shows only when a statement runs.
func TestEachFunctionRuns(t *testing.T) {
	t.Parallel()
	v := newTwoDatasets(t)
	for _, d := range v.datasets {
		key := v.newKey("ingest", d)
		if err := v.load(d, key, func() {
			v.stageRow(d, key, v.now)
			v.stageRow(d, key, v.now)
			v.stageRejection(d, key)
		}); err != nil {
			t.Fatal(err)
		}
		v.do("ingest", `SELECT cloakroom.registered_data_key($1), cloakroom.fix_source($2, $3, current_date)`, key,
			d.Name+".ndjson", d.Name)
		v.do("ingest", `SELECT cloakroom.fix_sources($1, ARRAY[$2], ARRAY[current_date])`, d.Name, "s3://b/"+d.Name+"#1")
		v.do("ingest", `SELECT cloakroom.note_sources($1, ARRAY[$2], ARRAY[7], ARRAY[true])`, d.Name, "s3://b/"+d.Name+"#1")
	}
	readings(v)
	for _, d := range v.datasets {
		openings(v, d)
	}
	for _, d := range v.datasets {
		leakages(v, d)
	}
	reseal(v)
	reindex(v)
	forget(v)
	shred(v)
	if n := get[int](v, "rotator", `SELECT count(*) FROM cloakroom.layout_problems()`); n != 0 {
		t.Errorf("%d problems of the layout", n)
	}
	for _, db := range v.sessions {
		db.Close() // sessions hand in their counts as they end
	}
	// What these are called by, or that nothing calls them but a trigger that refuses, stands elsewhere.
	elsewhere := []string{"refuse_change", "audit_node_id", "short_name"}
	var missing []string
	for range 50 {
		missing = nil
		if err := v.Open(t, "").Select(&missing, `
			SELECT p.proname FROM pg_proc p LEFT JOIN pg_stat_user_functions s ON s.funcid = p.oid
			 WHERE p.pronamespace = 'cloakroom'::regnamespace AND coalesce(s.calls, 0) = 0 ORDER BY 1`); err != nil {
			t.Fatal(err)
		}
		missing = slices.DeleteFunc(missing, func(name string) bool {
			return slices.Contains(elsewhere, name) || slices.Contains(definedIn(t, "evolve"), name) ||
				slices.Contains(definedIn(t, "evolve_rows"), name) || slices.Contains(definedIn(t, "evolve_gate"), name)
		})
		if len(missing) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("functions that did not run: %v", missing)
}

// definedIn lists the functions of a file of api/.
func definedIn(t *testing.T, topic string) (names []string) {
	for _, d := range definition.FindAllStringSubmatch(read(t, "schema/api/"+topic+".sql"), -1) {
		names = append(names, strings.TrimPrefix(d[1], "cloakroom."))
	}
	return names
}

// readings are functions that change little, or nothing.
func readings(v *twoDatasets) {
	v.t.Helper()
	for role, queries := range map[string][]string{
		"rotator": {
			`SELECT cloakroom.make_partitions_ahead()`, `SELECT * FROM cloakroom.partition_list()`,
			`SELECT * FROM cloakroom.rotation_plan(now())`, `SELECT * FROM cloakroom.data_key_list()`,
			`SELECT * FROM cloakroom.keys_made_before()`, `SELECT * FROM cloakroom.index_key_list()`,
			`SELECT * FROM cloakroom.wrapped_data_key(1)`, `SELECT * FROM cloakroom.key_ages()`,
			`SELECT cloakroom.purge_rejections(clock_timestamp())`, `SELECT cloakroom.old_rejections()`,
			`SELECT * FROM cloakroom.orphan_rows(10)`, `SELECT * FROM cloakroom.index_version_in_making()`,
			`SELECT * FROM cloakroom.scan_rejections('00000000-0000-0000-0000-000000000000', '-infinity', 10)`,
			`SELECT (cloakroom.scan_rows(p.dataset, p.from_date, '-infinity', '00000000-0000-0000-0000-000000000000', '{1}', 9)).*
			   FROM cloakroom.partition_list() AS p`,
			`SELECT cloakroom.rewrap_keys('kek', array_agg(purpose), array_agg(id), array_agg(wrapped),
			   array_agg(wrapped || '\x00'::bytea)) FROM cloakroom.wrapped_keys()`,
			`SELECT cloakroom.restore_key(r.id, w.wrapped) FROM cloakroom.replaced_keys() AS r
			   JOIN cloakroom.wrapped_keys() AS w ON w.purpose = r.purpose AND w.id = r.key`,
			`SELECT cloakroom.purge_replaced_keys()`,
			`SELECT * FROM cloakroom.rotation_running('shred')`, `SELECT * FROM cloakroom.policy()`,
			`SELECT cloakroom.quarantine_rows('reseal', 'order', true, ARRAY[gen_random_uuid()], ARRAY[now()], '{1}', '{no}')`,
			`SELECT * FROM cloakroom.quarantined('reseal')`, `SELECT cloakroom.renew_statistics('order')`,
		},
		"auditor": {
			`SELECT * FROM cloakroom.rejection_counts()`, `SELECT * FROM cloakroom.rejection_list(NULL, 10, 'order')`,
			`SELECT * FROM cloakroom.live_index_keys()`, `SELECT * FROM cloakroom.dataset_definitions()`,
		},
		"witness": {
			`SELECT * FROM cloakroom.log_leaves(0, 10)`, `SELECT * FROM cloakroom.log_nodes('{0}')`,
			`SELECT * FROM cloakroom.schema_version()`, `SELECT * FROM cloakroom.grants()`,
			`SELECT * FROM cloakroom.keks()`,
		},
		"owner": {`SELECT cloakroom.set_policy('row_limit', '50')`},
	} {
		for _, query := range queries {
			v.do(role, query)
		}
	}
	// The owner makes no roles: this is the login of keys init.
	v.sessions["init"] = v.Open(v.t, "")
	v.Login(v.t, "somebody")
	v.do("owner", `SELECT cloakroom.add_kek('file:///other', 'other')`)
	v.do("owner", `SELECT cloakroom.close_kek('other')`)
	v.do("init", `SELECT cloakroom.grant_role($1, 'auditor')`, v.Role("somebody"))
	v.do("init", `SELECT cloakroom.revoke_role($1, 'auditor')`, v.Role("somebody"))
	size := get[int64](v, "witness", `SELECT cloakroom.log_size()`)
	v.do("witness", `SELECT cloakroom.record_checkpoint($1, $2, 'note')`, size,
		get[[]byte](v, "owner", `SELECT cloakroom.log_root($1)`, size))
	if n := get[int](v, "rotator", `SELECT rows FROM cloakroom.rotation_plan(now())`); n != 4 {
		v.t.Errorf("the plan has %d rows, want 4", n)
	}
}

// leakages are the functions that say what an index gives away.
func leakages(v *twoDatasets, d *dataset.Dataset) {
	v.t.Helper()
	ix := d.Indexes()[0]
	column, clear := ix.TokenColumn(1), pq.StringArray{d.Subject}
	month := get[time.Time](v, "rotator", `SELECT month FROM cloakroom.leakage_span($1, $2)`, d.Name, column)
	v.do("rotator", `SELECT * FROM cloakroom.measure_index($1, $2, $3)`, d.Name, ix.Member.Name, ix.Kind)
	v.do("rotator", `SELECT * FROM cloakroom.leakage_figures()`)
	v.do("rotator", `SELECT * FROM cloakroom.leakage_values($1, $2, $3)`, d.Name, clear, month)
	v.do("rotator", `SELECT * FROM cloakroom.leakage_pairs($1, $2, $3, 10)`, d.Name, column, month)
	if n := get[int](v, "rotator", `SELECT count(*) FROM cloakroom.leakage_counts($1, $2, $3, $4, true, 10)`, d.Name,
		pq.StringArray{column}, clear, month); n != 4 { // nothing, alone, a cell, a token
		v.t.Errorf("%s: %d parts of counts, want 4", d.Name, n)
	}
	if n := get[int](v, "rotator", `SELECT rows FROM cloakroom.token_rows($1, $2, $3, $4)`, d.Name, column, month,
		pq.StringArray{strings.Repeat("t", 22), "x"}); n != 2 {
		v.t.Errorf("%s: %d rows have the token, want 2", d.Name, n)
	}
}

// openings ask for rows by each selector, and open them.
func openings(v *twoDatasets, d *dataset.Dataset) {
	v.t.Helper()
	fields := pq.StringArray{d.Protected()[0].Name, d.Subject, "body"}
	approve := func(id string) {
		v.do("approver", `SELECT cloakroom.approve($1, (SELECT digest FROM cloakroom.show_request($1)))`, id)
	}
	open := func(id string) int {
		v.do("auditor", `SELECT * FROM cloakroom.begin_opening($1)`, id)
		v.do("auditor", `SELECT cloakroom.confirm_opening($1)`, id)
		v.do("auditor", `SELECT * FROM cloakroom.handed_key($1, 1)`, id)
		v.do("auditor", `BEGIN`)
		v.do("auditor", `SELECT * FROM cloakroom.hand_out($1, 'handed')`, id)
		result, err := v.sessions["auditor"].Exec(`FETCH ALL FROM handed`)
		if err != nil {
			v.t.Fatal(err)
		}
		n, _ := result.RowsAffected()
		v.do("auditor", `COMMIT`)
		v.do("auditor", `SELECT cloakroom.note_kms_calls($1, ARRAY['Decrypt seal 1 -'])`, id)
		v.do("auditor", `SELECT cloakroom.close_opening($1, $2, 'ok')`, id, n)
		return int(n)
	}
	for selector, want := range map[string]int{
		`p_subject => '` + subject + `'`:                                     3,
		`p_tokens => ARRAY['` + strings.Repeat("t", 22) + `']`:               2,
		`p_message => '` + subject + `', p_from => '2020-01-01'`:             0,
		`p_row => '` + subject + `', p_to => '2099-01-01'`:                   0,
		`p_tokens => ARRAY['` + strings.Repeat("x", 22) + `']`:               0,
		`p_fields => ARRAY['body'], p_rejection => 'bad_date', p_limit => 9`: 1,
	} {
		named := selector
		if !strings.Contains(selector, "p_fields") {
			named = `p_fields => $1, ` + selector
		} else {
			named = strings.Replace(selector, `ARRAY['body']`, `($1::text[])[3:3]`, 1)
		}
		id := get[string](v, "auditor", `SELECT cloakroom.request(p_purpose => 'fraud', p_ticket => 'T', p_reason => 'R',
			p_dataset => '`+d.Name+`', `+named+`)`, fields)
		approve(id)
		if n := open(id); n != want {
			v.t.Errorf("%s by %s: %d rows, want %d", d.Name, selector, n, want)
		}
	}
	// During a reindex the others of a token are looked up. Of a token that is none nothing may come, least of all every
	// row.
	if _, err := v.sessions["auditor"].Exec(`SELECT cloakroom.request('fraud', 'T', 'R', $1, $2, p_tokens => '{NULL}',
		p_from => '2020-01-01')`, fields, d.Name); pg.Code(err) != pg.RequestRefused {
		v.t.Errorf("a request by no token: %v", err)
	}
	v.do("auditor", `SELECT * FROM cloakroom.request_list(false, true)`)
	id := get[string](v, "auditor", `SELECT cloakroom.request('fraud', 'T', 'R', $1, $2, p_subject => $3)`, fields, d.Name, subject)
	v.do("auditor", `SELECT cloakroom.note_refusal($1, 'no')`, id)
	v.do("approver", `SELECT cloakroom.deny($1, 'no')`, id)
	id = get[string](v, "breakglass", `SELECT cloakroom.request('fraud', 'T', 'R', $1, $2, p_subject => $3, p_breakglass => true)`,
		fields, d.Name, subject)
	v.do("approver", `SELECT cloakroom.review($1)`, id)
	v.do("approver", `SELECT cloakroom.expire_requests()`)
}
