-- Files and objects that were ingested. A name gives the events their ids, so a second run stores nothing twice; how
-- far it has come spares that run the events.

CREATE OR REPLACE FUNCTION cloakroom.fix_source(p_name text, p_dataset text, p_date date) RETURNS date
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d cloakroom.datasets := cloakroom.dataset_of(p_dataset);
  fixed cloakroom.sources;
BEGIN
  INSERT INTO cloakroom.sources (name, dataset, create_date) VALUES (p_name, d.name, p_date) ON CONFLICT DO NOTHING;
  SELECT * INTO STRICT fixed FROM cloakroom.sources WHERE name = p_name;
  IF fixed.dataset <> d.name THEN
    RAISE EXCEPTION 'this source was ingested into dataset % before', fixed.dataset USING ERRCODE = 'CR013',
      HINT = 'Name another source with --source.';
  END IF;
  RETURN fixed.create_date;
END $$;
COMMENT ON FUNCTION cloakroom.fix_source(text, text, date) IS
  'records a source, its dataset and its date; returns the date that its first run fixed';
GRANT EXECUTE ON FUNCTION cloakroom.fix_source(text, text, date) TO cloakroom_ingest;

CREATE OR REPLACE FUNCTION cloakroom.fix_sources(p_dataset text, p_names text[], p_dates date[])
RETURNS TABLE (name text, create_date date, seen boolean, "position" bigint, finished boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d cloakroom.datasets := cloakroom.dataset_of(p_dataset);
  added text[];
  other cloakroom.sources;
BEGIN
  -- In the order of the names: two runs over the same objects do not wait for each other in a circle.
  WITH given AS (SELECT DISTINCT ON (n) n, day FROM unnest(p_names, p_dates) AS g(n, day) ORDER BY n),
       inserted AS (INSERT INTO cloakroom.sources (name, dataset, create_date)
                    SELECT n, d.name, day FROM given ORDER BY n ON CONFLICT DO NOTHING RETURNING sources.name)
  SELECT coalesce(array_agg(inserted.name), '{}') INTO STRICT added FROM inserted;
  SELECT * INTO other FROM cloakroom.sources AS s WHERE s.name = ANY (p_names) AND s.dataset <> d.name LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'source % was ingested into dataset % before', other.name, other.dataset USING ERRCODE = 'CR013',
      HINT = 'Name that dataset with --dataset.';
  END IF;
  RETURN QUERY SELECT s.name, s.create_date, s.name <> ALL (added), s.position, s.finished_at IS NOT NULL
                 FROM cloakroom.sources AS s WHERE s.name = ANY (p_names);
END $$;
COMMENT ON FUNCTION cloakroom.fix_sources(text, text[], date[]) IS
  'records sources of a dataset and their dates; returns the dates that the first run fixed, whether a source was '
  'there before, and how far it has come';
GRANT EXECUTE ON FUNCTION cloakroom.fix_sources(text, text[], date[]) TO cloakroom_ingest;

CREATE OR REPLACE FUNCTION cloakroom.note_sources(
  p_dataset text, p_names text[], p_positions bigint[], p_finished boolean[]
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- In the order of the names, as above. A source never goes back: of two runs over one object, the one behind may be
  -- the one that tells later.
  PERFORM FROM cloakroom.sources AS s WHERE s.name = ANY (p_names) AND s.dataset = p_dataset ORDER BY s.name FOR UPDATE;
  UPDATE cloakroom.sources AS s
     SET position = greatest(s.position, g.pos),
         finished_at = CASE WHEN g.finished THEN coalesce(s.finished_at, clock_timestamp()) ELSE s.finished_at END
    FROM unnest(p_names, p_positions, p_finished) AS g(n, pos, finished)
   WHERE s.name = g.n AND s.dataset = p_dataset;
END $$;
COMMENT ON FUNCTION cloakroom.note_sources(text, text[], bigint[], boolean[]) IS
  'notes how many of a source''s first events are committed, and whether these are all; call it after their commit';
GRANT EXECUTE ON FUNCTION cloakroom.note_sources(text, text[], bigint[], boolean[]) TO cloakroom_ingest;
