-- An opening at the moment in which a reindex made a version live named more versions than its rows had tokens of, and failed as
-- though the rows were damaged.
-- +goose Up

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
  OPEN p_rows FOR EXECUTE format($q$
    SELECT array_send(ARRAY['\x01', uuid_send(u.message_id), date_send(u.create_date), convert_to(u.user_id, 'UTF8'), int4send(u.data_key)%s]::bytea[])
      FROM unnest($1, $2) AS f(message_id, create_date) JOIN cloakroom.user_logins u USING (message_id, create_date)
    UNION ALL
    SELECT array_send(ARRAY['\x02', uuid_send(j.message_id), date_send(j.create_date), convert_to(j.user_id, 'UTF8'), int4send(j.data_key),
                            convert_to(j.reason, 'UTF8'), j.sealed_body]::bytea[])
      FROM unnest($3) AS f(message_id) JOIN cloakroom.rejections j USING (message_id)$q$, columns)
    USING r.login_ids, r.login_dates, r.rejection_ids;
  RETURN QUERY
    SELECT 'version', v, NULL, NULL, NULL::bytea, NULL::bytea FROM unnest(versions) AS v
    UNION ALL
    SELECT 'key', k.id, k.kek, k.kek_id, k.wrapped, k.key_check FROM cloakroom.data_keys k WHERE k.id = ANY (r.data_keys)
    ORDER BY 1, 2;
END $$;
-- +goose StatementEnd
