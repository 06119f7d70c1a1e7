-- Loading, the only way into user_logins and rejections: COPY into a staging table that the owner made, then load().

CREATE OR REPLACE FUNCTION cloakroom.stage(p_transient boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  on_commit text := CASE WHEN p_transient THEN 'DROP' ELSE 'DELETE ROWS' END;
BEGIN
  -- This function runs as the owner, so the owner owns them. The caller may only insert.
  DROP TABLE IF EXISTS pg_temp.cloakroom_stage, pg_temp.cloakroom_stage_rejections;
  EXECUTE 'CREATE TEMPORARY TABLE cloakroom_stage (LIKE cloakroom.user_logins) ON COMMIT ' || on_commit;
  EXECUTE 'CREATE TEMPORARY TABLE cloakroom_stage_rejections (LIKE cloakroom.rejections INCLUDING DEFAULTS) ON COMMIT '
    || on_commit;
  GRANT INSERT ON pg_temp.cloakroom_stage, pg_temp.cloakroom_stage_rejections TO cloakroom_ingest;
END $$;
COMMENT ON FUNCTION cloakroom.stage(boolean) IS
  'makes the session''s staging tables anew; transient: they go with the transaction, as a pooler in transaction mode '
  'needs';
GRANT EXECUTE ON FUNCTION cloakroom.stage(boolean) TO cloakroom_ingest;

CREATE OR REPLACE FUNCTION cloakroom.require_staging(p_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Anybody's view, foreign table, or table with rules, triggers or policies, planted under this name, would run code
  -- as the owner.
  PERFORM FROM pg_class c
    WHERE c.relname = p_name AND c.relnamespace = pg_my_temp_schema()
      AND c.relkind = 'r' AND c.relpersistence = 't'
      AND c.relowner = 'cloakroom_owner'::regrole
      AND NOT (c.relhasrules OR c.relhastriggers OR c.relhassubclass OR c.relrowsecurity);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the staging table % is missing or is not one that cloakroom.stage() made', p_name
      USING ERRCODE = 'CR004', HINT = 'Call cloakroom.stage() in this session first.';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_staging(text) IS 'refuses a staging table that stage() did not make';

CREATE OR REPLACE FUNCTION cloakroom.require_data_keys(p_ids integer[], p_checks bytea[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  bad integer;
BEGIN
  -- After a restore or a failover an id may belong to another key or to none, so the key check decides.
  IF cardinality(p_ids) IS DISTINCT FROM cardinality(p_checks) THEN
    RAISE EXCEPTION 'there are % data-key ids and % key checks', cardinality(p_ids), cardinality(p_checks)
      USING ERRCODE = 'CR002';
  END IF;
  SELECT g.id INTO bad
    FROM unnest(p_ids, p_checks) AS g(id, key_check)
    LEFT JOIN cloakroom.data_keys k ON k.id = g.id AND k.key_check = g.key_check AND k.state = 'active'
   WHERE k.id IS NULL LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'data key % is not an active key of this vault, or not this one', bad USING ERRCODE = 'CR002';
  END IF;
  SELECT s.data_key INTO bad
    FROM pg_temp.cloakroom_stage s
    LEFT JOIN cloakroom.data_keys k ON k.id = s.data_key AND k.id = ANY (p_ids)
          AND s.create_date >= k.month AND s.create_date < k.month + interval '1 month'
   WHERE k.id IS NULL LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'data key % is not registered for the month of a row that it sealed', bad USING ERRCODE = 'CR002';
  END IF;
  SELECT s.data_key INTO bad
    FROM pg_temp.cloakroom_stage_rejections s WHERE NOT coalesce(s.data_key = ANY (p_ids), false) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'data key % sealed a rejection and is not among the load''s keys', bad USING ERRCODE = 'CR002';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_data_keys(integer[], bytea[]) IS
  'refuses a load under a data key that is not active, not of the row''s month, or another than the writer''s';

CREATE OR REPLACE FUNCTION cloakroom.load(
  p_epoch bigint, p_now timestamptz, p_key_ids integer[], p_key_checks bytea[], p_first boolean DEFAULT false,
  OUT stored bigint, OUT duplicates bigint, OUT rejections jsonb)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  staged bigint;
  staged_rejections bigint;
  rejected bigint := 0;
  seen integer;
  first_date date;
  last_date date;
  columns text;
  insert_staged text;
BEGIN
  -- First, before waiting for any lock: waiting must not look like a difference of clocks.
  PERFORM cloakroom.require_clock(p_now);
  PERFORM cloakroom.require_staging('cloakroom_stage');
  PERFORM cloakroom.require_staging('cloakroom_stage_rejections');
  PERFORM cloakroom.require_epoch(p_epoch);
  PERFORM cloakroom.require_data_keys(p_key_ids, p_key_checks);
  PERFORM cloakroom.require_durable_commit();
  seen := cloakroom.observe_day();

  SELECT count(*), min(create_date), max(create_date) INTO staged, first_date, last_date FROM pg_temp.cloakroom_stage;
  SELECT count(*) INTO staged_rejections FROM pg_temp.cloakroom_stage_rejections;
  IF staged > 0 THEN
    -- The loader has judged each day, so allow a day on either side: midnight may have passed since. Further outside,
    -- its policy is out of date or it held the batch for long, and it judges again. It is never the event's fault.
    PERFORM FROM cloakroom.settings s
      WHERE first_date >= (p_now AT TIME ZONE 'UTC')::date - s.days_back - 1
        AND last_date <= (p_now AT TIME ZONE 'UTC')::date + s.days_ahead + 1;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'a create_date lies outside the policy''s window: the writer''s policy or its batch is old'
        USING ERRCODE = 'CR001';
    END IF;
    PERFORM cloakroom.make_month(m::date)
      FROM generate_series(date_trunc('month', first_date::timestamp), last_date::timestamp, interval '1 month') AS m
     WHERE EXISTS (SELECT FROM pg_temp.cloakroom_stage s WHERE s.create_date >= m
       AND s.create_date < m + interval '1 month');
  END IF;

  -- Columns are matched by name: reindex adds and drops some, and the staging table may be older or newer than that.
  -- The lock freezes them from here on.
  LOCK TABLE ONLY cloakroom.user_logins IN ROW EXCLUSIVE MODE;
  SELECT string_agg(quote_ident(t.attname), ', ' ORDER BY t.attnum) INTO columns
    FROM pg_attribute t
    JOIN pg_attribute s ON s.attname = t.attname AND s.attrelid = 'pg_temp.cloakroom_stage'::regclass AND s.attnum > 0
      AND NOT s.attisdropped
   WHERE t.attrelid = 'cloakroom.user_logins'::regclass AND t.attnum > 0 AND NOT t.attisdropped;
  -- In key order, so that loads of overlapping batches wait for each other instead of deadlocking.
  insert_staged := format(
    'INSERT INTO cloakroom.user_logins (%1$s) SELECT %1$s FROM pg_temp.cloakroom_stage s
      WHERE NOT EXISTS (SELECT FROM cloakroom.rejections r WHERE r.message_id = s.message_id)
      ORDER BY s.message_id, s.create_date', columns);
  -- ON CONFLICT costs a third more: it looks each row up first and writes it to the WAL twice. A first delivery rarely
  -- needs it. If a row exists all the same, the attempt is rolled back and repeated with it.
  BEGIN
    IF NOT coalesce(p_first, false) THEN
      RAISE unique_violation;
    END IF;
    EXECUTE insert_staged;
    GET DIAGNOSTICS stored = ROW_COUNT;
  EXCEPTION WHEN unique_violation THEN
    EXECUTE insert_staged || ' ON CONFLICT DO NOTHING';
    GET DIAGNOSTICS stored = ROW_COUNT;
  END;

  rejections := '{}';
  IF staged_rejections > 0 THEN
    WITH new AS (
      INSERT INTO cloakroom.rejections (message_id, reason, user_id, create_date, receive_count, sealed_body, data_key,
        observed_day)
        SELECT s.message_id, s.reason, s.user_id, s.create_date, s.receive_count, s.sealed_body, s.data_key, seen
          FROM pg_temp.cloakroom_stage_rejections s
         WHERE NOT EXISTS (SELECT FROM cloakroom.user_logins u WHERE u.message_id = s.message_id
           AND u.create_date = s.create_date)
           -- Without a date every month is searched. That is rare, and a separate condition, so that the others search
           -- one.
           AND (s.create_date IS NOT NULL OR NOT EXISTS (SELECT FROM cloakroom.user_logins u
             WHERE u.message_id = s.message_id))
         ORDER BY s.message_id
      ON CONFLICT DO NOTHING
      RETURNING reason)
    SELECT coalesce(sum(n), 0), coalesce(jsonb_object_agg(reason, n), '{}') INTO rejected, rejections
      FROM (SELECT reason, count(*) AS n FROM new GROUP BY reason) AS by_reason;
  END IF;
  duplicates := staged + staged_rejections - stored - rejected;
END $$;
COMMENT ON FUNCTION cloakroom.load(bigint, timestamptz, integer[], bytea[], boolean) IS
  'moves what was staged into user_logins and rejections, under the fence, if the loader''s clock agrees; rows '
  'already there are dropped and counted as duplicates; p_first: hardly any are';
GRANT EXECUTE ON FUNCTION cloakroom.load(bigint, timestamptz, integer[], bytea[], boolean) TO cloakroom_ingest;

CREATE OR REPLACE FUNCTION cloakroom.fix_source(p_name text, p_date date) RETURNS date
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  fixed date;
BEGIN
  INSERT INTO cloakroom.sources (name, create_date) VALUES (p_name, p_date) ON CONFLICT DO NOTHING;
  SELECT create_date INTO STRICT fixed FROM cloakroom.sources WHERE name = p_name;
  RETURN fixed;
END $$;
COMMENT ON FUNCTION cloakroom.fix_source(text, date) IS
  'records a source and its date; returns the date that its first run fixed';
GRANT EXECUTE ON FUNCTION cloakroom.fix_source(text, date) TO cloakroom_ingest;
