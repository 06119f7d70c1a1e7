-- Reindex: tokens under a new index key, beside the old ones, until the view shows the new. rotations.phase goes
-- through columns, live, backfill, indexes, check, snapshots, swap, old, drop. Each function does its own phase, or
-- nothing.

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
  p_version integer, p_kek text, p_kek_id text, p_wrapped bytea, p_key_check bytea) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM cloakroom.require_durable_commit();
  -- If two rotators race, the first one's key stands.
  INSERT INTO cloakroom.index_keys (version, state, kek, kek_id, wrapped, key_check)
  SELECT p_version, 'pending', p_kek, p_kek_id, p_wrapped, p_key_check
   WHERE p_version = (SELECT max(version) + 1 FROM cloakroom.index_keys)
     AND NOT EXISTS (SELECT FROM cloakroom.index_keys WHERE state = 'pending')
  ON CONFLICT DO NOTHING;
END $$;
COMMENT ON FUNCTION cloakroom.register_index_key(integer, text, text, bytea, bytea) IS
  'stores a wrapped index key as pending; the first of two racing rotators wins';
GRANT EXECUTE ON FUNCTION cloakroom.register_index_key(integer, text, text, bytea, bytea) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.index_version_in_making() RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT version FROM cloakroom.rotations WHERE step = 'reindex' AND state = 'running'
    AND phase IN ('columns', 'live', 'backfill')
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

CREATE OR REPLACE FUNCTION cloakroom.reindex_columns(p_rotation bigint, p_members text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'columns');
BEGIN
  IF run.id IS NULL THEN
    RETURN;
  END IF;
  PERFORM cloakroom.member_columns(p_members, 'sealed_', '');
  -- Without a default no row is rewritten, so the lock is short once it is granted.
  EXECUTE (SELECT 'ALTER TABLE cloakroom.user_logins ' ||
                  string_agg(format('ADD COLUMN IF NOT EXISTS %I varchar(256)', 'masked_' || m || '_v' || run.version),
                    ', ')
             FROM unnest(p_members) AS m);
  UPDATE cloakroom.rotations SET phase = 'live' WHERE id = p_rotation;
END $$;
COMMENT ON FUNCTION cloakroom.reindex_columns(bigint, text[]) IS 'phase columns: adds the new version''s token columns';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_columns(bigint, text[]) TO cloakroom_rotator;

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
  PERFORM cloakroom.add_slices(p_rotation, 'backfill', ARRAY(SELECT month FROM cloakroom.months()));
  PERFORM cloakroom.append_leaf('key.index', p_result => 'version ' || run.version || ' is live');
