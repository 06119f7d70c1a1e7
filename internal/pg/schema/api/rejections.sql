-- Rejections: counting and listing them without their content, and purging old ones.

CREATE OR REPLACE FUNCTION cloakroom.rejection_counts(p_dataset text DEFAULT NULL)
RETURNS TABLE (dataset text, reason text, member text, rejections bigint, first_at timestamptz, last_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY
    SELECT j.dataset, j.reason, j.member, count(*), min(j.rejected_at), max(j.rejected_at) FROM cloakroom.rejections j
     WHERE p_dataset IS NULL OR j.dataset = p_dataset
     GROUP BY j.dataset, j.reason, j.member ORDER BY count(*) DESC, 1, 2, 3;
END $$;
COMMENT ON FUNCTION cloakroom.rejection_counts(text) IS 'rejections by dataset, reason and the member at fault';
GRANT EXECUTE ON FUNCTION cloakroom.rejection_counts(text) TO cloakroom_ingest, cloakroom_rotator, cloakroom_auditor;

CREATE OR REPLACE FUNCTION cloakroom.rejection_list(p_reason text, p_limit integer, p_dataset text DEFAULT NULL)
RETURNS TABLE (dataset text, message_id uuid, sent timestamptz, reason text, member text, create_date date,
               receive_count integer, rejected_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY
    SELECT j.dataset, j.message_id, j.sent, j.reason, j.member, j.create_date, j.receive_count, j.rejected_at
      FROM cloakroom.rejections j
     WHERE (p_reason IS NULL OR j.reason = p_reason) AND (p_dataset IS NULL OR j.dataset = p_dataset)
     ORDER BY j.rejected_at DESC, j.message_id LIMIT p_limit;
END $$;
COMMENT ON FUNCTION cloakroom.rejection_list(text, integer, text) IS
  'the newest rejections, of a reason and a dataset or of all: ids and never content';
GRANT EXECUTE ON FUNCTION cloakroom.rejection_list(text, integer, text) TO
  cloakroom_ingest, cloakroom_rotator, cloakroom_auditor;

CREATE OR REPLACE FUNCTION cloakroom.due_rejections(p_limit integer) RETURNS TABLE (message_id uuid, sent timestamptz)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  kept interval := (SELECT s.rejection_retention FROM cloakroom.settings s);
  days bigint := floor(extract(epoch FROM kept) / 86400)::bigint;
  seen_before integer := (SELECT o.number FROM cloakroom.observed_days o ORDER BY o.number DESC
                           OFFSET greatest(days - 1, 0) LIMIT 1);
BEGIN
  -- Old by two measures. A clock alone can be wrong when a rejection is stored or when it is purged, so as many days as
  -- the policy keeps it must also have been seen since: whatever clocks show, that takes as many distinct dates, each
  -- seen by a load or a purge.
  RETURN QUERY
    SELECT r.message_id, r.sent FROM cloakroom.rejections r
     WHERE r.rejected_at < clock_timestamp() - kept AND (days = 0 OR r.observed_day < seen_before)
     ORDER BY r.rejected_at LIMIT p_limit;
END $$;
COMMENT ON FUNCTION cloakroom.due_rejections(integer) IS 'rejections that the policy keeps no longer, oldest first';

CREATE OR REPLACE FUNCTION cloakroom.old_rejections() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT count(*) FROM cloakroom.due_rejections(NULL)
$$;
COMMENT ON FUNCTION cloakroom.old_rejections() IS 'how many rejections are older than the policy keeps them';
GRANT EXECUTE ON FUNCTION cloakroom.old_rejections() TO cloakroom_rotator;

CREATE OR REPLACE FUNCTION cloakroom.purge_rejections(p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  gone bigint;
BEGIN
  PERFORM cloakroom.require_clock(p_now);
  PERFORM cloakroom.observe_day();
  DELETE FROM cloakroom.rejections r USING cloakroom.due_rejections(5000) AS due
   WHERE r.message_id = due.message_id AND r.sent = due.sent;
  GET DIAGNOSTICS gone = ROW_COUNT;
  RETURN gone;
END $$;
COMMENT ON FUNCTION cloakroom.purge_rejections(timestamptz) IS
  'deletes rejections older than the policy keeps them, by the clock and by days seen, 5000 at the most; returns how '
  'many';
GRANT EXECUTE ON FUNCTION cloakroom.purge_rejections(timestamptz) TO cloakroom_rotator;
