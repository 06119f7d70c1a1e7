-- Who holds which role. Giving one and taking it are acts of the login of keys init, as Postgres has it, and entries of
-- the log in the same transaction. Who may GRANT can do it by hand, too: grants() tells those apart.

CREATE OR REPLACE FUNCTION cloakroom.apart(p_role text, p_other text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE
    WHEN a = 'witness' AND b IN ('auditor', 'breakglass', 'approver', 'rotator')
      THEN 'a witness keeps the audit log against those who open and approve'
    -- Who holds the index key and reads tokens computes the tokens of all IPv4 addresses within minutes.
    WHEN a = 'analyst' AND b IN ('ingest', 'auditor', 'breakglass', 'rotator')
      THEN 'together they hold the index key and see tokens, and could find every address behind them'
    -- An approver reads the tokens of others' requests; an auditor can tell which values they are of.
    WHEN a = 'approver' AND b IN ('auditor', 'breakglass')
      THEN 'who asks for values does not decide on requests, nor read those of others'
    END
    FROM (VALUES (p_role, p_other), (p_other, p_role)) AS pairs(a, b) ORDER BY 1 NULLS LAST LIMIT 1
$$;
COMMENT ON FUNCTION cloakroom.apart(text, text) IS 'why one login may not hold these two roles; NULL: it may';

CREATE OR REPLACE FUNCTION cloakroom.require_apart(p_role text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  other text;
  why text;
BEGIN
  SELECT o, cloakroom.apart(p_role, o) INTO other, why
    FROM unnest(ARRAY['auditor', 'breakglass', 'approver']) AS o
   WHERE cloakroom.apart(p_role, o) IS NOT NULL AND pg_has_role(session_user, ('cloakroom_' || o)::name, 'MEMBER')
   LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'this login holds % and %: %', p_role, other, why USING ERRCODE = 'CR010',
      HINT = 'Somebody granted one by hand, or it is a superuser. Use two logins: keys grants, keys revoke.';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_apart(text) IS
  'refuses a login that holds a role beside this one which keys grant keeps apart from it';

CREATE OR REPLACE FUNCTION cloakroom.require_grantable(p_login name, p_role text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  of pg_roles;
  other text;
BEGIN
  SELECT * INTO of FROM pg_roles WHERE rolname = p_login;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no such login' USING ERRCODE = 'CR013',
      HINT = format('CREATE ROLE %I LOGIN PASSWORD ''…'' first.', p_login);
  ELSIF NOT of.rolcanlogin THEN
    RAISE EXCEPTION 'it is a group, not a login' USING ERRCODE = 'CR013',
      HINT = 'People and daemons have logins of their own.';
  ELSIF of.rolsuper THEN
    RAISE EXCEPTION 'it is a superuser and holds every role already' USING ERRCODE = 'CR013',
      HINT = 'Use another login.';
  END IF;
  FOR other IN SELECT substr(rolname, 11) FROM pg_roles
                WHERE starts_with(rolname, 'cloakroom_') AND pg_has_role(p_login, oid, 'MEMBER') ORDER BY 1 LOOP
    IF other = 'owner' THEN
      RAISE EXCEPTION 'it is a member of cloakroom_owner and may do everything already' USING ERRCODE = 'CR013',
        HINT = 'Use another login.';
    ELSIF cloakroom.apart(p_role, other) IS NOT NULL THEN
      RAISE EXCEPTION 'it holds % already; %', other, cloakroom.apart(p_role, other) USING ERRCODE = 'CR013',
        HINT = 'Use another login (docs/threat-model.md).';
    END IF;
  END LOOP;
END $$;
COMMENT ON FUNCTION cloakroom.require_grantable(name, text) IS
  'refuses a login that may not get a role: no login, a superuser, or one that holds a role kept apart from it';

CREATE OR REPLACE FUNCTION cloakroom.log_grant(
  p_act text, p_login name, p_role text, p_result text, p_group text, p_principal text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  caller text := current_setting('role');
  old_group text;
  old_principal text;
BEGIN
  -- GRANT takes the login's own rights, the vault's tables the owner's.
  PERFORM set_config('role', 'cloakroom_owner', true);
  old_group := cloakroom.group_of(p_login);
  DELETE FROM cloakroom.grants WHERE login = p_login AND role = p_role RETURNING principal INTO old_principal;
  IF p_act = 'grant' THEN
    p_group := nullif(coalesce(p_group, old_group), '-');
    p_principal := nullif(coalesce(p_principal, old_principal), '-');
    -- Calls to KMS by a principal of two people would be explained by either, those of a daemon by no entry.
    IF EXISTS (SELECT FROM cloakroom.grants g WHERE g.principal = p_principal AND g.login <> p_login
                  AND (g.role IN ('auditor', 'breakglass') OR p_role IN ('auditor', 'breakglass'))) THEN
      RAISE EXCEPTION 'another login has this principal already' USING ERRCODE = 'CR013',
        HINT = 'Each person has credentials of their own: keys grants lists principals.';
    END IF;
    INSERT INTO cloakroom.grants (login, role, principal) VALUES (p_login, p_role, p_principal);
  ELSIF NOT EXISTS (SELECT FROM cloakroom.grants WHERE login = p_login) THEN
    p_group := NULL; -- its last role: approvals that it gave as one of the group end with it
  ELSE
    p_group := old_group;
  END IF;
  DELETE FROM cloakroom.login_groups WHERE login = p_login;
  IF p_group IS NOT NULL THEN
    INSERT INTO cloakroom.login_groups (login, group_name) VALUES (p_login, p_group);
  END IF;
  PERFORM cloakroom.append_leaf(p_act, p_fields => ARRAY[p_role, p_login::text], p_result => p_result);
  IF p_group IS DISTINCT FROM old_group THEN
    PERFORM cloakroom.append_leaf('group', p_fields => ARRAY[p_login::text],
      p_result => json_build_object('old', old_group, 'new', p_group)::text);
  END IF;
  IF p_principal IS DISTINCT FROM old_principal THEN
    PERFORM cloakroom.append_leaf('principal', p_fields => ARRAY[p_login::text, p_role],
      p_result => json_build_object('old', old_principal, 'new', p_principal)::text);
  END IF;
  PERFORM set_config('role', caller, true);
END $$;
COMMENT ON FUNCTION cloakroom.log_grant(text, name, text, text, text, text) IS
  'notes and logs that a role was given to a login, or taken from it, and what group and principal it has since';

CREATE OR REPLACE FUNCTION cloakroom.grant_role(
  p_login name, p_role text, p_connections integer DEFAULT NULL, p_group text DEFAULT NULL,
  p_principal text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  most integer;
BEGIN
  PERFORM cloakroom.require_grantable(p_login, p_role);
  EXECUTE format('GRANT %I TO %I', 'cloakroom_' || p_role, p_login);
  -- A login without a limit can take every connection of the server. One that somebody has set stays.
  SELECT coalesce(p_connections, CASE WHEN rolconnlimit >= 0 THEN rolconnlimit
                                      WHEN p_role IN ('ingest', 'rotator') THEN 50
                                      WHEN p_role = 'analyst' THEN 20 ELSE 10 END)
    INTO STRICT most FROM pg_roles WHERE rolname = p_login;
  BEGIN
    EXECUTE format('ALTER ROLE %I CONNECTION LIMIT %s', p_login, most);
  EXCEPTION WHEN insufficient_privilege THEN
    SELECT rolconnlimit INTO STRICT most FROM pg_roles WHERE rolname = p_login;
  END;
  PERFORM cloakroom.log_grant('grant', p_login, p_role, concat(p_role, ' to ', p_login,
    CASE WHEN most < 0 THEN ', connections unlimited' ELSE ', at most ' || most || ' connections' END),
    p_group, p_principal);
  RETURN most;
END $$;
COMMENT ON FUNCTION cloakroom.grant_role(name, text, integer, text, text) IS
  'gives a login a role, a limit of connections, its group and its AWS principal (NULL: as they are; -: none), and '
  'logs it; returns the limit, -1: none could be set';

CREATE OR REPLACE FUNCTION cloakroom.revoke_role(p_login name, p_role text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT pg_has_role(p_login, ('cloakroom_' || p_role)::name, 'MEMBER') THEN
    RAISE EXCEPTION '% does not hold %', p_login, p_role USING ERRCODE = 'CR013', HINT = 'keys grants lists who does.';
  END IF;
  EXECUTE format('REVOKE %I FROM %I', 'cloakroom_' || p_role, p_login);
  -- Through a group, as a superuser, or by another grantor (Postgres 16): then REVOKE is only a warning.
  IF pg_has_role(p_login, ('cloakroom_' || p_role)::name, 'MEMBER') THEN
    RAISE EXCEPTION '% holds % through a group, by another grantor, or as a superuser', p_login, p_role
      USING ERRCODE = 'CR013', HINT = 'keys grants names the group. Nothing was changed.';
  END IF;
  PERFORM cloakroom.log_grant('revoke', p_login, p_role, p_role || ' from ' || p_login, NULL, NULL);
END $$;
COMMENT ON FUNCTION cloakroom.revoke_role(name, text) IS
  'takes a role from a login, and logs it; refuses where the login would still hold it';

CREATE OR REPLACE FUNCTION cloakroom.grants()
RETURNS TABLE (login name, role text, via name, connections integer, granted_by name, granted_at timestamptz,
               group_name text, principal text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT l.rolname, substr(r.rolname, 11),
         CASE WHEN NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = r.oid AND m.member = l.oid) THEN (
           SELECT min(v.rolname::text)::name FROM pg_auth_members m JOIN pg_roles v ON v.oid = m.roleid
            WHERE m.member = l.oid AND pg_has_role(v.oid, r.oid, 'MEMBER')) END,
         l.rolconnlimit, g.granted_by, g.granted_at, cloakroom.group_of(l.rolname), g.principal
    FROM pg_roles l
    JOIN pg_roles r ON starts_with(r.rolname, 'cloakroom_') AND NOT r.rolcanlogin
     AND pg_has_role(l.oid, r.oid, 'MEMBER')
    LEFT JOIN cloakroom.grants g ON g.login = l.rolname AND g.role = substr(r.rolname, 11)
   WHERE l.rolcanlogin AND NOT l.rolsuper
  UNION ALL
  SELECT l.rolname, 'superuser', NULL, l.rolconnlimit, NULL, NULL, NULL, NULL
    FROM pg_roles l WHERE l.rolcanlogin AND l.rolsuper
   ORDER BY 2, 1
$$;
COMMENT ON FUNCTION cloakroom.grants() IS
  'which login holds which role, through which group, and who granted it here; NULL: it was granted by hand';
GRANT EXECUTE ON FUNCTION cloakroom.grants() TO
  cloakroom_auditor, cloakroom_approver, cloakroom_rotator, cloakroom_witness;
