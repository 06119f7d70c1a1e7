-- To close, retire or shred 40,000 data keys at once failed, for a leaf of the audit log does not take so many ids.
-- +goose Up

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION cloakroom.append_leaf(
  p_type text, p_request uuid DEFAULT NULL, p_source_identity text DEFAULT NULL, p_purpose text DEFAULT NULL,
  p_ticket text DEFAULT NULL, p_reason_commit bytea DEFAULT NULL, p_query_commit bytea DEFAULT NULL,
  p_fields text[] DEFAULT NULL, p_row_set_hash bytea DEFAULT NULL, p_rows bigint DEFAULT NULL,
  p_data_keys integer[] DEFAULT NULL, p_result text DEFAULT NULL, p_tool text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  most_keys CONSTANT integer := 10000;
  n bigint;
  line text;
BEGIN
  PERFORM cloakroom.require_read_committed();
  IF p_type IS NULL OR p_type !~ '^[a-z]+(\.[a-z_]+)?$' THEN
    RAISE EXCEPTION 'a leaf''s type is a word, or two with a dot between' USING ERRCODE = 'CR011';
  END IF;
  -- A leaf's size is bounded. What is done to more keys than go into one stands in several; an intent is one leaf.
  IF p_type LIKE 'key.%' AND cardinality(p_data_keys) > most_keys THEN
    PERFORM cloakroom.append_leaf(p_type, p_data_keys => p_data_keys[:most_keys], p_result => p_result, p_tool => p_tool);
    RETURN cloakroom.append_leaf(p_type, p_request, p_source_identity, p_purpose, p_ticket, p_reason_commit, p_query_commit, p_fields,
      p_row_set_hash, p_rows, p_data_keys[most_keys + 1:], p_result, p_tool);
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
