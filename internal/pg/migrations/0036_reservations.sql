-- A data key's id belongs to whoever reserved it.
-- +goose Up

CREATE TABLE cloakroom.data_key_reservations (
  id          integer PRIMARY KEY,
  reserved_by name NOT NULL DEFAULT session_user,
  reserved_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON cloakroom.data_key_reservations (reserved_by, reserved_at);
COMMENT ON TABLE cloakroom.data_key_reservations IS 'ids given out for data keys that are being made; a key is registered under an id of its maker''s own';
ALTER TABLE cloakroom.data_keys
  ADD CONSTRAINT data_keys_sizes CHECK (octet_length(wrapped) BETWEEN 32 AND 8192 AND length(kek) <= 2048 AND length(kek_id) <= 2048) NOT VALID;

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION cloakroom.reserve_data_key() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  reserved bigint;
  given integer;
BEGIN
  -- Whoever made no key within the hour, KMS being away, has given up. A row that somebody else removes now is left to them.
  DELETE FROM cloakroom.data_key_reservations
   WHERE id IN (SELECT r.id FROM cloakroom.data_key_reservations r
                 WHERE r.reserved_by = session_user AND r.reserved_at < now() - interval '1 hour' FOR UPDATE SKIP LOCKED);
  SELECT count(*) INTO reserved FROM cloakroom.data_key_reservations r WHERE r.reserved_by = session_user;
  IF reserved >= 1000 THEN
    RAISE EXCEPTION '% data keys were reserved by % within an hour and never registered', reserved, session_user USING ERRCODE = 'CR013',
      HINT = 'Something reserves ids and makes no keys: see the logs of the programs with this login, and of KMS.';
  END IF;
  -- The id is in the key's encryption context, so it is known before the key is.
  INSERT INTO cloakroom.data_key_reservations (id) VALUES (nextval('cloakroom.data_key_ids')) RETURNING id INTO given;
  RETURN given;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION cloakroom.register_data_key(p_id integer, p_month date, p_kek text, p_kek_id text, p_wrapped bytea, p_key_check bytea)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p cloakroom.settings;
BEGIN
  -- What it seals may be committed durably by another session, so the key must be, too.
  IF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  SELECT * INTO STRICT p FROM cloakroom.settings;
  -- A day's slack: the month is of the client's clock. What lies further back was stored under another policy, and is resealed.
  IF p_month NOT BETWEEN date_trunc('month', now() - make_interval(days => p.days_back + 1))
                     AND date_trunc('month', now() + make_interval(days => p.days_ahead + 1))
     AND NOT EXISTS (SELECT FROM cloakroom.data_keys k WHERE k.month = p_month) THEN
    RAISE EXCEPTION 'no login of % may be stored now', to_char(p_month, 'YYYY-MM') USING ERRCODE = 'CR013',
      HINT = 'keys policy shows days_back and days_ahead.';
  END IF;
  DELETE FROM cloakroom.data_key_reservations WHERE id = p_id AND reserved_by = session_user;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'data key % is not reserved by %', p_id, session_user USING ERRCODE = 'CR013',
      HINT = 'A reservation lasts an hour, and for one key.';
  END IF;
  INSERT INTO cloakroom.data_keys (id, month, kek, kek_id, wrapped, key_check)
  VALUES (p_id, p_month, p_kek, p_kek_id, p_wrapped, p_key_check);
END
$$;
-- +goose StatementEnd
