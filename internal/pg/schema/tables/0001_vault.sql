-- The vault: its policy, the fence, and the wrapped keys.
-- +goose Up

-- Behind a transaction pooler each transaction may run in another session, so each names its role.
SET LOCAL ROLE cloakroom_owner;

-- Postgres lets PUBLIC execute a new function. Ours are for named roles only.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

GRANT USAGE ON SCHEMA cloakroom TO cloakroom_ingest, cloakroom_auditor, cloakroom_approver, cloakroom_rotator,
  cloakroom_breakglass, cloakroom_witness;

CREATE TABLE cloakroom.api_versions (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  number     integer NOT NULL CHECK (number > 0),
  sha256     text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  applied_at timestamptz NOT NULL DEFAULT now(),
  applied_by name NOT NULL DEFAULT session_user
);
COMMENT ON TABLE cloakroom.api_versions IS
  'one row each time the API functions were replaced; the newest says which stand';
COMMENT ON COLUMN cloakroom.api_versions.number IS 'apiNumber of the program that applied them: a lower one refuses';
COMMENT ON COLUMN cloakroom.api_versions.sha256 IS 'of the files of api/';

CREATE TABLE cloakroom.settings (
  singleton              boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  vault_id               uuid NOT NULL DEFAULT gen_random_uuid(),
  epoch                  bigint NOT NULL DEFAULT 1 CHECK (epoch > 0),
  created_at             timestamptz NOT NULL DEFAULT now(),
  certificate_secret     bytea NOT NULL CHECK (octet_length(certificate_secret) = 32)
    DEFAULT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
  -- The policy: keys policy set.
  approvals              smallint NOT NULL DEFAULT 1 CHECK (approvals BETWEEN 0 AND 2),
  row_limit              integer NOT NULL DEFAULT 100 CHECK (row_limit > 0),
  request_lifetime       interval NOT NULL DEFAULT '24 hours' CHECK (request_lifetime > '0'),
  daily_quota            integer NOT NULL DEFAULT 1000 CHECK (daily_quota > 0),
  purposes               text[] NOT NULL DEFAULT ARRAY['security', 'fraud', 'legal', 'dsar', 'support']
                         CHECK (cardinality(purposes) > 0),
  breakglass_rows        integer NOT NULL DEFAULT 10 CHECK (breakglass_rows > 0),
  breakglass_unreviewed  integer NOT NULL DEFAULT 3 CHECK (breakglass_unreviewed > 0),
  checkpoint_before_open boolean NOT NULL DEFAULT false,
  data_key_max_age       interval NOT NULL DEFAULT '90 days' CHECK (data_key_max_age > '0'),
  index_key_max_age      interval NOT NULL DEFAULT '365 days' CHECK (index_key_max_age > '0'),
  rejection_retention    interval NOT NULL DEFAULT '30 days' CHECK (rejection_retention > '0'),
  days_back              integer NOT NULL DEFAULT 3660 CHECK (days_back BETWEEN 0 AND 36600),
  days_ahead             integer NOT NULL DEFAULT 2 CHECK (days_ahead BETWEEN 0 AND 366),
  kek                    text CHECK (kek ~ '^(awskms|file):///.+'),
  requests_per_hour      integer NOT NULL DEFAULT 500 CHECK (requests_per_hour > 0),
  key_registrations      integer NOT NULL DEFAULT 1000 CHECK (key_registrations > 0),
  shred_before           date CHECK (shred_before = date_trunc('month', shred_before)),
  approval_groups        text[] NOT NULL DEFAULT '{}'
                         CHECK (array_position(approval_groups, NULL) IS NULL AND cardinality(approval_groups) <= 5),
  CONSTRAINT groups_want_approvals CHECK (approvals > 0 OR cardinality(approval_groups) = 0),
  CONSTRAINT forget_is_no_purpose CHECK (NOT 'forget' = ANY (purposes))
);
COMMENT ON TABLE cloakroom.settings IS 'one row: the vault''s id, its epoch, its policy';
COMMENT ON COLUMN cloakroom.settings.vault_id IS
  'bound into the associated data of every sealed value and into every key''s encryption context';
COMMENT ON COLUMN cloakroom.settings.epoch IS
  'raised under the fence whenever what may be written changes; a writer that holds an older one is refused';
