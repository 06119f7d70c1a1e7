-- Decisions on requests: approve, deny, review. Nobody decides on a request of their own.

CREATE OR REPLACE FUNCTION cloakroom.lock_undecided(p_request uuid) RETURNS cloakroom.requests
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
BEGIN
  PERFORM cloakroom.require_apart('approver');
  r := cloakroom.lock_request(p_request);
  IF r.requester = session_user THEN
    RAISE EXCEPTION 'nobody decides on a request of their own' USING ERRCODE = 'CR010', HINT = 'Ask another approver.';
  ELSIF r.state <> 'requested' THEN
    RAISE EXCEPTION 'the request is %: there is nothing to decide', r.state USING ERRCODE = 'CR010';
  ELSIF r.expires_at <= cloakroom.vault_time() THEN
    RAISE EXCEPTION 'the request has expired' USING ERRCODE = 'CR010', HINT = 'It must be made again.';
  END IF;
  RETURN r;
END $$;
COMMENT ON FUNCTION cloakroom.lock_undecided(uuid) IS
  'locks a request that waits for a decision by somebody other than its requester';

CREATE OR REPLACE FUNCTION cloakroom.approve(p_request uuid, p_digest bytea, p_source_identity text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_undecided(p_request);
  objection text := cloakroom.approval_objection(r.requester, session_user);
BEGIN
  PERFORM cloakroom.require_durable_commit();
  IF p_digest IS DISTINCT FROM cloakroom.request_digest(r) THEN
    RAISE EXCEPTION 'this is not the request that was shown'
      USING ERRCODE = 'CR010', HINT = 'Look at it again: recover show.';
  ELSIF objection IS NOT NULL THEN
    RAISE EXCEPTION '%', objection USING ERRCODE = 'CR010', HINT = 'Ask another approver; keys grants lists groups.';
  END IF;
  -- Whose group has changed since may approve once more.
  INSERT INTO cloakroom.approvals AS a (request, approved, digest, at, approver_group)
    VALUES (r.id, true, p_digest, cloakroom.vault_time(), cloakroom.group_of(session_user))
    ON CONFLICT (request, approver) DO UPDATE SET at = excluded.at, approver_group = excluded.approver_group
      WHERE a.approver_group IS DISTINCT FROM excluded.approver_group;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'you have approved this request already' USING ERRCODE = 'CR010', HINT = 'It needs another person.';
  END IF;
  IF cloakroom.approvals_missing(r) IS NULL THEN
    r.state := 'approved';
    UPDATE cloakroom.requests SET state = r.state WHERE id = r.id;
  END IF;
  PERFORM cloakroom.append_leaf('approve', p_request => r.id, p_source_identity => p_source_identity,
    p_purpose => r.purpose,
    p_ticket => r.ticket, p_reason_commit => r.reason_commit, p_query_commit => r.query_commit,
    p_dataset => r.dataset, p_fields => r.fields,
    p_rows => r.row_limit::bigint, p_result => 'of group ' || cloakroom.group_of(session_user));
  RETURN r.state;
END $$;
COMMENT ON FUNCTION cloakroom.approve(uuid, bytea, text) IS
  'approves the request whose digest was shown; returns its state: a policy of two approvals leaves it requested '
  'after the first';
GRANT EXECUTE ON FUNCTION cloakroom.approve(uuid, bytea, text) TO cloakroom_approver;

CREATE OR REPLACE FUNCTION cloakroom.deny(p_request uuid, p_comment text, p_source_identity text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
BEGIN
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.require_apart('approver');
  r := cloakroom.lock_request(p_request);
  -- An approved or announced request can be denied too: until rows are handed out, another approver may stop it.
  IF r.requester = session_user THEN
    RAISE EXCEPTION 'nobody decides on a request of their own' USING ERRCODE = 'CR010', HINT = 'Ask another approver.';
  ELSIF r.state NOT IN ('requested', 'approved', 'intent', 'confirmed') THEN
    RAISE EXCEPTION 'the request is %: there is nothing to decide', r.state USING ERRCODE = 'CR010';
  END IF;
  INSERT INTO cloakroom.approvals (request, approved, digest, comment, at)
    VALUES (r.id, false, cloakroom.request_digest(r), p_comment, cloakroom.vault_time())
    ON CONFLICT (request, approver) DO UPDATE SET approved = false, comment = excluded.comment, at = excluded.at;
  UPDATE cloakroom.requests SET state = 'denied' WHERE id = r.id;
  PERFORM cloakroom.append_leaf('deny', p_request => r.id, p_source_identity => p_source_identity,
    p_purpose => r.purpose,
    p_ticket => r.ticket, p_reason_commit => r.reason_commit, p_query_commit => r.query_commit,
    p_dataset => r.dataset, p_fields => r.fields);
END $$;
COMMENT ON FUNCTION cloakroom.deny(uuid, text, text) IS
  'denies a request, or stops one that is approved and not yet handed out';
GRANT EXECUTE ON FUNCTION cloakroom.deny(uuid, text, text) TO cloakroom_approver;

CREATE OR REPLACE FUNCTION cloakroom.review(p_request uuid, p_source_identity text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
BEGIN
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.require_apart('approver');
  r := cloakroom.lock_request(p_request);
  IF r.requester = session_user THEN
    RAISE EXCEPTION 'nobody reviews a request of their own' USING ERRCODE = 'CR010', HINT = 'Ask another approver.';
  ELSIF NOT r.breakglass OR r.reviewed_by IS NOT NULL THEN
    RAISE EXCEPTION 'the request needs no review' USING ERRCODE = 'CR012';
  END IF;
  UPDATE cloakroom.requests SET reviewed_by = session_user WHERE id = r.id;
  PERFORM cloakroom.append_leaf('review', p_request => r.id, p_source_identity => p_source_identity,
    p_purpose => r.purpose, p_ticket => r.ticket, p_dataset => r.dataset);
END $$;
COMMENT ON FUNCTION cloakroom.review(uuid, text) IS
  'takes the flag off a break-glass request: somebody else has looked at it';
GRANT EXECUTE ON FUNCTION cloakroom.review(uuid, text) TO cloakroom_approver;
