-- Decide about events one after the other, in their order, each seeing what the ones before it did; hold what is
-- granted.
--
-- Parameters are those of authorize_events, which decides for the clients for whom everything fits. Where the policy
-- version that the caller knows is not the current one any more the decision is 'stale': nothing is kept, ask again.
-- An event whose client has no policy, because the configured default does not exist, is left out.
--
-- An erased user: user_id is '' where the person is no longer to be told (null is an event without a user, and no
-- user's id is empty). Such an event is the same whoever is named with it.
--
-- Refused by live holds alone, a quota or credits come back when their callers have settled or released them:
-- wait_seconds is when so many of them are due, in the order of resolve_by, that the event would pass if all of those
-- were released. It is when all quotas let the event pass, and null where one never will: the event is larger than
-- all of it.
CREATE FUNCTION authorize_in_turn(
  p_events json, p_client_ids text[], p_service text, p_default_policy text, p_counters json)
RETURNS TABLE (
  n integer, decision text, code text, wait_seconds bigint, hold_id uuid, held_at timestamptz, credits bigint,
  policy_id text, policy_version integer, rates_used integer[], taken_before bigint[], quota_resets timestamptz[],
  available_before bigint, would_refuse text, terms text, units bigint)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
  r record;
  known record;
  v_now timestamptz;
  v_client text;
  v_spendable bigint; v_held bigint;         -- what is not spent, and of it held
  v_credits bigint;
  v_wait bigint; v_credit_wait bigint; v_wait_price bigint;
  -- The counters, by their numbers.
  v_ids bigint[]; v_used bigint[]; v_taken bigint[]; v_usual bigint[]; v_most bigint[]; v_ends timestamptz[];
  v_added bigint[];
  v_quota_wait bigint[]; v_wait_for bigint[]; v_by_holds bigint; v_id bigint;
  v_amount bigint; v_excess bigint; v_over bigint[];
  k integer; place integer;
BEGIN
  v_now := lock_accounts(p_client_ids);
  SELECT array_agg(q.counter_id ORDER BY q.k), array_agg(q.used ORDER BY q.k), array_agg(q.used + q.held ORDER BY q.k),
         array_agg(q.usual ORDER BY q.k), array_agg(q.most ORDER BY q.k), array_agg(q.ends_at ORDER BY q.k),
         array_agg(0::bigint ORDER BY q.k), array_agg(NULL::bigint), array_agg(NULL::bigint)
    INTO v_ids, v_used, v_taken, v_usual, v_most, v_ends, v_added, v_quota_wait, v_wait_for
    FROM find_counters(p_counters, p_client_ids, v_now) AS q;

  FOR r IN
    SELECT i.*, greatest(v_now, a.last_at) AS moment, a.available + a.held AS spendable, a.held,
           coalesce(s.policy_id, p_default_policy) AS own_policy, s.shadow_policy_id AS own_shadow, v.version
    FROM json_to_recordset(p_events) AS i (
      n integer, hold_id uuid, event_id text, client_id text, event_type text, user_id text, units bigint,
      resolve_within integer, policy_id text, policy_version integer, shadow_policy_id text, credits bigint,
      must_leave bigint, mode text,
      rate_ok boolean, rates_used integer[], counters integer[], amounts bigint[], unpaid bigint[],
      thresholds boolean)
    JOIN account a ON a.client_id = i.client_id
    LEFT JOIN LATERAL find_assignment(i.client_id, greatest(v_now, a.last_at)) AS s ON true
    JOIN LATERAL find_version(coalesce(s.policy_id, p_default_policy), greatest(v_now, a.last_at)) AS v ON true
    ORDER BY i.client_id, i.n
  LOOP
    IF v_client IS DISTINCT FROM r.client_id THEN
      v_client := r.client_id; v_spendable := r.spendable; v_held := r.held;
      v_credit_wait := NULL; v_wait_price := NULL;
    END IF;
    n := r.n; code := NULL; wait_seconds := NULL; hold_id := r.hold_id; held_at := NULL; credits := NULL;
    policy_id := r.policy_id; policy_version := r.policy_version; rates_used := r.rates_used; taken_before := NULL;
    quota_resets := NULL; available_before := NULL; would_refuse := NULL; terms := NULL; units := r.units;

    -- What is known of this hold id, of the event's live hold, and of its charge, in this order.
    SELECT k.* INTO known FROM (
      (SELECT 1 AS place, h.hold_id, h.event_id, h.released_at, h.service, h.held_at, h.credits, h.units, h.policy_id,
              h.policy_version, h.rates_used, h.taken_before, h.available_before, h.would_refuse,
              (h.event_type, h.user_id, h.units) IS DISTINCT FROM
                (r.event_type, CASE h.user_id WHEN '' THEN '' ELSE r.user_id END, r.units) AS differs
       FROM hold h WHERE h.client_id = r.client_id AND h.hold_id = r.hold_id OFFSET 0)
      UNION ALL
      (SELECT 2, h.hold_id, h.event_id, NULL, h.service, h.held_at, h.credits, h.units, h.policy_id,
              h.policy_version, h.rates_used, h.taken_before, h.available_before, h.would_refuse,
              (h.event_type, h.user_id, h.units) IS DISTINCT FROM
                (r.event_type, CASE h.user_id WHEN '' THEN '' ELSE r.user_id END, r.units)
       FROM hold h WHERE h.client_id = r.client_id AND h.event_id = r.event_id AND h.event_type IS NOT NULL OFFSET 0)
      UNION ALL
      (SELECT 3, l.hold_id, l.event_id, NULL, l.service, NULL, -l.credits, l.units, l.policy_id,
              l.policy_version, l.rates_used, l.taken_before, l.available_before, l.would_refuse,
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
      policy_id := known.policy_id; policy_version := known.policy_version; rates_used := known.rates_used;
      taken_before := known.taken_before; available_before := known.available_before; would_refuse := known.would_refuse;
      units := known.units;
      SELECT v.terms INTO terms
      FROM policy_version v WHERE v.policy_id = known.policy_id AND v.version = known.policy_version;
    ELSIF r.own_policy <> r.policy_id OR r.version <> r.policy_version
          OR r.own_shadow IS DISTINCT FROM r.shadow_policy_id THEN
      decision := 'stale';
    ELSE
      v_credits := r.credits;
      IF r.counters IS NOT NULL THEN
        SELECT array_agg(v_taken[each.k] ORDER BY o), array_agg(v_ends[each.k] ORDER BY o) INTO taken_before, quota_resets
        FROM unnest(r.counters) WITH ORDINALITY AS each (k, o);
      END IF;
      available_before := CASE WHEN r.must_leave IS NOT NULL THEN v_spendable - v_held END;

      IF r.credits IS NULL THEN
        code := 'event_type_not_sold';
      ELSIF NOT r.rate_ok THEN
        code := 'api_rate_limited';
      ELSE
        FOR place IN 1 .. coalesce(cardinality(r.counters), 0) LOOP
          k := r.counters[place]; v_amount := r.amounts[place];
          v_excess := v_taken[k] + v_amount - v_most[k];
          IF v_excess > 0 THEN
            v_wait := CASE WHEN v_amount <= v_most[k] THEN ceil(extract(epoch FROM v_ends[k] - r.moment)) END;
            IF v_used[k] + v_amount <= v_most[k] AND r.mode = 'enforce' THEN
              IF v_wait_for[k] IS DISTINCT FROM v_excess THEN
                SELECT max(CASE WHEN d.resolve_by > r.moment
                           THEN ceil(extract(epoch FROM d.resolve_by - r.moment)) ELSE 60 END) INTO v_by_holds
                FROM (SELECT h.resolve_by, sum(t.amount) OVER (ORDER BY h.resolve_by, h.hold_id) - t.amount AS freed_before
                      FROM hold h CROSS JOIN LATERAL (
                        SELECT count_for(c.counts, 1, h.units, h.credits) AS amount
                        FROM counter c WHERE c.client_id = h.client_id AND c.counter_id = v_ids[k] OFFSET 0) AS t
                      WHERE h.client_id = r.client_id AND h.released_at IS NULL AND v_ids[k] = ANY (h.counter_ids)) AS d
                WHERE d.freed_before < v_excess;
                v_quota_wait[k] := v_by_holds; v_wait_for[k] := v_excess;
              END IF;
              v_wait := least(v_wait, v_quota_wait[k]);
            END IF;
            -- The longest of them, and none at all where one of them has none.
            wait_seconds := CASE WHEN code IS NULL THEN v_wait
                                 WHEN v_wait IS NOT NULL AND wait_seconds IS NOT NULL THEN greatest(wait_seconds, v_wait) END;
            code := 'api_quota_exceeded';
          END IF;
        END LOOP;
        IF code IS NULL AND v_credits > 0 AND v_spendable - v_held - v_credits < r.must_leave THEN
          code := 'api_balance_exhausted';
          IF v_spendable - v_credits >= r.must_leave AND r.mode = 'enforce' THEN
            IF v_wait_price IS DISTINCT FROM v_credits THEN
              SELECT max(CASE WHEN d.resolve_by > r.moment
                         THEN ceil(extract(epoch FROM d.resolve_by - r.moment)) ELSE 60 END) INTO v_credit_wait
              FROM (SELECT h.resolve_by, sum(h.credits) OVER (ORDER BY h.resolve_by, h.hold_id) - h.credits AS freed_before
                    FROM hold h WHERE h.client_id = r.client_id AND h.released_at IS NULL AND h.credits > 0) AS d
              WHERE d.freed_before < v_credits + r.must_leave - (v_spendable - v_held);
              v_wait_price := v_credits;
            END IF;
            wait_seconds := v_credit_wait;
          END IF;
        END IF;
      END IF;
      IF code IS NOT NULL AND r.mode = 'shadow' THEN
        -- Shadow refuses nothing and takes no credits that are not there.
        would_refuse := code; code := NULL; wait_seconds := NULL;
        IF v_credits IS NULL OR v_spendable - v_held - v_credits < r.must_leave THEN
          v_credits := 0;
        END IF;
      END IF;
      IF code IS NOT NULL THEN
        decision := 'denied'; held_at := r.moment;
      ELSE
        decision := 'granted'; held_at := r.moment; credits := v_credits; v_over := NULL;
        FOR place IN 1 .. coalesce(cardinality(r.counters), 0) LOOP
          k := r.counters[place];
          IF v_ids[k] IS NULL THEN
            INSERT INTO counter (client_id, name, rule, counts, user_id, starts_at, ends_at)
            SELECT q.client_id, q.name, q.rule, q.counts, q.user_id, q.starts_at, q.ends_at
            FROM find_counters(p_counters, p_client_ids, v_now) AS q WHERE q.k = r.counters[place]
            RETURNING counter_id INTO v_id;
            v_ids[k] := v_id;
          END IF;
          -- In shadow mode an event that cannot be paid takes no credits of a quota either.
          v_amount := CASE WHEN v_credits = r.credits THEN r.amounts[place] ELSE least(r.amounts[place], r.unpaid[place]) END;
          v_over[place] := greatest(v_taken[k] + v_amount - greatest(v_taken[k], v_usual[k]), 0);
          v_taken[k] := v_taken[k] + v_amount;
          v_added[k] := v_added[k] + v_amount;
          v_wait_for[k] := NULL;
        END LOOP;
        INSERT INTO hold (client_id, hold_id, event_id, service, event_type, user_id, units, credits, counted_on, held_at,
                          resolve_by, policy_id, policy_version, rates_used, counter_ids, taken_before, overage,
                          available_before, would_refuse, has_thresholds)
        VALUES (r.client_id, r.hold_id, r.event_id, p_service, r.event_type, r.user_id, r.units, v_credits,
                (r.moment AT TIME ZONE 'UTC')::date, r.moment, r.moment + make_interval(secs => r.resolve_within),
                r.policy_id, r.policy_version, r.rates_used,
                (SELECT array_agg(v_ids[each.k] ORDER BY o) FROM unnest(r.counters) WITH ORDINALITY AS each (k, o)),
                taken_before, CASE WHEN 0 < ANY (v_over) THEN v_over END, available_before, would_refuse,
                r.thresholds);
        UPDATE account a
        SET held = a.held + v_credits, last_at = r.moment,
            overdraft = greatest(a.overdraft, CASE WHEN v_spendable - v_held < v_credits THEN -r.must_leave END)
        WHERE a.client_id = r.client_id;
        v_held := v_held + v_credits;
        v_wait_price := NULL;
      END IF;
    END IF;
    RETURN NEXT;
  END LOOP;

  UPDATE counter c SET held = c.held + each.added
  FROM find_counters(p_counters, p_client_ids, v_now) AS q CROSS JOIN LATERAL (SELECT v_ids[q.k] AS counter_id, v_added[q.k] AS added) AS each
  WHERE c.client_id = q.client_id AND c.counter_id = each.counter_id AND each.added > 0;
END
$$;
