-- End live grants of a locked client: what is left of them lapses, by a line of the ledger each ('expire' or 'void'),
-- but for what live holds lie on: those are pinned to them, and may still spend it. Return how many credits lapsed.
--
-- OFFSET 0 keeps a look-up by key a look-up by key, and what is asked of a hold's place from being asked of each hold
-- and each grant. Rows are changed where they were found, as in draw_credits.
CREATE FUNCTION end_grants(
  p_client_id text, p_numbers bigint[], p_how text, p_at timestamptz, p_now timestamptz, p_actor text, p_reason text)
RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
  v_lapsed bigint;
BEGIN
  IF cardinality(p_numbers) = 0 THEN
    RETURN 0;
  END IF;
  WITH lying AS MATERIALIZED (
    SELECT * FROM (SELECT * FROM lay_held(p_client_id) OFFSET 0) AS l WHERE number = ANY (p_numbers)
  ), pin AS (
    INSERT INTO credit_pin (client_id, hold_id, number, credits) SELECT p_client_id, hold_id, number, credits FROM lying
  ), marked AS (
    UPDATE hold h SET pinned = coalesce(h.pinned, 0) + l.credits
    FROM (SELECT hold_id, sum(credits)::bigint AS credits FROM lying GROUP BY hold_id) AS l
    CROSS JOIN LATERAL (
      SELECT f.ctid AS row_id FROM hold f WHERE f.client_id = p_client_id AND f.hold_id = l.hold_id OFFSET 0) AS found
    WHERE h.ctid = found.row_id
  ), ended AS (
    UPDATE credit_grant g
    SET state = CASE p_how WHEN 'void' THEN 'voided' ELSE 'expired' END, remaining = 0, pinned = e.pinned,
        lapsed = g.remaining - e.pinned
    FROM (SELECT each.number, coalesce(sum(l.credits), 0)::bigint AS pinned
          FROM unnest(p_numbers) AS each (number) LEFT JOIN lying l ON l.number = each.number GROUP BY each.number) AS e
    CROSS JOIN LATERAL (
      SELECT f.ctid AS row_id FROM credit_grant f
      WHERE f.client_id = p_client_id AND f.number = e.number OFFSET 0) AS found
    WHERE g.ctid = found.row_id
    RETURNING g.number, g.grant_id, g.lapsed
  ), line AS (
    INSERT INTO ledger_entry (client_id, kind, credits, at, posted_at, reference, note, actor)
    SELECT p_client_id, p_how, -lapsed, p_at, nullif(p_now, p_at), grant_id, p_reason, p_actor
    FROM ended WHERE lapsed > 0 ORDER BY number
  )
  SELECT coalesce(sum(lapsed), 0) INTO v_lapsed FROM ended;
  UPDATE account SET expired = expired + v_lapsed WHERE client_id = p_client_id;
  RETURN v_lapsed;
END
$$;
