-- Verify: reading every row for keys verify, and what is wrong with columns, indexes and views.

CREATE OR REPLACE FUNCTION cloakroom.layout_problems(p_members text[])
RETURNS TABLE (part text, problem text, unreadable boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run cloakroom.rotations;
  live integer[];
  kept integer[];  -- versions whose columns may stand
  shown integer;   -- the version that the view shows
  view oid := to_regclass('public.user_logins');
  wanted text;
BEGIN
  -- A reindex changes its phase and the layout in one transaction. Wait for it, so that both are read from the same
  -- state.
  LOCK TABLE cloakroom.rotations IN SHARE MODE;
  SELECT * INTO run FROM cloakroom.rotations WHERE step = 'reindex' AND state = 'running';
  SELECT coalesce(array_agg(version ORDER BY version), '{}') INTO live FROM cloakroom.index_keys WHERE state = 'live';
  kept := live;
  IF run.id IS NULL THEN
    shown := live[1];
    IF cardinality(live) <> 1 THEN
      RETURN QUERY SELECT 'index keys', cardinality(live) || ' are live, and no reindex is under way', false;
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
    SELECT 'column ' || w.name, 'it is missing, or not ' || w.type, true
      FROM (SELECT 'sealed_' || m AS name, 'bytea' AS type FROM unnest(p_members) AS m
            UNION ALL SELECT 'masked_' || m || '_v' || v, 'character varying(256)'
              FROM unnest(p_members) AS m, unnest(live) AS v
            UNION ALL SELECT 'data_key', 'integer') AS w
     WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = 'cloakroom.user_logins'::regclass
       AND a.attname = w.name AND a.attnum > 0
                          AND NOT a.attisdropped AND format_type(a.atttypid, a.atttypmod) = w.type)
     ORDER BY 1;

  RETURN QUERY
    SELECT 'column ' || a.attname,
           'it holds tokens of no live index key, or values of no protected member: its holder can enumerate them',
           false
      FROM pg_attribute a
     WHERE a.attrelid = 'cloakroom.user_logins'::regclass AND a.attnum > 0 AND NOT a.attisdropped
       AND a.attname ~ '^(masked|sealed)_'
       AND a.attname <> ALL (ARRAY(SELECT 'sealed_' || m FROM unnest(p_members) AS m))
       AND a.attname <> ALL (ARRAY(SELECT 'masked_' || m || '_v' || v FROM unnest(p_members) AS m, unnest(kept) AS v))
     ORDER BY 1;

  -- Not of the version being made, whose indexes come after its tokens.
  RETURN QUERY
    SELECT 'index of masked_' || m || '_v' || v,
      'there is none that is valid on every partition: look-ups read the whole table', false
      FROM unnest(p_members) AS m, unnest(live) AS v
     WHERE NOT (run.id IS NOT NULL AND v = run.version AND run.phase IN ('backfill', 'indexes'))
       AND NOT EXISTS (SELECT FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
                        WHERE x.indrelid = 'cloakroom.user_logins'::regclass AND a.attname = 'masked_' || m || '_v' || v
                          AND x.indnkeyatts = 1 AND x.indpred IS NULL AND x.indisvalid)
     ORDER BY 1;

  -- Compare the view's text, as the database prints it, with what it was made from. Postgres 16 and later leave out the
  -- table's name before columns.
  SELECT 'SELECT' || string_agg(CASE WHEN substr(attname, 8) = ANY (p_members) AND attname LIKE 'masked\_%'
                                     THEN quote_ident(attname || '_v' || shown) || 'AS' || quote_ident(attname)
                                       ELSE quote_ident(attname) END, ',' ORDER BY attnum)
         || 'FROM@;'
    INTO wanted FROM pg_attribute WHERE attrelid = view AND attnum > 0 AND NOT attisdropped
     AND ARRAY(SELECT 'masked_' || m FROM unnest(p_members) AS m)
       <@ ARRAY(SELECT v.attname::text FROM pg_attribute v WHERE v.attrelid = view AND v.attnum > 0);
  IF view IS NULL OR wanted IS DISTINCT FROM replace(replace(regexp_replace(pg_get_viewdef(view), '\s', '', 'g'),
    'cloakroom.user_logins', '@'), 'user_logins.', '') THEN
    RETURN QUERY SELECT 'view public.user_logins',
      'it does not show the tokens of index key v' || coalesce(shown::text, '?')
        || ' of every row, each under its own name', false;
  END IF;
  IF to_regclass('public.user_login_duplicates') IS NULL THEN
    RETURN QUERY SELECT 'view public.user_login_duplicates', 'it is missing', false;
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.layout_problems(text[]) IS
  'what is wrong with columns, indexes and views, a reindex under way allowed for; unreadable: rows cannot be read '
  'without it';
GRANT EXECUTE ON FUNCTION cloakroom.layout_problems(text[]) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.orphan_rows(p_limit integer)
RETURNS TABLE (message_id uuid, data_key integer, state text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.message_id, r.data_key, k.state
    FROM (SELECT u.message_id, u.data_key FROM cloakroom.user_logins u WHERE u.data_key IS NOT NULL
          UNION ALL SELECT j.message_id, j.data_key FROM cloakroom.rejections j WHERE j.data_key IS NOT NULL) AS r
    LEFT JOIN cloakroom.data_keys k ON k.id = r.data_key
   WHERE k.id IS NULL OR k.state = 'retired'
      OR k.state = 'shredded' AND NOT EXISTS (SELECT FROM cloakroom.rotations n WHERE n.step = 'shred'
        AND n.state = 'running')
   LIMIT p_limit
$$;
COMMENT ON FUNCTION cloakroom.orphan_rows(integer) IS
  'rows and rejections whose data key is missing, retired, or shredded without a shred that is about to clear them';
GRANT EXECUTE ON FUNCTION cloakroom.orphan_rows(integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.scan_rows(p_month date, p_after_id uuid, p_after_date date, p_limit integer)
RETURNS SETOF cloakroom.user_logins
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Keyset order within one partition uses its primary key's index, without a sort.
  RETURN QUERY EXECUTE
    'SELECT * FROM cloakroom.user_logins
      WHERE create_date >= $1 AND create_date < $2 AND (message_id, create_date) > ($3, $4)
      ORDER BY message_id, create_date LIMIT $5'
    USING p_month, (p_month + interval '1 month')::date, p_after_id, p_after_date, p_limit;
END $$;
COMMENT ON FUNCTION cloakroom.scan_rows(date, uuid, date, integer) IS
  'the next rows of a month after a key, in key order';
GRANT EXECUTE ON FUNCTION cloakroom.scan_rows(date, uuid, date, integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.scan_rejections(p_after_id uuid, p_limit integer)
RETURNS SETOF cloakroom.rejections
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM cloakroom.rejections WHERE message_id > p_after_id ORDER BY message_id LIMIT p_limit
$$;
COMMENT ON FUNCTION cloakroom.scan_rejections(uuid, integer) IS 'the next rejections after an id, in its order';
GRANT EXECUTE ON FUNCTION cloakroom.scan_rejections(uuid, integer) TO cloakroom_rotator;
