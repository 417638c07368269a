-- Add one charge to the usage of its client, type and day. The account is locked.
CREATE FUNCTION add_usage(
  p_client_id text, p_day date, p_event_type text, p_units bigint, p_credits bigint, p_overage bigint[], p_now timestamptz)
RETURNS void
LANGUAGE sql
AS $$
  INSERT INTO usage AS u (client_id, day, event_type, charged, units, credits, overage, last_at)
  VALUES (p_client_id, p_day, p_event_type, 1, p_units, p_credits,
          coalesce((SELECT sum(each) FROM unnest(p_overage) AS each), 0), p_now)
  ON CONFLICT (client_id, day, event_type) DO UPDATE
  SET charged = u.charged + 1, units = u.units + excluded.units, credits = u.credits + excluded.credits,
      overage = u.overage + excluded.overage, last_at = excluded.last_at
$$;
