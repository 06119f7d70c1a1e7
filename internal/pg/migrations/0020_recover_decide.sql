-- Recover: what approvers see and do. Run as cloakroom_owner.
-- +goose Up

-- +goose StatementBegin
CREATE FUNCTION cloakroom.may_see(r cloakroom.requests) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.asker = session_user OR pg_has_role(session_user, 'cloakroom_approver', 'MEMBER')
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.expire_requests() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  expired uuid[];
BEGIN
  PERFORM cloakroom.require_read_committed();
  WITH due AS (
    SELECT id FROM cloakroom.requests
     WHERE state IN ('requested', 'approved', 'intent', 'confirmed') AND expires_at <= cloakroom.vault_time() FOR UPDATE SKIP LOCKED),
  done AS (
    UPDATE cloakroom.requests r SET state = 'expired' FROM due WHERE r.id = due.id RETURNING r.id)
  SELECT array_agg(id) INTO expired FROM done;
  PERFORM cloakroom.append_leaf('expire', p_request => id) FROM unnest(expired) AS id;
  RETURN coalesce(cardinality(expired), 0);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.expire_requests() IS 'marks requests whose time is over; one that is not marked is refused all the same';
GRANT EXECUTE ON FUNCTION cloakroom.expire_requests() TO cloakroom_auditor, cloakroom_approver, cloakroom_breakglass, cloakroom_rotator;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.expire_token_requests() RETURNS integer
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
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.expire_token_requests() IS
  'for a reindex that drops a version''s columns: requests that name tokens would select nothing; the last statement of its transaction';

