-- rows: what the other functions know of a dataset's row table. Names come from the definition, never from a pattern.

CREATE OR REPLACE FUNCTION cloakroom.dataset_of(p_dataset text) RETURNS cloakroom.datasets
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d cloakroom.datasets;
  known text := (SELECT string_agg(name, ', ' ORDER BY name) FROM cloakroom.datasets);
BEGIN
  IF p_dataset IS NULL AND (SELECT count(*) FROM cloakroom.datasets) > 1 THEN
    RAISE EXCEPTION 'there are several datasets' USING ERRCODE = 'CR012', HINT = 'Name one with --dataset: ' || known ||
      '.';
  END IF;
  SELECT * INTO d FROM cloakroom.datasets WHERE name = coalesce(p_dataset, name);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no such dataset' USING ERRCODE = 'CR012',
      HINT = coalesce('Datasets: ' || known || '.', 'keys dataset apply makes one.');
  END IF;
  RETURN d;
END $$;
COMMENT ON FUNCTION cloakroom.dataset_of(text) IS 'a dataset by name; NULL: the only one there is';

CREATE OR REPLACE FUNCTION cloakroom.row_table(p_dataset text) RETURNS regclass
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('cloakroom_data.%I', table_name)::regclass FROM cloakroom.datasets WHERE name = p_dataset
$$;
COMMENT ON FUNCTION cloakroom.row_table(text) IS 'the table of a dataset''s rows';

CREATE OR REPLACE FUNCTION cloakroom.partitions(p_dataset text)
RETURNS TABLE (part regclass, from_date date, to_date date)
-- The bounds are text, in the session's DateStyle.
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD' AS $$
  SELECT c.oid::regclass, (b.bounds)[1]::date, (b.bounds)[2]::date
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
   CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid),
                                   'FROM [(]''(.+)''[)] TO [(]''(.+)''[)]') AS b(bounds)
   WHERE i.inhparent = cloakroom.row_table(p_dataset)
   ORDER BY 2
$$;
COMMENT ON FUNCTION cloakroom.partitions(text) IS
  'the partitions of a dataset''s rows, from one date to before another';

CREATE OR REPLACE FUNCTION cloakroom.partition_from(p_dataset text, p_from date) RETURNS regclass
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT part FROM cloakroom.partitions(p_dataset) WHERE from_date = p_from
$$;
COMMENT ON FUNCTION cloakroom.partition_from(text,
  date) IS 'the partition that begins on a date; NULL if there is none';

CREATE OR REPLACE FUNCTION cloakroom.partition_list(p_dataset text DEFAULT NULL)
RETURNS TABLE (dataset text, from_date date, to_date date)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT d.name, p.from_date, p.to_date FROM cloakroom.datasets d CROSS JOIN LATERAL cloakroom.partitions(d.name) AS p
   WHERE p_dataset IS NULL OR d.name = p_dataset ORDER BY 1, 2
$$;
COMMENT ON FUNCTION cloakroom.partition_list(text) IS 'the partitions of a dataset, or of all';
GRANT EXECUTE ON FUNCTION cloakroom.partition_list(text) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.partition_start(p_dataset text, p_date date) RETURNS date
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT date_trunc(partition_by, p_date::timestamp)::date FROM cloakroom.datasets WHERE name = p_dataset
$$;
COMMENT ON FUNCTION cloakroom.partition_start(text, date) IS 'first day of the partition that a date belongs to';

CREATE OR REPLACE FUNCTION cloakroom.make_partition(p_dataset text, p_date date) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d cloakroom.datasets := cloakroom.dataset_of(p_dataset);
  first_day date := cloakroom.partition_start(d.name, p_date);
  next_day date := (first_day + ('1 ' || d.partition_by)::interval)::date;
  partition text := d.table_name || to_char(first_day, CASE d.partition_by WHEN 'day' THEN '_YYYY_MM_DD'
    ELSE '_YYYY_MM' END);
BEGIN
  IF to_regclass(format('cloakroom_data.%I', partition)) IS NOT NULL THEN
    RETURN false;
  END IF;
  -- CREATE TABLE IF NOT EXISTS fails when two sessions race, so lock and look again.
  LOCK TABLE cloakroom.partition_maker IN EXCLUSIVE MODE;
  IF to_regclass(format('cloakroom_data.%I', partition)) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE cloakroom_data.%I (LIKE %s INCLUDING ALL)', partition, cloakroom.row_table(d.name));
  -- The table is empty, so ATTACH has nothing to scan.
  EXECUTE format('ALTER TABLE %s ATTACH PARTITION cloakroom_data.%I FOR VALUES FROM (%L) TO (%L)',
                 cloakroom.row_table(d.name), partition, first_day, next_day);
  RETURN true;
