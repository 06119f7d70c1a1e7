-- Reindex, last phases: check every row, wait for old snapshots, let the view show the new tokens, drop the old
-- columns.

CREATE OR REPLACE FUNCTION cloakroom.finish_check(p_rotation bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'check');
  left_over bigint;
BEGIN
  IF run.id IS NULL THEN
    RETURN 0;
  END IF;
  IF cloakroom.rows_without_token(p_rotation) > 0 THEN
    -- An ingest login's own client stored them before the CHECK was there. Now no more come: back to make their tokens.
    DELETE FROM cloakroom.rotation_slices s WHERE s.rotation = p_rotation AND s.pass = 'check';
    UPDATE cloakroom.rotations SET phase = 'backfill' WHERE id = p_rotation;
    PERFORM cloakroom.restart_pass(p_rotation, 'backfill');
    RETURN 0;
  END IF;
  PERFORM cloakroom.add_slices_of_all(p_rotation, 'check');
  SELECT count(*) INTO left_over FROM cloakroom.rotation_slices s WHERE s.rotation = p_rotation AND s.pass = 'check'
    AND NOT s.done;
  SELECT left_over + count(*) INTO left_over FROM cloakroom.quarantine q WHERE q.step = 'reindex';
  IF left_over = 0 THEN
    UPDATE cloakroom.rotations SET phase = 'validate' WHERE id = p_rotation;
  END IF;
  RETURN left_over;
END $$;
COMMENT ON FUNCTION cloakroom.finish_check(bigint) IS
  'counts what is unchecked or wrong; none: on to validating the CHECKs. Rows without a token: back to make them';
