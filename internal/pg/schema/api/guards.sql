-- Guards: what must hold before anything is written. The fence and the epoch are in docs/design.md.
-- Order matters everywhere: fence, then rows, then the audit log.

CREATE OR REPLACE FUNCTION cloakroom.require_read_committed() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Under REPEATABLE READ the epoch would come from a snapshot older than the fence's lock.
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'cloakroom functions run at READ COMMITTED, this transaction is %',
      upper(current_setting('transaction_isolation'))
      USING ERRCODE = 'CR003';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_read_committed() IS 'refuses another isolation level than READ COMMITTED';

CREATE OR REPLACE FUNCTION cloakroom.require_durable_commit() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- The source deletes the events once this transaction is committed, so committed must mean on disk.
  IF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_durable_commit() IS 'makes this transaction''s commit wait for the disk';

CREATE OR REPLACE FUNCTION cloakroom.require_epoch(p_epoch bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  now_epoch bigint;
BEGIN
  PERFORM cloakroom.require_read_committed();
  LOCK TABLE cloakroom.fence IN ROW EXCLUSIVE MODE;
  -- This statement's snapshot is later than the lock, so a transaction that raised the epoch has committed.
  SELECT epoch INTO STRICT now_epoch FROM cloakroom.settings;
  IF now_epoch IS DISTINCT FROM p_epoch THEN
    RAISE EXCEPTION 'the vault is at epoch %, the writer at epoch %', now_epoch, p_epoch USING ERRCODE = 'CR001';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_epoch(bigint) IS
  'takes the fence as a writer, and refuses one that knows another epoch';

CREATE OR REPLACE FUNCTION cloakroom.raise_epoch() RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  raised bigint;
BEGIN
  PERFORM cloakroom.require_read_committed();
  -- Waits for every load in flight and blocks new ones, which then find the new epoch.
  LOCK TABLE cloakroom.fence IN SHARE ROW EXCLUSIVE MODE;
  UPDATE cloakroom.settings SET epoch = epoch + 1 RETURNING epoch INTO STRICT raised;
  RETURN raised;
END $$;
COMMENT ON FUNCTION cloakroom.raise_epoch() IS
  'for the owner''s functions alone: from the commit on, a writer that knew an older epoch is refused';

CREATE OR REPLACE FUNCTION cloakroom.require_role(p_role text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT pg_has_role(session_user, ('cloakroom_' || p_role)::name, 'MEMBER') THEN
    RAISE EXCEPTION 'this needs the role %', p_role USING ERRCODE = '42501';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_role(text) IS 'refuses a login without this role, whatever it may execute';

CREATE OR REPLACE FUNCTION cloakroom.require_clock(p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- AWS and Kerberos allow a clock five minutes too. A statement that had to wait longer than that is refused, and the
  -- caller tries again.
  IF p_now IS NULL OR NOT isfinite(p_now)
     OR p_now NOT BETWEEN clock_timestamp() - interval '5 minutes' AND clock_timestamp() + interval '5 minutes' THEN
    RAISE EXCEPTION 'the clocks differ: it is % here and % at the caller',
      to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'),
        coalesce(to_char(p_now AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), 'unknown')
      USING ERRCODE = 'CR015', HINT = 'Set the clock that is wrong, the database server''s or the host''s (NTP). '
        'Nothing is stored or deleted until they agree within 5 minutes.';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_clock(timestamptz) IS
  'raises CR015 unless the caller''s clock and the database''s agree within five minutes';
GRANT EXECUTE ON FUNCTION cloakroom.require_clock(timestamptz) TO cloakroom_ingest, cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.observe_day() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
BEGIN
  PERFORM FROM cloakroom.observed_days WHERE day = today;
  IF NOT FOUND THEN
    INSERT INTO cloakroom.observed_days (day) VALUES (today) ON CONFLICT DO NOTHING;
  END IF;
  -- The newest number, not today's: a wrong clock may have noted today early, before days that were seen since.
  RETURN (SELECT max(number) FROM cloakroom.observed_days);
END $$;
COMMENT ON FUNCTION cloakroom.observe_day() IS
  'notes that this day was seen, once; returns the number of the newest day seen. Call require_clock first';
