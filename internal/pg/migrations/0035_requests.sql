-- What a request may tell before it is approved, and how many emergencies wait for their review.
-- +goose Up

ALTER TABLE cloakroom.settings ADD COLUMN breakglass_unreviewed integer NOT NULL DEFAULT 3 CHECK (breakglass_unreviewed > 0);
COMMENT ON COLUMN cloakroom.settings.breakglass_unreviewed IS 'break-glass requests of one person that may wait for a review; with as many there is no further one';
COMMENT ON COLUMN cloakroom.requests.by_tokens IS
  'what a protected value became on the client, or the token asked for; those of other versions of the index key are looked up when the rows are';

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION cloakroom.request(
  p_purpose text, p_ticket text, p_reason text, p_fields text[],
  p_user text DEFAULT NULL, p_message uuid DEFAULT NULL, p_field text DEFAULT NULL, p_tokens text[] DEFAULT NULL,
  p_rejection text DEFAULT NULL, p_from date DEFAULT NULL, p_to date DEFAULT NULL, p_limit integer DEFAULT NULL,
  p_lifetime interval DEFAULT NULL, p_breakglass boolean DEFAULT false, p_source_identity text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
  p cloakroom.settings;
  unreviewed bigint;
BEGIN
  PERFORM cloakroom.require_read_committed();
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.require_role(CASE WHEN p_breakglass THEN 'breakglass' ELSE 'auditor' END);
  SELECT * INTO STRICT p FROM cloakroom.settings;
  IF coalesce(p_reason, '') = '' OR coalesce(p_ticket, '') = '' OR coalesce(cardinality(p_fields), 0) = 0
     OR num_nonnulls(p_user, p_message, p_tokens, p_rejection) <> 1 THEN
    RAISE EXCEPTION 'a request needs a ticket, a reason, fields and one selector' USING ERRCODE = 'CR012';
  END IF;
  IF p_breakglass THEN
    -- Nothing is spent: the row's lock makes a person's emergencies come one after the other, and be counted.
    PERFORM cloakroom.spend_quota(0);
    SELECT count(*) INTO unreviewed FROM cloakroom.requests q WHERE q.breakglass AND q.reviewed_by IS NULL AND q.asker = session_user;
    IF unreviewed >= p.breakglass_unreviewed THEN
      RAISE EXCEPTION 'there are % break-glass requests of yours that nobody has reviewed', unreviewed USING ERRCODE = 'CR010',
        HINT = 'An approver looks at them: recover list --pending, recover review ID.';
    END IF;
  END IF;
  r.id := gen_random_uuid();
  r.asker := session_user;
  r.breakglass := coalesce(p_breakglass, false);
  r.purpose := p_purpose;
  r.ticket := p_ticket;
  r.reason := p_reason;
  r.reason_salt := uuid_send(gen_random_uuid());
  r.query_salt := uuid_send(gen_random_uuid());
  r.reason_commit := cloakroom.commitment(r.reason_salt, p_reason);
  r.fields := p_fields;
  r.by_user := p_user;
  r.by_message := p_message;
  r.by_field := p_field;
  r.by_tokens := p_tokens;
  r.by_rejection := p_rejection;
  r.from_date := p_from;
  r.to_date := p_to;
  r.row_limit := coalesce(p_limit, CASE WHEN r.breakglass THEN least(p.breakglass_rows, p.row_limit) ELSE p.row_limit END);
  r.created_at := cloakroom.vault_time();
  r.expires_at := r.created_at + coalesce(p_lifetime, p.request_lifetime);
  r.query_commit := cloakroom.commitment(r.query_salt, cloakroom.request_selector(r));
  r.state := CASE WHEN r.breakglass OR p.approvals = 0 THEN 'approved' ELSE 'requested' END;
  PERFORM cloakroom.check_request(r);
  INSERT INTO cloakroom.requests SELECT r.*;
  PERFORM cloakroom.append_leaf(CASE WHEN r.breakglass THEN 'breakglass' ELSE 'request' END,
    p_request => r.id, p_source_identity => p_source_identity, p_purpose => r.purpose, p_ticket => r.ticket,
    p_reason_commit => r.reason_commit, p_query_commit => r.query_commit, p_fields => r.fields, p_rows => r.row_limit::bigint);
  RETURN r.id;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION cloakroom.login_condition(r cloakroom.requests) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tokens text;
BEGIN
  IF r.fields = ARRAY['body'] OR r.by_rejection IS NOT NULL THEN
    RETURN 'false';
  END IF;
  IF r.by_tokens IS NOT NULL THEN
    -- Looked up now and not when it was asked for: whether a value occurs is itself something to be approved.
    r.by_tokens := cloakroom.other_versions_tokens(r.by_field, r.by_tokens);
    SELECT string_agg(format('%I = ANY (%L::varchar[])', 'masked_' || f || '_v' || k.version, r.by_tokens), ' OR ') INTO STRICT tokens
      FROM cloakroom.protected_fields() AS f, cloakroom.index_keys k
     WHERE k.state = 'live' AND (r.by_field IS NULL OR f = r.by_field);
  END IF;
  -- Literals are quoted by format; concat_ws leaves out what is NULL.
  RETURN concat_ws(' AND ',
    CASE WHEN r.by_user IS NOT NULL THEN format('user_id = %L', r.by_user) END,
    CASE WHEN r.by_message IS NOT NULL THEN format('message_id = %L', r.by_message) END,
    CASE WHEN r.by_tokens IS NOT NULL THEN coalesce('(' || tokens || ')', 'false') END,
    CASE WHEN r.from_date IS NOT NULL THEN format('create_date >= %L', r.from_date) END,
    CASE WHEN r.to_date IS NOT NULL THEN format('create_date <= %L', r.to_date) END);
END $$;
-- +goose StatementEnd

DROP FUNCTION cloakroom.policy();
-- +goose StatementBegin
CREATE FUNCTION cloakroom.policy() RETURNS TABLE (
  approvals integer, row_limit integer, request_lifetime text, daily_quota integer, purposes text[], checkpoint_before_open boolean,
  breakglass_rows integer, breakglass_unreviewed integer, data_key_max_age text, index_key_max_age text, rejection_retention text, days_back integer, days_ahead integer, kek text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET intervalstyle = 'postgres' AS $$
  SELECT approvals, row_limit, request_lifetime::text, daily_quota, purposes, checkpoint_before_open,
         breakglass_rows, breakglass_unreviewed, data_key_max_age::text, index_key_max_age::text, rejection_retention::text, days_back, days_ahead, kek
    FROM cloakroom.settings
$$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.policy() TO cloakroom_rotator, cloakroom_auditor, cloakroom_approver, cloakroom_breakglass;

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION cloakroom.set_policy(p_name text, p_value text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Executable by the owner alone: who sets the number of approvals may open anything.
  IF p_name <> ALL (ARRAY['approvals', 'row_limit', 'request_lifetime', 'daily_quota', 'purposes', 'checkpoint_before_open', 'breakglass_rows', 'breakglass_unreviewed',
      'data_key_max_age', 'index_key_max_age', 'rejection_retention', 'days_back', 'days_ahead', 'kek']) THEN
    RAISE EXCEPTION 'the policy has no setting %', p_name USING ERRCODE = 'CR013', HINT = 'Look at keys policy show.';
  END IF;
  EXECUTE format('UPDATE cloakroom.settings SET %I = %L', p_name, p_value);
  PERFORM cloakroom.append_leaf('policy', p_fields => ARRAY[p_name], p_result => coalesce(p_value, 'null'));
END $$;
-- +goose StatementEnd
