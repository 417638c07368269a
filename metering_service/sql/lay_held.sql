-- Return on which grants what a locked client holds would be laid now, oldest hold first, after what was spent. What
-- is pinned to a grant that ended lies there already. Each side is read once, as in draw_credits.
CREATE FUNCTION lay_held(p_client_id text) RETURNS TABLE (hold_id uuid, number bigint, credits bigint)
LANGUAGE sql STABLE
AS $$
  WITH wanted AS MATERIALIZED (
    SELECT hold_id, upto - credits AS starts, upto AS ends
    FROM (SELECT hold_id, credits - coalesce(pinned, 0) AS credits,
                 (sum(credits - coalesce(pinned, 0)) OVER (ORDER BY held_at, hold_id))::bigint AS upto
          FROM hold WHERE client_id = p_client_id AND event_type IS NOT NULL AND credits > coalesce(pinned, 0)) AS h
  ), place AS MATERIALIZED (
    SELECT number, upto - remaining AS starts, upto AS ends
    FROM (SELECT number, remaining,
                 (sum(remaining) OVER (ORDER BY priority, expires_at, effective_at, number))::bigint AS upto
          FROM credit_grant WHERE client_id = p_client_id AND state = 'live') AS g
  )
  SELECT w.hold_id, p.number, least(w.ends, p.ends) - greatest(w.starts, p.starts)
  FROM wanted w JOIN place p ON w.starts < p.ends AND p.starts < w.ends
$$;
