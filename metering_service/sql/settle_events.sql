-- Settle (capture): charge what happened, by moving each hold into its ledger line. Charges those of the events whose
-- hold lives and is `p_service`'s, as many units as were held or fewer, which is the rule, and returns them; the
-- others, and those that lie on a grant that ended, are left to settle_in_turn. Needs no policy: price and terms are
-- the hold's. What was held and did not happen is given back.
--
-- `p_events` is a JSON list of events in order (n). One that stands in it twice is charged once, by the first.
-- Why a function, and why without settings: as authorize_events.
CREATE FUNCTION settle_events(p_events json, p_client_ids text[], p_service text)
RETURNS TABLE (n integer, credits bigint)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz;
  v_numbers integer[];
  v_prices bigint[];
  v_charged json;                            -- those whose policy has thresholds
BEGIN
  v_now := lock_accounts(p_client_ids);

  WITH item AS MATERIALIZED (
    SELECT i.*, found.place, row_number() OVER (PARTITION BY i.client_id, i.hold_id ORDER BY i.n) = 1 AS is_first
    FROM json_to_recordset(p_events) AS i (
      n integer, hold_id uuid, event_id text, client_id text, units bigint, event_type text, user_id text)
    -- Found by key, one by one, whatever the planner thinks of the table's size; the lock keeps each where it is.
    CROSS JOIN LATERAL (
      SELECT h.ctid AS place FROM hold h
      WHERE h.client_id = i.client_id AND h.hold_id = i.hold_id AND h.event_id = i.event_id AND h.released_at IS NULL
        AND h.service = p_service AND (i.units IS NULL OR i.units <= h.units) AND h.pinned IS NULL
        -- Told whole, it must be told as it was held.
        AND (i.event_type IS NULL
             OR (i.event_type = h.event_type AND (h.user_id = '' OR h.user_id IS NOT DISTINCT FROM i.user_id)))
      OFFSET 0) AS found
  ), gone AS (
    DELETE FROM hold h USING item i WHERE h.ctid = i.place AND i.is_first
    RETURNING h.*, i.n, coalesce(i.units, h.units) AS actual
  ), charged AS MATERIALIZED (
    SELECT g.client_id, g.hold_id, g.event_id, g.service, g.event_type, g.user_id, g.units, g.credits, g.counted_on, g.held_at,
           g.policy_id, g.policy_version, g.rates_used, g.counter_ids, g.taken_before, g.available_before, g.would_refuse,
           g.has_thresholds, g.n,
           g.actual, g.credits / g.units * g.actual AS price,
           -- What did not happen is taken from what was above the limits first.
           CASE WHEN g.overage IS NULL OR g.actual = g.units THEN g.overage ELSE find_overage(
             g.client_id, g.counter_ids, g.taken_before, g.policy_id, g.policy_version, g.actual,
             g.credits / g.units * g.actual) END AS overage
    FROM gone g
  ), line AS (
    INSERT INTO ledger_entry (client_id, kind, credits, at, event_id, event_type, user_id, units, hold_id, service, counted_on,
                              held_at, policy_id, policy_version, rates_used, counter_ids, taken_before, overage,
                              available_before, would_refuse)
    SELECT client_id, 'spend', -price, v_now, event_id, event_type, user_id, actual, hold_id, service, counted_on,
           held_at, policy_id, policy_version, rates_used, counter_ids, taken_before, overage, available_before, would_refuse
    FROM charged ORDER BY client_id, hold_id
  ), counted AS (
    -- What was held in a period counts there, also when it is settled in the next.
    UPDATE counter c
    SET used = c.used + count_for(c.counts, t.events, t.actual, t.price),
        held = c.held - count_for(c.counts, t.events, t.units, t.credits)
    FROM (
      SELECT client_id, counter_id, count(*) AS events, sum(actual)::bigint AS actual, sum(price)::bigint AS price,
             sum(units)::bigint AS units, sum(credits)::bigint AS credits
      FROM (SELECT client_id, unnest(counter_ids) AS counter_id, actual, price, units, credits FROM charged) AS each
      GROUP BY client_id, counter_id) AS t
    WHERE c.client_id = t.client_id AND c.counter_id = t.counter_id
  ), summed AS (
    INSERT INTO usage AS u (client_id, day, event_type, charged, units, credits, overage, last_at)
    SELECT client_id, counted_on, event_type, count(*), sum(actual), sum(price),
           coalesce(sum(CASE WHEN overage IS NOT NULL THEN (SELECT sum(each) FROM unnest(overage) AS each) END), 0), v_now
    FROM charged GROUP BY client_id, counted_on, event_type ORDER BY client_id, counted_on, event_type
    ON CONFLICT (client_id, day, event_type) DO UPDATE
    SET charged = u.charged + excluded.charged, units = u.units + excluded.units, credits = u.credits + excluded.credits,
        overage = u.overage + excluded.overage, last_at = excluded.last_at
  ), moved AS (
    UPDATE account a SET spent = a.spent + g.spent, held = a.held - g.held
    FROM (SELECT client_id, sum(price)::bigint AS spent, sum(credits)::bigint AS held FROM charged GROUP BY client_id) AS g
    WHERE a.client_id = g.client_id
  )
  SELECT array_agg(n), array_agg(price),
         json_agg(json_build_object('client_id', client_id, 'policy_id', policy_id, 'policy_version', policy_version,
                                    'counter_ids', counter_ids)) FILTER (WHERE has_thresholds)
    INTO v_numbers, v_prices, v_charged FROM charged;
  IF v_charged IS NOT NULL THEN
    PERFORM note_thresholds(v_charged, v_now);
  END IF;
  RETURN QUERY SELECT * FROM unnest(v_numbers, v_prices);
END
$$;
