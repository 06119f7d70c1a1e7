-- Before the API: what number it has, and functions that must go first. Functions are replaced, not dropped and made
-- again: a caller that has just looked one up would fail with "cache lookup failed for function".
DO $$
DECLARE
  applying pg_temp.api_applying%ROWTYPE;
  stored cloakroom.api_versions;
  f record;
  dependents text;
BEGIN
  SELECT * INTO STRICT applying FROM pg_temp.api_applying;
  SELECT * INTO stored FROM cloakroom.api_versions ORDER BY id DESC LIMIT 1;
  -- Else two versions of the program would put their guards back in turn.
  IF stored.number > applying.number AND NOT applying.downgrade THEN
    RAISE EXCEPTION 'the database has API %, this program brings API %', stored.number, applying.number
      USING ERRCODE = 'CR013', HINT = 'Run keys init of the newer version; keys init --downgrade goes back.';
  END IF;

  -- Gone from the API, or of another shape: CREATE OR REPLACE changes neither results nor names of arguments, and takes
  -- no default away.
  FOR f IN
    SELECT p.oid::regprocedure AS function
      FROM pg_proc p LEFT JOIN pg_temp.api_wanted w ON w.function = p.oid::regprocedure::text
     WHERE p.pronamespace = 'cloakroom'::regnamespace
       AND (w.function IS NULL OR w.arguments <> pg_get_function_identity_arguments(p.oid)
            OR w.result <> pg_get_function_result(p.oid) OR w.defaults < p.pronargdefaults)
  LOOP
    BEGIN
      EXECUTE 'DROP FUNCTION ' || f.function;
    EXCEPTION WHEN dependent_objects_still_exist THEN
      GET STACKED DIAGNOSTICS dependents = PG_EXCEPTION_DETAIL;
      RAISE EXCEPTION 'function % cannot be dropped: %', f.function, dependents
        USING ERRCODE = 'CR013', HINT = 'Nothing stored may call the API: drop what is named, then run this again.';
    END;
  END LOOP;

  -- A grant that the files below no longer make must not stay.
  FOR f IN
    SELECT p.oid::regprocedure AS function,
           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee
      FROM pg_proc p, aclexplode(p.proacl) a
     WHERE p.pronamespace = 'cloakroom'::regnamespace AND a.grantee <> p.proowner
  LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', f.function, f.grantee);
  END LOOP;
END $$;
