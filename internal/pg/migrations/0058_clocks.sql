-- A day is judged by a clock that agrees with the database's, and a rejection's age is counted in days that were seen. An event's own
-- fields cannot make its rejection impossible.
-- +goose Up

ALTER TABLE cloakroom.rejections ALTER COLUMN create_date DROP NOT NULL, ALTER COLUMN receive_count DROP NOT NULL;
COMMENT ON COLUMN cloakroom.rejections.create_date IS 'UTC date on which the message was sent; NULL where that is no date, or where the database took nothing but id, reason and body';
COMMENT ON COLUMN cloakroom.rejections.receive_count IS 'how often the queue had delivered it; NULL where the database took nothing but id, reason and body';

CREATE TABLE cloakroom.observed_days (
  number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  day    date NOT NULL UNIQUE
);
COMMENT ON TABLE cloakroom.observed_days IS
  'the days on which a load or a purge ran while the clock of its host agreed with the database''s, in the order in which they were seen';

ALTER TABLE cloakroom.rejections ADD COLUMN observed_day integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN cloakroom.rejections.observed_day IS 'number of the newest observed day when it was stored: its age in days seen';

-- +goose StatementBegin
CREATE FUNCTION cloakroom.require_clock(p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Five minutes are what AWS and Kerberos allow a clock, too. A statement that waited so long for its turn is refused, and tried again.
  IF p_now IS NULL OR NOT isfinite(p_now) OR p_now NOT BETWEEN clock_timestamp() - interval '5 minutes' AND clock_timestamp() + interval '5 minutes' THEN
    RAISE EXCEPTION 'the clocks differ: it is % here and % at the caller', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'),
        coalesce(to_char(p_now AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), 'unknown')
      USING ERRCODE = 'CR015', HINT = 'Set the clock that is wrong, the database server''s or the host''s (NTP); nothing is stored or deleted until they agree within 5 minutes.';
  END IF;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.require_clock(timestamptz) IS 'raises CR015 unless the caller''s clock and the database''s agree within five minutes';
GRANT EXECUTE ON FUNCTION cloakroom.require_clock(timestamptz) TO cloakroom_ingest, cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.observe_day() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
BEGIN
  PERFORM FROM cloakroom.observed_days WHERE day = today;
  IF NOT FOUND THEN
    INSERT INTO cloakroom.observed_days (day) VALUES (today) ON CONFLICT DO NOTHING;
  END IF;
  -- The newest number and not today's: a day that a wrong clock showed early is not newer than what came after it.
  RETURN (SELECT max(number) FROM cloakroom.observed_days);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.observe_day() IS 'notes that this day was seen, once; returns the number of the newest day seen. Call require_clock first';

DROP FUNCTION cloakroom.load(bigint, integer[], bytea[], boolean);

-- +goose StatementBegin
CREATE FUNCTION cloakroom.load(p_epoch bigint, p_now timestamptz, p_key_ids integer[], p_key_checks bytea[], p_first boolean DEFAULT false,
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
  -- First, before any lock is waited for: how long that takes is no difference of clocks.
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
    -- The loader has judged each day; here midnight may have passed since. Further outside, its policy is an old one, or it held the
    -- batch for long: it reads the policy and judges again. It is never the event's fault.
    PERFORM FROM cloakroom.settings s
      WHERE first_date >= (p_now AT TIME ZONE 'UTC')::date - s.days_back - 1 AND last_date <= (p_now AT TIME ZONE 'UTC')::date + s.days_ahead + 1;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'a create_date lies outside the policy''s window: the writer''s policy or its batch is old' USING ERRCODE = 'CR001';
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
      INSERT INTO cloakroom.rejections (message_id, reason, user_id, create_date, receive_count, sealed_body, data_key, observed_day)
        SELECT s.message_id, s.reason, s.user_id, s.create_date, s.receive_count, s.sealed_body, s.data_key, seen
          FROM pg_temp.cloakroom_stage_rejections s
         WHERE NOT EXISTS (SELECT FROM cloakroom.user_logins u WHERE u.message_id = s.message_id AND u.create_date = s.create_date)
           -- Without a date all months are looked at: rare, and kept apart so that the others look at one.
           AND (s.create_date IS NOT NULL OR NOT EXISTS (SELECT FROM cloakroom.user_logins u WHERE u.message_id = s.message_id))
         ORDER BY s.message_id
      ON CONFLICT DO NOTHING
      RETURNING reason)
    SELECT coalesce(sum(n), 0), coalesce(jsonb_object_agg(reason, n), '{}') INTO rejected, rejections
      FROM (SELECT reason, count(*) AS n FROM new GROUP BY reason) AS by_reason;
  END IF;
  duplicates := staged + staged_rejections - stored - rejected;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.load(bigint, timestamptz, integer[], bytea[], boolean) IS
  'moves what was staged into user_logins and rejections, under the fence, if the loader''s clock agrees; rows already there are dropped and counted as duplicates; p_first: hardly any are';
GRANT EXECUTE ON FUNCTION cloakroom.load(bigint, timestamptz, integer[], bytea[], boolean) TO cloakroom_ingest;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.due_rejections(p_limit integer) RETURNS SETOF uuid
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  -- Old by two measures. A clock alone can be wrong when a rejection is stored or when it is purged, so as many days as the policy keeps
  -- it must also have been seen since: whatever clocks show, that takes as many distinct dates, each seen by a load or a purge.
  SELECT r.message_id
    FROM cloakroom.settings s
   CROSS JOIN LATERAL (SELECT floor(extract(epoch FROM s.rejection_retention) / 86400)::bigint AS days) AS kept
    JOIN cloakroom.rejections r ON r.rejected_at < clock_timestamp() - s.rejection_retention
     AND (kept.days = 0 OR r.observed_day < (SELECT number FROM cloakroom.observed_days ORDER BY number DESC OFFSET kept.days - 1 LIMIT 1))
   ORDER BY r.rejected_at LIMIT p_limit
$$;
-- +goose StatementEnd

DROP FUNCTION cloakroom.purge_rejections();

-- +goose StatementBegin
CREATE FUNCTION cloakroom.purge_rejections(p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  gone bigint;
BEGIN
  PERFORM cloakroom.require_clock(p_now);
  PERFORM cloakroom.observe_day();
  DELETE FROM cloakroom.rejections WHERE message_id = ANY (ARRAY(SELECT cloakroom.due_rejections(5000)));
  GET DIAGNOSTICS gone = ROW_COUNT;
  RETURN gone;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.purge_rejections(timestamptz) IS
  'deletes rejections older than the policy keeps them, by the clock and by days seen, 5000 at the most; returns how many';
GRANT EXECUTE ON FUNCTION cloakroom.purge_rejections(timestamptz) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION cloakroom.old_rejections() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT count(*) FROM cloakroom.due_rejections(NULL)
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION cloakroom.clear_persons_rejections(p_user text, p_until date) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint;
BEGIN
  UPDATE cloakroom.rejections SET sealed_body = NULL, data_key = NULL
   WHERE user_id = p_user AND coalesce(create_date, (rejected_at AT TIME ZONE 'UTC')::date) <= p_until AND data_key IS NOT NULL;
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION cloakroom.register_data_key(p_id integer, p_month date, p_kek text, p_kek_id text, p_wrapped bytea, p_key_check bytea)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p cloakroom.settings;
BEGIN
  -- What it seals may be committed durably by another session, so the key must be, too.
  IF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  SELECT * INTO STRICT p FROM cloakroom.settings;
  -- A day's slack: the month is of the client's clock. What lies further back was stored under another policy, and is resealed.
  IF p_month NOT BETWEEN date_trunc('month', now() - make_interval(days => p.days_back + 1))
                     AND date_trunc('month', now() + make_interval(days => p.days_ahead + 1))
     AND NOT EXISTS (SELECT FROM cloakroom.data_keys k WHERE k.month = p_month) THEN
    -- The writer's policy is an old one, or its clock is not this one: it reads both and judges its events again.
    RAISE EXCEPTION 'no event of % may be stored now', to_char(p_month, 'YYYY-MM') USING ERRCODE = 'CR001',
      HINT = 'keys policy shows days_back and days_ahead.';
  END IF;
  DELETE FROM cloakroom.data_key_reservations WHERE id = p_id AND reserved_by = session_user;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'data key % is not reserved by %', p_id, session_user USING ERRCODE = 'CR013',
      HINT = 'A reservation lasts an hour, and for one key.';
  END IF;
  INSERT INTO cloakroom.data_keys (id, month, kek, kek_id, wrapped, key_check)
  VALUES (p_id, p_month, p_kek, p_kek_id, p_wrapped, p_key_check);
END
$$;
-- +goose StatementEnd
