-- Requests: making one, showing it, expiring it. All is decided here by session_user: a client that lies gets nothing.

CREATE OR REPLACE FUNCTION cloakroom.commitment(p_salt bytea, p_text text) RETURNS bytea
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT sha256(p_salt || convert_to(p_text, 'UTF8'))
$$;
COMMENT ON FUNCTION cloakroom.commitment(bytea, text) IS
  'salted SHA-256 of a text: the log holds it, and the text can be erased';

CREATE OR REPLACE FUNCTION cloakroom.request_selector(r cloakroom.requests) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT json_build_array(r.dataset, r.by_subject, r.by_row, r.by_message, r.by_field, r.by_index, r.by_tokens,
    r.by_rejection, r.from_date, r.to_date)::text
$$;
COMMENT ON FUNCTION cloakroom.request_selector(cloakroom.requests) IS
  'what a request selects by, as the text that query_commit commits to';

CREATE OR REPLACE FUNCTION cloakroom.request_digest(r cloakroom.requests) RETURNS bytea
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT sha256(convert_to(json_build_array(
    'cloakroom/v1/request', r.id, r.requester, r.breakglass, r.purpose, r.ticket, encode(r.reason_commit, 'hex'),
    r.fields,
    cloakroom.request_selector(r), r.row_limit, cloakroom.audit_time(r.created_at),
      cloakroom.audit_time(r.expires_at))::text, 'UTF8'))
$$;
COMMENT ON FUNCTION cloakroom.request_digest(cloakroom.requests) IS
  'of everything an approval is about, computed from the row each time: what is approved is what is opened';

