-- Settle (capture): charge what happened, one ledger line an event, for ever. Event ids and hold ids must be distinct
-- within a call. A fact without a live hold is charged all the same, 'late': it happened. 'conflict' only where the ids
-- say two things.
--
-- Naming somebody again for an erased user (hold.user_id is '') does not bring the person back.
-- Its settings are those of authorize_events, for the same reasons.
CREATE FUNCTION settle_events(
  p_hold_ids uuid[], p_event_ids text[], p_client_ids text[], p_event_types text[], p_user_ids text[], p_units bigint[],
  p_default_policy text, p_now timestamptz)
RETURNS TABLE (ordinal integer, state text, hold_id uuid, credits bigint, late boolean, charged boolean)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_material = off
SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  r record;
  v_today date := (p_now AT TIME ZONE 'UTC')::date;
  v_size integer := cardinality(p_hold_ids);
  -- By ordinal: the hold that is charged, its price and day, and how it stood; all null where nothing is to do.
  v_holds uuid[] := array_fill(NULL::uuid, ARRAY[v_size]);
  v_credits bigint[] := array_fill(NULL::bigint, ARRAY[v_size]);
  v_days date[] := array_fill(NULL::date, ARRAY[v_size]);
  v_from text[] := array_fill(NULL::text, ARRAY[v_size]);
  v_receipts jsonb[] := array_fill(NULL::jsonb, ARRAY[v_size]);
  v_unknown integer := 0;
  v_inserted integer;
