-- Opening an approved request, in three transactions: nothing leaves the database unless its intent is in the log for
-- good. T1 begin_opening logs the intent and freezes the rows. T2 confirm_opening sees that committed, and notes a
-- place in the WAL after it. T3 hand_out sees that place flushed.

CREATE OR REPLACE FUNCTION cloakroom.lock_own_request(p_request uuid) RETURNS cloakroom.requests
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_request(p_request);
BEGIN
  IF r.requester <> session_user THEN
    RAISE EXCEPTION 'only who made a request opens it' USING ERRCODE = 'CR010';
  END IF;
  -- Check the role again: EXECUTE is granted to both, and this one may have been revoked since.
  PERFORM cloakroom.require_role(CASE WHEN r.breakglass THEN 'breakglass' ELSE 'auditor' END);
  RETURN r;
END $$;
COMMENT ON FUNCTION cloakroom.lock_own_request(uuid) IS
  'locks a request of the caller''s own, who still holds the role that it was made with';

CREATE OR REPLACE FUNCTION cloakroom.require_approved(r cloakroom.requests) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  missing text;
  now_digest bytea := cloakroom.request_digest(r);
BEGIN
  PERFORM cloakroom.require_apart(CASE WHEN r.breakglass THEN 'breakglass' ELSE 'auditor' END);
  IF r.purpose = 'forget' THEN
    RAISE EXCEPTION 'this request forgets, it opens nothing'
      USING ERRCODE = 'CR010', HINT = 'keys forget --request ID does what it asks for.';
  END IF;
  IF r.state IN ('opened', 'closed', 'failed') THEN
    RAISE EXCEPTION 'the request has been opened already'
      USING ERRCODE = 'CR010', HINT = 'An approval serves once: make a new request.';
  ELSIF r.state NOT IN ('approved', 'intent', 'confirmed') THEN
    RAISE EXCEPTION 'the request is %, not approved', r.state USING ERRCODE = 'CR010';
  ELSIF r.expires_at <= cloakroom.vault_time() THEN
    RAISE EXCEPTION 'the request has expired' USING ERRCODE = 'CR010', HINT = 'Make a new one.';
  END IF;
  -- Check today's policy and the request as it stands. Do not trust its state column.
  missing := cloakroom.approvals_missing(r);
  IF EXISTS (SELECT FROM cloakroom.approvals a WHERE a.request = r.id AND a.digest <> now_digest)
     OR r.reason_commit <> cloakroom.commitment(r.reason_salt, r.reason)
     OR r.query_commit <> cloakroom.commitment(r.query_salt, cloakroom.request_selector(r)) THEN
    RAISE EXCEPTION 'the request is not what was approved: it was altered'
      USING ERRCODE = 'CR010', HINT = 'Tell the people who guard the audit log.';
  ELSIF missing IS NOT NULL THEN
    RAISE EXCEPTION 'the request has fewer approvals than the policy wants: missing %', missing USING ERRCODE = 'CR010',
      HINT = 'An approval counts while policy and groups are as they were. Make a new request.';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_approved(cloakroom.requests) IS
  'refuses unless the request as it stands is approved, unaltered and unspent';

