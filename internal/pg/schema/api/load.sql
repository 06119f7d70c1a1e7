-- load: the only way rows and rejections get in: COPY into staging tables that the owner made, then load().

CREATE OR REPLACE FUNCTION cloakroom.stage(p_dataset text, p_transient boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d cloakroom.datasets := cloakroom.dataset_of(p_dataset);
  on_commit text := CASE WHEN p_transient THEN 'DROP' ELSE 'DELETE ROWS' END;
BEGIN
  -- Made by the owner's function, so the owner owns them; the caller may insert and nothing else.
  EXECUTE format('DROP TABLE IF EXISTS pg_temp.%I, pg_temp.%I', 'stage_' || d.name, 'stage_rejections_' || d.name);
  EXECUTE format('CREATE TEMPORARY TABLE %I (LIKE %s) ON COMMIT %s',
                 'stage_' || d.name, cloakroom.row_table(d.name), on_commit);
  EXECUTE format('CREATE TEMPORARY TABLE %I (LIKE cloakroom.rejections INCLUDING DEFAULTS) ON COMMIT %s',
                 'stage_rejections_' || d.name, on_commit);
  EXECUTE format('ALTER TABLE pg_temp.%I ALTER COLUMN dataset SET DEFAULT %L', 'stage_rejections_' || d.name, d.name);
  EXECUTE format('GRANT INSERT ON pg_temp.%I, pg_temp.%I TO cloakroom_ingest',
                 'stage_' || d.name, 'stage_rejections_' || d.name);
END $$;
COMMENT ON FUNCTION cloakroom.stage(text, boolean) IS
  'makes the session''s staging tables of a dataset, stage_NAME and stage_rejections_NAME, empty; transient: they go '
  'with the transaction, as a pooler in transaction mode needs';
GRANT EXECUTE ON FUNCTION cloakroom.stage(text, boolean) TO cloakroom_ingest;

CREATE OR REPLACE FUNCTION cloakroom.require_staging(p_name text) RETURNS regclass
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  staging regclass;
BEGIN
  -- A view, a foreign table, or a table with somebody else's rules, triggers or policies, planted under this name,
  -- would run as the owner.
  SELECT c.oid INTO staging FROM pg_class c
    WHERE c.relname = p_name AND c.relnamespace = pg_my_temp_schema()
      AND c.relkind = 'r' AND c.relpersistence = 't'
      AND c.relowner = 'cloakroom_owner'::regrole
      AND NOT (c.relhasrules OR c.relhastriggers OR c.relhassubclass OR c.relrowsecurity);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the staging table % is missing or is not one that cloakroom.stage() made', p_name
      USING ERRCODE = 'CR004', HINT = 'Call cloakroom.stage() in this session first.';
  END IF;
  RETURN staging;
END $$;
COMMENT ON FUNCTION cloakroom.require_staging(text) IS 'a staging table by name; refuses one that stage() did not make';

CREATE OR REPLACE FUNCTION cloakroom.require_data_keys(
  p_dataset text, p_rows regclass, p_rejections regclass, p_ids integer[], p_checks bytea[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  bad integer;
  n bigint;
BEGIN
  -- After a restore or a failover an id may belong to another key or to none, so the key check decides.
  IF cardinality(p_ids) IS DISTINCT FROM cardinality(p_checks) THEN
    RAISE EXCEPTION 'there are % data-key ids and % key checks', cardinality(p_ids), cardinality(p_checks)
      USING ERRCODE = 'CR002';
  END IF;
  SELECT g.id INTO bad
    FROM unnest(p_ids, p_checks) AS g(id, key_check)
    LEFT JOIN cloakroom.data_keys k
      ON k.id = g.id AND k.key_check = g.key_check AND k.state = 'active' AND k.dataset = p_dataset
     -- Only its maker knows that the wrapped bytes are of the key that seals.
     AND k.created_by = session_user
   WHERE k.id IS NULL LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'data key % is not an active key of this login''s, of this vault and dataset, or not this one', bad
      USING ERRCODE = 'CR002';
  END IF;
  EXECUTE format($q$
    SELECT s.data_key FROM %s s
      LEFT JOIN cloakroom.data_keys k ON k.id = s.data_key AND k.id = ANY ($1)
            AND s.create_date >= k.month AND s.create_date < k.month + interval '1 month'
     WHERE k.id IS NULL LIMIT 1$q$, p_rows) INTO bad USING p_ids;
  -- A row without a key is refused, too, so look at how many were found and not at the key. EXECUTE leaves FOUND alone.
  GET DIAGNOSTICS n = ROW_COUNT;
  IF n > 0 THEN
    RAISE EXCEPTION 'data key % is not registered for the month of a row that it sealed', bad USING ERRCODE = 'CR002';
  END IF;
  EXECUTE format('SELECT s.data_key FROM %s s WHERE NOT coalesce(s.data_key = ANY ($1), false) LIMIT 1', p_rejections)
    INTO bad USING p_ids;
  GET DIAGNOSTICS n = ROW_COUNT;
  IF n > 0 THEN
    RAISE EXCEPTION 'data key % sealed a rejection and is not among the load''s keys', bad USING ERRCODE = 'CR002';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_data_keys(text, regclass, regclass, integer[], bytea[]) IS
  'refuses a load under a data key that is not active, not of the dataset, not of the row''s month, or another than '
  'the writer''s';

CREATE OR REPLACE FUNCTION cloakroom.delivery(
  d cloakroom.datasets, OUT message name, OUT sent name, OUT has_time boolean)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN d.has_id THEN 'message_id' ELSE 'row_id' END,
         CASE WHEN d.definition::jsonb ? 'time' THEN 'message_sent' ELSE 'sent' END, d.definition::jsonb ? 'time'
$$;
COMMENT ON FUNCTION cloakroom.delivery(cloakroom.datasets) IS
  'the columns of a dataset''s rows that tell one delivery from another: its message''s id, and when that was sent';

CREATE OR REPLACE FUNCTION cloakroom.insert_rows(
  p_dataset text, p_staging regclass, p_first boolean, OUT stored bigint, OUT rejected_before bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d cloakroom.datasets := cloakroom.dataset_of(p_dataset);
  delivery record;
  target regclass := cloakroom.row_table(d.name);
  columns text;
  insert_staged text;
  ids uuid[];
  sents timestamptz[];
  of_rejection text;
BEGIN
  -- A delivery is a row or a rejection, not both. Ids first, then "= ANY": a row table is never joined with a local
  -- one (Citus).
  SELECT * INTO STRICT delivery FROM cloakroom.delivery(d);
  EXECUTE format('SELECT array_agg(r.message_id), array_agg(r.sent) FROM cloakroom.rejections r
                   WHERE r.message_id = ANY (ARRAY(SELECT %I FROM %s))', delivery.message, p_staging)
    INTO ids, sents;
  -- By name: reindex adds and drops columns of the table, and the staging table may be older or younger than that. The
  -- lock keeps them as they are from here on.
  EXECUTE format('LOCK TABLE ONLY %s IN ROW EXCLUSIVE MODE', target);
  SELECT string_agg(quote_ident(t.attname), ', ' ORDER BY t.attnum) INTO columns
    FROM pg_attribute t
    JOIN pg_attribute s ON s.attname = t.attname AND s.attrelid = p_staging AND s.attnum > 0 AND NOT s.attisdropped
   WHERE t.attrelid = target AND t.attnum > 0 AND NOT t.attisdropped
     -- And as the definition says: what a change takes away takes no value any more, in clear least of all.
     AND (t.attname = ANY ('{row_id,sent,create_date,message_id,message_sent,data_key}')
          OR EXISTS (SELECT FROM cloakroom.dataset_columns c WHERE c.dataset = d.name AND c.column_name = t.attname));
  of_rejection := format('EXISTS (SELECT FROM unnest($1, $2) AS r(id, at) WHERE r.id = s.%I AND r.at = s.%I)',
                         delivery.message, delivery.sent);
  rejected_before := 0;
  IF ids IS NOT NULL THEN
    EXECUTE format('SELECT count(*) FROM %s s WHERE %s', p_staging, of_rejection)
      INTO STRICT rejected_before USING ids, sents;
  END IF;
  insert_staged := format(
    -- In key order, so that two loads do not deadlock.
    'INSERT INTO %s (%s) SELECT %2$s FROM %s s %s ORDER BY s.sent, s.row_id',
    target, columns, p_staging,
    CASE WHEN ids IS NULL THEN '' ELSE 'WHERE NOT ' || of_rejection END);
  -- ON CONFLICT costs a third more: it looks for each row first, and logs each twice. What comes for the first time
  -- rarely needs it; if a row is there after all, the attempt is undone and made again with it.
  BEGIN
    IF NOT coalesce(p_first, false) THEN
      RAISE unique_violation;
    END IF;
    EXECUTE insert_staged USING ids, sents;
    GET DIAGNOSTICS stored = ROW_COUNT;
  EXCEPTION WHEN unique_violation THEN
    EXECUTE insert_staged || ' ON CONFLICT DO NOTHING' USING ids, sents;
    GET DIAGNOSTICS stored = ROW_COUNT;
  END;
END $$;
COMMENT ON FUNCTION cloakroom.insert_rows(text, regclass, boolean) IS
  'stores the staged rows that are new; returns how many, and how many it left out whose delivery is a rejection';

CREATE OR REPLACE FUNCTION cloakroom.insert_rejections(p_dataset text, p_staging regclass, p_seen integer) RETURNS jsonb
-- Each delivery is looked up by an index, whatever the planner guesses. Disabled plans have a huge cost, for which JIT
-- would compile the statement.
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
  SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off AS $$
DECLARE
  d cloakroom.datasets := cloakroom.dataset_of(p_dataset);
  delivery record;
  ids uuid[];
  sents timestamptz[];
  counts jsonb;
BEGIN
  SELECT * INTO STRICT delivery FROM cloakroom.delivery(d);
  -- Deliveries first, then a look at the rows: a row table is never joined with a local one (Citus).
  EXECUTE format('SELECT array_agg(message_id), array_agg(sent) FROM %s', p_staging) INTO ids, sents;
  -- Where its sending is the row's time, a delivery can only be in one partition.
  EXECUTE format('SELECT array_agg(u.%1$I), array_agg(u.%2$I) FROM unnest($1, $2) AS f(id, at)
                    JOIN %3$s u ON u.%2$I = f.at AND u.%1$I = f.id %4$s', delivery.message, delivery.sent,
                 cloakroom.row_table(d.name),
                 CASE WHEN delivery.has_time THEN '' ELSE 'AND u.create_date = (f.at AT TIME ZONE ''UTC'')::date' END)
    INTO ids, sents USING ids, sents;
  EXECUTE format('
    WITH new AS (
      INSERT INTO cloakroom.rejections
        (message_id, sent, dataset, reason, member, subject, create_date, receive_count, sealed_body, data_key,
          observed_day)
        SELECT s.message_id, s.sent, $1, s.reason, s.member, s.subject, s.create_date, s.receive_count, s.sealed_body,
               s.data_key, $2
          FROM %s s
         WHERE NOT EXISTS (SELECT FROM unnest($3, $4) AS r(id, at) WHERE r.id = s.message_id AND r.at = s.sent)
         ORDER BY s.message_id, s.sent
      ON CONFLICT DO NOTHING
      RETURNING reason)
    SELECT coalesce(jsonb_object_agg(reason, n), ''{}'')
      FROM (SELECT reason, count(*) AS n FROM new GROUP BY reason) AS by_reason', p_staging)
    INTO STRICT counts USING d.name, p_seen, ids, sents;
  RETURN counts;
END $$;
COMMENT ON FUNCTION cloakroom.insert_rejections(text, regclass, integer) IS
  'stores the staged rejections whose delivery is neither a row nor a rejection yet; returns how many by reason';

CREATE OR REPLACE FUNCTION cloakroom.load(
  p_epoch bigint, p_now timestamptz, p_dataset text, p_key_ids integer[], p_key_checks bytea[],
  p_first boolean DEFAULT false,
  OUT stored bigint, OUT duplicates bigint, OUT rejections jsonb, OUT rejected_before bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  staged_rows regclass;
  staged_rejections regclass;
  rows_staged bigint;
  rejections_staged bigint;
  seen integer;
  dates date[];
BEGIN
  -- First, before any lock is waited for: how long that takes is no difference of clocks.
  PERFORM cloakroom.require_clock(p_now);
  staged_rows := cloakroom.require_staging('stage_' || p_dataset);
  staged_rejections := cloakroom.require_staging('stage_rejections_' || p_dataset);
  PERFORM cloakroom.require_epoch(p_epoch);
  PERFORM cloakroom.require_data_keys(p_dataset, staged_rows, staged_rejections, p_key_ids, p_key_checks);
  PERFORM cloakroom.require_durable_commit();
  seen := cloakroom.observe_day();

  EXECUTE format('SELECT count(*), array_agg(DISTINCT create_date) FROM %s', staged_rows) INTO STRICT rows_staged,
    dates;
  EXECUTE format('SELECT count(*) FROM %s', staged_rejections) INTO STRICT rejections_staged;
  stored := 0;
  rejected_before := 0;
  IF rows_staged > 0 THEN
    -- The loader has judged each day; here midnight may have passed since. Further outside, its policy is old, or it
    -- held the batch for long: it reads the policy and judges again. It is never the event's fault.
    PERFORM FROM cloakroom.settings s, unnest(dates) AS day
      WHERE day NOT BETWEEN (p_now AT TIME ZONE 'UTC')::date - s.days_back - 1
                        AND (p_now AT TIME ZONE 'UTC')::date + s.days_ahead + 1;
    IF FOUND THEN
      RAISE EXCEPTION 'a create_date lies outside the policy''s window: the writer''s policy or its batch is old'
        USING ERRCODE = 'CR001';
    END IF;
    PERFORM cloakroom.make_partition(p_dataset, f)
      FROM (SELECT DISTINCT cloakroom.partition_start(p_dataset, day) AS f FROM unnest(dates) AS day
             ORDER BY 1) AS needed;
    SELECT i.stored, i.rejected_before INTO STRICT stored, rejected_before
      FROM cloakroom.insert_rows(p_dataset, staged_rows, p_first) AS i;
  END IF;
  rejections := '{}';
  IF rejections_staged > 0 THEN
    rejections := cloakroom.insert_rejections(p_dataset, staged_rejections, seen);
  END IF;
  duplicates := rows_staged + rejections_staged - stored
              - (SELECT coalesce(sum(n::bigint), 0) FROM jsonb_each_text(rejections) AS r(reason, n));
END $$;
COMMENT ON FUNCTION cloakroom.load(bigint, timestamptz, text, integer[], bytea[], boolean) IS
  'moves what was staged into the dataset''s rows and the rejections, under the fence, if the loader''s clock agrees; '
  'what is there already is dropped and counted as duplicates, of which rejected_before are rejections already; '
  'p_first: hardly anything is';
GRANT EXECUTE ON FUNCTION cloakroom.load(bigint, timestamptz, text, integer[], bytea[], boolean) TO cloakroom_ingest;
