-- Changing a dataset while everything runs. keys dataset apply writes the plan down; who holds the role rotator
-- takes it on, step by step. Each function does its own step, or nothing where another rotator did it.

CREATE OR REPLACE FUNCTION cloakroom.begin_evolution(
  p_dataset text, p_version integer, p_definition text, p_columns jsonb, p_members text[], p_clear name[],
  p_tokens name[], p_reveals name[], p_again name[], p_judged name[], p_remains text[], p_steps jsonb)
  RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run bigint;
BEGIN
  INSERT INTO cloakroom.rotations (step, dataset, phase)
  SELECT 'evolve', p_dataset, s.title
    FROM jsonb_to_recordset(p_steps) AS s(number integer, title text) WHERE s.number = 1
  RETURNING id INTO STRICT run;
  INSERT INTO cloakroom.evolutions (rotation, dataset, version, old_definition, definition, columns, members,
                                    clear_columns, token_columns, reveal_columns, again_columns, judged_columns,
                                    remains)
  SELECT run, d.name, p_version, d.definition, p_definition, p_columns, p_members, p_clear, p_tokens, p_reveals,
    p_again, p_judged, p_remains
    FROM cloakroom.datasets d WHERE d.name = p_dataset;
  INSERT INTO cloakroom.evolution_steps (rotation, number, run_by, title, sql)
  SELECT run, s.number, s.run_by, s.title, s.sql
    FROM jsonb_to_recordset(p_steps) AS s(number integer, run_by text, title text, sql text);
  DELETE FROM cloakroom.quarantine WHERE step = 'evolve';
  PERFORM cloakroom.append_leaf('dataset.change', p_fields => ARRAY[p_dataset],
    p_result => encode(sha256(convert_to(p_definition, 'UTF8')), 'hex'));
  RETURN run;
END $$;
COMMENT ON FUNCTION cloakroom.begin_evolution(text, integer, text, jsonb, text[], name[], name[], name[], name[],
  name[], text[], jsonb) IS
  'for the owner alone, after begin_dataset(): writes a planned change down; nothing is changed yet';