END $$;
COMMENT ON FUNCTION cloakroom.make_partition(text, date) IS
  'makes the partition that a date belongs to unless it is there; true if it made one';
GRANT EXECUTE ON FUNCTION cloakroom.make_partition(text, date) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.partitions_ahead() RETURNS TABLE (dataset text, from_date date)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- Three months, or a week of days, and the one that is running.
  SELECT d.name, (date_trunc(d.partition_by, now() AT TIME ZONE 'UTC') + n * ('1 ' || d.partition_by)::interval)::date
    FROM cloakroom.datasets d
   CROSS JOIN LATERAL generate_series(0, CASE d.partition_by WHEN 'day' THEN 7 ELSE 3 END) AS n
$$;
COMMENT ON FUNCTION cloakroom.partitions_ahead() IS 'the partitions that should be there today';

CREATE OR REPLACE FUNCTION cloakroom.make_partitions_ahead() RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT count(*) FILTER (WHERE cloakroom.make_partition(a.dataset, a.from_date))::integer
    FROM cloakroom.partitions_ahead() AS a
$$;
COMMENT ON FUNCTION cloakroom.make_partitions_ahead() IS
  'makes the running partition of each dataset and those after it; returns how many were missing';
GRANT EXECUTE ON FUNCTION cloakroom.make_partitions_ahead() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.sealed_members(p_dataset text) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT member FROM cloakroom.dataset_columns WHERE dataset = p_dataset AND kind = 'sealed' ORDER BY position
$$;
COMMENT ON FUNCTION cloakroom.sealed_members(text) IS 'members of a dataset that are sealed, in order';

CREATE OR REPLACE FUNCTION cloakroom.clear_columns(p_dataset text) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT column_name::text FROM cloakroom.dataset_columns WHERE dataset = p_dataset AND kind IN ('clear', 'reveal')
    ORDER BY position
$$;
COMMENT ON FUNCTION cloakroom.clear_columns(text) IS
  'columns of a dataset that are stored in clear and may be asked for, in order';

CREATE OR REPLACE FUNCTION cloakroom.token_columns(p_dataset text, p_versions integer[])
RETURNS TABLE (n bigint, column_name name, member text, index_name text, version integer, view_column name)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT row_number() OVER (ORDER BY version, position), column_name, member, index_name, version, view_column
    FROM cloakroom.dataset_columns WHERE dataset = p_dataset AND kind = 'token' AND version = ANY (p_versions)
   ORDER BY version, position
$$;
COMMENT ON FUNCTION cloakroom.token_columns(text, integer[]) IS
  'token columns of these versions of the index key: version by version, member by member, index by index';

CREATE OR REPLACE FUNCTION cloakroom.leaving_columns(p_dataset text) RETURNS SETOF name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT a.attname FROM cloakroom.evolutions e JOIN cloakroom.rotations r ON r.id = e.rotation AND r.state = 'running'
    JOIN pg_attribute a ON a.attrelid = cloakroom.row_table(e.dataset) AND a.attnum > 0 AND NOT a.attisdropped
   WHERE e.dataset = p_dataset AND a.attname <> ALL ('{row_id,sent,create_date,message_id,message_sent,data_key}')
     AND NOT EXISTS (SELECT FROM cloakroom.dataset_columns c WHERE c.dataset = p_dataset AND c.column_name = a.attname)
$$;
COMMENT ON FUNCTION cloakroom.leaving_columns(text) IS
  'columns that the definition no longer has, and that a change drops with its last steps: analysts see them until '
  'then';

