-- Take from a locked client's grants what was spent since its last moment, and note which of them paid. What no grant
-- covers waits for the next one.
CREATE FUNCTION lay_spent(p_client_id text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  v_spent bigint;
  v_laid bigint;
BEGIN
  SELECT spent - pinned_spent, laid INTO v_spent, v_laid FROM account WHERE client_id = p_client_id;
  IF v_spent = v_laid THEN
    RETURN;
  END IF;
  WITH drawn AS (
    INSERT INTO credit_draw (client_id, upto, number, credits, entry_id, entry_position)
    SELECT p_client_id, v_laid + sum(d.credits) OVER (ORDER BY d.place), d.number, d.credits,
           (SELECT max(entry_id) FROM ledger_entry WHERE client_id = p_client_id), v_spent
    FROM draw_credits(p_client_id, v_spent - v_laid) AS d WHERE d.credits > 0
    RETURNING credits
  )
  UPDATE account SET laid = laid + (SELECT coalesce(sum(credits), 0) FROM drawn) WHERE client_id = p_client_id;
END
$$;
