-- depends: 0004_plans_kept
-- An erased user: hold.user_id is '' where the person is no longer to be told (null is an event without a user, and no
-- user's id is empty). Such a hold is the same event whoever is named with it, and naming somebody again in a settle
-- does not bring the person back. The rest of the two functions is as it was.
-- Locks: none that anybody waits for.

-- Decide and hold. Event ids and hold ids must be distinct within a call.
-- The rate was asked before, of Redis, by the policy version that the caller knew: p_rate_ok and how much of the burst was
-- used. Where that version is not the current one any more the decision is 'stale': nothing kept, ask again.
CREATE OR REPLACE FUNCTION authorize_events(
  p_hold_ids uuid[], p_event_ids text[], p_client_ids text[], p_event_types text[], p_user_ids text[], p_units bigint[],
  p_policy_ids text[], p_policy_versions integer[], p_rate_ok boolean[], p_rate_used integer[],
  p_default_policy text, p_now timestamptz)
RETURNS TABLE (ordinal integer, decision text, code text, hold_id uuid, quota_period text, receipt text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_material = off
SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  r record;
  v_today date := (p_now AT TIME ZONE 'UTC')::date;
  v_client text;
  v_available bigint;
  v_day_taken bigint;
  v_month_taken bigint;
  v_taken bigint;
  v_price bigint;
  v_shadow text;
  v_receipt jsonb;
  v_prices bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(p_hold_ids)]);
  v_days date[] := array_fill(NULL::date, ARRAY[cardinality(p_hold_ids)]);
  v_receipts jsonb[] := array_fill(NULL::jsonb, ARRAY[cardinality(p_hold_ids)]);
  v_granted integer := 0;
  v_inserted integer;
