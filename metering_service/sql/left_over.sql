-- Return what of each quota's overage is left when a hold is settled for other units than were held, and so other credits: what
-- did not happen goes off it first, and what happened beyond what was held comes on top. Null where none is left.
CREATE FUNCTION left_over(
  p_client_id text, p_counter_ids bigint[], p_overage bigint[], p_more_units bigint, p_more_credits bigint)
RETURNS bigint[]
LANGUAGE sql STABLE
AS $$
  SELECT CASE WHEN bool_or(left_over > 0) THEN array_agg(left_over ORDER BY place) END
  FROM (
    SELECT each.place,
           greatest(each.overage + CASE c.counts WHEN 'events' THEN 0 WHEN 'units' THEN p_more_units ELSE p_more_credits END, 0)
             AS left_over
    FROM unnest(p_counter_ids, p_overage) WITH ORDINALITY AS each (counter_id, overage, place)
    JOIN counter c ON c.client_id = p_client_id AND c.counter_id = each.counter_id) AS each
$$;
