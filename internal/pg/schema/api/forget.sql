-- Forget: one person's sealed values and tokens, in rows and rejections. Two people other than the requester must
-- approve, whatever the policy says of opening. A certificate, kept outside, lets it be done again after a backup was
-- restored.

CREATE OR REPLACE FUNCTION cloakroom.request_forget(p_subject text, p_ticket text, p_reason text) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
BEGIN
  PERFORM cloakroom.require_read_committed();
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.count_act('request');
  PERFORM cloakroom.require_requester_group();
  IF coalesce(p_subject, '') = '' OR coalesce(p_ticket, '') = '' OR coalesce(p_reason, '') = '' THEN
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
  r.fields := ARRAY(SELECT DISTINCT member FROM cloakroom.dataset_columns WHERE kind = 'sealed' ORDER BY 1)
    || ARRAY['body'];
  r.by_subject := p_subject;
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

CREATE OR REPLACE FUNCTION cloakroom.count_person(p_subject text, OUT rows bigint, OUT rejections bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d cloakroom.datasets;
  n bigint;
BEGIN
  rows := 0;
  rejections := 0;
  FOR d IN SELECT * FROM cloakroom.datasets WHERE subject IS NOT NULL LOOP
    EXECUTE format('SELECT count(*) FROM %s u WHERE %s AND %s', cloakroom.row_table(d.name),
      cloakroom.subject_condition(d.name, p_subject), cloakroom.erasable(d.name)) INTO STRICT n;
    rows := rows + n;
    SELECT count(*) INTO n FROM cloakroom.rejections j
     WHERE j.dataset = d.name AND j.subject = cloakroom.canonical_subject(d.name, p_subject)
       AND j.data_key IS NOT NULL;
    rejections := rejections + n;
  END LOOP;
END $$;
COMMENT ON FUNCTION cloakroom.count_person(text) IS 'what is sealed of a person, in every dataset';

CREATE OR REPLACE FUNCTION cloakroom.forget_plan(
  p_request uuid, OUT state text, OUT approvals bigint, OUT rows bigint, OUT rejections bigint)
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
  SELECT count(*) INTO approvals FROM cloakroom.counted_approvals(r);
  SELECT c.rows, c.rejections INTO rows, rejections FROM cloakroom.count_person(r.by_subject) AS c;
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
  ELSIF cloakroom.approvals_missing(r) IS NOT NULL THEN
    RAISE EXCEPTION 'the request has too few approvals: %', cloakroom.approvals_missing(r)
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

CREATE OR REPLACE FUNCTION cloakroom.clear_person(
  p_subject text, p_dataset text, p_part date, p_until date) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d cloakroom.datasets := cloakroom.dataset_of(p_dataset);
  part regclass := cloakroom.partition_from(d.name, p_part);
  n bigint;
BEGIN
  IF d.subject IS NULL OR part IS NULL THEN
    RETURN 0;
  END IF;
  EXECUTE format('UPDATE %s u SET %s WHERE %s AND u.create_date <= $1 AND %s', part,
    cloakroom.erasure(d.name), cloakroom.subject_condition(d.name, p_subject), cloakroom.erasable(d.name))
    USING p_until;
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;
COMMENT ON FUNCTION cloakroom.clear_person(text, text, date, date) IS
  'clears sealed values and tokens of a person''s rows of a partition, up to a date; returns how many';

CREATE OR REPLACE FUNCTION cloakroom.clear_persons_rejections(p_subject text, p_until date) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d text;
  cleared bigint;
  n bigint := 0;
BEGIN
  FOR d IN SELECT name FROM cloakroom.datasets WHERE subject IS NOT NULL LOOP
    UPDATE cloakroom.rejections j SET sealed_body = NULL, data_key = NULL
     WHERE j.dataset = d AND j.subject = cloakroom.canonical_subject(d, p_subject)
       AND coalesce(j.create_date, (j.rejected_at AT TIME ZONE 'UTC')::date) <= p_until AND j.data_key IS NOT NULL;
    GET DIAGNOSTICS cleared = ROW_COUNT;
    n := n + cleared;
  END LOOP;
  RETURN n;
END $$;
COMMENT ON FUNCTION cloakroom.clear_persons_rejections(text, date) IS
  'clears the bodies of a person''s rejections, up to a date; returns how many';

CREATE OR REPLACE FUNCTION cloakroom.forget_part(p_request uuid, p_dataset text, p_part date) RETURNS bigint
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
  n := CASE WHEN p_dataset IS NULL THEN cloakroom.clear_persons_rejections(r.by_subject, 'infinity')
            ELSE cloakroom.clear_person(r.by_subject, p_dataset, p_part, 'infinity') END;
  UPDATE cloakroom.requests SET rows = rows + n WHERE id = r.id;
  RETURN n;
END $$;
COMMENT ON FUNCTION cloakroom.forget_part(uuid, text, date) IS
  'clears the person''s rows of a partition; without a dataset: the rejections';
GRANT EXECUTE ON FUNCTION cloakroom.forget_part(uuid, text, date) TO cloakroom_rotator;

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
    SELECT p.rows + p.rejections INTO left_over FROM cloakroom.forget_plan(p_request) AS p;
    IF left_over > 0 THEN
      RETURN;
    END IF;
    r.closed_at := cloakroom.vault_time();
    UPDATE cloakroom.requests
       SET state = 'closed', closed_at = r.closed_at, confirmed_lsn = pg_current_wal_insert_lsn(), result = 'forgotten'
     WHERE id = r.id;
  END IF;
  left_over := 0;
  SELECT json_build_object('v', 1, 'vault', s.vault_id, 'request', r.id, 'subject', r.by_subject,
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
  part record;
BEGIN
  PERFORM cloakroom.require_read_committed();
  IF p_code IS DISTINCT FROM cloakroom.certificate_code(p_certificate) THEN
    RAISE EXCEPTION 'the certificate is not one that this vault gave'
      USING ERRCODE = 'CR013', HINT = 'It was altered, or belongs to another vault.';
  END IF;
  c := p_certificate::json;
  FOR part IN SELECT * FROM cloakroom.partition_list() LOOP
    n := n + cloakroom.clear_person(c ->> 'subject', part.dataset, part.from_date, (c ->> 'until')::date);
  END LOOP;
  n := n + cloakroom.clear_persons_rejections(c ->> 'subject', (c ->> 'until')::date);
  IF n > 0 THEN
    PERFORM cloakroom.append_leaf('forget', p_request => (c ->> 'request')::uuid, p_purpose => 'forget',
      p_row_set_hash => sha256(convert_to(p_certificate, 'UTF8')), p_rows => n, p_result => 'replayed');
  END IF;
  RETURN n;
END $$;
COMMENT ON FUNCTION cloakroom.replay_forget(text, text) IS
  'forgets a person again, as a certificate of this vault says, after a backup was restored; returns rows cleared';
GRANT EXECUTE ON FUNCTION cloakroom.replay_forget(text, text) TO cloakroom_rotator;
