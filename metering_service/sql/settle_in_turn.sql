-- Settle (capture) events one after the other: those that settle_events left, because they are charged already, their
-- hold is not there or lies on a grant that ended, or more happened than was held.
--
-- Looks for this hold, then for the event's live hold, then for its charge. A fact without any of them is charged all
-- the same, 'late', at the present policy's price, where it was told whole (it has an event_type); else it is
-- 'unknown'. 'conflict' only where the ids say two things. The first settle decides; a repeated one hears of what was
-- charged.
--
-- Of an event told whole its caller says which policy version it knows and what that makes of it: credits, and the
-- counters (`p_counters`, see find_counters) with what it takes of each (amounts). Where it is not the present
-- version the state is 'stale': ask again. A late fact counts in a quota only where it happened in the present
-- period.
--
-- Naming somebody again for an erased user ('' stands in that place) does not bring the person back.
CREATE FUNCTION settle_in_turn(
  p_events json, p_client_ids text[], p_service text, p_default_policy text, p_counters json)
RETURNS TABLE (n integer, state text, code text, hold_id uuid, credits bigint, late boolean, is_first boolean)
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
