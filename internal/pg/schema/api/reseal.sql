-- Reseal: sealing the values of closed data keys again, under new ones.

CREATE OR REPLACE FUNCTION cloakroom.begin_reseal(p_made_before timestamptz, p_dataset text DEFAULT NULL,
  OUT rotation bigint, OUT data_keys integer[], OUT resumed boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  of record;
BEGIN
  PERFORM cloakroom.require_read_committed();
  LOCK TABLE cloakroom.rotations IN SHARE ROW EXCLUSIVE MODE;
  SELECT r.id, r.data_keys, true INTO rotation, data_keys, resumed FROM cloakroom.rotations r WHERE r.step = 'reseal'
    AND r.state = 'running';
  IF FOUND THEN
    RETURN;
  END IF;
  resumed := false;
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO data_keys
    FROM cloakroom.data_keys k WHERE k.state = 'closed' AND k.created_at < p_made_before AND (p_dataset IS NULL
      OR k.dataset = p_dataset);
  IF cardinality(data_keys) = 0 THEN
    RETURN;
  END IF;
  INSERT INTO cloakroom.rotations (step, dataset, data_keys) VALUES ('reseal', p_dataset, data_keys) RETURNING id
    INTO rotation;
  DELETE FROM cloakroom.quarantine WHERE step = 'reseal';
  FOR of IN SELECT DISTINCT k.dataset, k.month FROM cloakroom.data_keys k WHERE k.id = ANY (begin_reseal.data_keys) LOOP
    PERFORM cloakroom.add_slices(rotation, 'reseal', of.dataset, of.month, (of.month + interval '1 month')::date);
    INSERT INTO cloakroom.rotation_slices (rotation, pass, dataset, part, slice, first_sent, after_sent, after_id,
      last_sent)
    VALUES (rotation, 'rejections', of.dataset, of.month, 0, '-infinity', '-infinity',
      '00000000-0000-0000-0000-000000000000', 'infinity');
  END LOOP;
END $$;
COMMENT ON FUNCTION cloakroom.begin_reseal(timestamptz, text) IS
  'begins to reseal what closed data keys made before hold, of a dataset or of all, or resumes what is under way; '
  'no rotation where '
  'there is nothing';
GRANT EXECUTE ON FUNCTION cloakroom.begin_reseal(timestamptz, text) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.reseal_page(
  p_rotation bigint, p_dataset text, p_part date, p_after_sent timestamptz, p_after_id uuid, p_last_sent timestamptz,
    p_limit integer)
RETURNS TABLE (row_id uuid, sent timestamptz, create_date date, subject text, data_key integer, sealed bytea[],
  tokens text[])
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM cloakroom.page(p_dataset, p_part, p_after_sent, p_after_id, p_last_sent, '{}', 'u.data_key = ANY ($4)',
    (SELECT data_keys FROM cloakroom.rotations WHERE id = p_rotation), p_limit)
$$;
COMMENT ON FUNCTION cloakroom.reseal_page(bigint, text, date, timestamptz, uuid, timestamptz, integer) IS
  'the next rows of a slice that the closed keys sealed, in key order, without tokens';
GRANT EXECUTE ON FUNCTION cloakroom.reseal_page(bigint, text, date, timestamptz, uuid, timestamptz,
  integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.reseal_rejections_page(
  p_rotation bigint, p_dataset text, p_month date, p_after_id uuid, p_after_sent timestamptz, p_limit integer,
  p_bytes bigint)
RETURNS TABLE (message_id uuid, sent timestamptz, sealed_body bytea, data_key integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  -- Keys, then "= ANY": rejections are not joined with a local table (Citus).
  keys integer[] := ARRAY(SELECT k.id FROM cloakroom.data_keys k JOIN cloakroom.rotations n ON k.id = ANY (n.data_keys)
                           WHERE n.id = p_rotation AND k.dataset = p_dataset AND k.month = p_month);
BEGIN
  RETURN QUERY
    SELECT s.message_id, s.sent, s.sealed_body, s.data_key FROM (
      SELECT page.*, sum(octet_length(page.sealed_body)) OVER (ORDER BY page.message_id, page.sent)
                     - octet_length(page.sealed_body) AS before
        FROM (SELECT r.message_id, r.sent, r.sealed_body, r.data_key FROM cloakroom.rejections r
               WHERE (r.message_id, r.sent) > (p_after_id, p_after_sent) AND r.data_key = ANY (keys)
               ORDER BY r.message_id, r.sent LIMIT p_limit) AS page) AS s
     WHERE s.before < p_bytes ORDER BY s.message_id, s.sent;
END $$;
COMMENT ON FUNCTION cloakroom.reseal_rejections_page(bigint, text, date, uuid, timestamptz, integer, bigint) IS
  'the next rejections sealed under the closed keys of a dataset and month: as many as fit the bytes, and one at least';
GRANT EXECUTE ON FUNCTION cloakroom.reseal_rejections_page(bigint, text, date, uuid, timestamptz, integer,
  bigint) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.reseal_parts(
  p_epoch bigint, p_dataset text, p_part date, p_ids uuid[], p_sents timestamptz[], p_ends integer[], p_parts bytea,
    p_key integer, p_check bytea)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  columns name[] := ARRAY(SELECT c.column_name FROM cloakroom.dataset_columns c WHERE c.dataset = p_dataset
    AND c.kind = 'sealed' ORDER BY c.position);
  part regclass := cloakroom.partition_from(p_dataset, p_part);
  n integer := cardinality(p_ids);
  k integer := cardinality(columns);
  starts integer[] := 0 || p_ends[:n * k - 1];
  bounds text;
  names text;
  parts text;
  assigned text;
  same text;
  changed integer;
BEGIN
  PERFORM cloakroom.require_epoch(p_epoch);
  PERFORM cloakroom.require_sealing_key(p_key, p_check, p_dataset, date_trunc('month', p_part)::date);
  -- unnest pads the shorter array with NULL and says nothing.
  IF cardinality(p_sents) <> n OR cardinality(p_ends) <> n * k THEN
    RAISE EXCEPTION 'the arrays are not of one length' USING ERRCODE = 'CR013';
  END IF;
  IF part IS NULL THEN
    RETURN 0;
  END IF;
  PERFORM cloakroom.force_index_scan_if_unanalyzed(part);
  IF k = 0 THEN
    -- Nothing of the dataset is sealed, and yet its rows name a data key.
    EXECUTE format('UPDATE %s u SET data_key = $3 FROM unnest($1, $2) AS s(id, at)
                     WHERE u.sent = s.at AND u.row_id = s.id AND u.data_key IS NOT NULL', part)
      USING p_ids, p_sents, p_key;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
  END IF;
  SELECT string_agg(format('$3[%1$s:%2$s], $4[%1$s:%2$s]', (i - 1) * n + 1, i * n), ', ' ORDER BY i),
         string_agg(format('start%1$s, end%1$s', i), ', ' ORDER BY i),
         -- substring does not complain if a value ends too soon, so compare the bounds.
         string_agg(format('CASE WHEN end%1$s > start%1$s + 17 AND end%1$s <= $6
             THEN substring($5 from start%1$s + 1 for 17) END AS old%1$s,
           CASE WHEN end%1$s > start%1$s + 17
             AND end%1$s <= $6 THEN substring($5 from start%1$s + 18 for end%1$s - start%1$s - 17) END AS new%1$s,
           start%1$s = end%1$s AS none%1$s', i), ', ' ORDER BY i),
         string_agg(format('%I = s.new%s', c, i), ', ' ORDER BY i),
         -- If the row changed meanwhile, keep the change. NULL stays NULL.
         string_agg(format('(s.none%1$s AND u.%2$I IS NULL OR substring(u.%2$I for 17) = s.old%1$s)', i, c), ' AND '
           ORDER BY i)
    INTO bounds, names, parts, assigned, same
    FROM unnest(columns) WITH ORDINALITY AS g(c, i);
  -- OFFSET keeps the subquery one: else the planner copies all the parts with each condition.
  EXECUTE format(
    'UPDATE %s u SET data_key = $7, %s FROM (SELECT id, at, %s FROM unnest($1, $2, %s) AS b(id, at, %s) OFFSET 0) AS s
      WHERE u.sent = s.at AND u.row_id = s.id AND %s',
    part, assigned, parts, bounds, names, same)
    USING p_ids, p_sents, starts, p_ends, p_parts, octet_length(p_parts), p_key;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $$;
COMMENT ON FUNCTION cloakroom.reseal_parts(bigint, text, date, uuid[], timestamptz[], integer[], bytea, integer,
  bytea) IS
  'writes new sealed values over the old ones; p_parts holds, member after member and row after row, the first 17 '
  'bytes of the old value '
  '(version, data key, nonce) and all of the new, nothing for NULL, and p_ends where each part ends; returns how '
  'many rows were still so';
GRANT EXECUTE ON FUNCTION cloakroom.reseal_parts(bigint, text, date, uuid[], timestamptz[], integer[], bytea, integer,
  bytea) TO
  cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.reseal_rejections(
  p_epoch bigint, p_dataset text, p_month date, p_ids uuid[], p_sents timestamptz[], p_old bytea[], p_new bytea[],
    p_key integer, p_check bytea)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  changed integer;
BEGIN
  PERFORM cloakroom.require_epoch(p_epoch);
  PERFORM cloakroom.require_sealing_key(p_key, p_check, p_dataset, p_month);
  IF NOT (cardinality(p_ids) = ALL (ARRAY[cardinality(p_sents), cardinality(p_old), cardinality(p_new)])) THEN
    RAISE EXCEPTION 'the arrays are not of one length' USING ERRCODE = 'CR013';
  END IF;
  UPDATE cloakroom.rejections r SET sealed_body = s.new, data_key = p_key
    FROM unnest(p_ids, p_sents, p_old, p_new) AS s(id, at, old, new)
   WHERE r.message_id = s.id AND r.sent = s.at AND r.dataset = p_dataset AND r.sealed_body = s.old
     AND s.new IS NOT NULL;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $$;
COMMENT ON FUNCTION cloakroom.reseal_rejections(bigint, text, date, uuid[], timestamptz[], bytea[], bytea[], integer,
  bytea) IS
  'writes new sealed bodies over exactly the old ones; returns how many rejections were still so';
GRANT EXECUTE ON FUNCTION cloakroom.reseal_rejections(bigint, text, date, uuid[], timestamptz[], bytea[], bytea[],
  integer, bytea) TO
  cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.finish_reseal(p_rotation bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run cloakroom.rotations;
  left_over bigint;
  resealed bigint;
BEGIN
  PERFORM cloakroom.require_read_committed();
  SELECT * INTO STRICT run FROM cloakroom.rotations WHERE id = p_rotation FOR UPDATE;
  SELECT coalesce(sum(h.rows + h.rejections), 0) INTO left_over FROM cloakroom.data_key_rows(run.data_keys) AS h;
  IF run.state = 'running' AND left_over = 0 THEN
    UPDATE cloakroom.rotations SET state = 'done', finished_at = now() WHERE id = p_rotation;
    SELECT sum(s.rows_done) INTO resealed FROM cloakroom.rotation_slices s WHERE s.rotation = p_rotation;
    DELETE FROM cloakroom.rotation_slices s WHERE s.rotation = p_rotation;
    PERFORM cloakroom.append_leaf('key.reseal', p_data_keys => run.data_keys, p_rows => resealed, p_result => 'done');
  END IF;
  RETURN left_over;
END $$;
COMMENT ON FUNCTION cloakroom.finish_reseal(bigint) IS
  'counts what the closed keys still hold, and ends the reseal if that is nothing';
GRANT EXECUTE ON FUNCTION cloakroom.finish_reseal(bigint) TO cloakroom_rotator;
