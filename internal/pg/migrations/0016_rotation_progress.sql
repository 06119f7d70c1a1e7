-- How much a pass has before it, for progress and ETA.
-- +goose Up

-- +goose StatementBegin
CREATE FUNCTION cloakroom.pass_rows(p_rotation bigint, p_pass text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint;
BEGIN
  IF p_pass IN ('reseal', 'rejections') THEN
    SELECT sum(CASE WHEN p_pass = 'reseal' THEN c.logins ELSE c.rejections END) INTO n
      FROM cloakroom.rotations r, cloakroom.data_key_rows(r.data_keys) c WHERE r.id = p_rotation;
  ELSE
    -- As the last ANALYZE counted: a count of its own would cost as much as a tenth of the pass.
    SELECT sum(greatest(c.reltuples, 0)) INTO n
      FROM (SELECT DISTINCT month FROM cloakroom.rotation_slices WHERE rotation = p_rotation AND pass = p_pass AND NOT done) s
      JOIN pg_class c ON c.oid = to_regclass('cloakroom.user_logins_' || to_char(s.month, 'YYYY_MM'));
  END IF;
  RETURN coalesce(n, 0);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.pass_rows(bigint, text) IS 'about how many rows a pass has before it; 0: not known';
GRANT EXECUTE ON FUNCTION cloakroom.pass_rows(bigint, text) TO cloakroom_rotator;
