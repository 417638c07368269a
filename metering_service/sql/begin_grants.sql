-- Let those of a locked client's booked grants begin that are effective by `p_at`: a line of the ledger each, and
-- credits to spend. Return how many began.
CREATE FUNCTION begin_grants(p_client_id text, p_at timestamptz, p_now timestamptz) RETURNS integer
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
