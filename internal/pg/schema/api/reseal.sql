-- Reseal: sealing the values of closed data keys again, under new ones.

CREATE OR REPLACE FUNCTION cloakroom.begin_reseal(
  p_made_before timestamptz, OUT rotation bigint, OUT data_keys integer[], OUT resumed boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made_of date[];
BEGIN
  PERFORM cloakroom.require_read_committed();
  LOCK TABLE cloakroom.rotations IN SHARE ROW EXCLUSIVE MODE;
  SELECT r.id, r.data_keys, true INTO rotation, data_keys, resumed FROM cloakroom.rotations r WHERE r.step = 'reseal'
    AND r.state = 'running';
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
COMMENT ON FUNCTION cloakroom.begin_reseal(timestamptz) IS
  'begins to reseal what closed data keys made before hold, or resumes what is under way; no rotation where there is '
  'nothing';
GRANT EXECUTE ON FUNCTION cloakroom.begin_reseal(timestamptz) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.reseal_page(
  p_rotation bigint, p_month date, p_after_id uuid, p_after_date date, p_last_id uuid, p_limit integer)
RETURNS SETOF cloakroom.user_logins
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_sort = off AS $$
BEGIN
  RETURN QUERY EXECUTE
    'SELECT * FROM cloakroom.user_logins
      WHERE create_date >= $1 AND create_date < $2 AND (message_id, create_date) > ($3, $4) AND message_id <= $5
        AND data_key = ANY ($6)
      ORDER BY message_id, create_date LIMIT $7'
    USING p_month, (p_month + interval '1 month')::date, p_after_id, p_after_date, p_last_id,
          (SELECT data_keys FROM cloakroom.rotations WHERE id = p_rotation), p_limit;
END $$;
COMMENT ON FUNCTION cloakroom.reseal_page(bigint, date, uuid, date, uuid, integer) IS
  'the next rows of a slice that the closed keys sealed, in key order';
GRANT EXECUTE ON FUNCTION cloakroom.reseal_page(bigint, date, uuid, date, uuid, integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.reseal_rejections_page(
  p_rotation bigint, p_month date, p_after_id uuid, p_limit integer, p_bytes bigint)
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
COMMENT ON FUNCTION cloakroom.reseal_rejections_page(bigint, date, uuid, integer, bigint) IS
  'the next rejections sealed under the closed keys of a month: as many as fit the bytes, and one at least';
GRANT EXECUTE ON FUNCTION cloakroom.reseal_rejections_page(bigint, date, uuid, integer, bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.reseal_parts(
  p_epoch bigint, p_month date, p_members text[], p_ids uuid[], p_dates date[], p_ends integer[], p_parts bytea,
    p_key integer, p_check bytea)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  sealed text[] := cloakroom.member_columns(p_members, 'sealed_', '');
  part regclass := cloakroom.month_partition(p_month);
  n integer := cardinality(p_ids);
  k integer := cardinality(p_members);
  starts integer[] := 0 || p_ends[:n * k - 1];
  bounds text;
  names text;
  parts text;
  assigned text;
  same text;
  changed integer;
BEGIN
  PERFORM cloakroom.require_epoch(p_epoch);
  PERFORM cloakroom.require_sealing_key(p_key, p_check, p_month);
  -- unnest silently pads the shorter array with NULL.
  IF cardinality(p_dates) <> n OR cardinality(p_ends) <> n * k THEN
    RAISE EXCEPTION 'the arrays are not of one length' USING ERRCODE = 'CR013';
  END IF;
  IF part IS NULL THEN
    RETURN 0;
  END IF;
  PERFORM cloakroom.force_index_scan_if_unanalyzed(part);
  SELECT string_agg(format('$3[%1$s:%2$s], $4[%1$s:%2$s]', (i - 1) * n + 1, i * n), ', ' ORDER BY i),
         string_agg(format('start%1$s, end%1$s', i), ', ' ORDER BY i),
         -- substring does not complain if a value ends too soon, so compare the bounds.
         string_agg(format('CASE WHEN end%1$s > start%1$s + 17 AND end%1$s <= $6
             THEN substring($5 from start%1$s + 1 for 17) END AS old%1$s,
           CASE WHEN end%1$s > start%1$s + 17
             AND end%1$s <= $6 THEN substring($5 from start%1$s + 18 for end%1$s - start%1$s - 17) END AS new%1$s,
           start%1$s = end%1$s AS none%1$s', i), ', ' ORDER BY i),
         string_agg(format('%I = s.new%s', c, i), ', ' ORDER BY i),
         -- If the row changed meanwhile, keep the change. NULL stays NULL.
         string_agg(format('(s.none%1$s AND u.%2$I IS NULL OR substring(u.%2$I for 17) = s.old%1$s)', i, c), ' AND '
           ORDER BY i)
    INTO bounds, names, parts, assigned, same
    FROM unnest(sealed) WITH ORDINALITY AS g(c, i);
  -- OFFSET stops the planner from inlining the subquery, which would copy all the parts into each condition.
  EXECUTE format(
    'UPDATE %s u SET data_key = $7, %s
       FROM (SELECT id, date, %s FROM unnest($1, $2, %s) AS b(id, date, %s) OFFSET 0) AS s
      WHERE u.message_id = s.id AND u.create_date = s.date AND %s',
    part, assigned, parts, bounds, names, same)
    USING p_ids, p_dates, starts, p_ends, p_parts, octet_length(p_parts), p_key;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $$;
COMMENT ON FUNCTION cloakroom.reseal_parts(bigint, date, text[], uuid[], date[], integer[], bytea, integer, bytea) IS
  'writes new sealed values over the old ones; p_parts holds, member after member and row after row, the first 17 '
  'bytes of the old value (version, data key, nonce) and all of the new, nothing for NULL, and p_ends where each part '
  'ends; returns how many rows were still so';
GRANT EXECUTE ON FUNCTION cloakroom.reseal_parts(bigint, date, text[], uuid[], date[], integer[], bytea, integer,
  bytea) TO
  cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.reseal_rejections(
  p_epoch bigint, p_month date, p_ids uuid[], p_old bytea[], p_new bytea[], p_key integer, p_check bytea)
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
COMMENT ON FUNCTION cloakroom.reseal_rejections(bigint, date, uuid[], bytea[], bytea[], integer, bytea) IS
  'writes new sealed bodies over exactly the old ones; returns how many were still so';
GRANT EXECUTE ON FUNCTION cloakroom.reseal_rejections(bigint, date, uuid[], bytea[], bytea[], integer, bytea) TO
  cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.finish_reseal(p_rotation bigint) RETURNS bigint
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
COMMENT ON FUNCTION cloakroom.finish_reseal(bigint) IS
  'counts what the closed keys still hold, and ends the reseal if that is nothing';
GRANT EXECUTE ON FUNCTION cloakroom.finish_reseal(bigint) TO cloakroom_rotator;