CREATE OR REPLACE FUNCTION cloakroom.erasure(p_dataset text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- Every sealed value, what is revealed of it, and every token, of whichever version: tokens can be enumerated with
  -- the index key.
  SELECT string_agg(format('%I = NULL', c), ', ') FROM (
    SELECT column_name AS c FROM cloakroom.dataset_columns WHERE dataset = p_dataset AND kind IN ('sealed', 'reveal',
      'token')
    UNION ALL SELECT cloakroom.leaving_columns(p_dataset)
    UNION ALL SELECT 'data_key') AS erased
$$;
COMMENT ON FUNCTION cloakroom.erasure(text) IS 'the SET list that erases a row of a dataset';

CREATE OR REPLACE FUNCTION cloakroom.erasable(p_dataset text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT concat_ws(' OR ', '(u.data_key IS NOT NULL',
    (SELECT string_agg(format('u.%I IS NOT NULL', l), ' OR ') FROM cloakroom.leaving_columns(p_dataset) AS l)) || ')'
$$;
COMMENT ON FUNCTION cloakroom.erasable(text) IS 'the condition that a row u of a dataset has something to erase';

CREATE OR REPLACE FUNCTION cloakroom.renew_statistics(p_dataset text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
  -- Statistics hold values of rows: what is revealed, tokens, sealed values as they were. Autovacuum gathers those of
  -- partitions again when many rows changed, and those of the parent never.
  EXECUTE format('ANALYZE %s', cloakroom.row_table((cloakroom.dataset_of(p_dataset)).name));
END $$;
COMMENT ON FUNCTION cloakroom.renew_statistics(text) IS
  'gathers the statistics of a dataset''s rows again: after erasing, they hold what was erased';
GRANT EXECUTE ON FUNCTION cloakroom.renew_statistics(text) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.subject_of(p_dataset text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- format refuses a NULL identifier.
  SELECT CASE WHEN subject IS NULL THEN 'NULL::text' ELSE format('u.%I::text', subject) END
    FROM cloakroom.datasets WHERE name = p_dataset
$$;
COMMENT ON FUNCTION cloakroom.subject_of(text) IS 'the expression for whose a row u is';

CREATE OR REPLACE FUNCTION cloakroom.force_index_scan_if_unanalyzed(p_part regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- A table that was never analysed, or while it was empty, is taken for a few rows and read whole for each batch.
  -- Until commit, allow index scans only. Disabled plans get a huge cost, which would trigger JIT, so turn JIT off too.
  IF (SELECT reltuples FROM pg_class WHERE oid = p_part) <= 0 THEN
    PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
      set_config('jit', 'off', true);
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.force_index_scan_if_unanalyzed(regclass) IS
  'until commit, allows index scans only if the table has no statistics';

CREATE OR REPLACE FUNCTION cloakroom.page(
  p_dataset text, p_from date, p_after_sent timestamptz, p_after_id uuid, p_last_sent timestamptz, p_versions integer[],
    p_where text,
  p_keys integer[], p_limit integer)
RETURNS TABLE (row_id uuid, sent timestamptz, create_date date, subject text, data_key integer, sealed bytea[],
  tokens text[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  part regclass := cloakroom.partition_from(p_dataset, p_from);
BEGIN
  IF part IS NULL THEN
    RETURN;
  END IF;
  PERFORM cloakroom.force_index_scan_if_unanalyzed(part);
  -- Keyset order of the primary key: its index, and no sort.
  RETURN QUERY EXECUTE format(
    'SELECT u.row_id, u.sent, u.create_date, %s, u.data_key, ARRAY[%s]::bytea[], ARRAY[%s]::text[] FROM %s u
      WHERE (u.sent, u.row_id) > ($1, $2) AND u.sent < $3 AND %s ORDER BY u.sent, u.row_id LIMIT $5',
    cloakroom.subject_of(p_dataset),
    (SELECT string_agg(format('u.%I', c.column_name), ', ' ORDER BY c.position) FROM cloakroom.dataset_columns c
      WHERE c.dataset = p_dataset AND c.kind = 'sealed'),
    (SELECT string_agg(format('u.%I', t.column_name), ', ' ORDER BY t.n) FROM cloakroom.token_columns(p_dataset,
      p_versions) t),
    part, p_where)
    USING p_after_sent, p_after_id, p_last_sent, p_keys, p_limit;
END $$;
COMMENT ON FUNCTION cloakroom.page(text, date, timestamptz, uuid, timestamptz, integer[], text, integer[], integer) IS
  'the next rows of a partition in the order of its key, in the one shape that every pass reads: sealed values in '
  'the order of the members, tokens in that of token_columns(); $4 of the condition is p_keys';

CREATE OR REPLACE FUNCTION cloakroom.short_name(p_name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN octet_length(p_name) <= 63 THEN p_name ELSE left(p_name, 50) || '_' || left(md5(p_name), 12) END
$$;
COMMENT ON FUNCTION cloakroom.short_name(text) IS 'a name of at most 63 bytes, which is what Postgres keeps';
