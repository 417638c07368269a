-- Lock the accounts of `p_client_ids`, in the one order that everybody uses, after making those that are not there,
-- and move those on whose next moment has come (move_account). Return the present moment, at which they stand.
--
-- How long it waits for somebody else's lock is up to the session (lock_timeout).
CREATE FUNCTION lock_accounts(p_client_ids text[]) RETURNS timestamptz
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
