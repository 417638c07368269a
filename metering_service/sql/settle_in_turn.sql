-- Settle (capture) events one after the other: those that settle_events left, because they are charged already, their hold
-- is not there, or more or less happened than was held.
--
-- Looks for this hold, then for the event's live hold, then for its charge. A fact without any of them is charged all the same,
-- 'late', at the present policy's price, where it was told whole (it has an event_type); else it is 'unknown'. 'conflict'
-- only where the ids say two things. The first settle decides; a repeated one hears of what was charged.
--
-- Naming somebody again for an erased user ('' stands in that place) does not bring the person back.
CREATE FUNCTION settle_in_turn(p_events json, p_client_ids text[], p_service text, p_default_policy text)
RETURNS TABLE (n integer, state text, code text, hold_id uuid, credits bigint, late boolean, is_first boolean)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
  r record;
  h hold%ROWTYPE;
  charge record;
  terms record;
  v_now timestamptz;
  v_moment timestamptz;
  v_day date;
  v_units bigint;
  v_held bigint;
  v_late bigint;
BEGIN
  PERFORM lock_accounts(p_client_ids);
  v_now := utc_now();

  FOR r IN
    SELECT i.*, a.counted_on, a.last_at, a.policy_id AS own_policy
    FROM json_to_recordset(p_events) AS i (
      n integer, hold_id uuid, event_id text, client_id text, event_type text, user_id text, units bigint,
      happened_at timestamptz)
    JOIN account a ON a.client_id = i.client_id
    ORDER BY i.client_id, i.n
  LOOP
    n := r.n; state := 'settled'; code := NULL; hold_id := r.hold_id; credits := NULL; late := NULL; is_first := false;
    v_moment := greatest(v_now, r.last_at);

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
        v_held := h.credits; v_late := greatest(credits - h.credits, 0); v_day := h.counted_on;
        DELETE FROM hold WHERE client_id = r.client_id AND hold_id = h.hold_id;
        INSERT INTO ledger_entry (client_id, kind, credits, at, event_id, event_type, user_id, units, hold_id, service,
                                  counted_on, held_at, late_credits, policy_id, policy_version, rate_used, taken_before,
                                  available_before, would_refuse)
        VALUES (h.client_id, 'spend', -credits, v_now, h.event_id, h.event_type, h.user_id, v_units, h.hold_id, h.service,
                h.counted_on, h.held_at, nullif(v_late, 0), h.policy_id, h.policy_version, h.rate_used, h.taken_before,
                h.available_before, h.would_refuse);
      END IF;
    ELSIF r.event_type IS NULL THEN
      state := 'unknown';
    ELSE
      SELECT v.policy_id, v.version,
             CASE v.credits WHEN 'prepaid' THEN coalesce((v.prices ->> r.event_type)::bigint, 0) * r.units ELSE 0 END AS price
        INTO terms
        FROM policy p JOIN policy_version v ON v.policy_id = p.policy_id AND v.version = p.version
        WHERE p.policy_id = coalesce(r.own_policy, p_default_policy);
      IF NOT FOUND THEN
        CONTINUE;  -- the configured default does not exist: not decided
      END IF;
      credits := terms.price; late := true; is_first := true;
      v_held := 0; v_late := credits; v_day := greatest(r.counted_on, (v_moment AT TIME ZONE 'UTC')::date);
      INSERT INTO ledger_entry (client_id, kind, credits, at, event_id, event_type, user_id, units, hold_id, service, counted_on,
                                happened_at, late_credits, policy_id, policy_version)
      VALUES (r.client_id, 'spend', -credits, v_now, r.event_id, r.event_type, r.user_id, r.units, r.hold_id, p_service, v_day,
              r.happened_at, v_late, terms.policy_id, terms.version);
    END IF;

    IF is_first THEN
      -- Only what counts in the account's present day and month moves its counters: older periods are closed.
      UPDATE account a
      SET spent = a.spent + credits, held = a.held - v_held, late_spent = a.late_spent + v_late,
          counted_on = greatest(a.counted_on, v_day),
          last_at = CASE WHEN late THEN greatest(a.last_at, v_moment) ELSE a.last_at END,
          day_used = CASE WHEN v_day > a.counted_on THEN 1 ELSE a.day_used + (v_day = a.counted_on)::int END,
          day_held = CASE WHEN v_day > a.counted_on THEN 0
                          ELSE a.day_held - (NOT late AND v_day = a.counted_on)::int END,
          month_used = CASE WHEN date_trunc('month', v_day) > date_trunc('month', a.counted_on) THEN 1
                            ELSE a.month_used + (v_day >= date_trunc('month', a.counted_on)::date)::int END,
          month_held = CASE WHEN date_trunc('month', v_day) > date_trunc('month', a.counted_on) THEN 0
                            ELSE a.month_held - (NOT late AND v_day >= date_trunc('month', a.counted_on)::date)::int END
      WHERE a.client_id = r.client_id;
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;
