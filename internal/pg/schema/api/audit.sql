-- The audit log: appending leaves, reading them, recording checkpoints. Only functions of the owner append.

CREATE OR REPLACE FUNCTION cloakroom.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Guards against mistakes. Who can disable a trigger is caught by a checkpoint kept outside the database.
  RAISE EXCEPTION 'the audit log is append-only: % of % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'CR013';
END $$;
COMMENT ON FUNCTION cloakroom.refuse_change() IS 'trigger that keeps the audit log append-only';
-- The only stored objects that call a function of api/. Created once: CREATE TRIGGER locks the table against appends.
DO $$ DECLARE
  logged text;
BEGIN
  FOREACH logged IN ARRAY ARRAY['audit_leaves', 'audit_nodes', 'checkpoints'] LOOP
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = ('cloakroom.' || logged)::regclass
      AND tgname = 'append_only') THEN
      EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cloakroom.%I
        FOR EACH STATEMENT EXECUTE FUNCTION cloakroom.refuse_change()', logged);
    END IF;
  END LOOP;
END $$;

CREATE OR REPLACE FUNCTION cloakroom.audit_node_id(p_level integer, p_n bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  -- Level L's n'th hash is written right after level L-1's 2n+1'th, so walk down to level 0.
  n bigint := ((p_n + 1) << p_level) - 1;
  id bigint := p_level;
BEGIN
  -- Level 0's n'th hash is written at n + n/2 + n/4 + …
  WHILE n > 0 LOOP
    id := id + n;
    n := n >> 1;
  END LOOP;
  RETURN id;
END $$;
COMMENT ON FUNCTION cloakroom.audit_node_id(integer, bigint) IS 'where the n''th hash of a level of the tree is stored';

CREATE OR REPLACE FUNCTION cloakroom.append_node_hashes(p_seq bigint, p_leaf bytea) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  node_id bigint := cloakroom.audit_node_id(0, p_seq);
  node_hash bytea := sha256('\x00'::bytea || p_leaf);
  left_hash bytea;
  n bigint := p_seq;
  level integer := 0;
BEGIN
  INSERT INTO cloakroom.audit_nodes (id, hash) VALUES (node_id, node_hash);
  -- Each trailing 1 bit of the number completes a subtree whose left half is there: two hashes a leaf on average.
  WHILE n & 1 = 1 LOOP
    SELECT hash INTO STRICT left_hash FROM cloakroom.audit_nodes WHERE id = cloakroom.audit_node_id(level, n - 1);
    node_hash := sha256('\x01'::bytea || left_hash || node_hash);
    node_id := node_id + 1;
    INSERT INTO cloakroom.audit_nodes (id, hash) VALUES (node_id, node_hash);
    n := n >> 1;
    level := level + 1;
  END LOOP;
END $$;
COMMENT ON FUNCTION cloakroom.append_node_hashes(bigint, bytea) IS
  'writes a leaf''s hash and those of the subtrees that it completes';

CREATE OR REPLACE FUNCTION cloakroom.audit_time(p_time timestamptz) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
  SELECT to_char(p_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
COMMENT ON FUNCTION cloakroom.audit_time(timestamptz) IS 'a time as leaves and digests spell it: UTC, microseconds';

CREATE OR REPLACE FUNCTION cloakroom.append_leaf(
  p_type text, p_request uuid DEFAULT NULL, p_source_identity text DEFAULT NULL, p_purpose text DEFAULT NULL,
  p_ticket text DEFAULT NULL, p_reason_commit bytea DEFAULT NULL, p_query_commit bytea DEFAULT NULL,
  p_fields text[] DEFAULT NULL, p_row_set_hash bytea DEFAULT NULL, p_rows bigint DEFAULT NULL,
  p_data_keys integer[] DEFAULT NULL, p_result text DEFAULT NULL, p_tool text DEFAULT NULL,
  p_dataset text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  most_keys CONSTANT integer := 10000;
  n bigint;
  line text;
BEGIN
  PERFORM cloakroom.require_read_committed();
  IF p_type IS NULL OR p_type !~ '^[a-z]+([.][a-z_]+)?$' THEN
    RAISE EXCEPTION 'a leaf''s type is a word, or two with a dot between' USING ERRCODE = 'CR011';
  END IF;
  -- A leaf's size is bounded, so an act on more keys than fit is logged in several leaves. An intent is always one
  -- leaf.
  IF p_type LIKE 'key.%' AND cardinality(p_data_keys) > most_keys THEN
    PERFORM cloakroom.append_leaf(p_type, p_data_keys => p_data_keys[:most_keys], p_result => p_result,
      p_tool => p_tool, p_dataset => p_dataset);
    RETURN cloakroom.append_leaf(p_type, p_request, p_source_identity, p_purpose, p_ticket, p_reason_commit,
      p_query_commit, p_fields,
      p_row_set_hash, p_rows, p_data_keys[most_keys + 1:], p_result, p_tool, p_dataset);
  END IF;
  -- One writer at a time, until its transaction ends. So this is a transaction's last statement, and the lock order is
  -- fence, rows, audit log. Only the owner may lock the table.
  LOCK TABLE cloakroom.audit_leaves IN SHARE ROW EXCLUSIVE MODE;
  SELECT coalesce(max(seq) + 1, 0) INTO STRICT n FROM cloakroom.audit_leaves;
  -- Built as text, member by member, because this order and spelling are hashed. concat() treats NULL as ''.
  line := concat(
    '{"v":1,"seq":', n,
    ',"ts":', to_json(cloakroom.audit_time(clock_timestamp())),
    ',"type":', to_json(p_type),
    ',"request":', coalesce(to_json(p_request::text)::text, 'null'),
    ',"actor":', to_json(session_user::text),
    -- What a client says of itself is bounded: an entry may not be a way to fill the disk.
    ',"source_identity":', coalesce(to_json(left(p_source_identity, 200))::text, 'null'),
    ',"purpose":', coalesce(to_json(p_purpose)::text, 'null'),
    ',"ticket":', coalesce(to_json(p_ticket)::text, 'null'),
    ',"reason_commit":', coalesce(to_json(encode(p_reason_commit, 'hex'))::text, 'null'),
    ',"query_commit":', coalesce(to_json(encode(p_query_commit, 'hex'))::text, 'null'),
    ',"dataset":', coalesce(to_json(p_dataset)::text, 'null'),
    ',"fields":', coalesce(array_to_json(p_fields)::text, 'null'),
    ',"row_set_hash":', coalesce(to_json(encode(p_row_set_hash, 'hex'))::text, 'null'),
    ',"rows":', coalesce(p_rows::text, 'null'),
    ',"data_keys":', coalesce(array_to_json(p_data_keys)::text, 'null'),
    ',"result":', coalesce(to_json(p_result)::text, 'null'),
    ',"tool":', coalesce(to_json(coalesce(p_tool, nullif(current_setting('application_name'), '')))::text, 'null'),
    '}');
  INSERT INTO cloakroom.audit_leaves (seq, leaf) VALUES (n, convert_to(line, 'UTF8'));
  PERFORM cloakroom.append_node_hashes(n, convert_to(line, 'UTF8'));
  RETURN n;
EXCEPTION
  WHEN deadlock_detected OR serialization_failure OR SQLSTATE 'CR003' OR SQLSTATE 'CR011' THEN
    RAISE;
  WHEN OTHERS THEN
    -- Whatever the cause, the act that was to be logged must not happen. CR011 tells callers it was the log that
    -- failed.
    RAISE EXCEPTION 'the audit log cannot be written (SQLSTATE %)', SQLSTATE
      USING ERRCODE = 'CR011', HINT = 'Look at the database server''s log: disk space, locks, damaged tables.';
END $$;
COMMENT ON FUNCTION cloakroom.append_leaf(text, uuid, text, text, text, bytea, bytea, text[], bytea, bigint, integer[],
  text, text, text) IS
  'appends a leaf to the audit log and returns its number; for the owner''s functions alone, as a transaction''s last '
  'statement';

CREATE OR REPLACE FUNCTION cloakroom.next_leaf() RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  LOCK TABLE cloakroom.audit_leaves IN SHARE ROW EXCLUSIVE MODE;
  RETURN (SELECT coalesce(max(seq) + 1, 0) FROM cloakroom.audit_leaves);
END $$;
COMMENT ON FUNCTION cloakroom.next_leaf() IS
  'takes the audit log''s lock, so that the number of the leaf this transaction appends is known before';

CREATE OR REPLACE FUNCTION cloakroom.vault_time() RETURNS timestamptz
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  -- Never earlier than the newest leaf, so that setting the clock back revives no expired approval and no spent quota.
  SELECT greatest(clock_timestamp(), (
    SELECT (convert_from(leaf, 'UTF8')::json ->> 'ts')::timestamptz FROM cloakroom.audit_leaves
      ORDER BY seq DESC LIMIT 1))
$$;
COMMENT ON FUNCTION cloakroom.vault_time() IS 'the time, but never earlier than the newest leaf';

CREATE OR REPLACE FUNCTION cloakroom.log_size() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(max(seq) + 1, 0) FROM cloakroom.audit_leaves
$$;
COMMENT ON FUNCTION cloakroom.log_size() IS 'how many leaves the audit log has';
GRANT EXECUTE ON FUNCTION cloakroom.log_size() TO
  cloakroom_auditor, cloakroom_approver, cloakroom_breakglass, cloakroom_rotator, cloakroom_witness;

CREATE OR REPLACE FUNCTION cloakroom.log_leaves(p_from bigint, p_limit integer) RETURNS TABLE (seq bigint, leaf bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT seq, leaf FROM cloakroom.audit_leaves WHERE seq >= p_from ORDER BY seq LIMIT p_limit
$$;
COMMENT ON FUNCTION cloakroom.log_leaves(bigint, integer) IS 'leaves as the bytes that are hashed, from a number on';
GRANT EXECUTE ON FUNCTION cloakroom.log_leaves(bigint, integer) TO
  cloakroom_auditor, cloakroom_approver, cloakroom_breakglass, cloakroom_rotator, cloakroom_witness;

CREATE OR REPLACE FUNCTION cloakroom.log_nodes(p_ids bigint[]) RETURNS TABLE (id bigint, hash bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT id, hash FROM cloakroom.audit_nodes WHERE id = ANY (p_ids)
$$;
COMMENT ON FUNCTION cloakroom.log_nodes(bigint[]) IS 'stored hashes, for proofs';
GRANT EXECUTE ON FUNCTION cloakroom.log_nodes(bigint[]) TO
  cloakroom_auditor, cloakroom_approver, cloakroom_breakglass, cloakroom_rotator, cloakroom_witness;

CREATE OR REPLACE FUNCTION cloakroom.log_root(p_size bigint) RETURNS bytea
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  root bytea;
  node bytea;
BEGIN
  -- One complete subtree for each 1 bit of the size, the smallest on the right.
  FOR level IN 0..61 LOOP
    IF (p_size >> level) & 1 = 1 THEN
      SELECT hash INTO STRICT node FROM cloakroom.audit_nodes
        WHERE id = cloakroom.audit_node_id(level, (p_size >> level) - 1);
      root := CASE WHEN root IS NULL THEN node ELSE sha256('\x01'::bytea || node || root) END;
    END IF;
  END LOOP;
  RETURN root;
END $$;
COMMENT ON FUNCTION cloakroom.log_root(bigint) IS 'the log''s root hash at a size (RFC 6962)';

CREATE OR REPLACE FUNCTION cloakroom.record_checkpoint(p_size bigint, p_root bytea, p_note text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM cloakroom.require_read_committed();
  PERFORM cloakroom.require_durable_commit();
  -- The database checks the root. It cannot check the signature or the sink: the witness vouches for both.
  IF p_size > cloakroom.log_size() OR p_root IS DISTINCT FROM cloakroom.log_root(p_size) THEN
    RAISE EXCEPTION 'the checkpoint is not of this log' USING ERRCODE = 'CR012', HINT = 'Run recover log verify.';
  END IF;
  INSERT INTO cloakroom.checkpoints (size, root, note) VALUES (p_size, p_root, p_note) ON CONFLICT DO NOTHING;
  IF FOUND THEN
    PERFORM cloakroom.append_leaf('checkpoint', p_row_set_hash => p_root, p_rows => p_size);
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.record_checkpoint(bigint, bytea, text) IS
  'says that a checkpoint stands at the sink; for the witness, who opens nothing';
GRANT EXECUTE ON FUNCTION cloakroom.record_checkpoint(bigint, bytea, text) TO cloakroom_witness;
