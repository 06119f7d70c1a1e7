-- A reseal counted five times what data keys hold, one process at a time: a twelfth of its time. It still counts before it takes keys for
-- empty, and at its end; what it has ahead is told from a sample.
-- +goose Up

-- STABLE, so that it may run in parallel. It sees what the statement sees that calls it; each of the callers, being VOLATILE, takes a
-- snapshot for that statement.
ALTER FUNCTION cloakroom.data_key_rows(integer[]) STABLE;

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION cloakroom.pass_rows(p_rotation bigint, p_pass text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  sampled CONSTANT integer := 1000;  -- pages of a month; a month of fewer is counted
  keys integer[] := (SELECT r.data_keys FROM cloakroom.rotations r WHERE r.id = p_rotation);
  part regclass;
  percent real;
  found bigint;
  n bigint := 0;
BEGIN
  IF p_pass = 'rejections' THEN
    RETURN (SELECT count(*) FROM cloakroom.rejections r WHERE r.data_key = ANY (keys));
  END IF;
  FOR part IN SELECT cloakroom.month_partition(s.month)
                FROM (SELECT DISTINCT month FROM cloakroom.rotation_slices WHERE rotation = p_rotation AND pass = p_pass AND NOT done) s LOOP
    CONTINUE WHEN part IS NULL;
    IF p_pass = 'reseal' THEN
      percent := least(100, 100.0 * sampled * current_setting('block_size')::integer / greatest(pg_relation_size(part), 1));
      EXECUTE format('SELECT count(*) FROM %s TABLESAMPLE SYSTEM (%s) WHERE data_key = ANY ($1)', part, percent) INTO found USING keys;
      n := n + (found * 100 / percent)::bigint;
    ELSE
      -- As the last ANALYZE counted: a count of its own would cost as much as a tenth of the pass.
      n := n + (SELECT greatest(c.reltuples, 0)::bigint FROM pg_class c WHERE c.oid = part);
    END IF;
  END LOOP;
  RETURN n;
END $$;
-- +goose StatementEnd
