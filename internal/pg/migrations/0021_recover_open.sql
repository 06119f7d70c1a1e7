-- Recover: opening, in three transactions, so that nothing leaves the database unless its intent is in the log for
-- good: begin_opening writes the intent and freezes the rows; confirm_opening sees that it is committed and notes a
-- place in the WAL after it; hand_out sees that place flushed. Run as cloakroom_owner.
-- +goose Up

-- +goose StatementBegin
CREATE FUNCTION cloakroom.lock_own_request(p_request uuid) RETURNS cloakroom.requests
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_request(p_request);
BEGIN
  IF r.asker <> session_user THEN
    RAISE EXCEPTION 'only who made a request opens it' USING ERRCODE = 'CR010';
  END IF;
  -- The group may have been revoked since; EXECUTE is granted to both groups.
  PERFORM cloakroom.require_role(CASE WHEN r.breakglass THEN 'breakglass' ELSE 'auditor' END);
  RETURN r;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.require_approved(r cloakroom.requests) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  needed integer;
  now_digest bytea := cloakroom.request_digest(r);
BEGIN
  IF r.purpose = 'forget' THEN
    RAISE EXCEPTION 'this request forgets, it opens nothing' USING ERRCODE = 'CR010', HINT = 'keys forget --request ID does what it asks for.';
  END IF;
  IF r.state IN ('opened', 'closed', 'failed') THEN
    RAISE EXCEPTION 'the request has been opened already' USING ERRCODE = 'CR010', HINT = 'An approval serves once: make a new request.';
  ELSIF r.state NOT IN ('approved', 'intent', 'confirmed') THEN
    RAISE EXCEPTION 'the request is %, not approved', r.state USING ERRCODE = 'CR010';
  ELSIF r.expires_at <= cloakroom.vault_time() THEN
    RAISE EXCEPTION 'the request has expired' USING ERRCODE = 'CR010', HINT = 'Make a new one.';
  END IF;
  -- The policy of now and the request as it stands, not the word in its state column.
  SELECT CASE WHEN r.breakglass THEN 0 ELSE approvals END INTO STRICT needed FROM cloakroom.settings;
  IF EXISTS (SELECT FROM cloakroom.approvals a WHERE a.request = r.id AND a.digest <> now_digest)
     OR r.reason_commit <> cloakroom.commitment(r.reason_salt, r.reason)
     OR r.query_commit <> cloakroom.commitment(r.query_salt, cloakroom.request_selector(r)) THEN
    RAISE EXCEPTION 'the request is not what was approved: it was altered' USING ERRCODE = 'CR010', HINT = 'Tell whoever guards the audit log.';
  ELSIF (SELECT count(*) FROM cloakroom.approvals a WHERE a.request = r.id AND a.approved AND a.approver <> r.asker) < needed THEN
    RAISE EXCEPTION 'the request has fewer approvals than the policy wants' USING ERRCODE = 'CR010', HINT = format('The policy wants %s.', needed);
  END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.spend_quota(p_rows bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  spent bigint;
  quota integer;
BEGIN
  SELECT daily_quota INTO STRICT quota FROM cloakroom.settings;
  -- The row's lock lasts to the end of the transaction: racing openers come one after the other.
  INSERT INTO cloakroom.quotas AS q (person, day, rows)
    VALUES (session_user, (cloakroom.vault_time() AT TIME ZONE 'UTC')::date, p_rows)
    ON CONFLICT (person, day) DO UPDATE SET rows = q.rows + excluded.rows
    RETURNING rows INTO STRICT spent;
  IF spent > quota THEN
    RAISE EXCEPTION 'this would be % rows today, more than your quota of %', spent, quota USING ERRCODE = 'CR010',
      HINT = 'Go on tomorrow (UTC), or have the policy changed.';
  END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.next_leaf() RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  LOCK TABLE cloakroom.audit_leaves IN SHARE ROW EXCLUSIVE MODE;
  RETURN (SELECT coalesce(max(seq) + 1, 0) FROM cloakroom.audit_leaves);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.next_leaf() IS 'takes the audit log''s lock, so that the number of the leaf this transaction appends is known before';

-- +goose StatementBegin
CREATE FUNCTION cloakroom.begin_opening(p_request uuid, p_source_identity text DEFAULT NULL, OUT rows bigint, OUT leaf bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_own_request(p_request);
  logins bytea;
  rejected bytea;
  keys integer[];
  more_keys integer[];
BEGIN
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.require_approved(r);
  IF r.state IN ('intent', 'confirmed') THEN
    -- An opening that was cut short before anything was handed out goes on, under the intent that is logged.
    rows := r.rows;
    leaf := r.intent_leaf;
    RETURN;
  END IF;
  -- Row set: 0x01, id (16 bytes), days since 2000-01-01 (4 bytes) for a login; 0x02, id for a rejection; in order.
  EXECUTE format($q$
    SELECT coalesce(array_agg(message_id), '{}'), coalesce(array_agg(create_date), '{}'), array_agg(DISTINCT data_key),
           string_agg('\x01'::bytea || uuid_send(message_id) || date_send(create_date), '')
      FROM (SELECT message_id, create_date, data_key FROM cloakroom.user_logins WHERE %s
             ORDER BY create_date, message_id LIMIT %s) AS l$q$, cloakroom.login_condition(r), r.row_limit + 1)
    INTO STRICT r.login_ids, r.login_dates, keys, logins;
  EXECUTE format($q$
    SELECT coalesce(array_agg(message_id), '{}'), array_agg(DISTINCT data_key),
           string_agg('\x02'::bytea || uuid_send(message_id), '')
      FROM (SELECT message_id, data_key FROM cloakroom.rejections WHERE %s ORDER BY message_id LIMIT %s) AS j$q$,
    cloakroom.rejection_condition(r), r.row_limit + 1)
    INTO STRICT r.rejection_ids, more_keys, rejected;
  rows := cardinality(r.login_ids) + cardinality(r.rejection_ids);
  IF rows > r.row_limit THEN
    RAISE EXCEPTION 'the request selects more than its limit of % rows', r.row_limit USING ERRCODE = 'CR010',
      HINT = 'Ask again for fewer (--from, --to) or with a higher --limit.';
  END IF;
  PERFORM cloakroom.spend_quota(rows);
  keys := ARRAY(SELECT DISTINCT k FROM unnest(keys || more_keys) AS k WHERE k IS NOT NULL ORDER BY k);
  UPDATE cloakroom.requests q
     SET state = 'intent', intent_xid = pg_current_xact_id(), intent_at = clock_timestamp(), rows = begin_opening.rows,
         -- The append's lock is taken now, so the leaf's number is known.
         intent_leaf = cloakroom.next_leaf(), login_ids = r.login_ids, login_dates = r.login_dates, rejection_ids = r.rejection_ids
   WHERE q.id = r.id;
  leaf := cloakroom.append_leaf('intent', p_request => r.id, p_source_identity => p_source_identity, p_purpose => r.purpose,
    p_ticket => r.ticket, p_reason_commit => r.reason_commit, p_query_commit => r.query_commit, p_fields => r.fields,
    p_row_set_hash => sha256(coalesce(logins, '') || coalesce(rejected, '')), p_rows => rows, p_data_keys => keys);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.begin_opening(uuid, text) IS 'T1: writes the intent leaf and freezes the rows; hands out nothing';
GRANT EXECUTE ON FUNCTION cloakroom.begin_opening(uuid, text) TO cloakroom_auditor, cloakroom_breakglass;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.confirm_opening(p_request uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_own_request(p_request);
BEGIN
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.require_approved(r);
  IF r.state NOT IN ('intent', 'confirmed') THEN
    RAISE EXCEPTION 'there is no intent in the audit log' USING ERRCODE = 'CR011', HINT = 'Begin the opening first.';
  END IF;
  -- This transaction sees its own intent, committed or not, and could still roll it back.
  IF r.intent_xid = pg_current_xact_id() OR pg_xact_status(r.intent_xid) IS DISTINCT FROM 'committed' THEN
    RAISE EXCEPTION 'the intent is not committed' USING ERRCODE = 'CR011', HINT = 'Commit it, then confirm in another transaction.';
  END IF;
  UPDATE cloakroom.requests SET state = 'confirmed', confirmed_lsn = pg_current_wal_insert_lsn() WHERE id = r.id;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.confirm_opening(uuid) IS 'T2: sees that the intent is committed, and notes a place in the WAL after its commit';
GRANT EXECUTE ON FUNCTION cloakroom.confirm_opening(uuid) TO cloakroom_auditor, cloakroom_breakglass;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.require_logged(r cloakroom.requests) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF r.state <> 'confirmed' OR r.intent_xid = pg_current_xact_id()
     OR pg_xact_status(r.intent_xid) IS DISTINCT FROM 'committed' THEN
    RAISE EXCEPTION 'the intent is not confirmed' USING ERRCODE = 'CR011', HINT = 'Confirm the opening first.';
  END IF;
  -- Not compared with a place noted by T1: that lies before its commit record.
  IF pg_current_wal_flush_lsn() < r.confirmed_lsn THEN
    RAISE EXCEPTION 'the intent is not on disk yet' USING ERRCODE = 'CR014', HINT = 'Try again in a moment; synchronous_commit=off delays it.';
  END IF;
  IF NOT EXISTS (SELECT FROM cloakroom.audit_leaves l
                  WHERE l.seq = r.intent_leaf AND convert_from(l.leaf, 'UTF8')::json ->> 'request' = r.id::text) THEN
    RAISE EXCEPTION 'the intent''s leaf is not in the audit log' USING ERRCODE = 'CR011', HINT = 'Run recover log verify.';
  END IF;
  IF (SELECT checkpoint_before_open FROM cloakroom.settings)
     AND NOT EXISTS (SELECT FROM cloakroom.checkpoints c WHERE c.size > r.intent_leaf) THEN
    RAISE EXCEPTION 'no checkpoint covers the intent yet' USING ERRCODE = 'CR014',
      HINT = 'The policy wants one first: see that recover log checkpoint runs and reaches its sink.';
  END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.payload(p_columns text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  -- SQL for: each value's length in 4 bytes, big endian, and its bytes; ffffffff for NULL. Unlike an array of bytea it
  -- costs neither side any quoting.
  SELECT coalesce(string_agg(format('coalesce(int4send(octet_length(%1$s)) || %1$s, ''\xffffffff''::bytea)', c), ' || ' ORDER BY n), '''''::bytea')
    FROM unnest(p_columns) WITH ORDINALITY AS cs(c, n)
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.hand_out(p_request uuid)
RETURNS TABLE (kind text, id uuid, create_date date, subject text, data_key integer, payload bytea,
               kek text, kek_id text, wrapped bytea, key_check bytea)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET max_parallel_workers_per_gather = 0 AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_own_request(p_request);
  clear_columns text[];
  sealed_columns text[];
  token_columns text[];
BEGIN
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.require_approved(r);
  PERFORM cloakroom.require_logged(r);
  UPDATE cloakroom.requests q SET state = 'opened' WHERE q.id = r.id;
  -- Only what was asked for, in the order asked; tokens version by version.
  SELECT array_agg(format('convert_to(u.%I::text, ''UTF8'')', f) ORDER BY n) FILTER (WHERE f IN (SELECT cloakroom.clear_fields())),
         array_agg(format('u.%I', 'sealed_' || f) ORDER BY n) FILTER (WHERE f IN (SELECT cloakroom.protected_fields()))
    INTO clear_columns, sealed_columns FROM unnest(r.fields) WITH ORDINALITY AS fs(f, n);
  SELECT array_agg(format('convert_to(u.%I, ''UTF8'')', 'masked_' || f || '_v' || k.version) ORDER BY k.version, n) INTO token_columns
    FROM unnest(r.fields) WITH ORDINALITY AS fs(f, n), cloakroom.index_keys k
   WHERE k.state = 'live' AND f IN (SELECT cloakroom.protected_fields());
  -- One statement, one snapshot: a reseal between rows and keys would leave a row without its key. The keys come first.
  RETURN QUERY EXECUTE format($q$
    WITH opened AS MATERIALIZED (
      SELECT 'login'::text, u.message_id, u.create_date, u.user_id::text, u.data_key AS key, %s
        FROM unnest($1, $2) AS f(message_id, create_date) JOIN cloakroom.user_logins u USING (message_id, create_date)
      UNION ALL
      SELECT 'rejection', j.message_id, j.create_date, j.user_id::text, j.data_key, %s
        FROM unnest($3) AS f(message_id) JOIN cloakroom.rejections j USING (message_id))
    SELECT 'version'::text, NULL::uuid, NULL::date, NULL::text, k.version, NULL::bytea, NULL::text, NULL::text, NULL::bytea, NULL::bytea
      FROM (SELECT v.version FROM cloakroom.index_keys v WHERE v.state = 'live' ORDER BY v.version) AS k
    UNION ALL
    SELECT 'key', NULL, NULL, NULL, k.id, NULL, k.kek, k.kek_id, k.wrapped, k.key_check
      FROM cloakroom.data_keys k WHERE k.id IN (SELECT o.key FROM opened o)
    UNION ALL
    SELECT o.*, NULL, NULL, NULL, NULL FROM opened o$q$,
    cloakroom.payload(clear_columns || sealed_columns || token_columns),
    cloakroom.payload(ARRAY['convert_to(j.reason, ''UTF8'')', 'j.sealed_body']))
    USING r.login_ids, r.login_dates, r.rejection_ids;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.hand_out(uuid) IS
  'T3: versions of the index key, wrapped data keys, then the frozen rows; a payload holds the clear fields asked for, the sealed ones, and their tokens version by version';
GRANT EXECUTE ON FUNCTION cloakroom.hand_out(uuid) TO cloakroom_auditor, cloakroom_breakglass;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.close_opening(p_request uuid, p_rows bigint, p_result text, p_source_identity text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_own_request(p_request);
BEGIN
  PERFORM cloakroom.require_durable_commit();
  IF r.state <> 'opened' THEN
    RAISE EXCEPTION 'the request is %, not open', r.state USING ERRCODE = 'CR010';
  ELSIF p_result IS NULL OR p_result !~ '^[a-z0-9 _:,.-]{1,100}$' THEN
    RAISE EXCEPTION 'a result is a few plain words' USING ERRCODE = 'CR012';
  END IF;
  UPDATE cloakroom.requests
     SET state = CASE WHEN p_result LIKE 'ok%' THEN 'closed' ELSE 'failed' END, result = p_result, closed_at = clock_timestamp(),
         login_ids = NULL, login_dates = NULL, rejection_ids = NULL
   WHERE id = r.id;
  RETURN cloakroom.append_leaf(CASE WHEN p_result LIKE 'ok%' THEN 'opened' ELSE 'failed' END, p_request => r.id,
    p_source_identity => p_source_identity, p_purpose => r.purpose, p_ticket => r.ticket, p_fields => r.fields,
    p_rows => p_rows, p_result => p_result);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.close_opening(uuid, bigint, text, text) IS 'writes the outcome, before the client shows anything; returns the leaf''s number';
GRANT EXECUTE ON FUNCTION cloakroom.close_opening(uuid, bigint, text, text) TO cloakroom_auditor, cloakroom_breakglass;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.note_refusal(p_request uuid, p_result text, p_source_identity text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF p_result IS NULL OR p_result !~ '^[a-z0-9 _:,.-]{1,100}$' THEN
    RAISE EXCEPTION 'a result is a few plain words' USING ERRCODE = 'CR012';
  END IF;
  PERFORM cloakroom.append_leaf('failed', p_request => p_request, p_source_identity => p_source_identity, p_result => p_result);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.note_refusal(uuid, text, text) IS 'logs an attempt that was refused: the refusal itself rolled back';
GRANT EXECUTE ON FUNCTION cloakroom.note_refusal(uuid, text, text) TO cloakroom_auditor, cloakroom_approver, cloakroom_breakglass;