COMMENT ON COLUMN cloakroom.settings.certificate_secret IS
  'authenticates certificates of erasure: a replay needs no second approval, and nobody can forge one';
COMMENT ON COLUMN cloakroom.settings.approvals IS
  'how many people other than the requester must approve a recover request: 0, 1 or 2';
COMMENT ON COLUMN cloakroom.settings.approval_groups IS
  'a request needs an approval by a login of each of these groups; empty: groups are not asked for';
COMMENT ON COLUMN cloakroom.settings.row_limit IS 'most rows that one recover request may open';
COMMENT ON COLUMN cloakroom.settings.daily_quota IS 'most rows that one person may open in a day (UTC)';
COMMENT ON COLUMN cloakroom.settings.breakglass_rows IS 'most rows that one break-glass request may open';
COMMENT ON COLUMN cloakroom.settings.breakglass_unreviewed IS
  'how many break-glass requests of one person may wait for review before further ones are refused';
COMMENT ON COLUMN cloakroom.settings.days_back IS 'an event older than this many days is rejected (bad_date)';
COMMENT ON COLUMN cloakroom.settings.days_ahead IS
  'an event dated further ahead than this many days is rejected (bad_date)';
COMMENT ON COLUMN cloakroom.settings.kek IS
  'URI of the KEK under which keys rotate rewraps every key; NULL: keys stay under the KEK that wrapped them';
COMMENT ON COLUMN cloakroom.settings.requests_per_hour IS
  'most requests that one login may make within an hour, and most refused attempts that it may note';
COMMENT ON COLUMN cloakroom.settings.key_registrations IS
  'most data keys that one login may register within an hour: each costs rotation and verification a call of KMS';
COMMENT ON COLUMN cloakroom.settings.shred_before IS
  'months before this one may be shredded by a rotator; NULL: none. Destroying wants two: who sets it, and who does it';

INSERT INTO cloakroom.settings DEFAULT VALUES;

-- An empty table, used for its lock. Not an advisory lock, which anybody who can connect may take and hold. Writers
-- take ROW EXCLUSIVE and do not block each other; a rotation step that changes what may be written takes
-- SHARE ROW EXCLUSIVE and waits for them all.
CREATE TABLE cloakroom.fence ();
COMMENT ON TABLE cloakroom.fence IS 'locked, never read: see docs/design.md, "The fence"';

CREATE SEQUENCE cloakroom.data_key_ids AS integer MINVALUE 1 NO CYCLE;

CREATE TABLE cloakroom.data_keys (
  id          integer PRIMARY KEY CHECK (id > 0),
  dataset     text NOT NULL,
  month       date NOT NULL CHECK (month = date_trunc('month', month)),
  state       text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'closed', 'retired', 'shredded')),
  kek         text NOT NULL,
  kek_id      text NOT NULL,
  wrapped     bytea,
  key_check   bytea NOT NULL CHECK (octet_length(key_check) = 16),
  created_by  name NOT NULL DEFAULT session_user,
  created_at  timestamptz NOT NULL DEFAULT now(),
  closed_at   timestamptz,
  retired_at  timestamptz,
  shredded_at timestamptz,
  CHECK ((state = 'shredded') = (wrapped IS NULL)),
  CONSTRAINT data_keys_sizes
    CHECK (octet_length(wrapped) BETWEEN 32 AND 8192 AND length(kek) <= 2048 AND length(kek_id) <= 2048)
);
COMMENT ON TABLE cloakroom.data_keys IS
  'wrapped data keys; active -> closed (open-only) -> retired (nothing refers to it) -> shredded (wrapped bytes gone)';
COMMENT ON COLUMN cloakroom.data_keys.dataset IS 'the dataset whose values it may seal';
COMMENT ON COLUMN cloakroom.data_keys.month IS
  'the month of create_date whose values it may seal, so that retention can shred a month exactly';
COMMENT ON COLUMN cloakroom.data_keys.kek IS 'URI of the KEK it is wrapped under, as configured when it was wrapped';
COMMENT ON COLUMN cloakroom.data_keys.kek_id IS
  'the KEK''s own name: a KMS key''s ARN, or the fingerprint of a key file';
