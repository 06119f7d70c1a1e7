-- Reindex, phase indexes: a B-tree on each new token column, partition by partition.

CREATE OR REPLACE FUNCTION cloakroom.reindex_parent_indexes(p_rotation bigint, p_members text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'indexes');
  col text;
BEGIN
  IF run.id IS NULL THEN
    RETURN;
  END IF;
  FOREACH col IN ARRAY cloakroom.member_columns(p_members, 'masked_', '_v' || run.version) LOOP
    -- An index ON ONLY the parent stays invalid until every partition has one attached. New months get their own: LIKE
    -- copies the definition.
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON ONLY cloakroom.user_logins (%I)',
      cloakroom.short_name('user_logins_' || col), col);
  END LOOP;
END $$;
COMMENT ON FUNCTION cloakroom.reindex_parent_indexes(bigint, text[]) IS
  'phase indexes: makes the indexes of the parent table, invalid until each partition has one';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_parent_indexes(bigint, text[]) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.token_indexes(p_columns text[])
RETURNS TABLE (partition name, col name, index_name name, parent_index name, built regclass, valid boolean,
               attached boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.relname, a.attname, cloakroom.short_name(c.relname || '_' || a.attname || '_idx')::name,
         cloakroom.short_name('user_logins_' || a.attname)::name, x.indexrelid::regclass, coalesce(x.indisvalid, false),
           x.attached
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = ANY (p_columns) AND NOT a.attisdropped
    LEFT JOIN LATERAL (
      SELECT x.indexrelid, x.indisvalid, EXISTS (SELECT FROM pg_inherits ii
        WHERE ii.inhrelid = x.indexrelid) AS attached
        FROM pg_index x
       WHERE x.indrelid = c.oid AND x.indnkeyatts = 1 AND x.indkey[0] = a.attnum AND x.indpred IS NULL
       ORDER BY 3 DESC, x.indisvalid DESC LIMIT 1) AS x ON true
   WHERE i.inhparent = 'cloakroom.user_logins'::regclass
$$;
COMMENT ON FUNCTION cloakroom.token_indexes(text[]) IS
  'of each partition and token column: the index it has or should have, and its state';

CREATE OR REPLACE FUNCTION cloakroom.reindex_indexes_left(p_rotation bigint, p_members text[])
RETURNS TABLE (partition name, col name, index_name name, bytes bigint, unfinished boolean, ready boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  version integer := (SELECT r.version FROM cloakroom.rotations r WHERE r.id = p_rotation);
BEGIN
  RETURN QUERY
    SELECT t.partition, t.col, t.index_name, pg_relation_size(format('cloakroom.%I', t.partition)::regclass),
           t.built IS NOT NULL AND NOT t.valid, t.built IS NOT NULL AND t.valid
      FROM cloakroom.token_indexes(cloakroom.member_columns(p_members, 'masked_', '_v' || version)) t
     WHERE t.attached IS NOT TRUE ORDER BY 1, 2;
END $$;
COMMENT ON FUNCTION cloakroom.reindex_indexes_left(bigint, text[]) IS
  'partitions whose new token columns have no attached index; unfinished: a build was interrupted, or is going on; '
  'ready: only to be attached';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_indexes_left(bigint, text[]) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.reindex_index(
  p_rotation bigint, p_members text[], p_partition text, p_column text, p_build boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'indexes');
  t record;
BEGIN
  IF run.id IS NULL THEN
    RETURN;
  END IF;
  SELECT x.* INTO t FROM cloakroom.token_indexes(cloakroom.member_columns(p_members, 'masked_', '_v' || run.version)) x
   WHERE x.partition = p_partition AND x.col = p_column AND x.attached IS NOT TRUE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  -- Waits for a build in progress, so an index that is invalid after this was left by a build that died.
  EXECUTE format('LOCK TABLE cloakroom.%I IN SHARE UPDATE EXCLUSIVE MODE', t.partition);
  SELECT x.* INTO t FROM cloakroom.token_indexes(ARRAY[p_column]) x WHERE x.partition = p_partition
    AND x.attached IS NOT TRUE;
  IF FOUND AND t.built IS NOT NULL AND NOT t.valid THEN
    EXECUTE 'DROP INDEX ' || t.built;
    t.built := NULL;
  END IF;
  IF t.built IS NULL AND p_build THEN
    EXECUTE format('CREATE INDEX %I ON cloakroom.%I (%I)', t.index_name, t.partition, t.col);
    t.built := format('cloakroom.%I', t.index_name)::regclass;
  END IF;
  IF t.built IS NOT NULL THEN
    EXECUTE format('ALTER INDEX cloakroom.%I ATTACH PARTITION %s', t.parent_index, t.built);
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.reindex_index(bigint, text[], text, text, boolean) IS
  'drops an index that an interrupted build left, builds one if told to (loads into the partition wait), attaches '
  'what is ready';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_index(bigint, text[], text, text, boolean) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.finish_indexes(p_rotation bigint, p_members text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'indexes');
  left_over bigint;
BEGIN
  IF run.id IS NULL THEN
    RETURN 0;
  END IF;
  SELECT count(*) INTO left_over FROM cloakroom.reindex_indexes_left(p_rotation, p_members);
  SELECT left_over + count(*) FILTER (WHERE NOT x.indisvalid) INTO left_over
    FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
   WHERE x.indrelid = 'cloakroom.user_logins'::regclass
     AND c.relname = ANY (SELECT cloakroom.short_name('user_logins_' || m)
       FROM unnest(cloakroom.member_columns(p_members, 'masked_', '_v' || run.version)) AS m);
  IF left_over = 0 THEN
    UPDATE cloakroom.rotations SET phase = 'check' WHERE id = p_rotation;
    PERFORM cloakroom.add_slices(p_rotation, 'check', ARRAY(SELECT month FROM cloakroom.months()));
  END IF;
  RETURN left_over;
END $$;
COMMENT ON FUNCTION cloakroom.finish_indexes(bigint, text[]) IS
  'counts the indexes that are missing or invalid; none: on to the check';
GRANT EXECUTE ON FUNCTION cloakroom.finish_indexes(bigint, text[]) TO cloakroom_rotator;