GRANT EXECUTE ON FUNCTION cloakroom.finish_check(bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.not_valid_checks()
RETURNS TABLE (dataset text, rel regclass, con name, leaf boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT d.name, c.conrelid::regclass, c.conname, c.conrelid <> cloakroom.row_table(d.name)
    FROM cloakroom.datasets d
    JOIN pg_constraint c ON c.contype = 'c' AND NOT c.convalidated
     AND (c.conrelid = cloakroom.row_table(d.name)
          OR c.conrelid IN (SELECT p.part FROM cloakroom.partitions(d.name) AS p))
     -- Ours have their column's name; others are their makers' business.
     AND EXISTS (SELECT FROM cloakroom.dataset_columns k WHERE k.dataset = d.name AND k.column_name = c.conname)
$$;
COMMENT ON FUNCTION cloakroom.not_valid_checks() IS
  'CHECKs of row tables and their partitions that are not proven of the rows that are there';

CREATE OR REPLACE FUNCTION cloakroom.reindex_validate(p_rotation bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'validate');
  left_over bigint;
  of record;
BEGIN
  IF run.id IS NULL THEN
    RETURN 0;
  END IF;
  -- One constraint of one partition a transaction: it is read whole, and only DDL and VACUUM wait. The parents' come
  -- last, and find nothing left to read.
  FOR of IN SELECT n.rel, n.con FROM cloakroom.not_valid_checks() AS n ORDER BY n.leaf DESC, 1, 2 LIMIT 1 LOOP
    EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', of.rel, of.con);
  END LOOP;
  SELECT count(*) INTO left_over FROM cloakroom.not_valid_checks();
  IF left_over = 0 THEN
    -- A transaction that began earlier may have a snapshot from before the backfill.
    UPDATE cloakroom.rotations SET phase = 'snapshots',
      waiting_for = ARRAY(SELECT t.transaction FROM cloakroom.transactions() t) WHERE id = p_rotation;
  END IF;
  RETURN left_over;
END $$;
COMMENT ON FUNCTION cloakroom.reindex_validate(bigint) IS
  'proves one CHECK of one partition of the rows that are there, and returns how many are left; none: on to waiting '
  'for old snapshots';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_validate(bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.transactions() RETURNS TABLE (transaction text, pid integer)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  -- Virtual transactions, as CREATE INDEX CONCURRENTLY uses: everybody may see them, while backend_xmin needs
  -- privileges. Vacuum has no user and reads no view.
  SELECT l.virtualtransaction, l.pid
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
   WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid() AND a.datname = current_database()
     AND a.usesysid IS NOT NULL
$$;
COMMENT ON FUNCTION cloakroom.transactions() IS
  'virtual transactions of this database other than our own, and their processes';

CREATE OR REPLACE FUNCTION cloakroom.reindex_snapshots(p_rotation bigint) RETURNS integer[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'snapshots');
  holders integer[];
BEGIN
  IF run.id IS NULL THEN
    RETURN '{}';
  END IF;
  SELECT coalesce(array_agg(t.pid), '{}') INTO holders FROM cloakroom.transactions() t
    WHERE t.transaction = ANY (run.waiting_for);
  IF cardinality(holders) = 0 THEN
    UPDATE cloakroom.rotations SET phase = 'swap', waiting_for = NULL WHERE id = p_rotation;
  END IF;
  RETURN holders;
END $$;
COMMENT ON FUNCTION cloakroom.reindex_snapshots(bigint) IS
  'processes whose transactions may still see rows without the new tokens; none: on to the swap';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_snapshots(bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.view_query(p_dataset text, p_version integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- The columns that the view has, in their order; only where the tokens come from changes.
  SELECT 'SELECT ' || string_agg(CASE WHEN t.column_name IS NULL THEN format('r.%I', a.attname)
                                      ELSE format('r.%I AS %I', t.column_name, a.attname) END, ', ' ORDER BY a.attnum)
         || format(' FROM cloakroom_data.%I AS r', d.table_name)
    FROM cloakroom.datasets d
    JOIN pg_attribute a ON a.attrelid = to_regclass(format('public.%I', d.table_name)) AND a.attnum > 0
      AND NOT a.attisdropped
    LEFT JOIN cloakroom.token_columns(d.name, ARRAY[p_version]) AS t ON t.view_column = a.attname
   WHERE d.name = p_dataset GROUP BY d.table_name
$$;
COMMENT ON FUNCTION cloakroom.view_query(text,
  integer) IS 'the query of the analysts'' view if it shows the tokens of a version';

CREATE OR REPLACE FUNCTION cloakroom.reindex_swap(p_rotation bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'swap');
  d cloakroom.datasets;
BEGIN
  IF run.id IS NULL THEN
    RETURN;
  END IF;
  FOR d IN SELECT * FROM cloakroom.datasets ORDER BY name LOOP
    EXECUTE format('CREATE OR REPLACE VIEW public.%I AS %s', d.table_name, cloakroom.view_query(d.name, run.version));
  END LOOP;
  UPDATE cloakroom.rotations SET phase = 'old' WHERE id = p_rotation;
  PERFORM cloakroom.append_leaf('key.index', p_result => 'the views show version ' || run.version);
END $$;
COMMENT ON FUNCTION cloakroom.reindex_swap(bigint) IS
  'lets the analysts'' views show the new version''s tokens, all at one instant';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_swap(bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.reindex_old(p_rotation bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'old');
BEGIN
  IF run.id IS NULL THEN
    RETURN;
  END IF;
  -- From this commit on, no load writes tokens under the old key, so its columns may go.
  PERFORM cloakroom.raise_epoch();
  UPDATE cloakroom.index_keys SET state = 'retired', retired_at = now() WHERE state = 'live' AND version <> run.version;
  UPDATE cloakroom.rotations SET phase = 'drop' WHERE id = p_rotation;
  PERFORM cloakroom.append_leaf('key.index', p_result => 'version ' || run.version || ' alone is live');
  PERFORM cloakroom.expire_token_requests();
END $$;
COMMENT ON FUNCTION cloakroom.reindex_old(bigint) IS 'retires the old index key: nothing is written under it any more';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_old(bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.reindex_drop(p_rotation bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'drop');
  live integer[] := cloakroom.live_versions();
  of record;
BEGIN
  IF run.id IS NULL THEN
    RETURN;
  END IF;
  FOR of IN SELECT c.dataset, string_agg(format('DROP COLUMN %I', c.column_name), ', ') AS dropping
              FROM cloakroom.dataset_columns c WHERE c.kind = 'token' AND c.version <> ALL (live) GROUP BY c.dataset
                ORDER BY c.dataset LOOP
    EXECUTE format('ALTER TABLE %s %s', cloakroom.row_table(of.dataset), of.dropping);
  END LOOP;
  DELETE FROM cloakroom.dataset_columns WHERE kind = 'token' AND version <> ALL (live);
  UPDATE cloakroom.rotations SET state = 'done', phase = 'done', finished_at = now() WHERE id = p_rotation;
  DELETE FROM cloakroom.rotation_slices WHERE rotation = p_rotation;
  PERFORM cloakroom.append_leaf('key.reindex', p_result => 'version ' || run.version);
END $$;
COMMENT ON FUNCTION cloakroom.reindex_drop(bigint) IS
  'drops the token columns of index keys that are not live, with their indexes';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_drop(bigint) TO cloakroom_rotator;
