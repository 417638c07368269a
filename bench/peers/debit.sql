WITH debit AS (
  UPDATE account SET balance = balance - $4
  WHERE client_id = $2 AND balance >= $4 AND NOT EXISTS (SELECT FROM usage WHERE request_id = $1)
  RETURNING client_id
)
INSERT INTO usage (request_id, client_id, plan_id, credits) SELECT $1, client_id, $3, $4 FROM debit RETURNING at
