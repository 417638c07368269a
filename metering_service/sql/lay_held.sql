-- Return on which grants what a locked client holds would be laid now, oldest hold first, after what was spent. What
-- is pinned to a grant that ended lies there already.
CREATE FUNCTION lay_held(p_client_id text) RETURNS TABLE (hold_id uuid, number bigint, credits bigint)
LANGUAGE sql STABLE
AS $$
  WITH wanted AS (
    SELECT hold_id, sum(credits - coalesce(pinned, 0)) OVER (ORDER BY held_at, hold_id) AS upto,
           credits - coalesce(pinned, 0) AS credits
    FROM hold WHERE client_id = p_client_id AND event_type IS NOT NULL AND credits > coalesce(pinned, 0)
  ), place AS (
    SELECT number, sum(remaining) OVER (ORDER BY priority, expires_at, effective_at, number) AS upto, remaining
    FROM credit_grant WHERE client_id = p_client_id AND state = 'live'
  )
  SELECT w.hold_id, p.number,
         (least(w.upto, p.upto) - greatest(w.upto - w.credits, p.upto - p.remaining))::bigint
  FROM wanted w JOIN place p ON w.upto - w.credits < p.upto AND p.upto - p.remaining < w.upto
$$;