CREATE OR REPLACE FUNCTION cloakroom.evolution_state(
  p_rotation bigint, OUT dataset text, OUT version integer, OUT definition text, OUT members text[], OUT tokens text[],
  OUT reveals text[], OUT remains text[], OUT state text, OUT step integer, OUT run_by text, OUT title text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT e.dataset, e.version, e.definition, e.members, e.token_columns::text[], e.reveal_columns::text[], e.remains,
    r.state,
         coalesce(s.number, 0), coalesce(s.run_by, ''), coalesce(s.title, '')
    FROM cloakroom.evolutions e JOIN cloakroom.rotations r ON r.id = e.rotation
    LEFT JOIN LATERAL (SELECT * FROM cloakroom.evolution_steps n
                        WHERE n.rotation = e.rotation AND n.done_at IS NULL AND n.run_by <> 'operator'
                        ORDER BY n.number LIMIT 1) s ON true
   WHERE e.rotation = p_rotation
$$;
COMMENT ON FUNCTION cloakroom.evolution_state(bigint) IS
  'how far the change of a dataset has come, and which step is next; 0: none';
GRANT EXECUTE ON FUNCTION cloakroom.evolution_state(bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.operator_steps(p_rotation bigint) RETURNS TABLE (title text, sql text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT title, sql FROM cloakroom.evolution_steps WHERE rotation = p_rotation AND run_by = 'operator' ORDER BY number
$$;
COMMENT ON FUNCTION cloakroom.operator_steps(bigint) IS 'what is left to the operator when a change is done';
GRANT EXECUTE ON FUNCTION cloakroom.operator_steps(bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.evolving(p_rotation bigint, p_step integer, p_by text DEFAULT NULL)
  RETURNS cloakroom.evolutions
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  e cloakroom.evolutions;
BEGIN
  PERFORM cloakroom.require_read_committed();
  PERFORM FROM cloakroom.rotations WHERE id = p_rotation AND step = 'evolve' AND state = 'running' FOR UPDATE;
  -- A later snapshot than the lock: another rotator's step is seen.
  IF FOUND AND EXISTS (SELECT FROM cloakroom.evolution_state(p_rotation) AS s
                        WHERE s.step = p_step AND s.run_by = coalesce(p_by, s.run_by)) THEN
    SELECT * INTO e FROM cloakroom.evolutions WHERE rotation = p_rotation;
  END IF;
  RETURN e;
END $$;
COMMENT ON FUNCTION cloakroom.evolving(bigint, integer, text) IS
  'locks the change of a dataset if this is its next step, and one of that kind; NULL if another rotator has taken it '
  'further';

CREATE OR REPLACE FUNCTION cloakroom.evolved(p_rotation bigint, p_step integer) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  following record;
BEGIN
  UPDATE cloakroom.evolution_steps SET done_at = now() WHERE rotation = p_rotation AND number = p_step;
  SELECT * INTO STRICT following FROM cloakroom.evolution_state(p_rotation);
  IF following.step > 0 THEN
    UPDATE cloakroom.rotations SET phase = following.title WHERE id = p_rotation;
    RETURN;
  END IF;
  UPDATE cloakroom.rotations SET state = 'done', phase = 'done', finished_at = now() WHERE id = p_rotation;
  DELETE FROM cloakroom.rotation_slices WHERE rotation = p_rotation;
  PERFORM cloakroom.append_leaf('dataset.changed', p_fields => ARRAY[following.dataset]);
END $$;
COMMENT ON FUNCTION cloakroom.evolved(bigint, integer) IS 'marks a step as done, and the change with the last one';

CREATE OR REPLACE FUNCTION cloakroom.evolve_step(p_rotation bigint, p_step integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  e cloakroom.evolutions := cloakroom.evolving(p_rotation, p_step);
  s cloakroom.evolution_steps;
  d cloakroom.datasets;
  unfilled boolean;
BEGIN
  IF e.rotation IS NULL THEN
    RETURN;
  END IF;
  PERFORM cloakroom.require_durable_commit();
  SELECT * INTO STRICT s FROM cloakroom.evolution_steps WHERE rotation = p_rotation AND number = p_step;
  IF s.run_by = 'owner' THEN
    BEGIN
      EXECUTE s.sql;
    EXCEPTION WHEN dependent_objects_still_exist THEN
      -- The server names them in the detail alone, which no program of ours shows.
      RAISE EXCEPTION 'others depend on the views of dataset %: %', e.dataset, (
        SELECT string_agg(DISTINCT v.oid::regclass::text, ', ')
          FROM pg_depend p JOIN pg_rewrite w ON w.oid = p.objid AND p.classid = 'pg_rewrite'::regclass
          JOIN pg_class v ON v.oid = w.ev_class
         WHERE p.refclassid = 'pg_class'::regclass AND p.refobjid <> v.oid
           AND p.refobjid IN (SELECT to_regclass(format('public.%I', n.table_name || n.suffix))
                                FROM (SELECT o.table_name, x.suffix
                                        FROM cloakroom.datasets o, unnest(ARRAY['', '_duplicates']) AS x(suffix)
                                       WHERE o.name = e.dataset) AS n)
           AND v.oid IS DISTINCT FROM (SELECT to_regclass(format('public.%I', o.table_name || '_duplicates'))
                                         FROM cloakroom.datasets o WHERE o.name = e.dataset))
        USING ERRCODE = 'CR013', HINT = 'Drop them, run keys rotate, and make them again.';
    WHEN check_violation OR raise_exception THEN
      -- A writer of its own kind stored a row as no daemon does, after the rows were filled. They are filled again: by
      -- now the CHECKs hold every row that comes.
      EXECUTE format('SELECT EXISTS (SELECT u.row_id FROM %s u WHERE %s)', cloakroom.row_table(e.dataset),
                     cloakroom.unfilled(p_rotation, false)) INTO STRICT unfilled;
      IF NOT unfilled THEN
        RAISE;
      END IF;
      UPDATE cloakroom.evolution_steps SET done_at = NULL WHERE rotation = p_rotation AND run_by = 'fill';
      RETURN;
    END;
  ELSIF s.run_by = 'epoch' THEN
    d := cloakroom.dataset_of(e.dataset);
    PERFORM cloakroom.record_dataset(d.name, d.table_name, d.partition_by, d.subject, d.has_id, e.definition,
      e.columns);
    -- Rows stored from now on are as the new definition says: what is there now is all that has to be filled.
    PERFORM cloakroom.add_slices(p_rotation, 'evolve', d.name, '-infinity', 'infinity');
  ELSE
    RAISE EXCEPTION 'this step is for the rotation job' USING ERRCODE = 'CR013';
  END IF;
  PERFORM cloakroom.evolved(p_rotation, p_step);
END $$;
COMMENT ON FUNCTION cloakroom.evolve_step(bigint, integer) IS
  'takes the next step of a change, as the owner planned it: its SQL, or the new definition comes into force';
GRANT EXECUTE ON FUNCTION cloakroom.evolve_step(bigint, integer) TO cloakroom_rotator;
