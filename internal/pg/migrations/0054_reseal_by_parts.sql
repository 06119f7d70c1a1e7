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
CREATE FUNCTION cloakroom.reseal_parts(
  p_epoch bigint, p_month date, p_members text[], p_ids uuid[], p_dates date[], p_ends integer[], p_parts bytea, p_key integer, p_check bytea)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  sealed text[] := cloakroom.member_columns(p_members, 'sealed_', '');
  part regclass := cloakroom.month_partition(p_month);
  n integer := cardinality(p_ids);
  k integer := cardinality(p_members);
  starts integer[] := 0 || p_ends[:n * k - 1];
  bounds text;
  names text;
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
  SELECT string_agg(format('$3[%1$s:%2$s], $4[%1$s:%2$s]', (i - 1) * n + 1, i * n), ', ' ORDER BY i),
         string_agg(format('start%1$s, end%1$s', i), ', ' ORDER BY i),
         string_agg(format('%I = CASE WHEN s.end%2$s > s.start%2$s THEN substring($5 from s.start%2$s + 18 for s.end%2$s - s.start%2$s - 17) END', c, i),
           ', ' ORDER BY i),
         -- Whoever changed the row meanwhile wins. NULL stays NULL. substring says nothing where a value ends too soon.
         string_agg(format('(s.end%1$s = s.start%1$s AND u.%2$I IS NULL OR s.end%1$s > s.start%1$s + 17 AND s.end%1$s <= $6
           AND substring(u.%2$I for 17) = substring($5 from s.start%1$s + 1 for 17))', i, c), ' AND ' ORDER BY i)
    INTO bounds, names, assigned, same
    FROM unnest(sealed) WITH ORDINALITY AS g(c, i);
  -- Of the partition itself: to it no way leads but its primary key, whatever the planner knows of it.
  EXECUTE format(
    'UPDATE %s u SET data_key = $7, %s FROM unnest($1, $2, %s) AS s(id, date, %s) WHERE u.message_id = s.id AND u.create_date = s.date AND %s',
    part, assigned, bounds, names, same)
    USING p_ids, p_dates, starts, p_ends, p_parts, octet_length(p_parts), p_key;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.reseal_parts(bigint, date, text[], uuid[], date[], integer[], bytea, integer, bytea) IS
  'writes new sealed values over the old ones; p_parts holds, member after member and row after row, the first 17 bytes of the old value (version, data key, nonce) and all of the new, nothing for NULL, and p_ends where each part ends; returns how many rows were still so';
GRANT EXECUTE ON FUNCTION cloakroom.reseal_parts(bigint, date, text[], uuid[], date[], integer[], bytea, integer, bytea) TO cloakroom_rotator;
