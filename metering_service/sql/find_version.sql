-- Return the version of a policy that is in force at a moment; no row where there is none. As find_assignment.
CREATE FUNCTION find_version(p_policy_id text, p_moment timestamptz) RETURNS SETOF policy_version
LANGUAGE sql STABLE
AS $$
  SELECT v.* FROM policy_version v
  WHERE v.policy_id = p_policy_id AND v.effective_at <= p_moment
  ORDER BY v.effective_at DESC, v.version DESC LIMIT 1
$$;
