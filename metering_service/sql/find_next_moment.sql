-- Return when a client's grants change next: one becomes effective, expires or comes again; 'infinity' where none
-- does.
CREATE FUNCTION find_next_moment(p_client_id text) RETURNS timestamptz
LANGUAGE sql STABLE
AS $$
  SELECT coalesce(least(
    (SELECT min(CASE state WHEN 'booked' THEN effective_at ELSE expires_at END)
     FROM credit_grant WHERE client_id = p_client_id AND state IN ('booked', 'live')),
    (SELECT min(next_at) FROM recurring_grant WHERE client_id = p_client_id AND (ends_at IS NULL OR next_at < ends_at))),
    'infinity')
$$;
