-- Take credits from a locked client's grants, in their order (place), as far as there are any; return how many of
-- which.
--
-- Places are worked out once, and grants changed where they were found: a plan from when there were few would work all
-- of them out again for each grant.
CREATE FUNCTION draw_credits(p_client_id text, p_credits bigint) RETURNS TABLE (number bigint, place bigint, credits bigint)
LANGUAGE sql
AS $$
  WITH item AS MATERIALIZED (
    SELECT ctid AS row_id, number, remaining, row_number() OVER in_order AS place, sum(remaining) OVER in_order - remaining AS before
    FROM credit_grant WHERE client_id = p_client_id AND state = 'live'
    WINDOW in_order AS (ORDER BY priority, expires_at, effective_at, number)
  )
  UPDATE credit_grant g
  SET remaining = g.remaining - least(g.remaining, p_credits - item.before),
      state = CASE WHEN g.remaining <= p_credits - item.before THEN 'used' ELSE 'live' END
  FROM item
  WHERE g.ctid = item.row_id AND item.before < p_credits
  RETURNING g.number, item.place, item.remaining - g.remaining
$$;
