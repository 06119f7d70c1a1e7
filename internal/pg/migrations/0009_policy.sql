-- The vault's policy: shown to those who work by it, set by the owner.
-- +goose Up

ALTER TABLE cloakroom.settings ADD COLUMN kek text CHECK (kek ~ '^(awskms|file):///.+');
COMMENT ON COLUMN cloakroom.settings.kek IS 'URI of the KEK under which keys rotate rewraps every key; NULL: whichever they are under';

-- +goose StatementBegin
CREATE FUNCTION cloakroom.policy() RETURNS TABLE (
  approvals integer, row_limit integer, request_lifetime text, daily_quota integer, purposes text[], checkpoint_before_open boolean,
  breakglass_rows integer, data_key_max_age text, index_key_max_age text, rejection_retention text, days_back integer, days_ahead integer, kek text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET intervalstyle = 'postgres' AS $$
  SELECT approvals, row_limit, request_lifetime::text, daily_quota, purposes, checkpoint_before_open,
         breakglass_rows, data_key_max_age::text, index_key_max_age::text, rejection_retention::text, days_back, days_ahead, kek
    FROM cloakroom.settings
$$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.policy() TO cloakroom_rotator, cloakroom_auditor, cloakroom_approver, cloakroom_breakglass;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.keys_made_before(OUT data_keys timestamptz, OUT index_keys timestamptz, OUT "now" timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT clock_timestamp() - data_key_max_age, clock_timestamp() - index_key_max_age, clock_timestamp() FROM cloakroom.settings
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.keys_made_before() IS 'data keys and index keys made before these times are due, by the policy and the database''s clock';
GRANT EXECUTE ON FUNCTION cloakroom.keys_made_before() TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.set_policy(p_name text, p_value text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Executable by the owner alone: who sets the number of approvals may open anything.
  IF p_name <> ALL (ARRAY['approvals', 'row_limit', 'request_lifetime', 'daily_quota', 'purposes', 'checkpoint_before_open', 'breakglass_rows',
      'data_key_max_age', 'index_key_max_age', 'rejection_retention', 'days_back', 'days_ahead', 'kek']) THEN
    RAISE EXCEPTION 'the policy has no setting %', p_name USING ERRCODE = 'CR013', HINT = 'Look at keys policy show.';
  END IF;
  EXECUTE format('UPDATE cloakroom.settings SET %I = %L', p_name, p_value);
  PERFORM cloakroom.append_leaf('policy', p_fields => ARRAY[p_name], p_result => coalesce(p_value, 'null'));
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.set_policy(text, text) IS 'changes one setting of the policy, and says so in the audit log';

-- +goose StatementBegin
CREATE FUNCTION cloakroom.purge_rejections() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  gone bigint;
BEGIN
  WITH d AS (
    DELETE FROM cloakroom.rejections WHERE message_id = ANY (ARRAY(
      SELECT r.message_id FROM cloakroom.rejections r, cloakroom.settings s WHERE r.rejected_at < now() - s.rejection_retention
       ORDER BY r.rejected_at LIMIT 5000)) RETURNING 1)
  SELECT count(*) INTO gone FROM d;
  RETURN gone;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.purge_rejections() IS 'deletes rejections older than the policy keeps them, 5000 at the most; returns how many';
GRANT EXECUTE ON FUNCTION cloakroom.purge_rejections() TO cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.old_rejections() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT count(*) FROM cloakroom.rejections r, cloakroom.settings s WHERE r.rejected_at < now() - s.rejection_retention
$$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.old_rejections() TO cloakroom_rotator;
