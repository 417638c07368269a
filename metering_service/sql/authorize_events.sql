-- Grant events, and hold what they cost: those of the clients for whom all of theirs are new and fit, which is the rule. Of
-- the others nothing is returned or kept: their events are looked at one after the other (authorize_in_turn), which decides
-- the same and costs several times as much.
--
-- `p_events` is a JSON list of events in order (n), each with the policy version by which its rate was asked for before, of
-- Redis: rate_ok, and rate_used, how much of the burst was used. resolve_within is how many seconds its caller takes
-- to settle or release it at the most. `again` marks events of which an id came before in the list.
-- `p_client_ids` are its clients. Nobody settles these holds but `p_service`.
--
-- Why a function: the second statement inside takes a fresh snapshot after the account rows are locked. A single statement
-- would read with the snapshot from before it waited for them. The planner is told what to do by the pool's own settings
-- (CHARGING_SETTINGS), since to set them here costs as much as a small decision; OFFSET 0 keeps a look-up by key a look-up
-- by key. The lock keeps everybody else from holding or charging an event of these clients, so what is not there now will
-- not be there when it is inserted.
CREATE FUNCTION authorize_events(
  p_events json, p_client_ids text[], p_service text, p_default_policy text)
RETURNS TABLE (
  n integer, hold_id uuid, held_at timestamptz, credits bigint, policy_id text, policy_version integer, mode text,
  rate_limit integer, rate_used integer, quota_limit bigint, taken_before bigint, available_before bigint)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz;
BEGIN
  PERFORM lock_accounts(p_client_ids);
  v_now := utc_now();

  RETURN QUERY
  WITH item AS MATERIALIZED (
    SELECT i.n, i.hold_id, i.event_id, i.client_id, i.event_type, i.user_id, i.units, i.resolve_within, i.rate_used,
           greatest(v_now, a.last_at) AS moment,
           greatest(a.counted_on, (greatest(v_now, a.last_at) AT TIME ZONE 'UTC')::date) AS day,
           a.counted_on, a.day_used + a.day_held AS day_taken, a.month_used + a.month_held AS month_taken,
           a.granted - a.spent - a.held AS available,
           v.policy_id, v.version, v.mode, v.rate_burst, v.quota_limit, v.quota_period, v.credits = 'prepaid' AS prepaid,
           CASE v.credits WHEN 'prepaid' THEN coalesce((v.prices ->> i.event_type)::bigint, 0) * i.units ELSE 0 END AS price,
           i.again OR NOT i.rate_ok OR v.policy_id <> i.policy_id OR v.version <> i.policy_version
             OR EXISTS (SELECT FROM hold h WHERE h.client_id = i.client_id AND h.hold_id = i.hold_id OFFSET 0)
             OR EXISTS (SELECT FROM hold h
                        WHERE h.client_id = i.client_id AND h.event_id = i.event_id AND h.event_type IS NOT NULL OFFSET 0)
             OR EXISTS (SELECT FROM ledger_entry l
                        WHERE l.event_id = i.event_id AND l.client_id = i.client_id AND l.kind = 'spend' OFFSET 0)
             AS is_special
    FROM json_to_recordset(p_events) AS i (
      n integer, hold_id uuid, event_id text, client_id text, event_type text, user_id text, units bigint,
      resolve_within integer, policy_id text, policy_version integer, rate_ok boolean, rate_used integer, again boolean)
    JOIN account a ON a.client_id = i.client_id
    JOIN policy p ON p.policy_id = coalesce(a.policy_id, p_default_policy)
    JOIN policy_version v ON v.policy_id = p.policy_id AND v.version = p.version
  ), summed AS (
    SELECT *,
           CASE quota_period
             WHEN 'day' THEN CASE WHEN counted_on = day THEN day_taken ELSE 0 END
             WHEN 'month' THEN CASE WHEN counted_on >= date_trunc('month', day)::date THEN month_taken ELSE 0 END
           END AS taken,
           row_number() OVER in_order AS nth, sum(price) OVER in_order AS upto,
           bool_or(is_special) OVER whole AS any_special, count(*) OVER whole AS events, sum(price) OVER whole AS total
    FROM item
    WINDOW in_order AS (PARTITION BY client_id ORDER BY n ROWS UNBOUNDED PRECEDING), whole AS (PARTITION BY client_id)
  ), fits AS (
    SELECT * FROM summed
    WHERE NOT any_special AND (total = 0 OR total <= available)
      AND (quota_limit IS NULL OR taken + events <= quota_limit)
  ), held AS (
    -- In the order of the ids, as every writer of holds.
    INSERT INTO hold (client_id, hold_id, event_id, service, event_type, user_id, units, credits, counted_on, held_at,
                      resolve_by, policy_id, policy_version, rate_used, taken_before, available_before)
    SELECT client_id, hold_id, event_id, p_service, event_type, user_id, units, price, day, moment,
           moment + make_interval(secs => resolve_within), policy_id, version, rate_used, taken + nth - 1,
           CASE WHEN prepaid THEN available - upto + price END
    FROM fits ORDER BY client_id, hold_id
  ), taken AS (
    UPDATE account a
    SET held = a.held + f.credits, last_at = f.moment, counted_on = f.day,
        day_used = CASE WHEN a.counted_on = f.day THEN a.day_used ELSE 0 END,
        day_held = CASE WHEN a.counted_on = f.day THEN a.day_held ELSE 0 END + f.events,
        month_used = CASE WHEN a.counted_on >= date_trunc('month', f.day)::date THEN a.month_used ELSE 0 END,
        month_held = CASE WHEN a.counted_on >= date_trunc('month', f.day)::date THEN a.month_held ELSE 0 END + f.events
    FROM (SELECT client_id, moment, day, events, sum(price)::bigint AS credits FROM fits
          GROUP BY client_id, moment, day, events) AS f
    WHERE a.client_id = f.client_id
  )
  SELECT n, hold_id, moment, price, policy_id, version, mode, rate_burst, rate_used, quota_limit,
         (taken + nth - 1)::bigint, CASE WHEN prepaid THEN (available - upto + price)::bigint END
  FROM fits;
END
$$;
