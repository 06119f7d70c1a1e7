-- The KEKs that the vault knows, by their own names: a KMS key's ARN, not an alias, which may move. Only the owner adds
-- one, so that no row can lead a program to a KEK of somebody's choosing.

CREATE OR REPLACE FUNCTION cloakroom.keks()
RETURNS TABLE (kek text, kek_id text, added_by name, added_at timestamptz, closed_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT kek, kek_id, added_by, added_at, closed_at FROM cloakroom.keks ORDER BY added_at, kek_id
$$;
COMMENT ON FUNCTION cloakroom.keks() IS
  'the KEKs that the vault knows, and which key each URI was when it was added; closed: takes no new keys';
GRANT EXECUTE ON FUNCTION cloakroom.keks() TO cloakroom_ingest, cloakroom_auditor, cloakroom_approver,
  cloakroom_rotator, cloakroom_breakglass, cloakroom_witness;

CREATE OR REPLACE FUNCTION cloakroom.require_kek(p_kek_id text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  uri text := (SELECT k.kek FROM cloakroom.keks k WHERE k.kek_id = p_kek_id AND k.closed_at IS NULL);
BEGIN
  IF uri IS NULL THEN
    RAISE EXCEPTION 'the vault takes no keys under this KEK' USING ERRCODE = 'CR016',
      HINT = 'It is not known, was closed, or an alias has moved. With the login of keys init: keys kek list, keys kek '
        'add URI.';
  END IF;
  RETURN uri;
END $$;
COMMENT ON FUNCTION cloakroom.require_kek(text) IS
  'the URI of a KEK, by the KEK''s own name; refuses one under which the vault takes no keys';

CREATE OR REPLACE FUNCTION cloakroom.add_kek(p_kek text, p_kek_id text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM cloakroom.require_durable_commit();
  PERFORM FROM cloakroom.keks k WHERE k.kek = p_kek AND k.kek_id = p_kek_id AND k.closed_at IS NULL;
  IF FOUND THEN
    RETURN false;
  END IF;
  -- Nobody reaches the key that the alias named before under this URI.
  UPDATE cloakroom.keks SET closed_at = clock_timestamp() WHERE kek = p_kek AND kek_id <> p_kek_id
    AND closed_at IS NULL;
  INSERT INTO cloakroom.keks (kek, kek_id) VALUES (p_kek, p_kek_id) ON CONFLICT (kek_id) DO UPDATE
    SET kek = excluded.kek, added_by = excluded.added_by, added_at = excluded.added_at, closed_at = NULL;
  PERFORM cloakroom.append_leaf('kek.add', p_result => p_kek || ' is ' || p_kek_id);
  RETURN true;
END $$;
COMMENT ON FUNCTION cloakroom.add_kek(text, text) IS
  'lets the vault take keys under a KEK, closes another that had its URI, and logs it; false: it does already';

CREATE OR REPLACE FUNCTION cloakroom.close_kek(p_kek text) RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  closed text[];
BEGIN
  PERFORM cloakroom.require_durable_commit();
  WITH c AS (UPDATE cloakroom.keks SET closed_at = clock_timestamp() WHERE p_kek IN (kek, kek_id)
    AND closed_at IS NULL RETURNING kek_id)
  SELECT array_agg(kek_id) INTO closed FROM c;
  IF closed IS NULL THEN
    RAISE EXCEPTION 'the vault takes no keys under this KEK already, or does not know it' USING ERRCODE = 'CR013',
      HINT = 'keys kek list shows those it knows.';
  ELSIF NOT EXISTS (SELECT FROM cloakroom.keks WHERE closed_at IS NULL) THEN
    RAISE EXCEPTION 'it is the only KEK under which the vault takes keys' USING ERRCODE = 'CR013',
      HINT = 'Without one nothing could be stored: keys kek add the next one first.';
  END IF;
  PERFORM cloakroom.append_leaf('kek.close', p_result => array_to_string(closed, ', '));
  RETURN closed;
END $$;
COMMENT ON FUNCTION cloakroom.close_kek(text) IS
  'takes no more keys under a KEK, named by its URI or its own name, and logs it; its keys still unwrap';
