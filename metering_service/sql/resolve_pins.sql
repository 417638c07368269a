-- Pay the `p_spent` of a hold that was settled, 0 of a released one, with what is pinned for it of grants that ended,
-- as far as that goes; what it does not spend of it lapses, by a line of the ledger. The account is locked, and the
-- hold gone from it.
CREATE FUNCTION resolve_pins(p_client_id text, p_hold_id uuid, p_spent bigint, p_now timestamptz) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  v_paid bigint;
  v_lapsed bigint;
BEGIN
  WITH paid AS MATERIALIZED (
    SELECT number, credits, least(credits, greatest(p_spent - (sum(credits) OVER (ORDER BY number) - credits), 0))::bigint AS paid
    FROM credit_pin WHERE client_id = p_client_id AND hold_id = p_hold_id AND paid IS NULL
  ), noted AS (
    UPDATE credit_pin pin SET paid = p.paid
    FROM paid p WHERE pin.client_id = p_client_id AND pin.hold_id = p_hold_id AND pin.number = p.number
  ), resolved AS (
    UPDATE credit_grant g SET pinned = g.pinned - p.credits, lapsed = g.lapsed + p.credits - p.paid
    FROM paid p WHERE g.client_id = p_client_id AND g.number = p.number
    RETURNING g.number, g.grant_id, g.state, p.credits - p.paid AS lapsed
  ), line AS (
    INSERT INTO ledger_entry (client_id, kind, credits, at, reference, note, actor)
    SELECT p_client_id, CASE state WHEN 'voided' THEN 'void' ELSE 'expire' END, -lapsed, p_now, grant_id,
           'Given back by a hold after the grant had ended', 'metering'
    FROM resolved WHERE lapsed > 0 ORDER BY number
  )
  SELECT coalesce(sum(paid), 0), coalesce(sum(credits - paid), 0) INTO v_paid, v_lapsed FROM paid;
  UPDATE account SET pinned_spent = pinned_spent + v_paid, expired = expired + v_lapsed WHERE client_id = p_client_id;
END
$$;
