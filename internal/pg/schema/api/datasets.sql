-- datasets: their definitions, and how one is put into the vault.

CREATE OR REPLACE FUNCTION cloakroom.dataset_definitions()
RETURNS TABLE (name text, definition text, sha256 bytea, revision integer, applied_by name, applied_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT name, definition, sha256, revision, applied_by, applied_at FROM cloakroom.datasets ORDER BY name
$$;
COMMENT ON FUNCTION cloakroom.dataset_definitions() IS
  'every dataset, as canonical JSON; a change raises the epoch, after which it is read again';
GRANT EXECUTE ON FUNCTION cloakroom.dataset_definitions() TO
  cloakroom_ingest, cloakroom_rotator, cloakroom_auditor, cloakroom_approver, cloakroom_breakglass;

CREATE OR REPLACE FUNCTION cloakroom.refuse_evolution() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  changing text := (SELECT r.dataset FROM cloakroom.rotations r WHERE r.step = 'evolve' AND r.state = 'running');
BEGIN
  IF changing IS NOT NULL THEN
    RAISE EXCEPTION 'dataset % is being changed', changing USING ERRCODE = 'CR013',
      HINT = 'Let it end first: keys rotate.';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.refuse_evolution() IS
  'refuses what must not run while a dataset is being changed; the caller has locked rotations';

CREATE OR REPLACE FUNCTION cloakroom.begin_dataset(p_name text, p_dropped bigint DEFAULT NULL) RETURNS integer[]
-- A session that waits for the fence makes every later load wait behind it.
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
BEGIN
  PERFORM cloakroom.require_read_committed();
  PERFORM cloakroom.require_durable_commit();
  -- Two that apply at once come one after the other; a reindex adds and drops columns, too.
  LOCK TABLE cloakroom.fence IN SHARE ROW EXCLUSIVE MODE;
  LOCK TABLE cloakroom.rotations IN SHARE ROW EXCLUSIVE MODE;
  LOCK TABLE cloakroom.datasets IN SHARE ROW EXCLUSIVE MODE;
  IF EXISTS (SELECT FROM cloakroom.rotations WHERE step = 'reindex' AND state = 'running') THEN
    RAISE EXCEPTION 'a reindex is under way' USING ERRCODE = 'CR013', HINT = 'Let it end first: keys reindex.';
  END IF;
  -- A change that waits at the gate ends here; the one that takes its refused index back is written down next.
  UPDATE cloakroom.rotations r SET state = 'done', phase = 'dropped', finished_at = now()
   WHERE r.id = p_dropped AND r.dataset = p_name AND r.step = 'evolve' AND r.state = 'running'
     AND 'gate' = (SELECT s.run_by FROM cloakroom.evolution_state(p_dropped) AS s);
  IF FOUND THEN
    DELETE FROM cloakroom.rotation_slices WHERE rotation = p_dropped;
  END IF;
  PERFORM cloakroom.refuse_evolution();
  RETURN cloakroom.live_versions();
END $$;
COMMENT ON FUNCTION cloakroom.begin_dataset(text, bigint) IS
  'for the owner alone, first in the transaction that applies a dataset: waits for loads, refuses while a reindex or '
  'another change is under way, but for one that waits at the gate and is named; returns the live index keys';

CREATE OR REPLACE FUNCTION cloakroom.require_free_names(p_table text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  taken text;
BEGIN
  SELECT c.relname INTO taken FROM pg_class c
   WHERE c.relnamespace = 'public'::regnamespace AND c.relname IN (p_table, p_table || '_duplicates')
     AND NOT (c.relkind = 'v' AND c.relowner = 'cloakroom_owner'::regrole
              AND EXISTS (SELECT FROM cloakroom.datasets d WHERE d.table_name = p_table));
  IF FOUND THEN
    RAISE EXCEPTION 'public.% exists already and is not cloakroom''s', taken USING ERRCODE = 'CR013',
      HINT = format('Rename it (ALTER TABLE public.%I RENAME TO %I), or give the dataset another table.',
                    taken, left(taken, 40) || '_before_cloakroom');
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_free_names(text) IS
  'refuses a table whose views would meet what somebody else has in schema public';

CREATE OR REPLACE FUNCTION cloakroom.record_dataset(
  p_name text, p_table text, p_partition_by text, p_subject text, p_has_id boolean, p_definition text, p_columns jsonb)
RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d cloakroom.datasets;
BEGIN
  INSERT INTO cloakroom.datasets AS o (name, table_name, partition_by, subject, has_id, definition, sha256)
  VALUES (p_name, p_table, p_partition_by, p_subject, p_has_id, p_definition, sha256(convert_to(p_definition, 'UTF8')))
  ON CONFLICT (name) DO UPDATE
    SET definition = excluded.definition, sha256 = excluded.sha256, revision = o.revision + 1,
        applied_by = session_user, applied_at = now()
  RETURNING * INTO STRICT d;
  -- The subject is in the associated data of every sealed value.
  IF (d.table_name, d.partition_by, d.subject, d.has_id)
     IS DISTINCT FROM (p_table, p_partition_by, p_subject, p_has_id) THEN
    RAISE EXCEPTION 'a dataset''s table, partitions, subject and id never change'
      USING ERRCODE = 'CR013', HINT = 'Make another dataset.';
  END IF;
  DELETE FROM cloakroom.dataset_columns WHERE dataset = p_name;
  INSERT INTO cloakroom.dataset_columns (dataset, position, column_name, kind, member, index_name, version, view_column)
  SELECT p_name, c.position, c.column_name, c.kind, c.member, c.index_name, c.version, c.view_column
    FROM jsonb_to_recordset(p_columns)
      AS c(position integer, column_name name, kind text, member text, index_name text, version integer,
           view_column name);
  -- From the commit on, a writer that knows the definition before is refused, and reads this one.
  PERFORM cloakroom.raise_epoch();
  PERFORM cloakroom.append_leaf('dataset.apply', p_fields => ARRAY[p_name],
    p_result => format('revision %s, %s', d.revision, encode(d.sha256, 'hex')));
  RETURN d.revision;
END $$;
COMMENT ON FUNCTION cloakroom.record_dataset(text, text, text, text, boolean, text, jsonb) IS
  'for the owner alone, last in the transaction that applies a dataset: keeps the definition and the columns, raises '
  'the epoch, logs it';
