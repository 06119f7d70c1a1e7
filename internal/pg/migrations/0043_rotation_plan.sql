-- What keys rotate --dry-run says that it would do.
-- +goose Up

-- +goose StatementBegin
CREATE FUNCTION cloakroom.rotation_plan(p_made_before timestamptz,
  OUT months integer, OUT closing integer[], OUT due integer[], OUT logins bigint, OUT rejections bigint, OUT sealed bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  SELECT count(*) FILTER (WHERE to_regclass('cloakroom.user_logins_' || to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month', 'YYYY_MM')) IS NULL)
    INTO months FROM generate_series(0, 3) AS n;
  SELECT coalesce(array_agg(id ORDER BY id) FILTER (WHERE state = 'active'), '{}'), coalesce(array_agg(id ORDER BY id), '{}') INTO closing, due
    FROM cloakroom.data_keys WHERE state IN ('active', 'closed') AND created_at < p_made_before;
  SELECT count(*) FILTER (WHERE u.data_key = ANY (due)), count(u.data_key) INTO logins, sealed FROM cloakroom.user_logins u;
  SELECT count(*) INTO rejections FROM cloakroom.rejections r WHERE r.data_key = ANY (due);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.rotation_plan(timestamptz) IS
  'months to be made; data keys to be closed and resealed if keys made before a time are due, and what they hold; sealed rows in all';
GRANT EXECUTE ON FUNCTION cloakroom.rotation_plan(timestamptz) TO cloakroom_rotator;
