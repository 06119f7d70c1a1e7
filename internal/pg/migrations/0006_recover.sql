-- Recover: ask, approve, open. Everything is decided here, by session_user: a client that lies gets nothing more.
-- Run as cloakroom_owner.
-- +goose Up

ALTER TABLE cloakroom.settings ADD COLUMN breakglass_rows integer NOT NULL DEFAULT 10 CHECK (breakglass_rows > 0);
COMMENT ON COLUMN cloakroom.settings.breakglass_rows IS 'rows a single break-glass request may open at the most';

CREATE TABLE cloakroom.requests (
  id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  state         text NOT NULL CHECK (state IN
                ('requested', 'approved', 'denied', 'expired', 'intent', 'confirmed', 'opened', 'closed', 'failed')),
  asker         name NOT NULL DEFAULT session_user,
  breakglass    boolean NOT NULL DEFAULT false,
  reviewed_by   name,
  purpose       text NOT NULL CHECK (length(purpose) BETWEEN 1 AND 64),
  ticket        text NOT NULL CHECK (length(ticket) BETWEEN 1 AND 200),
  reason        text CHECK (length(reason) BETWEEN 1 AND 10000),
  reason_salt   bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()),
  reason_commit bytea NOT NULL,
  fields        text[] NOT NULL CHECK (cardinality(fields) BETWEEN 1 AND 100),
  by_user       text CHECK (length(by_user) BETWEEN 1 AND 1000),
  by_message    uuid,
  by_field      text,
  by_tokens     text[] CHECK (cardinality(by_tokens) BETWEEN 1 AND 10),
  by_rejection  text CHECK (by_rejection ~ '^[a-z_]{1,32}$'),
  from_date     date,
  to_date       date,
  query_salt    bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()),
  query_commit  bytea NOT NULL,
  row_limit     integer NOT NULL CHECK (row_limit > 0),
  created_at    timestamptz NOT NULL,
  expires_at    timestamptz NOT NULL,
  -- The opening.
  intent_leaf   bigint,
  intent_xid    xid8,
  intent_at     timestamptz,
  confirmed_lsn pg_lsn,
  login_ids     uuid[],
  login_dates   date[],
  rejection_ids uuid[],
  data_keys     integer[],
  rows          bigint,
  closed_at     timestamptz,
  result        text,
  CHECK (num_nonnulls(by_user, by_message, by_tokens, by_rejection) = 1),
  CHECK (by_field IS NULL OR by_tokens IS NOT NULL),
  CHECK (from_date <= to_date),
  CHECK (cardinality(login_ids) = cardinality(login_dates)),
  CHECK (state NOT IN ('intent', 'confirmed', 'opened', 'closed') OR (intent_xid IS NOT NULL AND intent_leaf IS NOT NULL)),
  CHECK (state NOT IN ('confirmed', 'opened', 'closed') OR confirmed_lsn IS NOT NULL)
);
-- Random ids do not compress: trying to is half the time of freezing many.
ALTER TABLE cloakroom.requests ALTER login_ids SET STORAGE EXTERNAL, ALTER rejection_ids SET STORAGE EXTERNAL;
CREATE INDEX requests_created_at ON cloakroom.requests (created_at);
COMMENT ON TABLE cloakroom.requests IS 'recover requests: requested, approved, intent, confirmed, opened, closed; or denied, expired, failed';
COMMENT ON COLUMN cloakroom.requests.asker IS 'session_user of the request: nobody else opens it, and the asker does not approve it';
COMMENT ON COLUMN cloakroom.requests.breakglass IS 'needs no approval, opens few rows, stays flagged until an approver reviews it';
COMMENT ON COLUMN cloakroom.requests.reason IS 'free text, erasable: the audit log holds its salted commitment alone';
COMMENT ON COLUMN cloakroom.requests.by_tokens IS 'what a protected value became on the client, under every live version of the index key; the value itself never arrives';
COMMENT ON COLUMN cloakroom.requests.by_field IS 'the field that by_tokens belong to; NULL: any';
COMMENT ON COLUMN cloakroom.requests.intent_xid IS 'top-level transaction of the intent leaf: must be another one, and committed, before anything is handed out';
COMMENT ON COLUMN cloakroom.requests.confirmed_lsn IS 'a place in the WAL after the intent''s commit: must be flushed before anything is handed out';
COMMENT ON COLUMN cloakroom.requests.login_ids IS 'the rows frozen with the intent: these are handed out, whatever is stored later';

