-- select: which rows and rejections a request is about.

CREATE OR REPLACE FUNCTION cloakroom.live_versions() RETURNS integer[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(array_agg(version ORDER BY version), '{}') FROM cloakroom.index_keys WHERE state = 'live'
$$;
COMMENT ON FUNCTION cloakroom.live_versions() IS 'the index keys under which tokens are written now';

CREATE OR REPLACE FUNCTION cloakroom.other_versions_tokens(
  p_dataset text, p_field text, p_index text, p_tokens text[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  versions integer[] := cloakroom.live_versions();
  tokens text[] := p_tokens;
  found_tokens text[];
  at record;
BEGIN
  -- During a reindex a row has a token under each version: a row that carries the token asked for gives the others.
  IF cardinality(versions) < 2 THEN
    RETURN tokens;
  END IF;
  FOR at IN
    SELECT t.column_name, string_agg(format('%I', o.column_name), ', ' ORDER BY o.n) AS columns
      FROM cloakroom.token_columns(p_dataset, versions) AS t
      JOIN cloakroom.token_columns(p_dataset, versions) AS o USING (member, index_name)
     WHERE (p_field IS NULL OR t.member = p_field) AND (p_index IS NULL OR t.index_name = p_index)
     GROUP BY t.column_name LOOP
    EXECUTE format('SELECT ARRAY[%s]::text[] FROM %s WHERE %I = ANY ($1) LIMIT 1',
      at.columns, cloakroom.row_table(p_dataset), at.column_name)
      INTO found_tokens USING p_tokens;
    tokens := tokens || coalesce(found_tokens, '{}');
  END LOOP;
  RETURN (SELECT array_agg(DISTINCT t) FROM unnest(tokens) AS t WHERE t IS NOT NULL AND t <> '-');
END $$;
COMMENT ON FUNCTION cloakroom.other_versions_tokens(text, text, text, text[]) IS
  'these tokens, and those that the same values have under the other live index keys';

CREATE OR REPLACE FUNCTION cloakroom.canonical_subject(p_dataset text, p_subject text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  -- Without its length: a cast to varchar(n) cuts a longer text off, and would find somebody else.
  kind text := (SELECT format_type(a.atttypid, NULL) FROM cloakroom.datasets d
    JOIN pg_attribute a ON a.attrelid = cloakroom.row_table(d.name) AND a.attname = d.subject WHERE d.name = p_dataset);
  canonical text;
BEGIN
  IF kind IS NOT NULL THEN
    EXECUTE format('SELECT $1::%s::text', kind) INTO canonical USING p_subject;
  END IF;
  RETURN canonical;
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END $$;
COMMENT ON FUNCTION cloakroom.canonical_subject(text, text) IS
  'a subject as the rows and rejections of a dataset have it; NULL if it is not of the type of the dataset''s subject';

CREATE OR REPLACE FUNCTION cloakroom.subject_condition(p_dataset text, p_subject text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- A literal takes the column's type, so that its index serves.
  SELECT coalesce((
    SELECT format('u.%I = %L', subject, cloakroom.canonical_subject(name, p_subject)) FROM cloakroom.datasets
     WHERE name = p_dataset AND cloakroom.canonical_subject(name, p_subject) IS NOT NULL), 'false')
$$;
COMMENT ON FUNCTION cloakroom.subject_condition(text, text) IS
  'the WHERE clause of a dataset''s row table u that selects the rows of a subject';

CREATE OR REPLACE FUNCTION cloakroom.row_condition(r cloakroom.requests) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d cloakroom.datasets := cloakroom.dataset_of(r.dataset);
  tokens text;
  -- Noted before the tokens are looked up: if nothing comes of that, the condition must select nothing, not all.
  by_tokens boolean := r.by_tokens IS NOT NULL;
BEGIN
  IF r.fields = ARRAY['body'] OR r.by_rejection IS NOT NULL THEN
    RETURN 'false';
  END IF;
  IF by_tokens THEN
    -- Looked up now and not when it was asked for: whether a value occurs is itself something to be approved.
    r.by_tokens := cloakroom.other_versions_tokens(d.name, r.by_field, r.by_index, r.by_tokens);
    SELECT string_agg(format('u.%I = ANY (%L::text[])', t.column_name, r.by_tokens), ' OR ') INTO STRICT tokens
      FROM cloakroom.token_columns(d.name, cloakroom.live_versions()) AS t
     WHERE (r.by_field IS NULL OR t.member = r.by_field) AND (r.by_index IS NULL OR t.index_name = r.by_index);
  END IF;
  -- Literals are quoted by format; concat_ws leaves out what is NULL. A selector that the dataset lacks selects
  -- nothing.
  RETURN concat_ws(' AND ',
    CASE WHEN r.by_subject IS NOT NULL THEN cloakroom.subject_condition(d.name, r.by_subject) END,
    CASE WHEN r.by_row IS NOT NULL THEN format('u.row_id = %L', r.by_row) END,
    CASE WHEN r.by_message IS NOT NULL THEN
      format('u.%I = %L', (cloakroom.delivery(d)).message, r.by_message) END,
    CASE WHEN by_tokens THEN coalesce('(' || tokens || ')', 'false') END,
    -- The time says the same as the date, and the primary key begins with it: a row id is looked for among its day's.
    CASE WHEN r.from_date IS NOT NULL THEN
      format('u.create_date >= %1$L AND u.sent >= %1$L::timestamp AT TIME ZONE %2$L', r.from_date, 'UTC') END,
    CASE WHEN r.to_date IS NOT NULL THEN
      format('u.create_date <= %L AND u.sent < %L::timestamp AT TIME ZONE %L', r.to_date, r.to_date + 1, 'UTC') END);
END $$;
COMMENT ON FUNCTION cloakroom.row_condition(cloakroom.requests) IS
  'the WHERE clause of the row table u that a request selects by';

CREATE OR REPLACE FUNCTION cloakroom.rejection_condition(r cloakroom.requests) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN NOT 'body' = ANY (r.fields) OR r.by_tokens IS NOT NULL OR r.by_row IS NOT NULL THEN 'false'
    ELSE concat_ws(' AND ',
    format('dataset = %L', r.dataset),
    CASE WHEN r.by_subject IS NOT NULL THEN format('subject = %L', r.by_subject) END,
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
    RETURN (SELECT c.rows + c.rejections FROM cloakroom.count_person(r.by_subject) AS c);
  END IF;
  EXECUTE format('SELECT (SELECT count(*) FROM (SELECT 1 FROM %s u WHERE %s LIMIT $1) l)
                       + (SELECT count(*) FROM (SELECT 1 FROM cloakroom.rejections WHERE %s LIMIT $1) r)',
                 cloakroom.row_table(r.dataset), cloakroom.row_condition(r), cloakroom.rejection_condition(r))
    INTO STRICT n USING r.row_limit + 1;
  RETURN least(n, r.row_limit + 1);
END $$;
COMMENT ON FUNCTION cloakroom.count_selected(cloakroom.requests) IS
  'rows the request selects now, at most one more than its limit; of a request to forget, the rows there are to clear';

CREATE OR REPLACE FUNCTION cloakroom.count_people(r cloakroom.requests) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint;
BEGIN
  IF r.purpose = 'forget' OR (cloakroom.dataset_of(r.dataset)).subject IS NULL THEN
    RETURN NULL;
  END IF;
  EXECUTE format('SELECT count(DISTINCT s) FROM (
      (SELECT %s AS s FROM %s u WHERE %s LIMIT $1)
      UNION ALL (SELECT subject FROM cloakroom.rejections WHERE %s LIMIT $1)) AS l',
    cloakroom.subject_of(r.dataset), cloakroom.row_table(r.dataset), cloakroom.row_condition(r),
    cloakroom.rejection_condition(r)) INTO STRICT n USING r.row_limit + 1;
  RETURN n;
END $$;
COMMENT ON FUNCTION cloakroom.count_people(cloakroom.requests) IS
  'of how many people the rows are that a request selects; NULL where the dataset does not say';
