-- Reindex: tokens under a new index key, beside the old ones, until the view shows the new. rotations.phase goes
-- through columns, live, backfill, indexes, check, validate, snapshots, swap, old, drop. Each function does its own
-- phase, or nothing.

CREATE OR REPLACE FUNCTION cloakroom.pending_index_key()
RETURNS TABLE (version integer, kek text, kek_id text, wrapped bytea, key_check bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT version, kek, kek_id, wrapped, key_check FROM cloakroom.index_keys WHERE state = 'pending'
    ORDER BY version DESC LIMIT 1
$$;
COMMENT ON FUNCTION cloakroom.pending_index_key() IS 'the index key of the reindex to come';
GRANT EXECUTE ON FUNCTION cloakroom.pending_index_key() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.next_index_version() RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT max(version) + 1 FROM cloakroom.index_keys
$$;
COMMENT ON FUNCTION cloakroom.next_index_version() IS 'the version that the next index key takes';
GRANT EXECUTE ON FUNCTION cloakroom.next_index_version() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.register_index_key(
  p_version integer, p_kek_id text, p_wrapped bytea, p_key_check bytea) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  uri text := cloakroom.require_kek(p_kek_id);
BEGIN
  PERFORM cloakroom.require_durable_commit();
  -- If two rotators race, the first one's key stands.
  INSERT INTO cloakroom.index_keys (version, state, kek, kek_id, wrapped, key_check)
  SELECT p_version, 'pending', uri, p_kek_id, p_wrapped, p_key_check
   WHERE p_version = (SELECT max(version) + 1 FROM cloakroom.index_keys)
     AND NOT EXISTS (SELECT FROM cloakroom.index_keys WHERE state = 'pending')
  ON CONFLICT DO NOTHING;
END $$;
COMMENT ON FUNCTION cloakroom.register_index_key(integer, text, bytea, bytea) IS
  'stores a wrapped index key as pending; the first of two racing rotators wins';
GRANT EXECUTE ON FUNCTION cloakroom.register_index_key(integer, text, bytea, bytea) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.index_version_in_making() RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT version FROM cloakroom.rotations WHERE step = 'reindex' AND state = 'running'
    AND phase IN ('columns', 'live', 'backfill')
  UNION ALL
  -- An index that is added to a dataset has its tokens made under the live key.
  SELECT e.version FROM cloakroom.rotations r JOIN cloakroom.evolutions e ON e.rotation = r.id
   WHERE r.step = 'evolve' AND r.state = 'running'
     AND EXISTS (SELECT FROM cloakroom.evolution_steps s WHERE s.rotation = r.id AND s.run_by = 'fill' AND s.done_at
       IS NULL)
$$;
COMMENT ON FUNCTION cloakroom.index_version_in_making() IS
  'the version whose tokens not every row has yet; NULL if none';
GRANT EXECUTE ON FUNCTION cloakroom.index_version_in_making() TO
  cloakroom_rotator, cloakroom_auditor, cloakroom_breakglass;

CREATE OR REPLACE FUNCTION cloakroom.begin_reindex() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  rotation bigint;
  pending integer;
BEGIN
  PERFORM cloakroom.require_read_committed();
  LOCK TABLE cloakroom.rotations IN SHARE ROW EXCLUSIVE MODE;
  SELECT id INTO rotation FROM cloakroom.rotations WHERE step = 'reindex' AND state = 'running';
  IF FOUND THEN
    RETURN rotation;
  END IF;
  -- Both add and drop token columns.
  PERFORM cloakroom.refuse_evolution();
  SELECT version INTO pending FROM cloakroom.index_keys WHERE state = 'pending';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no new index key to reindex under' USING ERRCODE = 'CR013';
  END IF;
  INSERT INTO cloakroom.rotations (step, phase, version) VALUES ('reindex', 'columns', pending)
    RETURNING id INTO rotation;
  DELETE FROM cloakroom.quarantine WHERE step = 'reindex';
  RETURN rotation;
END $$;
COMMENT ON FUNCTION cloakroom.begin_reindex() IS
  'begins a reindex under the pending index key, or resumes the one under way; returns its rotation';
GRANT EXECUTE ON FUNCTION cloakroom.begin_reindex() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.reindex_state(
  p_rotation bigint, OUT phase text, OUT state text, OUT version integer, OUT old_version integer)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.phase, r.state, r.version, (SELECT max(k.version) FROM cloakroom.index_keys k WHERE k.version < r.version
    AND k.state <> 'pending')
    FROM cloakroom.rotations r WHERE r.id = p_rotation AND r.step = 'reindex'
$$;
COMMENT ON FUNCTION cloakroom.reindex_state(bigint) IS 'phase, state, new and old version of a reindex';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_state(bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.reindexing(p_rotation bigint, p_phase text) RETURNS cloakroom.rotations
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run cloakroom.rotations;
BEGIN
  PERFORM cloakroom.require_read_committed();
  SELECT * INTO run FROM cloakroom.rotations WHERE id = p_rotation AND step = 'reindex' AND state = 'running'
    AND phase = p_phase FOR UPDATE;
  RETURN run;
END $$;
COMMENT ON FUNCTION cloakroom.reindexing(bigint, text) IS
  'locks the reindex if it is in this phase; NULL if another rotator has taken it further';

CREATE OR REPLACE FUNCTION cloakroom.reindex_columns(p_rotation bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'columns');
  of record;
BEGIN
  IF run.id IS NULL THEN
    RETURN;
  END IF;
  -- As the columns of the version before, under the new one's name.
  INSERT INTO cloakroom.dataset_columns (dataset, position, column_name, kind, member, index_name, version, view_column)
  SELECT c.dataset, c.position, cloakroom.short_name(c.view_column || '_v' || run.version), 'token', c.member,
         c.index_name, run.version, c.view_column
    FROM cloakroom.dataset_columns c
   WHERE c.kind = 'token' AND c.version = (SELECT old_version FROM cloakroom.reindex_state(p_rotation))
  ON CONFLICT DO NOTHING;
  FOR of IN
    SELECT c.dataset,
           string_agg(format('ADD COLUMN IF NOT EXISTS %I varchar(256) COLLATE "C"', c.column_name), ', ') AS adding
      FROM cloakroom.dataset_columns c
     WHERE c.kind = 'token' AND c.version = run.version GROUP BY c.dataset ORDER BY c.dataset LOOP
    -- No default, so no row is rewritten: the lock is short, once it is had.
    EXECUTE format('ALTER TABLE %s %s', cloakroom.row_table(of.dataset), of.adding);
  END LOOP;
  UPDATE cloakroom.rotations SET phase = 'live' WHERE id = p_rotation;
END $$;
COMMENT ON FUNCTION cloakroom.reindex_columns(bigint) IS
  'phase columns: adds the new version''s token columns to every dataset';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_columns(bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.reindex_live(p_rotation bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'live');
BEGIN
  IF run.id IS NULL THEN
    RETURN;
  END IF;
  -- From this commit on, every load writes tokens under both keys.
  PERFORM cloakroom.raise_epoch();
  UPDATE cloakroom.index_keys SET state = 'live' WHERE version = run.version AND state = 'pending';
  UPDATE cloakroom.rotations SET phase = 'backfill' WHERE id = p_rotation;
  PERFORM cloakroom.add_slices_of_all(p_rotation, 'backfill');
  PERFORM cloakroom.append_leaf('key.index', p_result => 'version ' || run.version || ' is live');
END $$;
COMMENT ON FUNCTION cloakroom.reindex_live(bigint) IS
  'phase live: from now on every load writes tokens under the new key, too';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_live(bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.without_token(p_dataset text, p_version integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- A dataset without an index has no row without a token.
  SELECT coalesce('(' || string_agg(format('(u.%I IS NOT NULL AND u.%I IS NULL)', s.column_name, t.column_name),
                                    ' OR ' ORDER BY t.n) || ')', 'false')
    FROM cloakroom.token_columns(p_dataset, ARRAY[p_version]) AS t
    JOIN cloakroom.dataset_columns s ON s.dataset = p_dataset AND s.kind = 'sealed' AND s.member = t.member
$$;
COMMENT ON FUNCTION cloakroom.without_token(text, integer) IS
  'the condition that a row u has a sealed value and no token of a version';

CREATE OR REPLACE FUNCTION cloakroom.reindex_page(
  p_rotation bigint, p_pass text, p_dataset text, p_part date, p_after_sent timestamptz, p_after_id uuid,
  p_last_sent timestamptz, p_limit integer)
RETURNS TABLE (row_id uuid, sent timestamptz, create_date date, subject text, data_key integer, sealed bytea[],
  tokens text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  new_version integer := (SELECT r.version FROM cloakroom.rotations r WHERE r.id = p_rotation);
  which text := CASE WHEN p_pass = 'backfill' THEN cloakroom.without_token(p_dataset, new_version) ELSE 'true' END;
BEGIN
  RETURN QUERY SELECT * FROM cloakroom.page(p_dataset, p_part, p_after_sent, p_after_id, p_last_sent,
    ARRAY[new_version],
    'u.data_key IS NOT NULL AND ' || which, NULL, p_limit);
END $$;
COMMENT ON FUNCTION cloakroom.reindex_page(bigint, text, text, date, timestamptz, uuid, timestamptz, integer) IS
  'the next rows of a slice, in key order, with the new version''s tokens: for backfill those without one, for check '
  'all';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_page(bigint, text, text, date, timestamptz, uuid, timestamptz, integer) TO
  cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.index_rows(
  p_rotation bigint, p_dataset text, p_part date, p_ids uuid[], p_sents timestamptz[], p_tokens text[]) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  new_version integer := (SELECT r.version FROM cloakroom.rotations r
                    WHERE r.id = p_rotation AND r.state = 'running' AND r.phase = 'backfill');
  part regclass := cloakroom.partition_from(p_dataset, p_part);
  given integer := cardinality(p_ids);
  k bigint := (SELECT count(*) FROM cloakroom.token_columns(p_dataset, ARRAY[new_version]));
  changed integer;
BEGIN
  PERFORM cloakroom.require_read_committed();
  IF new_version IS NULL OR part IS NULL OR k = 0 THEN
    RETURN 0;
  END IF;
  IF cardinality(p_sents) <> given OR cardinality(p_tokens) <> given * k THEN
    RAISE EXCEPTION 'the arrays are not of one length' USING ERRCODE = 'CR013';
  END IF;
  PERFORM cloakroom.force_index_scan_if_unanalyzed(part);
  -- Only where a value is still sealed: a row erased meanwhile gets no token back. What a row sealed never changes.
  EXECUTE (
    SELECT format(
      'UPDATE %s u SET %s FROM unnest($1, $2, %s) AS s(id, at, %s)
        WHERE u.sent = s.at AND u.row_id = s.id AND u.data_key IS NOT NULL AND %s',
      part,
      string_agg(format('%I = CASE WHEN u.%I IS NULL THEN NULL ELSE s.token%s END', t.column_name, c.column_name, t.n),
                 ', ' ORDER BY t.n),
      string_agg(format('$3[%s:%s]', (t.n - 1) * given + 1, t.n * given), ', ' ORDER BY t.n),
      string_agg('token' || t.n, ', ' ORDER BY t.n),
      cloakroom.without_token(p_dataset, new_version))
      FROM cloakroom.token_columns(p_dataset, ARRAY[new_version]) AS t
      JOIN cloakroom.dataset_columns c ON c.dataset = p_dataset AND c.kind = 'sealed' AND c.member = t.member)
    USING p_ids, p_sents, p_tokens;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $$;
COMMENT ON FUNCTION cloakroom.index_rows(bigint, text, date, uuid[], timestamptz[], text[]) IS
  'writes the new version''s tokens into rows that have none; p_tokens holds token column after token column; returns '
  'how many rows took them';
GRANT EXECUTE ON FUNCTION cloakroom.index_rows(bigint, text, date, uuid[], timestamptz[], text[]) TO
  cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.rows_without_token(p_rotation bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  new_version integer := (SELECT r.version FROM cloakroom.rotations r WHERE r.id = p_rotation);
  d text;
  here bigint;
  n bigint := 0;
BEGIN
  FOR d IN SELECT name FROM cloakroom.datasets LOOP
    EXECUTE format('SELECT count(*) FROM %s u WHERE u.data_key IS NOT NULL AND %s',
                   cloakroom.row_table(d), cloakroom.without_token(d, new_version)) INTO STRICT here;
    n := n + here;
  END LOOP;
  RETURN n;
END $$;
COMMENT ON FUNCTION cloakroom.rows_without_token(bigint) IS
  'rows that have no token of the new version yet, of every dataset';

CREATE OR REPLACE FUNCTION cloakroom.finish_backfill(p_rotation bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'backfill');
  left_over bigint;
BEGIN
  IF run.id IS NULL THEN
    RETURN 0;
  END IF;
  left_over := cloakroom.rows_without_token(p_rotation);
  IF left_over = 0 THEN
    UPDATE cloakroom.rotations SET phase = 'indexes' WHERE id = p_rotation;
  END IF;
  RETURN left_over;
END $$;
COMMENT ON FUNCTION cloakroom.finish_backfill(bigint) IS
  'counts the rows without a token of the new version; none: on to the indexes';
GRANT EXECUTE ON FUNCTION cloakroom.finish_backfill(bigint) TO cloakroom_rotator;
