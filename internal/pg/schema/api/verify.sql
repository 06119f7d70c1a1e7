-- verify: what keys verify reads, and what it finds wrong around the rows.

CREATE OR REPLACE FUNCTION cloakroom.layout_problems() RETURNS TABLE (dataset text, part text, problem text,
  unreadable boolean)
-- The text of a view depends on how identifiers are quoted.
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
DECLARE
  run cloakroom.rotations;
  live integer[];
  kept integer[];  -- versions whose columns may stand
  shown integer;   -- the version that the views show
  change cloakroom.evolutions;
BEGIN
  -- A reindex changes its phase and the layout in one transaction. Wait for it, so that both are read from the same
  -- state.
  LOCK TABLE cloakroom.rotations IN SHARE MODE;
  SELECT * INTO run FROM cloakroom.rotations WHERE step = 'reindex' AND state = 'running';
  -- The change of a dataset may wait for a person for days: columns that go, indexes and views are of its last
  -- steps.
  SELECT e.* INTO change FROM cloakroom.evolutions e JOIN cloakroom.rotations r ON r.id = e.rotation
   WHERE r.state = 'running';
  live := cloakroom.live_versions();
  kept := live;
  IF run.id IS NULL THEN
    shown := live[1];
    IF cardinality(live) <> 1 THEN
      RETURN QUERY SELECT NULL::text, 'index keys', cardinality(live) || ' are live, and no reindex is under way',
        false;
    END IF;
  ELSE
    kept := kept || run.version;
    SELECT max(version) INTO shown FROM cloakroom.index_keys WHERE version < run.version AND state <> 'pending';
    IF run.phase IN ('old', 'drop') THEN
      kept := kept || shown;
      shown := run.version;
    END IF;
  END IF;

  RETURN QUERY
    SELECT c.dataset, 'column ' || c.column_name, 'it is missing, or not ' || w.type, true
      FROM (SELECT k.dataset, k.column_name, CASE k.kind WHEN 'sealed' THEN 'bytea' ELSE 'character varying(256)' END
        FROM cloakroom.dataset_columns k
             WHERE k.kind = 'sealed' OR k.kind = 'token' AND k.version = ANY (live)
            UNION ALL SELECT d.name, 'data_key', 'integer' FROM cloakroom.datasets d) AS c(dataset, column_name, type)
     CROSS JOIN LATERAL (SELECT c.type) AS w(type)
     WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = cloakroom.row_table(c.dataset)
       AND a.attname = c.column_name AND a.attnum > 0
                          AND NOT a.attisdropped AND format_type(a.atttypid, a.atttypmod) = w.type)
     ORDER BY 1, 2;

  RETURN QUERY
    SELECT d.name, 'column ' || a.attname,
      'it is no column of the definition, or of no live index key: who has that key can enumerate its tokens', false
      FROM cloakroom.datasets d JOIN pg_attribute a ON a.attrelid = cloakroom.row_table(d.name) AND a.attnum > 0
        AND NOT a.attisdropped
     WHERE a.attname <> ALL ('{row_id,sent,create_date,message_id,message_sent,data_key}')
       AND d.name IS DISTINCT FROM change.dataset
       AND NOT EXISTS (SELECT FROM cloakroom.dataset_columns c WHERE c.dataset = d.name AND c.column_name = a.attname
                          AND (c.kind <> 'token' OR c.version = ANY (kept)))
     ORDER BY 1, 2;

  -- Not of the version being made, whose indexes come after its tokens.
  RETURN QUERY
    SELECT d.name, 'index of ' || t.column_name,
      'there is none that is valid on every partition: look-ups read the whole table', false
      FROM cloakroom.datasets d CROSS JOIN LATERAL cloakroom.token_columns(d.name, live) AS t
     WHERE NOT (run.id IS NOT NULL AND t.version = run.version AND run.phase IN ('backfill', 'indexes'))
       AND d.name IS DISTINCT FROM change.dataset
       AND NOT EXISTS (SELECT FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
                        WHERE x.indrelid = cloakroom.row_table(d.name) AND a.attname = t.column_name
                          AND x.indnkeyatts = 1 AND x.indpred IS NULL AND x.indisvalid)
     ORDER BY 1, 2;

  -- What finds a person's rows, and a delivery's.
  RETURN QUERY
    SELECT d.name, 'index of ' || l.name,
      'there is none that is valid on every partition: look-ups read the whole table', false
      FROM cloakroom.datasets d
     CROSS JOIN LATERAL (VALUES (d.subject::name), (nullif((cloakroom.delivery(d)).sent, 'sent'))) AS l(name)
     WHERE l.name IS NOT NULL
       AND NOT EXISTS (SELECT FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
                        WHERE x.indrelid = cloakroom.row_table(d.name) AND a.attname = l.name
                          AND x.indpred IS NULL AND x.indisvalid)
     ORDER BY 1, 2;

  -- A reindex and a change of a dataset add CHECKs without looking at rows, and prove them before they end.
  RETURN QUERY
    SELECT n.dataset, 'constraint ' || n.con, 'it is not proven of the rows of ' || n.rel, false
      FROM cloakroom.not_valid_checks() AS n
     WHERE run.id IS NULL AND NOT EXISTS (SELECT FROM cloakroom.rotations e WHERE e.step = 'evolve'
       AND e.state = 'running')
     ORDER BY 1, 2, 3;

  -- The view's text as the database prints it (16 and later without the table's name before columns), against what it
  -- was made as.
  RETURN QUERY
    SELECT d.name, 'view public.' || d.table_name,
           'it does not show the tokens of index key v' || coalesce(shown::text, '?') ||
             ' of every row, each under its own name', false
      FROM cloakroom.datasets d
     WHERE d.name IS DISTINCT FROM change.dataset
       AND (EXISTS (SELECT FROM cloakroom.token_columns(d.name, ARRAY[shown]) AS t
                     WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass(format('public.%I',
                       d.table_name)) AND a.attname = t.view_column))
            OR cloakroom.bare_query(cloakroom.view_query(d.name, shown)) IS DISTINCT FROM
               cloakroom.bare_query(ltrim(pg_get_viewdef(to_regclass(format('public.%I', d.table_name))))))
     ORDER BY 1;
  RETURN QUERY
    SELECT d.name, 'view public.' || d.table_name || '_duplicates', 'it is missing', false
      FROM cloakroom.datasets d WHERE to_regclass(format('public.%I', d.table_name || '_duplicates')) IS NULL
        ORDER BY 1;
