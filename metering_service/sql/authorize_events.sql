-- Grant events, and hold what they cost: those of the clients for whom all of theirs are new and fit, which is the
-- rule. Of the others nothing is returned or kept: their events are looked at one after the other
-- (authorize_in_turn), which decides the same and costs several times as much.
--
-- `p_events` is a JSON list of events in order (n), each with what the policy version that the caller knows says of
-- it: the credits it costs (null: it is not sold), what must be left available (must_leave; null: credits are not
-- asked for), whether its rates let it pass (rate_ok) and how much of each was used (rates_used), and the numbers of
-- the counters that it counts in (`p_counters`, see find_counters) with what it takes of them (amounts) and what the
-- events before it want (ahead). resolve_within is how many seconds its caller takes to settle or release it at the
-- most. `again` marks events of which an id came before in the list. `p_client_ids` are its clients. Nobody settles
-- these holds but `p_service`.
--
-- Why a function: the second statement inside takes a fresh snapshot after the account rows are locked. A single
-- statement would read with the snapshot from before it waited for them. The planner is told what to do by the pool's
-- own settings (CHARGING_SETTINGS), since to set them here costs as much as a small decision; OFFSET 0 keeps a
-- look-up by key a look-up by key. The lock keeps everybody else from holding or charging an event of these clients,
-- so what is not there now will not be there when it is inserted, and a row of theirs is changed where it was found
-- (its ctid).
CREATE FUNCTION authorize_events(
  p_events json, p_client_ids text[], p_service text, p_default_policy text, p_counters json)
RETURNS TABLE (
  n integer, hold_id uuid, held_at timestamptz, taken_before bigint[], quota_resets timestamptz[], available_before bigint)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz;
