-- A batch of a rotation does not wait for the disk: a tenth of its time, and of what ingest beside it has to wait for. A crash of the
-- server may undo the last batches, with the watermarks that say that they were done, since both are in one transaction; and what
-- builds on a batch (an end of a pass, a retired key, a leaf of the audit log) is committed durably after it, which takes all that is
-- before it in the write-ahead log to disk, too.
-- +goose Up

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION cloakroom.claim_slice(p_rotation bigint, p_pass text)
RETURNS TABLE (month date, slice integer, after_id uuid, after_date date, last_id uuid)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT set_config('synchronous_commit', 'off', true);
  SELECT month, slice, after_id, after_date, last_id FROM cloakroom.rotation_slices
   WHERE rotation = p_rotation AND pass = p_pass AND NOT done
   ORDER BY month, slice LIMIT 1 FOR UPDATE SKIP LOCKED
$$;
-- +goose StatementEnd