COMMENT ON COLUMN cloakroom.data_keys.key_check IS
  '16 bytes of HKDF-SHA256 of the key, so that a wrong or damaged key is a clear error';

CREATE TABLE cloakroom.data_key_reservations (
  id          integer PRIMARY KEY,
  reserved_by name NOT NULL DEFAULT session_user,
  reserved_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON cloakroom.data_key_reservations (reserved_by, reserved_at);
COMMENT ON TABLE cloakroom.data_key_reservations IS
  'ids given out for data keys that are being made; a login registers a key only under an id that it reserved';

CREATE TABLE cloakroom.index_keys (
  version    integer PRIMARY KEY CHECK (version > 0),
  state      text NOT NULL CHECK (state IN ('pending', 'live', 'retired', 'shredded')),
  kek        text NOT NULL,
  kek_id     text NOT NULL,
  wrapped    bytea,
  key_check  bytea NOT NULL CHECK (octet_length(key_check) = 16),
  created_by name NOT NULL DEFAULT session_user,
  created_at timestamptz NOT NULL DEFAULT now(),
  retired_at timestamptz,
  CHECK ((state = 'shredded') = (wrapped IS NULL))
);
COMMENT ON TABLE cloakroom.index_keys IS
  'wrapped index keys; pending until its columns exist; one is live, two during a reindex: ingest writes tokens under '
  'each';

CREATE TABLE cloakroom.replaced_keys (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  purpose     text NOT NULL CHECK (purpose IN ('seal', 'index')),
  key         integer NOT NULL,
  kek         text NOT NULL,
  kek_id      text NOT NULL,
  wrapped     bytea NOT NULL,
  replaced_at timestamptz NOT NULL,
  replaced_by name NOT NULL DEFAULT session_user
);
CREATE INDEX ON cloakroom.replaced_keys (purpose, key);
COMMENT ON TABLE cloakroom.replaced_keys IS
  'wrapped keys as they were before a rewrap, for 35 days: wrong bytes then destroy nothing';
COMMENT ON COLUMN cloakroom.replaced_keys.key IS 'a data key''s id, or an index key''s version';

CREATE TABLE cloakroom.grants (
  login      name NOT NULL,
  role       text NOT NULL,
  granted_by name NOT NULL DEFAULT session_user,
  granted_at timestamptz NOT NULL DEFAULT now(),
  principal  text CHECK (principal ~ '^arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:[^[:space:],]+$'),
  PRIMARY KEY (login, role)
);
COMMENT ON TABLE cloakroom.grants IS
  'roles that grant_role gave; what a login holds without a row here was granted by hand, without an entry in the log';
COMMENT ON COLUMN cloakroom.grants.principal IS
  'ARN of the AWS principal with which the login calls KMS in this role; NULL: none is known';

CREATE TABLE cloakroom.login_groups (
  login      name PRIMARY KEY,
  group_name text NOT NULL CHECK (group_name ~ '^[a-z][a-z0-9_-]{0,31}$')
);
COMMENT ON TABLE cloakroom.login_groups IS
  'the one group of a login, such as its department; grant_role sets and logs it';

CREATE TABLE cloakroom.keks (
  kek_id    text PRIMARY KEY CHECK (length(kek_id) BETWEEN 1 AND 2048),
  kek       text NOT NULL CHECK (length(kek) BETWEEN 1 AND 2048),
  added_by  name NOT NULL DEFAULT session_user,
  added_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  closed_at timestamptz
);
COMMENT ON TABLE cloakroom.keks IS 'the KEKs that the vault knows: a key under any other is not followed';
COMMENT ON COLUMN cloakroom.keks.kek_id IS
  'what the URI named when it was added: a KMS key''s ARN, or the fingerprint of a key file';
COMMENT ON COLUMN cloakroom.keks.closed_at IS 'since when it takes no new keys; those under it still unwrap';

CREATE TABLE cloakroom.key_registrations (
  login      name NOT NULL,
  hour       timestamptz NOT NULL,
  registered integer NOT NULL,
  PRIMARY KEY (login, hour)
);
COMMENT ON TABLE cloakroom.key_registrations IS
  'data keys registered by login and hour; its row lock makes one login''s registrations run one at a time';
