-- The row table: its months, its columns, and helpers for the rotation job. What names cloakroom.user_logins stands
-- here, in load, select, open, reseal, reindex*, shred, forget, verify and passes.

CREATE OR REPLACE FUNCTION cloakroom.make_month(p_date date) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  first_day date := date_trunc('month', p_date)::date;
  next_month date := (first_day + interval '1 month')::date;
  partition text := 'user_logins_' || to_char(first_day, 'YYYY_MM');
BEGIN
  IF to_regclass('cloakroom.' || partition) IS NOT NULL THEN
    RETURN false;
  END IF;
  -- CREATE TABLE IF NOT EXISTS fails when two sessions race, so lock and look again.
  LOCK TABLE cloakroom.partition_maker IN EXCLUSIVE MODE;
  IF to_regclass('cloakroom.' || partition) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE cloakroom.%I (LIKE cloakroom.user_logins INCLUDING ALL)', partition);
  -- ATTACH scans the new table, which is empty.
  EXECUTE format('ALTER TABLE cloakroom.user_logins ATTACH PARTITION cloakroom.%I FOR VALUES FROM (%L) TO (%L)',
                 partition, first_day, next_month);
  RETURN true;
END $$;
COMMENT ON FUNCTION cloakroom.make_month(date) IS
  'makes the partition for a month unless it is there; true if it made one';
GRANT EXECUTE ON FUNCTION cloakroom.make_month(date) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.make_months_ahead() RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT count(*) FILTER (WHERE cloakroom.make_month((date_trunc('month',
    now() AT TIME ZONE 'UTC') + n * interval '1 month')::date))::integer
    FROM generate_series(0, 3) AS n
$$;
COMMENT ON FUNCTION cloakroom.make_months_ahead() IS
  'makes this month and the three after it; returns how many were missing';
GRANT EXECUTE ON FUNCTION cloakroom.make_months_ahead() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.months() RETURNS TABLE (month date)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT to_date(right(c.relname, 7), 'YYYY_MM')
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
   WHERE i.inhparent = 'cloakroom.user_logins'::regclass AND c.relname ~ '^user_logins_\d{4}_\d{2}$'
   ORDER BY 1
$$;
COMMENT ON FUNCTION cloakroom.months() IS 'the months that have a partition';
GRANT EXECUTE ON FUNCTION cloakroom.months() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.month_partition(p_month date) RETURNS regclass
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT to_regclass('cloakroom.user_logins_' || to_char(p_month, 'YYYY_MM'))
$$;
COMMENT ON FUNCTION cloakroom.month_partition(date) IS 'the partition of a month; NULL if there is none';

CREATE OR REPLACE FUNCTION cloakroom.protected_fields() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT substr(attname, length('sealed_') + 1)::text FROM pg_attribute
   WHERE attrelid = 'cloakroom.user_logins'::regclass AND attname LIKE 'sealed\_%' AND attnum > 0 AND NOT attisdropped
   ORDER BY attnum
$$;
COMMENT ON FUNCTION cloakroom.protected_fields() IS 'members of user_logins that are sealed, in order';

CREATE OR REPLACE FUNCTION cloakroom.clear_fields() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT attname::text FROM pg_attribute
   WHERE attrelid = 'cloakroom.user_logins'::regclass AND attnum > 0 AND NOT attisdropped
     AND attname NOT LIKE 'sealed\_%' AND attname NOT LIKE 'masked\_%'
       AND attname NOT IN ('message_id', 'create_date', 'data_key')
   ORDER BY attnum
$$;
COMMENT ON FUNCTION cloakroom.clear_fields() IS
  'columns of user_logins that are stored in clear and may be asked for, in order';

CREATE OR REPLACE FUNCTION cloakroom.member_columns(p_members text[], p_prefix text, p_suffix text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  wanted text[];
  found integer;
BEGIN
  -- Names come from the client, so check that they are exactly the protected members of the table.
  SELECT array_agg(p_prefix || m || p_suffix ORDER BY n) INTO wanted FROM unnest(p_members) WITH ORDINALITY AS g(m, n);
  SELECT count(*) INTO found FROM pg_attribute
   WHERE attrelid = 'cloakroom.user_logins'::regclass AND attnum > 0 AND NOT attisdropped AND attname = ANY (wanted);
  IF found IS DISTINCT FROM cardinality(p_members) OR found IS DISTINCT FROM (
       SELECT count(*)::integer FROM pg_attribute
        WHERE attrelid = 'cloakroom.user_logins'::regclass AND attnum > 0 AND NOT attisdropped
          AND attname LIKE 'sealed\_%') THEN
    RAISE EXCEPTION 'the members named are not those of the table' USING ERRCODE = 'CR013',
      HINT = 'Run the program of the same version as the schema.';
  END IF;
  RETURN wanted;
END $$;
COMMENT ON FUNCTION cloakroom.member_columns(text[], text, text) IS
  'the columns of these members, which must be all protected members of the table';

CREATE OR REPLACE FUNCTION cloakroom.erasure() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- Every sealed value and every token of every version: whoever holds the index key can enumerate tokens.
  SELECT string_agg(format('%I = NULL', attname), ', ' ORDER BY attnum) FROM pg_attribute
   WHERE attrelid = 'cloakroom.user_logins'::regclass AND attnum > 0 AND NOT attisdropped
     AND (attname LIKE 'sealed\_%' OR attname LIKE 'masked\_%' OR attname = 'data_key')
$$;
COMMENT ON FUNCTION cloakroom.erasure() IS 'the SET list that erases a row of user_logins';

CREATE OR REPLACE FUNCTION cloakroom.short_name(p_name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN octet_length(p_name) <= 63 THEN p_name ELSE left(p_name, 50) || '_' || left(md5(p_name), 12) END
$$;
COMMENT ON FUNCTION cloakroom.short_name(text) IS 'a name of at most 63 bytes, which is what Postgres keeps';

CREATE OR REPLACE FUNCTION cloakroom.force_index_scan_if_unanalyzed(p_part regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- The planner takes a table that was never analysed, or analysed while empty, for a few rows, and would read it whole
  -- for each batch. Until commit, allow index scans only. Disabled plans get a huge cost, which would trigger JIT, so
  -- turn JIT off too.
  IF (SELECT reltuples FROM pg_class WHERE oid = p_part) <= 0 THEN
    PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
      set_config('jit', 'off', true);
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.force_index_scan_if_unanalyzed(regclass) IS
  'until commit, allows only index scans, if the table has no statistics';
