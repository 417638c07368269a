-- Return the counters of quotas in their present periods, as they stand; `counter_id` is null where nothing counted
-- yet.
--
-- `p_counters` is a JSON list, each once, numbered from 1 (k): whose, of which quota and user, from where on it is
-- overage (usual), how much may be taken (most, null for no end), and how much a batch wants of it (wanted). Nothing
-- without one. `row_id` is where the counter's row is, which stays so as long as its account is locked.
CREATE FUNCTION find_counters(p_counters json, p_client_ids text[], p_now timestamptz)
RETURNS TABLE (
  k integer, client_id text, name text, rule text, counts text, user_id text, usual bigint, most bigint,
  wanted bigint, starts_at timestamptz, ends_at timestamptz, counter_id bigint, used bigint, held bigint, row_id tid)
LANGUAGE plpgsql STABLE
AS $$
#variable_conflict use_column
BEGIN
  IF p_counters IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY
  WITH ahead AS MATERIALIZED (
    -- Accounts that stand at a moment to come, which hardly ever is one.
    SELECT a.client_id, a.last_at FROM account a WHERE a.client_id = ANY (p_client_ids) AND a.last_at > p_now
  ), asked AS MATERIALIZED (
    SELECT q.*, coalesce(a.last_at, p_now) AS moment, s.anchored_at
    FROM json_to_recordset(p_counters) AS q (
      k integer, client_id text, name text, rule text, counts text, period text, anchor text, user_id text,
      usual bigint, most bigint, wanted bigint)
    LEFT JOIN ahead a ON a.client_id = q.client_id
    LEFT JOIN LATERAL (
      SELECT s.anchored_at FROM find_assignment(q.client_id, coalesce(a.last_at, p_now)) AS s
      WHERE q.anchor = 'assigned' OFFSET 0) AS s ON true
  ), calendar AS MATERIALIZED (
    -- Once for all: to find a period costs more than to find a counter.
    SELECT d.period, p.starts_at, p.ends_at
    FROM (SELECT DISTINCT period FROM asked WHERE anchored_at IS NULL) AS d
    CROSS JOIN LATERAL find_period(d.period, NULL, p_now) AS p
  )
  SELECT q.k, q.client_id, q.name, q.rule, q.counts, q.user_id, q.usual, q.most, q.wanted, p.starts_at,
         p.ends_at, c.counter_id, coalesce(c.used, 0), coalesce(c.held, 0), c.row_id
  FROM asked q
  LEFT JOIN calendar d ON d.period = q.period AND q.anchored_at IS NULL AND q.moment = p_now
  LEFT JOIN LATERAL (
    SELECT f.* FROM find_period(q.period, q.anchored_at, q.moment) AS f WHERE d.period IS NULL OFFSET 0) AS f ON true
  CROSS JOIN LATERAL (
    SELECT coalesce(d.starts_at, f.starts_at) AS starts_at, coalesce(d.ends_at, f.ends_at) AS ends_at) AS p
  LEFT JOIN LATERAL (
    SELECT c.counter_id, c.used, c.held, c.ctid AS row_id FROM counter c
    WHERE c.client_id = q.client_id AND c.name = q.name AND c.rule = q.rule AND c.user_id = q.user_id
      AND c.starts_at = p.starts_at AND NOT c.is_erased
    OFFSET 0) AS c ON true;
END
$$;
