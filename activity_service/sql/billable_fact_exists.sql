-- Return whether the fact that an event names is there. Billing asks this before it gives up a hold, and knows no
-- more of what is billed.
CREATE FUNCTION billable_fact_exists(p_client_id text, p_event_id text) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
    SELECT EXISTS (
        SELECT FROM plan_play
        WHERE id = CASE
                WHEN split_part(p_event_id, ':', 2) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                THEN split_part(p_event_id, ':', 2)::uuid
            END
          AND client_id = p_client_id
          AND CASE split_part(p_event_id, ':', 1)
                WHEN 'plan_play.created' THEN true
                WHEN 'plan_play.completed' THEN first_ended_at IS NOT NULL
                ELSE false
              END
    )
    $$;
