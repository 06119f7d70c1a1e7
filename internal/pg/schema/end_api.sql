-- After the API: it is complete, and recorded.
DO $$
DECLARE
  applying pg_temp.api_applying%ROWTYPE;
  before integer;
  odd text;
BEGIN
  SELECT string_agg(coalesce(w.function, p.function), ', ') INTO odd
    FROM pg_temp.api_wanted w
    FULL JOIN (SELECT oid::regprocedure::text AS function FROM pg_proc WHERE pronamespace = 'cloakroom'::regnamespace) p
      USING (function)
   WHERE w.function IS NULL OR p.function IS NULL;
  IF odd IS NOT NULL THEN
    RAISE EXCEPTION 'api/ and api.txt do not list the same functions: %', odd USING ERRCODE = 'CR013',
      HINT = 'go test ./internal/pg -run API -update writes api.txt.';
  END IF;

  SELECT * INTO STRICT applying FROM pg_temp.api_applying;
  SELECT number INTO before FROM cloakroom.api_versions ORDER BY id DESC LIMIT 1;
  INSERT INTO cloakroom.api_versions (number, sha256) VALUES (applying.number, applying.sha256);
  IF before > applying.number THEN
    PERFORM cloakroom.append_leaf('schema.downgrade', p_result => format('API %s over %s', applying.number, before));
  END IF;
END $$;

DROP TABLE pg_temp.api_wanted, pg_temp.api_applying;
