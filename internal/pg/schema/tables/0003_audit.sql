-- The audit log: a Merkle tree (RFC 6962) of leaves. Its hashes are stored beside it in the order of
-- golang.org/x/mod/sumdb/tlog, so that the log is complete without trusting any client.
-- +goose Up

SET LOCAL ROLE cloakroom_owner;

CREATE TABLE cloakroom.audit_leaves (
  seq  bigint PRIMARY KEY CHECK (seq >= 0),
  leaf bytea NOT NULL CHECK (octet_length(leaf) <= 262144)
);
COMMENT ON TABLE cloakroom.audit_leaves IS
  'one leaf a row, numbered from 0 without a gap; its number in the tree is seq';
COMMENT ON COLUMN cloakroom.audit_leaves.leaf IS
  'canonical JSON, hashed as the bytes it is: never parse and print it again';

CREATE TABLE cloakroom.audit_nodes (
  id   bigint PRIMARY KEY CHECK (id >= 0),
  hash bytea NOT NULL CHECK (octet_length(hash) = 32)
);
COMMENT ON TABLE cloakroom.audit_nodes IS
  'hashes of leaves and of complete subtrees; derived from audit_leaves alone: a verifier computes them again';
COMMENT ON COLUMN cloakroom.audit_nodes.id IS 'StoredHashIndex of golang.org/x/mod/sumdb/tlog';

CREATE TABLE cloakroom.checkpoints (
  size        bigint PRIMARY KEY CHECK (size > 0),
  root        bytea NOT NULL CHECK (octet_length(root) = 32),
  note        text NOT NULL CHECK (octet_length(note) <= 8192),
  recorded_by name NOT NULL DEFAULT session_user,
  recorded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cloakroom.checkpoints IS
  'copies of checkpoints that stand at the sink; only the sink''s own, outside the database, prove anything';
COMMENT ON COLUMN cloakroom.checkpoints.note IS 'the signed note, as the sink holds it';
