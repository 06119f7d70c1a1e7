-- Shred: every month before one. The keys go first, in one transaction; then what they sealed and its tokens, in
-- slices.

CREATE OR REPLACE FUNCTION cloakroom.shred_plan(p_before date)
RETURNS TABLE (month date, logins bigint, rejections bigint, data_keys integer[])
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT m.month,
         (SELECT count(*) FROM cloakroom.user_logins u WHERE u.create_date >= m.month
           AND u.create_date < m.month + interval '1 month' AND u.data_key IS NOT NULL),
         (SELECT count(*) FROM cloakroom.rejections r JOIN cloakroom.data_keys k ON k.id = r.data_key
           WHERE k.month = m.month),
         ARRAY(SELECT k.id FROM cloakroom.data_keys k WHERE k.month = m.month AND k.state <> 'shredded' ORDER BY k.id)
    FROM (SELECT month FROM cloakroom.months() UNION SELECT month FROM cloakroom.data_keys) AS m
   WHERE m.month < p_before ORDER BY m.month
$$;
COMMENT ON FUNCTION cloakroom.shred_plan(date) IS 'what shredding the months before this one makes unreadable';
GRANT EXECUTE ON FUNCTION cloakroom.shred_plan(date) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.begin_shred(p_before date, OUT rotation bigint, OUT before date)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  gone integer[];
BEGIN
  PERFORM cloakroom.require_read_committed();
  IF p_before IS NULL OR p_before <> date_trunc('month', p_before) THEN
    RAISE EXCEPTION 'shred takes the first day of a month' USING ERRCODE = 'CR013';
  END IF;
  LOCK TABLE cloakroom.fence IN SHARE ROW EXCLUSIVE MODE;
  LOCK TABLE cloakroom.rotations IN SHARE ROW EXCLUSIVE MODE;
  SELECT r.id, r.before INTO rotation, before FROM cloakroom.rotations r WHERE r.step = 'shred' AND r.state = 'running';
  IF FOUND THEN
    RETURN;
  END IF;
  before := p_before;
  PERFORM cloakroom.raise_epoch();
  WITH s AS (
    UPDATE cloakroom.data_keys k SET state = 'shredded', shredded_at = now(), closed_at = coalesce(closed_at, now()),
      wrapped = NULL
     WHERE k.month < p_before AND k.state <> 'shredded' RETURNING k.id)
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO gone FROM s;
  INSERT INTO cloakroom.rotations (step, before, data_keys) VALUES ('shred', p_before, gone) RETURNING id INTO rotation;
  PERFORM cloakroom.add_slices(rotation, 'clear',
    ARRAY(SELECT m.month FROM cloakroom.months() m WHERE m.month < p_before));
  PERFORM cloakroom.append_leaf('key.shred', p_data_keys => gone,
    p_result => 'months before ' || to_char(p_before, 'YYYY-MM'));
END $$;
COMMENT ON FUNCTION cloakroom.begin_shred(date) IS
  'destroys the data keys of the months before this one, for ever; or resumes the shred under way';
GRANT EXECUTE ON FUNCTION cloakroom.begin_shred(date) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.clear_page(
  p_rotation bigint, p_month date, p_after_id uuid, p_after_date date, p_last_id uuid, p_limit integer,
  OUT changed integer, OUT after_id uuid, OUT after_date date)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
  -- The sort of the page cannot be avoided. Disabled, it has a huge cost, for which JIT would compile each batch.
  PERFORM cloakroom.require_read_committed();
  PERFORM FROM cloakroom.rotations WHERE id = p_rotation AND step = 'shred' AND state = 'running' AND p_month < before;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'this month is not being shredded' USING ERRCODE = 'CR013';
  END IF;
  EXECUTE format(
    'WITH page AS (
       SELECT message_id, create_date FROM cloakroom.user_logins
        WHERE create_date >= $1 AND create_date < $2 AND (message_id, create_date) > ($3, $4) AND message_id <= $5
          AND data_key IS NOT NULL
        ORDER BY message_id, create_date LIMIT $6),
     cleared AS (
       UPDATE cloakroom.user_logins u SET %s FROM page p
        WHERE u.message_id = p.message_id AND u.create_date = p.create_date AND u.create_date >= $1
          AND u.create_date < $2
       RETURNING 1)
     SELECT (SELECT count(*) FROM cleared), l.message_id, l.create_date
       FROM (SELECT 1) AS one LEFT JOIN (SELECT * FROM page
         ORDER BY message_id DESC, create_date DESC LIMIT 1) AS l ON true', cloakroom.erasure())
    INTO changed, after_id, after_date
    USING p_month, (p_month + interval '1 month')::date, p_after_id, p_after_date, p_last_id, p_limit;
END $$;
COMMENT ON FUNCTION cloakroom.clear_page(bigint, date, uuid, date, uuid, integer) IS
  'clears sealed values and tokens of the next rows of a slice';
GRANT EXECUTE ON FUNCTION cloakroom.clear_page(bigint, date, uuid, date, uuid, integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.clear_rejections(p_rotation bigint, p_limit integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  changed integer;
BEGIN
  UPDATE cloakroom.rejections SET sealed_body = NULL, data_key = NULL
   WHERE message_id = ANY (ARRAY(
     SELECT r.message_id FROM cloakroom.rejections r
       JOIN cloakroom.data_keys k ON k.id = r.data_key, cloakroom.rotations n
      WHERE n.id = p_rotation AND n.step = 'shred' AND n.state = 'running' AND k.state = 'shredded'
        AND k.month < n.before
      ORDER BY r.message_id LIMIT p_limit FOR UPDATE OF r SKIP LOCKED));
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $$;
COMMENT ON FUNCTION cloakroom.clear_rejections(bigint, integer) IS
  'clears the next bodies that shredded keys sealed; returns how many';
GRANT EXECUTE ON FUNCTION cloakroom.clear_rejections(bigint, integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.finish_shred(p_rotation bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run cloakroom.rotations;
  left_over bigint;
  cleared bigint;
BEGIN
  PERFORM cloakroom.require_read_committed();
  SELECT * INTO STRICT run FROM cloakroom.rotations WHERE id = p_rotation FOR UPDATE;
  -- Count by key, not by month: a late event may have come since under a key that is not shredded.
  SELECT (SELECT count(*) FROM cloakroom.user_logins u JOIN cloakroom.data_keys k ON k.id = u.data_key
    WHERE k.state = 'shredded')
       + (SELECT count(*) FROM cloakroom.rejections r JOIN cloakroom.data_keys k ON k.id = r.data_key
         WHERE k.state = 'shredded')
    INTO left_over;
  IF run.state = 'running' AND left_over = 0 THEN
    UPDATE cloakroom.rotations SET state = 'done', finished_at = now() WHERE id = p_rotation;
    SELECT coalesce(sum(s.rows_done), 0) INTO cleared FROM cloakroom.rotation_slices s WHERE s.rotation = p_rotation;
    DELETE FROM cloakroom.rotation_slices s WHERE s.rotation = p_rotation;
    PERFORM cloakroom.append_leaf('key.shred', p_data_keys => run.data_keys, p_rows => cleared, p_result => 'cleared');
  END IF;
  RETURN left_over;
END $$;
COMMENT ON FUNCTION cloakroom.finish_shred(bigint) IS
  'counts what shredded keys still hold, and ends the shred if that is nothing';
GRANT EXECUTE ON FUNCTION cloakroom.finish_shred(bigint) TO cloakroom_rotator;
