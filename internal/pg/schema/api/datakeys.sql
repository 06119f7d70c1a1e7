-- Data keys: reserving, registering, closing, retiring, and shredding those retired long ago.

CREATE OR REPLACE FUNCTION cloakroom.reserve_data_key() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  reserved bigint;
  given integer;
BEGIN
  -- A reservation expires after an hour: its maker has given up, say because KMS was away. SKIP LOCKED leaves rows to
  -- another session that is deleting them.
  DELETE FROM cloakroom.data_key_reservations
   WHERE id IN (SELECT r.id FROM cloakroom.data_key_reservations r
                 WHERE r.reserved_by = session_user
                   AND r.reserved_at < now() - interval '1 hour' FOR UPDATE SKIP LOCKED);
  SELECT count(*) INTO reserved FROM cloakroom.data_key_reservations r WHERE r.reserved_by = session_user;
  IF reserved >= 1000 THEN
    RAISE EXCEPTION '% data keys were reserved by % within an hour and never registered', reserved, session_user
      USING ERRCODE = 'CR013',
      HINT = 'Something reserves ids and makes no keys: see the logs of the programs with this login, and of KMS.';
  END IF;
  -- The id is in the key's encryption context, so it is known before the key is.
  INSERT INTO cloakroom.data_key_reservations (id) VALUES (nextval('cloakroom.data_key_ids')) RETURNING id INTO given;
  RETURN given;
END $$;
COMMENT ON FUNCTION cloakroom.reserve_data_key() IS
  'an id for a data key to be made; this login registers it within the hour';
GRANT EXECUTE ON FUNCTION cloakroom.reserve_data_key() TO cloakroom_ingest, cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.register_data_key(p_id integer, p_dataset text, p_month date,
  p_kek_id text, p_wrapped bytea, p_key_check bytea)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p cloakroom.settings;
  uri text := cloakroom.require_kek(p_kek_id);
  registered_now integer;
BEGIN
  -- Another session may durably commit what this key seals, so the key must be durable too.
  IF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  SELECT * INTO STRICT p FROM cloakroom.settings;
  -- One day of slack, because the client's clock chose the month. An older month that has keys was stored under another
  -- policy and is being resealed.
  IF p_month NOT BETWEEN date_trunc('month', now() - make_interval(days => p.days_back + 1))
                     AND date_trunc('month', now() + make_interval(days => p.days_ahead + 1))
     AND NOT EXISTS (SELECT FROM cloakroom.data_keys k WHERE k.month = p_month)
     -- What was in clear is being sealed, of any month that has a partition. No other date: infinity would be a month
     -- that no program can list, for good.
     AND NOT EXISTS (
       SELECT FROM cloakroom.rotations r CROSS JOIN LATERAL cloakroom.partitions(r.dataset) AS t
        WHERE r.step = 'evolve' AND r.state = 'running' AND r.dataset = p_dataset
          AND date_trunc('month', t.from_date::timestamp) = p_month) THEN
    -- The writer's policy is out of date, or its clock differs: on CR001 it reads the policy and judges its events
    -- again.
    RAISE EXCEPTION 'no event of % may be stored now', to_char(p_month, 'YYYY-MM') USING ERRCODE = 'CR001',
      HINT = 'keys policy shows days_back and days_ahead.';
  END IF;
  DELETE FROM cloakroom.data_key_reservations WHERE id = p_id AND reserved_by = session_user;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'data key % is not reserved by %', p_id, session_user USING ERRCODE = 'CR013',
      HINT = 'A reservation lasts an hour, and for one key.';
  END IF;
  -- Counted under a lock of this login's own: who never commits holds up only themselves.
  DELETE FROM cloakroom.key_registrations WHERE login = session_user AND hour < date_trunc('hour', clock_timestamp());
  INSERT INTO cloakroom.key_registrations AS r (login, hour, registered)
    VALUES (session_user, date_trunc('hour', clock_timestamp()), 1)
    ON CONFLICT (login, hour) DO UPDATE SET registered = r.registered + 1 RETURNING registered INTO registered_now;
  IF registered_now > p.key_registrations THEN
    RAISE EXCEPTION '% has registered % data keys within this hour', session_user, p.key_registrations
      USING ERRCODE = 'CR017',
      HINT = 'A daemon goes on under the keys it has. Where more are needed: keys policy set key_registrations.';
  END IF;
  INSERT INTO cloakroom.data_keys (id, dataset, month, kek, kek_id, wrapped, key_check)
  VALUES (p_id, (cloakroom.dataset_of(p_dataset)).name, p_month, uri, p_kek_id, p_wrapped, p_key_check);
