-- Take credits from a locked client's grants, in their order, as far as there are any; return how many were taken.
CREATE FUNCTION draw_credits(p_client_id text, p_credits bigint) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
  v_taken bigint;
BEGIN
  IF p_credits = 0 THEN
    RETURN 0;
  END IF;
  WITH place AS (
    SELECT number, remaining, sum(remaining) OVER (ORDER BY priority, expires_at, effective_at, number) - remaining AS before
    FROM credit_grant WHERE client_id = p_client_id AND state = 'live'
  ), taken AS (
    UPDATE credit_grant g
    SET remaining = g.remaining - least(g.remaining, p_credits - place.before),
        state = CASE WHEN g.remaining <= p_credits - place.before THEN 'used' ELSE 'live' END
    FROM place
    WHERE g.client_id = p_client_id AND g.number = place.number AND place.before < p_credits
    RETURNING place.remaining - g.remaining AS credits
  )
  SELECT coalesce(sum(credits), 0) INTO v_taken FROM taken;
  RETURN v_taken;
END
$$;