BEGIN
  v_now := lock_accounts(p_client_ids);

  RETURN QUERY
  WITH quota AS MATERIALIZED (
    SELECT * FROM find_counters(p_counters, p_client_ids, v_now)
  ), item AS MATERIALIZED (
    SELECT i.*, a.ctid AS account_row_id, greatest(v_now, a.last_at) AS moment, a.available AS available,
           i.again OR NOT i.rate_ok OR i.credits IS NULL OR v.version IS DISTINCT FROM i.policy_version
             OR i.policy_id <> coalesce(s.policy_id, p_default_policy)
             OR i.shadow_policy_id IS DISTINCT FROM s.shadow_policy_id
             OR EXISTS (SELECT FROM hold h WHERE h.client_id = i.client_id AND h.hold_id = i.hold_id OFFSET 0)
             OR EXISTS (SELECT FROM hold h
                        WHERE h.client_id = i.client_id AND h.event_id = i.event_id AND h.event_type IS NOT NULL OFFSET 0)
             OR EXISTS (SELECT FROM ledger_entry l
                        WHERE l.event_id = i.event_id AND l.client_id = i.client_id AND l.kind = 'spend' OFFSET 0)
             AS is_special
    FROM json_to_recordset(p_events) AS i (
      n integer, hold_id uuid, event_id text, client_id text, event_type text, user_id text, units bigint,
      resolve_within integer, policy_id text, policy_version integer, shadow_policy_id text, credits bigint,
      must_leave bigint, rate_ok boolean,
      rates_used integer[], counters integer[], amounts bigint[],
      ahead bigint[], again boolean, thresholds boolean)
    JOIN account a ON a.client_id = i.client_id
    LEFT JOIN LATERAL find_assignment(i.client_id, greatest(v_now, a.last_at)) AS s ON true
    LEFT JOIN LATERAL find_version(coalesce(s.policy_id, p_default_policy), greatest(v_now, a.last_at)) AS v ON true
  ), summed AS (
    SELECT *, sum(credits) OVER in_order AS upto, bool_or(is_special) OVER whole AS any_special,
           sum(credits) OVER whole AS total
    FROM item
    WINDOW in_order AS (PARTITION BY client_id ORDER BY n ROWS UNBOUNDED PRECEDING), whole AS (PARTITION BY client_id)
  ), fits AS MATERIALIZED (
    SELECT * FROM summed
    WHERE NOT any_special AND (total = 0 OR must_leave IS NULL OR available - total >= must_leave)
      AND client_id NOT IN (SELECT client_id FROM quota WHERE used + held + wanted > most)
  ), counting AS MATERIALIZED (
    -- IN stands among the columns, where it is looked up in a hash: as a condition it would become a join, a loop
    -- over all that fit for each counter. One that is to begin has its id from here, and need not be joined again.
    SELECT *, counter_id IS NULL AS is_new, coalesce(counter_id, nextval('counter_counter_id_seq')) AS id,
           client_id IN (SELECT client_id FROM fits) AS is_wanted
    FROM quota
  ), begun AS (
    INSERT INTO counter (client_id, counter_id, name, rule, counts, user_id, starts_at, ends_at, held)
    OVERRIDING SYSTEM VALUE
    SELECT client_id, id, name, rule, counts, user_id, starts_at, ends_at, wanted FROM counting WHERE is_wanted AND is_new
  ), counted AS (
    UPDATE counter c SET held = c.held + q.wanted
    FROM counting q WHERE q.is_wanted AND c.ctid = q.row_id
  ), limits AS MATERIALIZED (
    SELECT array_agg(id ORDER BY k) AS ids, array_agg(used + held ORDER BY k) AS taken,
           array_agg(usual ORDER BY k) AS usual, array_agg(ends_at ORDER BY k) AS ends
    FROM counting
  ), granted AS MATERIALIZED (
    SELECT f.*, l.counter_ids, l.taken_before, l.quota_resets, CASE WHEN l.is_over THEN l.overage END AS overage
    FROM fits f CROSS JOIN limits
    LEFT JOIN LATERAL (
      -- Lists are unnested among the columns, each in its order, which costs a third of a function in FROM.
      SELECT array_agg(limits.ids[k]) AS counter_ids, array_agg(before) AS taken_before,
             array_agg(limits.ends[k]) AS quota_resets, array_agg(beyond) AS overage, bool_or(beyond > 0) AS is_over
      FROM (SELECT k, limits.taken[k] + ahead AS before, amount
            FROM (SELECT unnest(f.counters) AS k, unnest(f.ahead) AS ahead, unnest(f.amounts) AS amount) AS each) AS each
      CROSS JOIN LATERAL (SELECT greatest(before + amount - greatest(before, limits.usual[k]), 0) AS beyond) AS o
      WHERE f.counters IS NOT NULL) AS l ON true
  ), held AS (
    -- In the order of the ids, as every writer of holds.
    INSERT INTO hold (client_id, hold_id, event_id, service, event_type, user_id, units, credits, counted_on, held_at,
                      resolve_by, policy_id, policy_version, rates_used, counter_ids, taken_before, overage,
                      available_before, has_thresholds)
    SELECT client_id, hold_id, event_id, p_service, event_type, user_id, units, credits, (moment AT TIME ZONE 'UTC')::date,
           moment, moment + make_interval(secs => resolve_within), policy_id, policy_version, rates_used, counter_ids,
           taken_before, overage, CASE WHEN must_leave IS NOT NULL THEN available - upto + credits END, thresholds
    FROM granted ORDER BY client_id, hold_id
  ), taken AS (
    UPDATE account a
    SET held = a.held + f.credits, last_at = f.moment,
        overdraft = greatest(a.overdraft, CASE WHEN a.available < f.credits THEN -f.must_leave END)
    FROM (SELECT account_row_id, moment, must_leave, sum(credits)::bigint AS credits
          FROM fits GROUP BY account_row_id, moment, must_leave) AS f
    WHERE a.ctid = f.account_row_id
  )
  SELECT n, hold_id, moment, taken_before, quota_resets,
         CASE WHEN must_leave IS NOT NULL THEN (available - upto + credits)::bigint END
  FROM granted;
END
$$;
