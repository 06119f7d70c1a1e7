-- evolve_rows: the pass that brings rows up to a dataset's new definition, and its indexes.

CREATE OR REPLACE FUNCTION cloakroom.clear_text(p_table regclass, p_column name) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- The text that is sealed: a time in UTC whatever the session's zone is; an address without the length of its mask.
  SELECT format(CASE a.atttypid WHEN 'inet'::regtype THEN 'host(u.%I)'
                                WHEN 'timestamptz'::regtype THEN
                                  'to_char(u.%I AT TIME ZONE ''UTC'', ''YYYY-MM-DD"T"HH24:MI:SS.US"Z"'')'
                                WHEN 'date'::regtype THEN 'to_char(u.%I, ''YYYY-MM-DD'')'
                                ELSE 'u.%I::text' END, a.attname)
    FROM pg_attribute a WHERE a.attrelid = p_table AND a.attname = p_column AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION cloakroom.clear_text(regclass, name) IS
  'the expression for what a row u has in clear, as it is sealed';

CREATE OR REPLACE FUNCTION cloakroom.sealed_columns(p_dataset text) 
RETURNS TABLE (n bigint, column_name name, member text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT row_number() OVER (ORDER BY position), column_name, member FROM cloakroom.dataset_columns
   WHERE dataset = p_dataset AND kind = 'sealed' ORDER BY position
$$;
COMMENT ON FUNCTION cloakroom.sealed_columns(text) IS 'the sealed columns of a dataset, in the order of its members';

CREATE OR REPLACE FUNCTION cloakroom.unfilled(p_rotation bigint, p_uncounted boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- A value may reveal nothing, and a token that is made again looks like any other: that is work for one pass, and
  -- nothing that can be counted. Rows stored since are as the new definition says.
  SELECT coalesce(string_agg(c.condition, ' OR '), 'false') FROM (
    SELECT format('u.%I IS NOT NULL', g.name) AS condition
      FROM cloakroom.evolutions e, unnest(e.clear_columns) AS g(name)
     WHERE e.rotation = p_rotation
    UNION ALL
    SELECT CASE WHEN p_uncounted AND c.column_name = ANY (e.again_columns) 
                THEN format('u.%I IS NOT NULL', s.column_name)
                ELSE format('(u.%I IS NOT NULL AND u.%I IS NULL)', s.column_name, c.column_name) END
      FROM cloakroom.evolutions e
      JOIN cloakroom.dataset_columns c ON c.dataset = e.dataset
       AND (c.column_name = ANY (e.token_columns) OR p_uncounted AND c.column_name = ANY (e.reveal_columns))
      JOIN cloakroom.sealed_columns(e.dataset) AS s ON s.member = c.member
     WHERE e.rotation = p_rotation) AS c
$$;
COMMENT ON FUNCTION cloakroom.unfilled(bigint, boolean) IS
  'the condition that a row u is not yet as the new definition says';

CREATE OR REPLACE FUNCTION cloakroom.evolve_page(
  p_rotation bigint, p_dataset text, p_part date, p_after_sent timestamptz, p_after_id uuid, p_last_sent timestamptz,
    p_limit integer)
RETURNS TABLE (row_id uuid, sent timestamptz, create_date date, subject text, data_key integer, sealed bytea[],
  tokens text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  part regclass := cloakroom.partition_from(p_dataset, p_part);
BEGIN
  -- A member of another dataset may have the name of one that is to be sealed.
  PERFORM FROM cloakroom.evolutions e JOIN cloakroom.rotations r ON r.id = e.rotation
    WHERE e.rotation = p_rotation AND e.dataset = p_dataset AND r.state = 'running';
  IF NOT FOUND OR part IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY EXECUTE format(
    'SELECT u.row_id, u.sent, u.create_date, %s, u.data_key, ARRAY[%s]::bytea[], ARRAY[%s]::text[] FROM %s u
      WHERE (u.sent, u.row_id) > ($1, $2) AND u.sent < $3 AND (%s) ORDER BY u.sent, u.row_id LIMIT $4',
    cloakroom.subject_of(p_dataset),
    (SELECT string_agg(format('u.%I', s.column_name), ', ' ORDER BY s.n) FROM cloakroom.sealed_columns(p_dataset) AS s),
    (SELECT string_agg(cloakroom.clear_text(part, c.name), ', ' ORDER BY c.n)
       FROM cloakroom.evolutions e, unnest(e.clear_columns) WITH ORDINALITY AS c(name, n)
      WHERE e.rotation = p_rotation),
    part, cloakroom.unfilled(p_rotation, true))
    USING p_after_sent, p_after_id, p_last_sent, p_limit;
END $$;
COMMENT ON FUNCTION cloakroom.evolve_page(bigint, text, date, timestamptz, uuid, timestamptz, integer) IS
  'the next rows of a slice that are not yet as the new definition says, in the shape of every page; where others '
  'have tokens stands '
  'what is in clear, in the order of the members that are to be sealed';
GRANT EXECUTE ON FUNCTION cloakroom.evolve_page(bigint, text, date, timestamptz, uuid, timestamptz, integer) TO
  cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.evolve_rows(
  p_epoch bigint, p_rotation bigint, p_dataset text, p_part date, p_ids uuid[], p_sents timestamptz[], p_old bytea[],
  p_new bytea[], p_clear text[], p_tokens text[], p_reveals text[], p_key integer, p_check bytea) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  e cloakroom.evolutions;
  part regclass := cloakroom.partition_from(p_dataset, p_part);
  many integer := cardinality(p_ids);
  k integer;
  seals boolean := p_key IS NOT NULL;
  arrays text;
  names text;
  assigned text;
  same text;
  changed integer;
BEGIN
  -- Until commit the change stays at this step: before it the definition is not in force, after it the tokens are
  -- judged. evolve_step() locks in this order, too.
  PERFORM FROM cloakroom.rotations WHERE id = p_rotation AND state = 'running' FOR SHARE;
  PERFORM cloakroom.require_epoch(p_epoch);
  IF seals THEN
    PERFORM cloakroom.require_sealing_key(p_key, p_check, p_dataset, date_trunc('month', p_part)::date);
  END IF;
  SELECT x.* INTO e FROM cloakroom.evolutions x, cloakroom.evolution_state(p_rotation) AS s
   WHERE x.rotation = p_rotation AND x.dataset = p_dataset AND s.state = 'running' AND s.run_by = 'fill';
  IF e.rotation IS NULL OR part IS NULL THEN
    RETURN 0;
  END IF;
  SELECT count(*) INTO k FROM cloakroom.sealed_columns(p_dataset);
  -- unnest pads the shorter array with NULL and says nothing.
  IF cardinality(p_sents) <> many OR cardinality(p_old) <> many * k
     OR cardinality(p_tokens) <> many * cardinality(e.token_columns)
     OR cardinality(p_reveals) <> many * cardinality(e.reveal_columns)
     OR seals AND (cardinality(p_new) <> many * k OR cardinality(p_clear) <> many * cardinality(e.clear_columns)) THEN
    RAISE EXCEPTION 'the arrays are not of one length' USING ERRCODE = 'CR013';
  END IF;
  PERFORM cloakroom.force_index_scan_if_unanalyzed(part);
  -- Each array holds column after column. If the row changed meanwhile, keep the change: another pass finds the
  -- row again.
  WITH cols AS (
    SELECT 1 AS kind, s.n, format('$3[%s:%s]', (s.n - 1) * many + 1, s.n * many) AS slice, 'old' || s.n AS name,
           NULL AS assign,
           CASE WHEN seals THEN
             format('(octet_length(s.old%s) = 0 AND u.%I IS NULL OR substring(u.%2$I for 17) = s.old%1$s)', s.n,
             s.column_name)
                ELSE format('(octet_length(s.old%s) = 0) = (u.%I IS NULL)', s.n, s.column_name) END AS condition
      FROM cloakroom.sealed_columns(p_dataset) AS s
    UNION ALL
    SELECT 2, s.n, format('$4[%s:%s]', (s.n - 1) * many + 1, s.n * many), 'new' || s.n,
           format('%I = nullif(s.new%s, '''')', s.column_name, s.n),
           -- What is there, sealed or in clear, is sealed; nothing is lost.
           format('(s.new%s = '''') = (u.%I IS NULL%s)', s.n, s.column_name,
                  ' AND u.' || quote_ident(e.clear_columns[array_position(e.members, s.member)]) || ' IS NULL')
      FROM cloakroom.sealed_columns(p_dataset) AS s WHERE seals
    UNION ALL
    SELECT 3, c.n, format('$5[%s:%s]', (c.n - 1) * many + 1, c.n * many), 'clear' || c.n, NULL,
           format('%s IS NOT DISTINCT FROM s.clear%s', cloakroom.clear_text(part, c.name), c.n)
      FROM unnest(e.clear_columns) WITH ORDINALITY AS c(name, n) WHERE seals
    UNION ALL
    SELECT 4, g.n, NULL, NULL, CASE WHEN seals THEN format('%I = NULL', g.name) END,
           CASE WHEN NOT seals THEN format('u.%I IS NULL', g.name) END
      FROM unnest(e.clear_columns) WITH ORDINALITY AS g(name, n)
    UNION ALL
    SELECT 5, t.n, format('$6[%s:%s]', (t.n - 1) * many + 1, t.n * many), 'token' || t.n, 
           format('%I = s.token%s', t.name, t.n), NULL
      FROM unnest(e.token_columns) WITH ORDINALITY AS t(name, n)
    UNION ALL
    SELECT 6, v.n, format('$7[%s:%s]', (v.n - 1) * many + 1, v.n * many), 'reveal' || v.n,
           format('%I = s.reveal%s::%s', v.name, v.n, (
             SELECT format_type(a.atttypid, NULL) FROM pg_attribute a
              WHERE a.attrelid = part AND a.attname = v.name)), NULL
      FROM unnest(e.reveal_columns) WITH ORDINALITY AS v(name, n)
    UNION ALL
    SELECT 7, 1, NULL, NULL, CASE WHEN seals THEN 'data_key = $8' END, NULL)
  SELECT string_agg(slice, ', ' ORDER BY kind, cols.n), string_agg(name, ', ' ORDER BY kind, cols.n),
         string_agg(assign, ', ' ORDER BY kind, cols.n), string_agg(condition, ' AND ' ORDER BY kind, cols.n)
    INTO arrays, names, assigned, same FROM cols;
  IF assigned IS NULL THEN
    RETURN 0;
  END IF;
  EXECUTE format('UPDATE %s u SET %s FROM unnest($1, $2, %s) AS s(id, at, %s)
                   WHERE u.sent = s.at AND u.row_id = s.id AND %s',
                 part, assigned, arrays, names, same)
    USING p_ids, p_sents, p_old, p_new, p_clear, p_tokens, p_reveals, p_key;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $$;
COMMENT ON FUNCTION cloakroom.evolve_rows(bigint, bigint, text, date, uuid[], timestamptz[], bytea[], bytea[], text[],
  text[], text[], integer, bytea) IS
  'writes rows as the new definition says; with a data key every value is sealed under it, and what was in clear is '
  'gone: only where the sealed values (p_old: their first 17 bytes, nothing for NULL) and what is in clear are still '
  'those; without, tokens and reveals alone';
GRANT EXECUTE ON FUNCTION cloakroom.evolve_rows(bigint, bigint, text, date, uuid[], timestamptz[], bytea[], bytea[],
  text[], text[], text[], integer, bytea) TO
  cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.finish_fill(p_rotation bigint, p_step integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  e cloakroom.evolutions := cloakroom.evolving(p_rotation, p_step, 'fill');
  left_over bigint;
  more bigint;
BEGIN
  IF e.rotation IS NULL THEN
    RETURN 0;
  END IF;
  EXECUTE format('SELECT count(*) FROM %s u WHERE %s', cloakroom.row_table(e.dataset),
                 cloakroom.unfilled(p_rotation, false)) INTO STRICT left_over;
  SELECT count(*) INTO more FROM cloakroom.rotation_slices s WHERE s.rotation = p_rotation AND s.pass = 'evolve'
    AND NOT s.done;
  IF left_over + more = 0 THEN
    PERFORM cloakroom.evolved(p_rotation, s.number) FROM cloakroom.evolution_steps s
      WHERE s.rotation = p_rotation AND s.run_by = 'fill' AND s.done_at IS NULL ORDER BY s.number;
  END IF;
  RETURN left_over + more;
END $$;
COMMENT ON FUNCTION cloakroom.finish_fill(bigint, integer) IS
  'counts the rows that are not yet as the new definition says; none: on to the next step';
GRANT EXECUTE ON FUNCTION cloakroom.finish_fill(bigint, integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.evolve_indexes_left(p_rotation bigint)
RETURNS TABLE (partition name, col name, index_name name, bytes bigint, unfinished boolean, ready boolean)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT t.partition, t.col, t.index_name, pg_relation_size(format('cloakroom_data.%I', t.partition)::regclass),
         t.built IS NOT NULL AND NOT t.valid, t.built IS NOT NULL AND t.valid
    FROM cloakroom.evolutions e CROSS JOIN LATERAL cloakroom.token_indexes(e.version) t
   WHERE e.rotation = p_rotation AND t.attached IS NOT TRUE ORDER BY 1, 2
$$;
COMMENT ON FUNCTION cloakroom.evolve_indexes_left(bigint) IS
  'partitions that lack an index of a token column, as reindex_indexes_left() lists them';
GRANT EXECUTE ON FUNCTION cloakroom.evolve_indexes_left(bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.evolve_index(p_rotation bigint, p_partition text, p_column text, p_build boolean)
  RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  e cloakroom.evolutions := cloakroom.evolving(p_rotation, (
    SELECT s.step FROM cloakroom.evolution_state(p_rotation) AS s WHERE s.run_by = 'index'));
BEGIN
  IF e.rotation IS NOT NULL THEN
    PERFORM cloakroom.build_token_index(e.version, p_partition, p_column, p_build);
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.evolve_index(bigint, text, text, boolean) IS
  'builds or attaches an index, as reindex_index() does';
GRANT EXECUTE ON FUNCTION cloakroom.evolve_index(bigint, text, text, boolean) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.finish_evolve_indexes(p_rotation bigint, p_step integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  e cloakroom.evolutions := cloakroom.evolving(p_rotation, p_step, 'index');
  left_over bigint;
BEGIN
  IF e.rotation IS NULL THEN
    RETURN 0;
  END IF;
  SELECT count(*) INTO left_over FROM cloakroom.evolve_indexes_left(p_rotation);
  IF left_over = 0 THEN
    PERFORM cloakroom.evolved(p_rotation, p_step);
  END IF;
  RETURN left_over;
END $$;
COMMENT ON FUNCTION cloakroom.finish_evolve_indexes(bigint, integer) IS
  'counts the indexes that are missing or not attached; none: on to the next step';
GRANT EXECUTE ON FUNCTION cloakroom.finish_evolve_indexes(bigint, integer) TO cloakroom_rotator;
