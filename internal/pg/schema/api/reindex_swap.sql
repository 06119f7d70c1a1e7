-- Reindex, last phases: check every row, wait for old snapshots, let the view show the new tokens, drop the old
-- columns.

CREATE OR REPLACE FUNCTION cloakroom.finish_check(p_rotation bigint, p_members text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'check');
  left_over bigint;
BEGIN
  IF run.id IS NULL THEN
    RETURN 0;
  END IF;
  PERFORM cloakroom.add_slices(p_rotation, 'check', ARRAY(
    SELECT month FROM cloakroom.months() EXCEPT SELECT s.month FROM cloakroom.rotation_slices s
      WHERE s.rotation = p_rotation AND s.pass = 'check'));
  SELECT count(*) INTO left_over FROM cloakroom.rotation_slices s WHERE s.rotation = p_rotation AND s.pass = 'check'
    AND NOT s.done;
  left_over := left_over + cloakroom.rows_without_token(p_rotation, p_members);
  SELECT left_over + count(*) INTO left_over FROM cloakroom.quarantine q WHERE q.step = 'reindex';
  IF left_over = 0 THEN
    -- A transaction that began earlier may have a snapshot from before the backfill.
    UPDATE cloakroom.rotations SET phase = 'snapshots',
      waiting_for = ARRAY(SELECT t.transaction FROM cloakroom.transactions() t) WHERE id = p_rotation;
  END IF;
  RETURN left_over;
END $$;
COMMENT ON FUNCTION cloakroom.finish_check(bigint, text[]) IS
  'counts what is unchecked, without a token, or wrong; none: on to waiting for old snapshots';
GRANT EXECUTE ON FUNCTION cloakroom.finish_check(bigint, text[]) TO cloakroom_rotator;

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

CREATE OR REPLACE FUNCTION cloakroom.reindex_swap(p_rotation bigint, p_members text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'swap');
BEGIN
  IF run.id IS NULL THEN
    RETURN;
  END IF;
  PERFORM cloakroom.member_columns(p_members, 'masked_', '_v' || run.version);
  -- The same columns, in the same order, of the same types. Only the source of the tokens changes.
  EXECUTE (
    SELECT 'CREATE OR REPLACE VIEW public.user_logins AS SELECT ' || string_agg(
             CASE WHEN substr(attname, 8) = ANY (p_members) AND attname LIKE 'masked\_%'
                  THEN format('%I AS %I', attname || '_v' || run.version, attname) ELSE quote_ident(attname) END, ', '
                    ORDER BY attnum)
           || ' FROM cloakroom.user_logins'
      FROM pg_attribute WHERE attrelid = 'public.user_logins'::regclass AND attnum > 0 AND NOT attisdropped);
  UPDATE cloakroom.rotations SET phase = 'old' WHERE id = p_rotation;
  PERFORM cloakroom.append_leaf('key.index', p_result => 'the view shows version ' || run.version);
END $$;
COMMENT ON FUNCTION cloakroom.reindex_swap(bigint, text[]) IS 'lets the analysts'' view show the new version''s tokens';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_swap(bigint, text[]) TO cloakroom_rotator;

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
  dropping text;
BEGIN
  IF run.id IS NULL THEN
    RETURN;
  END IF;
  SELECT string_agg(format('DROP COLUMN %I', a.attname), ', ') INTO dropping
    FROM pg_attribute a JOIN cloakroom.index_keys k ON k.state <> 'live'
      AND a.attname ~ ('^masked_.*_v' || k.version || '$')
   WHERE a.attrelid = 'cloakroom.user_logins'::regclass AND a.attnum > 0 AND NOT a.attisdropped;
  IF dropping IS NOT NULL THEN
    EXECUTE 'ALTER TABLE cloakroom.user_logins ' || dropping;
  END IF;
  UPDATE cloakroom.rotations SET state = 'done', phase = 'done', finished_at = now() WHERE id = p_rotation;
  DELETE FROM cloakroom.rotation_slices WHERE rotation = p_rotation;
  PERFORM cloakroom.append_leaf('key.reindex', p_result => 'version ' || run.version);
END $$;
COMMENT ON FUNCTION cloakroom.reindex_drop(bigint) IS
  'drops the token columns of index keys that are not live, with their indexes';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_drop(bigint) TO cloakroom_rotator;
