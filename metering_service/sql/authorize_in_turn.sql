-- Decide about events one after the other, in their order, each seeing what the ones before it did; hold what is granted.
--
-- Parameters are those of authorize_events, which decides for the clients for whom everything fits. Where the policy version
-- that an event's rate was asked for by is not the current one any more the decision is 'stale': nothing is kept, ask again.
-- An event whose client has no policy, because the configured default does not exist, is left out.
--
-- An erased user: user_id is '' where the person is no longer to be told (null is an event without a user, and no user's id
-- is empty). Such an event is the same whoever is named with it.
--
-- Refused by live holds alone, a quota or credits come back when their callers have settled or released them: wait_seconds
-- is when so many of them are due, in the order of resolve_by, that the event would pass if all of those were released.
CREATE FUNCTION authorize_in_turn(
  p_events json, p_client_ids text[], p_service text, p_default_policy text)
RETURNS TABLE (
  n integer, decision text, code text, wait_seconds bigint, hold_id uuid, held_at timestamptz, credits bigint,
  policy_id text, policy_version integer, mode text, rate_limit integer, rate_used integer, quota_limit bigint,
  taken_before bigint, available_before bigint, would_refuse text)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
  r record;
  known record;
  v_now timestamptz;
  v_client text;
  v_granted bigint; v_spent bigint; v_held bigint;
  v_used bigint; v_taken bigint;
  v_held_events bigint; v_new_credits bigint; v_new_events bigint;
  v_price bigint;
  v_quota_wait bigint; v_credit_wait bigint; v_wait_price bigint;
