-- Rewrap: the same keys under another KEK.

CREATE OR REPLACE FUNCTION cloakroom.wrapped_keys()
RETURNS TABLE (purpose text, id integer, kek text, kek_id text, wrapped bytea, key_check bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT 'index', version, kek, kek_id, wrapped, key_check FROM cloakroom.index_keys WHERE wrapped IS NOT NULL
  UNION ALL
  SELECT 'seal', id, kek, kek_id, wrapped, key_check FROM cloakroom.data_keys WHERE wrapped IS NOT NULL
   ORDER BY 1, 2
$$;
COMMENT ON FUNCTION cloakroom.wrapped_keys() IS 'every key that is not shredded, wrapped';
GRANT EXECUTE ON FUNCTION cloakroom.wrapped_keys() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.begin_rewrap(p_kek text, p_data_keys integer, p_index_keys integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.append_leaf('key.rewrap', p_result => 'begun: ' || p_data_keys || ' data keys and ' || p_index_keys
    || ' index keys under ' || p_kek);
END $$;
COMMENT ON FUNCTION cloakroom.begin_rewrap(text, integer, integer) IS
  'logs that keys are about to be rewrapped; log_rewrap says afterwards which were';
GRANT EXECUTE ON FUNCTION cloakroom.begin_rewrap(text, integer, integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.rewrap_key(
  p_purpose text, p_id integer, p_old bytea, p_kek text, p_kek_id text, p_new bytea) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM cloakroom.require_durable_commit();
  IF p_new IS NULL OR octet_length(p_new) = 0 THEN
    RAISE EXCEPTION 'nothing was wrapped' USING ERRCODE = 'CR013';
  END IF;
  -- Only over the old bytes: if the key was rewrapped or shredded meanwhile, keep that.
  IF p_purpose = 'index' THEN
    UPDATE cloakroom.index_keys SET kek = p_kek, kek_id = p_kek_id, wrapped = p_new WHERE version = p_id
      AND wrapped = p_old;
  ELSE
    UPDATE cloakroom.data_keys SET kek = p_kek, kek_id = p_kek_id, wrapped = p_new WHERE id = p_id AND wrapped = p_old;
  END IF;
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION cloakroom.rewrap_key(text, integer, bytea, text, text, bytea) IS
  'stores a key under another KEK, over exactly the old wrapped bytes; false: somebody was quicker';
GRANT EXECUTE ON FUNCTION cloakroom.rewrap_key(text, integer, bytea, text, text, bytea) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.log_rewrap(p_kek text, p_data_keys integer[], p_index_keys integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM cloakroom.append_leaf('key.rewrap', p_data_keys => p_data_keys,
    p_result => cardinality(p_data_keys) || ' data keys and ' || p_index_keys || ' index keys under ' || p_kek);
END $$;
COMMENT ON FUNCTION cloakroom.log_rewrap(text, integer[], integer) IS 'logs which keys were rewrapped';
GRANT EXECUTE ON FUNCTION cloakroom.log_rewrap(text, integer[], integer) TO cloakroom_rotator;