BEGIN
  PERFORM lock_accounts(p_client_ids, v_today);

  FOR r IN
    SELECT i.n, i.hold_id, h.state AS hold_state, h.event_id AS hold_event_id, h.credits AS hold_credits,
           h.event_id IS NOT NULL AND (h.event_id, h.client_id, h.event_type, h.user_id, h.units)
             IS DISTINCT FROM (i.event_id, i.client_id, i.event_type, CASE h.user_id WHEN '' THEN '' ELSE i.user_id END,
                               i.units) AS hold_differs,
           e.hold_id AS event_hold_id, e.state AS event_state, e.credits AS event_credits, e.late AS event_late,
           e.counted_on AS event_day,
           e.hold_id IS NOT NULL AND (e.client_id, e.event_type, e.user_id, e.units)
             IS DISTINCT FROM (i.client_id, i.event_type, CASE e.user_id WHEN '' THEN '' ELSE i.user_id END,
                               i.units) AS event_differs,
           greatest(a.counted_on, v_today) AS day, v.policy_id, v.version, v.mode,
           CASE v.credits WHEN 'prepaid' THEN coalesce((v.prices ->> i.event_type)::bigint, 0) * i.units ELSE 0 END AS price
    FROM unnest(p_hold_ids, p_event_ids, p_client_ids, p_event_types, p_user_ids, p_units) WITH ORDINALITY
      AS i (hold_id, event_id, client_id, event_type, user_id, units, n)
    JOIN account a ON a.client_id = i.client_id
    JOIN policy p ON p.policy_id = coalesce(a.policy_id, p_default_policy)
    JOIN policy_version v ON v.policy_id = p.policy_id AND v.version = p.version
    LEFT JOIN LATERAL (SELECT * FROM hold WHERE hold.hold_id = i.hold_id OFFSET 0) h ON true
    LEFT JOIN LATERAL (
      SELECT * FROM hold WHERE hold.event_id = i.event_id AND hold.state IN ('held', 'settled') OFFSET 0) e ON true
    ORDER BY i.n
  LOOP
    ordinal := r.n; hold_id := r.hold_id; state := 'settled'; charged := false; credits := NULL; late := NULL;
    IF r.event_differs OR r.hold_differs THEN
      state := 'conflict';
    ELSIF r.event_state = 'settled' THEN
      hold_id := r.event_hold_id; credits := r.event_credits; late := r.event_late;
    ELSE
      charged := true;
      IF r.event_state = 'held' THEN
        -- Whichever attempt the fact belongs to: the live hold is what was set aside for it.
        hold_id := r.event_hold_id; credits := r.event_credits; late := false;
        v_from[r.n] := 'held'; v_days[r.n] := r.event_day;
      ELSE
        late := true;
        v_days[r.n] := r.day;
        IF r.hold_event_id IS NOT NULL THEN
          credits := r.hold_credits; v_from[r.n] := 'released';
        ELSE
          credits := r.price;
          v_from[r.n] := CASE r.hold_state WHEN 'released' THEN 'released' ELSE 'unknown' END;
          v_receipts[r.n] := jsonb_build_object(
            'policyId', r.policy_id, 'policyVersion', r.version, 'mode', r.mode, 'wouldRefuse', NULL,
            'credits', r.price, 'gates', NULL);
          IF r.hold_state IS NULL THEN
            v_unknown := v_unknown + 1;
          END IF;
        END IF;
      END IF;
      v_holds[r.n] := hold_id;
      v_credits[r.n] := credits;
    END IF;
    RETURN NEXT;
  END LOOP;

  -- From here on nothing but what is charged: v_holds is null elsewhere.
  INSERT INTO hold (hold_id, state, event_id, client_id, event_type, user_id, units, credits, counted_on, closed_at, late,
                    receipt)
  SELECT s.hold_id, 'settled', s.event_id, s.client_id, s.event_type, s.user_id, s.units, s.credits, s.counted_on, p_now,
         true, s.receipt
  FROM unnest(v_holds, p_event_ids, p_client_ids, p_event_types, p_user_ids, p_units, v_credits, v_days, v_from, v_receipts)
    AS s (hold_id, event_id, client_id, event_type, user_id, units, credits, counted_on, was, receipt)
  WHERE s.was = 'unknown'
  ORDER BY s.hold_id
  ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS v_inserted = ROW_COUNT;
  IF v_inserted <> v_unknown THEN
    RAISE EXCEPTION 'a hold or an event arrived twice at once' USING ERRCODE = 'serialization_failure';
  END IF;

  UPDATE hold h
  SET state = 'settled', closed_at = p_now, late = s.was = 'released', counted_on = s.counted_on,
      event_id = s.event_id, client_id = s.client_id, event_type = s.event_type,
      user_id = CASE h.user_id WHEN '' THEN '' ELSE s.user_id END, units = s.units,
      credits = s.credits, receipt = coalesce(h.receipt, s.receipt)
  FROM unnest(v_holds, p_event_ids, p_client_ids, p_event_types, p_user_ids, p_units, v_credits, v_days, v_from, v_receipts)
    AS s (hold_id, event_id, client_id, event_type, user_id, units, credits, counted_on, was, receipt)
  WHERE h.hold_id = s.hold_id AND s.was IN ('held', 'released');

  INSERT INTO ledger_entry (client_id, kind, credits, event_id, event_type, hold_id, counted_on, late, at)
  SELECT s.client_id, 'spend', -s.credits, s.event_id, s.event_type, s.hold_id, s.counted_on, s.was <> 'held', p_now
  FROM unnest(v_holds, p_event_ids, p_client_ids, p_event_types, v_credits, v_days, v_from) WITH ORDINALITY
    AS s (hold_id, event_id, client_id, event_type, credits, counted_on, was, n)
  WHERE s.hold_id IS NOT NULL
  ORDER BY s.n;

  UPDATE account a
  SET spent = a.spent + g.spent,
      held = a.held - g.unheld,
      late_spent = a.late_spent + g.spent - g.unheld,
      counted_on = g.today,
      day_used = CASE WHEN a.counted_on = g.today THEN a.day_used ELSE 0 END + g.day_events,
      day_held = CASE WHEN a.counted_on = g.today THEN a.day_held ELSE 0 END - g.day_unheld,
      month_used = CASE WHEN g.same_month THEN a.month_used ELSE 0 END + g.month_events,
      month_held = CASE WHEN g.same_month THEN a.month_held ELSE 0 END - g.month_unheld
  FROM (
    -- Only what counts in the account's present day and month moves its counters: older periods are closed.
    SELECT s.client_id, sum(s.credits)::bigint AS spent,
           coalesce(sum(s.credits) FILTER (WHERE s.was = 'held'), 0)::bigint AS unheld,
           greatest(b.counted_on, v_today) AS today,
           b.counted_on >= date_trunc('month', greatest(b.counted_on, v_today))::date AS same_month,
           count(*) FILTER (WHERE s.counted_on = greatest(b.counted_on, v_today)) AS day_events,
           count(*) FILTER (WHERE s.counted_on = greatest(b.counted_on, v_today) AND s.was = 'held') AS day_unheld,
           count(*) FILTER (WHERE s.counted_on >= date_trunc('month', greatest(b.counted_on, v_today))::date)
             AS month_events,
           count(*) FILTER (WHERE s.counted_on >= date_trunc('month', greatest(b.counted_on, v_today))::date
                            AND s.was = 'held') AS month_unheld
    FROM unnest(v_holds, p_client_ids, v_credits, v_days, v_from) AS s (hold_id, client_id, credits, counted_on, was)
    JOIN account b ON b.client_id = s.client_id
    WHERE s.hold_id IS NOT NULL
    GROUP BY s.client_id, b.counted_on) AS g
  WHERE a.client_id = g.client_id;
END
$$;