-- +goose StatementBegin
CREATE FUNCTION cloakroom.request_list(p_pending boolean, p_mine boolean)
RETURNS TABLE (id uuid, state text, asker name, breakglass boolean, reviewed_by name, purpose text, ticket text, fields text[],
               row_limit integer, created_at timestamptz, expires_at timestamptz, approvals bigint, rows bigint, result text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.id, r.state, r.asker, r.breakglass, r.reviewed_by, r.purpose, r.ticket, r.fields, r.row_limit, r.created_at, r.expires_at,
         (SELECT count(*) FROM cloakroom.approvals a WHERE a.request = r.id AND a.approved), r.rows, r.result
    FROM cloakroom.requests r
   WHERE cloakroom.may_see(r) AND (NOT p_mine OR r.asker = session_user)
     AND (NOT p_pending OR r.state = 'requested' AND r.expires_at > cloakroom.vault_time() OR r.breakglass AND r.reviewed_by IS NULL)
   ORDER BY r.created_at, r.id
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.request_list(boolean, boolean) IS 'approvers see every request, others their own; pending: waits for a decision or a review';
GRANT EXECUTE ON FUNCTION cloakroom.request_list(boolean, boolean) TO cloakroom_auditor, cloakroom_approver, cloakroom_breakglass;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.show_request(p_request uuid)
RETURNS TABLE (id uuid, state text, asker name, breakglass boolean, reviewed_by name, purpose text, ticket text, reason text,
               reason_salt bytea, reason_commit bytea, query_salt bytea, query_commit bytea, selector text,
               by_user text, by_message uuid, by_field text, by_tokens text[], by_rejection text, from_date date, to_date date,
               fields text[], row_limit integer, created_at timestamptz, expires_at timestamptz, digest bytea,
               approvals_needed smallint, approved_by name[], denied_by name[], selected bigint,
               rows bigint, intent_leaf bigint, result text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.id, r.state, r.asker, r.breakglass, r.reviewed_by, r.purpose, r.ticket, r.reason,
         r.reason_salt, r.reason_commit, r.query_salt, r.query_commit, cloakroom.request_selector(r),
         r.by_user, r.by_message, r.by_field, r.by_tokens, r.by_rejection, r.from_date, r.to_date,
         r.fields, r.row_limit, r.created_at, r.expires_at, cloakroom.request_digest(r),
         CASE WHEN r.breakglass THEN 0::smallint WHEN r.purpose = 'forget' THEN 2::smallint ELSE (SELECT s.approvals FROM cloakroom.settings s) END,
         ARRAY(SELECT a.approver FROM cloakroom.approvals a WHERE a.request = r.id AND a.approved ORDER BY a.at),
         ARRAY(SELECT a.approver FROM cloakroom.approvals a WHERE a.request = r.id AND NOT a.approved ORDER BY a.at),
         -- Not for the asker: whether a value occurs is itself something to be approved.
         CASE WHEN r.asker <> session_user AND r.state IN ('requested', 'approved') THEN cloakroom.count_selected(r) END,
         r.rows, r.intent_leaf, r.result
    FROM cloakroom.requests r WHERE r.id = p_request AND cloakroom.may_see(r)
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.show_request(uuid) IS 'all that an approver needs to decide';
GRANT EXECUTE ON FUNCTION cloakroom.show_request(uuid) TO cloakroom_auditor, cloakroom_approver, cloakroom_breakglass;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.lock_request(p_request uuid) RETURNS cloakroom.requests
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
BEGIN
  PERFORM cloakroom.require_read_committed();
  SELECT * INTO r FROM cloakroom.requests WHERE id = p_request FOR UPDATE;
  -- Whether the id exists is nobody else's business.
  IF NOT FOUND OR NOT cloakroom.may_see(r) THEN
    RAISE EXCEPTION 'there is no such request' USING ERRCODE = 'CR012', HINT = 'recover list shows those there are.';
  END IF;
  RETURN r;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.lock_undecided(p_request uuid) RETURNS cloakroom.requests
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_request(p_request);
BEGIN
  IF r.asker = session_user THEN
    RAISE EXCEPTION 'nobody decides on a request of their own' USING ERRCODE = 'CR010', HINT = 'Ask another approver.';
  ELSIF r.state <> 'requested' THEN
    RAISE EXCEPTION 'the request is %: there is nothing to decide', r.state USING ERRCODE = 'CR010';
  ELSIF r.expires_at <= cloakroom.vault_time() THEN
    RAISE EXCEPTION 'the request has expired' USING ERRCODE = 'CR010', HINT = 'It must be made again.';
  END IF;
  RETURN r;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.approve(p_request uuid, p_digest bytea, p_source_identity text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_undecided(p_request);
  needed integer;
BEGIN
  PERFORM cloakroom.require_durable_commit();
  IF p_digest IS DISTINCT FROM cloakroom.request_digest(r) THEN
    RAISE EXCEPTION 'this is not the request that was shown' USING ERRCODE = 'CR010', HINT = 'Look at it again: recover show.';
  END IF;
  INSERT INTO cloakroom.approvals (request, approved, digest, at) VALUES (r.id, true, p_digest, cloakroom.vault_time())
    ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'you have approved this request already' USING ERRCODE = 'CR010', HINT = 'It needs another person.';
  END IF;
  SELECT CASE WHEN r.purpose = 'forget' THEN 2 ELSE approvals END INTO STRICT needed FROM cloakroom.settings;
  IF (SELECT count(*) FROM cloakroom.approvals WHERE request = r.id AND approved) >= needed THEN
    r.state := 'approved';
    UPDATE cloakroom.requests SET state = r.state WHERE id = r.id;
  END IF;
  PERFORM cloakroom.append_leaf('approve', p_request => r.id, p_source_identity => p_source_identity, p_purpose => r.purpose,
    p_ticket => r.ticket, p_reason_commit => r.reason_commit, p_query_commit => r.query_commit, p_fields => r.fields,
    p_rows => r.row_limit::bigint);
  RETURN r.state;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.approve(uuid, bytea, text) IS 'approves the request whose digest was shown; returns its state: a policy of two approvals leaves it requested after the first';
GRANT EXECUTE ON FUNCTION cloakroom.approve(uuid, bytea, text) TO cloakroom_approver;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.deny(p_request uuid, p_comment text, p_source_identity text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_request(p_request);
BEGIN
  PERFORM cloakroom.require_durable_commit();
  -- Also one that is approved or announced: until rows are handed out, a second approver may stop it.
  IF r.asker = session_user THEN
    RAISE EXCEPTION 'nobody decides on a request of their own' USING ERRCODE = 'CR010', HINT = 'Ask another approver.';
  ELSIF r.state NOT IN ('requested', 'approved', 'intent', 'confirmed') THEN
    RAISE EXCEPTION 'the request is %: there is nothing to decide', r.state USING ERRCODE = 'CR010';
  END IF;
  INSERT INTO cloakroom.approvals (request, approved, digest, comment, at)
    VALUES (r.id, false, cloakroom.request_digest(r), p_comment, cloakroom.vault_time())
    ON CONFLICT (request, approver) DO UPDATE SET approved = false, comment = excluded.comment, at = excluded.at;
  UPDATE cloakroom.requests SET state = 'denied' WHERE id = r.id;
  PERFORM cloakroom.append_leaf('deny', p_request => r.id, p_source_identity => p_source_identity, p_purpose => r.purpose,
    p_ticket => r.ticket, p_reason_commit => r.reason_commit, p_query_commit => r.query_commit, p_fields => r.fields);
END $$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION cloakroom.deny(uuid, text, text) TO cloakroom_approver;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.review(p_request uuid, p_source_identity text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_request(p_request);
BEGIN
  PERFORM cloakroom.require_durable_commit();
  IF r.asker = session_user THEN
    RAISE EXCEPTION 'nobody reviews a request of their own' USING ERRCODE = 'CR010', HINT = 'Ask another approver.';
  ELSIF NOT r.breakglass OR r.reviewed_by IS NOT NULL THEN
    RAISE EXCEPTION 'the request needs no review' USING ERRCODE = 'CR012';
  END IF;
  UPDATE cloakroom.requests SET reviewed_by = session_user WHERE id = r.id;
  PERFORM cloakroom.append_leaf('review', p_request => r.id, p_source_identity => p_source_identity, p_purpose => r.purpose, p_ticket => r.ticket);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.review(uuid, text) IS 'takes the flag off a break-glass request: somebody else has looked at it';
GRANT EXECUTE ON FUNCTION cloakroom.review(uuid, text) TO cloakroom_approver;
