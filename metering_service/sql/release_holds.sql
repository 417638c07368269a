-- Release (void): give back what was held. A settled hold stays settled; one never heard of is remembered as released, so
-- that a late authorize of it is refused.
-- Its settings are those of authorize_events, for the same reasons.
CREATE FUNCTION release_holds(p_hold_ids uuid[], p_now timestamptz)
RETURNS TABLE (hold_id uuid, state text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_material = off
SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  v_today date := (p_now AT TIME ZONE 'UTC')::date;
BEGIN
  LOOP
    PERFORM lock_accounts(
      (SELECT coalesce(array_agg(DISTINCT h.client_id), '{}') FROM hold h
       WHERE h.hold_id = ANY (p_hold_ids) AND h.state = 'held'), v_today);

    WITH released AS (
      UPDATE hold h SET state = 'released', closed_at = p_now
      WHERE h.hold_id = ANY (p_hold_ids) AND h.state = 'held'
      RETURNING h.client_id, h.credits, h.counted_on
    ), freed AS (
      SELECT r.client_id, sum(r.credits)::bigint AS credits,
             count(*) FILTER (WHERE r.counted_on = a.counted_on) AS day_events,
             count(*) FILTER (WHERE r.counted_on >= date_trunc('month', a.counted_on)::date) AS month_events
      FROM released r JOIN account a ON a.client_id = r.client_id
      GROUP BY r.client_id
    )
    UPDATE account a
    SET held = a.held - f.credits, day_held = a.day_held - f.day_events, month_held = a.month_held - f.month_events
    FROM freed f WHERE a.client_id = f.client_id;

    INSERT INTO hold (hold_id, state, closed_at)
    SELECT DISTINCT u.hold_id, 'released', p_now FROM unnest(p_hold_ids) AS u (hold_id)
    WHERE NOT EXISTS (SELECT FROM hold h WHERE h.hold_id = u.hold_id)
    ORDER BY u.hold_id
    ON CONFLICT DO NOTHING;

    -- An authorize of one of these may have committed while we waited to insert: then there is one more to release.
    EXIT WHEN NOT EXISTS (SELECT FROM hold h WHERE h.hold_id = ANY (p_hold_ids) AND h.state = 'held');
  END LOOP;

  RETURN QUERY SELECT h.hold_id, h.state FROM hold h WHERE h.hold_id = ANY (p_hold_ids);
END
$$;