END $$;
COMMENT ON FUNCTION cloakroom.reindex_live(bigint) IS
  'phase live: from now on every load writes tokens under the new key, too';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_live(bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.without_token(p_members text[], p_version integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT '(' || string_agg(format('(%I IS NOT NULL AND %I IS NULL)', 'sealed_' || m,
    'masked_' || m || '_v' || p_version), ' OR ') || ')'
    FROM unnest(p_members) AS m
   WHERE cloakroom.member_columns(p_members, 'masked_', '_v' || p_version) IS NOT NULL
$$;
COMMENT ON FUNCTION cloakroom.without_token(text[], integer) IS
  'the condition of a row that has a sealed value without a token of a version';

CREATE OR REPLACE FUNCTION cloakroom.reindex_page(
  p_rotation bigint, p_members text[], p_pass text, p_month date, p_after_id uuid, p_after_date date, p_last_id uuid,
  p_limit integer)
RETURNS SETOF cloakroom.user_logins
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_sort = off AS $$
BEGIN
  RETURN QUERY EXECUTE format(
    'SELECT * FROM cloakroom.user_logins
      WHERE create_date >= $1 AND create_date < $2 AND (message_id, create_date) > ($3, $4) AND message_id <= $5
        AND data_key IS NOT NULL AND %s
      ORDER BY message_id, create_date LIMIT $6',
    CASE WHEN p_pass = 'backfill' THEN
      cloakroom.without_token(p_members, (SELECT version FROM cloakroom.rotations WHERE id = p_rotation))
        ELSE 'true' END)
    USING p_month, (p_month + interval '1 month')::date, p_after_id, p_after_date, p_last_id, p_limit;
END $$;
COMMENT ON FUNCTION cloakroom.reindex_page(bigint, text[], text, date, uuid, date, uuid, integer) IS
  'the next rows of a slice, in key order: for backfill those without a token of the new version, for check all';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_page(bigint, text[], text, date, uuid, date, uuid, integer) TO
  cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.index_rows(
  p_rotation bigint, p_month date, p_members text[], p_ids uuid[], p_dates date[], p_tokens text[]) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  version integer := (SELECT r.version FROM cloakroom.rotations r WHERE r.id = p_rotation AND r.state = 'running'
    AND r.phase = 'backfill');
  part regclass := cloakroom.month_partition(p_month);
  n integer := cardinality(p_ids);
  k integer := cardinality(p_members);
  changed integer;
BEGIN
  PERFORM cloakroom.require_read_committed();
  IF cardinality(p_dates) <> n OR cardinality(p_tokens) <> n * k THEN
    RAISE EXCEPTION 'the arrays are not of one length' USING ERRCODE = 'CR013';
  END IF;
  IF version IS NULL OR part IS NULL THEN
    RETURN 0;
  END IF;
  PERFORM cloakroom.force_index_scan_if_unanalyzed(part);
  -- Only where a value is still sealed: a row erased meanwhile must not get a token back.
  EXECUTE (
    SELECT format(
      'UPDATE %s u SET %s FROM unnest($1, $2, %s) AS s(id, date, %s)
        WHERE u.message_id = s.id AND u.create_date = s.date AND u.data_key IS NOT NULL AND %s',
      part,
      string_agg(format('%I = CASE WHEN %I IS NULL THEN NULL ELSE token%s END', 'masked_' || m || '_v' || version,
        'sealed_' || m, i), ', ' ORDER BY i),
      string_agg(format('$3[%s:%s]', (i - 1) * n + 1, i * n), ', ' ORDER BY i),
      string_agg('token' || i, ', ' ORDER BY i),
      cloakroom.without_token(p_members, version))
      FROM unnest(p_members) WITH ORDINALITY AS g(m, i))
    USING p_ids, p_dates, p_tokens;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $$;
COMMENT ON FUNCTION cloakroom.index_rows(bigint, date, text[], uuid[], date[], text[]) IS
  'writes the new version''s tokens into rows that have none; p_tokens holds member after member; returns how many '
  'rows took them';
GRANT EXECUTE ON FUNCTION cloakroom.index_rows(bigint, date, text[], uuid[], date[], text[]) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.rows_without_token(p_rotation bigint, p_members text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint;
BEGIN
  EXECUTE 'SELECT count(*) FROM cloakroom.user_logins WHERE data_key IS NOT NULL AND '
          || cloakroom.without_token(p_members, (SELECT version FROM cloakroom.rotations WHERE id = p_rotation))
            INTO STRICT n;
  RETURN n;
END $$;
COMMENT ON FUNCTION cloakroom.rows_without_token(bigint, text[]) IS
  'how many sealed rows lack a token of the version being made';

CREATE OR REPLACE FUNCTION cloakroom.finish_backfill(p_rotation bigint, p_members text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'backfill');
  left_over bigint;
BEGIN
  IF run.id IS NULL THEN
    RETURN 0;
  END IF;
  left_over := cloakroom.rows_without_token(p_rotation, p_members);
  IF left_over = 0 THEN
    UPDATE cloakroom.rotations SET phase = 'indexes' WHERE id = p_rotation;
  END IF;
  RETURN left_over;
END $$;
COMMENT ON FUNCTION cloakroom.finish_backfill(bigint, text[]) IS
  'counts the rows without a token of the new version; none: on to the indexes';
GRANT EXECUTE ON FUNCTION cloakroom.finish_backfill(bigint, text[]) TO cloakroom_rotator;
