-- Roles and schemas. Run by the migrator, who needs CREATEROLE and the database's ownership, not superuser.
-- Safe to run again. Roles belong to the whole cluster, so two databases may race here.

DO $$
DECLARE
  role_name text;
BEGIN
  FOREACH role_name IN ARRAY ARRAY[
    'cloakroom_owner', 'cloakroom_ingest', 'cloakroom_analyst', 'cloakroom_auditor', 'cloakroom_approver',
    'cloakroom_rotator', 'cloakroom_breakglass', 'cloakroom_witness'] LOOP
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
      BEGIN
        EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL; -- Another database's script has made it meanwhile.
      END;
    END IF;
  END LOOP;

  -- The migrations run as the owner, so the migrator must be able to become it.
  -- From 16 on, who makes a role is a member of it that may not become it, unless it grants itself that too.
  IF NOT pg_catalog.pg_has_role(current_user, 'cloakroom_owner',
    CASE WHEN pg_catalog.current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
    EXECUTE pg_catalog.format('GRANT cloakroom_owner TO %I', current_user);
  END IF;

  EXECUTE pg_catalog.format('GRANT CREATE, TEMPORARY ON DATABASE %I TO cloakroom_owner', pg_catalog.current_database());
  -- Who may connect may hold locks and connections. So only those who have a role here may, and their logins have
  -- limits. REVOKE by one who may not is a warning alone: keys init reads the privileges back.
  EXECUTE pg_catalog.format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', pg_catalog.current_database());
  EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO cloakroom_owner, cloakroom_ingest, cloakroom_analyst, '
    'cloakroom_auditor, cloakroom_approver, cloakroom_rotator, cloakroom_breakglass, cloakroom_witness',
    pg_catalog.current_database());
  -- Without TEMPORARY nobody but the owner can plant an object in pg_temp, where a staging table is looked for.
  EXECUTE pg_catalog.format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', pg_catalog.current_database());
END $$;

GRANT USAGE, CREATE ON SCHEMA public TO cloakroom_owner;
CREATE SCHEMA IF NOT EXISTS cloakroom AUTHORIZATION cloakroom_owner;
-- Row tables stand apart, so that no dataset's table can meet one of the vault's.
CREATE SCHEMA IF NOT EXISTS cloakroom_data AUTHORIZATION cloakroom_owner;
