-- Have the thresholds of a locked client's balance that it is above now told again when it falls to them.
CREATE FUNCTION arm_thresholds(p_client_id text, p_now timestamptz) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
  UPDATE notice n SET is_over = true, ends_at = p_now
  FROM account a
  WHERE n.client_id = p_client_id AND n.kind = 'balance' AND n.key = '' AND NOT n.is_over
    AND a.client_id = p_client_id AND n.threshold < a.available + a.held;
END
$$;
