-- What every step of the rotation job shares: its state, its slices of work, the fence's other side.
-- +goose Up

CREATE TABLE cloakroom.rotations (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  step        text NOT NULL CHECK (step IN ('reseal', 'reindex', 'shred', 'forget')),
  state       text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done')),
  phase       text NOT NULL DEFAULT 'rows',
  data_keys   integer[] NOT NULL DEFAULT '{}',
  version     integer,
  before      date CHECK (before = date_trunc('month', before)),
  waiting_for text[],
  started_by  name NOT NULL DEFAULT session_user,
  started_at  timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  CHECK ((state = 'done') = (finished_at IS NOT NULL)),
  CHECK ((step = 'reindex') = (version IS NOT NULL)),
  CHECK ((step = 'shred') = (before IS NOT NULL))
);
COMMENT ON TABLE cloakroom.rotations IS 'runs of the rotation job, a row a step; what is running is resumed, by whoever comes next';
COMMENT ON COLUMN cloakroom.rotations.phase IS 'how far a step of several phases has come';
COMMENT ON COLUMN cloakroom.rotations.data_keys IS 'the data keys that are to have no row left (reseal), or that were shredded';
COMMENT ON COLUMN cloakroom.rotations.version IS 'the index key version whose tokens are being made';
COMMENT ON COLUMN cloakroom.rotations.before IS 'months before this one are shredded';
COMMENT ON COLUMN cloakroom.rotations.waiting_for IS 'virtual transaction ids that may still see rows as they were before the last backfill';
-- Two rotators that start a step at once work on one run of it.
CREATE UNIQUE INDEX rotations_running ON cloakroom.rotations (step) WHERE state = 'running';

-- A slice is a range of message ids of one month: what one worker claims, for one transaction. Its watermark is
-- committed with the batch it covers. Done means looked at; that nothing is left is proved by counting.
CREATE TABLE cloakroom.rotation_slices (
  rotation   bigint NOT NULL REFERENCES cloakroom.rotations ON DELETE CASCADE,
  pass       text NOT NULL CHECK (pass IN ('reseal', 'rejections', 'backfill', 'check', 'clear')),
  month      date NOT NULL,
  slice      integer NOT NULL,
  first_id   uuid NOT NULL,
  after_id   uuid NOT NULL,
  after_date date NOT NULL DEFAULT '-infinity',
  last_id    uuid NOT NULL,
  done       boolean NOT NULL DEFAULT false,
  rows_done  bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (rotation, pass, month, slice)
) WITH (fillfactor = 50);

CREATE TABLE cloakroom.quarantine (
  message_id  uuid NOT NULL,
  create_date date NOT NULL,
  step        text NOT NULL,
  data_key    integer,
  problem     text NOT NULL,
  found_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (message_id, create_date, step)
);
COMMENT ON TABLE cloakroom.quarantine IS 'rows that did not open: left as they are, and their data keys are not retired';
COMMENT ON COLUMN cloakroom.quarantine.create_date IS 'of a row; -infinity for a rejection';

-- +goose StatementBegin
CREATE FUNCTION cloakroom.raise_epoch() RETURNS bigint
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
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.raise_epoch() IS 'for the owner''s functions alone: from the commit on, a writer that knew an older epoch is refused';