END $$;
COMMENT ON FUNCTION cloakroom.register_data_key(integer, text, date, text, bytea, bytea)
  IS 'commits a wrapped data key to the vault, before the first value is sealed under it';
GRANT EXECUTE ON FUNCTION cloakroom.register_data_key(integer, text, date, text, bytea, bytea) TO
  cloakroom_ingest, cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.registered_data_key(p_id integer)
RETURNS TABLE (month date, state text, kek text, kek_id text, wrapped bytea, key_check bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  -- Only for its maker. Others get data keys through the rotation and recover functions.
  SELECT month, state, kek, kek_id, wrapped, key_check
    FROM cloakroom.data_keys WHERE id = p_id AND created_by = session_user
$$;
COMMENT ON FUNCTION cloakroom.registered_data_key(integer) IS 'a data key that this login registered, to read it back';
GRANT EXECUTE ON FUNCTION cloakroom.registered_data_key(integer) TO cloakroom_ingest, cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.wrapped_data_key(p_id integer)
RETURNS TABLE (month date, state text, kek text, kek_id text, wrapped bytea, key_check bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT month, state, kek, kek_id, wrapped, key_check FROM cloakroom.data_keys WHERE id = p_id
$$;
COMMENT ON FUNCTION cloakroom.wrapped_data_key(integer) IS
  'any data key, wrapped: for the rotator, who holds every key';
GRANT EXECUTE ON FUNCTION cloakroom.wrapped_data_key(integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.data_key_list()
RETURNS TABLE (id integer, dataset text, month date, state text, kek text, kek_id text, created_by name,
  created_at timestamptz,
               closed_at timestamptz, retired_at timestamptz, shredded_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT id, dataset, month, state, kek, kek_id, created_by, created_at, closed_at, retired_at, shredded_at
    FROM cloakroom.data_keys ORDER BY id
$$;
COMMENT ON FUNCTION cloakroom.data_key_list() IS 'every data key''s state and times; no wrapped bytes';
GRANT EXECUTE ON FUNCTION cloakroom.data_key_list() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.require_sealing_key(p_key integer, p_check bytea, p_dataset text, p_month date)
  RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Only its maker knows that the wrapped bytes are of the key that seals.
  PERFORM FROM cloakroom.data_keys WHERE id = p_key AND key_check = p_check AND state = 'active' AND dataset = p_dataset
    AND month = p_month AND created_by = session_user;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'data key % is not an active key of this login''s, of this vault and month, or not this one', p_key
      USING ERRCODE = 'CR002';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_sealing_key(integer, bytea, text, date) IS
  'refuses a data key that is not active, not of the month, or another than the writer''s';

CREATE OR REPLACE FUNCTION cloakroom.data_key_rows(p_ids integer[]) RETURNS TABLE (data_key integer, rows bigint,
  rejections bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d text;
  keys integer[] := '{}';
  counts bigint[] := '{}';
  more_keys integer[];
  more_counts bigint[];
BEGIN
  FOR d IN SELECT DISTINCT k.dataset FROM cloakroom.data_keys k WHERE k.id = ANY (p_ids) ORDER BY 1 LOOP
    EXECUTE format('SELECT coalesce(array_agg(k), ''{}''), coalesce(array_agg(n), ''{}'')
                      FROM (SELECT data_key AS k, count(*) AS n FROM %s
                        WHERE data_key = ANY ($1) GROUP BY data_key) AS held', cloakroom.row_table(d))
      INTO STRICT more_keys, more_counts USING p_ids;
    keys := keys || more_keys;
    counts := counts || more_counts;
  END LOOP;
  RETURN QUERY
    SELECT k.id, coalesce(u.n, 0), coalesce(r.n, 0)
      FROM unnest(p_ids) AS k(id)
      -- A key of one dataset seals no other's rows, and if one does, that counts too.
      LEFT JOIN (SELECT g.k, sum(g.n)::bigint AS n FROM unnest(keys, counts) AS g(k, n) GROUP BY g.k) AS u ON u.k = k.id
      LEFT JOIN (SELECT j.data_key AS k, count(*) AS n FROM cloakroom.rejections j WHERE j.data_key = ANY (p_ids)
        GROUP BY j.data_key) AS r ON r.k = k.id;
END $$;
COMMENT ON FUNCTION cloakroom.data_key_rows(integer[]) IS
  'how many rows and rejections each of these data keys has sealed';

CREATE OR REPLACE FUNCTION cloakroom.close_data_keys(p_made_before timestamptz, p_dataset text DEFAULT NULL)
  RETURNS integer[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  closed integer[];
BEGIN
  PERFORM FROM cloakroom.data_keys WHERE state = 'active' AND created_at < p_made_before
    AND dataset = coalesce(p_dataset, dataset);
  IF NOT FOUND THEN
    RETURN '{}';
  END IF;
  -- Under the fence, so no load that was checked against the active keys is still running.
  PERFORM cloakroom.raise_epoch();
  WITH c AS (
    UPDATE cloakroom.data_keys SET state = 'closed', closed_at = now()
     WHERE state = 'active' AND created_at < p_made_before AND dataset = coalesce(p_dataset, dataset) RETURNING id)
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO closed FROM c;
  PERFORM cloakroom.append_leaf('key.close', p_data_keys => closed, p_result => 'closed');
  RETURN closed;
END $$;
COMMENT ON FUNCTION cloakroom.close_data_keys(timestamptz, text) IS
  'raises the epoch and closes the active data keys made before; returns their ids';
GRANT EXECUTE ON FUNCTION cloakroom.close_data_keys(timestamptz, text) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.retire_data_keys(OUT retired integer[], OUT kept integer[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  closed integer[];
  empty integer[];
BEGIN
  PERFORM cloakroom.require_read_committed();
  -- A key was closed by raising the epoch in a transaction that has ended, so no load and no reseal writes under it any
  -- more. The count below has a later snapshot than this statement, so it sees every row.
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO closed FROM cloakroom.data_keys WHERE state = 'closed';
  SELECT coalesce(array_agg(data_key ORDER BY data_key) FILTER (WHERE rows + rejections = 0), '{}'),
         coalesce(array_agg(data_key ORDER BY data_key) FILTER (WHERE rows + rejections > 0), '{}')
    INTO empty, kept FROM cloakroom.data_key_rows(closed);
  WITH r AS (
    UPDATE cloakroom.data_keys SET state = 'retired', retired_at = now() WHERE id = ANY (empty) AND state = 'closed'
      RETURNING id)
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO retired FROM r;
  IF cardinality(retired) > 0 THEN
    PERFORM cloakroom.append_leaf('key.retire', p_data_keys => retired, p_rows => 0, p_result => 'retired');
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.retire_data_keys() IS
  'retires the closed data keys that no row and no rejection refers to; kept: those that are still needed';
GRANT EXECUTE ON FUNCTION cloakroom.retire_data_keys() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.retirable_data_keys() RETURNS TABLE (data_key integer, rows bigint,
  rejections bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM cloakroom.data_key_rows(ARRAY(SELECT id FROM cloakroom.data_keys WHERE state = 'closed'))
$$;
COMMENT ON FUNCTION cloakroom.retirable_data_keys() IS 'what the closed data keys still hold';
GRANT EXECUTE ON FUNCTION cloakroom.retirable_data_keys() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.shred_retired(p_kept interval) RETURNS integer[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  due integer[];
  gone integer[];
BEGIN
  IF p_kept < interval '35 days' THEN
    RAISE EXCEPTION 'a retired key is kept 35 days, for backups that were restored' USING ERRCODE = 'CR013';
  END IF;
  SELECT coalesce(array_agg(id), '{}') INTO due FROM cloakroom.data_keys WHERE state = 'retired'
    AND retired_at < now() - p_kept;
  -- Counted first: a table of keys is not joined with row tables (Citus).
  WITH s AS (
    UPDATE cloakroom.data_keys SET state = 'shredded', shredded_at = now(), wrapped = NULL
     WHERE state = 'retired' AND id = ANY (ARRAY(SELECT h.data_key FROM cloakroom.data_key_rows(due) AS h
       WHERE h.rows + h.rejections = 0))
    RETURNING id)
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO gone FROM s;
  IF cardinality(gone) > 0 THEN
    DELETE FROM cloakroom.replaced_keys r WHERE r.purpose = 'seal' AND r.key = ANY (gone);
    PERFORM cloakroom.append_leaf('key.shred', p_data_keys => gone, p_rows => 0, p_result => 'retired long ago');
  END IF;
  RETURN gone;
END $$;
COMMENT ON FUNCTION cloakroom.shred_retired(interval) IS 'destroys the wrapped bytes of data keys retired so long ago';
GRANT EXECUTE ON FUNCTION cloakroom.shred_retired(interval) TO cloakroom_rotator;
