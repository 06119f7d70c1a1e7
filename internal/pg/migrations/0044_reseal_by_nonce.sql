-- Reseal tells the old values apart by their first bytes, version, data key and random nonce: half of what was sent with each batch
-- was old values, whole. What was sent whole still does.
-- +goose Up

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION cloakroom.reseal_rows(
  p_epoch bigint, p_month date, p_members text[], p_ids uuid[], p_dates date[], p_old bytea[], p_new bytea[], p_key integer, p_check bytea)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  sealed text[] := cloakroom.member_columns(p_members, 'sealed_', '');
  n integer := cardinality(p_ids);
  k integer := cardinality(p_members);
  old_parts text;
  new_parts text;
  assigned text;
  same text;
  changed integer;
BEGIN
  PERFORM cloakroom.require_epoch(p_epoch);
  PERFORM cloakroom.require_sealing_key(p_key, p_check, p_month);
  -- unnest pads the shorter array with NULL and says nothing.
  IF cardinality(p_dates) <> n OR cardinality(p_old) <> n * k OR cardinality(p_new) <> n * k THEN
    RAISE EXCEPTION 'the arrays are not of one length' USING ERRCODE = 'CR013';
  END IF;
  SELECT string_agg(format('$3[%s:%s]', (i - 1) * n + 1, i * n), ', ' ORDER BY i),
         string_agg(format('$4[%s:%s]', (i - 1) * n + 1, i * n), ', ' ORDER BY i),
         string_agg(format('%I = s.new%s', c, i), ', ' ORDER BY i),
         -- Whoever changed the row meanwhile wins. NULL stays NULL.
         string_agg(format('(s.old%1$s IS NULL AND u.%2$I IS NULL AND s.new%1$s IS NULL OR
           octet_length(s.old%1$s) >= 17 AND substring(u.%2$I for octet_length(s.old%1$s)) = s.old%1$s AND s.new%1$s IS NOT NULL)', i, c), ' AND ' ORDER BY i)
    INTO old_parts, new_parts, assigned, same
    FROM unnest(sealed) WITH ORDINALITY AS g(c, i);
  EXECUTE format(
    'UPDATE cloakroom.user_logins u SET data_key = $5, %s FROM unnest($1, $2, %s, %s) AS s(id, date, %s, %s)
      WHERE u.message_id = s.id AND u.create_date = s.date AND u.create_date >= %L AND u.create_date < %L AND %s',
    assigned, old_parts, new_parts,
    (SELECT string_agg('old' || i, ', ') FROM generate_series(1, k) AS i), (SELECT string_agg('new' || i, ', ') FROM generate_series(1, k) AS i),
    p_month, (p_month + interval '1 month')::date, same)
    USING p_ids, p_dates, p_old, p_new, p_key;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.reseal_rows(bigint, date, text[], uuid[], date[], bytea[], bytea[], integer, bytea) IS
  'writes new sealed values over the old ones that begin so, to the nonce at least; p_old and p_new hold member after member; returns how many rows were still so';
