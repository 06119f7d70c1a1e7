-- reindex, phase indexes: a B-tree on each new token column, partition by partition.

CREATE OR REPLACE FUNCTION cloakroom.token_index_name(p_dataset text, p_column name) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT cloakroom.short_name(table_name || '_' || p_column)::name FROM cloakroom.datasets WHERE name = p_dataset
$$;
COMMENT ON FUNCTION cloakroom.token_index_name(text, name) IS 'the index of a token column, on the row table';

CREATE OR REPLACE FUNCTION cloakroom.reindex_parent_indexes(p_rotation bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'indexes');
  c record;
BEGIN
  IF run.id IS NULL THEN
    RETURN;
  END IF;
  FOR c IN SELECT d.name, t.column_name FROM cloakroom.datasets d CROSS JOIN LATERAL cloakroom.token_columns(d.name,
    ARRAY[run.version]) AS t ORDER BY 1, t.n LOOP
    -- An index of the parent alone is invalid and empty until every partition has one attached. A partition made from
    -- now on
    -- has its own: LIKE copies this one's definition.
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON ONLY %s (%I)',
                   cloakroom.token_index_name(c.name, c.column_name), cloakroom.row_table(c.name), c.column_name);
  END LOOP;
END $$;
COMMENT ON FUNCTION cloakroom.reindex_parent_indexes(bigint) IS
  'makes the new token columns'' indexes on the row tables alone, without partitions';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_parent_indexes(bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.token_indexes(p_version integer)
RETURNS TABLE (partition name, col name, index_name name, parent_index regclass, built regclass, valid boolean,
  attached boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.relname, t.column_name, cloakroom.short_name(c.relname || '_' || t.column_name || '_idx')::name,
         (SELECT min(p.indexrelid::oid)::regclass FROM pg_index p JOIN pg_attribute pa ON pa.attrelid = p.indrelid
           AND pa.attnum = p.indkey[0]
           WHERE p.indrelid = i.inhparent AND p.indnkeyatts = 1 AND p.indpred IS NULL AND pa.attname = t.column_name),
             x.indexrelid::regclass, coalesce(x.indisvalid, false), x.attached
    FROM cloakroom.datasets d
   CROSS JOIN LATERAL cloakroom.token_columns(d.name, ARRAY[p_version]) AS t
    JOIN pg_inherits i ON i.inhparent = cloakroom.row_table(d.name)
    JOIN pg_class c ON c.oid = i.inhrelid
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = t.column_name AND NOT a.attisdropped
    LEFT JOIN LATERAL (
      SELECT x.indexrelid, x.indisvalid, EXISTS (SELECT FROM pg_inherits ii
        WHERE ii.inhrelid = x.indexrelid) AS attached
        FROM pg_index x
       WHERE x.indrelid = c.oid AND x.indnkeyatts = 1 AND x.indkey[0] = a.attnum AND x.indpred IS NULL
       ORDER BY 3 DESC, x.indisvalid DESC LIMIT 1) AS x ON true
$$;
COMMENT ON FUNCTION cloakroom.token_indexes(integer) IS
  'each partition''s index of each token column of a version, built or not';

CREATE OR REPLACE FUNCTION cloakroom.reindex_indexes_left(p_rotation bigint)
RETURNS TABLE (partition name, col name, index_name name, bytes bigint, unfinished boolean, ready boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  version integer := (SELECT r.version FROM cloakroom.rotations r WHERE r.id = p_rotation);
BEGIN
  RETURN QUERY
    SELECT t.partition, t.col, t.index_name, pg_relation_size(format('cloakroom_data.%I', t.partition)::regclass),
           t.built IS NOT NULL AND NOT t.valid, t.built IS NOT NULL AND t.valid
      FROM cloakroom.token_indexes(version) t
     WHERE t.attached IS NOT TRUE ORDER BY 1, 2;
END $$;
COMMENT ON FUNCTION cloakroom.reindex_indexes_left(bigint) IS
  'partitions whose new token columns have no attached index; unfinished: a build was interrupted, or is going on; '
  'ready: only to be attached';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_indexes_left(bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.build_token_index(p_version integer, p_partition text, p_column text,
  p_build boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  t record;
BEGIN
  SELECT x.* INTO t FROM cloakroom.token_indexes(p_version) x
   WHERE x.partition = p_partition AND x.col = p_column AND x.attached IS NOT TRUE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  -- Waits for a session that builds it now, so what is invalid after this was left by a build that died.
  EXECUTE format('LOCK TABLE cloakroom_data.%I IN SHARE UPDATE EXCLUSIVE MODE', t.partition);
  SELECT x.* INTO t FROM cloakroom.token_indexes(p_version) x
   WHERE x.partition = p_partition AND x.col = p_column AND x.attached IS NOT TRUE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  IF t.built IS NOT NULL AND NOT t.valid THEN
    EXECUTE 'DROP INDEX ' || t.built;
    t.built := NULL;
  END IF;
  IF t.built IS NULL AND p_build THEN
    EXECUTE format('CREATE INDEX %I ON cloakroom_data.%I (%I)', t.index_name, t.partition, t.col);
    t.built := format('cloakroom_data.%I', t.index_name)::regclass;
  END IF;
  IF t.built IS NOT NULL THEN
    EXECUTE format('ALTER INDEX %s ATTACH PARTITION %s', t.parent_index, t.built);
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.build_token_index(integer, text, text, boolean) IS
  'drops an index that an interrupted build left, builds one if told to (loads into the partition wait), attaches '
  'what is ready';

CREATE OR REPLACE FUNCTION cloakroom.reindex_index(p_rotation bigint, p_partition text, p_column text, p_build boolean)
  RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'indexes');
BEGIN
  IF run.id IS NOT NULL THEN
    PERFORM cloakroom.build_token_index(run.version, p_partition, p_column, p_build);
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.reindex_index(bigint, text, text, boolean) IS
  'drops an index that an interrupted build left, builds one if told to (loads into the partition wait), attaches '
  'what is ready';
GRANT EXECUTE ON FUNCTION cloakroom.reindex_index(bigint, text, text, boolean) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.finish_indexes(p_rotation bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  run cloakroom.rotations := cloakroom.reindexing(p_rotation, 'indexes');
  left_over bigint;
  to_hold record;
BEGIN
  IF run.id IS NULL THEN
    RETURN 0;
  END IF;
  SELECT count(*) INTO left_over FROM cloakroom.reindex_indexes_left(p_rotation);
  SELECT left_over + count(*) FILTER (WHERE x.indisvalid IS NOT TRUE) INTO left_over
    FROM cloakroom.datasets d CROSS JOIN LATERAL cloakroom.token_columns(d.name, ARRAY[run.version]) AS t
    LEFT JOIN pg_index x ON x.indexrelid = to_regclass(format('cloakroom_data.%I', cloakroom.token_index_name(d.name,
      t.column_name)));
  IF left_over = 0 THEN
    -- NOT VALID spares reading all rows under this lock; phase validate reads them. Not in the transaction of the swap:
    -- a reader takes the view's lock first and then the table's.
    FOR to_hold IN SELECT d.name, k.column_name, s.column_name AS sealed
               FROM cloakroom.datasets d CROSS JOIN LATERAL cloakroom.token_columns(d.name, ARRAY[run.version]) AS k
               JOIN cloakroom.dataset_columns s ON s.dataset = d.name AND s.kind = 'sealed' AND s.member = k.member
               -- It is there if the reindex had to go back to make tokens.
                WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = cloakroom.row_table(d.name)
                  AND c.conname = k.column_name)
                 ORDER BY 1, k.n LOOP
      EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK ((%2$I IS NULL) = (%I IS NULL)) NOT VALID',
                     cloakroom.row_table(to_hold.name), to_hold.column_name, to_hold.sealed);
    END LOOP;
    UPDATE cloakroom.rotations SET phase = 'check' WHERE id = p_rotation;
    PERFORM cloakroom.add_slices_of_all(p_rotation, 'check');
  END IF;
  RETURN left_over;
END $$;
COMMENT ON FUNCTION cloakroom.finish_indexes(bigint) IS
  'counts the indexes that are missing or not attached; none: on to the check';
GRANT EXECUTE ON FUNCTION cloakroom.finish_indexes(bigint) TO cloakroom_rotator;
