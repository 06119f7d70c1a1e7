-- The audit log: a Merkle tree (RFC 6962) of leaves, with its hashes beside it in the order of
-- golang.org/x/mod/sumdb/tlog, so that the log is whole without trusting any client. Run as cloakroom_owner.
-- +goose Up

CREATE TABLE cloakroom.audit_leaves (
  seq  bigint PRIMARY KEY CHECK (seq >= 0),
  leaf bytea NOT NULL CHECK (octet_length(leaf) <= 262144)
);
COMMENT ON TABLE cloakroom.audit_leaves IS 'one leaf a row, numbered from 0 without a gap; its number in the tree is seq';
COMMENT ON COLUMN cloakroom.audit_leaves.leaf IS 'canonical JSON, hashed as the bytes it is: never parse and print it again';

CREATE TABLE cloakroom.audit_nodes (
  id   bigint PRIMARY KEY CHECK (id >= 0),
  hash bytea NOT NULL CHECK (octet_length(hash) = 32)
);
COMMENT ON TABLE cloakroom.audit_nodes IS 'hashes of leaves and of complete subtrees; derived from audit_leaves alone, so a verifier computes them anew';
COMMENT ON COLUMN cloakroom.audit_nodes.id IS 'StoredHashIndex of golang.org/x/mod/sumdb/tlog';

CREATE TABLE cloakroom.checkpoints (
  size        bigint PRIMARY KEY CHECK (size > 0),
  root        bytea NOT NULL CHECK (octet_length(root) = 32),
  note        text NOT NULL CHECK (octet_length(note) <= 8192),
  recorded_by name NOT NULL DEFAULT session_user,
  recorded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cloakroom.checkpoints IS 'copies of checkpoints that stand at the sink: the sink''s, outside the database, are the ones that prove something';
COMMENT ON COLUMN cloakroom.checkpoints.note IS 'the signed note, as the sink holds it';

-- +goose StatementBegin
CREATE FUNCTION cloakroom.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Against mistakes. Who can disable a trigger is found out by a checkpoint kept elsewhere.
  RAISE EXCEPTION 'the audit log is append-only: % of % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'CR013';
END $$;
-- +goose StatementEnd
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cloakroom.audit_leaves
  FOR EACH STATEMENT EXECUTE FUNCTION cloakroom.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cloakroom.audit_nodes
  FOR EACH STATEMENT EXECUTE FUNCTION cloakroom.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cloakroom.checkpoints
  FOR EACH STATEMENT EXECUTE FUNCTION cloakroom.refuse_change();

-- +goose StatementBegin
CREATE FUNCTION cloakroom.audit_node_id(p_level integer, p_n bigint) RETURNS bigint
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
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.audit_node_id(integer, bigint) IS 'where the n''th hash of a level of the tree is stored';

-- +goose StatementBegin
CREATE FUNCTION cloakroom.append_node_hashes(p_seq bigint, p_leaf bytea) RETURNS void
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
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.audit_time(p_time timestamptz) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
  SELECT to_char(p_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.append_leaf(
  p_type text, p_request uuid DEFAULT NULL, p_source_identity text DEFAULT NULL, p_purpose text DEFAULT NULL,
  p_ticket text DEFAULT NULL, p_reason_commit bytea DEFAULT NULL, p_query_commit bytea DEFAULT NULL,
  p_fields text[] DEFAULT NULL, p_row_set_hash bytea DEFAULT NULL, p_rows bigint DEFAULT NULL,
  p_data_keys integer[] DEFAULT NULL, p_result text DEFAULT NULL, p_tool text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint;
  line text;
BEGIN
  PERFORM cloakroom.require_read_committed();
  IF p_type IS NULL OR p_type !~ '^[a-z]+(\.[a-z_]+)?$' THEN
    RAISE EXCEPTION 'a leaf''s type is a word, or two with a dot between' USING ERRCODE = 'CR011';
  END IF;
  -- One writer at a time, to the end of its transaction: so this is a transaction's last statement, and the lock
  -- order is fence, rows, audit log. Nobody but the owner may lock the table.
  LOCK TABLE cloakroom.audit_leaves IN SHARE ROW EXCLUSIVE MODE;
  SELECT coalesce(max(seq) + 1, 0) INTO STRICT n FROM cloakroom.audit_leaves;
  -- Built as text, member by member: this order and this spelling are what is hashed. concat() takes NULL as ''.
  line := concat(
    '{"v":1,"seq":', n,
    ',"ts":', to_json(cloakroom.audit_time(clock_timestamp())),
    ',"type":', to_json(p_type),
    ',"request":', coalesce(to_json(p_request::text)::text, 'null'),
    ',"actor":', to_json(session_user::text),
    ',"source_identity":', coalesce(to_json(p_source_identity)::text, 'null'),
    ',"purpose":', coalesce(to_json(p_purpose)::text, 'null'),
    ',"ticket":', coalesce(to_json(p_ticket)::text, 'null'),
    ',"reason_commit":', coalesce(to_json(encode(p_reason_commit, 'hex'))::text, 'null'),
    ',"query_commit":', coalesce(to_json(encode(p_query_commit, 'hex'))::text, 'null'),
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
    -- Whatever it is, what was to be logged must not happen; the caller tells this apart from its own errors.
    RAISE EXCEPTION 'the audit log cannot be written (SQLSTATE %)', SQLSTATE
      USING ERRCODE = 'CR011', HINT = 'Look at the database server''s log: disk space, locks, damaged tables.';
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.append_leaf(text, uuid, text, text, text, bytea, bytea, text[], bytea, bigint, integer[], text, text) IS
  'appends a leaf to the audit log and returns its number; for the owner''s functions alone, as a transaction''s last statement';
