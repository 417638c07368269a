-- Return what of an event of so many units and credits is above each quota's limit, by the policy version that
-- decided about it and what stood in its counters before; null where nothing is.
CREATE FUNCTION find_overage(
  p_client_id text, p_counter_ids bigint[], p_taken_before bigint[], p_policy_id text, p_policy_version integer, p_units bigint,
  p_credits bigint)
RETURNS bigint[]
LANGUAGE sql STABLE
AS $$
  SELECT CASE WHEN bool_or(beyond > 0) THEN array_agg(beyond ORDER BY place) END
  FROM unnest(p_counter_ids, p_taken_before) WITH ORDINALITY AS each (counter_id, before, place)
  JOIN counter c ON c.client_id = p_client_id AND c.counter_id = each.counter_id
  JOIN policy_version v ON v.policy_id = p_policy_id AND v.version = p_policy_version
  CROSS JOIN LATERAL jsonb_array_elements(v.terms -> 'quotas') AS q
  CROSS JOIN LATERAL (
    SELECT greatest(before + count_for(c.counts, 1, p_units, p_credits) - greatest(before, (q ->> 'limit')::bigint), 0) AS beyond
  ) AS o
  WHERE q ->> 'name' = c.name
$$;