END $$;
COMMENT ON FUNCTION cloakroom.layout_problems() IS
  'what is wrong with columns, indexes and views, a reindex or a change under way allowed for; unreadable: rows '
  'cannot be read without it';
GRANT EXECUTE ON FUNCTION cloakroom.layout_problems() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.bare_query(p_query text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  -- Versions differ in white space and in whether "r." stands before a column and "AS" before r.
  SELECT regexp_replace(regexp_replace(regexp_replace(p_query,
    '[[:space:]]+(AS[[:space:]]+)?r[[:space:]]*;?[[:space:]]*$', ''), '[[:<:]]r[.]', '', 'g'), '[[:space:]]+', ' ', 'g')
$$;
COMMENT ON FUNCTION cloakroom.bare_query(text) IS 'a view''s query without what differs between versions of Postgres';

CREATE OR REPLACE FUNCTION cloakroom.orphan_rows(p_limit integer)
RETURNS TABLE (dataset text, row_id uuid, sent timestamptz, rejection boolean, data_key integer, state text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d text;
  held integer[];
  -- Keys under which rows may stand, as an array: row tables are not joined with local ones (Citus).
  good integer[] := ARRAY(SELECT k.id FROM cloakroom.data_keys k
                           WHERE k.state IN ('active', 'closed')
                              OR k.state = 'shredded' AND EXISTS (SELECT FROM cloakroom.rotations n
                                WHERE n.step = 'shred' AND n.state = 'running'));
BEGIN
  FOR d IN SELECT name FROM cloakroom.datasets ORDER BY name LOOP
    EXECUTE format('SELECT array_agg(DISTINCT u.data_key) FROM %s u WHERE u.data_key IS NOT NULL',
      cloakroom.row_table(d))
      INTO STRICT held;
    held := ARRAY(SELECT unnest(held) EXCEPT SELECT unnest(good));
    FOR dataset, row_id, sent, rejection, data_key IN EXECUTE format(
      'SELECT %L, u.row_id, u.sent, false, u.data_key FROM %s u WHERE u.data_key = ANY ($1) LIMIT $2',
      d, cloakroom.row_table(d)) USING held, p_limit LOOP
      state := (SELECT k.state FROM cloakroom.data_keys k WHERE k.id = data_key);
      RETURN NEXT;
    END LOOP;
  END LOOP;
  SELECT array_agg(DISTINCT j.data_key) INTO held FROM cloakroom.rejections j WHERE j.data_key IS NOT NULL;
  held := ARRAY(SELECT unnest(held) EXCEPT SELECT unnest(good));
  FOR dataset, row_id, sent, rejection, data_key IN
    SELECT j.dataset, j.message_id, j.sent, true, j.data_key
      FROM cloakroom.rejections j WHERE j.data_key = ANY (held) LIMIT p_limit LOOP
    state := (SELECT k.state FROM cloakroom.data_keys k WHERE k.id = data_key);
    RETURN NEXT;
  END LOOP;
END $$;
COMMENT ON FUNCTION cloakroom.orphan_rows(integer) IS
  'rows and rejections whose data key is missing, retired, or shredded without a shred that is about to clear them; '
  'p_limit of each kind';
GRANT EXECUTE ON FUNCTION cloakroom.orphan_rows(integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.scan_rows(
  p_dataset text, p_part date, p_after_sent timestamptz, p_after_id uuid, p_versions integer[], p_limit integer)
RETURNS TABLE (row_id uuid, sent timestamptz, create_date date, subject text, data_key integer, sealed bytea[],
  tokens text[])
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM cloakroom.page(p_dataset, p_part, p_after_sent, p_after_id, 'infinity', p_versions, 'true', NULL,
    p_limit)
$$;
COMMENT ON FUNCTION cloakroom.scan_rows(text, date, timestamptz, uuid, integer[], integer) IS
  'the next rows of a partition after a key, in key order, with the tokens of these versions';
GRANT EXECUTE ON FUNCTION cloakroom.scan_rows(text, date, timestamptz, uuid, integer[], integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.scan_rejections(p_after_id uuid, p_after_sent timestamptz, p_limit integer)
RETURNS TABLE (dataset text, message_id uuid, sent timestamptz, reason text, sealed_body bytea, data_key integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY
    SELECT j.dataset, j.message_id, j.sent, j.reason, j.sealed_body, j.data_key FROM cloakroom.rejections j
     WHERE (j.message_id, j.sent) > (p_after_id, p_after_sent) ORDER BY j.message_id, j.sent LIMIT p_limit;
END $$;
COMMENT ON FUNCTION cloakroom.scan_rejections(uuid, timestamptz,
  integer) IS 'the next rejections after a key, in its order';
GRANT EXECUTE ON FUNCTION cloakroom.scan_rejections(uuid, timestamptz, integer) TO cloakroom_rotator;