-- +goose StatementBegin
CREATE FUNCTION cloakroom.member_columns(p_members text[], p_prefix text, p_suffix text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  wanted text[];
  found integer;
BEGIN
  -- Names come from the client: they must be columns of the table, and all of their kind.
  SELECT array_agg(p_prefix || m || p_suffix ORDER BY n) INTO wanted FROM unnest(p_members) WITH ORDINALITY AS g(m, n);
  SELECT count(*) INTO found FROM pg_attribute
   WHERE attrelid = 'cloakroom.user_logins'::regclass AND attnum > 0 AND NOT attisdropped AND attname = ANY (wanted);
  IF found IS DISTINCT FROM cardinality(p_members) OR found IS DISTINCT FROM (
       SELECT count(*)::integer FROM pg_attribute
        WHERE attrelid = 'cloakroom.user_logins'::regclass AND attnum > 0 AND NOT attisdropped AND attname LIKE 'sealed\_%') THEN
    RAISE EXCEPTION 'the members named are not those of the table' USING ERRCODE = 'CR013',
      HINT = 'Run the program of the same version as the schema.';
  END IF;
  RETURN wanted;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.add_slices(p_rotation bigint, p_pass text, p_months date[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  of_month date;
  n integer;
BEGIN
  FOREACH of_month IN ARRAY p_months LOOP
    -- Some 50 thousand rows a slice, so that even a page that finds nothing is a short statement.
    n := CASE WHEN p_pass = 'rejections' THEN 1 ELSE
           least(65536, greatest(1, coalesce(pg_relation_size(to_regclass('cloakroom.user_logins_' || to_char(of_month, 'YYYY_MM'))), 0) / 250 / 50000)) END;
    INSERT INTO cloakroom.rotation_slices (rotation, pass, month, slice, first_id, after_id, last_id)
    SELECT p_rotation, p_pass, of_month, s, b.first_id, b.first_id, b.last_id
      FROM generate_series(0, n - 1) AS s,
           LATERAL (SELECT (lpad(to_hex(s::bigint * 65536 / n), 4, '0') || '0000-0000-0000-0000-000000000000')::uuid,
                           (lpad(to_hex((s + 1)::bigint * 65536 / n - 1), 4, '0') || 'ffff-ffff-ffff-ffff-ffffffffffff')::uuid) AS b(first_id, last_id)
    ON CONFLICT DO NOTHING;
  END LOOP;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.claim_slice(p_rotation bigint, p_pass text)
RETURNS TABLE (month date, slice integer, after_id uuid, after_date date, last_id uuid)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT month, slice, after_id, after_date, last_id FROM cloakroom.rotation_slices
   WHERE rotation = p_rotation AND pass = p_pass AND NOT done
   ORDER BY month, slice LIMIT 1 FOR UPDATE SKIP LOCKED
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.claim_slice(bigint, text) IS 'a slice with work left, for this transaction; another worker skips it';
GRANT EXECUTE ON FUNCTION cloakroom.claim_slice(bigint, text) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.advance_slice(p_rotation bigint, p_pass text, p_month date, p_slice integer, p_after_id uuid, p_after_date date, p_done boolean, p_rows integer)
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE cloakroom.rotation_slices SET after_id = p_after_id, after_date = p_after_date, done = p_done, rows_done = rows_done + p_rows
   WHERE rotation = p_rotation AND pass = p_pass AND month = p_month AND slice = p_slice
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.advance_slice(bigint, text, date, integer, uuid, date, boolean, integer)
  IS 'moves the watermark of a slice that this transaction claimed';
GRANT EXECUTE ON FUNCTION cloakroom.advance_slice(bigint, text, date, integer, uuid, date, boolean, integer) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.quarantine_rows(p_step text, p_ids uuid[], p_dates date[], p_keys integer[], p_problems text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT (cardinality(p_ids) = ALL (ARRAY[cardinality(p_dates), cardinality(p_keys), cardinality(p_problems)])) THEN
    RAISE EXCEPTION 'the arrays are not of one length' USING ERRCODE = 'CR013';
  END IF;
  INSERT INTO cloakroom.quarantine (message_id, create_date, step, data_key, problem)
  SELECT id, date, p_step, key, problem FROM unnest(p_ids, p_dates, p_keys, p_problems) AS g(id, date, key, problem) ORDER BY id, date
  ON CONFLICT (message_id, create_date, step) DO UPDATE SET data_key = excluded.data_key, problem = excluded.problem, found_at = now();
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.quarantine_rows(text, uuid[], date[], integer[], text[]) IS 'names rows that did not open; they keep their data key from being retired';
GRANT EXECUTE ON FUNCTION cloakroom.quarantine_rows(text, uuid[], date[], integer[], text[]) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.quarantined(p_step text) RETURNS TABLE (message_id uuid, create_date text, data_key integer, problem text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT message_id, create_date::text, data_key, problem FROM cloakroom.quarantine WHERE step = p_step ORDER BY message_id, create_date
$$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.quarantined(text) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.pass_progress(p_rotation bigint, p_pass text, OUT slices_left bigint, OUT rows_done bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT count(*) FILTER (WHERE NOT done), coalesce(sum(rows_done), 0)::bigint
    FROM cloakroom.rotation_slices WHERE rotation = p_rotation AND pass = p_pass
$$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.pass_progress(bigint, text) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.restart_pass(p_rotation bigint, p_pass text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run cloakroom.rotations;
BEGIN
  -- Two rotators that both find rows left begin the new pass once: the second finds slices that are not done.
  SELECT * INTO STRICT run FROM cloakroom.rotations WHERE id = p_rotation FOR UPDATE;
  PERFORM FROM cloakroom.rotation_slices WHERE rotation = p_rotation AND pass = p_pass AND NOT done;
  IF FOUND OR run.state = 'done' THEN
    RETURN;
  END IF;
  DELETE FROM cloakroom.quarantine WHERE step = run.step;
  UPDATE cloakroom.rotation_slices SET done = false, after_date = '-infinity', after_id = first_id
   WHERE rotation = p_rotation AND pass = p_pass;
END $$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.restart_pass(bigint, text) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.rotation_running(p_step text) RETURNS SETOF cloakroom.rotations
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM cloakroom.rotations WHERE step = p_step AND state = 'running'
$$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.rotation_running(text) TO cloakroom_rotator;