CREATE TABLE cloakroom.approvals (
  request  uuid NOT NULL REFERENCES cloakroom.requests,
  approver name NOT NULL DEFAULT session_user,
  approved boolean NOT NULL,
  digest   bytea NOT NULL,
  comment  text CHECK (length(comment) <= 10000),
  at       timestamptz NOT NULL,
  PRIMARY KEY (request, approver)
);
COMMENT ON COLUMN cloakroom.approvals.digest IS 'of the request as the approver saw it';

CREATE TABLE cloakroom.quotas (
  person name NOT NULL,
  day    date NOT NULL,
  rows   bigint NOT NULL,
  PRIMARY KEY (person, day)
);
COMMENT ON TABLE cloakroom.quotas IS 'rows that each person froze for opening, by UTC day; its row lock makes racing openers wait for each other';

-- +goose StatementBegin
CREATE FUNCTION cloakroom.vault_time() RETURNS timestamptz
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  -- Never earlier than the newest leaf: a clock set back revives no expired approval and no spent quota.
  SELECT greatest(clock_timestamp(), (
    SELECT (convert_from(leaf, 'UTF8')::json ->> 'ts')::timestamptz FROM cloakroom.audit_leaves ORDER BY seq DESC LIMIT 1))
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.protected_fields() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT substr(attname, length('sealed_') + 1)::text FROM pg_attribute
   WHERE attrelid = 'cloakroom.user_logins'::regclass AND attname LIKE 'sealed\_%' AND attnum > 0 AND NOT attisdropped
   ORDER BY attnum
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.clear_fields() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT attname::text FROM pg_attribute
   WHERE attrelid = 'cloakroom.user_logins'::regclass AND attnum > 0 AND NOT attisdropped
     AND attname NOT LIKE 'sealed\_%' AND attname NOT LIKE 'masked\_%' AND attname NOT IN ('message_id', 'create_date', 'data_key')
   ORDER BY attnum
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.request_selector(r cloakroom.requests) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT json_build_array(r.by_user, r.by_message, r.by_field, r.by_tokens, r.by_rejection, r.from_date, r.to_date)::text
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.request_digest(r cloakroom.requests) RETURNS bytea
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT sha256(convert_to(json_build_array(
    'cloakroom/v1/request', r.id, r.asker, r.breakglass, r.purpose, r.ticket, encode(r.reason_commit, 'hex'), r.fields,
    cloakroom.request_selector(r), r.row_limit, cloakroom.audit_time(r.created_at), cloakroom.audit_time(r.expires_at))::text, 'UTF8'))
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.request_digest(cloakroom.requests) IS 'of everything an approval is about, computed anew from the row each time: what is approved is what is opened';

