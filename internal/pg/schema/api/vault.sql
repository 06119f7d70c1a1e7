-- The vault: what every process reads of it, the policy, index keys, the schema's version.

CREATE OR REPLACE FUNCTION cloakroom.vault()
RETURNS TABLE (vault_id uuid, epoch bigint, days_back integer, days_ahead integer)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT vault_id, epoch, days_back, days_ahead FROM cloakroom.settings
$$;
COMMENT ON FUNCTION cloakroom.vault() IS 'what every process must know of the vault';
GRANT EXECUTE ON FUNCTION cloakroom.vault() TO
  cloakroom_ingest, cloakroom_auditor, cloakroom_approver, cloakroom_rotator, cloakroom_breakglass, cloakroom_witness;

CREATE OR REPLACE FUNCTION cloakroom.policy() RETURNS TABLE (
  approvals integer, row_limit integer, request_lifetime text, daily_quota integer, purposes text[],
    checkpoint_before_open boolean,
  breakglass_rows integer, breakglass_unreviewed integer, data_key_max_age text, index_key_max_age text,
    rejection_retention text, days_back integer, days_ahead integer, kek text, shred_before date,
    key_registrations integer, requests_per_hour integer, approval_groups text[])
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET intervalstyle = 'postgres' AS $$
  SELECT approvals, row_limit, request_lifetime::text, daily_quota, purposes, checkpoint_before_open,
         breakglass_rows, breakglass_unreviewed, data_key_max_age::text, index_key_max_age::text,
           rejection_retention::text, days_back, days_ahead, kek, shred_before, key_registrations, requests_per_hour,
           approval_groups
    FROM cloakroom.settings
$$;
COMMENT ON FUNCTION cloakroom.policy() IS 'the vault''s policy, intervals as text';
GRANT EXECUTE ON FUNCTION cloakroom.policy() TO
  cloakroom_rotator, cloakroom_auditor, cloakroom_approver, cloakroom_breakglass;