BEGIN
  PERFORM lock_accounts(p_client_ids);
  v_now := utc_now();

  FOR r IN
    SELECT i.*, s.moment, s.day, a.granted, a.spent, a.held,
           CASE v.quota_period
             WHEN 'day' THEN CASE WHEN a.counted_on = s.day THEN a.day_used ELSE 0 END
             ELSE CASE WHEN a.counted_on >= date_trunc('month', s.day)::date THEN a.month_used ELSE 0 END
           END AS used,
           CASE v.quota_period
             WHEN 'day' THEN CASE WHEN a.counted_on = s.day THEN a.day_held ELSE 0 END
             ELSE CASE WHEN a.counted_on >= date_trunc('month', s.day)::date THEN a.month_held ELSE 0 END
           END AS held_events,
           v.policy_id AS own_policy, v.version, v.mode, v.rate_burst, v.quota_limit AS quota, v.quota_period,
           CASE v.quota_period WHEN 'day' THEN s.day + 1 ELSE (date_trunc('month', s.day) + interval '1 month')::date END
             AS period_end,
           CASE v.quota_period WHEN 'day' THEN s.day ELSE date_trunc('month', s.day)::date END AS period_start,
           v.credits = 'prepaid' AS prepaid, coalesce((v.prices ->> i.event_type)::bigint, 0) * i.units AS price
    FROM json_to_recordset(p_events) AS i (
      n integer, hold_id uuid, event_id text, client_id text, event_type text, user_id text, units bigint,
      resolve_within integer, policy_id text, policy_version integer, rate_ok boolean, rate_used integer)
    JOIN account a ON a.client_id = i.client_id
    JOIN policy p ON p.policy_id = coalesce(a.policy_id, p_default_policy)
    JOIN policy_version v ON v.policy_id = p.policy_id AND v.version = p.version
    CROSS JOIN LATERAL (
      SELECT greatest(v_now, a.last_at) AS moment,
             greatest(a.counted_on, (greatest(v_now, a.last_at) AT TIME ZONE 'UTC')::date) AS day) AS s
    ORDER BY i.client_id, i.n
  LOOP
    IF v_client IS DISTINCT FROM r.client_id THEN
      v_client := r.client_id;
      v_granted := r.granted; v_spent := r.spent; v_held := r.held;
      v_used := r.used; v_held_events := r.held_events;
      v_quota_wait := NULL; v_credit_wait := NULL; v_wait_price := NULL;
    END IF;
    n := r.n; code := NULL; wait_seconds := NULL; hold_id := r.hold_id; held_at := NULL; credits := NULL; policy_id := NULL;
    policy_version := NULL; mode := NULL; rate_limit := NULL; rate_used := NULL; quota_limit := NULL; taken_before := NULL;
    available_before := NULL; would_refuse := NULL;

    -- What is known of this hold id, of the event's live hold, and of its charge, in this order.
    SELECT k.* INTO known FROM (
      (SELECT 1 AS place, h.hold_id, h.event_id, h.released_at, h.service, h.held_at, h.credits, h.policy_id,
              h.policy_version, h.rate_used, h.taken_before, h.available_before, h.would_refuse,
              (h.event_type, h.user_id, h.units) IS DISTINCT FROM
                (r.event_type, CASE h.user_id WHEN '' THEN '' ELSE r.user_id END, r.units) AS differs
       FROM hold h WHERE h.client_id = r.client_id AND h.hold_id = r.hold_id OFFSET 0)
      UNION ALL
      (SELECT 2, h.hold_id, h.event_id, NULL, h.service, h.held_at, h.credits, h.policy_id,
              h.policy_version, h.rate_used, h.taken_before, h.available_before, h.would_refuse,
              (h.event_type, h.user_id, h.units) IS DISTINCT FROM
                (r.event_type, CASE h.user_id WHEN '' THEN '' ELSE r.user_id END, r.units)
       FROM hold h WHERE h.client_id = r.client_id AND h.event_id = r.event_id AND h.event_type IS NOT NULL OFFSET 0)
      UNION ALL
      (SELECT 3, l.hold_id, l.event_id, NULL, l.service, NULL, -l.credits, l.policy_id,
              l.policy_version, l.rate_used, l.taken_before, l.available_before, l.would_refuse,
              (l.event_type, l.user_id) IS DISTINCT FROM
                (r.event_type, CASE l.user_id WHEN '' THEN '' ELSE r.user_id END)
       FROM ledger_entry l WHERE l.event_id = r.event_id AND l.client_id = r.client_id AND l.kind = 'spend' OFFSET 0)
    ) AS k ORDER BY k.place LIMIT 1;

    IF known.released_at IS NOT NULL THEN
      decision := 'conflict'; code := 'hold_released';
    ELSIF known.event_id <> r.event_id THEN
      decision := 'conflict'; code := 'hold_of_another_event';
    ELSIF known.differs THEN
      decision := 'conflict'; code := 'event_with_other_content';
    ELSIF known.service <> p_service THEN
      decision := 'conflict'; code := 'event_of_another_service';
    ELSIF known.hold_id IS NOT NULL THEN
      -- Held already, by this attempt or an earlier one, or charged: granted, and nothing more is held.
      decision := 'granted'; hold_id := known.hold_id; held_at := known.held_at; credits := known.credits;
      policy_id := known.policy_id; policy_version := known.policy_version; rate_used := known.rate_used;
      taken_before := known.taken_before; available_before := known.available_before; would_refuse := known.would_refuse;
      SELECT v.mode, v.rate_burst, v.quota_limit INTO mode, rate_limit, quota_limit
      FROM policy_version v WHERE v.policy_id = known.policy_id AND v.version = known.policy_version;
    ELSIF r.own_policy <> r.policy_id OR r.version <> r.policy_version THEN
      decision := 'stale';
    ELSE
      v_price := CASE WHEN r.prepaid THEN r.price ELSE 0 END;
      v_taken := v_used + v_held_events;
      IF NOT r.rate_ok THEN
        code := 'api_rate_limited';
      ELSIF v_taken >= r.quota THEN
        code := 'api_quota_exceeded';
        wait_seconds := ceil(extract(epoch FROM (r.period_end::timestamp AT TIME ZONE 'UTC') - r.moment));
        IF v_used < r.quota AND r.mode = 'enforce' THEN
          IF v_quota_wait IS NULL THEN
            SELECT max(CASE WHEN d.resolve_by > r.moment
                       THEN ceil(extract(epoch FROM d.resolve_by - r.moment)) ELSE 60 END) INTO v_quota_wait
            FROM (SELECT h.resolve_by FROM hold h
                  WHERE h.client_id = r.client_id AND h.released_at IS NULL AND h.counted_on >= r.period_start
                  ORDER BY h.resolve_by LIMIT v_taken - r.quota + 1) AS d;
          END IF;
          wait_seconds := least(wait_seconds, v_quota_wait);
        END IF;
      ELSIF v_price > 0 AND v_price > v_granted - v_spent - v_held THEN
        code := 'api_balance_exhausted';
        IF v_price <= v_granted - v_spent AND r.mode = 'enforce' THEN
          IF v_wait_price IS DISTINCT FROM v_price THEN
            SELECT max(CASE WHEN d.resolve_by > r.moment
                       THEN ceil(extract(epoch FROM d.resolve_by - r.moment)) ELSE 60 END) INTO v_credit_wait
            FROM (SELECT h.resolve_by, sum(h.credits) OVER (ORDER BY h.resolve_by, h.hold_id) - h.credits AS freed_before
                  FROM hold h WHERE h.client_id = r.client_id AND h.released_at IS NULL AND h.credits > 0) AS d
            WHERE d.freed_before < v_price - (v_granted - v_spent - v_held);
            v_wait_price := v_price;
          END IF;
          wait_seconds := v_credit_wait;
        END IF;
      END IF;
      IF code IS NOT NULL AND r.mode = 'shadow' THEN
        -- Shadow refuses nothing and takes no credits that are not there.
        would_refuse := code; code := NULL; wait_seconds := NULL;
        IF v_price > v_granted - v_spent - v_held THEN
          v_price := 0;
        END IF;
      END IF;
      IF code IS NOT NULL THEN
        decision := 'denied';
      ELSE
        decision := 'granted'; held_at := r.moment; credits := v_price;
        policy_id := r.own_policy; policy_version := r.version; mode := r.mode; rate_limit := r.rate_burst;
        rate_used := r.rate_used; quota_limit := r.quota; taken_before := CASE WHEN r.quota IS NOT NULL THEN v_taken END;
        available_before := CASE WHEN r.prepaid THEN v_granted - v_spent - v_held END;
        INSERT INTO hold (client_id, hold_id, event_id, service, event_type, user_id, units, credits, counted_on, held_at,
                          resolve_by, policy_id, policy_version, rate_used, taken_before, available_before, would_refuse)
        VALUES (r.client_id, r.hold_id, r.event_id, p_service, r.event_type, r.user_id, r.units, v_price, r.day, r.moment,
                r.moment + make_interval(secs => r.resolve_within), r.own_policy, r.version, r.rate_used, taken_before, available_before,
                would_refuse);
        UPDATE account a
        SET held = a.held + v_price, last_at = r.moment, counted_on = r.day,
            day_used = CASE WHEN a.counted_on = r.day THEN a.day_used ELSE 0 END,
            day_held = CASE WHEN a.counted_on = r.day THEN a.day_held ELSE 0 END + 1,
            month_used = CASE WHEN a.counted_on >= date_trunc('month', r.day)::date THEN a.month_used ELSE 0 END,
            month_held = CASE WHEN a.counted_on >= date_trunc('month', r.day)::date THEN a.month_held ELSE 0 END + 1
        WHERE a.client_id = r.client_id;
        v_held := v_held + v_price;
        v_held_events := v_held_events + 1;
        v_quota_wait := NULL; v_wait_price := NULL;
      END IF;
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;
