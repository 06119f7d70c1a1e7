-- The audit log from outside: reading it, and recording that a checkpoint stands at the sink. Run as cloakroom_owner.
-- +goose Up

GRANT USAGE ON SCHEMA cloakroom TO cloakroom_witness;
GRANT EXECUTE ON FUNCTION cloakroom.vault() TO cloakroom_witness;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.log_size() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(max(seq) + 1, 0) FROM cloakroom.audit_leaves
$$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.log_size()
  TO cloakroom_auditor, cloakroom_approver, cloakroom_breakglass, cloakroom_rotator, cloakroom_witness;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.log_leaves(p_from bigint, p_limit integer) RETURNS TABLE (seq bigint, leaf bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT seq, leaf FROM cloakroom.audit_leaves WHERE seq >= p_from ORDER BY seq LIMIT p_limit
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.log_leaves(bigint, integer) IS 'leaves as the bytes that are hashed, from a number on';
GRANT EXECUTE ON FUNCTION cloakroom.log_leaves(bigint, integer)
  TO cloakroom_auditor, cloakroom_approver, cloakroom_breakglass, cloakroom_rotator, cloakroom_witness;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.log_nodes(p_ids bigint[]) RETURNS TABLE (id bigint, hash bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT id, hash FROM cloakroom.audit_nodes WHERE id = ANY (p_ids)
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.log_nodes(bigint[]) IS 'stored hashes, for proofs';
GRANT EXECUTE ON FUNCTION cloakroom.log_nodes(bigint[])
  TO cloakroom_auditor, cloakroom_approver, cloakroom_breakglass, cloakroom_rotator, cloakroom_witness;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.log_root(p_size bigint) RETURNS bytea
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  root bytea;
  node bytea;
BEGIN
  -- One complete subtree for each 1 bit of the size, the smallest furthest right.
  FOR level IN 0..61 LOOP
    IF (p_size >> level) & 1 = 1 THEN
      SELECT hash INTO STRICT node FROM cloakroom.audit_nodes WHERE id = cloakroom.audit_node_id(level, (p_size >> level) - 1);
      root := CASE WHEN root IS NULL THEN node ELSE sha256('\x01'::bytea || node || root) END;
    END IF;
  END LOOP;
  RETURN root;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.record_checkpoint(p_size bigint, p_root bytea, p_note text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM cloakroom.require_read_committed();
  PERFORM cloakroom.require_durable_commit();
  -- The database cannot check the signature, nor the sink: the witness vouches for both. It checks the root.
  IF p_size > cloakroom.log_size() OR p_root IS DISTINCT FROM cloakroom.log_root(p_size) THEN
    RAISE EXCEPTION 'the checkpoint is not of this log' USING ERRCODE = 'CR012', HINT = 'Run recover log verify.';
  END IF;
  INSERT INTO cloakroom.checkpoints (size, root, note) VALUES (p_size, p_root, p_note) ON CONFLICT DO NOTHING;
  IF FOUND THEN
    PERFORM cloakroom.append_leaf('checkpoint', p_row_set_hash => p_root, p_rows => p_size);
  END IF;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.record_checkpoint(bigint, bytea, text) IS 'says that a checkpoint stands at the sink; for the witness, who opens nothing';
GRANT EXECUTE ON FUNCTION cloakroom.record_checkpoint(bigint, bytea, text) TO cloakroom_witness;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.log_checkpoints() RETURNS TABLE (size bigint, root bytea, note text, recorded_by name, recorded_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT size, root, note, recorded_by, recorded_at FROM cloakroom.checkpoints ORDER BY size
$$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.log_checkpoints()
  TO cloakroom_auditor, cloakroom_approver, cloakroom_breakglass, cloakroom_rotator, cloakroom_witness;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.key_ages()
RETURNS TABLE (kind text, id integer, month date, state text, kek text, created_at timestamptz, closed_at timestamptz,
               retired_at timestamptz, shredded_at timestamptz, max_age interval)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT 'index', k.version, NULL::date, k.state, k.kek, k.created_at, NULL::timestamptz, k.retired_at, NULL::timestamptz, s.index_key_max_age
    FROM cloakroom.index_keys k, cloakroom.settings s
  UNION ALL
  SELECT 'data', k.id, k.month, k.state, k.kek, k.created_at, k.closed_at, k.retired_at, k.shredded_at, s.data_key_max_age
    FROM cloakroom.data_keys k, cloakroom.settings s
  ORDER BY 1 DESC, 2
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.key_ages() IS 'every key''s age and state, for the report; no wrapped bytes';
GRANT EXECUTE ON FUNCTION cloakroom.key_ages() TO cloakroom_auditor, cloakroom_approver, cloakroom_rotator, cloakroom_witness;
