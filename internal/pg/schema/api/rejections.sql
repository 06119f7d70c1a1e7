-- Rejections: counting and listing them without their content, and purging old ones.

CREATE OR REPLACE FUNCTION cloakroom.rejection_counts()
RETURNS TABLE (reason text, rejections bigint, first_at timestamptz, last_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT reason, count(*), min(rejected_at), max(rejected_at) FROM cloakroom.rejections GROUP BY reason
    ORDER BY count(*) DESC, reason
$$;
COMMENT ON FUNCTION cloakroom.rejection_counts() IS 'rejections by reason';
GRANT EXECUTE ON FUNCTION cloakroom.rejection_counts() TO cloakroom_ingest, cloakroom_rotator, cloakroom_auditor;

CREATE OR REPLACE FUNCTION cloakroom.rejection_list(p_reason text, p_limit integer)
RETURNS TABLE (message_id uuid, reason text, create_date date, receive_count integer, rejected_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT message_id, reason, create_date, receive_count, rejected_at FROM cloakroom.rejections
   WHERE p_reason IS NULL OR reason = p_reason ORDER BY rejected_at DESC, message_id LIMIT p_limit
$$;
COMMENT ON FUNCTION cloakroom.rejection_list(text, integer) IS
  'the newest rejections, by reason or all: ids and never content';
GRANT EXECUTE ON FUNCTION cloakroom.rejection_list(text, integer) TO
  cloakroom_ingest, cloakroom_rotator, cloakroom_auditor;

CREATE OR REPLACE FUNCTION cloakroom.due_rejections(p_limit integer) RETURNS SETOF uuid
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  -- Old by two measures, since a clock can be wrong when a rejection is stored or purged. By the clock, and by days
  -- seen: a load or a purge must have seen as many distinct dates since as the policy keeps it.
  SELECT r.message_id
    FROM cloakroom.settings s
   CROSS JOIN LATERAL (SELECT floor(extract(epoch FROM s.rejection_retention) / 86400)::bigint AS days) AS kept
    JOIN cloakroom.rejections r ON r.rejected_at < clock_timestamp() - s.rejection_retention
     AND (kept.days = 0 OR r.observed_day < (SELECT number FROM cloakroom.observed_days ORDER BY number DESC
       OFFSET kept.days - 1 LIMIT 1))
   ORDER BY r.rejected_at LIMIT p_limit
$$;
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
  DELETE FROM cloakroom.rejections WHERE message_id = ANY (ARRAY(SELECT cloakroom.due_rejections(5000)));
  GET DIAGNOSTICS gone = ROW_COUNT;
  RETURN gone;
END $$;
COMMENT ON FUNCTION cloakroom.purge_rejections(timestamptz) IS
  'deletes rejections older than the policy keeps them, by the clock and by days seen, 5000 at the most; returns how '
  'many';
GRANT EXECUTE ON FUNCTION cloakroom.purge_rejections(timestamptz) TO cloakroom_rotator;
