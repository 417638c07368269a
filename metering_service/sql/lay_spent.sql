-- Take from a locked client's grants what was spent since its last moment. What no grant covers waits for the next one.
CREATE FUNCTION lay_spent(p_client_id text) RETURNS void
LANGUAGE sql
AS $$
  UPDATE account SET laid = laid + draw_credits(client_id, spent - laid) WHERE client_id = p_client_id AND spent > laid
$$;
