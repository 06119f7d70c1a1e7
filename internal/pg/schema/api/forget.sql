-- Forget: one person's sealed values and tokens, in rows and rejections. Two people other than the requester must
-- approve, whatever the policy says of opening. A certificate, kept outside, lets it be done again after a backup was
-- restored.

CREATE OR REPLACE FUNCTION cloakroom.request_forget(p_user text, p_ticket text, p_reason text) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
BEGIN
  PERFORM cloakroom.require_read_committed();
  PERFORM cloakroom.require_durable_commit();
  IF coalesce(p_user, '') = '' OR coalesce(p_ticket, '') = '' OR coalesce(p_reason, '') = '' THEN
    RAISE EXCEPTION 'to forget needs a person, a ticket and a reason' USING ERRCODE = 'CR012';
  END IF;
  r.id := gen_random_uuid();
  r.state := 'requested';
  r.requester := session_user;
  r.breakglass := false;
  r.purpose := 'forget';
  r.ticket := p_ticket;
  r.reason := p_reason;
  r.reason_salt := uuid_send(gen_random_uuid());
  r.query_salt := uuid_send(gen_random_uuid());
  r.reason_commit := cloakroom.commitment(r.reason_salt, p_reason);
  r.fields := ARRAY(SELECT cloakroom.protected_fields()) || ARRAY['body'];
  r.by_user := p_user;
  r.row_limit := 2147483646;
  r.created_at := cloakroom.vault_time();
  SELECT r.created_at + request_lifetime INTO STRICT r.expires_at FROM cloakroom.settings;
  r.query_commit := cloakroom.commitment(r.query_salt, cloakroom.request_selector(r));
  INSERT INTO cloakroom.requests SELECT r.*;
  PERFORM cloakroom.append_leaf('request', p_request => r.id, p_purpose => r.purpose, p_ticket => r.ticket,
    p_reason_commit => r.reason_commit, p_query_commit => r.query_commit, p_fields => r.fields);
  RETURN r.id;
END $$;
COMMENT ON FUNCTION cloakroom.request_forget(text, text, text) IS
  'asks for a person to be forgotten; returns the request''s id, for recover approve';
GRANT EXECUTE ON FUNCTION cloakroom.request_forget(text, text, text) TO cloakroom_rotator, cloakroom_auditor;

