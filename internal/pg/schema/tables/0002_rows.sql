-- The login dataset's rows, its rejections and the analysts' views. dataset/login.yaml describes the same columns, and
-- a test compares the two.
-- +goose Up

SET LOCAL ROLE cloakroom_owner;

CREATE TABLE cloakroom.user_logins (
  message_id          uuid NOT NULL,
  create_date         date NOT NULL,
  user_id             varchar(128) NOT NULL,
  device_type         varchar(32),
  locale              varchar(32),
  app_version         integer,
  app_version_text    varchar(32),
  sealed_ip           bytea,
  sealed_device_id    bytea,
  masked_ip_v1        varchar(256),
  masked_device_id_v1 varchar(256),
  data_key            integer,
  PRIMARY KEY (message_id, create_date),
  -- The id inside the sealed value equals the id beside it, so "nothing refers to this key" can be counted.
  CONSTRAINT sealed_under_data_key CHECK (
    substring(sealed_ip from 2 for 4) = int4send(data_key) AND
    substring(sealed_device_id from 2 for 4) = int4send(data_key)),
  -- A CHECK passes a comparison with NULL; an erased row has neither key nor value.
  CONSTRAINT sealed_needs_data_key CHECK (
    data_key IS NOT NULL OR (sealed_ip IS NULL AND sealed_device_id IS NULL))
) PARTITION BY RANGE (create_date);
COMMENT ON TABLE cloakroom.user_logins IS
  'one row an event, a partition a month of create_date; no DEFAULT partition: attaching beside one blocks every '
  'reader';
COMMENT ON COLUMN cloakroom.user_logins.message_id IS 'the queue''s message id; with create_date it drops a redelivery';
COMMENT ON COLUMN cloakroom.user_logins.create_date IS 'UTC date at which the message was sent, never of processing';
COMMENT ON COLUMN cloakroom.user_logins.app_version IS
  'major * 1000000 + minor * 1000 + patch: integers order as versions do';
COMMENT ON COLUMN cloakroom.user_logins.sealed_ip IS 'AES-256-GCM, docs/format.md; NULL once erased';
COMMENT ON COLUMN cloakroom.user_logins.masked_ip_v1 IS 'token under index key version 1; NULL once erased';
COMMENT ON COLUMN cloakroom.user_logins.data_key IS 'id of the data key that sealed the row; NULL once erased';

-- B-trees, not hash indexes: a hash index degrades without bound once one token has many rows.
CREATE INDEX user_logins_masked_ip_v1 ON cloakroom.user_logins (masked_ip_v1);
CREATE INDEX user_logins_masked_device_id_v1 ON cloakroom.user_logins (masked_device_id_v1);
CREATE INDEX user_logins_data_key ON cloakroom.user_logins USING brin (data_key);

CREATE VIEW public.user_logins AS
  SELECT user_id, device_type, masked_ip_v1 AS masked_ip, masked_device_id_v1 AS masked_device_id, locale, app_version,
         create_date
    FROM cloakroom.user_logins;
COMMENT ON VIEW public.user_logins IS 'logins as analysts see them: tokens where the personal data was';

CREATE VIEW public.user_login_duplicates AS
  SELECT 'ip'::text AS field, masked_ip AS token, count(*) AS logins, count(DISTINCT user_id) AS users,
         min(create_date) AS first_date, max(create_date) AS last_date
    FROM public.user_logins WHERE masked_ip IS NOT NULL
   GROUP BY masked_ip HAVING count(*) > 1
  UNION ALL
  SELECT 'device_id', masked_device_id, count(*), count(DISTINCT user_id), min(create_date), max(create_date)
    FROM public.user_logins WHERE masked_device_id IS NOT NULL
   GROUP BY masked_device_id HAVING count(*) > 1;
COMMENT ON VIEW public.user_login_duplicates IS 'tokens seen more than once';

GRANT SELECT ON public.user_logins, public.user_login_duplicates TO cloakroom_analyst;

CREATE TABLE cloakroom.rejections (
  message_id    uuid PRIMARY KEY,
  reason        text NOT NULL CHECK (reason IN (
    'not_json', 'not_object', 'duplicate_member', 'invalid_utf8', 'nul', 'too_deep', 'missing_field', 'null_field',
    'wrong_type', 'too_long', 'bad_ip', 'bad_version', 'bad_date', 'db_data')),
  user_id       varchar(128),
  create_date   date,
  receive_count integer,
  sealed_body   bytea,
  data_key      integer,
  rejected_at   timestamptz NOT NULL DEFAULT now(),
  observed_day  integer NOT NULL DEFAULT 0,
  CONSTRAINT sealed_under_data_key CHECK (substring(sealed_body from 2 for 4) = int4send(data_key)),
  CONSTRAINT sealed_needs_data_key CHECK (data_key IS NOT NULL OR sealed_body IS NULL)
);
CREATE INDEX rejections_data_key ON cloakroom.rejections (data_key);
CREATE INDEX rejections_rejected_at ON cloakroom.rejections (rejected_at);
COMMENT ON TABLE cloakroom.rejections IS
  'events that could not be stored, sealed whole, with a reason code of docs/rejections.md';
COMMENT ON COLUMN cloakroom.rejections.user_id IS 'where it could be read';
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
  name        text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 200),
  create_date date NOT NULL,
  created_by  name NOT NULL DEFAULT session_user,
  created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cloakroom.sources IS
  'files that were ingested: the name gives the events their ids; name and date are fixed by the first run';

-- Whoever makes a partition queues here first, so that a load never waits for a lock on the parent it does not need.
CREATE TABLE cloakroom.partition_maker ();
COMMENT ON TABLE cloakroom.partition_maker IS 'locked, never read, by whoever makes a month';
