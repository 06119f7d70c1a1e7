-- Opening 100,000 rows at half the rate of a bare SELECT: one scan freezes them, and they leave in binary form.
-- +goose Up

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION cloakroom.begin_opening(p_request uuid, p_source_identity text DEFAULT NULL, OUT rows bigint, OUT leaf bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Of 100,000 rows the sort takes eight megabytes.
SET work_mem = '64MB' AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_own_request(p_request);
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
  PERFORM cloakroom.check_request(r); -- the policy may have become stricter
  EXECUTE format($q$
    SELECT coalesce(array_agg(message_id), '{}'), coalesce(array_agg(create_date), '{}'), coalesce(array_agg(DISTINCT data_key), '{}')
      FROM (SELECT message_id, create_date, data_key FROM cloakroom.user_logins WHERE %s ORDER BY create_date LIMIT %s) AS l$q$,
    cloakroom.login_condition(r), r.row_limit::bigint + 1)
    INTO STRICT r.login_ids, r.login_dates, keys;
  EXECUTE format($q$
    SELECT coalesce(array_agg(message_id), '{}'), coalesce(array_agg(DISTINCT data_key), '{}')
      FROM (SELECT message_id, data_key FROM cloakroom.rejections WHERE %s ORDER BY message_id LIMIT %s) AS j$q$,
    cloakroom.rejection_condition(r), r.row_limit::bigint + 1)
    INTO STRICT r.rejection_ids, more_keys;
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
         intent_leaf = cloakroom.next_leaf(), login_ids = r.login_ids, login_dates = r.login_dates, rejection_ids = r.rejection_ids,
         data_keys = keys
   WHERE q.id = r.id;
  leaf := cloakroom.append_leaf('intent', p_request => r.id, p_source_identity => p_source_identity, p_purpose => r.purpose,
    p_ticket => r.ticket, p_reason_commit => r.reason_commit, p_query_commit => r.query_commit, p_fields => r.fields,
    -- Of the three lists in Postgres's binary form.
    p_row_set_hash => sha256(array_send(r.login_ids) || array_send(r.login_dates) || array_send(r.rejection_ids)), p_rows => rows, p_data_keys => keys);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION cloakroom.hand_out(p_request uuid, p_rows refcursor)
RETURNS TABLE (kind text, id integer, kek text, kek_id text, wrapped bytea, key_check bytea)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- All rows are fetched, so the plan is not to be the one that is quickest to the first.
SET cursor_tuple_fraction = 1 AS $$
DECLARE
  r cloakroom.requests := cloakroom.lock_own_request(p_request);
  columns text;
  -- Read once: each statement has a snapshot of its own, and a reindex may make a version live, or end one, between two.
  versions integer[];
BEGIN
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.require_approved(r);
  PERFORM cloakroom.require_logged(r);
  UPDATE cloakroom.requests q SET state = 'opened' WHERE q.id = r.id;
  SELECT coalesce(array_agg(k.version ORDER BY k.version), '{}') INTO versions FROM cloakroom.index_keys k WHERE k.state = 'live';
  -- Only what was asked for, in the order asked: clear fields, sealed ones, then tokens version by version.
  WITH asked AS (SELECT f, n FROM unnest(r.fields) WITH ORDINALITY AS fs(f, n)),
  expressions AS (
    SELECT 1 AS part, 0 AS version, n, format('convert_to(u.%I::text, ''UTF8'')', f) AS c FROM asked WHERE f IN (SELECT cloakroom.clear_fields())
    UNION ALL
    SELECT 2, 0, n, format('u.%I', 'sealed_' || f) FROM asked WHERE f IN (SELECT cloakroom.protected_fields())
    UNION ALL
    SELECT 3, v, n, format('convert_to(u.%I, ''UTF8'')', 'masked_' || f || '_v' || v)
      FROM asked, unnest(versions) AS v WHERE f IN (SELECT cloakroom.protected_fields()))
  SELECT coalesce(string_agg(', ' || c, '' ORDER BY part, version, n), '') INTO STRICT columns FROM expressions;
  -- Binary: half as much to send and to read as hex, and unlike a prepared FETCH many can be asked for in one message.
  EXECUTE format($q$DECLARE %I BINARY NO SCROLL CURSOR FOR
    SELECT array_send(ARRAY['\x01', uuid_send(u.message_id), date_send(u.create_date), convert_to(u.user_id, 'UTF8'), int4send(u.data_key)%s]::bytea[])
      FROM unnest($1, $2) AS f(message_id, create_date) JOIN cloakroom.user_logins u USING (message_id, create_date)
    UNION ALL
    SELECT array_send(ARRAY['\x02', uuid_send(j.message_id), date_send(j.create_date), convert_to(j.user_id, 'UTF8'), int4send(j.data_key),
                            convert_to(j.reason, 'UTF8'), j.sealed_body]::bytea[])
      FROM unnest($3) AS f(message_id) JOIN cloakroom.rejections j USING (message_id)$q$, p_rows, columns)
    USING r.login_ids, r.login_dates, r.rejection_ids;
  RETURN QUERY
    SELECT 'version', v, NULL, NULL, NULL::bytea, NULL::bytea FROM unnest(versions) AS v
    UNION ALL
    SELECT 'key', k.id, k.kek, k.kek_id, k.wrapped, k.key_check FROM cloakroom.data_keys k WHERE k.id = ANY (r.data_keys)
    ORDER BY 1, 2;
END $$;
-- +goose StatementEnd