CREATE OR REPLACE FUNCTION cloakroom.set_policy(p_name text, p_value text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET intervalstyle = 'postgres' AS $$
DECLARE
  old text;
  new text;
  broken text;
BEGIN
  -- Only the owner may execute this: who sets the number of approvals may open anything.
  IF p_name <> ALL (ARRAY['approvals', 'row_limit', 'request_lifetime', 'daily_quota', 'purposes',
    'checkpoint_before_open', 'breakglass_rows', 'breakglass_unreviewed',
      'data_key_max_age', 'index_key_max_age', 'rejection_retention', 'days_back', 'days_ahead', 'kek',
      'shred_before', 'key_registrations', 'requests_per_hour', 'approval_groups']) THEN
    RAISE EXCEPTION 'the policy has no setting %', p_name USING ERRCODE = 'CR013', HINT = 'Look at keys policy show.';
  ELSIF p_name = 'approvals' AND p_value ~ '^[+-]?0+$' THEN
    RAISE EXCEPTION 'no approvals at all is set by its name' USING ERRCODE = 'CR013',
      HINT = 'keys policy set approvals none lets every auditor open values alone.';
  END IF;
  EXECUTE format('SELECT %I::text FROM cloakroom.settings FOR UPDATE', p_name) INTO STRICT old;
  EXECUTE format('UPDATE cloakroom.settings SET %I = %L RETURNING %1$I::text', p_name,
    CASE WHEN p_name = 'approvals' AND p_value = 'none' THEN '0' ELSE p_value END) INTO STRICT new;
  IF p_name = 'approvals' THEN
    old := CASE old WHEN '0' THEN 'none' ELSE old END;
    new := CASE new WHEN '0' THEN 'none' ELSE new END;
  END IF;
  PERFORM cloakroom.append_leaf('policy', p_fields => ARRAY[p_name],
    p_result => json_build_object('old', old, 'new', new)::text);
EXCEPTION WHEN check_violation THEN
  GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
  IF broken = 'groups_want_approvals' THEN
    RAISE EXCEPTION 'the policy cannot want approvals of groups and no approvals' USING ERRCODE = 'CR013',
      HINT = 'Set approval_groups to -, or approvals to 1 or 2.';
  END IF;
  RAISE;
END $$;
COMMENT ON FUNCTION cloakroom.set_policy(text, text) IS
  'changes one setting of the policy, and logs its name with the old and the new value';

CREATE OR REPLACE FUNCTION cloakroom.keys_made_before(
  OUT data_keys timestamptz, OUT index_keys timestamptz, OUT "now" timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT clock_timestamp() - data_key_max_age, clock_timestamp() - index_key_max_age, clock_timestamp()
    FROM cloakroom.settings
$$;
COMMENT ON FUNCTION cloakroom.keys_made_before() IS
  'data keys and index keys made before these times are due, by the policy and the database''s clock';
GRANT EXECUTE ON FUNCTION cloakroom.keys_made_before() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.key_ages()
RETURNS TABLE (kind text, id integer, month date, state text, kek text, created_at timestamptz, closed_at timestamptz,
               retired_at timestamptz, shredded_at timestamptz, max_age interval)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT 'index', k.version, NULL::date, k.state, k.kek, k.created_at, NULL::timestamptz, k.retired_at,
    NULL::timestamptz, s.index_key_max_age
    FROM cloakroom.index_keys k, cloakroom.settings s
  UNION ALL
  SELECT 'data', k.id, k.month, k.state, k.kek, k.created_at, k.closed_at, k.retired_at, k.shredded_at,
    s.data_key_max_age
    FROM cloakroom.data_keys k, cloakroom.settings s
  ORDER BY 1 DESC, 2
$$;
COMMENT ON FUNCTION cloakroom.key_ages() IS 'every key''s age and state, for the report; no wrapped bytes';
GRANT EXECUTE ON FUNCTION cloakroom.key_ages() TO
  cloakroom_auditor, cloakroom_approver, cloakroom_rotator, cloakroom_witness;

CREATE OR REPLACE FUNCTION cloakroom.live_index_keys()
RETURNS TABLE (version integer, kek text, kek_id text, wrapped bytea, key_check bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT version, kek, kek_id, wrapped, key_check FROM cloakroom.index_keys WHERE state = 'live' ORDER BY version
$$;
COMMENT ON FUNCTION cloakroom.live_index_keys() IS 'the wrapped index keys under which tokens are written now';
GRANT EXECUTE ON FUNCTION cloakroom.live_index_keys() TO
  cloakroom_ingest, cloakroom_auditor, cloakroom_rotator, cloakroom_breakglass;

CREATE OR REPLACE FUNCTION cloakroom.index_key_list()
RETURNS TABLE (version integer, state text, kek text, kek_id text, created_by name, created_at timestamptz,
retired_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT version, state, kek, kek_id, created_by, created_at, retired_at FROM cloakroom.index_keys ORDER BY version
$$;
COMMENT ON FUNCTION cloakroom.index_key_list() IS 'every index key''s state and times; no wrapped bytes';
GRANT EXECUTE ON FUNCTION cloakroom.index_key_list() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.schema_version() RETURNS TABLE (tables bigint, number integer, sha256 text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT (SELECT max(version_id) FROM cloakroom.schema_migrations WHERE is_applied), v.number, v.sha256
    FROM cloakroom.api_versions v ORDER BY v.id DESC LIMIT 1
$$;
COMMENT ON FUNCTION cloakroom.schema_version() IS 'the newest file of tables/ that ran, and which API stands';
GRANT EXECUTE ON FUNCTION cloakroom.schema_version() TO
  cloakroom_ingest, cloakroom_auditor, cloakroom_approver, cloakroom_rotator, cloakroom_breakglass, cloakroom_witness;
