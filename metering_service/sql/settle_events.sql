-- Settle (capture): charge what happened, by moving each hold into its ledger line. Charges those of the events whose hold
-- lives and is `p_service`'s, without a change of its units, which is the rule, and returns them; the others are left to
-- settle_in_turn. Needs no policy: price and terms are the hold's.
--
-- `p_events` is a JSON list of events in order (n); one that stands in it twice is charged once, and told so twice.
-- Why a function, and why without settings: as authorize_events.
CREATE FUNCTION settle_events(p_events json, p_client_ids text[], p_service text)
RETURNS TABLE (n integer, credits bigint, is_first boolean)
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
    SELECT * FROM json_to_recordset(p_events) AS i (
      n integer, hold_id uuid, event_id text, client_id text, units bigint, event_type text, user_id text)
  ), gone AS (
    -- Found by key, one by one, whatever the planner thinks of the table's size; the lock keeps each where it is.
    DELETE FROM hold h WHERE ctid = ANY (ARRAY(
      SELECT found.ctid FROM item i CROSS JOIN LATERAL (
        SELECT h.ctid FROM hold h
        WHERE h.client_id = i.client_id AND h.hold_id = i.hold_id AND h.event_id = i.event_id AND h.released_at IS NULL
          AND h.service = p_service AND (i.units IS NULL OR i.units = h.units)
          -- Told whole, it must be told as it was held.
          AND (i.event_type IS NULL
               OR (i.event_type = h.event_type AND (h.user_id = '' OR h.user_id IS NOT DISTINCT FROM i.user_id)))
        OFFSET 0) AS found))
    RETURNING h.*
  ), line AS (
    INSERT INTO ledger_entry (client_id, kind, credits, at, event_id, event_type, user_id, units, hold_id, service, counted_on,
                              held_at, policy_id, policy_version, rate_used, taken_before, available_before, would_refuse)
    SELECT client_id, 'spend', -credits, v_now, event_id, event_type, user_id, units, hold_id, service, counted_on,
           held_at, policy_id, policy_version, rate_used, taken_before, available_before, would_refuse
    FROM gone ORDER BY client_id, hold_id
  ), moved AS (
    -- Only what counts in the account's present day and month moves its counters: older periods are closed.
    UPDATE account a
    SET spent = a.spent + g.credits, held = a.held - g.credits,
        day_used = a.day_used + g.day_events, day_held = a.day_held - g.day_events,
        month_used = a.month_used + g.month_events, month_held = a.month_held - g.month_events
    FROM (
      SELECT h.client_id, sum(h.credits)::bigint AS credits, count(*) FILTER (WHERE h.counted_on = b.counted_on) AS day_events,
             count(*) FILTER (WHERE h.counted_on >= date_trunc('month', b.counted_on)::date) AS month_events
      FROM gone h JOIN account b ON b.client_id = h.client_id GROUP BY h.client_id) AS g
    WHERE a.client_id = g.client_id
  )
  SELECT i.n, g.credits, row_number() OVER (PARTITION BY g.client_id, g.hold_id ORDER BY i.n) = 1
  FROM gone g JOIN item i ON i.client_id = g.client_id AND i.hold_id = g.hold_id AND i.event_id = g.event_id;
END
$$;
