-- Datasets, what of their events could not be stored, and files that were ingested. The tables of their rows are in
-- schema cloakroom_data, made from the definition by apply_dataset().
-- +goose Up

SET LOCAL ROLE cloakroom_owner;

CREATE TABLE cloakroom.datasets (
  -- stage_rejections_NAME is a staging table of dataset NAME: another dataset must not stage its rows there.
  name         text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{0,39}$' AND NOT starts_with(name, 'rejections_')),
  table_name   text NOT NULL UNIQUE CHECK (table_name ~ '^[a-z][a-z0-9_]{0,39}$'),
  partition_by text NOT NULL CHECK (partition_by IN ('month', 'day')),
  subject      text,
  has_id       boolean NOT NULL,
  definition   text NOT NULL,
  sha256       bytea NOT NULL CHECK (sha256 = pg_catalog.sha256(pg_catalog.convert_to(definition, 'UTF8'))),
  revision     integer NOT NULL DEFAULT 1 CHECK (revision > 0),
  created_by   name NOT NULL DEFAULT session_user,
  created_at   timestamptz NOT NULL DEFAULT now(),
  applied_by   name NOT NULL DEFAULT session_user,
  applied_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cloakroom.datasets IS 'kinds of events, as keys dataset apply put them; daemons read them from here';
COMMENT ON COLUMN cloakroom.datasets.name IS 'enters the associated data of every sealed value: it never changes';
COMMENT ON COLUMN cloakroom.datasets.table_name IS 'the row table in cloakroom_data, and the analysts'' view in public';
COMMENT ON COLUMN cloakroom.datasets.subject IS 'the column that says whose a row is; NULL: nobody''s';
COMMENT ON COLUMN cloakroom.datasets.has_id IS
  'a row''s id is made of a member, and the message''s id stands beside it; else a row''s id is its message''s';
COMMENT ON COLUMN cloakroom.datasets.definition IS 'canonical JSON: docs/datasets.md';

CREATE TABLE cloakroom.dataset_columns (
  dataset     text NOT NULL REFERENCES cloakroom.datasets,
  position    integer NOT NULL,
  column_name name NOT NULL,
  kind        text NOT NULL CHECK (kind IN ('clear', 'reveal', 'sealed', 'token')),
  member      text NOT NULL,
  index_name  text,
  version     integer,
  view_column name,
  PRIMARY KEY (dataset, column_name),
  CHECK ((kind = 'token') = (index_name IS NOT NULL AND version IS NOT NULL AND view_column IS NOT NULL))
);
COMMENT ON TABLE cloakroom.dataset_columns IS
  'the columns of a row table, from the definition: functions look names up here and never guess them';
COMMENT ON COLUMN cloakroom.dataset_columns.position IS 'order of members, and of a member''s indexes';
COMMENT ON COLUMN cloakroom.dataset_columns.version IS 'the index key whose tokens the column holds';
COMMENT ON COLUMN cloakroom.dataset_columns.view_column IS 'what the analysts'' view calls a token column';

CREATE TABLE cloakroom.leakage (
  dataset     text NOT NULL REFERENCES cloakroom.datasets,
  member      text NOT NULL,
  index_name  text NOT NULL,
  month       date,
  halves      boolean,
  rows        bigint NOT NULL,
  tokens      bigint NOT NULL,
  gives_away  double precision NOT NULL CHECK (gives_away BETWEEN 0 AND 1),
  measured_by name NOT NULL DEFAULT session_user,
  measured_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  accepted    text CHECK (length(accepted) BETWEEN 1 AND 1000),
  accepted_by name,
  PRIMARY KEY (dataset, member, index_name),
  CHECK ((accepted IS NULL) = (accepted_by IS NULL))
);
COMMENT ON TABLE cloakroom.leakage IS 'what each index gave away when it was last measured: docs/datasets.md';
COMMENT ON COLUMN cloakroom.leakage.month IS 'the month that was attacked; NULL: no row has a token';
COMMENT ON COLUMN cloakroom.leakage.halves IS
  'the month before had too few rows, so half of this one''s was what the attacker knew, and rows is the other half';
COMMENT ON COLUMN cloakroom.leakage.gives_away IS 'share of rows whose value rank matching is expected to guess';
COMMENT ON COLUMN cloakroom.leakage.accepted IS 'why the index stays although it gives away too much';

CREATE TABLE cloakroom.rejections (
  message_id    uuid NOT NULL,
  sent          timestamptz NOT NULL,
  dataset       text NOT NULL REFERENCES cloakroom.datasets,
  reason        text NOT NULL CHECK (reason ~ '^[a-z0-9_]{1,32}$'),
  member        text CHECK (length(member) <= 64),
  subject       text,
  create_date   date,
  receive_count integer,
  sealed_body   bytea,
  data_key      integer,
  rejected_at   timestamptz NOT NULL DEFAULT now(),
  observed_day  integer NOT NULL DEFAULT 0,
  PRIMARY KEY (message_id, sent),
  CONSTRAINT sealed_under_data_key CHECK (substring(sealed_body from 2 for 4) = int4send(data_key)),
  CONSTRAINT sealed_needs_data_key CHECK (data_key IS NOT NULL OR sealed_body IS NULL)
);
CREATE INDEX rejections_data_key ON cloakroom.rejections (data_key);
CREATE INDEX rejections_subject ON cloakroom.rejections (subject);
CREATE INDEX rejections_rejected_at ON cloakroom.rejections (rejected_at);
COMMENT ON TABLE cloakroom.rejections IS
  'events that could not be stored, sealed whole, with a reason code of docs/rejections.md';
COMMENT ON COLUMN cloakroom.rejections.sent IS
  'SentTimestamp of the delivery, which with message_id tells one delivery from another; infinity if it is no time';
COMMENT ON COLUMN cloakroom.rejections.member IS 'the member at fault, if one is';
COMMENT ON COLUMN cloakroom.rejections.subject IS 'where it could be read';
COMMENT ON COLUMN cloakroom.rejections.create_date IS
  'UTC date at which the message was sent; NULL if that is no date, or if the database took only id, reason and body';
COMMENT ON COLUMN cloakroom.rejections.receive_count IS
  'how often the queue had delivered it; NULL if the database took only id, reason and body';
COMMENT ON COLUMN cloakroom.rejections.observed_day IS
  'number of the newest observed day when it was stored: its age in days seen';

CREATE TABLE cloakroom.observed_days (
  number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  day    date NOT NULL UNIQUE
);
COMMENT ON TABLE cloakroom.observed_days IS
  'days on which a load or a purge ran while its host''s clock agreed with the database''s, in the order they were '
  'seen';

CREATE TABLE cloakroom.sources (
  name        text PRIMARY KEY CHECK (octet_length(name) BETWEEN 1 AND 2200),
  dataset     text NOT NULL REFERENCES cloakroom.datasets,
  create_date date NOT NULL,
  position    bigint NOT NULL DEFAULT 0 CHECK (position >= 0),
  finished_at timestamptz,
  created_by  name NOT NULL DEFAULT session_user,
  created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cloakroom.sources IS
  'files and S3 objects that were ingested: the name gives the events their ids; name and date are fixed by the first '
  'run';
COMMENT ON COLUMN cloakroom.sources.name IS
  'of an S3 object: s3://BUCKET/KEY#VERSION, at most 63, 1024 and 1024 bytes';
COMMENT ON COLUMN cloakroom.sources.position IS
  'how many of its first events are committed, as far as it was noted: of an S3 object a few times a minute, of a file '
  'at its end';
COMMENT ON COLUMN cloakroom.sources.finished_at IS 'when its last event was committed; NULL: not yet, or not noted';

-- Who makes a partition queues here first, so that a load never waits for a lock on the parent it does not need.
CREATE TABLE cloakroom.partition_maker ();
COMMENT ON TABLE cloakroom.partition_maker IS 'locked, never read, by who makes a partition';
