-- guards

CREATE OR REPLACE FUNCTION cloakroom.require_read_committed() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Under REPEATABLE READ the epoch would be read from a snapshot older than the fence's lock.
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'cloakroom functions run at READ COMMITTED, this transaction is %', upper(current_setting('transaction_isolation'))
      USING ERRCODE = 'CR003';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_read_committed() IS 'refuses another isolation level than READ COMMITTED';

CREATE OR REPLACE FUNCTION cloakroom.require_durable_commit() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- The source forgets the events once this transaction is committed: committed must mean on disk.
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
  -- A later statement than the lock, hence a later snapshot: whoever raised the epoch has committed.
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
  -- Waits for every load in flight, and holds back those that come; they then find the new epoch.
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
  -- Five minutes are what AWS and Kerberos allow a clock, too. A statement that waited so long for its turn is refused, and tried again.
  IF p_now IS NULL OR NOT isfinite(p_now) OR p_now NOT BETWEEN clock_timestamp() - interval '5 minutes' AND clock_timestamp() + interval '5 minutes' THEN
    RAISE EXCEPTION 'the clocks differ: it is % here and % at the caller', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'),
        coalesce(to_char(p_now AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), 'unknown')
      USING ERRCODE = 'CR015', HINT = 'Set the clock that is wrong, the database server''s or the host''s (NTP); nothing is stored or deleted until they agree within 5 minutes.';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_clock(timestamptz) IS 'raises CR015 unless the caller''s clock and the database''s agree within five minutes';
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
  -- The newest number and not today's: a day that a wrong clock showed early is not newer than what came after it.
  RETURN (SELECT max(number) FROM cloakroom.observed_days);
END $$;
COMMENT ON FUNCTION cloakroom.observe_day() IS 'notes that this day was seen, once; returns the number of the newest day seen. Call require_clock first';
