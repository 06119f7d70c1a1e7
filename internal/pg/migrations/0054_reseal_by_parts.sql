-- Reseal sends its values as parts of one value: to read them from arrays, whose elements are quoted, took a tenth of a batch's time.
-- What is sent in arrays is still taken.
-- +goose Up

-- +goose StatementBegin
CREATE FUNCTION cloakroom.month_partition(p_month date) RETURNS regclass
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT to_regclass('cloakroom.user_logins_' || to_char(p_month, 'YYYY_MM'))
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.mind_no_statistics(p_part regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- A table that was never analysed, or when it was empty, is taken for a few rows, and read whole for each batch. To the end of the transaction no way leads
  -- to it but an index; a way that is forbidden has a price for which the planner would compile the statement.
  IF (SELECT reltuples FROM pg_class WHERE oid = p_part) <= 0 THEN
    PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true);
  END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.reseal_parts(
  p_epoch bigint, p_month date, p_members text[], p_ids uuid[], p_dates date[], p_ends integer[], p_parts bytea, p_key integer, p_check bytea)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  sealed text[] := cloakroom.member_columns(p_members, 'sealed_', '');
  part regclass := cloakroom.month_partition(p_month);
  n integer := cardinality(p_ids);
  k integer := cardinality(p_members);
  starts integer[] := 0 || p_ends[:n * k - 1];
  bounds text;
  names text;
  parts text;
  assigned text;
  same text;
  changed integer;
BEGIN
  PERFORM cloakroom.require_epoch(p_epoch);
  PERFORM cloakroom.require_sealing_key(p_key, p_check, p_month);
  -- unnest pads the shorter array with NULL and says nothing.
  IF cardinality(p_dates) <> n OR cardinality(p_ends) <> n * k THEN
    RAISE EXCEPTION 'the arrays are not of one length' USING ERRCODE = 'CR013';
  END IF;
  IF part IS NULL THEN
    RETURN 0;
  END IF;
  PERFORM cloakroom.mind_no_statistics(part);
  SELECT string_agg(format('$3[%1$s:%2$s], $4[%1$s:%2$s]', (i - 1) * n + 1, i * n), ', ' ORDER BY i),
         string_agg(format('start%1$s, end%1$s', i), ', ' ORDER BY i),
         -- substring says nothing where a value ends too soon.
         string_agg(format('CASE WHEN end%1$s > start%1$s + 17 AND end%1$s <= $6 THEN substring($5 from start%1$s + 1 for 17) END AS old%1$s,
           CASE WHEN end%1$s > start%1$s + 17 AND end%1$s <= $6 THEN substring($5 from start%1$s + 18 for end%1$s - start%1$s - 17) END AS new%1$s,
           start%1$s = end%1$s AS none%1$s', i), ', ' ORDER BY i),
         string_agg(format('%I = s.new%s', c, i), ', ' ORDER BY i),
         -- Whoever changed the row meanwhile wins. NULL stays NULL.
         string_agg(format('(s.none%1$s AND u.%2$I IS NULL OR substring(u.%2$I for 17) = s.old%1$s)', i, c), ' AND ' ORDER BY i)
    INTO bounds, names, parts, assigned, same
    FROM unnest(sealed) WITH ORDINALITY AS g(c, i);
  -- OFFSET keeps the subquery one: else the planner copies all the parts with each condition.
  EXECUTE format(
    'UPDATE %s u SET data_key = $7, %s FROM (SELECT id, date, %s FROM unnest($1, $2, %s) AS b(id, date, %s) OFFSET 0) AS s
      WHERE u.message_id = s.id AND u.create_date = s.date AND %s',
    part, assigned, parts, bounds, names, same)
    USING p_ids, p_dates, starts, p_ends, p_parts, octet_length(p_parts), p_key;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.reseal_parts(bigint, date, text[], uuid[], date[], integer[], bytea, integer, bytea) IS
  'writes new sealed values over the old ones; p_parts holds, member after member and row after row, the first 17 bytes of the old value (version, data key, nonce) and all of the new, nothing for NULL, and p_ends where each part ends; returns how many rows were still so';
GRANT EXECUTE ON FUNCTION cloakroom.reseal_parts(bigint, date, text[], uuid[], date[], integer[], bytea, integer, bytea) TO cloakroom_rotator;
