-- Return what of each quota's overage is left when a hold is settled for `p_units`: what did not happen goes off that first,
-- and what happened beyond what was held comes on top. Null where none is left.
CREATE FUNCTION left_over(p_hold hold, p_units bigint) RETURNS bigint[]
LANGUAGE sql STABLE
AS $$
  SELECT CASE WHEN bool_or(left_over > 0) THEN array_agg(left_over ORDER BY place) END
  FROM (
    SELECT each.place,
           greatest(each.overage + CASE c.counts WHEN 'events' THEN 0 WHEN 'units' THEN p_units - p_hold.units
                                   ELSE p_hold.credits / p_hold.units * p_units - p_hold.credits END, 0) AS left_over
    FROM unnest(p_hold.counter_ids, p_hold.overage) WITH ORDINALITY AS each (counter_id, overage, place)
    JOIN counter c ON c.client_id = p_hold.client_id AND c.counter_id = each.counter_id) AS each
$$;
