-- load() with a quicker INSERT for what the queue delivers for the first time: nearly everything, nearly always.
-- +goose Up

DROP FUNCTION cloakroom.load(bigint, integer[], bytea[]);

-- +goose StatementBegin
CREATE FUNCTION cloakroom.load(p_epoch bigint, p_key_ids integer[], p_key_checks bytea[], p_first boolean DEFAULT false,
  OUT stored bigint, OUT duplicates bigint, OUT rejections jsonb)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  staged bigint;
  staged_rejections bigint;
  rejected bigint := 0;
  first_date date;
  last_date date;
  columns text;
  insert_staged text;
BEGIN
  PERFORM cloakroom.require_staging('cloakroom_stage');
  PERFORM cloakroom.require_staging('cloakroom_stage_rejections');
  PERFORM cloakroom.require_epoch(p_epoch);
  PERFORM cloakroom.require_data_keys(p_key_ids, p_key_checks);
  PERFORM cloakroom.require_durable_commit();

  SELECT count(*), min(create_date), max(create_date) INTO staged, first_date, last_date FROM pg_temp.cloakroom_stage;
  SELECT count(*) INTO staged_rejections FROM pg_temp.cloakroom_stage_rejections;
  IF staged > 0 THEN
    PERFORM FROM cloakroom.settings s
      WHERE first_date >= (now() AT TIME ZONE 'UTC')::date - s.days_back AND last_date <= (now() AT TIME ZONE 'UTC')::date + s.days_ahead;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'a create_date lies outside the policy''s window' USING ERRCODE = '22008';
    END IF;
    PERFORM cloakroom.make_month(m::date)
      FROM generate_series(date_trunc('month', first_date::timestamp), last_date::timestamp, interval '1 month') AS m
     WHERE EXISTS (SELECT FROM pg_temp.cloakroom_stage s WHERE s.create_date >= m AND s.create_date < m + interval '1 month');
  END IF;

  -- By name: reindex adds and drops columns of the table, and the staging table may be older or younger than that. The lock
  -- keeps them as they are from here on.
  LOCK TABLE ONLY cloakroom.user_logins IN ROW EXCLUSIVE MODE;
  SELECT string_agg(quote_ident(t.attname), ', ' ORDER BY t.attnum) INTO columns
    FROM pg_attribute t
    JOIN pg_attribute s ON s.attname = t.attname AND s.attrelid = 'pg_temp.cloakroom_stage'::regclass AND s.attnum > 0 AND NOT s.attisdropped
   WHERE t.attrelid = 'cloakroom.user_logins'::regclass AND t.attnum > 0 AND NOT t.attisdropped;
  -- In key order, so that two loads of overlapping batches wait for each other and do not deadlock.
  insert_staged := format(
    'INSERT INTO cloakroom.user_logins (%1$s) SELECT %1$s FROM pg_temp.cloakroom_stage s
      WHERE NOT EXISTS (SELECT FROM cloakroom.rejections r WHERE r.message_id = s.message_id)
      ORDER BY s.message_id, s.create_date', columns);
  -- ON CONFLICT costs a third more: it looks for each row first, and logs each twice. What comes for the first time rarely
  -- needs it; where a row is there all the same, the attempt is undone and made again with it.
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
      INSERT INTO cloakroom.rejections
        SELECT s.* FROM pg_temp.cloakroom_stage_rejections s
         WHERE NOT EXISTS (SELECT FROM cloakroom.user_logins u WHERE u.message_id = s.message_id AND u.create_date = s.create_date)
         ORDER BY s.message_id
      ON CONFLICT DO NOTHING
      RETURNING reason)
    SELECT coalesce(sum(n), 0), coalesce(jsonb_object_agg(reason, n), '{}') INTO rejected, rejections
      FROM (SELECT reason, count(*) AS n FROM new GROUP BY reason) AS by_reason;
  END IF;
  duplicates := staged + staged_rejections - stored - rejected;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.load(bigint, integer[], bytea[], boolean) IS
  'moves what was staged into user_logins and rejections, under the fence; rows already there are dropped and counted as duplicates; p_first: hardly any are';
GRANT EXECUTE ON FUNCTION cloakroom.load(bigint, integer[], bytea[], boolean) TO cloakroom_ingest;
