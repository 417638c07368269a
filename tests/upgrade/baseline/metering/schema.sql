CREATE FUNCTION public.add_usage(p_client_id text, p_day date, p_event_type text, p_units bigint, p_credits bigint, p_overage bigint[], p_now timestamp with time zone) RETURNS void
    LANGUAGE sql
    AS $$
  INSERT INTO usage AS u (client_id, day, event_type, charged, units, credits, overage, last_at)
  VALUES (p_client_id, p_day, p_event_type, 1, p_units, p_credits,
          coalesce((SELECT sum(each) FROM unnest(p_overage) AS each), 0), p_now)
  ON CONFLICT (client_id, day, event_type) DO UPDATE
  SET charged = u.charged + 1, units = u.units + excluded.units, credits = u.credits + excluded.credits,
      overage = u.overage + excluded.overage, last_at = excluded.last_at
$$;
CREATE FUNCTION public.arm_thresholds(p_client_id text, p_now timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
  UPDATE notice n SET is_over = true, ends_at = p_now
  FROM account a
  WHERE n.client_id = p_client_id AND n.kind = 'balance' AND n.key = '' AND NOT n.is_over
    AND a.client_id = p_client_id AND n.threshold < a.available + a.held;
END
$$;
CREATE FUNCTION public.authorize_events(p_events json, p_client_ids text[], p_service text, p_default_policy text, p_counters json) RETURNS TABLE(n integer, hold_id uuid, held_at timestamp with time zone, taken_before bigint[], quota_resets timestamp with time zone[], available_before bigint)
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz;
BEGIN
  v_now := lock_accounts(p_client_ids);
  RETURN QUERY
  WITH quota AS MATERIALIZED (
    SELECT * FROM find_counters(p_counters, p_client_ids, v_now)
  ), item AS MATERIALIZED (
    SELECT i.*, a.ctid AS account_row_id, greatest(v_now, a.last_at) AS moment, a.available AS available,
           i.again OR NOT i.rate_ok OR i.credits IS NULL OR v.version IS DISTINCT FROM i.policy_version
             OR i.policy_id <> coalesce(s.policy_id, p_default_policy)
             OR i.shadow_policy_id IS DISTINCT FROM s.shadow_policy_id
             OR EXISTS (SELECT FROM hold h WHERE h.client_id = i.client_id AND h.hold_id = i.hold_id OFFSET 0)
             OR EXISTS (SELECT FROM hold h
                        WHERE h.client_id = i.client_id AND h.event_id = i.event_id AND h.event_type IS NOT NULL OFFSET 0)
             OR EXISTS (SELECT FROM ledger_entry l
                        WHERE l.event_id = i.event_id AND l.client_id = i.client_id AND l.kind = 'spend' OFFSET 0)
             AS is_special
    FROM json_to_recordset(p_events) AS i (
      n integer, hold_id uuid, event_id text, client_id text, event_type text, user_id text, units bigint,
      resolve_within integer, policy_id text, policy_version integer, shadow_policy_id text, credits bigint,
      must_leave bigint, rate_ok boolean,
      rates_used integer[], counters integer[], amounts bigint[],
      ahead bigint[], again boolean, thresholds boolean)
    JOIN account a ON a.client_id = i.client_id
    LEFT JOIN LATERAL find_assignment(i.client_id, greatest(v_now, a.last_at)) AS s ON true
    LEFT JOIN LATERAL find_version(coalesce(s.policy_id, p_default_policy), greatest(v_now, a.last_at)) AS v ON true
  ), summed AS (
    SELECT *, sum(credits) OVER in_order AS upto, bool_or(is_special) OVER whole AS any_special,
           sum(credits) OVER whole AS total
    FROM item
    WINDOW in_order AS (PARTITION BY client_id ORDER BY n ROWS UNBOUNDED PRECEDING), whole AS (PARTITION BY client_id)
  ), fits AS MATERIALIZED (
    SELECT * FROM summed
    WHERE NOT any_special AND (total = 0 OR must_leave IS NULL OR available - total >= must_leave)
      AND client_id NOT IN (SELECT client_id FROM quota WHERE used + held + wanted > most)
  ), counting AS MATERIALIZED (
    -- IN stands among the columns, where it is looked up in a hash: as a condition it would become a join, a loop
    -- over all that fit for each counter. One that is to begin has its id from here, and need not be joined again.
    SELECT *, counter_id IS NULL AS is_new, coalesce(counter_id, nextval('counter_counter_id_seq')) AS id,
           client_id IN (SELECT client_id FROM fits) AS is_wanted
    FROM quota
  ), begun AS (
    INSERT INTO counter (client_id, counter_id, name, rule, counts, user_id, starts_at, ends_at, held)
    OVERRIDING SYSTEM VALUE
    SELECT client_id, id, name, rule, counts, user_id, starts_at, ends_at, wanted FROM counting WHERE is_wanted AND is_new
  ), counted AS (
    UPDATE counter c SET held = c.held + q.wanted
    FROM counting q WHERE q.is_wanted AND c.ctid = q.row_id
  ), limits AS MATERIALIZED (
    SELECT array_agg(id ORDER BY k) AS ids, array_agg(used + held ORDER BY k) AS taken,
           array_agg(usual ORDER BY k) AS usual, array_agg(ends_at ORDER BY k) AS ends
    FROM counting
  ), granted AS MATERIALIZED (
    SELECT f.*, l.counter_ids, l.taken_before, l.quota_resets, CASE WHEN l.is_over THEN l.overage END AS overage
    FROM fits f CROSS JOIN limits
    LEFT JOIN LATERAL (
      -- Lists are unnested among the columns, each in its order, which costs a third of a function in FROM.
      SELECT array_agg(limits.ids[k]) AS counter_ids, array_agg(before) AS taken_before,
             array_agg(limits.ends[k]) AS quota_resets, array_agg(beyond) AS overage, bool_or(beyond > 0) AS is_over
      FROM (SELECT k, limits.taken[k] + ahead AS before, amount
            FROM (SELECT unnest(f.counters) AS k, unnest(f.ahead) AS ahead, unnest(f.amounts) AS amount) AS each) AS each
      CROSS JOIN LATERAL (SELECT greatest(before + amount - greatest(before, limits.usual[k]), 0) AS beyond) AS o
      WHERE f.counters IS NOT NULL) AS l ON true
  ), held AS (
    -- In the order of the ids, as every writer of holds.
    INSERT INTO hold (client_id, hold_id, event_id, service, event_type, user_id, units, credits, counted_on, held_at,
                      resolve_by, policy_id, policy_version, rates_used, counter_ids, taken_before, overage,
                      available_before, has_thresholds)
    SELECT client_id, hold_id, event_id, p_service, event_type, user_id, units, credits, (moment AT TIME ZONE 'UTC')::date,
           moment, moment + make_interval(secs => resolve_within), policy_id, policy_version, rates_used, counter_ids,
           taken_before, overage, CASE WHEN must_leave IS NOT NULL THEN available - upto + credits END, thresholds
    FROM granted ORDER BY client_id, hold_id
  ), taken AS (
    UPDATE account a
    SET held = a.held + f.credits, last_at = f.moment,
        overdraft = greatest(a.overdraft, CASE WHEN a.available < f.credits THEN -f.must_leave END)
    FROM (SELECT account_row_id, moment, must_leave, sum(credits)::bigint AS credits
          FROM fits GROUP BY account_row_id, moment, must_leave) AS f
    WHERE a.ctid = f.account_row_id
  )
  SELECT n, hold_id, moment, taken_before, quota_resets,
         CASE WHEN must_leave IS NOT NULL THEN (available - upto + credits)::bigint END
  FROM granted;
END
$$;
CREATE FUNCTION public.authorize_in_turn(p_events json, p_client_ids text[], p_service text, p_default_policy text, p_counters json) RETURNS TABLE(n integer, decision text, code text, wait_seconds bigint, hold_id uuid, held_at timestamp with time zone, credits bigint, policy_id text, policy_version integer, rates_used integer[], taken_before bigint[], quota_resets timestamp with time zone[], available_before bigint, would_refuse text, terms text, units bigint)
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
CREATE TABLE public.account (
    client_id text NOT NULL COLLATE pg_catalog."C",
    granted bigint DEFAULT 0 NOT NULL,
    adjusted bigint DEFAULT 0 NOT NULL,
    spent bigint DEFAULT 0 NOT NULL,
    held bigint DEFAULT 0 NOT NULL,
    expired bigint DEFAULT 0 NOT NULL,
    laid bigint DEFAULT 0 NOT NULL,
    pinned_spent bigint DEFAULT 0 NOT NULL,
    late_spent bigint DEFAULT 0 NOT NULL,
    overdraft bigint DEFAULT 0 NOT NULL,
    last_at timestamp with time zone NOT NULL,
    next_moment timestamp with time zone DEFAULT 'infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT account_amounts CHECK (((granted >= 0) AND (spent >= 0) AND (held >= 0) AND (expired >= 0) AND (late_spent >= 0) AND (overdraft >= 0) AND (laid >= 0) AND (pinned_spent >= 0) AND ((laid + pinned_spent) <= spent))),
    CONSTRAINT account_available CHECK ((((((((granted + adjusted) - expired) + late_spent) + overdraft) - spent) - held) >= 0))
)
WITH (fillfactor='50');
CREATE FUNCTION public.available(a public.account) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    AS $$SELECT a.granted + a.adjusted - a.expired - a.spent - a.held$$;
CREATE FUNCTION public.begin_grants(p_client_id text, p_at timestamp with time zone, p_now timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql
    AS $$
DECLARE
  v_begun integer;
  v_granted bigint;
  v_adjusted bigint;
BEGIN
  WITH begun AS (
    UPDATE credit_grant SET state = 'live'
    WHERE client_id = p_client_id AND state = 'booked' AND effective_at <= p_at
    RETURNING *
  ), line AS (
    INSERT INTO ledger_entry (client_id, kind, credits, at, posted_at, event_id, reference, source, note, actor)
    SELECT client_id, kind, credits, effective_at, nullif(p_now, effective_at), event_id, grant_id, source, note, actor
    FROM begun ORDER BY number
  )
  SELECT count(*), coalesce(sum(credits) FILTER (WHERE kind <> 'adjust'), 0),
         coalesce(sum(credits) FILTER (WHERE kind = 'adjust'), 0)
    INTO v_begun, v_granted, v_adjusted FROM begun;
  IF v_begun > 0 THEN
    UPDATE account SET granted = granted + v_granted, adjusted = adjusted + v_adjusted WHERE client_id = p_client_id;
    PERFORM arm_thresholds(p_client_id, p_now);
  END IF;
  RETURN v_begun;
END
$$;
CREATE FUNCTION public.count_for(p_counts text, p_events bigint, p_units bigint, p_credits bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    AS $$
  SELECT CASE p_counts WHEN 'events' THEN p_events WHEN 'units' THEN p_units ELSE p_credits END
$$;
CREATE FUNCTION public.draw_credits(p_client_id text, p_credits bigint) RETURNS TABLE(number bigint, place bigint, credits bigint)
    LANGUAGE sql
    AS $$
  WITH item AS (
    SELECT number, remaining, row_number() OVER in_order AS place, sum(remaining) OVER in_order - remaining AS before
    FROM credit_grant WHERE client_id = p_client_id AND state = 'live'
    WINDOW in_order AS (ORDER BY priority, expires_at, effective_at, number)
  )
  UPDATE credit_grant g
  SET remaining = g.remaining - least(g.remaining, p_credits - item.before),
      state = CASE WHEN g.remaining <= p_credits - item.before THEN 'used' ELSE 'live' END
  FROM item
  WHERE g.client_id = p_client_id AND g.number = item.number AND item.before < p_credits
  RETURNING g.number, item.place, item.remaining - g.remaining
$$;
CREATE FUNCTION public.end_grants(p_client_id text, p_numbers bigint[], p_how text, p_at timestamp with time zone, p_now timestamp with time zone, p_actor text, p_reason text) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
  v_lapsed bigint;
BEGIN
  IF cardinality(p_numbers) = 0 THEN
    RETURN 0;
  END IF;
  WITH lying AS MATERIALIZED (
    SELECT * FROM lay_held(p_client_id) WHERE number = ANY (p_numbers)
  ), pin AS (
    INSERT INTO credit_pin (client_id, hold_id, number, credits) SELECT p_client_id, hold_id, number, credits FROM lying
  ), marked AS (
    UPDATE hold h SET pinned = coalesce(h.pinned, 0) + l.credits
    FROM (SELECT hold_id, sum(credits)::bigint AS credits FROM lying GROUP BY hold_id) AS l
    WHERE h.client_id = p_client_id AND h.hold_id = l.hold_id
  ), ended AS (
    UPDATE credit_grant g
    SET state = CASE p_how WHEN 'void' THEN 'voided' ELSE 'expired' END, remaining = 0, pinned = e.pinned,
        lapsed = g.remaining - e.pinned
    FROM (SELECT each.number, coalesce(sum(l.credits), 0)::bigint AS pinned
          FROM unnest(p_numbers) AS each (number) LEFT JOIN lying l ON l.number = each.number GROUP BY each.number) AS e
    WHERE g.client_id = p_client_id AND g.number = e.number
    RETURNING g.number, g.grant_id, g.lapsed
  ), line AS (
    INSERT INTO ledger_entry (client_id, kind, credits, at, posted_at, reference, note, actor)
    SELECT p_client_id, p_how, -lapsed, p_at, nullif(p_now, p_at), grant_id, p_reason, p_actor
    FROM ended WHERE lapsed > 0 ORDER BY number
  )
  SELECT coalesce(sum(lapsed), 0) INTO v_lapsed FROM ended;
  UPDATE account SET expired = expired + v_lapsed WHERE client_id = p_client_id;
  RETURN v_lapsed;
END
$$;
CREATE FUNCTION public.find_assignment(p_client_id text, p_moment timestamp with time zone) RETURNS TABLE(policy_id text, anchored_at timestamp with time zone, shadow_policy_id text)
    LANGUAGE sql STABLE
    AS $$
  SELECT s.policy_id, s.anchored_at, s.shadow_policy_id FROM assignment s
  WHERE s.client_id = p_client_id AND s.starts_at <= p_moment
  ORDER BY s.starts_at DESC LIMIT 1
$$;
CREATE FUNCTION public.find_counters(p_counters json, p_client_ids text[], p_now timestamp with time zone) RETURNS TABLE(k integer, client_id text, name text, rule text, counts text, user_id text, usual bigint, most bigint, wanted bigint, starts_at timestamp with time zone, ends_at timestamp with time zone, counter_id bigint, used bigint, held bigint, row_id tid)
    LANGUAGE plpgsql STABLE
    AS $$
#variable_conflict use_column
BEGIN
  IF p_counters IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY
  WITH ahead AS MATERIALIZED (
    -- Accounts that stand at a moment to come, which hardly ever is one.
    SELECT a.client_id, a.last_at FROM account a WHERE a.client_id = ANY (p_client_ids) AND a.last_at > p_now
  ), asked AS MATERIALIZED (
    SELECT q.*, coalesce(a.last_at, p_now) AS moment, s.anchored_at
    FROM json_to_recordset(p_counters) AS q (
      k integer, client_id text, name text, rule text, counts text, period text, anchor text, user_id text,
      usual bigint, most bigint, wanted bigint)
    LEFT JOIN ahead a ON a.client_id = q.client_id
    LEFT JOIN LATERAL (
      SELECT s.anchored_at FROM find_assignment(q.client_id, coalesce(a.last_at, p_now)) AS s
      WHERE q.anchor = 'assigned' OFFSET 0) AS s ON true
  ), calendar AS MATERIALIZED (
    -- Once for all: to find a period costs more than to find a counter.
    SELECT d.period, p.starts_at, p.ends_at
    FROM (SELECT DISTINCT period FROM asked WHERE anchored_at IS NULL) AS d
    CROSS JOIN LATERAL find_period(d.period, NULL, p_now) AS p
  )
  SELECT q.k, q.client_id, q.name, q.rule, q.counts, q.user_id, q.usual, q.most, q.wanted, p.starts_at,
         p.ends_at, c.counter_id, coalesce(c.used, 0), coalesce(c.held, 0), c.row_id
  FROM asked q
  LEFT JOIN calendar d ON d.period = q.period AND q.anchored_at IS NULL AND q.moment = p_now
  LEFT JOIN LATERAL (
    SELECT f.* FROM find_period(q.period, q.anchored_at, q.moment) AS f WHERE d.period IS NULL OFFSET 0) AS f ON true
  CROSS JOIN LATERAL (
    SELECT coalesce(d.starts_at, f.starts_at) AS starts_at, coalesce(d.ends_at, f.ends_at) AS ends_at) AS p
  LEFT JOIN LATERAL (
    SELECT c.counter_id, c.used, c.held, c.ctid AS row_id FROM counter c
    WHERE c.client_id = q.client_id AND c.name = q.name AND c.rule = q.rule AND c.user_id = q.user_id
      AND c.starts_at = p.starts_at AND NOT c.is_erased
    OFFSET 0) AS c ON true;
END
$$;
CREATE FUNCTION public.find_next_moment(p_client_id text) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    AS $$
  SELECT coalesce(least(
    (SELECT min(CASE state WHEN 'booked' THEN effective_at ELSE expires_at END)
     FROM credit_grant WHERE client_id = p_client_id AND state IN ('booked', 'live')),
    (SELECT min(next_at) FROM recurring_grant WHERE client_id = p_client_id AND (ends_at IS NULL OR next_at < ends_at))),
    'infinity')
$$;
CREATE FUNCTION public.find_overage(p_client_id text, p_counter_ids bigint[], p_taken_before bigint[], p_policy_id text, p_policy_version integer, p_units bigint, p_credits bigint) RETURNS bigint[]
    LANGUAGE sql STABLE
    AS $$
  SELECT CASE WHEN bool_or(beyond > 0) THEN array_agg(beyond ORDER BY place) END
  FROM unnest(p_counter_ids, p_taken_before) WITH ORDINALITY AS each (counter_id, before, place)
  JOIN counter c ON c.client_id = p_client_id AND c.counter_id = each.counter_id
  JOIN policy_version v ON v.policy_id = p_policy_id AND v.version = p_policy_version
  CROSS JOIN LATERAL jsonb_array_elements(v.terms -> 'quotas') AS q
  CROSS JOIN LATERAL (
    SELECT greatest(before + count_for(c.counts, 1, p_units, p_credits) - greatest(before, (q ->> 'limit')::bigint), 0) AS beyond
  ) AS o
  WHERE q ->> 'name' = c.name
$$;
CREATE FUNCTION public.find_period(p_period text, p_anchor timestamp with time zone, p_moment timestamp with time zone, OUT starts_at timestamp with time zone, OUT ends_at timestamp with time zone) RETURNS record
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
  v_anchor timestamp := p_anchor AT TIME ZONE 'UTC';
  v_moment timestamp := p_moment AT TIME ZONE 'UTC';
  v_length interval := ('1 ' || p_period)::interval;
  v_start timestamp;
  v_nth integer;
BEGIN
  IF p_anchor IS NULL THEN
    v_start := date_trunc(p_period, v_moment);
    starts_at := v_start AT TIME ZONE 'UTC';
    ends_at := (v_start + v_length) AT TIME ZONE 'UTC';
    RETURN;
  END IF;
  -- Always from the anchor itself: from a 28th no way leads back to the 31st.
  IF p_period IN ('month', 'year') THEN
    v_nth := (extract(year FROM v_moment) - extract(year FROM v_anchor)) * 12
             + extract(month FROM v_moment) - extract(month FROM v_anchor);
    IF p_period = 'year' THEN
      v_nth := floor(v_nth / 12.0);
    END IF;
  ELSE
    v_nth := floor(extract(epoch FROM v_moment - v_anchor) / extract(epoch FROM v_length));
  END IF;
  IF v_anchor + v_nth * v_length > v_moment THEN
    v_nth := v_nth - 1;
  END IF;
  starts_at := (v_anchor + v_nth * v_length) AT TIME ZONE 'UTC';
  ends_at := (v_anchor + (v_nth + 1) * v_length) AT TIME ZONE 'UTC';
END
$$;
CREATE TABLE public.policy_version (
    policy_id text NOT NULL,
    version integer NOT NULL,
    terms jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    effective_at timestamp with time zone NOT NULL
);
CREATE FUNCTION public.find_version(p_policy_id text, p_moment timestamp with time zone) RETURNS SETOF public.policy_version
    LANGUAGE sql STABLE
    AS $$
  SELECT v.* FROM policy_version v
  WHERE v.policy_id = p_policy_id AND v.effective_at <= p_moment
  ORDER BY v.effective_at DESC, v.version DESC LIMIT 1
$$;
CREATE FUNCTION public.lay_held(p_client_id text) RETURNS TABLE(hold_id uuid, number bigint, credits bigint)
    LANGUAGE sql STABLE
    AS $$
  WITH wanted AS (
    SELECT hold_id, sum(credits - coalesce(pinned, 0)) OVER (ORDER BY held_at, hold_id) AS upto,
           credits - coalesce(pinned, 0) AS credits
    FROM hold WHERE client_id = p_client_id AND event_type IS NOT NULL AND credits > coalesce(pinned, 0)
  ), place AS (
    SELECT number, sum(remaining) OVER (ORDER BY priority, expires_at, effective_at, number) AS upto, remaining
    FROM credit_grant WHERE client_id = p_client_id AND state = 'live'
  )
  SELECT w.hold_id, p.number,
         (least(w.upto, p.upto) - greatest(w.upto - w.credits, p.upto - p.remaining))::bigint
  FROM wanted w JOIN place p ON w.upto - w.credits < p.upto AND p.upto - p.remaining < w.upto
$$;
CREATE FUNCTION public.lay_spent(p_client_id text) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
  v_spent bigint;
  v_laid bigint;
BEGIN
  SELECT spent - pinned_spent, laid INTO v_spent, v_laid FROM account WHERE client_id = p_client_id;
  IF v_spent = v_laid THEN
    RETURN;
  END IF;
  WITH drawn AS (
    INSERT INTO credit_draw (client_id, upto, number, credits, entry_id, entry_position)
    SELECT p_client_id, v_laid + sum(d.credits) OVER (ORDER BY d.place), d.number, d.credits,
           (SELECT max(entry_id) FROM ledger_entry WHERE client_id = p_client_id), v_spent
    FROM draw_credits(p_client_id, v_spent - v_laid) AS d WHERE d.credits > 0
    RETURNING credits
  )
  UPDATE account SET laid = laid + (SELECT coalesce(sum(credits), 0) FROM drawn) WHERE client_id = p_client_id;
END
$$;
CREATE FUNCTION public.lock_accounts(p_client_ids text[]) RETURNS timestamp with time zone
    LANGUAGE plpgsql
    AS $$
DECLARE
  v_now timestamptz;
  v_locked integer;
  v_next timestamptz;
  v_last timestamptz;
BEGIN
  LOOP
    SELECT count(*), min(next_moment), max(last_at) INTO v_locked, v_next, v_last
    FROM (SELECT next_moment, last_at FROM account WHERE client_id = ANY (p_client_ids) ORDER BY client_id FOR NO KEY UPDATE)
      AS locked;
    EXIT WHEN v_locked = (SELECT count(DISTINCT id) FROM unnest(p_client_ids) AS id);
    INSERT INTO account (client_id, last_at)
    SELECT DISTINCT id, utc_now() FROM unnest(p_client_ids) AS id
    ORDER BY id
    ON CONFLICT DO NOTHING;
  END LOOP;
  v_now := utc_now();
  IF v_next <= greatest(v_now, v_last) THEN
    PERFORM move_account(client_id, greatest(v_now, last_at))
    FROM account WHERE client_id = ANY (p_client_ids) AND next_moment <= greatest(v_now, last_at);
  END IF;
  RETURN v_now;
END
$$;
CREATE FUNCTION public.move_account(p_client_id text, p_now timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
  v_at timestamptz;
BEGIN
  LOOP
    SELECT next_moment INTO v_at FROM account WHERE client_id = p_client_id;
    EXIT WHEN v_at > p_now;
    PERFORM lay_spent(p_client_id);
    PERFORM end_grants(
      p_client_id,
      ARRAY(SELECT number FROM credit_grant WHERE client_id = p_client_id AND state = 'live' AND expires_at <= v_at),
      'expire', v_at, p_now, 'metering', NULL);
    WITH due AS (
      UPDATE recurring_grant r SET next_at = p.ends_at
      FROM (SELECT recurring_id AS id, next_at AS starts_at, (find_period(every, starts_at, next_at)).ends_at
            FROM recurring_grant
            WHERE client_id = p_client_id AND next_at <= v_at AND (ends_at IS NULL OR next_at < ends_at)) AS p
      WHERE r.client_id = p_client_id AND r.recurring_id = p.id
      RETURNING r.*, p.starts_at AS period_start, p.ends_at AS period_end
    )
    INSERT INTO credit_grant (client_id, kind, grant_id, recurring_id, credits, effective_at, expires_at, priority, actor,
                              created_at, state, remaining)
    SELECT client_id, 'grant', recurring_id || ':' || to_char(period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
           recurring_id, credits + rolled_over, period_start, CASE WHEN expires_with_period THEN period_end END, priority, actor,
           p_now, 'booked', credits + rolled_over
    FROM due
    CROSS JOIN LATERAL (
      SELECT least(rollover_max, coalesce(sum(g.lapsed), 0))::bigint AS most
      FROM credit_grant g
      WHERE g.client_id = p_client_id AND g.recurring_id = due.recurring_id AND g.expires_at = period_start AND g.state = 'expired'
      ) AS left_over
    CROSS JOIN LATERAL (SELECT CASE WHEN rollover_max IS NULL THEN 0 ELSE most END AS rolled_over) AS r
    ORDER BY recurring_id
    ON CONFLICT (client_id, kind, grant_id) DO NOTHING;
    PERFORM begin_grants(p_client_id, v_at, p_now);
    UPDATE account SET next_moment = find_next_moment(p_client_id) WHERE client_id = p_client_id;
  END LOOP;
END
$$;
CREATE FUNCTION public.note_thresholds(p_charged json, p_now timestamp with time zone) RETURNS void
    LANGUAGE sql
    AS $$
  WITH charge AS MATERIALIZED (
    SELECT * FROM json_to_recordset(p_charged) AS c (
      client_id text, policy_id text, policy_version integer, counter_ids bigint[])
  ), threshold AS MATERIALIZED (
    SELECT t.client_id, t.policy_id, t.policy_version, v.terms, of_policy ->> 'of' AS measured, at::numeric AS at
    FROM (SELECT DISTINCT client_id, policy_id, policy_version FROM charge) AS t
    JOIN policy_version v ON v.policy_id = t.policy_id AND v.version = t.policy_version
    CROSS JOIN LATERAL jsonb_array_elements(v.terms -> 'notices') AS of_policy
    CROSS JOIN LATERAL jsonb_array_elements_text(of_policy -> 'at') AS at
  ), counted AS MATERIALIZED (
    SELECT DISTINCT client_id, policy_id, policy_version, counter_id
    FROM charge CROSS JOIN LATERAL unnest(counter_ids) AS each (counter_id)
  ), reached AS (
    SELECT t.client_id, 'quota' AS kind, c.counter_id::text AS key, t.at AS threshold, nullif(c.user_id, '') AS user_id,
           c.ends_at,
           jsonb_build_object('policyId', t.policy_id, 'policyVersion', t.policy_version, 'quota', c.name, 'counts', c.counts,
                              'limit', q -> 'limit', 'used', c.used) AS data
    FROM counted n
    JOIN counter c ON c.client_id = n.client_id AND c.counter_id = n.counter_id
    JOIN threshold t ON t.client_id = n.client_id AND t.policy_id = n.policy_id AND t.policy_version = n.policy_version
                     AND t.measured = 'quota:' || c.name
    CROSS JOIN LATERAL jsonb_array_elements(t.terms -> 'quotas') AS q
    WHERE q ->> 'name' = c.name AND c.used > 0 AND c.used >= t.at * (q ->> 'limit')::bigint
    UNION ALL
    SELECT t.client_id, 'balance', '', t.at, NULL, NULL,
           jsonb_build_object('policyId', t.policy_id, 'policyVersion', t.policy_version,
                              'balance', a.available + a.held, 'held', a.held)
    FROM threshold t
    JOIN account a ON a.client_id = t.client_id
    WHERE t.measured = 'balance' AND a.available + a.held <= t.at
  )
  INSERT INTO notice (client_id, kind, key, threshold, user_id, at, ends_at, data)
  SELECT client_id, kind, key, threshold, user_id, p_now, ends_at, data FROM reached
  ON CONFLICT (client_id, kind, key, threshold) WHERE NOT is_over DO NOTHING
$$;
CREATE FUNCTION public.release_holds(p_events json, p_client_ids text[], p_service text) RETURNS TABLE(n integer, state text, code text)
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
CREATE FUNCTION public.resolve_pins(p_client_id text, p_hold_id uuid, p_spent bigint, p_now timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
  v_paid bigint;
  v_lapsed bigint;
BEGIN
  WITH paid AS MATERIALIZED (
    SELECT number, credits, least(credits, greatest(p_spent - (sum(credits) OVER (ORDER BY number) - credits), 0))::bigint AS paid
    FROM credit_pin WHERE client_id = p_client_id AND hold_id = p_hold_id AND paid IS NULL
  ), noted AS (
    UPDATE credit_pin pin SET paid = p.paid
    FROM paid p WHERE pin.client_id = p_client_id AND pin.hold_id = p_hold_id AND pin.number = p.number
  ), resolved AS (
    UPDATE credit_grant g SET pinned = g.pinned - p.credits, lapsed = g.lapsed + p.credits - p.paid
    FROM paid p WHERE g.client_id = p_client_id AND g.number = p.number
    RETURNING g.number, g.grant_id, g.state, p.credits - p.paid AS lapsed
  ), line AS (
    INSERT INTO ledger_entry (client_id, kind, credits, at, reference, note, actor)
    SELECT p_client_id, CASE state WHEN 'voided' THEN 'void' ELSE 'expire' END, -lapsed, p_now, grant_id,
           'Given back by a hold after the grant had ended', 'metering'
    FROM resolved WHERE lapsed > 0 ORDER BY number
  )
  SELECT coalesce(sum(paid), 0), coalesce(sum(credits - paid), 0) INTO v_paid, v_lapsed FROM paid;
  UPDATE account SET pinned_spent = pinned_spent + v_paid, expired = expired + v_lapsed WHERE client_id = p_client_id;
END
$$;
CREATE FUNCTION public.settle_events(p_events json, p_client_ids text[], p_service text) RETURNS TABLE(n integer, credits bigint)
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
CREATE FUNCTION public.settle_in_turn(p_events json, p_client_ids text[], p_service text, p_default_policy text, p_counters json) RETURNS TABLE(n integer, state text, code text, hold_id uuid, credits bigint, late boolean, is_first boolean)
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
DECLARE
  r record;
  h hold%ROWTYPE;
  charge record;
  v_now timestamptz;
  v_moment timestamptz;
  v_units bigint;
  v_held bigint;
  v_late bigint;
  v_day date;
  v_counters bigint[];
  v_over bigint[];
BEGIN
  v_now := lock_accounts(p_client_ids);
  FOR r IN
    SELECT i.*, greatest(v_now, a.last_at) AS moment, coalesce(s.policy_id, p_default_policy) AS own_policy, v.version
    FROM json_to_recordset(p_events) AS i (
      n integer, hold_id uuid, event_id text, client_id text, event_type text, user_id text, units bigint,
      happened_at timestamptz, policy_id text, policy_version integer, credits bigint, counters integer[], amounts bigint[],
      thresholds boolean)
    JOIN account a ON a.client_id = i.client_id
    LEFT JOIN LATERAL find_assignment(i.client_id, greatest(v_now, a.last_at)) AS s ON true
    LEFT JOIN LATERAL find_version(coalesce(s.policy_id, p_default_policy), greatest(v_now, a.last_at)) AS v ON true
    ORDER BY i.client_id, i.n
  LOOP
    n := r.n; state := 'settled'; code := NULL; hold_id := r.hold_id; credits := NULL; late := NULL; is_first := false;
    SELECT * INTO h FROM hold WHERE client_id = r.client_id AND hold_id = r.hold_id AND released_at IS NULL;
    IF FOUND AND h.event_id <> r.event_id THEN
      state := 'conflict'; code := 'hold_of_another_event';
    ELSIF NOT FOUND THEN
      -- Whichever attempt the fact belongs to: the event's live hold is what was set aside for it.
      SELECT * INTO h FROM hold WHERE client_id = r.client_id AND event_id = r.event_id AND hold.event_type IS NOT NULL;
    END IF;
    SELECT l.hold_id, l.credits, l.late_credits, l.held_at, l.service,
           (l.event_type, l.user_id) IS DISTINCT FROM
             (coalesce(r.event_type, l.event_type), CASE WHEN l.user_id = '' OR r.event_type IS NULL THEN l.user_id
                                                         ELSE r.user_id END) AS differs
      INTO charge
      FROM ledger_entry l WHERE l.event_id = r.event_id AND l.client_id = r.client_id AND l.kind = 'spend';
    IF code IS NOT NULL THEN
      NULL;
    ELSIF charge.hold_id IS NOT NULL THEN
      IF charge.differs THEN
        state := 'conflict'; code := 'event_with_other_content';
      ELSE
        hold_id := charge.hold_id; credits := -charge.credits; late := charge.held_at IS NULL;
      END IF;
    ELSIF h.hold_id IS NOT NULL THEN
      IF h.service <> p_service THEN
        state := 'conflict'; code := 'event_of_another_service';
      ELSIF r.event_type IS NOT NULL AND (h.event_type, h.user_id) IS DISTINCT FROM
            (r.event_type, CASE h.user_id WHEN '' THEN '' ELSE r.user_id END) THEN
        state := 'conflict'; code := 'event_with_other_content';
      ELSE
        -- What is more than was held was not set aside, and is charged as late.
        v_units := coalesce(r.units, h.units);
        credits := h.credits / h.units * v_units; late := false; hold_id := h.hold_id; is_first := true;
        v_held := h.credits; v_late := greatest(credits - h.credits, 0); v_counters := h.counter_ids;
        v_day := h.counted_on;
        v_over := CASE WHEN v_units = h.units THEN h.overage ELSE find_overage(
          h.client_id, h.counter_ids, h.taken_before, h.policy_id, h.policy_version, v_units, credits) END;
        DELETE FROM hold WHERE client_id = r.client_id AND hold_id = h.hold_id;
        UPDATE counter c
        SET used = c.used + count_for(c.counts, 1, v_units, credits),
            held = c.held - count_for(c.counts, 1, h.units, h.credits)
        WHERE c.client_id = r.client_id AND c.counter_id = ANY (v_counters);
        INSERT INTO ledger_entry (client_id, kind, credits, at, event_id, event_type, user_id, units, hold_id, service,
                                  counted_on, held_at, late_credits, pinned_credits, policy_id, policy_version, rates_used,
                                  counter_ids, taken_before, overage, available_before, would_refuse)
        VALUES (h.client_id, 'spend', -credits, v_now, h.event_id, h.event_type, h.user_id, v_units, h.hold_id, h.service,
                h.counted_on, h.held_at, nullif(v_late, 0), CASE WHEN h.pinned > 0 THEN least(h.pinned, credits) END, h.policy_id, h.policy_version, h.rates_used, h.counter_ids,
                h.taken_before, v_over, h.available_before, h.would_refuse);
        PERFORM add_usage(r.client_id, v_day, h.event_type, v_units, credits, v_over, v_now);
      END IF;
    ELSIF r.event_type IS NULL THEN
      state := 'unknown';
    ELSIF r.version IS NULL THEN
      CONTINUE;  -- the configured default does not exist: not decided
    ELSIF r.policy_id IS DISTINCT FROM r.own_policy OR r.policy_version IS DISTINCT FROM r.version THEN
      state := 'stale';
    ELSE
      -- A type that is not sold is charged nothing: it happened, and somebody will look for it.
      credits := coalesce(r.credits, 0); late := true; is_first := true;
      v_moment := r.moment; v_held := 0; v_late := credits;
      v_day := (least(r.happened_at, v_moment) AT TIME ZONE 'UTC')::date;
      v_counters := NULL;
      IF r.counters IS NOT NULL THEN
        WITH present AS (
          SELECT q.*, r.amounts[each.place] AS amount, each.place
          FROM find_counters(p_counters, p_client_ids, v_now) AS q
          JOIN unnest(r.counters) WITH ORDINALITY AS each (k, place) ON each.k = q.k
          WHERE least(r.happened_at, v_moment) >= q.starts_at
        ), counted AS (
          INSERT INTO counter AS c (client_id, name, rule, counts, user_id, starts_at, ends_at, used)
          SELECT client_id, name, rule, counts, user_id, starts_at, ends_at, amount FROM present
          ON CONFLICT (client_id, name, rule, user_id, starts_at) WHERE NOT is_erased
          DO UPDATE SET used = c.used + excluded.used
          RETURNING counter_id
        )
        SELECT array_agg(counter_id) INTO v_counters FROM counted;
      END IF;
      INSERT INTO ledger_entry (client_id, kind, credits, at, event_id, event_type, user_id, units, hold_id, service, counted_on,
                                happened_at, late_credits, policy_id, policy_version, counter_ids)
      VALUES (r.client_id, 'spend', -credits, v_now, r.event_id, r.event_type, r.user_id, r.units, r.hold_id, p_service, v_day,
              r.happened_at, v_late, r.policy_id, r.policy_version, v_counters);
      PERFORM add_usage(r.client_id, v_day, r.event_type, r.units, credits, NULL, v_now);
    END IF;
    IF is_first THEN
      UPDATE account a
      SET spent = a.spent + credits, held = a.held - v_held, late_spent = a.late_spent + v_late,
          last_at = CASE WHEN late THEN greatest(a.last_at, v_moment) ELSE a.last_at END
      WHERE a.client_id = r.client_id;
      IF h.pinned IS NOT NULL THEN
        PERFORM resolve_pins(r.client_id, hold_id, credits, v_now);
      END IF;
      IF (CASE WHEN late THEN r.thresholds ELSE h.has_thresholds END) THEN
        PERFORM note_thresholds(json_build_array(json_build_object(
          'client_id', r.client_id, 'policy_id', coalesce(h.policy_id, r.policy_id),
          'policy_version', coalesce(h.policy_version, r.policy_version), 'counter_ids', v_counters)), v_now);
      END IF;
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;
CREATE FUNCTION public.utc_now() RETURNS timestamp with time zone
    LANGUAGE sql
    AS $$SELECT clock_timestamp()$$;
CREATE TABLE public._yoyo_log (
    id character varying(36) NOT NULL,
    migration_hash character varying(64),
    migration_id character varying(255),
    operation character varying(10),
    username character varying(255),
    hostname character varying(255),
    comment character varying(255),
    created_at_utc timestamp without time zone
);
CREATE TABLE public._yoyo_migration (
    migration_hash character varying(64) NOT NULL,
    migration_id character varying(255),
    applied_at_utc timestamp without time zone
);
CREATE TABLE public._yoyo_version (
    version integer NOT NULL,
    installed_at_utc timestamp without time zone
);
CREATE TABLE public.admin_audit (
    audit_id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    detail jsonb NOT NULL
);
ALTER TABLE public.admin_audit ALTER COLUMN audit_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.admin_audit_audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.assignment (
    client_id text NOT NULL COLLATE pg_catalog."C",
    starts_at timestamp with time zone NOT NULL,
    policy_id text NOT NULL,
    anchored_at timestamp with time zone NOT NULL,
    shadow_policy_id text
);
CREATE TABLE public.console_session (
    digest bytea NOT NULL,
    kind text NOT NULL,
    key_digest bytea NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT console_session_kind CHECK ((kind = ANY (ARRAY['session'::text, 'link'::text])))
);
CREATE TABLE public.counter (
    client_id text NOT NULL COLLATE pg_catalog."C",
    counter_id bigint NOT NULL,
    name text NOT NULL,
    rule text NOT NULL,
    counts text NOT NULL,
    user_id text DEFAULT ''::text NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    ends_at timestamp with time zone NOT NULL,
    used bigint DEFAULT 0 NOT NULL,
    held bigint DEFAULT 0 NOT NULL,
    is_erased boolean DEFAULT false NOT NULL,
    CONSTRAINT counter_amounts CHECK (((used >= 0) AND (held >= 0))),
    CONSTRAINT counter_counts CHECK ((counts = ANY (ARRAY['events'::text, 'units'::text, 'credits'::text])))
)
WITH (fillfactor='50');
ALTER TABLE public.counter ALTER COLUMN counter_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.counter_counter_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.credit_draw (
    client_id text NOT NULL COLLATE pg_catalog."C",
    upto bigint NOT NULL,
    number bigint NOT NULL,
    credits bigint NOT NULL,
    entry_id bigint NOT NULL,
    entry_position bigint NOT NULL,
    CONSTRAINT credit_draw_amounts CHECK ((credits > 0))
);
CREATE TABLE public.credit_grant (
    client_id text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL,
    grant_id text NOT NULL COLLATE pg_catalog."C",
    number bigint NOT NULL,
    recurring_id text COLLATE pg_catalog."C",
    event_id text COLLATE pg_catalog."C",
    credits bigint NOT NULL,
    effective_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    priority smallint NOT NULL,
    source text,
    note text,
    actor text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    state text NOT NULL,
    remaining bigint NOT NULL,
    pinned bigint DEFAULT 0 NOT NULL,
    lapsed bigint DEFAULT 0 NOT NULL,
    CONSTRAINT credit_grant_amounts CHECK (((credits > 0) AND (remaining >= 0) AND (pinned >= 0) AND (lapsed >= 0) AND (((remaining + pinned) + lapsed) <= credits))),
    CONSTRAINT credit_grant_kind CHECK ((kind = ANY (ARRAY['grant'::text, 'refund'::text, 'adjust'::text]))),
    CONSTRAINT credit_grant_state CHECK ((state = ANY (ARRAY['booked'::text, 'cancelled'::text, 'live'::text, 'used'::text, 'expired'::text, 'voided'::text]))),
    CONSTRAINT credit_grant_times CHECK ((expires_at > effective_at))
);
ALTER TABLE public.credit_grant ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.credit_grant_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.credit_pin (
    client_id text NOT NULL COLLATE pg_catalog."C",
    hold_id uuid NOT NULL,
    number bigint NOT NULL,
    credits bigint NOT NULL,
    paid bigint,
    CONSTRAINT credit_pin_amounts CHECK (((credits > 0) AND ((paid >= 0) AND (paid <= credits))))
);
CREATE TABLE public.hold (
    client_id text NOT NULL COLLATE pg_catalog."C",
    hold_id uuid NOT NULL,
    event_id text NOT NULL COLLATE pg_catalog."C",
    released_at timestamp with time zone,
    service text,
    event_type text,
    user_id text,
    units bigint,
    credits bigint,
    counted_on date,
    held_at timestamp with time zone,
    resolve_by timestamp with time zone,
    policy_id text,
    policy_version integer,
    rates_used integer[],
    counter_ids bigint[],
    taken_before bigint[],
    overage bigint[],
    available_before bigint,
    would_refuse text,
    pinned bigint,
    has_thresholds boolean,
    CONSTRAINT hold_amounts CHECK (((units > 0) AND (credits >= 0))),
    CONSTRAINT hold_whole CHECK (((released_at IS NOT NULL) OR (num_nulls(service, event_type, units, credits, counted_on, held_at, resolve_by, policy_id, policy_version) = 0)))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000');
CREATE TABLE public.ledger_entry (
    client_id text NOT NULL COLLATE pg_catalog."C",
    entry_id bigint NOT NULL,
    kind text NOT NULL,
    credits bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    event_id text COLLATE pg_catalog."C",
    event_type text,
    user_id text,
    units bigint,
    hold_id uuid,
    service text,
    counted_on date,
    held_at timestamp with time zone,
    happened_at timestamp with time zone,
    late_credits bigint,
    pinned_credits bigint,
    policy_id text,
    policy_version integer,
    rates_used integer[],
    counter_ids bigint[],
    taken_before bigint[],
    overage bigint[],
    available_before bigint,
    would_refuse text,
    reference text,
    source text,
    note text,
    actor text,
    posted_at timestamp with time zone,
    CONSTRAINT ledger_entry_kind CHECK ((((kind = 'spend'::text) AND (credits <= 0) AND (num_nulls(event_id, event_type, units, hold_id, service, counted_on, policy_id, policy_version) = 0)) OR ((kind = 'grant'::text) AND (credits > 0) AND (num_nulls(reference, actor) = 0)) OR ((kind = 'refund'::text) AND (credits > 0) AND (num_nulls(reference, actor, event_id) = 0)) OR ((kind = 'adjust'::text) AND (credits <> 0) AND (num_nulls(reference, actor) = 0)) OR ((kind = ANY (ARRAY['expire'::text, 'void'::text])) AND (credits < 0) AND (num_nulls(reference, actor) = 0))))
);
ALTER TABLE public.ledger_entry ALTER COLUMN entry_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.ledger_entry_entry_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.notice (
    notice_id uuid DEFAULT gen_random_uuid() NOT NULL,
    client_id text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    threshold numeric NOT NULL,
    user_id text COLLATE pg_catalog."C",
    at timestamp with time zone NOT NULL,
    ends_at timestamp with time zone,
    is_over boolean DEFAULT false NOT NULL,
    data jsonb NOT NULL,
    is_addressed boolean DEFAULT false NOT NULL,
    CONSTRAINT notice_kind CHECK ((kind = ANY (ARRAY['quota'::text, 'balance'::text, 'refusal'::text, 'expiry'::text])))
);
CREATE TABLE public.policy (
    policy_id text NOT NULL
);
CREATE TABLE public.receipt_forgotten (
    client_id text NOT NULL COLLATE pg_catalog."C",
    upto timestamp with time zone NOT NULL
);
CREATE TABLE public.recurring_grant (
    client_id text NOT NULL COLLATE pg_catalog."C",
    recurring_id text NOT NULL COLLATE pg_catalog."C",
    credits bigint NOT NULL,
    every text NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    ends_at timestamp with time zone,
    expires_with_period boolean NOT NULL,
    rollover_max bigint,
    priority smallint NOT NULL,
    actor text NOT NULL,
    next_at timestamp with time zone NOT NULL,
    CONSTRAINT recurring_grant_amounts CHECK (((credits > 0) AND (rollover_max > 0)))
);
CREATE TABLE public.refusal (
    client_id text NOT NULL COLLATE pg_catalog."C",
    minute timestamp with time zone NOT NULL,
    event_type text NOT NULL COLLATE pg_catalog."C",
    code text NOT NULL COLLATE pg_catalog."C",
    limit_name text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    refused bigint NOT NULL,
    first_at timestamp with time zone NOT NULL,
    last_at timestamp with time zone NOT NULL,
    first_receipt jsonb NOT NULL,
    last_receipt jsonb NOT NULL
);
CREATE TABLE public.refusal_count (
    client_id text NOT NULL COLLATE pg_catalog."C",
    day date NOT NULL,
    event_type text NOT NULL,
    code text NOT NULL,
    refused bigint NOT NULL,
    last_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE public.shadow_counter (
    policy_id text NOT NULL COLLATE pg_catalog."C",
    client_id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    rule text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    starts_at timestamp with time zone NOT NULL,
    used bigint NOT NULL
);
CREATE TABLE public.shadow_refusal (
    policy_id text NOT NULL COLLATE pg_catalog."C",
    day date NOT NULL,
    client_id text NOT NULL COLLATE pg_catalog."C",
    code text NOT NULL COLLATE pg_catalog."C",
    limit_name text NOT NULL COLLATE pg_catalog."C",
    refused bigint NOT NULL,
    credits bigint NOT NULL
);
CREATE TABLE public.sql_function (
    name text NOT NULL,
    number bigint NOT NULL,
    sha256 bytea NOT NULL
);
ALTER TABLE public.sql_function ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.sql_function_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.usage (
    client_id text NOT NULL COLLATE pg_catalog."C",
    day date NOT NULL,
    event_type text NOT NULL,
    charged bigint NOT NULL,
    units bigint NOT NULL,
    credits bigint NOT NULL,
    overage bigint NOT NULL,
    last_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE public.webhook (
    notice_id uuid NOT NULL,
    receiver text NOT NULL COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL,
    next_attempt_at timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    last_error text,
    delivered_at timestamp with time zone,
    dead_at timestamp with time zone,
    CONSTRAINT webhook_state CHECK ((num_nonnulls(next_attempt_at, delivered_at, dead_at) = 1))
);
CREATE TABLE public.yoyo_lock (
    locked integer DEFAULT 1 NOT NULL,
    ctime timestamp without time zone,
    pid integer NOT NULL
);
INSERT INTO public._yoyo_migration VALUES ('82021e12c5eb891d44583ef0277b59d1140dc5ba34853f577bba10407f5d5679', '0001_accounts_holds_ledger', '2026-11-28 09:20:00.001412');
INSERT INTO public._yoyo_migration VALUES ('4bfd9705724650afce2db1ad5d918a15a081a7161ede803cfdbd1caa0f4a3df9', '0002_notices', '2026-11-28 09:20:00.012833');
INSERT INTO public._yoyo_version VALUES (2, '2026-11-28 09:19:59.860915');
INSERT INTO public.policy VALUES ('free');
INSERT INTO public.policy_version VALUES ('free', 1, '{"mode": "enforce", "rates": [{"per": "client", "name": "per minute", "burst": 100, "limit": 60, "eventTypes": ["*"], "periodSeconds": 60}], "prices": {"*": 0}, "quotas": [], "credits": "unlimited"}', '2026-11-28 09:19:59.937686+00', '2000-01-01 00:00:00+00');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('add_usage', 1, '\xddfd3920e76cfbe42bf2868dd6e619b61bd8ccc0f163e062fc969cef0f18e337');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('arm_thresholds', 2, '\x3bd21af8975a56d4039928e31651eb076d984643aa22074680588f39324375df');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('authorize_events', 3, '\x866b71e9078243fe86adf4447beeb71619fe8638540b621f46ae37f8b4d9a0cb');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('authorize_in_turn', 4, '\xab1a3b1edf7a8971b5623a1c6ced291b88de0f96d2bb078ed29b0af836bbffb7');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('available', 5, '\x07a2293cda55637963943a8f06a32f0b6d351867e6a6dba92d0315fcc2e83ff0');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('begin_grants', 6, '\xee5ddc75ad9afb29f49fdcac8fe2b005be7acfd5dbc21eeed0d54fabd89537ad');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('count_for', 7, '\x58003bb7b2d83dbf9e4c7b99036394a59ae4cea8cf0970e41a7c5ba805e70425');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('draw_credits', 8, '\x121ee8962d74c8b553b3e5628a92f0d14a0176dee886725cdebf55c37354bd83');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('end_grants', 9, '\x4c6b7101b707f3a77907d8ad2c075f3e2e49bf911d25d2bddc5a58e0434f941a');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('find_assignment', 10, '\x0008320e56dcc7e23af5e24ce778cd5b08908fa8427b7de4240836c7334255e9');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('find_counters', 11, '\x4ad1ec970147e96ebf01b3adcde7139b25c2a95aeb25a47ec368645372d40dfc');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('find_next_moment', 12, '\x648a5566115c8db17867d2a6ccbf344bbc8cc6533234f02f29959fa99709a251');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('find_overage', 13, '\x4b16a586ccedd80f63220ea416e0094d26082e58d30a1a48e84389e67abf1251');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('find_period', 14, '\x4e375db2d0befa371e76ce87bf8276a4fd708c1ad790f4e5989270272fb9ff09');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('find_version', 15, '\x9cb3b328350362c1abcb31a76114f4de0aaf72f20b6f3dc8e28cbde7508a14df');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('lay_held', 16, '\xce60bd226ccdf7c60907bcea23ca036a063a9fdbe3335bc1663d75cc2419c987');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('lay_spent', 17, '\xce7566a10b95bf537afc4a7c9d6af6974c2cd3f9c619a4e3a8f9fe4ae30b31bc');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('lock_accounts', 18, '\xa4195b7dbc6c0985d39eaddc8ae45314dd3134b9bfdbcf116cf58743a957d4e4');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('move_account', 19, '\x24eb5f32b533fc1fc58aa5d61cc1858bfd8af33a4395a2a23f4f3f6ca0533115');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('note_thresholds', 20, '\x0ef56b7cc1d600b2f496210914639dc47774d1c9c7ef14aeb66c4dc3908524a9');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('release_holds', 21, '\x98e70648567a59952dba70d01c878fbabc7133b0e23ae52da4a66e292f33f1fe');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('resolve_pins', 22, '\x1491c5401d5266796df9abc161f59134d0fb54f92033ff254990c29daa08e9ed');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('settle_events', 23, '\xa425c1bb731c552ed54925c1175e53cad6188468ad97822e0e72550e7a4c26d9');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('settle_in_turn', 24, '\x8aab66f36e99a8a332c6903f9a396b934a9492d122fab7f5c5136cc63de28d24');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('utc_now', 25, '\x65f53c774ed8b022da5a5b99e5f9e863276985fe279dc72530e93347a54d21dd');
SELECT pg_catalog.setval('public.admin_audit_audit_id_seq', 1, false);
SELECT pg_catalog.setval('public.counter_counter_id_seq', 1, false);
SELECT pg_catalog.setval('public.credit_grant_number_seq', 1, false);
SELECT pg_catalog.setval('public.ledger_entry_entry_id_seq', 1, false);
SELECT pg_catalog.setval('public.sql_function_number_seq', 25, true);
ALTER TABLE ONLY public._yoyo_log
    ADD CONSTRAINT _yoyo_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public._yoyo_migration
    ADD CONSTRAINT _yoyo_migration_pkey PRIMARY KEY (migration_hash);
ALTER TABLE ONLY public._yoyo_version
    ADD CONSTRAINT _yoyo_version_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.account
    ADD CONSTRAINT account_pkey PRIMARY KEY (client_id);
ALTER TABLE ONLY public.admin_audit
    ADD CONSTRAINT admin_audit_pkey PRIMARY KEY (audit_id);
ALTER TABLE ONLY public.assignment
    ADD CONSTRAINT assignment_pkey PRIMARY KEY (client_id, starts_at);
ALTER TABLE ONLY public.console_session
    ADD CONSTRAINT console_session_pkey PRIMARY KEY (digest);
ALTER TABLE ONLY public.counter
    ADD CONSTRAINT counter_pkey PRIMARY KEY (client_id, counter_id);
ALTER TABLE ONLY public.credit_draw
    ADD CONSTRAINT credit_draw_pkey PRIMARY KEY (client_id, upto);
ALTER TABLE ONLY public.credit_grant
    ADD CONSTRAINT credit_grant_number_once UNIQUE (client_id, number);
ALTER TABLE ONLY public.credit_grant
    ADD CONSTRAINT credit_grant_pkey PRIMARY KEY (client_id, kind, grant_id);
ALTER TABLE ONLY public.credit_pin
    ADD CONSTRAINT credit_pin_pkey PRIMARY KEY (client_id, hold_id, number);
ALTER TABLE ONLY public.hold
    ADD CONSTRAINT hold_pkey PRIMARY KEY (client_id, hold_id);
ALTER TABLE ONLY public.ledger_entry
    ADD CONSTRAINT ledger_entry_pkey PRIMARY KEY (client_id, entry_id);
ALTER TABLE ONLY public.notice
    ADD CONSTRAINT notice_pkey PRIMARY KEY (notice_id);
ALTER TABLE ONLY public.policy
    ADD CONSTRAINT policy_pkey PRIMARY KEY (policy_id);
ALTER TABLE ONLY public.policy_version
    ADD CONSTRAINT policy_version_pkey PRIMARY KEY (policy_id, version);
ALTER TABLE ONLY public.receipt_forgotten
    ADD CONSTRAINT receipt_forgotten_pkey PRIMARY KEY (client_id);
ALTER TABLE ONLY public.recurring_grant
    ADD CONSTRAINT recurring_grant_pkey PRIMARY KEY (client_id, recurring_id);
ALTER TABLE ONLY public.refusal_count
    ADD CONSTRAINT refusal_count_pkey PRIMARY KEY (client_id, day, event_type, code);
ALTER TABLE ONLY public.refusal
    ADD CONSTRAINT refusal_pkey PRIMARY KEY (client_id, minute, event_type, code, limit_name, user_id);
ALTER TABLE ONLY public.shadow_counter
    ADD CONSTRAINT shadow_counter_pkey PRIMARY KEY (client_id, policy_id, name, rule, user_id, starts_at);
ALTER TABLE ONLY public.shadow_refusal
    ADD CONSTRAINT shadow_refusal_pkey PRIMARY KEY (policy_id, day, client_id, code, limit_name);
ALTER TABLE ONLY public.sql_function
    ADD CONSTRAINT sql_function_pkey PRIMARY KEY (name, number);
ALTER TABLE ONLY public.usage
    ADD CONSTRAINT usage_pkey PRIMARY KEY (client_id, day, event_type);
ALTER TABLE ONLY public.webhook
    ADD CONSTRAINT webhook_pkey PRIMARY KEY (notice_id, receiver);
ALTER TABLE ONLY public.yoyo_lock
    ADD CONSTRAINT yoyo_lock_pkey PRIMARY KEY (locked);
CREATE INDEX account_by_moment ON public.account USING btree (next_moment) WHERE (next_moment < 'infinity'::timestamp with time zone);
CREATE INDEX admin_audit_by_target ON public.admin_audit USING btree (target, audit_id);
CREATE INDEX console_session_by_end ON public.console_session USING btree (expires_at);
CREATE INDEX counter_by_end ON public.counter USING btree (ends_at);
CREATE UNIQUE INDEX counter_once ON public.counter USING btree (client_id, name, rule, user_id, starts_at) WHERE (NOT is_erased);
CREATE INDEX credit_draw_by_entry ON public.credit_draw USING btree (client_id, entry_id);
CREATE INDEX credit_grant_by_expiry ON public.credit_grant USING btree (expires_at, client_id, number) WHERE ((state = 'live'::text) AND (recurring_id IS NULL));
CREATE INDEX credit_grant_by_recurring ON public.credit_grant USING btree (client_id, recurring_id, expires_at) WHERE (recurring_id IS NOT NULL);
CREATE INDEX credit_grant_open ON public.credit_grant USING btree (client_id, priority, expires_at, effective_at, number) WHERE (state = ANY (ARRAY['booked'::text, 'live'::text]));
CREATE INDEX credit_grant_refunds ON public.credit_grant USING btree (client_id, event_id) WHERE (kind = 'refund'::text);
CREATE INDEX hold_by_age ON public.hold USING btree (held_at, hold_id) WHERE (held_at IS NOT NULL);
CREATE UNIQUE INDEX hold_event_once ON public.hold USING btree (client_id, event_id) WHERE (event_type IS NOT NULL);
CREATE INDEX ledger_entry_by_time ON public.ledger_entry USING btree (client_id, at, entry_id) WHERE (units IS NOT NULL);
CREATE INDEX ledger_entry_by_user ON public.ledger_entry USING btree (client_id, user_id, counted_on) WHERE ((kind = 'spend'::text) AND (user_id <> ''::text));
CREATE UNIQUE INDEX ledger_entry_event_once ON public.ledger_entry USING btree (event_id, client_id) WHERE (kind = 'spend'::text);
CREATE INDEX ledger_entry_given ON public.ledger_entry USING btree (client_id, at) WHERE (actor IS NOT NULL);
CREATE UNIQUE INDEX ledger_entry_reference_once ON public.ledger_entry USING btree (client_id, kind, reference) WHERE (kind = ANY (ARRAY['grant'::text, 'refund'::text, 'adjust'::text]));
CREATE INDEX notice_by_time ON public.notice USING btree (at, notice_id);
CREATE UNIQUE INDEX notice_once ON public.notice USING btree (client_id, kind, key, threshold) WHERE (NOT is_over);
CREATE INDEX notice_to_address ON public.notice USING btree (at) WHERE (NOT is_addressed);
CREATE INDEX policy_version_by_effect ON public.policy_version USING btree (policy_id, effective_at, version);
CREATE INDEX refusal_by_age ON public.refusal USING btree (minute);
CREATE INDEX refusal_count_by_day ON public.refusal_count USING btree (day, client_id);
CREATE INDEX usage_by_day ON public.usage USING btree (day, client_id);
CREATE INDEX usage_by_type ON public.usage USING btree (event_type);
CREATE INDEX webhook_dead ON public.webhook USING btree (dead_at) WHERE (dead_at IS NOT NULL);
CREATE INDEX webhook_due ON public.webhook USING btree (receiver, next_attempt_at) WHERE (next_attempt_at IS NOT NULL);
ALTER TABLE ONLY public.assignment
    ADD CONSTRAINT assignment_policy_fkey FOREIGN KEY (policy_id) REFERENCES public.policy(policy_id);
ALTER TABLE ONLY public.assignment
    ADD CONSTRAINT assignment_shadow_fkey FOREIGN KEY (shadow_policy_id) REFERENCES public.policy(policy_id);
ALTER TABLE ONLY public.policy_version
    ADD CONSTRAINT policy_version_policy_fkey FOREIGN KEY (policy_id) REFERENCES public.policy(policy_id);
ALTER TABLE ONLY public.webhook
    ADD CONSTRAINT webhook_notice_fkey FOREIGN KEY (notice_id) REFERENCES public.notice(notice_id) ON DELETE CASCADE;
GRANT SELECT ON TABLE public.sql_function TO PUBLIC;
