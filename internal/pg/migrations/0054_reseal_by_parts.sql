-- Reseal sends its values as parts of one value: to read them from arrays, whose elements are quoted, took a tenth of a batch's time.
-- What is sent in arrays is still taken.
-- +goose Up

-- +goose StatementBegin
CREATE FUNCTION cloakroom.reseal_parts(
  p_epoch bigint, p_month date, p_members text[], p_ids uuid[], p_dates date[], p_ends integer[], p_parts bytea, p_key integer, p_check bytea)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  sealed text[] := cloakroom.member_columns(p_members, 'sealed_', '');
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
  SELECT string_agg(format('$3[%1$s:%2$s], $4[%1$s:%2$s]', (i - 1) * n + 1, i * n), ', ' ORDER BY i),
         string_agg(format('start%1$s, end%1$s', i), ', ' ORDER BY i),
         string_agg(format('CASE WHEN end%1$s > start%1$s + 17 AND end%1$s <= $6 THEN substring($5 from start%1$s + 1 for 17) END AS old%1$s,
           CASE WHEN end%1$s > start%1$s + 17 AND end%1$s <= $6 THEN substring($5 from start%1$s + 18 for end%1$s - start%1$s - 17) END AS new%1$s,
           start%1$s = end%1$s AS none%1$s', i), ', ' ORDER BY i),
         string_agg(format('%I = s.new%s', c, i), ', ' ORDER BY i),
         -- Whoever changed the row meanwhile wins. NULL stays NULL.
         string_agg(format('(s.none%1$s AND u.%2$I IS NULL OR substring(u.%2$I for 17) = s.old%1$s)', i, c), ' AND ' ORDER BY i)
    INTO bounds, names, parts, assigned, same
    FROM unnest(sealed) WITH ORDINALITY AS g(c, i);
  -- OFFSET keeps the subquery one: else every partition's plan would have copies of all the parts.
  EXECUTE format(
    'UPDATE cloakroom.user_logins u SET data_key = $7, %s
       FROM (SELECT id, date, %s FROM unnest($1, $2, %s) AS b(id, date, %s) OFFSET 0) AS s
      WHERE u.message_id = s.id AND u.create_date = s.date AND u.create_date >= %L AND u.create_date < %L AND %s',
    assigned, parts, bounds, names, p_month, (p_month + interval '1 month')::date, same)
    USING p_ids, p_dates, starts, p_ends, p_parts, octet_length(p_parts), p_key;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.reseal_parts(bigint, date, text[], uuid[], date[], integer[], bytea, integer, bytea) IS
  'writes new sealed values over the old ones; p_parts holds, member after member and row after row, the first 17 bytes of the old value (version, data key, nonce) and all of the new, nothing for NULL, and p_ends where each part ends; returns how many rows were still so';
GRANT EXECUTE ON FUNCTION cloakroom.reseal_parts(bigint, date, text[], uuid[], date[], integer[], bytea, integer, bytea) TO cloakroom_rotator;