CREATE OR REPLACE FUNCTION cloakroom.spend_quota(p_rows bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  spent bigint;
  quota integer;
BEGIN
  SELECT daily_quota INTO STRICT quota FROM cloakroom.settings;
  -- The row stays locked until the transaction ends, so one person's openings run one at a time.
  INSERT INTO cloakroom.quotas AS q (person, day, rows)
    VALUES (session_user, (cloakroom.vault_time() AT TIME ZONE 'UTC')::date, p_rows)
    ON CONFLICT (person, day) DO UPDATE SET rows = q.rows + excluded.rows
    RETURNING rows INTO STRICT spent;
  IF spent > quota THEN
    RAISE EXCEPTION 'this would be % rows today, more than your quota of %', spent, quota USING ERRCODE = 'CR010',
      HINT = 'Go on tomorrow (UTC), or have the policy changed.';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.spend_quota(bigint) IS
  'counts rows against this person''s quota of the day, and refuses to pass it';

CREATE OR REPLACE FUNCTION cloakroom.begin_opening(
  p_request uuid, p_source_identity text DEFAULT NULL, OUT rows bigint, OUT leaf bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Sorting 100,000 rows takes 8 MB.
SET work_mem = '64MB' AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_own_request(p_request);
  keys integer[];
  more_keys integer[];
BEGIN
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.require_approved(r);
  IF r.state IN ('intent', 'confirmed') THEN
    -- An opening that was interrupted before anything was handed out continues under the intent already logged.
    rows := r.rows;
    leaf := r.intent_leaf;
    RETURN;
  END IF;
  PERFORM cloakroom.check_request(r); -- the policy may have become stricter
  EXECUTE format($q$
    SELECT coalesce(array_agg(row_id), '{}'), coalesce(array_agg(sent), '{}'), coalesce(array_agg(create_date), '{}'),
           coalesce(array_agg(DISTINCT data_key), '{}')
      FROM (SELECT row_id, sent, create_date, data_key FROM %s u WHERE %s ORDER BY sent, row_id LIMIT %s) AS l$q$,
    cloakroom.row_table(r.dataset), cloakroom.row_condition(r), r.row_limit::bigint + 1)
    INTO STRICT r.row_ids, r.row_sents, r.row_dates, keys;
  EXECUTE format($q$
    SELECT coalesce(array_agg(message_id), '{}'), coalesce(array_agg(sent), '{}'),
           coalesce(array_agg(DISTINCT data_key), '{}')
      FROM (SELECT message_id, sent, data_key FROM cloakroom.rejections
             WHERE %s ORDER BY message_id, sent LIMIT %s) AS j$q$,
    cloakroom.rejection_condition(r), r.row_limit::bigint + 1)
    INTO STRICT r.rejection_ids, r.rejection_sents, more_keys;
  rows := cardinality(r.row_ids) + cardinality(r.rejection_ids);
  IF rows > r.row_limit THEN
    RAISE EXCEPTION 'the request selects more than its limit of % rows', r.row_limit USING ERRCODE = 'CR010',
      HINT = 'Ask again for fewer (--from, --to) or with a higher --limit.';
  END IF;
  PERFORM cloakroom.spend_quota(rows);
  keys := ARRAY(SELECT DISTINCT k FROM unnest(keys || more_keys) AS k WHERE k IS NOT NULL ORDER BY k);
  UPDATE cloakroom.requests q
     SET state = 'intent', intent_xid = pg_current_xact_id(), intent_at = clock_timestamp(), rows = begin_opening.rows,
         -- The append's lock is taken now, so the leaf's number is known.
         intent_leaf = cloakroom.next_leaf(), row_ids = r.row_ids, row_sents = r.row_sents, row_dates = r.row_dates,
         rejection_ids = r.rejection_ids, rejection_sents = r.rejection_sents,
         data_keys = keys
   WHERE q.id = r.id;
  leaf := cloakroom.append_leaf('intent', p_request => r.id, p_source_identity => p_source_identity,
    p_purpose => r.purpose,
    p_ticket => r.ticket, p_reason_commit => r.reason_commit, p_query_commit => r.query_commit, p_dataset => r.dataset,
    p_fields => r.fields,
    -- Of the lists of keys in Postgres's binary form.
    p_row_set_hash => sha256(array_send(r.row_ids) || array_send(r.row_sents)
      || array_send(r.rejection_ids) || array_send(r.rejection_sents)), p_rows => rows, p_data_keys => keys);
END $$;
COMMENT ON FUNCTION cloakroom.begin_opening(uuid, text) IS
  'T1: writes the intent leaf and freezes the rows; hands out nothing';
GRANT EXECUTE ON FUNCTION cloakroom.begin_opening(uuid, text) TO cloakroom_auditor, cloakroom_breakglass;

CREATE OR REPLACE FUNCTION cloakroom.confirm_opening(p_request uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_own_request(p_request);
BEGIN
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.require_approved(r);
  IF r.state NOT IN ('intent', 'confirmed') THEN
    RAISE EXCEPTION 'there is no intent in the audit log' USING ERRCODE = 'CR011', HINT = 'Begin the opening first.';
  END IF;
  -- A transaction sees its own uncommitted intent, and could still roll it back.
  IF r.intent_xid = pg_current_xact_id() OR pg_xact_status(r.intent_xid) IS DISTINCT FROM 'committed' THEN
    RAISE EXCEPTION 'the intent is not committed'
      USING ERRCODE = 'CR011', HINT = 'Commit it, then confirm in another transaction.';
  END IF;
  UPDATE cloakroom.requests SET state = 'confirmed', confirmed_lsn = pg_current_wal_insert_lsn() WHERE id = r.id;
END $$;
COMMENT ON FUNCTION cloakroom.confirm_opening(uuid) IS
  'T2: sees that the intent is committed, and notes a place in the WAL after its commit';
GRANT EXECUTE ON FUNCTION cloakroom.confirm_opening(uuid) TO cloakroom_auditor, cloakroom_breakglass;

CREATE OR REPLACE FUNCTION cloakroom.require_logged(r cloakroom.requests) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF r.state <> 'confirmed' OR r.intent_xid = pg_current_xact_id()
     OR pg_xact_status(r.intent_xid) IS DISTINCT FROM 'committed' THEN
    RAISE EXCEPTION 'the intent is not confirmed' USING ERRCODE = 'CR011', HINT = 'Confirm the opening first.';
  END IF;
  -- Compare with the place that T2 noted. One noted by T1 lies before T1's commit record.
  IF pg_current_wal_flush_lsn() < r.confirmed_lsn THEN
    RAISE EXCEPTION 'the intent is not on disk yet'
      USING ERRCODE = 'CR014', HINT = 'Try again in a moment; synchronous_commit=off delays it.';
  END IF;
  IF NOT EXISTS (SELECT FROM cloakroom.audit_leaves l
                  WHERE l.seq = r.intent_leaf AND convert_from(l.leaf, 'UTF8')::json ->> 'request' = r.id::text) THEN
    RAISE EXCEPTION 'the intent''s leaf is not in the audit log'
      USING ERRCODE = 'CR011', HINT = 'Run recover log verify.';
  END IF;
  IF (SELECT checkpoint_before_open FROM cloakroom.settings)
     AND NOT EXISTS (SELECT FROM cloakroom.checkpoints c WHERE c.size > r.intent_leaf) THEN
    RAISE EXCEPTION 'no checkpoint covers the intent yet' USING ERRCODE = 'CR014',
      HINT = 'The policy wants one first: see that recover log checkpoint runs and reaches its sink.';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_logged(cloakroom.requests) IS
  'refuses unless the intent of an opening is committed, on disk, in the log, and under a checkpoint if the policy '
  'wants that';

CREATE OR REPLACE FUNCTION cloakroom.hand_out(p_request uuid, p_rows refcursor)
RETURNS TABLE (kind text, id integer, kek text, kek_id text, wrapped bytea, key_check bytea)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- All rows are fetched, so do not plan for the first row.
SET cursor_tuple_fraction = 1 AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_own_request(p_request);
  columns text;
  -- Read once: each statement has its own snapshot, and between two a reindex may make a version live or end one.
  versions integer[];
BEGIN
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.require_approved(r);
  PERFORM cloakroom.require_logged(r);
  UPDATE cloakroom.requests q SET state = 'opened' WHERE q.id = r.id;
  versions := cloakroom.live_versions();
  -- Only what was asked for, in the order asked: clear fields, sealed ones, then tokens version by version.
  WITH asked AS (SELECT f, n FROM unnest(r.fields) WITH ORDINALITY AS fs(f, n)),
  expressions AS (
    SELECT 1 AS part, 0::bigint AS n, asked.n AS m,
           -- As events write it, whatever the session's settings; of an address, without its netmask.
           format('convert_to(' || CASE a.atttypid
             WHEN 'timestamptz'::regtype
               THEN 'rtrim(rtrim(to_char(u.%I AT TIME ZONE ''UTC'', ''YYYY-MM-DD"T"HH24:MI:SS.US''), ''0''), ''.'')'
                    ' || ''Z'''
             WHEN 'date'::regtype THEN 'to_char(u.%I, ''YYYY-MM-DD'')'
             WHEN 'inet'::regtype THEN 'host(u.%I)'
             ELSE 'u.%I::text' END || ', ''UTF8'')', f) AS c
      FROM asked JOIN pg_attribute a ON a.attrelid = cloakroom.row_table(r.dataset) AND a.attname = f
     WHERE f IN (SELECT cloakroom.clear_columns(r.dataset))
    UNION ALL
    SELECT 2, 0, asked.n, format('u.%I', s.column_name)
      FROM asked JOIN cloakroom.dataset_columns s ON s.dataset = r.dataset AND s.kind = 'sealed' AND s.member = f
    UNION ALL
    SELECT 3, t.n, 0, format('convert_to(u.%I, ''UTF8'')', t.column_name)
      FROM asked JOIN cloakroom.token_columns(r.dataset, versions) AS t ON t.member = f)
  SELECT coalesce(string_agg(', ' || c, '' ORDER BY part, n, m), '') INTO STRICT columns FROM expressions;
  -- Binary: half as much to send and to read as hex, and unlike a prepared FETCH many can be asked for in one message.
  EXECUTE format($q$DECLARE %I BINARY NO SCROLL CURSOR FOR
    SELECT array_send(ARRAY['\x01', uuid_send(u.row_id), date_send(u.create_date), convert_to(%s, 'UTF8'),
                            int4send(u.data_key)%s]::bytea[])
      FROM unnest($1, $2, $3) AS f(row_id, sent, create_date) JOIN %s u USING (row_id, sent, create_date)
    UNION ALL
    SELECT array_send(ARRAY['\x02', uuid_send(j.message_id), date_send(j.create_date), convert_to(j.subject, 'UTF8'),
                            int4send(j.data_key), convert_to(j.reason, 'UTF8'), j.sealed_body]::bytea[])
      FROM unnest($4, $5) AS f(message_id, sent) JOIN cloakroom.rejections j USING (message_id, sent)$q$,
    p_rows, cloakroom.subject_of(r.dataset), columns, cloakroom.row_table(r.dataset))
    USING r.row_ids, r.row_sents, r.row_dates, r.rejection_ids, r.rejection_sents;
  RETURN QUERY
    SELECT 'version', v, NULL, NULL, NULL::bytea, NULL::bytea FROM unnest(versions) AS v
    UNION ALL
    SELECT 'key', k.id, k.kek, k.kek_id, k.wrapped, k.key_check FROM cloakroom.data_keys k
      WHERE k.id = ANY (r.data_keys)
    ORDER BY 1, 2;
END $$;
COMMENT ON FUNCTION cloakroom.hand_out(uuid, refcursor) IS
  'T3: the wrapped keys of the frozen rows and the versions of their tokens; and, to be fetched from the cursor in the '
  'same transaction, the rows: 0x01 for a row (0x02: a rejection), id, date, subject, data key and the fields asked '
  'for, as the binary form of an array of bytea: clear ones and sealed ones in the order asked, then tokens in that of '
  'token_columns()';
GRANT EXECUTE ON FUNCTION cloakroom.hand_out(uuid, refcursor) TO cloakroom_auditor, cloakroom_breakglass;

CREATE OR REPLACE FUNCTION cloakroom.handed_key(p_request uuid, p_key integer)
RETURNS TABLE (kek text, kek_id text, wrapped bytea, key_check bytea)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
  sealed boolean;
BEGIN
  -- Not locked: the session that streams the rows holds the lock.
  SELECT * INTO r FROM cloakroom.requests q WHERE q.id = p_request AND q.requester = session_user;
  PERFORM cloakroom.require_approved(r);
  PERFORM cloakroom.require_logged(r);
  EXECUTE format($q$
    SELECT EXISTS (SELECT 1 FROM unnest($1, $2, $3) AS f(row_id, sent, create_date)
                     JOIN %s u USING (row_id, sent, create_date) WHERE u.data_key = $6)
        OR EXISTS (SELECT 1 FROM unnest($4, $5) AS f(message_id, sent)
                     JOIN cloakroom.rejections j USING (message_id, sent) WHERE j.data_key = $6)$q$,
    cloakroom.row_table(r.dataset))
    INTO STRICT sealed USING r.row_ids, r.row_sents, r.row_dates, r.rejection_ids, r.rejection_sents, p_key;
  RETURN QUERY SELECT k.kek, k.kek_id, k.wrapped, k.key_check FROM cloakroom.data_keys k WHERE k.id = p_key AND sealed;
  IF FOUND THEN
    -- The intent does not name it.
    PERFORM cloakroom.append_leaf('latekey', p_request => r.id, p_dataset => r.dataset, p_data_keys => ARRAY[p_key]);
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.handed_key(uuid, integer) IS
  'the wrapped key of a frozen row that was resealed between its intent and its handing out; logged';
GRANT EXECUTE ON FUNCTION cloakroom.handed_key(uuid, integer) TO cloakroom_auditor, cloakroom_breakglass;

CREATE OR REPLACE FUNCTION cloakroom.close_opening(
  p_request uuid, p_rows bigint, p_result text, p_source_identity text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_own_request(p_request);
BEGIN
  PERFORM cloakroom.require_durable_commit();
  IF r.state <> 'opened' THEN
    RAISE EXCEPTION 'the request is %, not open', r.state USING ERRCODE = 'CR010';
  ELSIF p_result IS NULL OR p_result !~ '^[a-z0-9 _:,.-]{1,100}$' THEN
    RAISE EXCEPTION 'a result is a few plain words' USING ERRCODE = 'CR012';
  ELSIF p_rows IS NULL OR p_rows < 0 OR p_rows > r.rows THEN
    RAISE EXCEPTION '% rows were frozen for this request', r.rows
      USING ERRCODE = 'CR012', HINT = 'The outcome counts no more, and none below zero.';
  END IF;
  UPDATE cloakroom.requests
     SET state = CASE WHEN p_result LIKE 'ok%' THEN 'closed' ELSE 'failed' END, result = p_result,
         closed_at = clock_timestamp(),
         row_ids = NULL, row_sents = NULL, row_dates = NULL, rejection_ids = NULL, rejection_sents = NULL
   WHERE id = r.id;
  RETURN cloakroom.append_leaf(CASE WHEN p_result LIKE 'ok%' THEN 'opened' ELSE 'failed' END, p_request => r.id,
    p_source_identity => p_source_identity, p_purpose => r.purpose, p_ticket => r.ticket, p_dataset => r.dataset,
    p_fields => r.fields,     p_rows => p_rows, p_result => p_result);
END $$;
COMMENT ON FUNCTION cloakroom.close_opening(uuid, bigint, text, text) IS
  'writes the outcome, before the client shows anything; returns the leaf''s number';
GRANT EXECUTE ON FUNCTION cloakroom.close_opening(uuid, bigint, text, text) TO cloakroom_auditor, cloakroom_breakglass;

CREATE OR REPLACE FUNCTION cloakroom.note_refusal(p_request uuid, p_result text, p_source_identity text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
BEGIN
  IF p_result IS NULL OR p_result !~ '^[a-z0-9 _:,.-]{1,100}$' THEN
    RAISE EXCEPTION 'a result is a few plain words' USING ERRCODE = 'CR012';
  END IF;
  PERFORM cloakroom.count_act('refusal');
  SELECT * INTO r FROM cloakroom.requests WHERE id = p_request;
  -- While an opening is under way only close_opening logs its outcome.
  IF r.state IN ('intent', 'confirmed', 'opened') AND cloakroom.may_see(r) THEN
    RAISE EXCEPTION 'the request is being opened' USING ERRCODE = 'CR012';
  END IF;
  PERFORM cloakroom.require_durable_commit();
  -- A type of its own: this is no outcome of an opening.
  PERFORM cloakroom.append_leaf('refused',
    -- Nobody adds to the record of a request that they may not see.
    p_request => CASE WHEN r.id IS NOT NULL AND cloakroom.may_see(r) THEN r.id END,
    p_source_identity => p_source_identity, p_result => p_result);
END $$;
COMMENT ON FUNCTION cloakroom.note_refusal(uuid, text, text) IS
  'logs an attempt that was refused: the refusal itself rolled back';
GRANT EXECUTE ON FUNCTION cloakroom.note_refusal(uuid, text, text) TO
  cloakroom_auditor, cloakroom_approver, cloakroom_breakglass;

CREATE OR REPLACE FUNCTION cloakroom.note_kms_calls(
  p_request uuid, p_calls text[], p_source_identity text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  most CONSTANT integer := 2000;
  r cloakroom.requests := cloakroom.lock_own_request(p_request);
BEGIN
  PERFORM cloakroom.require_durable_commit();
  -- Not after the outcome: a theft would be passed off as a part of the opening.
  IF r.state NOT IN ('intent', 'confirmed', 'opened') THEN
    RAISE EXCEPTION 'the request is %, and not being opened', r.state USING ERRCODE = 'CR010';
  ELSIF coalesce(cardinality(p_calls), 0) NOT BETWEEN 1 AND most OR EXISTS (SELECT FROM unnest(p_calls) AS c
    WHERE c IS NULL OR c !~ '^Decrypt seal [0-9]{1,10} ([0-9a-f-]{36}|-)$') THEN
    RAISE EXCEPTION 'a call is Decrypt, seal, a data key and a request id or -; at most % of them', most
      USING ERRCODE = 'CR012';
  END IF;
  PERFORM cloakroom.append_leaf('kms', p_request => r.id, p_source_identity => p_source_identity,
    p_dataset => r.dataset, p_fields => p_calls, p_rows => cardinality(p_calls));
END $$;
COMMENT ON FUNCTION cloakroom.note_kms_calls(uuid, text[], text) IS
  'logs the calls to KMS of an opening, by KMS''s request ids, for recover report --kms-log: what the client says';
GRANT EXECUTE ON FUNCTION cloakroom.note_kms_calls(uuid, text[], text) TO cloakroom_auditor, cloakroom_breakglass;