CREATE OR REPLACE FUNCTION cloakroom.forget_plan(
  p_request uuid, OUT state text, OUT approvals bigint, OUT logins bigint, OUT rejections bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
BEGIN
  SELECT * INTO r FROM cloakroom.requests WHERE id = p_request AND purpose = 'forget';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no such request to forget'
      USING ERRCODE = 'CR013', HINT = 'keys forget --user ID --ticket T --reason R makes one.';
  END IF;
  state := r.state;
  SELECT count(*) INTO approvals FROM cloakroom.approvals a
   WHERE a.request = r.id AND a.approved AND a.approver <> r.requester AND a.digest = cloakroom.request_digest(r);
  SELECT count(*) INTO logins FROM cloakroom.user_logins u WHERE u.user_id = r.by_user AND u.data_key IS NOT NULL;
  SELECT count(*) INTO rejections FROM cloakroom.rejections j WHERE j.user_id = r.by_user AND j.data_key IS NOT NULL;
END $$;
COMMENT ON FUNCTION cloakroom.forget_plan(uuid) IS 'how far a request to forget has come, and what it would clear';
GRANT EXECUTE ON FUNCTION cloakroom.forget_plan(uuid) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.begin_forget(p_request uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
BEGIN
  PERFORM cloakroom.require_read_committed();
  PERFORM cloakroom.require_durable_commit();
  SELECT * INTO r FROM cloakroom.requests WHERE id = p_request AND purpose = 'forget' FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no such request to forget' USING ERRCODE = 'CR013';
  ELSIF r.state IN ('intent', 'closed') OR r.state = 'expired' AND r.intent_leaf IS NOT NULL THEN
    RETURN; -- begun before: it is finished, however late
  ELSIF r.state <> 'approved' OR r.expires_at <= cloakroom.vault_time() THEN
    RAISE EXCEPTION 'the request is %, not approved, or has expired', r.state USING ERRCODE = 'CR010',
      HINT = 'Two people other than the requester approve it: recover approve.';
  ELSIF (SELECT count(*) FROM cloakroom.approvals a
          WHERE a.request = r.id AND a.approved AND a.approver <> r.requester
            AND a.digest = cloakroom.request_digest(r)) < 2 THEN
    RAISE EXCEPTION 'the request has fewer than two approvals'
      USING ERRCODE = 'CR010', HINT = 'Two people other than the requester approve it: recover approve.';
  END IF;
  r.intent_leaf := cloakroom.append_leaf('forget', p_request => r.id, p_purpose => r.purpose, p_ticket => r.ticket,
    p_reason_commit => r.reason_commit, p_query_commit => r.query_commit, p_fields => r.fields, p_result => 'begun');
  UPDATE cloakroom.requests SET state = 'intent', intent_leaf = r.intent_leaf, intent_xid = pg_current_xact_id(),
         intent_at = cloakroom.vault_time(), rows = 0 WHERE id = r.id;
END $$;
COMMENT ON FUNCTION cloakroom.begin_forget(uuid) IS
  'refuses a request that two others have not approved; logs that it begins';
GRANT EXECUTE ON FUNCTION cloakroom.begin_forget(uuid) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.clear_person(p_user text, p_month date, p_until date) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint;
BEGIN
  EXECUTE format('UPDATE cloakroom.user_logins SET %s
                   WHERE user_id = $1 AND create_date >= %L AND create_date < %L AND create_date <= $2
                     AND data_key IS NOT NULL',
                 cloakroom.erasure(), p_month, (p_month + interval '1 month')::date) USING p_user, p_until;
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;
COMMENT ON FUNCTION cloakroom.clear_person(text, date, date) IS
  'clears sealed values and tokens of a person''s rows of a month, up to a date; returns how many';

CREATE OR REPLACE FUNCTION cloakroom.clear_persons_rejections(p_user text, p_until date) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint;
BEGIN
  UPDATE cloakroom.rejections SET sealed_body = NULL, data_key = NULL
   WHERE user_id = p_user AND coalesce(create_date, (rejected_at AT TIME ZONE 'UTC')::date) <= p_until
     AND data_key IS NOT NULL;
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;
COMMENT ON FUNCTION cloakroom.clear_persons_rejections(text, date) IS
  'clears the bodies of a person''s rejections, up to a date; returns how many';

CREATE OR REPLACE FUNCTION cloakroom.forget_month(p_request uuid, p_month date) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
  n bigint;
BEGIN
  PERFORM cloakroom.require_read_committed();
  SELECT * INTO r FROM cloakroom.requests WHERE id = p_request AND purpose = 'forget'
    AND intent_leaf IS NOT NULL FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the request has not begun' USING ERRCODE = 'CR013';
  END IF;
  n := CASE WHEN p_month IS NULL THEN cloakroom.clear_persons_rejections(r.by_user, 'infinity')
    ELSE cloakroom.clear_person(r.by_user, p_month, 'infinity') END;
  UPDATE cloakroom.requests SET rows = rows + n WHERE id = r.id;
  RETURN n;
END $$;
COMMENT ON FUNCTION cloakroom.forget_month(uuid, date) IS 'clears the person''s rows of a month; NULL: the rejections';
GRANT EXECUTE ON FUNCTION cloakroom.forget_month(uuid, date) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.certificate_code(p_text text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- The outer hash prevents length extension of the inner one.
  SELECT encode(sha256(certificate_secret || sha256(certificate_secret || convert_to(p_text, 'UTF8'))), 'hex')
    FROM cloakroom.settings
$$;
COMMENT ON FUNCTION cloakroom.certificate_code(text) IS
  'MAC of a certificate of erasure under the vault''s certificate_secret';

CREATE OR REPLACE FUNCTION cloakroom.finish_forget(
  p_request uuid, OUT left_over bigint, OUT certificate text, OUT code text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
BEGIN
  PERFORM cloakroom.require_read_committed();
  PERFORM cloakroom.require_durable_commit();
  SELECT * INTO STRICT r FROM cloakroom.requests WHERE id = p_request AND purpose = 'forget'
    AND intent_leaf IS NOT NULL FOR UPDATE;
  IF r.state <> 'closed' THEN
    SELECT p.logins + p.rejections INTO left_over FROM cloakroom.forget_plan(p_request) AS p;
    IF left_over > 0 THEN
      RETURN;
    END IF;
    r.closed_at := cloakroom.vault_time();
    UPDATE cloakroom.requests
       SET state = 'closed', closed_at = r.closed_at, confirmed_lsn = pg_current_wal_insert_lsn(), result = 'forgotten'
     WHERE id = r.id;
  END IF;
  left_over := 0;
  SELECT json_build_object('v', 1, 'vault', s.vault_id, 'request', r.id, 'user', r.by_user,
                           'until', (r.closed_at AT TIME ZONE 'UTC')::date,
                           'rows', r.rows, 'at', cloakroom.audit_time(r.closed_at))::text
    INTO certificate FROM cloakroom.settings s;
  code := cloakroom.certificate_code(certificate);
  IF r.state <> 'closed' THEN
    PERFORM cloakroom.append_leaf('forget', p_request => r.id, p_purpose => r.purpose, p_ticket => r.ticket,
      p_query_commit => r.query_commit,
      p_fields => r.fields, p_row_set_hash => sha256(convert_to(certificate, 'UTF8')), p_rows => r.rows,
        p_result => 'forgotten');
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.finish_forget(uuid) IS
  'counts what is left of the person; if nothing, logs it and returns the certificate, whose SHA-256 is the leaf''s '
  'row_set_hash';
GRANT EXECUTE ON FUNCTION cloakroom.finish_forget(uuid) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.replay_forget(p_certificate text, p_code text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint := 0;
  c json;
  of_month date;
BEGIN
  PERFORM cloakroom.require_read_committed();
  IF p_code IS DISTINCT FROM cloakroom.certificate_code(p_certificate) THEN
    RAISE EXCEPTION 'the certificate is not one that this vault gave'
      USING ERRCODE = 'CR013', HINT = 'It was altered, or belongs to another vault.';
  END IF;
  c := p_certificate::json;
  FOR of_month IN SELECT month FROM cloakroom.months() LOOP
    n := n + cloakroom.clear_person(c ->> 'user', of_month, (c ->> 'until')::date);
  END LOOP;
  n := n + cloakroom.clear_persons_rejections(c ->> 'user', (c ->> 'until')::date);
  IF n > 0 THEN
    PERFORM cloakroom.append_leaf('forget', p_request => (c ->> 'request')::uuid, p_purpose => 'forget',
      p_row_set_hash => sha256(convert_to(p_certificate, 'UTF8')), p_rows => n, p_result => 'replayed');
  END IF;
  RETURN n;
END $$;
COMMENT ON FUNCTION cloakroom.replay_forget(text, text) IS
  'forgets a person again, as a certificate of this vault says, after a backup was restored; returns rows cleared';
GRANT EXECUTE ON FUNCTION cloakroom.replay_forget(text, text) TO cloakroom_rotator;
