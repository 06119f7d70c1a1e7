-- The vault: who we are, the fence, and the wrapped keys. Run as cloakroom_owner.
-- +goose Up

-- A function is executable by PUBLIC unless told otherwise; ours are doors, and each opens to named roles only.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

GRANT USAGE ON SCHEMA cloakroom
  TO cloakroom_ingest, cloakroom_auditor, cloakroom_approver, cloakroom_rotator, cloakroom_breakglass;

CREATE TABLE cloakroom.settings (
  singleton            boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  vault_id             uuid NOT NULL DEFAULT gen_random_uuid(),
  epoch                bigint NOT NULL DEFAULT 1 CHECK (epoch > 0),
  created_at           timestamptz NOT NULL DEFAULT now(),
  -- policy
  approvals            smallint NOT NULL DEFAULT 1 CHECK (approvals BETWEEN 0 AND 2),
  row_limit            integer NOT NULL DEFAULT 100 CHECK (row_limit > 0),
  request_lifetime     interval NOT NULL DEFAULT '24 hours' CHECK (request_lifetime > '0'),
  daily_quota          integer NOT NULL DEFAULT 1000 CHECK (daily_quota > 0),
  purposes             text[] NOT NULL DEFAULT ARRAY['security', 'fraud', 'legal', 'dsar', 'support']
                       CHECK (cardinality(purposes) > 0),
  checkpoint_before_open boolean NOT NULL DEFAULT false,
  data_key_max_age     interval NOT NULL DEFAULT '90 days' CHECK (data_key_max_age > '0'),
  index_key_max_age    interval NOT NULL DEFAULT '365 days' CHECK (index_key_max_age > '0'),
  rejection_retention  interval NOT NULL DEFAULT '30 days' CHECK (rejection_retention > '0'),
  days_back            integer NOT NULL DEFAULT 3660 CHECK (days_back BETWEEN 0 AND 36600),
  days_ahead           integer NOT NULL DEFAULT 2 CHECK (days_ahead BETWEEN 0 AND 366)
);
COMMENT ON TABLE cloakroom.settings IS 'one row: the vault''s id, its epoch, its policy';
COMMENT ON COLUMN cloakroom.settings.vault_id IS 'bound into the associated data of every sealed value and into every key''s encryption context';
COMMENT ON COLUMN cloakroom.settings.epoch IS 'raised under the fence whenever what may be written changes; a writer that holds an older one is refused';
COMMENT ON COLUMN cloakroom.settings.approvals IS 'how many people other than the asker must approve a recover request: 0, 1 or 2';
COMMENT ON COLUMN cloakroom.settings.row_limit IS 'rows a single recover request may open at the most';
COMMENT ON COLUMN cloakroom.settings.daily_quota IS 'rows one person may open in a day';
COMMENT ON COLUMN cloakroom.settings.days_back IS 'an event older than this many days is rejected (bad_date)';
COMMENT ON COLUMN cloakroom.settings.days_ahead IS 'an event dated further ahead than this many days is rejected (bad_date)';

INSERT INTO cloakroom.settings DEFAULT VALUES;

-- The fence is a table with nothing in it: only its lock is used. Not an advisory lock, which anybody who can
-- connect may take and hold. Writers take ROW EXCLUSIVE and do not hinder each other; a rotation step that
-- changes what may be written takes SHARE ROW EXCLUSIVE and waits for them all.
CREATE TABLE cloakroom.fence ();
COMMENT ON TABLE cloakroom.fence IS 'locked, never read: see docs/design.md, "The fence"';

CREATE SEQUENCE cloakroom.data_key_ids AS integer MINVALUE 1 NO CYCLE;

CREATE TABLE cloakroom.data_keys (
  id          integer PRIMARY KEY CHECK (id > 0),
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
  CHECK ((state = 'shredded') = (wrapped IS NULL))
);
COMMENT ON TABLE cloakroom.data_keys IS 'wrapped data keys; active -> closed (open-only) -> retired (nothing refers to it) -> shredded (wrapped bytes gone)';
COMMENT ON COLUMN cloakroom.data_keys.month IS 'the month of create_date whose values it may seal, so that retention can shred a month exactly';
COMMENT ON COLUMN cloakroom.data_keys.kek IS 'URI of the KEK it is wrapped under, as configured when it was wrapped';
COMMENT ON COLUMN cloakroom.data_keys.kek_id IS 'what the KEK says of itself: a KMS key''s ARN, or the fingerprint of a key file';
COMMENT ON COLUMN cloakroom.data_keys.key_check IS '16 bytes of HKDF-SHA256 of the key: a wrong or damaged key is a clear error';

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
COMMENT ON TABLE cloakroom.index_keys IS 'wrapped index keys; pending until its columns are there; one is live, two while reindexing: ingest writes a token under each live one';

-- +goose StatementBegin
CREATE FUNCTION cloakroom.require_read_committed() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Under REPEATABLE READ the epoch would be read from a snapshot older than the fence's lock.
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'cloakroom functions run at READ COMMITTED, this transaction is %', upper(current_setting('transaction_isolation'))
      USING ERRCODE = 'CR003';
  END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.vault() RETURNS TABLE (vault_id uuid, epoch bigint, days_back integer, days_ahead integer)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT vault_id, epoch, days_back, days_ahead FROM cloakroom.settings
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.vault() IS 'what every process must know of the vault';
GRANT EXECUTE ON FUNCTION cloakroom.vault() TO cloakroom_ingest, cloakroom_auditor, cloakroom_approver, cloakroom_rotator, cloakroom_breakglass;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.live_index_keys() RETURNS TABLE (version integer, kek text, kek_id text, wrapped bytea, key_check bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT version, kek, kek_id, wrapped, key_check FROM cloakroom.index_keys WHERE state = 'live' ORDER BY version
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.live_index_keys() IS 'the wrapped index keys under which tokens are written now';
GRANT EXECUTE ON FUNCTION cloakroom.live_index_keys() TO cloakroom_ingest, cloakroom_auditor, cloakroom_rotator, cloakroom_breakglass;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.reserve_data_key() RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  -- The id is in the key's encryption context, so it is known before the key is. An id that is never
  -- registered leaves a gap and nothing else.
  SELECT nextval('cloakroom.data_key_ids')::integer
$$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.reserve_data_key() TO cloakroom_ingest, cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.register_data_key(p_id integer, p_month date, p_kek text, p_kek_id text, p_wrapped bytea, p_key_check bytea)
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  -- What it seals may be committed durably by another session, so the key must be, too.
  SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';
  INSERT INTO cloakroom.data_keys (id, month, kek, kek_id, wrapped, key_check)
  VALUES (p_id, p_month, p_kek, p_kek_id, p_wrapped, p_key_check)
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.register_data_key(integer, date, text, text, bytea, bytea)
  IS 'commits a wrapped data key to the vault, before the first value is sealed under it';
GRANT EXECUTE ON FUNCTION cloakroom.register_data_key(integer, date, text, text, bytea, bytea) TO cloakroom_ingest, cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.registered_data_key(p_id integer)
RETURNS TABLE (month date, state text, kek text, kek_id text, wrapped bytea, key_check bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  -- Only its maker reads it back here: other people's data keys are behind the rotation and recover functions.
  SELECT month, state, kek, kek_id, wrapped, key_check
    FROM cloakroom.data_keys WHERE id = p_id AND created_by = session_user
$$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.registered_data_key(integer) TO cloakroom_ingest, cloakroom_rotator;
