-- Note which thresholds of their policies the charges of a transaction have reached, each once (notice_once): a
-- quota's by what is used of it, a balance by what is not spent. What is held counts in neither. The accounts are
-- locked.
--
-- `p_charged` is a JSON list of charges: client_id, policy_id and policy_version, and the counters that they counted
-- in.
CREATE FUNCTION note_thresholds(p_charged json, p_now timestamptz) RETURNS void
LANGUAGE sql
AS $$
  WITH charge AS MATERIALIZED (
    SELECT * FROM json_to_recordset(p_charged) AS c (
      client_id text, policy_id text, policy_version integer, counter_ids bigint[])
  ), threshold AS MATERIALIZED (
    SELECT t.client_id, t.policy_id, t.policy_version, v.terms, of_policy ->> 'of' AS measured, at::numeric AS at
    FROM (SELECT DISTINCT client_id, policy_id, policy_version FROM charge) AS t
    JOIN policy_version v ON v.policy_id = t.policy_id AND v.version = t.policy_version
    CROSS JOIN LATERAL jsonb_array_elements(v.terms -> 'notices') AS of_policy
    CROSS JOIN LATERAL jsonb_array_elements_text(of_policy -> 'at') AS at
  ), counted AS MATERIALIZED (
    SELECT DISTINCT client_id, policy_id, policy_version, counter_id
    FROM charge CROSS JOIN LATERAL unnest(counter_ids) AS each (counter_id)
  ), reached AS (
    SELECT t.client_id, 'quota' AS kind, c.counter_id::text AS key, t.at AS threshold, nullif(c.user_id, '') AS user_id,
           c.ends_at,
           jsonb_build_object('policyId', t.policy_id, 'policyVersion', t.policy_version, 'quota', c.name, 'counts', c.counts,
                              'limit', q -> 'limit', 'used', c.used) AS data
    FROM counted n
    JOIN counter c ON c.client_id = n.client_id AND c.counter_id = n.counter_id
    JOIN threshold t ON t.client_id = n.client_id AND t.policy_id = n.policy_id AND t.policy_version = n.policy_version
                     AND t.measured = 'quota:' || c.name
    CROSS JOIN LATERAL jsonb_array_elements(t.terms -> 'quotas') AS q
    WHERE q ->> 'name' = c.name AND c.used > 0 AND c.used >= t.at * (q ->> 'limit')::bigint
    UNION ALL
    SELECT t.client_id, 'balance', '', t.at, NULL, NULL,
           jsonb_build_object('policyId', t.policy_id, 'policyVersion', t.policy_version,
                              'balance', a.available + a.held, 'held', a.held)
    FROM threshold t
    JOIN account a ON a.client_id = t.client_id
    WHERE t.measured = 'balance' AND a.available + a.held <= t.at
  )
  INSERT INTO notice (client_id, kind, key, threshold, user_id, at, ends_at, data)
  SELECT client_id, kind, key, threshold, user_id, p_now, ends_at, data FROM reached
  ON CONFLICT (client_id, kind, key, threshold) WHERE NOT is_over DO NOTHING
$$;
