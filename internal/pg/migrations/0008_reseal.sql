-- Reseal: the values of closed data keys under new ones. Retire: a closed key to which nothing refers.
-- +goose Up

-- +goose StatementBegin
CREATE FUNCTION cloakroom.close_data_keys(p_made_before timestamptz) RETURNS integer[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  closed integer[];
BEGIN
  PERFORM FROM cloakroom.data_keys WHERE state = 'active' AND created_at < p_made_before;
  IF NOT FOUND THEN
    RETURN '{}';
  END IF;
  -- Under the fence: no load that was checked against the active keys is still on its way.
  PERFORM cloakroom.raise_epoch();
  WITH c AS (
    UPDATE cloakroom.data_keys SET state = 'closed', closed_at = now()
     WHERE state = 'active' AND created_at < p_made_before RETURNING id)
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO closed FROM c;
  PERFORM cloakroom.append_leaf('key.close', p_data_keys => closed, p_result => 'closed');
  RETURN closed;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.close_data_keys(timestamptz) IS 'raises the epoch and closes the active data keys made before; returns their ids';
GRANT EXECUTE ON FUNCTION cloakroom.close_data_keys(timestamptz) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.data_key_rows(p_ids integer[]) RETURNS TABLE (data_key integer, logins bigint, rejections bigint)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT k.id, coalesce(u.n, 0), coalesce(r.n, 0)
    FROM unnest(p_ids) AS k(id)
    LEFT JOIN (SELECT data_key, count(*) AS n FROM cloakroom.user_logins WHERE data_key = ANY (p_ids) GROUP BY data_key) u ON u.data_key = k.id
    LEFT JOIN (SELECT data_key, count(*) AS n FROM cloakroom.rejections WHERE data_key = ANY (p_ids) GROUP BY data_key) r ON r.data_key = k.id
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.begin_reseal(p_made_before timestamptz, OUT rotation bigint, OUT data_keys integer[], OUT resumed boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made_of date[];
BEGIN
  PERFORM cloakroom.require_read_committed();
  LOCK TABLE cloakroom.rotations IN SHARE ROW EXCLUSIVE MODE;
  SELECT r.id, r.data_keys, true INTO rotation, data_keys, resumed FROM cloakroom.rotations r WHERE r.step = 'reseal' AND r.state = 'running';
  IF FOUND THEN
    RETURN;
  END IF;
  resumed := false;
  SELECT coalesce(array_agg(id ORDER BY id), '{}'), array_agg(DISTINCT month) INTO data_keys, made_of
    FROM cloakroom.data_keys WHERE state = 'closed' AND created_at < p_made_before;
  IF cardinality(data_keys) = 0 THEN
    RETURN;
  END IF;
  INSERT INTO cloakroom.rotations (step, data_keys) VALUES ('reseal', data_keys) RETURNING id INTO rotation;
  DELETE FROM cloakroom.quarantine WHERE step = 'reseal';
  PERFORM cloakroom.add_slices(rotation, 'reseal', made_of);
  PERFORM cloakroom.add_slices(rotation, 'rejections', made_of);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.begin_reseal(timestamptz) IS 'begins to reseal what closed data keys made before hold, or resumes what is under way; no rotation where there is nothing';
GRANT EXECUTE ON FUNCTION cloakroom.begin_reseal(timestamptz) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.reseal_page(p_rotation bigint, p_month date, p_after_id uuid, p_after_date date, p_last_id uuid, p_limit integer)
RETURNS SETOF cloakroom.user_logins
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY EXECUTE
    'SELECT * FROM cloakroom.user_logins
      WHERE create_date >= $1 AND create_date < $2 AND (message_id, create_date) > ($3, $4) AND message_id <= $5 AND data_key = ANY ($6)
      ORDER BY message_id, create_date LIMIT $7'
    USING p_month, (p_month + interval '1 month')::date, p_after_id, p_after_date, p_last_id,
          (SELECT data_keys FROM cloakroom.rotations WHERE id = p_rotation), p_limit;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.reseal_page(bigint, date, uuid, date, uuid, integer) IS 'the next rows of a slice that the closed keys sealed, in key order';
GRANT EXECUTE ON FUNCTION cloakroom.reseal_page(bigint, date, uuid, date, uuid, integer) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.reseal_rejections_page(p_rotation bigint, p_month date, p_after_id uuid, p_limit integer, p_bytes bigint)
RETURNS TABLE (message_id uuid, sealed_body bytea, data_key integer)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT message_id, sealed_body, data_key FROM (
    SELECT *, sum(octet_length(sealed_body)) OVER (ORDER BY message_id) - octet_length(sealed_body) AS before FROM (
      SELECT r.message_id, r.sealed_body, r.data_key FROM cloakroom.rejections r
       WHERE r.message_id > p_after_id AND r.data_key = ANY (ARRAY(
             SELECT k.id FROM cloakroom.data_keys k, cloakroom.rotations n
              WHERE n.id = p_rotation AND k.id = ANY (n.data_keys) AND k.month = p_month))
       ORDER BY r.message_id LIMIT p_limit) AS page) AS sized
   WHERE before < p_bytes ORDER BY message_id
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.reseal_rejections_page(bigint, date, uuid, integer, bigint) IS
  'the next rejections sealed under the closed keys of a month: as many as fit the bytes, and one at least';
GRANT EXECUTE ON FUNCTION cloakroom.reseal_rejections_page(bigint, date, uuid, integer, bigint) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.require_sealing_key(p_key integer, p_check bytea, p_month date) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM FROM cloakroom.data_keys WHERE id = p_key AND key_check = p_check AND state = 'active' AND month = p_month;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'data key % is not an active key of this vault and month, or not this one', p_key USING ERRCODE = 'CR002';
  END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.reseal_rows(
  p_epoch bigint, p_month date, p_members text[], p_ids uuid[], p_dates date[], p_old bytea[], p_new bytea[], p_key integer, p_check bytea)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  sealed text[] := cloakroom.member_columns(p_members, 'sealed_', '');
  n integer := cardinality(p_ids);
  k integer := cardinality(p_members);
  old_parts text;
  new_parts text;
  assigned text;
  same text;
  changed integer;
BEGIN
  PERFORM cloakroom.require_epoch(p_epoch);
  PERFORM cloakroom.require_sealing_key(p_key, p_check, p_month);
  -- unnest pads the shorter array with NULL and says nothing.
  IF cardinality(p_dates) <> n OR cardinality(p_old) <> n * k OR cardinality(p_new) <> n * k THEN
    RAISE EXCEPTION 'the arrays are not of one length' USING ERRCODE = 'CR013';
  END IF;
  SELECT string_agg(format('$3[%s:%s]', (i - 1) * n + 1, i * n), ', ' ORDER BY i),
         string_agg(format('$4[%s:%s]', (i - 1) * n + 1, i * n), ', ' ORDER BY i),
         string_agg(format('%I = s.new%s', c, i), ', ' ORDER BY i),
         -- The old bytes, all of them, hold a random nonce: whoever changed the row meanwhile wins. NULL stays NULL.
         string_agg(format('u.%I IS NOT DISTINCT FROM s.old%s AND (s.old%2$s IS NULL) = (s.new%2$s IS NULL)', c, i), ' AND ' ORDER BY i)
    INTO old_parts, new_parts, assigned, same
    FROM unnest(sealed) WITH ORDINALITY AS g(c, i);
  EXECUTE format(
    'UPDATE cloakroom.user_logins u SET data_key = $5, %s FROM unnest($1, $2, %s, %s) AS s(id, date, %s, %s)
      WHERE u.message_id = s.id AND u.create_date = s.date AND u.create_date >= %L AND u.create_date < %L AND %s',
    assigned, old_parts, new_parts,
    (SELECT string_agg('old' || i, ', ') FROM generate_series(1, k) AS i), (SELECT string_agg('new' || i, ', ') FROM generate_series(1, k) AS i),
    p_month, (p_month + interval '1 month')::date, same)
    USING p_ids, p_dates, p_old, p_new, p_key;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.reseal_rows(bigint, date, text[], uuid[], date[], bytea[], bytea[], integer, bytea) IS
  'writes new sealed values over exactly the old ones; p_old and p_new hold member after member; returns how many rows were still so';
GRANT EXECUTE ON FUNCTION cloakroom.reseal_rows(bigint, date, text[], uuid[], date[], bytea[], bytea[], integer, bytea) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.reseal_rejections(p_epoch bigint, p_month date, p_ids uuid[], p_old bytea[], p_new bytea[], p_key integer, p_check bytea)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  changed integer;
BEGIN
  PERFORM cloakroom.require_epoch(p_epoch);
  PERFORM cloakroom.require_sealing_key(p_key, p_check, p_month);
  IF cardinality(p_old) <> cardinality(p_ids) OR cardinality(p_new) <> cardinality(p_ids) THEN
    RAISE EXCEPTION 'the arrays are not of one length' USING ERRCODE = 'CR013';
  END IF;
  UPDATE cloakroom.rejections r SET sealed_body = s.new, data_key = p_key
    FROM unnest(p_ids, p_old, p_new) AS s(id, old, new)
   WHERE r.message_id = s.id AND r.sealed_body = s.old AND s.new IS NOT NULL;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.reseal_rejections(bigint, date, uuid[], bytea[], bytea[], integer, bytea) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.finish_reseal(p_rotation bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run cloakroom.rotations;
  left_over bigint;
  resealed bigint;
BEGIN
  PERFORM cloakroom.require_read_committed();
  SELECT * INTO STRICT run FROM cloakroom.rotations WHERE id = p_rotation FOR UPDATE;
  SELECT coalesce(sum(logins + rejections), 0) INTO left_over FROM cloakroom.data_key_rows(run.data_keys);
  IF run.state = 'running' AND left_over = 0 THEN
    UPDATE cloakroom.rotations SET state = 'done', finished_at = now() WHERE id = p_rotation;
    SELECT sum(s.rows_done) INTO resealed FROM cloakroom.rotation_slices s WHERE s.rotation = p_rotation;
    DELETE FROM cloakroom.rotation_slices s WHERE s.rotation = p_rotation;
    PERFORM cloakroom.append_leaf('key.reseal', p_data_keys => run.data_keys, p_rows => resealed, p_result => 'done');
  END IF;
  RETURN left_over;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.finish_reseal(bigint) IS 'counts what the closed keys still hold, and ends the reseal if that is nothing';
GRANT EXECUTE ON FUNCTION cloakroom.finish_reseal(bigint) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.retire_data_keys(OUT retired integer[], OUT kept integer[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  closed integer[];
  empty integer[];
BEGIN
  PERFORM cloakroom.require_read_committed();
  -- A key is closed by raising the epoch, in a transaction that is over: since then no load and no reseal writes under
  -- it. The count below is a later statement, hence a later snapshot: it sees every row that came before.
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO closed FROM cloakroom.data_keys WHERE state = 'closed';
  SELECT coalesce(array_agg(data_key ORDER BY data_key) FILTER (WHERE logins + rejections = 0), '{}'),
         coalesce(array_agg(data_key ORDER BY data_key) FILTER (WHERE logins + rejections > 0), '{}')
    INTO empty, kept FROM cloakroom.data_key_rows(closed);
  WITH r AS (
    UPDATE cloakroom.data_keys SET state = 'retired', retired_at = now() WHERE id = ANY (empty) AND state = 'closed' RETURNING id)
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO retired FROM r;
  IF cardinality(retired) > 0 THEN
    PERFORM cloakroom.append_leaf('key.retire', p_data_keys => retired, p_rows => 0, p_result => 'retired');
  END IF;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.retire_data_keys() IS 'retires the closed data keys that no row and no rejection refers to; kept: those that are still needed';
GRANT EXECUTE ON FUNCTION cloakroom.retire_data_keys() TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.retirable_data_keys() RETURNS TABLE (data_key integer, logins bigint, rejections bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM cloakroom.data_key_rows(ARRAY(SELECT id FROM cloakroom.data_keys WHERE state = 'closed'))
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.retirable_data_keys() IS 'what the closed data keys still hold';
GRANT EXECUTE ON FUNCTION cloakroom.retirable_data_keys() TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.shred_retired(p_kept interval) RETURNS integer[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  gone integer[];
BEGIN
  IF p_kept < interval '35 days' THEN
    RAISE EXCEPTION 'a retired key is kept 35 days, for backups that were restored' USING ERRCODE = 'CR013';
  END IF;
  WITH s AS (
    UPDATE cloakroom.data_keys SET state = 'shredded', shredded_at = now(), wrapped = NULL
     WHERE state = 'retired' AND retired_at < now() - p_kept
       AND NOT EXISTS (SELECT FROM cloakroom.user_logins u WHERE u.data_key = id)
       AND NOT EXISTS (SELECT FROM cloakroom.rejections r WHERE r.data_key = id)
    RETURNING id)
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO gone FROM s;
  IF cardinality(gone) > 0 THEN
    PERFORM cloakroom.append_leaf('key.shred', p_data_keys => gone, p_rows => 0, p_result => 'retired long ago');
  END IF;
  RETURN gone;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.shred_retired(interval) IS 'destroys the wrapped bytes of data keys retired so long ago';
GRANT EXECUTE ON FUNCTION cloakroom.shred_retired(interval) TO cloakroom_rotator;
