-- The only way into user_logins and rejections: COPY into a staging table that the owner made, then load().
-- +goose Up

-- +goose StatementBegin
CREATE FUNCTION cloakroom.stage(p_transient boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  on_commit text := CASE WHEN p_transient THEN 'DROP' ELSE 'DELETE ROWS' END;
BEGIN
  -- Made by the owner's function, so the owner owns them; the caller may insert and nothing else.
  DROP TABLE IF EXISTS pg_temp.cloakroom_stage, pg_temp.cloakroom_stage_rejections;
  EXECUTE 'CREATE TEMPORARY TABLE cloakroom_stage (LIKE cloakroom.user_logins) ON COMMIT ' || on_commit;
  EXECUTE 'CREATE TEMPORARY TABLE cloakroom_stage_rejections (LIKE cloakroom.rejections INCLUDING DEFAULTS) ON COMMIT ' || on_commit;
  GRANT INSERT ON pg_temp.cloakroom_stage, pg_temp.cloakroom_stage_rejections TO cloakroom_ingest;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.stage(boolean) IS
  'makes the session''s staging tables anew; transient: they go with the transaction, as a pooler in transaction mode needs';
GRANT EXECUTE ON FUNCTION cloakroom.stage(boolean) TO cloakroom_ingest;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.require_staging(p_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- A view, a foreign table, or a table with rules, triggers or policies of somebody else's, planted under this
  -- name, would run as the owner.
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
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.require_durable_commit() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- The source forgets the events once this transaction is committed: committed must mean on disk.
  IF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.require_epoch(p_epoch bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  now_epoch bigint;
BEGIN
  PERFORM cloakroom.require_read_committed();
  LOCK TABLE cloakroom.fence IN ROW EXCLUSIVE MODE;
  -- A later statement than the lock, hence a later snapshot: whoever raised the epoch has committed.
  SELECT epoch INTO STRICT now_epoch FROM cloakroom.settings;
  IF now_epoch IS DISTINCT FROM p_epoch THEN
    RAISE EXCEPTION 'the vault is at epoch %, the writer at epoch %', now_epoch, p_epoch USING ERRCODE = 'CR001';
  END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.require_data_keys(p_ids integer[], p_checks bytea[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  bad integer;
BEGIN
  -- After a restore or a failover an id may stand for another key, or for none: the key check decides.
  IF cardinality(p_ids) IS DISTINCT FROM cardinality(p_checks) THEN
    RAISE EXCEPTION 'there are % data-key ids and % key checks', cardinality(p_ids), cardinality(p_checks) USING ERRCODE = 'CR002';
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
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.load(p_epoch bigint, p_key_ids integer[], p_key_checks bytea[], OUT stored bigint, OUT duplicates bigint, OUT rejections jsonb)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  staged bigint;
  staged_rejections bigint;
  rejected bigint := 0;
  first_date date;
  last_date date;
  columns text;
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
  EXECUTE format(
    'INSERT INTO cloakroom.user_logins (%1$s) SELECT %1$s FROM pg_temp.cloakroom_stage s
      WHERE NOT EXISTS (SELECT FROM cloakroom.rejections r WHERE r.message_id = s.message_id)
      ORDER BY s.message_id, s.create_date
     ON CONFLICT DO NOTHING', columns);
  GET DIAGNOSTICS stored = ROW_COUNT;

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
COMMENT ON FUNCTION cloakroom.load(bigint, integer[], bytea[]) IS
  'moves what was staged into user_logins and rejections, under the fence; rows already there are dropped and counted as duplicates';
GRANT EXECUTE ON FUNCTION cloakroom.load(bigint, integer[], bytea[]) TO cloakroom_ingest;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.fix_source(p_name text, p_date date) RETURNS date
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  fixed date;
BEGIN
  INSERT INTO cloakroom.sources (name, create_date) VALUES (p_name, p_date) ON CONFLICT DO NOTHING;
  SELECT create_date INTO STRICT fixed FROM cloakroom.sources WHERE name = p_name;
  RETURN fixed;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.fix_source(text, date) IS 'records a source and its date; returns the date that its first run fixed';
GRANT EXECUTE ON FUNCTION cloakroom.fix_source(text, date) TO cloakroom_ingest;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.rejection_counts() RETURNS TABLE (reason text, rejections bigint, first_at timestamptz, last_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT reason, count(*), min(rejected_at), max(rejected_at) FROM cloakroom.rejections GROUP BY reason ORDER BY count(*) DESC, reason
$$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.rejection_counts() TO cloakroom_ingest, cloakroom_rotator, cloakroom_auditor;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.rejection_list(p_reason text, p_limit integer)
RETURNS TABLE (message_id uuid, reason text, create_date date, receive_count integer, rejected_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT message_id, reason, create_date, receive_count, rejected_at FROM cloakroom.rejections
   WHERE p_reason IS NULL OR reason = p_reason ORDER BY rejected_at DESC, message_id LIMIT p_limit
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.rejection_list(text, integer) IS 'the newest rejections, by reason or all: ids and never content';
GRANT EXECUTE ON FUNCTION cloakroom.rejection_list(text, integer) TO cloakroom_ingest, cloakroom_rotator, cloakroom_auditor;