CREATE OR REPLACE FUNCTION cloakroom.count_act(p_act text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  most integer := (SELECT requests_per_hour FROM cloakroom.settings);
  n integer;
BEGIN
  -- The row's lock is this login's own: who never commits holds up only themselves.
  DELETE FROM cloakroom.request_counts WHERE login = session_user AND act = p_act
    AND hour < date_trunc('hour', clock_timestamp());
  INSERT INTO cloakroom.request_counts AS c (login, hour, act, counted)
    VALUES (session_user, date_trunc('hour', clock_timestamp()), p_act, 1)
    ON CONFLICT (login, act, hour) DO UPDATE SET counted = c.counted + 1 RETURNING counted INTO STRICT n;
  IF n > most THEN
    RAISE EXCEPTION '% has made % requests, or noted % refusals, within this hour', session_user, most, most
      USING ERRCODE = 'CR012', HINT = 'Go on in the next hour, or have the policy changed: requests_per_hour.';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.count_act(text) IS
  'counts a request or a refusal against this login''s number of the hour, and refuses to pass it';

CREATE OR REPLACE FUNCTION cloakroom.check_request(r cloakroom.requests) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p cloakroom.settings;
  unknown text;
BEGIN
  SELECT * INTO STRICT p FROM cloakroom.settings;
  IF r.purpose <> ALL (p.purposes) THEN
    RAISE EXCEPTION 'the policy knows no such purpose'
      USING ERRCODE = 'CR012', HINT = 'Purposes: ' || array_to_string(p.purposes, ', ') || '.';
  ELSIF r.row_limit > p.row_limit OR r.breakglass AND r.row_limit > p.breakglass_rows THEN
    RAISE EXCEPTION 'the limit of % rows is above the policy''s', r.row_limit USING ERRCODE = 'CR012',
      HINT = format('At most %s rows, break-glass %s.', p.row_limit, p.breakglass_rows);
  ELSIF r.expires_at > r.created_at + p.request_lifetime OR r.expires_at <= r.created_at THEN
    RAISE EXCEPTION 'the lifetime is above the policy''s, or none'
      USING ERRCODE = 'CR012', HINT = format('At most %s.', p.request_lifetime);
  ELSIF r.purpose = 'dsar' AND r.by_subject IS NULL THEN
    RAISE EXCEPTION 'a request for purpose dsar is about one person'
      USING ERRCODE = 'CR012', HINT = 'Select by subject.';
  ELSIF EXISTS (SELECT FROM unnest(r.by_tokens) AS t WHERE t IS NULL OR t !~ '^[A-Za-z0-9_-]{22}$') THEN
    RAISE EXCEPTION 'that is no token: a token has 22 letters, digits, - and _' USING ERRCODE = 'CR012';
  ELSIF r.by_subject IS NOT NULL AND (cloakroom.dataset_of(r.dataset)).subject IS NULL THEN
    RAISE EXCEPTION 'the dataset says of no row whose it is'
      USING ERRCODE = 'CR012', HINT = 'Select by token, row or message.';
  ELSIF r.by_subject IS NOT NULL AND cloakroom.canonical_subject(r.dataset, r.by_subject) IS NULL THEN
    RAISE EXCEPTION 'nobody in the dataset is called so: it is not of the type of its subject'
      USING ERRCODE = 'CR012';
  ELSIF r.by_rejection IS NOT NULL AND r.fields <> ARRAY['body'] THEN
    RAISE EXCEPTION 'of a rejection only the body can be opened' USING ERRCODE = 'CR012';
  END IF;
  -- A field by which nothing can be searched would leave the token out of the condition, and select everybody.
  IF r.by_field IS NOT NULL
    AND NOT EXISTS (SELECT FROM cloakroom.sealed_members(r.dataset) AS known WHERE known = r.by_field) THEN
    RAISE EXCEPTION 'a token belongs to a protected field' USING ERRCODE = 'CR012',
      HINT = 'Protected fields: ' || (SELECT string_agg(f, ', ') FROM cloakroom.sealed_members(r.dataset) AS f) || '.';
  ELSIF r.by_index IS NOT NULL AND NOT EXISTS (
    SELECT FROM cloakroom.token_columns(r.dataset, cloakroom.live_versions()) AS t
     WHERE t.member = r.by_field AND t.index_name = r.by_index) THEN
    RAISE EXCEPTION 'the field has no such index' USING ERRCODE = 'CR012';
  ELSIF array_position(r.fields, NULL) IS NOT NULL THEN
    RAISE EXCEPTION 'a field is not named' USING ERRCODE = 'CR012';
  ELSIF (SELECT count(DISTINCT f) FROM unnest(r.fields) AS f) < cardinality(r.fields) THEN
    RAISE EXCEPTION 'a field is named twice' USING ERRCODE = 'CR012';
  END IF;
  SELECT f INTO unknown FROM unnest(r.fields || r.by_field) AS f
   WHERE f IS NOT NULL AND f <> 'body'
     AND NOT EXISTS (SELECT FROM cloakroom.sealed_members(r.dataset) AS known WHERE known = f)
     AND (f IS NOT DISTINCT FROM r.by_field
          OR NOT EXISTS (SELECT FROM cloakroom.clear_columns(r.dataset) AS known WHERE known = f));
  IF FOUND THEN
    RAISE EXCEPTION 'there is no such field' USING ERRCODE = 'CR012', HINT = 'Fields: ' || (
      SELECT string_agg(f, ', ')
        FROM (SELECT cloakroom.sealed_members(r.dataset) UNION ALL SELECT cloakroom.clear_columns(r.dataset)) AS fs(f))
      || ', body.';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.check_request(cloakroom.requests) IS
  'refuses a request that breaks the policy or names what is not there';

CREATE OR REPLACE FUNCTION cloakroom.request(
  p_purpose text, p_ticket text, p_reason text, p_fields text[],
  p_dataset text DEFAULT NULL, p_subject text DEFAULT NULL, p_row uuid DEFAULT NULL, p_message uuid DEFAULT NULL,
  p_field text DEFAULT NULL, p_index text DEFAULT NULL, p_tokens text[] DEFAULT NULL,
  p_rejection text DEFAULT NULL, p_from date DEFAULT NULL, p_to date DEFAULT NULL, p_limit integer DEFAULT NULL,
  p_lifetime interval DEFAULT NULL, p_breakglass boolean DEFAULT false, p_source_identity text DEFAULT NULL)
RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
  p cloakroom.settings;
  unreviewed bigint;
BEGIN
  PERFORM cloakroom.require_read_committed();
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.require_role(CASE WHEN p_breakglass THEN 'breakglass' ELSE 'auditor' END);
  PERFORM cloakroom.require_apart(CASE WHEN p_breakglass THEN 'breakglass' ELSE 'auditor' END);
  PERFORM cloakroom.count_act('request');
  IF NOT p_breakglass THEN
    PERFORM cloakroom.require_requester_group();
  END IF;
  SELECT * INTO STRICT p FROM cloakroom.settings;
  IF coalesce(p_reason, '') = '' OR coalesce(p_ticket, '') = '' OR coalesce(cardinality(p_fields), 0) = 0
     OR num_nonnulls(p_subject, p_row, p_message, p_tokens, p_rejection) <> 1 THEN
    RAISE EXCEPTION 'a request needs a ticket, a reason, fields and one selector' USING ERRCODE = 'CR012';
  END IF;
  IF p_breakglass THEN
    -- Spends nothing. The quota row's lock makes one person's break-glass requests run one at a time, so they can be
    -- counted.
    PERFORM cloakroom.spend_quota(0);
    SELECT count(*) INTO unreviewed FROM cloakroom.requests q WHERE q.breakglass AND q.reviewed_by IS NULL
      AND q.requester = session_user;
    IF unreviewed >= p.breakglass_unreviewed THEN
      RAISE EXCEPTION 'there are % break-glass requests of yours that nobody has reviewed', unreviewed
        USING ERRCODE = 'CR010',
        HINT = 'An approver looks at them: recover list --pending, recover review ID.';
    END IF;
  END IF;
  r.id := gen_random_uuid();
  r.requester := session_user;
  r.breakglass := coalesce(p_breakglass, false);
  r.purpose := p_purpose;
  r.ticket := p_ticket;
  r.reason := p_reason;
  r.reason_salt := uuid_send(gen_random_uuid());
  r.query_salt := uuid_send(gen_random_uuid());
  r.reason_commit := cloakroom.commitment(r.reason_salt, p_reason);
  r.fields := p_fields;
  r.dataset := (cloakroom.dataset_of(p_dataset)).name;
  -- As rows and rejections have it: a UUID in capitals is the same person.
  r.by_subject := coalesce(cloakroom.canonical_subject(r.dataset, p_subject), p_subject);
  r.by_row := p_row;
  r.by_message := p_message;
  r.by_field := p_field;
  r.by_index := p_index;
  r.by_tokens := p_tokens;
  r.by_rejection := p_rejection;
  r.from_date := p_from;
  r.to_date := p_to;
  r.row_limit := coalesce(p_limit, CASE WHEN r.breakglass THEN least(p.breakglass_rows, p.row_limit)
    ELSE p.row_limit END);
  r.created_at := cloakroom.vault_time();
  r.expires_at := r.created_at + coalesce(p_lifetime, p.request_lifetime);
  r.query_commit := cloakroom.commitment(r.query_salt, cloakroom.request_selector(r));
  r.state := CASE WHEN r.breakglass OR p.approvals = 0 THEN 'approved' ELSE 'requested' END;
  PERFORM cloakroom.check_request(r);
  INSERT INTO cloakroom.requests SELECT r.*;
  PERFORM cloakroom.append_leaf(CASE WHEN r.breakglass THEN 'breakglass' ELSE 'request' END,
    p_request => r.id, p_source_identity => p_source_identity, p_purpose => r.purpose, p_ticket => r.ticket,
    p_reason_commit => r.reason_commit, p_query_commit => r.query_commit, p_dataset => r.dataset, p_fields => r.fields,
      p_rows => r.row_limit::bigint);
  RETURN r.id;
END $$;
COMMENT ON FUNCTION cloakroom.request IS 'asks for values to be opened; returns the request''s id';
GRANT EXECUTE ON FUNCTION cloakroom.request TO cloakroom_auditor, cloakroom_breakglass;

CREATE OR REPLACE FUNCTION cloakroom.may_see(r cloakroom.requests) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- Not to a login that asks for values, too: it could tell which values the tokens of others' requests are of.
  SELECT r.requester = session_user OR pg_has_role(session_user, 'cloakroom_approver', 'MEMBER')
    AND NOT pg_has_role(session_user, 'cloakroom_auditor', 'MEMBER')
    AND NOT pg_has_role(session_user, 'cloakroom_breakglass', 'MEMBER')
$$;
COMMENT ON FUNCTION cloakroom.may_see(cloakroom.requests) IS 'a request is shown to its requester and to approvers';

CREATE OR REPLACE FUNCTION cloakroom.lock_request(p_request uuid) RETURNS cloakroom.requests
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
BEGIN
  PERFORM cloakroom.require_read_committed();
  SELECT * INTO r FROM cloakroom.requests WHERE id = p_request FOR UPDATE;
  -- Do not reveal to others whether the id exists.
  IF NOT FOUND OR NOT cloakroom.may_see(r) THEN
    RAISE EXCEPTION 'there is no such request' USING ERRCODE = 'CR012', HINT = 'recover list shows those there are.';
  END IF;
  RETURN r;
END $$;
COMMENT ON FUNCTION cloakroom.lock_request(uuid) IS 'locks a request that the caller may see';

CREATE OR REPLACE FUNCTION cloakroom.request_list(p_pending boolean, p_mine boolean)
RETURNS TABLE (id uuid, state text, requester name, breakglass boolean, reviewed_by name, purpose text, ticket text,
               dataset text, fields text[], row_limit integer, created_at timestamptz, expires_at timestamptz,
               approvals bigint, rows bigint, result text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.id, r.state, r.requester, r.breakglass, r.reviewed_by, r.purpose, r.ticket, r.dataset, r.fields,
         r.row_limit, r.created_at, r.expires_at,
         (SELECT count(*) FROM cloakroom.approvals a WHERE a.request = r.id AND a.approved), r.rows, r.result
    FROM cloakroom.requests r
   WHERE cloakroom.may_see(r) AND (NOT p_mine OR r.requester = session_user)
     AND (NOT p_pending OR r.state = 'requested' AND r.expires_at > cloakroom.vault_time() OR r.breakglass
       AND r.reviewed_by IS NULL)
   ORDER BY r.created_at, r.id
$$;
COMMENT ON FUNCTION cloakroom.request_list(boolean, boolean) IS
  'approvers see every request, others their own; pending: waits for a decision or a review';
GRANT EXECUTE ON FUNCTION cloakroom.request_list(boolean, boolean) TO
  cloakroom_auditor, cloakroom_approver, cloakroom_breakglass;

CREATE OR REPLACE FUNCTION cloakroom.show_request(p_request uuid)
RETURNS TABLE (id uuid, state text, requester name, breakglass boolean, reviewed_by name, purpose text, ticket text,
reason text,
               reason_salt bytea, reason_commit bytea, query_salt bytea, query_commit bytea, selector text,
               dataset text, by_subject text, by_row uuid, by_message uuid, by_field text, by_index text,
               by_tokens text[], by_rejection text, from_date date, to_date date,
               fields text[], row_limit integer, created_at timestamptz, expires_at timestamptz, digest bytea,
               approvals_needed smallint, approved_by name[], denied_by name[], selected bigint, people bigint,
               rows bigint, intent_leaf bigint, result text,
               requester_group text, approver_groups text[], missing text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.id, r.state, r.requester, r.breakglass, r.reviewed_by, r.purpose, r.ticket, r.reason,
         r.reason_salt, r.reason_commit, r.query_salt, r.query_commit, cloakroom.request_selector(r),
         r.dataset, r.by_subject, r.by_row, r.by_message, r.by_field, r.by_index, r.by_tokens, r.by_rejection,
         r.from_date, r.to_date,
         r.fields, r.row_limit, r.created_at, r.expires_at, cloakroom.request_digest(r),
         cloakroom.approvals_needed(r),
         ARRAY(SELECT a.approver FROM cloakroom.approvals a WHERE a.request = r.id AND a.approved ORDER BY a.at),
         ARRAY(SELECT a.approver FROM cloakroom.approvals a WHERE a.request = r.id AND NOT a.approved ORDER BY a.at),
         -- Hidden from the requester: whether a value occurs is part of what needs approval.
         CASE WHEN r.requester <> session_user AND r.state IN ('requested', 'approved')
           THEN cloakroom.count_selected(r) END,
         CASE WHEN r.requester <> session_user AND r.state IN ('requested', 'approved')
           THEN cloakroom.count_people(r) END,
         r.rows, r.intent_leaf, r.result, cloakroom.group_of(r.requester),
         ARRAY(SELECT coalesce(a.approver_group, '') FROM cloakroom.approvals a
                WHERE a.request = r.id AND a.approved ORDER BY a.at),
         CASE WHEN r.state IN ('requested', 'approved', 'intent', 'confirmed') THEN cloakroom.approvals_missing(r) END
    FROM cloakroom.requests r WHERE r.id = p_request AND cloakroom.may_see(r)
$$;
COMMENT ON FUNCTION cloakroom.show_request(uuid) IS 'all that an approver needs to decide';
GRANT EXECUTE ON FUNCTION cloakroom.show_request(uuid) TO cloakroom_auditor, cloakroom_approver, cloakroom_breakglass;

CREATE OR REPLACE FUNCTION cloakroom.expire_requests() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  expired uuid[];
BEGIN
  PERFORM cloakroom.require_read_committed();
  WITH due AS (
    SELECT id FROM cloakroom.requests
     WHERE state IN ('requested', 'approved', 'intent', 'confirmed')
       AND expires_at <= cloakroom.vault_time() FOR UPDATE SKIP LOCKED),
  done AS (
    UPDATE cloakroom.requests r SET state = 'expired' FROM due WHERE r.id = due.id RETURNING r.id)
  SELECT array_agg(id) INTO expired FROM done;
  PERFORM cloakroom.append_leaf('expire', p_request => id) FROM unnest(expired) AS id;
  RETURN coalesce(cardinality(expired), 0);
END $$;
COMMENT ON FUNCTION cloakroom.expire_requests() IS
  'marks requests whose time is over; one that is not marked is refused anyway';
GRANT EXECUTE ON FUNCTION cloakroom.expire_requests() TO
  cloakroom_auditor, cloakroom_approver, cloakroom_breakglass, cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.expire_token_requests() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  expired uuid[];
BEGIN
  WITH done AS (
    UPDATE cloakroom.requests SET state = 'expired'
     WHERE state IN ('requested', 'approved') AND by_tokens IS NOT NULL RETURNING id)
  SELECT array_agg(id) INTO expired FROM done;
  PERFORM cloakroom.append_leaf('expire', p_request => id, p_result => 'reindexed') FROM unnest(expired) AS id;
  RETURN coalesce(cardinality(expired), 0);
END $$;
COMMENT ON FUNCTION cloakroom.expire_token_requests() IS
  'for a reindex that drops a version''s columns: requests that name tokens would select nothing; the last statement '
  'of its transaction';
