-- Which rows and rejections a request selects.

CREATE OR REPLACE FUNCTION cloakroom.other_versions_tokens(p_field text, p_tokens text[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  field text;
  version integer;
  columns text;
  tokens text[] := p_tokens;
  found_tokens text[];
BEGIN
  -- During a reindex a row has a token under each live version, so a row with the token asked for gives the others.
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
COMMENT ON FUNCTION cloakroom.other_versions_tokens(text, text[]) IS
  'these tokens, and those that the same values have under the other live index keys';

CREATE OR REPLACE FUNCTION cloakroom.login_condition(r cloakroom.requests) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tokens text;
BEGIN
  IF r.fields = ARRAY['body'] OR r.by_rejection IS NOT NULL THEN
    RETURN 'false';
  END IF;
  IF r.by_tokens IS NOT NULL THEN
    -- Looked up here, not in request(): whether a value occurs is part of what needs approval.
    r.by_tokens := cloakroom.other_versions_tokens(r.by_field, r.by_tokens);
    SELECT string_agg(format('%I = ANY (%L::varchar[])', 'masked_' || f || '_v' || k.version, r.by_tokens), ' OR ')
      INTO STRICT tokens
      FROM cloakroom.protected_fields() AS f, cloakroom.index_keys k
     WHERE k.state = 'live' AND (r.by_field IS NULL OR f = r.by_field);
  END IF;
  -- format quotes the literals; concat_ws skips NULL.
  RETURN concat_ws(' AND ',
    CASE WHEN r.by_user IS NOT NULL THEN format('user_id = %L', r.by_user) END,
    CASE WHEN r.by_message IS NOT NULL THEN format('message_id = %L', r.by_message) END,
    CASE WHEN r.by_tokens IS NOT NULL THEN coalesce('(' || tokens || ')', 'false') END,
    CASE WHEN r.from_date IS NOT NULL THEN format('create_date >= %L', r.from_date) END,
    CASE WHEN r.to_date IS NOT NULL THEN format('create_date <= %L', r.to_date) END);
END $$;
COMMENT ON FUNCTION cloakroom.login_condition(cloakroom.requests) IS
  'the WHERE clause of user_logins that a request selects by';

CREATE OR REPLACE FUNCTION cloakroom.rejection_condition(r cloakroom.requests) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN NOT 'body' = ANY (r.fields) OR r.by_tokens IS NOT NULL THEN 'false' ELSE concat_ws(' AND ',
    CASE WHEN r.by_user IS NOT NULL THEN format('user_id = %L', r.by_user) END,
    CASE WHEN r.by_message IS NOT NULL THEN format('message_id = %L', r.by_message) END,
    CASE WHEN r.by_rejection IS NOT NULL THEN format('reason = %L', r.by_rejection) END,
    CASE WHEN r.from_date IS NOT NULL THEN format('create_date >= %L', r.from_date) END,
    CASE WHEN r.to_date IS NOT NULL THEN format('create_date <= %L', r.to_date) END) END
$$;
COMMENT ON FUNCTION cloakroom.rejection_condition(cloakroom.requests) IS
  'the WHERE clause of rejections that a request selects by';

CREATE OR REPLACE FUNCTION cloakroom.count_selected(r cloakroom.requests) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint;
BEGIN
  IF r.purpose = 'forget' THEN
    RETURN (SELECT p.logins + p.rejections FROM cloakroom.forget_plan(r.id) AS p);
  END IF;
  EXECUTE format('SELECT (SELECT count(*) FROM (SELECT FROM cloakroom.user_logins WHERE %s LIMIT $1) l)
                       + (SELECT count(*) FROM (SELECT FROM cloakroom.rejections WHERE %s LIMIT $1) r)',
                 cloakroom.login_condition(r), cloakroom.rejection_condition(r))
    INTO STRICT n USING r.row_limit + 1;
  RETURN least(n, r.row_limit + 1);
END $$;
COMMENT ON FUNCTION cloakroom.count_selected(cloakroom.requests) IS
  'rows the request selects now, at most one more than its limit; of a request to forget, the rows there are to clear';
