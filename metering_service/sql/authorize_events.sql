-- Decide about events, and hold what is granted. Event ids and hold ids must be distinct within a call.
--
-- The rate was asked for before, of Redis, by the policy version that the caller knew: p_rate_ok, and p_rate_used, how
-- much of the burst was used. Where that version is not the current one any more the decision is 'stale': nothing is
-- kept, ask again.
--
-- An erased user: hold.user_id is '' where the person is no longer to be told (null is an event without a user, and no
-- user's id is empty). Such a hold is the same event whoever is named with it.
--
-- Why a function over arrays: one round trip and one commit for everybody in a batch. Why a function and not one
-- statement with several parts: each statement inside takes a fresh snapshot after the account rows are locked. A single
-- statement would read with the snapshot from before it waited for them.
--
-- Why the planner is told what to do (and OFFSET 0, which keeps a look-up by key a look-up by key): plans are kept, and
-- one made while a table was empty would read the whole of it for each batch until the next ANALYZE. They are kept on
-- purpose (plan_cache_mode): left alone, the server made a new one for every call. It takes an array of ten for granted
-- where it does not know, so a plan for the very batch always looks cheaper than the one that it would keep, and with one
-- event in a call planning was half of what a decision cost.
CREATE FUNCTION authorize_events(
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
