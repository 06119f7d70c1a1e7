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

CREATE OR REPLACE FUNCTION cloakroom.put_wrapped(p_purpose text, p_id integer, p_old bytea, p_kek text,
  p_kek_id text, p_new bytea, OUT old_kek text, OUT old_kek_id text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF p_new IS NULL OR octet_length(p_new) NOT BETWEEN 32 AND 8192 THEN
    RAISE EXCEPTION 'that is no wrapped key' USING ERRCODE = 'CR013';
  END IF;
  -- Only over the old bytes: if the key was rewrapped or shredded meanwhile, keep that.
  IF p_purpose = 'index' THEN
    UPDATE cloakroom.index_keys k SET kek = p_kek, kek_id = p_kek_id, wrapped = p_new
      FROM (SELECT i.version, i.kek, i.kek_id FROM cloakroom.index_keys i
             WHERE i.version = p_id AND i.wrapped = p_old FOR UPDATE) AS o
     WHERE k.version = o.version RETURNING o.kek, o.kek_id INTO old_kek, old_kek_id;
  ELSE
    UPDATE cloakroom.data_keys k SET kek = p_kek, kek_id = p_kek_id, wrapped = p_new
      FROM (SELECT d.id, d.kek, d.kek_id FROM cloakroom.data_keys d
             WHERE d.id = p_id AND d.wrapped = p_old FOR UPDATE) AS o
     WHERE k.id = o.id RETURNING o.kek, o.kek_id INTO old_kek, old_kek_id;
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.put_wrapped(text, integer, bytea, text, text, bytea) IS
  'writes a key''s wrapped bytes over exactly the old ones and returns the KEK of those; NULL: somebody was quicker';

CREATE OR REPLACE FUNCTION cloakroom.log_wrapped(p_act text, p_kek text, p_kek_id text, p_data_keys integer[],
  p_index_keys integer[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM cloakroom.append_leaf('key.' || p_act, p_data_keys => p_data_keys, p_result => concat(
    cardinality(p_data_keys), ' data keys', ' and index keys ' || nullif(array_to_string(p_index_keys, ', '), ''),
    ' under ', p_kek, ' (', p_kek_id, ')'));
END $$;
COMMENT ON FUNCTION cloakroom.log_wrapped(text, text, text, integer[], integer[]) IS
  'logs that keys were rewrapped or restored, and under which KEK they are now';

CREATE OR REPLACE FUNCTION cloakroom.rewrap_keys(p_kek_id text, p_purposes text[], p_ids integer[],
  p_old bytea[], p_new bytea[], OUT data_keys integer[], OUT index_keys integer[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  most_kept CONSTANT integer := 20;
  k record;
  before record;
  uri text := cloakroom.require_kek(p_kek_id);
BEGIN
  PERFORM cloakroom.require_read_committed();
  PERFORM cloakroom.require_durable_commit();
  data_keys := '{}';
  index_keys := '{}';
  -- In order, so that two rotators do not deadlock.
  FOR k IN SELECT * FROM unnest(p_purposes, p_ids, p_old, p_new) AS k(purpose, id, old, new) ORDER BY purpose, id LOOP
    SELECT * INTO before FROM cloakroom.put_wrapped(k.purpose, k.id, k.old, uri, p_kek_id, k.new);
    CONTINUE WHEN before.old_kek IS NULL;
    -- The database cannot tell whether the new bytes unwrap, so what they replace is kept. All of it, not the newest
    -- few: many bad rewraps would push the good one out.
    INSERT INTO cloakroom.replaced_keys (purpose, key, kek, kek_id, wrapped, replaced_at)
      VALUES (k.purpose, k.id, before.old_kek, before.old_kek_id, k.old, cloakroom.vault_time());
    IF (SELECT count(*) FROM cloakroom.replaced_keys r WHERE r.purpose = k.purpose AND r.key = k.id) > most_kept THEN
      RAISE EXCEPTION '% key % was rewrapped % times within 35 days', k.purpose, k.id, most_kept
        USING ERRCODE = 'CR013',
        HINT = 'What each replaced is kept that long, so that keys rewrap --undo can put it back.';
    ELSIF k.purpose = 'index' THEN
      index_keys := index_keys || k.id;
    ELSE
      data_keys := data_keys || k.id;
    END IF;
  END LOOP;
  IF cardinality(data_keys) + cardinality(index_keys) > 0 THEN
    PERFORM cloakroom.log_wrapped('rewrap', uri, p_kek_id, data_keys, index_keys);
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.rewrap_keys(text, text[], integer[], bytea[], bytea[]) IS
  'stores keys under another KEK, each over exactly its old wrapped bytes, keeps those for 35 days, and logs it; '
  'returns the keys that it changed';
GRANT EXECUTE ON FUNCTION cloakroom.rewrap_keys(text, text[], integer[], bytea[], bytea[]) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.replaced_keys()
RETURNS TABLE (id bigint, purpose text, key integer, kek text, kek_id text, wrapped bytea, replaced_at timestamptz,
  replaced_by name)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT id, purpose, key, kek, kek_id, wrapped, replaced_at, replaced_by FROM cloakroom.replaced_keys ORDER BY id DESC
$$;
COMMENT ON FUNCTION cloakroom.replaced_keys() IS 'what rewraps replaced within 35 days, newest first, wrapped';
GRANT EXECUTE ON FUNCTION cloakroom.replaced_keys() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.restore_key(p_replaced bigint, p_old bytea) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  kept cloakroom.replaced_keys;
  before record;
BEGIN
  PERFORM cloakroom.require_read_committed();
  PERFORM cloakroom.require_durable_commit();
  SELECT * INTO kept FROM cloakroom.replaced_keys WHERE id = p_replaced FOR UPDATE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  SELECT * INTO before FROM cloakroom.put_wrapped(kept.purpose, kept.key, p_old, kept.kek, kept.kek_id, kept.wrapped);
  IF before.old_kek IS NULL THEN
    RETURN false;
  END IF;
  -- They change places: a restore destroys nothing either.
  UPDATE cloakroom.replaced_keys SET kek = before.old_kek, kek_id = before.old_kek_id, wrapped = p_old,
      replaced_at = cloakroom.vault_time(), replaced_by = session_user WHERE id = kept.id;
  PERFORM cloakroom.log_wrapped('restore', kept.kek, kept.kek_id,
    CASE WHEN kept.purpose = 'seal' THEN ARRAY[kept.key] ELSE '{}' END,
    CASE WHEN kept.purpose = 'index' THEN ARRAY[kept.key] ELSE '{}' END);
  RETURN true;
END $$;
COMMENT ON FUNCTION cloakroom.restore_key(bigint, bytea) IS
  'puts what a rewrap replaced back over exactly the present bytes, which are kept in its place, and logs it; false: '
  'the key is another by now';
GRANT EXECUTE ON FUNCTION cloakroom.restore_key(bigint, bytea) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.purge_replaced_keys() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  data_keys integer[];
  purged bigint;
BEGIN
  PERFORM cloakroom.require_durable_commit();
  WITH gone AS (DELETE FROM cloakroom.replaced_keys WHERE replaced_at < cloakroom.vault_time() - interval '35 days'
    RETURNING purpose, key)
  SELECT count(*), coalesce(array_agg(DISTINCT key ORDER BY key) FILTER (WHERE purpose = 'seal'), '{}')
    INTO purged, data_keys FROM gone;
  IF purged > 0 THEN
    PERFORM cloakroom.append_leaf('key.purge', p_data_keys => data_keys, p_rows => purged,
      p_result => 'what rewraps replaced 35 days ago');
  END IF;
  RETURN purged;
END $$;
COMMENT ON FUNCTION cloakroom.purge_replaced_keys() IS
  'destroys what rewraps replaced more than 35 days ago, and logs it; returns how many';
GRANT EXECUTE ON FUNCTION cloakroom.purge_replaced_keys() TO cloakroom_rotator;
