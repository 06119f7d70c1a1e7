-- leakage: how much the frequencies of tokens give away. What is returned are counts, and counts of counts; tokens only
-- to the rotator, who may read them anyway and hold the index key, too.

CREATE OR REPLACE FUNCTION cloakroom.rank_matching(p_rows bigint[], p_known bigint[], p_tokens bigint[])
RETURNS double precision
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  -- Tokens with one count share their ranks, each at each with the same chance, and so do values; both are at one rank
  -- with the chance (ranks in common) / (size * size). RankMatching of package leakage is the same, and a test
  -- compares them.
  WITH h AS (SELECT * FROM unnest(p_rows, p_known, p_tokens) AS c(n, m, k)),
       a AS (SELECT n, sum(k) AS size, sum(sum(k)) OVER (ORDER BY n DESC) AS past FROM h WHERE n > 0 GROUP BY n),
       b AS (SELECT m, sum(k) AS size, sum(sum(k)) OVER (ORDER BY m DESC) AS past FROM h WHERE m > 0 GROUP BY m)
  SELECT coalesce(sum(h.n * h.k * greatest(0, least(a.past, b.past) - greatest(a.past - a.size, b.past - b.size))
                      / a.size / b.size), 0)::double precision
    FROM h JOIN a USING (n) JOIN b USING (m)
$$;
COMMENT ON FUNCTION cloakroom.rank_matching(bigint[], bigint[], bigint[]) IS
  'expected rows whose value is guessed right if tokens and values are sorted by count, ties at random: p_tokens '
  'tokens have p_rows rows in the month and p_known in what is known';

CREATE OR REPLACE FUNCTION cloakroom.shown_column(p_dataset text, p_member text, p_index text) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- The oldest live version: while a reindex fills the next one, that is the one that is whole.
  SELECT c.column_name FROM cloakroom.token_columns(p_dataset, cloakroom.live_versions()) AS c
   WHERE c.member = p_member AND c.index_name = p_index ORDER BY c.version LIMIT 1
$$;
COMMENT ON FUNCTION cloakroom.shown_column(text, text, text) IS
  'the token column of an index that analysts see; or NULL';