BEGIN
  PERFORM lock_accounts(p_client_ids, v_today);

  FOR r IN
    SELECT i.n, i.hold_id, i.client_id, i.event_type, i.units, i.rate_ok, i.rate_used,
           h.state AS hold_state,
           h.hold_id IS NOT NULL AND (h.event_id, h.client_id, h.event_type, h.user_id, h.units)
             IS DISTINCT FROM (i.event_id, i.client_id, i.event_type, CASE h.user_id WHEN '' THEN '' ELSE i.user_id END,
                               i.units) AS hold_differs,
           e.hold_id AS event_hold_id, e.receipt AS event_receipt,
           e.hold_id IS NOT NULL AND (e.client_id, e.event_type, e.user_id, e.units)
             IS DISTINCT FROM (i.client_id, i.event_type, CASE e.user_id WHEN '' THEN '' ELSE i.user_id END,
                               i.units) AS event_differs,
           greatest(a.counted_on, v_today) AS day,
           a.granted - a.spent - a.held AS available,
           CASE WHEN a.counted_on >= v_today THEN a.day_used + a.day_held ELSE 0 END AS day_taken,
           CASE WHEN a.counted_on >= date_trunc('month', v_today)::date THEN a.month_used + a.month_held ELSE 0 END
             AS month_taken,
           v.policy_id, v.version, (v.policy_id, v.version) IS DISTINCT FROM (i.policy_id, i.policy_version) AS stale,
           v.rate_limit, v.rate_period_seconds, v.rate_burst, v.quota_limit, v.quota_period, v.credits, v.mode,
           coalesce((v.prices ->> i.event_type)::bigint, 0) * i.units AS price
    FROM unnest(p_hold_ids, p_event_ids, p_client_ids, p_event_types, p_user_ids, p_units,
                p_policy_ids, p_policy_versions, p_rate_ok, p_rate_used) WITH ORDINALITY
      AS i (hold_id, event_id, client_id, event_type, user_id, units, policy_id, policy_version, rate_ok, rate_used, n)
    JOIN account a ON a.client_id = i.client_id
    JOIN policy p ON p.policy_id = coalesce(a.policy_id, p_default_policy)
    JOIN policy_version v ON v.policy_id = p.policy_id AND v.version = p.version
    LEFT JOIN LATERAL (SELECT * FROM hold WHERE hold.hold_id = i.hold_id OFFSET 0) h ON true
    LEFT JOIN LATERAL (
      SELECT * FROM hold WHERE hold.event_id = i.event_id AND hold.state IN ('held', 'settled') OFFSET 0) e ON true
    ORDER BY i.client_id, i.n
  LOOP
    IF v_client IS DISTINCT FROM r.client_id THEN
      v_client := r.client_id;
      v_available := r.available;
      v_day_taken := r.day_taken;
      v_month_taken := r.month_taken;
    END IF;
    ordinal := r.n; code := NULL; hold_id := r.hold_id; quota_period := NULL; receipt := NULL;

    IF r.hold_state = 'released' THEN
      decision := 'conflict'; code := 'hold_released';
    ELSIF r.hold_differs THEN
      decision := 'conflict'; code := 'hold_of_another_event';
    ELSIF r.event_differs THEN
      decision := 'conflict'; code := 'event_with_other_content';
    ELSIF r.event_hold_id IS NOT NULL THEN
      -- Held already, by this attempt or an earlier one, or settled: granted, and nothing more is held.
      decision := 'granted'; hold_id := r.event_hold_id; receipt := r.event_receipt;
    ELSIF r.stale THEN
      decision := 'stale';
    ELSE
      v_taken := CASE r.quota_period WHEN 'day' THEN v_day_taken ELSE v_month_taken END;
      v_price := CASE r.credits WHEN 'prepaid' THEN r.price ELSE 0 END;
      v_shadow := NULL;
      IF NOT r.rate_ok THEN
        code := 'api_rate_limited';
      ELSIF v_taken >= r.quota_limit THEN
        code := 'api_quota_exceeded'; quota_period := r.quota_period;
      ELSIF v_price > 0 AND v_price > v_available THEN
        code := 'api_balance_exhausted';
      END IF;
      IF code IS NOT NULL AND r.mode = 'shadow' THEN
        -- Shadow refuses nothing and takes no credits that are not there.
        v_shadow := code;
        code := NULL;
        IF v_price > v_available THEN
          v_price := 0;
        END IF;
      END IF;
      IF code IS NOT NULL THEN
        decision := 'denied';
      ELSE
        decision := 'granted';
        v_receipt := jsonb_build_object(
          'policyId', r.policy_id, 'policyVersion', r.version, 'mode', r.mode, 'wouldRefuse', v_shadow,
          'credits', v_price,
          'gates', jsonb_build_object(
            'rate', CASE WHEN r.rate_limit IS NOT NULL THEN jsonb_build_object(
              'limit', r.rate_burst, 'usedBefore', r.rate_used) END,
            'quota', CASE WHEN r.quota_limit IS NOT NULL THEN jsonb_build_object(
              'limit', r.quota_limit, 'usedBefore', v_taken) END,
            'credits', CASE WHEN r.credits = 'prepaid' THEN jsonb_build_object('availableBefore', v_available) END));
        receipt := v_receipt;
        v_prices[r.n] := v_price;
        v_days[r.n] := r.day;
        v_receipts[r.n] := v_receipt;
        v_granted := v_granted + 1;
        v_available := v_available - v_price;
        v_day_taken := v_day_taken + 1;
        v_month_taken := v_month_taken + 1;
      END IF;
    END IF;
    RETURN NEXT;
  END LOOP;

  IF v_granted > 0 THEN
    -- In the order of the ids, as every writer of holds, so that two never wait for each other.
    INSERT INTO hold (hold_id, state, event_id, client_id, event_type, user_id, units, credits, counted_on, held_at, receipt)
    SELECT g.hold_id, 'held', g.event_id, g.client_id, g.event_type, g.user_id, g.units, g.credits, g.counted_on, p_now,
           g.receipt
    FROM unnest(p_hold_ids, p_event_ids, p_client_ids, p_event_types, p_user_ids, p_units, v_prices, v_days, v_receipts)
      AS g (hold_id, event_id, client_id, event_type, user_id, units, credits, counted_on, receipt)
    WHERE g.credits IS NOT NULL
    ORDER BY g.hold_id
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_inserted = ROW_COUNT;
    IF v_inserted <> v_granted THEN
      -- The same hold or event came in elsewhere after we looked. What was decided rests on it: decide anew.
      RAISE EXCEPTION 'a hold or an event arrived twice at once' USING ERRCODE = 'serialization_failure';
    END IF;
    UPDATE account a
    SET held = a.held + g.credits,
        counted_on = greatest(a.counted_on, v_today),
        day_used = CASE WHEN a.counted_on >= v_today THEN a.day_used ELSE 0 END,
        day_held = CASE WHEN a.counted_on >= v_today THEN a.day_held ELSE 0 END + g.events,
        month_used = CASE WHEN a.counted_on >= date_trunc('month', v_today)::date THEN a.month_used ELSE 0 END,
        month_held = CASE WHEN a.counted_on >= date_trunc('month', v_today)::date THEN a.month_held ELSE 0 END + g.events
    FROM (SELECT u.client_id, sum(u.credits)::bigint AS credits, count(*) AS events
          FROM unnest(p_client_ids, v_prices) AS u (client_id, credits)
          WHERE u.credits IS NOT NULL GROUP BY u.client_id) AS g
    WHERE a.client_id = g.client_id;
  END IF;
END
$$;

-- Charge what happened: one ledger line an event, for ever. Event ids and hold ids must be distinct within a call.
-- A fact without a live hold is charged all the same, 'late': it happened. 'conflict' only where the ids say two things.
CREATE OR REPLACE FUNCTION settle_events(
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
