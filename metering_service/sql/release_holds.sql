-- Release (void): give back what was held. The hold leaves a tombstone, and one never heard of leaves one, too, so
-- that a late authorize of it is refused. A charge made from it stays, and so does a hold of another event or of
-- another service.
--
-- `p_events` is a JSON list of events in order (n), no hold twice. Why a function, and why without settings: as
-- authorize_events.
CREATE FUNCTION release_holds(p_events json, p_client_ids text[], p_service text)
RETURNS TABLE (n integer, state text, code text)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz;
BEGIN
  v_now := lock_accounts(p_client_ids);

  RETURN QUERY
  WITH item AS MATERIALIZED (
    SELECT i.n, i.hold_id, i.event_id, i.client_id,
           CASE
             WHEN h.event_id <> i.event_id THEN 'hold_of_another_event'
             WHEN h.service <> p_service THEN 'event_of_another_service'
           END AS code,
           h.hold_id IS NOT NULL AS is_known, h.hold_id IS NOT NULL AND h.released_at IS NULL AS is_held,
           h.hold_id IS NULL AND EXISTS (
             SELECT FROM ledger_entry l
             WHERE l.event_id = i.event_id AND l.client_id = i.client_id AND l.kind = 'spend' AND l.hold_id = i.hold_id OFFSET 0)
             AS is_charged
    FROM json_to_recordset(p_events) AS i (n integer, hold_id uuid, event_id text, client_id text)
    LEFT JOIN hold h ON h.client_id = i.client_id AND h.hold_id = i.hold_id
  ), freed AS MATERIALIZED (
    SELECT h.client_id, h.credits, h.units, h.counter_ids
    FROM item i
    JOIN hold h ON h.client_id = i.client_id AND h.hold_id = i.hold_id
    WHERE i.is_held AND i.code IS NULL
  ), buried AS (
    UPDATE hold h
    SET released_at = v_now, service = NULL, event_type = NULL, user_id = NULL, units = NULL, credits = NULL,
        counted_on = NULL, held_at = NULL, resolve_by = NULL, policy_id = NULL, policy_version = NULL, rates_used = NULL,
        counter_ids = NULL, taken_before = NULL, overage = NULL, available_before = NULL, would_refuse = NULL, pinned = NULL,
        has_thresholds = NULL
    FROM item i
    WHERE h.client_id = i.client_id AND h.hold_id = i.hold_id AND i.is_held AND i.code IS NULL
  ), remembered AS (
    INSERT INTO hold (client_id, hold_id, event_id, released_at)
    SELECT client_id, hold_id, event_id, v_now FROM item WHERE NOT is_known AND NOT is_charged ORDER BY client_id, hold_id
  ), counted AS (
    UPDATE counter c SET held = c.held - count_for(c.counts, t.events, t.units, t.credits)
    FROM (
      SELECT client_id, counter_id, count(*) AS events, sum(units)::bigint AS units, sum(credits)::bigint AS credits
      FROM (SELECT client_id, unnest(counter_ids) AS counter_id, units, credits FROM freed) AS each
      GROUP BY client_id, counter_id) AS t
    WHERE c.client_id = t.client_id AND c.counter_id = t.counter_id
  ), given_back AS (
    UPDATE account a SET held = a.held - f.credits
    FROM (SELECT client_id, sum(credits)::bigint AS credits FROM freed GROUP BY client_id) AS f
    WHERE a.client_id = f.client_id
  )
  SELECT n, CASE WHEN code IS NOT NULL THEN 'conflict' WHEN is_charged THEN 'settled' ELSE 'released' END, code FROM item;

  PERFORM resolve_pins(pin.client_id, pin.hold_id, 0, v_now)
  FROM (SELECT DISTINCT client_id, hold_id FROM credit_pin WHERE client_id = ANY (p_client_ids) AND paid IS NULL) AS pin
  JOIN hold h ON h.client_id = pin.client_id AND h.hold_id = pin.hold_id AND h.released_at IS NOT NULL;
END
$$;
