-- Passes of the rotation job: slices of work that workers claim, quarantine, progress.

CREATE OR REPLACE FUNCTION cloakroom.add_slices(p_rotation bigint, p_pass text, p_dataset text, p_from date, p_to date)
  RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p record;
  n integer;
BEGIN
  -- Every partition with a day from p_from to before p_to.
  FOR p IN SELECT * FROM cloakroom.partitions(p_dataset) AS t WHERE t.from_date < p_to AND t.to_date > p_from LOOP
    -- Some 50 thousand rows a slice, so that even a page that finds nothing is a short statement.
    n := least(65536, greatest(1, pg_relation_size(p.part) / 250 / 50000));
    INSERT INTO cloakroom.rotation_slices (rotation, pass, dataset, part, slice, first_sent, after_sent, after_id,
      last_sent)
    SELECT p_rotation, p_pass, p_dataset, p.from_date, s, b.first_sent, b.first_sent - interval '1 microsecond',
           'ffffffff-ffff-ffff-ffff-ffffffffffff', b.last_sent
      FROM generate_series(0, n - 1) AS s,
           LATERAL (SELECT (p.from_date::timestamp + (p.to_date::timestamp - p.from_date::timestamp) * s / n) AT TIME
             ZONE 'UTC',
                           (p.from_date::timestamp + (p.to_date::timestamp - p.from_date::timestamp) * (s + 1) / n) AT
                             TIME ZONE 'UTC')
             AS b(first_sent, last_sent)
    ON CONFLICT DO NOTHING;
  END LOOP;
END $$;
COMMENT ON FUNCTION cloakroom.add_slices(bigint, text, text, date, date) IS
  'makes the slices of a pass over partitions: ranges of time of some 50,000 rows each';

CREATE OR REPLACE FUNCTION cloakroom.add_slices_of_all(p_rotation bigint, p_pass text) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT cloakroom.add_slices(p_rotation, p_pass, d.name, '-infinity', 'infinity') FROM cloakroom.datasets d
$$;
COMMENT ON FUNCTION cloakroom.add_slices_of_all(bigint,
  text) IS 'makes the slices of a pass over every dataset that are not there yet';