CREATE OR REPLACE FUNCTION cloakroom.require_shown(p_dataset text, p_columns name[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  unknown name;
BEGIN
  SELECT c.n INTO unknown FROM unnest(p_columns) AS c(n)
   WHERE NOT EXISTS (SELECT FROM cloakroom.dataset_columns k
                      WHERE k.dataset = p_dataset AND k.column_name = c.n AND k.kind IN ('clear', 'reveal', 'token'));
  IF FOUND THEN
    RAISE EXCEPTION 'dataset % has no column % in clear or of tokens', p_dataset, unknown USING ERRCODE = 'CR012';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_shown(text, name[]) IS
  'refuses columns that are not in the definition, or are sealed: their names become part of a statement';

CREATE OR REPLACE FUNCTION cloakroom.enough_tokens(p_dataset text, p_column name, p_month date) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found_rows bigint;
BEGIN
  EXECUTE format($q$SELECT count(*) FROM (
      SELECT u.row_id FROM %s u WHERE u.create_date >= %L AND u.create_date < %L AND u.%I <> '-' LIMIT 10000) AS few$q$,
    cloakroom.row_table(p_dataset), p_month, (p_month + interval '1 month')::date, p_column) INTO STRICT found_rows;
  RETURN found_rows;
END $$;
COMMENT ON FUNCTION cloakroom.enough_tokens(text, name, date) IS
  'how many rows of a month have a token, counted up to 10,000, from which on an index is judged';

CREATE OR REPLACE FUNCTION cloakroom.leakage_span(
  p_dataset text, p_column name, p_month date DEFAULT NULL, OUT month date, OUT halves boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  candidate date;
BEGIN
  PERFORM cloakroom.require_shown(p_dataset, ARRAY[p_column]);
  month := date_trunc('month', p_month)::date;
  IF month IS NULL THEN
    FOR candidate IN
      SELECT DISTINCT date_trunc('month', p.from_date)::date FROM cloakroom.partitions(p_dataset) AS p ORDER BY 1 DESC
    LOOP
      CASE WHEN cloakroom.enough_tokens(p_dataset, p_column, candidate) >= 10000 THEN
        month := candidate;
        EXIT;
      WHEN month IS NULL AND cloakroom.enough_tokens(p_dataset, p_column, candidate) > 0 THEN
        month := candidate;
      ELSE
      END CASE;
    END LOOP;
  END IF;
  halves := cloakroom.enough_tokens(p_dataset, p_column, (month - interval '1 month')::date) < 10000;
END $$;
COMMENT ON FUNCTION cloakroom.leakage_span(text, name, date) IS
  'the month to attack, unless given the newest with 10,000 tokens, else the newest with any; halves: the month before '
  'has too few, so one half of the rows is what the attacker knows';
GRANT EXECUTE ON FUNCTION cloakroom.leakage_span(text, name, date) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.span_condition(p_month date, p_halves boolean, OUT rows text, OUT known text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  -- Ids are random, or digests: their last bit is a coin.
  SELECT format('u.create_date >= %L AND u.create_date < %L',
                CASE WHEN p_halves THEN p_month ELSE (p_month - interval '1 month')::date END,
                (p_month + interval '1 month')::date),
         CASE WHEN p_halves THEN 'get_byte(uuid_send(u.row_id), 15) & 1 = 0'
              ELSE format('u.create_date < %L', p_month) END
$$;
COMMENT ON FUNCTION cloakroom.span_condition(date, boolean) IS
  'conditions on a row u: that it is looked at, and that it is what the attacker knows';

CREATE OR REPLACE FUNCTION cloakroom.measure_index(p_dataset text, p_member text, p_index text)
RETURNS cloakroom.leakage
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET work_mem = '256MB' AS $$
DECLARE
  col name := cloakroom.shown_column(p_dataset, p_member, p_index);
  at record;
  span record;
  ns bigint[];
  ms bigint[];
  ks bigint[];
  figure cloakroom.leakage;
BEGIN
  IF col IS NULL THEN
    RAISE EXCEPTION 'dataset % has no index % of %', p_dataset, p_index, p_member USING ERRCODE = 'CR012';
  END IF;
  SELECT * INTO STRICT at FROM cloakroom.leakage_span(p_dataset, col);
  IF at.month IS NOT NULL THEN
    SELECT * INTO STRICT span FROM cloakroom.span_condition(at.month, at.halves);
    EXECUTE format($q$
      WITH t AS (SELECT count(*) FILTER (WHERE NOT (%2$s)) AS n, count(*) FILTER (WHERE %2$s) AS m
                   FROM %3$s u WHERE %1$s AND u.%4$I <> '-' GROUP BY u.%4$I),
           h AS (SELECT t.n, t.m, count(*) AS k FROM t GROUP BY 1, 2)
      SELECT array_agg(h.n), array_agg(h.m), array_agg(h.k), sum(h.n * h.k), sum(h.k) FILTER (WHERE h.n > 0) FROM h$q$,
      span.rows, span.known, cloakroom.row_table(p_dataset), col) INTO STRICT ns, ms, ks, figure.rows, figure.tokens;
    figure.gives_away := cloakroom.rank_matching(ns, ms, ks) / nullif(figure.rows, 0);
  END IF;
  INSERT INTO cloakroom.leakage AS o (dataset, member, index_name, month, halves, rows, tokens, gives_away)
  VALUES (p_dataset, p_member, p_index, at.month, at.halves, coalesce(figure.rows, 0), coalesce(figure.tokens, 0),
          coalesce(figure.gives_away, 0))
  ON CONFLICT (dataset, member, index_name) DO UPDATE
    SET month = excluded.month, halves = excluded.halves, rows = excluded.rows, tokens = excluded.tokens,
        gives_away = excluded.gives_away, measured_by = session_user, measured_at = clock_timestamp()
  RETURNING * INTO STRICT figure;
  RETURN figure;
END $$;
COMMENT ON FUNCTION cloakroom.measure_index(text, text, text) IS
  'measures what an index gives away by rank matching, and keeps it for keys status and for the gate. Reads two months';
GRANT EXECUTE ON FUNCTION cloakroom.measure_index(text, text, text) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.leakage_figures()
RETURNS TABLE (dataset text, member text, index_name text, month date, halves boolean, rows bigint, tokens bigint,
               gives_away double precision, measured_at timestamptz, accepted text, accepted_by name)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.dataset, c.member, c.index_name, l.month, l.halves, l.rows, l.tokens, l.gives_away, l.measured_at,
         l.accepted, l.accepted_by
    FROM (SELECT DISTINCT ON (dataset, member, index_name) * FROM cloakroom.dataset_columns WHERE kind = 'token'
           ORDER BY dataset, member, index_name, version) AS c
    LEFT JOIN cloakroom.leakage l USING (dataset, member, index_name)
   ORDER BY c.dataset, c.position
$$;
COMMENT ON FUNCTION cloakroom.leakage_figures() IS
  'what each index gave away when it was last measured; NULL: it never was. Reads no row';
GRANT EXECUTE ON FUNCTION cloakroom.leakage_figures() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.leakage_values(p_dataset text, p_columns name[], p_month date)
RETURNS TABLE (column_name name, "values" integer)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM cloakroom.require_shown(p_dataset, p_columns);
  FOREACH column_name IN ARRAY p_columns LOOP
    EXECUTE format('SELECT count(DISTINCT s.v) FROM (
                      SELECT u.%I::text AS v FROM %s u WHERE u.create_date >= %L AND u.create_date < %L
                       LIMIT 100000) AS s',
      column_name, cloakroom.row_table(p_dataset), p_month, (p_month + interval '1 month')::date)
      INTO STRICT leakage_values."values";
    RETURN NEXT;
  END LOOP;
END $$;
COMMENT ON FUNCTION cloakroom.leakage_values(text, name[], date) IS
  'how many values columns have among 100,000 rows of a month';
GRANT EXECUTE ON FUNCTION cloakroom.leakage_values(text, name[], date) TO cloakroom_rotator;
