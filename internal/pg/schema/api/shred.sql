-- Shred: every month before one. The keys go first, in one transaction; then what they sealed and its tokens, in
-- slices.

CREATE OR REPLACE FUNCTION cloakroom.shred_plan(p_before date, p_dataset text DEFAULT NULL)
RETURNS TABLE (dataset text, month date, rows bigint, rejections bigint, data_keys integer[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  every_key integer[];  -- of the month, with those shredded before
BEGIN
  FOR dataset, month IN
    SELECT d.name, m.month FROM cloakroom.datasets d
     CROSS JOIN LATERAL (SELECT date_trunc('month', t.from_date)::date AS month FROM cloakroom.partitions(d.name) AS t
                         UNION SELECT k.month FROM cloakroom.data_keys k WHERE k.dataset = d.name) AS m
     WHERE d.name = coalesce(p_dataset, d.name) AND m.month < p_before ORDER BY 1, 2 LOOP
    EXECUTE
      format('SELECT count(*) FROM %s u WHERE u.create_date >= $1 AND u.create_date < $1 + interval ''1 month''
                   AND u.data_key IS NOT NULL',
                   cloakroom.row_table(dataset)) INTO STRICT rows USING month;
    SELECT coalesce(array_agg(k.id ORDER BY k.id) FILTER (WHERE k.state <> 'shredded'), '{}'), array_agg(k.id)
      INTO data_keys, every_key FROM cloakroom.data_keys k
     WHERE k.dataset = shred_plan.dataset AND k.month = shred_plan.month;
    rejections := (SELECT count(*) FROM cloakroom.rejections r WHERE r.data_key = ANY (every_key));
    RETURN NEXT;
  END LOOP;
END $$;
COMMENT ON FUNCTION cloakroom.shred_plan(date,
  text) IS 'what shredding the months before this one makes unreadable, of a dataset or of all';
GRANT EXECUTE ON FUNCTION cloakroom.shred_plan(date, text) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.begin_shred(p_before date, p_dataset text DEFAULT NULL, OUT rotation bigint,
  OUT before date)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  gone integer[];
BEGIN
  PERFORM cloakroom.require_read_committed();
  IF p_before IS NULL OR p_before <> date_trunc('month', p_before) THEN
    RAISE EXCEPTION 'shred takes the first day of a month' USING ERRCODE = 'CR013';
  END IF;
  -- Destroying wants two: the owner says how far, and a rotator does it.
  IF p_before > coalesce((SELECT shred_before FROM cloakroom.settings), '-infinity') THEN
    RAISE EXCEPTION 'the policy does not let the months before % be shredded', to_char(p_before, 'YYYY-MM')
      USING ERRCODE = 'CR010',
      HINT = format('Who has the login of keys init allows it: keys policy set shred_before %s', to_char(p_before,
        'YYYY-MM'));
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
     WHERE k.month < p_before AND k.state <> 'shredded' AND k.dataset = coalesce(p_dataset, k.dataset) RETURNING k.id)
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO gone FROM s;
  DELETE FROM cloakroom.replaced_keys r WHERE r.purpose = 'seal' AND r.key = ANY (gone);
  INSERT INTO cloakroom.rotations (step, dataset, before, data_keys) VALUES ('shred', p_dataset, p_before,
    gone) RETURNING id INTO rotation;
  PERFORM cloakroom.add_slices(rotation, 'clear', d.name, '-infinity', p_before) FROM cloakroom.datasets d
    WHERE d.name = coalesce(p_dataset, d.name);
  PERFORM cloakroom.append_leaf('key.shred', p_data_keys => gone, p_result => concat('months before ', to_char(p_before,
    'YYYY-MM'), ' of ' || p_dataset));
END $$;
COMMENT ON FUNCTION cloakroom.begin_shred(date, text) IS
  'destroys the data keys of the months before this one, for good; or resumes the shred under way';
GRANT EXECUTE ON FUNCTION cloakroom.begin_shred(date, text) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.clear_page(
  p_rotation bigint, p_dataset text, p_part date, p_after_sent timestamptz, p_after_id uuid, p_last_sent timestamptz,
    p_limit integer,
  OUT changed integer, OUT after_sent timestamptz, OUT after_id uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
  -- The sort of the page cannot be avoided. Disabled, it has a huge cost, for which JIT would compile each batch.
  PERFORM cloakroom.require_read_committed();
  PERFORM FROM cloakroom.rotations WHERE id = p_rotation AND step = 'shred' AND state = 'running' AND p_part < before
                                     AND p_dataset = coalesce(dataset, p_dataset);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'this month is not being shredded' USING ERRCODE = 'CR013';
  END IF;
  changed := 0;
  IF cloakroom.partition_from(p_dataset, p_part) IS NULL THEN
    RETURN;
  END IF;
  EXECUTE format(
    'WITH page AS (
       SELECT u.sent, u.row_id FROM %1$s u
        WHERE (u.sent, u.row_id) > ($1, $2) AND u.sent < $3 AND u.data_key IS NOT NULL ORDER BY u.sent, u.row_id
          LIMIT $4),
     cleared AS (
       UPDATE %1$s u SET %2$s FROM page p WHERE u.sent = p.sent AND u.row_id = p.row_id RETURNING 1)
     SELECT (SELECT count(*) FROM cleared), l.sent, l.row_id
       FROM (SELECT 1) AS one LEFT JOIN (SELECT * FROM page ORDER BY sent DESC, row_id DESC LIMIT 1) AS l ON true',
    cloakroom.partition_from(p_dataset, p_part), cloakroom.erasure(p_dataset))
    INTO changed, after_sent, after_id USING p_after_sent, p_after_id, p_last_sent, p_limit;
END $$;
COMMENT ON FUNCTION cloakroom.clear_page(bigint, text, date, timestamptz, uuid, timestamptz, integer) IS
  'clears sealed values and tokens of the next rows of a slice; returns the last one''s key, NULL if there was none';
GRANT EXECUTE ON FUNCTION cloakroom.clear_page(bigint, text, date, timestamptz, uuid, timestamptz,
  integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.clear_rejections(p_rotation bigint, p_limit integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  -- Keys, then "= ANY": rejections are not joined with a local table (Citus).
  gone integer[] := ARRAY(SELECT k.id FROM cloakroom.data_keys k JOIN cloakroom.rotations n ON k.month < n.before
    AND k.dataset = coalesce(n.dataset, k.dataset)
                           WHERE n.id = p_rotation AND n.step = 'shred' AND n.state = 'running'
                             AND k.state = 'shredded');
  changed integer;
BEGIN
  WITH page AS (
    SELECT message_id, sent FROM cloakroom.rejections WHERE data_key = ANY (gone) ORDER BY message_id,
      sent LIMIT p_limit FOR UPDATE SKIP LOCKED)
  UPDATE cloakroom.rejections r SET sealed_body = NULL, data_key = NULL FROM page p WHERE r.message_id = p.message_id
    AND r.sent = p.sent;
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
  -- Not by month: a late event may have come since, under a key that is not shredded.
  SELECT coalesce(sum(h.rows + h.rejections), 0) INTO left_over
    FROM cloakroom.data_key_rows(ARRAY(SELECT k.id FROM cloakroom.data_keys k WHERE k.state = 'shredded'
      AND k.dataset = coalesce(run.dataset, k.dataset))) AS h;
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
