-- evolve_gate: a new index is judged once the rows that are there have its tokens, before an analyst sees one.

CREATE OR REPLACE FUNCTION cloakroom.judged(p_rotation bigint)
RETURNS TABLE (dataset text, member text, index_name text, month date, halves boolean, rows bigint, tokens bigint,
               gives_away double precision, verdict text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- MinRows and MaxGivesAway of package leakage are the same limits. A half of 10,000 rows is judged, too.
  SELECT l.dataset, l.member, l.index_name, l.month, l.halves, l.rows, l.tokens, l.gives_away,
         CASE WHEN l.rows < CASE WHEN l.halves THEN 5000 ELSE 10000 END THEN 'too few rows'
              WHEN l.gives_away > 0.05 THEN 'too much' ELSE 'ok' END
    FROM cloakroom.evolutions e JOIN cloakroom.rotations r ON r.id = e.rotation
    JOIN cloakroom.dataset_columns c ON c.dataset = e.dataset AND c.column_name = ANY (e.judged_columns)
    JOIN cloakroom.leakage l ON l.dataset = c.dataset AND l.member = c.member AND l.index_name = c.index_name
   WHERE e.rotation = p_rotation AND l.measured_at > r.started_at
   ORDER BY c.position
$$;
COMMENT ON FUNCTION cloakroom.judged(bigint) IS 'the new indexes of a change, as far as they were measured during it';

CREATE OR REPLACE FUNCTION cloakroom.judge_evolution(p_rotation bigint, p_step integer)
RETURNS TABLE (dataset text, member text, index_name text, month date, halves boolean, rows bigint, tokens bigint,
               gives_away double precision, verdict text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  e cloakroom.evolutions;
BEGIN
  -- Reading two months takes a while, and no lock is held meanwhile.
  PERFORM cloakroom.measure_index(c.dataset, c.member, c.index_name)
     FROM cloakroom.evolutions x JOIN cloakroom.dataset_columns c ON c.dataset = x.dataset
      AND c.column_name = ANY (x.judged_columns)
    WHERE x.rotation = p_rotation;
  e := cloakroom.evolving(p_rotation, p_step);
  IF e.rotation IS NULL THEN
    RETURN;
  END IF;
  IF NOT EXISTS (SELECT FROM cloakroom.evolution_steps s
                  WHERE s.rotation = p_rotation AND s.number = p_step AND s.run_by = 'gate') THEN
    RAISE EXCEPTION 'nothing is to be judged in this step' USING ERRCODE = 'CR013';
  END IF;
  -- What was accepted once was an index that has been dropped since.
  UPDATE cloakroom.leakage l SET accepted = NULL, accepted_by = NULL
    FROM cloakroom.judged(p_rotation) AS j
   WHERE l.dataset = j.dataset AND l.member = j.member AND l.index_name = j.index_name;
  RETURN QUERY SELECT j.* FROM cloakroom.judged(p_rotation) AS j;
  IF NOT EXISTS (SELECT FROM cloakroom.judged(p_rotation) AS j WHERE j.verdict = 'too much') THEN
    PERFORM cloakroom.evolved(p_rotation, p_step);
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.judge_evolution(bigint, integer) IS
  'measures the new indexes of a change; on to the next step, unless one gives away more than 5 % of 10,000 rows or '
  'more';
GRANT EXECUTE ON FUNCTION cloakroom.judge_evolution(bigint, integer) TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.accept_leakage(p_rotation bigint, p_step integer, p_reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  e cloakroom.evolutions := cloakroom.evolving(p_rotation, p_step);
  accepted text[];
  figures json;
BEGIN
  IF e.rotation IS NULL THEN
    RETURN;
  END IF;
  PERFORM cloakroom.require_durable_commit();
  IF coalesce(length(btrim(p_reason)), 0) NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION 'the reason is empty, or longer than 1000 characters' USING ERRCODE = 'CR013';
  END IF;
  SELECT array_agg(concat(j.member, ' ', j.index_name)),
         json_agg(json_build_object('index', concat(j.member, ' ', j.index_name), 'gives_away',
                                    round(j.gives_away::numeric, 4), 'rows', j.rows, 'month', j.month))
    INTO accepted, figures FROM cloakroom.judged(p_rotation) AS j WHERE j.verdict = 'too much';
  -- What was not measured cannot be accepted: the reason would be for figures that nobody saw.
  IF accepted IS NULL OR NOT EXISTS (SELECT FROM cloakroom.evolution_steps s
      WHERE s.rotation = p_rotation AND s.number = p_step AND s.run_by = 'gate') THEN
    RAISE EXCEPTION 'no index of this change was judged to give away too much' USING ERRCODE = 'CR013',
      HINT = 'keys rotate judges them first.';
  END IF;
  UPDATE cloakroom.leakage l SET accepted = p_reason, accepted_by = session_user
    FROM cloakroom.judged(p_rotation) AS j
   WHERE j.verdict = 'too much' AND l.dataset = j.dataset AND l.member = j.member AND l.index_name = j.index_name;
  PERFORM cloakroom.evolved(p_rotation, p_step);
  PERFORM cloakroom.append_leaf('dataset.leakage', p_fields => accepted, p_dataset => e.dataset,
    p_result => json_build_object('accepted', p_reason, 'figures', figures)::text);
END $$;
COMMENT ON FUNCTION cloakroom.accept_leakage(bigint, integer, text) IS
  'lets a change go on although new indexes give away too much, and logs the reason with the figures';
GRANT EXECUTE ON FUNCTION cloakroom.accept_leakage(bigint, integer, text) TO cloakroom_rotator;
