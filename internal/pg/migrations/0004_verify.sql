-- What keys status and keys verify read: doors for the rotator, who holds every key anyway.
-- +goose Up

-- +goose StatementBegin
CREATE FUNCTION cloakroom.data_key_list()
RETURNS TABLE (id integer, month date, state text, kek text, kek_id text, created_by name, created_at timestamptz,
               closed_at timestamptz, retired_at timestamptz, shredded_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT id, month, state, kek, kek_id, created_by, created_at, closed_at, retired_at, shredded_at
    FROM cloakroom.data_keys ORDER BY id
$$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.data_key_list() TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.index_key_list()
RETURNS TABLE (version integer, state text, kek text, kek_id text, created_by name, created_at timestamptz, retired_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT version, state, kek, kek_id, created_by, created_at, retired_at FROM cloakroom.index_keys ORDER BY version
$$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.index_key_list() TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.wrapped_data_key(p_id integer)
RETURNS TABLE (month date, state text, kek text, kek_id text, wrapped bytea, key_check bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT month, state, kek, kek_id, wrapped, key_check FROM cloakroom.data_keys WHERE id = p_id
$$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.wrapped_data_key(integer) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.months() RETURNS TABLE (month date)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT to_date(right(c.relname, 7), 'YYYY_MM')
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
   WHERE i.inhparent = 'cloakroom.user_logins'::regclass AND c.relname ~ '^user_logins_\d{4}_\d{2}$'
   ORDER BY 1
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.months() IS 'the months that have a partition';
GRANT EXECUTE ON FUNCTION cloakroom.months() TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.scan_rows(p_month date, p_after_id uuid, p_after_date date, p_limit integer)
RETURNS SETOF cloakroom.user_logins
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Keyset order within one partition: its primary key's index, and no sort.
  RETURN QUERY EXECUTE
    'SELECT * FROM cloakroom.user_logins
      WHERE create_date >= $1 AND create_date < $2 AND (message_id, create_date) > ($3, $4)
      ORDER BY message_id, create_date LIMIT $5'
    USING p_month, (p_month + interval '1 month')::date, p_after_id, p_after_date, p_limit;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.scan_rows(date, uuid, date, integer) IS 'the next rows of a month after a key, in key order';
GRANT EXECUTE ON FUNCTION cloakroom.scan_rows(date, uuid, date, integer) TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.scan_rejections(p_after_id uuid, p_limit integer) RETURNS SETOF cloakroom.rejections
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM cloakroom.rejections WHERE message_id > p_after_id ORDER BY message_id LIMIT p_limit
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.scan_rejections(uuid, integer) IS 'the next rejections after an id, in its order';
GRANT EXECUTE ON FUNCTION cloakroom.scan_rejections(uuid, integer) TO cloakroom_rotator;
