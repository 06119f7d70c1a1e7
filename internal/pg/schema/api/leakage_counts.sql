-- leakage_counts: what keys dataset leakage reads. The counts of an index with what is clear beside it, people and the
-- days on which their tokens occur, and how often given tokens do.

CREATE OR REPLACE FUNCTION cloakroom.leakage_counts(
  p_dataset text, p_columns name[], p_beside name[], p_month date, p_halves boolean, p_heads integer)
RETURNS TABLE (part text, n bigint[], m bigint[], k bigint[], is_token boolean, is_value boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET work_mem = '256MB' AS $$
DECLARE
  span record;
  tokens text := (SELECT string_agg('t' || i, ', ') FROM generate_subscripts(p_columns, 1) AS i);
  cells text := (SELECT string_agg('c' || i, ', ') FROM generate_subscripts(p_beside, 1) AS i);
  selected text := (SELECT string_agg(format('u.%I AS %s', p.name, p.label), ', ') FROM (
    SELECT name, 't' || i FROM unnest(p_columns) WITH ORDINALITY AS c(name, i)
    UNION ALL SELECT name, 'c' || i FROM unnest(p_beside) WITH ORDINALITY AS c(name, i)) AS p(name, label));
BEGIN
  PERFORM cloakroom.require_shown(p_dataset, p_columns || p_beside);
  SELECT * INTO STRICT span FROM cloakroom.span_condition(p_month, p_halves);
  RETURN QUERY EXECUTE format($q$
    WITH h AS MATERIALIZED (
      SELECT %1$s, count(*) FILTER (WHERE NOT (%2$s)) AS n, count(*) FILTER (WHERE %2$s) AS m
        FROM %3$s u WHERE %4$s AND u.%5$I IS NOT NULL GROUP BY %6$s),
    a AS MATERIALIZED (SELECT %7$s, sum(h.n)::bigint AS n, sum(h.m)::bigint AS m FROM h WHERE t1 <> '-' GROUP BY %7$s)
    SELECT 'nothing', ARRAY[coalesce(sum(h.n), 0)::bigint], ARRAY[coalesce(sum(h.m), 0)::bigint], NULL::bigint[],
           false, false FROM h WHERE t1 = '-'
    UNION ALL
    SELECT 'alone', array_agg(p.n), array_agg(p.m), array_agg(p.k), false, false
      FROM (SELECT a.n, a.m, count(*) AS k FROM a GROUP BY 1, 2) AS p$q$
    || CASE WHEN cells IS NULL THEN '' ELSE $q$
    UNION ALL
    SELECT 'cell', array_agg(p.n), array_agg(p.m), array_agg(p.k), false, false
      FROM (SELECT %8$s, h.n, h.m, count(*) AS k FROM h WHERE t1 <> '-' GROUP BY %8$s, h.n, h.m) AS p
     GROUP BY %8$s$q$ END
    || CASE WHEN cells IS NULL OR p_heads = 0 THEN '' ELSE $q$
    UNION ALL (
    -- Of tokens with one count, which are taken is chance, and another chance on either side.
    WITH x AS MATERIALIZED (SELECT a.t1 FROM a WHERE a.n > 0 ORDER BY a.n DESC, hashtextextended(a.t1, 1) LIMIT $1),
         y AS MATERIALIZED (SELECT a.t1 FROM a WHERE a.m > 0 ORDER BY a.m DESC, hashtextextended(a.t1, 2) LIMIT $1),
         z AS MATERIALIZED (SELECT t1, bool_or(s.of_x) AS is_token, bool_or(NOT s.of_x) AS is_value
                FROM (SELECT x.t1, true FROM x UNION ALL SELECT y.t1, false FROM y) AS s(t1, of_x) GROUP BY t1)
    SELECT 'head', array_agg(p.n), array_agg(p.m), array_agg(p.cell), p.is_token, p.is_value
      FROM (SELECT t1, h.n, h.m, z.is_token, z.is_value, dense_rank() OVER (ORDER BY %8$s) AS cell
              FROM h JOIN z USING (t1)) AS p
     GROUP BY p.t1, p.is_token, p.is_value ORDER BY hashtextextended(p.t1, 3))$q$ END,
    selected, span.known, cloakroom.row_table(p_dataset), span.rows, p_columns[1], concat_ws(', ', tokens, cells),
    tokens, cells) USING p_heads;
END $$;
COMMENT ON FUNCTION cloakroom.leakage_counts(text, name[], name[], date, boolean, integer) IS
  'of tuples of token columns: how many mean nothing; how many have counts n in the month and m in what is known (k of '
  'them), alone and within each cell of the columns beside; and of the p_heads most frequent the counts in each cell '
  '(k)';
GRANT EXECUTE ON FUNCTION cloakroom.leakage_counts(text, name[], name[], date, boolean, integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.leakage_pairs(p_dataset text, p_column name, p_month date, p_users integer)
RETURNS TABLE (who bigint, token text, day text, holders bigint[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET work_mem = '256MB' AS $$
DECLARE
  d cloakroom.datasets := cloakroom.dataset_of(p_dataset);
  part text := format('%s u WHERE u.create_date >= %L AND u.create_date < %L AND u.%I <> ''-'' AND u.%I IS NOT NULL',
    cloakroom.row_table(d.name), p_month, (p_month + interval '1 month')::date, p_column, d.subject);
  subjects text[];
  of_subjects text[];
  tokens text[];
  days date[];
BEGIN
  PERFORM cloakroom.require_shown(d.name, ARRAY[p_column]);
  IF d.subject IS NULL THEN
    RETURN;
  END IF;
  -- The order of a hash of a fixed seed is a draw that is the same again.
  EXECUTE format('SELECT array_agg(s.name) FROM (
                    SELECT u.%1$I::text AS name FROM %2$s GROUP BY 1
                     ORDER BY hashtextextended(u.%1$I::text, 2015) LIMIT $1) AS s',
                 d.subject, part) INTO STRICT subjects USING p_users;
  EXECUTE format('SELECT array_agg(p.s ORDER BY p.s, p.r), array_agg(p.t ORDER BY p.s, p.r),
                         array_agg(p.d ORDER BY p.s, p.r)
                    FROM (SELECT q.s, q.t, q.d,
                                 row_number() OVER (PARTITION BY q.s
                                                    ORDER BY hashtextextended(q.s || q.t || q.d, 4)) AS r
                            FROM (SELECT DISTINCT u.%I::text AS s, u.%I::text AS t, u.create_date AS d
                                    FROM %s AND u.%1$I::text = ANY ($1)) AS q) AS p
                   WHERE p.r <= 4', d.subject, p_column, part) INTO STRICT of_subjects, tokens, days USING subjects;
  RETURN QUERY SELECT hashtextextended(x.s, 2015), x.t, x.d::text, NULL::bigint[]
    FROM unnest(of_subjects, tokens, days) AS x(s, t, d);
  RETURN QUERY EXECUTE format('SELECT NULL::bigint, u.%I::text, u.create_date::text,
                                      array_agg(DISTINCT hashtextextended(u.%I::text, 2015))
                                 FROM %s AND u.%1$I = ANY ($1) AND u.create_date = ANY ($2) GROUP BY 2, 3',
    p_column, d.subject, part) USING tokens, days;
END $$;
COMMENT ON FUNCTION cloakroom.leakage_pairs(text, name, date, integer) IS
  'subjects drawn from a month (a hash of each) with up to four of their pairs of token and day, and then of each pair '
  'all who have it';
GRANT EXECUTE ON FUNCTION cloakroom.leakage_pairs(text, name, date, integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.token_rows(p_dataset text, p_column name, p_month date, p_tokens text[])
RETURNS TABLE (token text, rows bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM cloakroom.require_shown(p_dataset, ARRAY[p_column]);
  RETURN QUERY EXECUTE format('SELECT u.%I::text, count(*) FROM %s u
                                WHERE u.create_date >= %L AND u.create_date < %L AND u.%1$I = ANY ($1) GROUP BY 1',
    p_column, cloakroom.row_table(p_dataset), p_month, (p_month + interval '1 month')::date) USING p_tokens;
END $$;
COMMENT ON FUNCTION cloakroom.token_rows(text, name, date, text[]) IS
  'how many rows of a month have each of these tokens. For the rotator alone: a login that makes tokens and had only '
  'this could ask how often any value occurs';
GRANT EXECUTE ON FUNCTION cloakroom.token_rows(text, name, date, text[]) TO cloakroom_rotator;