-- +goose StatementBegin
CREATE FUNCTION cloakroom.commitment(p_salt bytea, p_text text) RETURNS bytea
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT sha256(p_salt || convert_to(p_text, 'UTF8'))
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.require_role(p_role text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT pg_has_role(session_user, ('cloakroom_' || p_role)::name, 'MEMBER') THEN
    RAISE EXCEPTION 'this needs the role %', p_role USING ERRCODE = '42501';
  END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.check_request(r cloakroom.requests) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p cloakroom.settings;
  unknown text;
BEGIN
  SELECT * INTO STRICT p FROM cloakroom.settings;
  IF r.purpose <> ALL (p.purposes) THEN
    RAISE EXCEPTION 'the policy knows no such purpose' USING ERRCODE = 'CR012', HINT = 'Purposes: ' || array_to_string(p.purposes, ', ') || '.';
  ELSIF r.row_limit > p.row_limit OR r.breakglass AND r.row_limit > p.breakglass_rows THEN
    RAISE EXCEPTION 'the limit of % rows is above the policy''s', r.row_limit USING ERRCODE = 'CR012',
      HINT = format('At most %s rows, break-glass %s.', p.row_limit, p.breakglass_rows);
  ELSIF r.expires_at > r.created_at + p.request_lifetime OR r.expires_at <= r.created_at THEN
    RAISE EXCEPTION 'the lifetime is above the policy''s, or none' USING ERRCODE = 'CR012', HINT = format('At most %s.', p.request_lifetime);
  ELSIF r.purpose = 'dsar' AND r.by_user IS NULL THEN
    RAISE EXCEPTION 'a request for purpose dsar is about one person' USING ERRCODE = 'CR012', HINT = 'Select by user.';
  ELSIF EXISTS (SELECT FROM unnest(r.by_tokens) AS t WHERE t !~ '^[A-Za-z0-9_-]{22}$') THEN
    RAISE EXCEPTION 'that is no token: a token has 22 letters, digits, - and _' USING ERRCODE = 'CR012';
  ELSIF r.by_rejection IS NOT NULL AND r.fields <> ARRAY['body'] THEN
    RAISE EXCEPTION 'of a rejection only the body can be opened' USING ERRCODE = 'CR012';
  END IF;
  -- A field by which nothing can be searched would leave the token out of the condition, and select everybody.
  IF r.by_field IS NOT NULL AND NOT EXISTS (SELECT FROM cloakroom.protected_fields() AS known WHERE known = r.by_field) THEN
    RAISE EXCEPTION 'a token belongs to a protected field' USING ERRCODE = 'CR012',
      HINT = 'Protected fields: ' || (SELECT string_agg(f, ', ') FROM cloakroom.protected_fields() AS f) || '.';
  ELSIF array_position(r.fields, NULL) IS NOT NULL THEN
    RAISE EXCEPTION 'a field is not named' USING ERRCODE = 'CR012';
  END IF;
  SELECT f INTO unknown FROM unnest(r.fields || r.by_field) AS f
   WHERE f IS NOT NULL AND f <> 'body'
     AND NOT EXISTS (SELECT FROM cloakroom.protected_fields() AS known WHERE known = f)
     AND (f IS NOT DISTINCT FROM r.by_field OR NOT EXISTS (SELECT FROM cloakroom.clear_fields() AS known WHERE known = f));
  IF FOUND THEN
    RAISE EXCEPTION 'there is no such field' USING ERRCODE = 'CR012', HINT = 'Fields: ' || (
      SELECT string_agg(f, ', ') FROM (SELECT cloakroom.protected_fields() UNION ALL SELECT cloakroom.clear_fields()) AS fs(f)) || ', body.';
  END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.other_versions_tokens(p_field text, p_tokens text[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  field text;
  version integer;
  columns text;
  tokens text[] := p_tokens;
  found_tokens text[];
BEGIN
  -- While a reindex is under way a row has a token under each version: one that carries the token asked for gives the others.
  IF (SELECT count(*) FROM cloakroom.index_keys WHERE state = 'live') < 2 THEN
    RETURN tokens;
  END IF;
  FOR field IN SELECT f FROM cloakroom.protected_fields() AS f WHERE p_field IS NULL OR f = p_field LOOP
    SELECT string_agg(format('%I', 'masked_' || field || '_v' || k.version), ', ') INTO columns
      FROM cloakroom.index_keys k WHERE k.state = 'live';
    FOR version IN SELECT k.version FROM cloakroom.index_keys k WHERE k.state = 'live' LOOP
      EXECUTE format('SELECT ARRAY[%s]::text[] FROM cloakroom.user_logins WHERE %I = ANY ($1::varchar[]) LIMIT 1',
                     columns, 'masked_' || field || '_v' || version)
        INTO found_tokens USING p_tokens;
      tokens := tokens || coalesce(found_tokens, '{}');
    END LOOP;
  END LOOP;
  RETURN (SELECT array_agg(DISTINCT t) FROM unnest(tokens) AS t WHERE t IS NOT NULL);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.request(
  p_purpose text, p_ticket text, p_reason text, p_fields text[],
  p_user text DEFAULT NULL, p_message uuid DEFAULT NULL, p_field text DEFAULT NULL, p_tokens text[] DEFAULT NULL,
  p_rejection text DEFAULT NULL, p_from date DEFAULT NULL, p_to date DEFAULT NULL, p_limit integer DEFAULT NULL,
  p_lifetime interval DEFAULT NULL, p_breakglass boolean DEFAULT false, p_source_identity text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r cloakroom.requests;
  p cloakroom.settings;
BEGIN
  PERFORM cloakroom.require_read_committed();
  PERFORM cloakroom.require_durable_commit();
  PERFORM cloakroom.require_role(CASE WHEN p_breakglass THEN 'breakglass' ELSE 'auditor' END);
  SELECT * INTO STRICT p FROM cloakroom.settings;
  IF coalesce(p_reason, '') = '' OR coalesce(p_ticket, '') = '' OR coalesce(cardinality(p_fields), 0) = 0
     OR num_nonnulls(p_user, p_message, p_tokens, p_rejection) <> 1 THEN
    RAISE EXCEPTION 'a request needs a ticket, a reason, fields and one selector' USING ERRCODE = 'CR012';
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
  r.by_tokens := cloakroom.other_versions_tokens(p_field, p_tokens);
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
COMMENT ON FUNCTION cloakroom.request IS 'asks for values to be opened; returns the request''s id';
GRANT EXECUTE ON FUNCTION cloakroom.request TO cloakroom_auditor, cloakroom_breakglass;

-- +goose StatementBegin
CREATE FUNCTION cloakroom.login_condition(r cloakroom.requests) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tokens text;
BEGIN
  IF r.fields = ARRAY['body'] OR r.by_rejection IS NOT NULL THEN
    RETURN 'false';
  END IF;
  IF r.by_tokens IS NOT NULL THEN
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

-- +goose StatementBegin
CREATE FUNCTION cloakroom.rejection_condition(r cloakroom.requests) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN NOT 'body' = ANY (r.fields) OR r.by_tokens IS NOT NULL THEN 'false' ELSE concat_ws(' AND ',
    CASE WHEN r.by_user IS NOT NULL THEN format('user_id = %L', r.by_user) END,
    CASE WHEN r.by_message IS NOT NULL THEN format('message_id = %L', r.by_message) END,
    CASE WHEN r.by_rejection IS NOT NULL THEN format('reason = %L', r.by_rejection) END,
    CASE WHEN r.from_date IS NOT NULL THEN format('create_date >= %L', r.from_date) END,
    CASE WHEN r.to_date IS NOT NULL THEN format('create_date <= %L', r.to_date) END) END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloakroom.count_selected(r cloakroom.requests) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint;
BEGIN
  EXECUTE format('SELECT (SELECT count(*) FROM (SELECT FROM cloakroom.user_logins WHERE %s LIMIT $1) l)
                       + (SELECT count(*) FROM (SELECT FROM cloakroom.rejections WHERE %s LIMIT $1) r)',
                 cloakroom.login_condition(r), cloakroom.rejection_condition(r))
    INTO STRICT n USING r.row_limit + 1;
  RETURN least(n, r.row_limit + 1);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION cloakroom.count_selected(cloakroom.requests) IS 'rows the request selects now, at most one more than its limit';
