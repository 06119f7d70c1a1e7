-- A rewrap says what it is about to do before it does it: killed on its way, it has changed keys that nothing would name.
-- +goose Up

-- +goose StatementBegin
CREATE FUNCTION cloakroom.begin_rewrap(p_kek text, p_data_keys integer, p_index_keys integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.append_leaf('key.rewrap', p_result => 'begun: ' || p_data_keys || ' data keys and ' || p_index_keys || ' index keys under ' || p_kek);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.begin_rewrap(text, integer, integer) IS 'logs that keys are about to be rewrapped; log_rewrap says afterwards which were';
GRANT EXECUTE ON FUNCTION cloakroom.begin_rewrap(text, integer, integer) TO cloakroom_rotator;
