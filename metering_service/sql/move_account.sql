-- Move a locked account on to `p_now`: for each moment that has come, in order, take from the grants what was spent
-- until then, end those that expire, make those that come again, and let those begin that become effective.
--
-- Between two moments the grants and their order do not change, so that all of them are one sum: what is available is
-- right without a look at any of them. A grant that expires goes before one that begins at the same instant.
CREATE FUNCTION move_account(p_client_id text, p_now timestamptz) RETURNS void
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
