-- Groups: whose approval counts. Two eyes are to be of two kinds: policy approval_groups names groups, and a request
-- needs an approval of each. Checked when somebody approves and again when the request is opened.

CREATE OR REPLACE FUNCTION cloakroom.group_of(p_login name) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT group_name FROM cloakroom.login_groups WHERE login = p_login
$$;
COMMENT ON FUNCTION cloakroom.group_of(name) IS 'the group of a login; NULL: none';

CREATE OR REPLACE FUNCTION cloakroom.approval_objection(p_requester name, p_approver name) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE
    WHEN p_approver = p_requester THEN 'nobody decides on a request of their own'
    WHEN cloakroom.group_of(p_approver) = cloakroom.group_of(p_requester)
      THEN 'requester and approver are both of group ' || cloakroom.group_of(p_approver)
    WHEN cardinality(approval_groups) = 0 THEN NULL
    -- A login that was granted by hand has no group, and could be of any.
    WHEN cloakroom.group_of(p_approver) IS NULL THEN 'the approver is in no group, and the policy wants groups'
    WHEN cloakroom.group_of(p_requester) IS NULL THEN 'the requester is in no group, and the policy wants groups'
    END
    FROM cloakroom.settings
$$;
COMMENT ON FUNCTION cloakroom.approval_objection(name, name) IS
  'why an approval of this requester''s request by this approver does not count; NULL: it does';

CREATE OR REPLACE FUNCTION cloakroom.counted_approvals(r cloakroom.requests)
RETURNS TABLE (approver name, group_name text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Of the group then and now: a login that moves on does not take its approval along into another group.
  RETURN QUERY SELECT a.approver, a.approver_group FROM cloakroom.approvals a
   WHERE a.request = r.id AND a.approved AND a.digest = cloakroom.request_digest(r)
     AND a.approver_group IS NOT DISTINCT FROM cloakroom.group_of(a.approver)
     AND cloakroom.approval_objection(r.requester, a.approver) IS NULL;
END $$;
COMMENT ON FUNCTION cloakroom.counted_approvals(cloakroom.requests) IS
  'the approvals of a request as it stands that count under today''s policy and groups';

CREATE OR REPLACE FUNCTION cloakroom.approvals_needed(r cloakroom.requests) RETURNS smallint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN r.breakglass THEN 0
    ELSE greatest(CASE WHEN r.purpose = 'forget' THEN 2 ELSE approvals END, cardinality(approval_groups)) END::smallint
    FROM cloakroom.settings
$$;
COMMENT ON FUNCTION cloakroom.approvals_needed(cloakroom.requests) IS
  'how many approvals a request needs under today''s policy; one that forgets needs two at least';

CREATE OR REPLACE FUNCTION cloakroom.approvals_missing(r cloakroom.requests) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  groups text[];
  have integer;
  needed integer := cloakroom.approvals_needed(r);
  without text;
BEGIN
  IF r.breakglass THEN
    RETURN NULL;
  END IF;
  SELECT count(*), array_agg(c.group_name) INTO have, groups FROM cloakroom.counted_approvals(r) AS c;
  SELECT string_agg(g, ' and ') INTO without FROM cloakroom.settings s, unnest(s.approval_groups) AS g
   WHERE (g = ANY (groups)) IS NOT TRUE;
  IF have >= needed AND without IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN concat_ws('; ', CASE WHEN needed > have THEN concat(needed - have, ' more') END, 'none of ' || without);
END $$;
COMMENT ON FUNCTION cloakroom.approvals_missing(cloakroom.requests) IS
  'what a request lacks of the approvals that it needs, in words; NULL: nothing';

CREATE OR REPLACE FUNCTION cloakroom.require_requester_group() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  mine text := cloakroom.group_of(session_user);
  groups text[];
BEGIN
  SELECT approval_groups INTO STRICT groups FROM cloakroom.settings;
  IF cardinality(groups) = 0 THEN
    RETURN;
  ELSIF mine IS NULL THEN
    RAISE EXCEPTION 'this login is in no group, and the policy wants groups' USING ERRCODE = 'CR010',
      HINT = 'keys grant LOGIN --role ROLE --group GROUP puts it into one.';
  ELSIF mine = ANY (groups) THEN
    RAISE EXCEPTION 'a request needs an approval of group %, which is the requester''s own', mine
      USING ERRCODE = 'CR010', HINT = 'Who requests is of another group than those of policy approval_groups.';
  END IF;
END $$;
COMMENT ON FUNCTION cloakroom.require_requester_group() IS
  'refuses a requester whose requests nobody''s approval could count for';
