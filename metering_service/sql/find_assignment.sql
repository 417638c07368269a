-- Return which policy a client has at a moment, from when its periods are counted that do not follow the calendar,
-- and its shadow policy; no row where it has the default one. The planner puts the text of this function in the place
-- of its call.
CREATE FUNCTION find_assignment(p_client_id text, p_moment timestamptz)
RETURNS TABLE (policy_id text, anchored_at timestamptz, shadow_policy_id text)
LANGUAGE sql STABLE
AS $$
  SELECT s.policy_id, s.anchored_at, s.shadow_policy_id FROM assignment s
  WHERE s.client_id = p_client_id AND s.starts_at <= p_moment
  ORDER BY s.starts_at DESC LIMIT 1
$$;
