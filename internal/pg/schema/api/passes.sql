-- Passes of the rotation job: slices of work that workers claim, quarantine, progress.

CREATE OR REPLACE FUNCTION cloakroom.add_slices(p_rotation bigint, p_pass text, p_months date[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  of_month date;
  n integer;
BEGIN
  FOREACH of_month IN ARRAY p_months LOOP
    -- About 50,000 rows a slice (250 bytes each), so that even a page that finds nothing is a short statement.
    n := CASE WHEN p_pass = 'rejections' THEN 1 ELSE
           least(65536, greatest(1, coalesce(pg_relation_size(to_regclass('cloakroom.user_logins_'
             || to_char(of_month, 'YYYY_MM'))), 0) / 250 / 50000)) END;
    INSERT INTO cloakroom.rotation_slices (rotation, pass, month, slice, first_id, after_id, last_id)
    SELECT p_rotation, p_pass, of_month, s, b.first_id, b.first_id, b.last_id
      FROM generate_series(0, n - 1) AS s,
           LATERAL (SELECT (lpad(to_hex(s::bigint * 65536 / n), 4, '0') || '0000-0000-0000-0000-000000000000')::uuid,
                           (lpad(to_hex((s + 1)::bigint * 65536 / n - 1), 4, '0')
                             || 'ffff-ffff-ffff-ffff-ffffffffffff')::uuid) AS b(first_id, last_id)
    ON CONFLICT DO NOTHING;
  END LOOP;
END $$;
COMMENT ON FUNCTION cloakroom.add_slices(bigint, text, date[]) IS
  'makes the slices of a pass over months: ranges of message ids of some 50,000 rows each';

CREATE OR REPLACE FUNCTION cloakroom.claim_slice(p_rotation bigint, p_pass text)
RETURNS TABLE (month date, slice integer, after_id uuid, after_date date, last_id uuid)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT set_config('synchronous_commit', 'off', true);
  SELECT month, slice, after_id, after_date, last_id FROM cloakroom.rotation_slices
   WHERE rotation = p_rotation AND pass = p_pass AND NOT done
   ORDER BY month, slice LIMIT 1 FOR UPDATE SKIP LOCKED
$$;
COMMENT ON FUNCTION cloakroom.claim_slice(bigint, text) IS
  'a slice with work left, for this transaction; another worker skips it';
GRANT EXECUTE ON FUNCTION cloakroom.claim_slice(bigint, text) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.advance_slice(
  p_rotation bigint, p_pass text, p_month date, p_slice integer, p_after_id uuid, p_after_date date, p_done boolean,
  p_rows integer)
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE cloakroom.rotation_slices SET after_id = p_after_id, after_date = p_after_date, done = p_done,
    rows_done = rows_done + p_rows
   WHERE rotation = p_rotation AND pass = p_pass AND month = p_month AND slice = p_slice
$$;
COMMENT ON FUNCTION cloakroom.advance_slice(bigint, text, date, integer, uuid, date, boolean, integer)
  IS 'moves the watermark of a slice that this transaction claimed';
GRANT EXECUTE ON FUNCTION cloakroom.advance_slice(bigint, text, date, integer, uuid, date, boolean, integer) TO
  cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.quarantine_rows(
  p_step text, p_ids uuid[], p_dates date[], p_keys integer[], p_problems text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT (cardinality(p_ids) = ALL (ARRAY[cardinality(p_dates), cardinality(p_keys), cardinality(p_problems)])) THEN
    RAISE EXCEPTION 'the arrays are not of one length' USING ERRCODE = 'CR013';
  END IF;
  INSERT INTO cloakroom.quarantine (message_id, create_date, step, data_key, problem)
  SELECT id, date, p_step, key, problem FROM unnest(p_ids, p_dates, p_keys, p_problems) AS g(id, date, key, problem)
    ORDER BY id, date
  ON CONFLICT (message_id, create_date, step)
    DO UPDATE SET data_key = excluded.data_key, problem = excluded.problem, found_at = now();
END $$;
COMMENT ON FUNCTION cloakroom.quarantine_rows(text, uuid[], date[], integer[], text[]) IS
  'names rows that did not open; they keep their data key from being retired';
GRANT EXECUTE ON FUNCTION cloakroom.quarantine_rows(text, uuid[], date[], integer[], text[]) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.quarantined(p_step text)
RETURNS TABLE (message_id uuid, create_date text, data_key integer, problem text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT message_id, create_date::text, data_key, problem FROM cloakroom.quarantine WHERE step = p_step
    ORDER BY message_id, create_date
$$;
COMMENT ON FUNCTION cloakroom.quarantined(text) IS 'rows of a step that did not open';
GRANT EXECUTE ON FUNCTION cloakroom.quarantined(text) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.pass_progress(
  p_rotation bigint, p_pass text, OUT slices_left bigint, OUT rows_done bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT count(*) FILTER (WHERE NOT done), coalesce(sum(rows_done), 0)::bigint
    FROM cloakroom.rotation_slices WHERE rotation = p_rotation AND pass = p_pass
$$;
COMMENT ON FUNCTION cloakroom.pass_progress(bigint, text) IS
  'how many slices of a pass are left, and how many rows were done';
GRANT EXECUTE ON FUNCTION cloakroom.pass_progress(bigint, text) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.pass_rows(p_rotation bigint, p_pass text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  sampled CONSTANT integer := 1000;  -- pages of a month; a month of fewer is counted
  keys integer[] := (SELECT r.data_keys FROM cloakroom.rotations r WHERE r.id = p_rotation);
  part regclass;
  percent real;
  found bigint;
  n bigint := 0;
BEGIN
  IF p_pass = 'rejections' THEN
    RETURN (SELECT count(*) FROM cloakroom.rejections r WHERE r.data_key = ANY (keys));
  END IF;
  FOR part IN SELECT cloakroom.month_partition(s.month)
                FROM (SELECT DISTINCT month FROM cloakroom.rotation_slices WHERE rotation = p_rotation AND pass = p_pass
                  AND NOT done) s LOOP
    CONTINUE WHEN part IS NULL;
    IF p_pass = 'reseal' THEN
      percent := least(100, 100.0 * sampled * current_setting('block_size')::integer /
                            greatest(pg_relation_size(part), 1));
      EXECUTE format('SELECT count(*) FROM %s TABLESAMPLE SYSTEM (%s) WHERE data_key = ANY ($1)', part, percent)
        INTO found USING keys;
      n := n + (found * 100 / percent)::bigint;
    ELSE
      -- The count of the last ANALYZE. Counting would cost a tenth of the pass.
      n := n + (SELECT greatest(c.reltuples, 0)::bigint FROM pg_class c WHERE c.oid = part);
    END IF;
  END LOOP;
  RETURN n;
END $$;
COMMENT ON FUNCTION cloakroom.pass_rows(bigint, text) IS 'about how many rows a pass has before it; 0: not known';
GRANT EXECUTE ON FUNCTION cloakroom.pass_rows(bigint, text) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.restart_pass(p_rotation bigint, p_pass text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run cloakroom.rotations;
BEGIN
  -- If two rotators both find rows left, the second finds unfinished slices here and does not restart the pass again.
  SELECT * INTO STRICT run FROM cloakroom.rotations WHERE id = p_rotation FOR UPDATE;
  PERFORM FROM cloakroom.rotation_slices WHERE rotation = p_rotation AND pass = p_pass AND NOT done;
  IF FOUND OR run.state = 'done' THEN
    RETURN;
  END IF;
  DELETE FROM cloakroom.quarantine WHERE step = run.step;
  UPDATE cloakroom.rotation_slices SET done = false, after_date = '-infinity', after_id = first_id
   WHERE rotation = p_rotation AND pass = p_pass;
END $$;
COMMENT ON FUNCTION cloakroom.restart_pass(bigint, text) IS 'begins a finished pass again, because rows are left';
GRANT EXECUTE ON FUNCTION cloakroom.restart_pass(bigint, text) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.rotation_running(p_step text) RETURNS SETOF cloakroom.rotations
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM cloakroom.rotations WHERE step = p_step AND state = 'running'
$$;
COMMENT ON FUNCTION cloakroom.rotation_running(text) IS 'the run of a step that is under way';
GRANT EXECUTE ON FUNCTION cloakroom.rotation_running(text) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.rotation_plan(p_made_before timestamptz,
  OUT months integer, OUT closing integer[], OUT due integer[], OUT logins bigint, OUT rejections bigint,
    OUT sealed bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  SELECT count(*) FILTER (WHERE to_regclass('cloakroom.user_logins_'
    || to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month', 'YYYY_MM')) IS NULL)
    INTO months FROM generate_series(0, 3) AS n;
  SELECT coalesce(array_agg(id ORDER BY id) FILTER (WHERE state = 'active'), '{}'),
    coalesce(array_agg(id ORDER BY id), '{}') INTO closing, due
    FROM cloakroom.data_keys WHERE state IN ('active', 'closed') AND created_at < p_made_before;
  SELECT count(*) FILTER (WHERE u.data_key = ANY (due)), count(u.data_key) INTO logins, sealed
    FROM cloakroom.user_logins u;
  SELECT count(*) INTO rejections FROM cloakroom.rejections r WHERE r.data_key = ANY (due);
END $$;
COMMENT ON FUNCTION cloakroom.rotation_plan(timestamptz) IS
  'months to be made; data keys to be closed and resealed if keys made before a time are due, and what they hold; '
  'sealed rows in all';
GRANT EXECUTE ON FUNCTION cloakroom.rotation_plan(timestamptz) TO cloakroom_rotator;
