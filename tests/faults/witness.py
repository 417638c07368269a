"""What metering's tables forget, kept for the checker: when each hold was made, of what, and for whom."""

WITNESS = """
    CREATE TABLE hold_witness (
        client_id text, hold_id uuid, user_id text, units bigint, credits bigint, held_at timestamptz,
        PRIMARY KEY (client_id, hold_id));
    CREATE FUNCTION witness_hold() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO hold_witness
        VALUES (NEW.client_id, NEW.hold_id, NEW.user_id, NEW.units, NEW.credits, NEW.held_at) ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$;
    CREATE TRIGGER witness_hold AFTER INSERT ON hold FOR EACH ROW EXECUTE FUNCTION witness_hold();
    CREATE VIEW hold_history AS
        SELECT client_id, hold_id, event_id, CASE WHEN released_at IS NULL THEN 'held' ELSE 'released' END AS state,
               coalesce(witness.credits, 0) AS credits, witness.held_at, released_at AS closed_at, false AS late,
               1 AS events, coalesce(witness.units, 0) AS units, witness.user_id
        FROM hold LEFT JOIN hold_witness AS witness USING (client_id, hold_id)
        UNION ALL
        SELECT client_id, hold_id, event_id, 'settled', -credits, held_at, at, held_at IS NULL, 1, units, user_id
        FROM ledger_entry WHERE kind = 'spend'
        UNION ALL
        -- What was held beyond what it was in the end.
        SELECT client_id, hold_id, event_id, 'released', witness.credits + line.credits, witness.held_at, line.at,
               false, 0, witness.units - line.units, witness.user_id
        FROM ledger_entry AS line JOIN hold_witness AS witness USING (client_id, hold_id)
        WHERE kind = 'spend' AND witness.units > line.units;
"""
"""Statements for metering's database. The view has every hold there ever was, live, charged or given back."""
