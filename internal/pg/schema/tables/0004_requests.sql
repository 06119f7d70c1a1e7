-- Recover: requests, decisions on them, and quotas.
-- +goose Up

SET LOCAL ROLE cloakroom_owner;

CREATE TABLE cloakroom.requests (
  id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  state         text NOT NULL CHECK (state IN
                ('requested', 'approved', 'denied', 'expired', 'intent', 'confirmed', 'opened', 'closed', 'failed')),
  requester         name NOT NULL DEFAULT session_user,
  breakglass    boolean NOT NULL DEFAULT false,
  reviewed_by   name,
  purpose       text NOT NULL CHECK (length(purpose) BETWEEN 1 AND 64),
  ticket        text NOT NULL CHECK (length(ticket) BETWEEN 1 AND 200),
  reason        text CHECK (length(reason) BETWEEN 1 AND 10000),
  reason_salt   bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()),
  reason_commit bytea NOT NULL,
  dataset       text CHECK (dataset IS NOT NULL OR purpose = 'forget'),
  fields        text[] NOT NULL CHECK (cardinality(fields) BETWEEN 1 AND 1000),
  by_subject    text CHECK (length(by_subject) BETWEEN 1 AND 1000),
  by_row        uuid,
  by_message    uuid,
  by_field      text,
  by_index      text,
  by_tokens     text[] CHECK (cardinality(by_tokens) BETWEEN 1 AND 10),
  by_rejection  text CHECK (by_rejection ~ '^[a-z_]{1,32}$'),
  from_date     date,
  to_date       date,
  query_salt    bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()),
  query_commit  bytea NOT NULL,
  row_limit     integer NOT NULL CHECK (row_limit > 0),
  created_at    timestamptz NOT NULL,
  expires_at    timestamptz NOT NULL,
  -- The opening.
  intent_leaf   bigint,
  intent_xid    xid8,
  intent_at     timestamptz,
  confirmed_lsn pg_lsn,
  row_ids       uuid[],
  row_sents     timestamptz[],
  row_dates     date[],
  rejection_ids uuid[],
  rejection_sents timestamptz[],
  data_keys     integer[],
  rows          bigint,
  closed_at     timestamptz,
  result        text,
  CHECK (num_nonnulls(by_subject, by_row, by_message, by_tokens, by_rejection) = 1),
  CHECK (by_field IS NULL OR by_tokens IS NOT NULL),
  CHECK (by_index IS NULL OR by_field IS NOT NULL),
  CHECK (from_date <= to_date),
  CHECK (cardinality(row_ids) = cardinality(row_dates) AND cardinality(row_ids) = cardinality(row_sents)),
  CHECK (cardinality(rejection_ids) = cardinality(rejection_sents)),
  CHECK (state NOT IN ('intent', 'confirmed', 'opened', 'closed')
         OR (intent_xid IS NOT NULL AND intent_leaf IS NOT NULL)),
  CHECK (state NOT IN ('confirmed', 'opened', 'closed') OR confirmed_lsn IS NOT NULL)
);
-- Random ids do not compress, and trying takes half the time of freezing many.
ALTER TABLE cloakroom.requests ALTER row_ids SET STORAGE EXTERNAL, ALTER rejection_ids SET STORAGE EXTERNAL;
CREATE INDEX requests_created_at ON cloakroom.requests (created_at);
COMMENT ON TABLE cloakroom.requests IS
  'recover requests: requested, approved, intent, confirmed, opened, closed; or denied, expired, failed';
COMMENT ON COLUMN cloakroom.requests.requester IS
  'session_user of the request: nobody else opens it, and this login cannot approve it';
COMMENT ON COLUMN cloakroom.requests.dataset IS
  'the dataset whose rows it selects; NULL for a forget, which is about every dataset';
COMMENT ON COLUMN cloakroom.requests.by_row IS 'a row''s id: the message''s, or UUIDv5 of the dataset''s id member';
COMMENT ON COLUMN cloakroom.requests.breakglass IS
  'needs no approval, opens few rows, stays flagged until an approver reviews it';
COMMENT ON COLUMN cloakroom.requests.reason IS
  'free text that can be erased: the audit log holds only a salted commitment to it';
COMMENT ON COLUMN cloakroom.requests.by_tokens IS
  'the token asked for, or what the client made of a value; tokens of other index keys are looked up with the rows';
COMMENT ON COLUMN cloakroom.requests.by_field IS 'the field that by_tokens belong to; NULL: any';
COMMENT ON COLUMN cloakroom.requests.by_index IS 'the kind of the field''s index that by_tokens belong to; NULL: any';
COMMENT ON COLUMN cloakroom.requests.intent_xid IS
  'top-level transaction of the intent leaf: it must be over, and committed, before anything is handed out';
COMMENT ON COLUMN cloakroom.requests.confirmed_lsn IS
  'a place in the WAL after the intent''s commit: must be flushed before anything is handed out';
COMMENT ON COLUMN cloakroom.requests.row_ids IS
  'the rows frozen with the intent: only these are handed out, whatever is stored later';

CREATE TABLE cloakroom.approvals (
  request  uuid NOT NULL REFERENCES cloakroom.requests,
  approver name NOT NULL DEFAULT session_user,
  approved boolean NOT NULL,
  digest   bytea NOT NULL,
  comment  text CHECK (length(comment) <= 10000),
  at       timestamptz NOT NULL,
  approver_group text,
  PRIMARY KEY (request, approver)
);
COMMENT ON COLUMN cloakroom.approvals.digest IS 'of the request as the approver saw it';
COMMENT ON COLUMN cloakroom.approvals.approver_group IS
  'the approver''s group then: the approval counts only while it is the approver''s group still';

CREATE TABLE cloakroom.request_counts (
  login   name NOT NULL,
  hour    timestamptz NOT NULL,
  act     text NOT NULL CHECK (act IN ('request', 'refusal')),
  counted integer NOT NULL,
  PRIMARY KEY (login, act, hour)
);
COMMENT ON TABLE cloakroom.request_counts IS
  'requests made and refusals noted by login and hour: each is an entry of the log, which nobody may fill';

CREATE TABLE cloakroom.quotas (
  person name NOT NULL,
  day    date NOT NULL,
  rows   bigint NOT NULL,
  PRIMARY KEY (person, day)
);
COMMENT ON TABLE cloakroom.quotas IS
  'rows that each person froze for opening, by UTC day; its row lock makes one person''s openings run one at a time';
