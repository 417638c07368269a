-- Lock the accounts of `p_client_ids`, in the one order that everybody uses, after making those that are not there.
--
-- How long it waits for somebody else's lock is up to the session (lock_timeout).
CREATE FUNCTION lock_accounts(p_client_ids text[]) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  v_locked integer;
BEGIN
  SELECT count(*) INTO v_locked
  FROM (SELECT FROM account WHERE client_id = ANY (p_client_ids) ORDER BY client_id FOR NO KEY UPDATE) AS locked;
  IF v_locked < (SELECT count(DISTINCT id) FROM unnest(p_client_ids) AS id) THEN
    INSERT INTO account (client_id, last_at)
    SELECT DISTINCT id, utc_now() FROM unnest(p_client_ids) AS id
    ORDER BY id
    ON CONFLICT DO NOTHING;
    PERFORM FROM account WHERE client_id = ANY (p_client_ids) ORDER BY client_id FOR NO KEY UPDATE;
  END IF;
END
$$;