CREATE OR REPLACE FUNCTION cloakroom.claim_slice(p_rotation bigint, p_pass text)
RETURNS TABLE (dataset text, part date, slice integer, after_sent timestamptz, after_id uuid, last_sent timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT set_config('synchronous_commit', 'off', true);
  SELECT dataset, part, slice, after_sent, after_id, last_sent FROM cloakroom.rotation_slices
   WHERE rotation = p_rotation AND pass = p_pass AND NOT done
   ORDER BY dataset, part, slice LIMIT 1 FOR UPDATE SKIP LOCKED
$$;
COMMENT ON FUNCTION cloakroom.claim_slice(bigint, text) IS
  'a slice with work left, for this transaction; another worker skips it';
GRANT EXECUTE ON FUNCTION cloakroom.claim_slice(bigint, text) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.advance_slice(
  p_rotation bigint, p_pass text, p_dataset text, p_part date, p_slice integer, p_after_sent timestamptz,
    p_after_id uuid,
  p_done boolean, p_rows integer) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE cloakroom.rotation_slices SET after_sent = p_after_sent, after_id = p_after_id, done = p_done,
    rows_done = rows_done + p_rows
   WHERE rotation = p_rotation AND pass = p_pass AND dataset = p_dataset AND part = p_part AND slice = p_slice
$$;
COMMENT ON FUNCTION cloakroom.advance_slice(bigint, text, text, date, integer, timestamptz, uuid, boolean, integer)
  IS 'moves the watermark of a slice that this transaction claimed';
GRANT EXECUTE ON FUNCTION cloakroom.advance_slice(bigint, text, text, date, integer, timestamptz, uuid, boolean,
  integer) TO
  cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.quarantine_rows(
  p_step text, p_dataset text, p_rejections boolean, p_ids uuid[], p_sents timestamptz[], p_keys integer[],
    p_problems text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT (cardinality(p_ids) = ALL (ARRAY[cardinality(p_sents), cardinality(p_keys), cardinality(p_problems)])) THEN
    RAISE EXCEPTION 'the arrays are not of one length' USING ERRCODE = 'CR013';
  END IF;
  INSERT INTO cloakroom.quarantine (dataset, row_id, sent, rejection, step, data_key, problem)
  SELECT p_dataset, id, at, p_rejections, p_step, key, problem
    FROM unnest(p_ids, p_sents, p_keys, p_problems) AS g(id, at, key, problem) ORDER BY id, at
  ON CONFLICT (dataset, row_id, sent, rejection, step)
    DO UPDATE SET data_key = excluded.data_key, problem = excluded.problem, found_at = now();
END $$;
COMMENT ON FUNCTION cloakroom.quarantine_rows(text, text, boolean, uuid[], timestamptz[], integer[], text[]) IS
  'names rows, or rejections, that did not open; they keep their data key from being retired';
GRANT EXECUTE ON FUNCTION cloakroom.quarantine_rows(text, text, boolean, uuid[], timestamptz[], integer[],
  text[]) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.quarantined(p_step text)
RETURNS TABLE (dataset text, row_id uuid, sent timestamptz, rejection boolean, data_key integer, problem text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT dataset, row_id, sent, rejection, data_key, problem FROM cloakroom.quarantine WHERE step = p_step ORDER BY 1,
    3, 2
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
  sampled CONSTANT integer := 1000;  -- pages of a partition; one of fewer is counted
  keys integer[] := (SELECT r.data_keys FROM cloakroom.rotations r WHERE r.id = p_rotation);
  part regclass;
  percent real;
  found bigint;
  n bigint := 0;
BEGIN
  IF p_pass = 'rejections' THEN
    RETURN (SELECT count(*) FROM cloakroom.rejections r WHERE r.data_key = ANY (keys));
  END IF;
  FOR part IN SELECT cloakroom.partition_from(s.dataset, s.part)
                FROM (SELECT DISTINCT l.dataset, l.part FROM cloakroom.rotation_slices l
                       WHERE l.rotation = p_rotation AND l.pass = p_pass AND NOT l.done) s LOOP
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
  UPDATE cloakroom.rotation_slices SET done = false,
         after_sent = CASE pass WHEN 'rejections' THEN '-infinity' ELSE first_sent - interval '1 microsecond' END,
         after_id = CASE pass WHEN 'rejections' THEN '00000000-0000-0000-0000-000000000000'
           ELSE 'ffffffff-ffff-ffff-ffff-ffffffffffff' END::uuid
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
  OUT partitions bigint, OUT closing integer[], OUT due integer[], OUT rows bigint, OUT rejections bigint,
    OUT sealed bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d text;
  due_here bigint;
  sealed_here bigint;
BEGIN
  SELECT count(*) INTO partitions FROM cloakroom.partitions_ahead() AS a WHERE cloakroom.partition_from(a.dataset,
    a.from_date) IS NULL;
  SELECT coalesce(array_agg(id ORDER BY id) FILTER (WHERE state = 'active'), '{}'), coalesce(array_agg(id ORDER BY id),
    '{}') INTO closing, due
    FROM cloakroom.data_keys WHERE state IN ('active', 'closed') AND created_at < p_made_before;
  rows := 0;
  sealed := 0;
  FOR d IN SELECT name FROM cloakroom.datasets LOOP
    EXECUTE format('SELECT count(*) FILTER (WHERE u.data_key = ANY ($1)), count(u.data_key) FROM %s u',
      cloakroom.row_table(d))
      INTO STRICT due_here, sealed_here USING due;
    rows := rows + due_here;
    sealed := sealed + sealed_here;
  END LOOP;
  SELECT count(*) INTO rejections FROM cloakroom.rejections r WHERE r.data_key = ANY (due);
END $$;
COMMENT ON FUNCTION cloakroom.rotation_plan(timestamptz) IS
  'partitions to be made; data keys to be closed and resealed if keys made before a time are due, and what they '
  'hold; sealed rows in all';
GRANT EXECUTE ON FUNCTION cloakroom.rotation_plan(timestamptz) TO cloakroom_rotator;
