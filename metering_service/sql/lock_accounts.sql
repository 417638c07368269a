-- Lock the accounts of `p_client_ids`, in the one order that everybody uses, after making those that are not there.
-- Its settings are those of authorize_events, for the same reasons.
CREATE FUNCTION lock_accounts(p_client_ids text[], p_day date) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_material = off
SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
  INSERT INTO account (client_id, counted_on)
  SELECT DISTINCT c.client_id, p_day FROM unnest(p_client_ids) AS c (client_id)
  WHERE NOT EXISTS (SELECT FROM account a WHERE a.client_id = c.client_id)
  ORDER BY c.client_id
  ON CONFLICT DO NOTHING;
  PERFORM FROM account a WHERE a.client_id = ANY (p_client_ids) ORDER BY a.client_id FOR NO KEY UPDATE;
END
$$;
